internal import MeshConfig
internal import SwiftProtobuf

// The two ways in which a cluster says how it is balanced: `load_balancing_policy`, a list of typed
// policies of which the first that is known counts, and the older `lb_policy` with its messages.

extension Decoding {
    mutating func loadBalancing(_ message: Envoy_Config_Cluster_V3_Cluster) -> LoadBalancing {
        var result = LoadBalancing(localityMode: .zoneAware(.init()))
        let common = message.commonLbConfig
        within("common_lb_config") { at in
            at.noteUnknown(common)
            if common.hasHealthyPanicThreshold {
                result.panicThreshold = at.percent(
                    common.healthyPanicThreshold, "healthy_panic_threshold"
                ).rounded()
            }
            if common.hasOverrideHostStatus {
                result.overrideStatuses = at.overrideStatuses(common.overrideHostStatus)
            }
            switch common.localityConfigSpecifier {
            case .localityWeightedLbConfig: result.localityMode = .weighted
            case .zoneAwareLbConfig(let zones):
                var mode = LoadBalancing.ZoneAware()
                at.within("zone_aware_lb_config") { at in
                    at.noteUnknown(zones)
                    if zones.hasRoutingEnabled {
                        mode.routingEnabled = Int(
                            at.percent(zones.routingEnabled, "routing_enabled").rounded())
                    }
                    if zones.hasMinClusterSize {
                        mode.minClusterSize = Int(clamping: zones.minClusterSize.value)
                    }
                    mode.failsOnPanic = zones.failTrafficOnPanic
                }
                result.localityMode = .zoneAware(mode)
            case nil: break
            }
        }
        if message.hasLoadBalancingPolicy {
            // What a typed policy says of localities goes for it alone, and so does what it leaves out.
            result.localityMode = .zoneAware(.init())
            within("load_balancing_policy") { $0.typedPolicy(message.loadBalancingPolicy, &result) }
            return result
        }
        namedPolicy(message, &result)
        return result
    }

    // MARK: lb_policy

    private mutating func namedPolicy(
        _ message: Envoy_Config_Cluster_V3_Cluster, _ result: inout LoadBalancing
    ) {
        let hashing = LoadBalancing.ConsistentHashing(
            usesHostname: message.commonLbConfig.consistentHashingLbConfig.useHostnameForHashing,
            balanceFactor: within("common_lb_config.consistent_hashing_lb_config") { at in
                let config = message.commonLbConfig.consistentHashingLbConfig
                return at.balanceFactor(config.hasHashBalanceFactor, config.hashBalanceFactor)
            })
        switch message.lbPolicy {
        case .roundRobin:
            result.policy = .roundRobin
            if message.roundRobinLbConfig.hasSlowStartConfig {
                result.slowStart = within("round_robin_lb_config.slow_start_config") {
                    $0.slowStart(message.roundRobinLbConfig.slowStartConfig)
                }
            }
        case .leastRequest:
            let config = message.leastRequestLbConfig
            within("least_request_lb_config") { at in
                at.noteUnknown(config)
                result.policy = .leastRequest(
                    choices: at.choices(config.hasChoiceCount, config.choiceCount),
                    bias: at.bias(config.hasActiveRequestBias, config.activeRequestBias))
                if config.hasSlowStartConfig {
                    result.slowStart = at.within("slow_start_config") {
                        $0.slowStart(config.slowStartConfig)
                    }
                }
            }
        case .random: result.policy = .random
        case .ringHash:
            let config = message.ringHashLbConfig
            result.policy = within("ring_hash_lb_config") { at in
                at.noteUnknown(config)
                return at.ring(
                    function: config.hashFunction == .murmurHash2 ? .murmurHash2 : .xxHash,
                    minimum: config.hasMinimumRingSize ? config.minimumRingSize.value : nil,
                    maximum: config.hasMaximumRingSize ? config.maximumRingSize.value : nil,
                    hashing)
            }
        case .maglev:
            let config = message.maglevLbConfig
            result.policy = within("maglev_lb_config") { at in
                at.noteUnknown(config)
                return at.maglev(config.hasTableSize ? config.tableSize.value : nil, hashing)
            }
        case .clusterProvided:
            if case .type(.originalDst)? = message.clusterDiscoveryType { return }
            refuse(
                "lb_policy", expected: "CLUSTER_PROVIDED with ORIGINAL_DST alone",
                got: "CLUSTER_PROVIDED")
        case .loadBalancingPolicyConfig:
            refuse("load_balancing_policy", expected: "a policy", got: "none")
        case .UNRECOGNIZED(let number):
            refuse("lb_policy", expected: "a known policy", got: "\(number)")
        }
    }

    // MARK: load_balancing_policy

    private mutating func typedPolicy(
        _ message: Envoy_Config_Cluster_V3_LoadBalancingPolicy, _ result: inout LoadBalancing
    ) {
        var index = 0
        for policy in message.policies {
            let isKnown = atPolicy(index) { at in
                let opened = at.open(policy.typedExtensionConfig.typedConfig)
                return at.typedPolicy(opened, &result)
            }
            if isKnown { return }
            index += 1
        }
        refuse(
            "policies",
            expected: "round_robin, least_request, random, ring_hash, maglev, wrr_locality "
                + "or PeakEwma",
            got: message.policies.isEmpty ? "none" : "none of them")
    }

    private mutating func atPolicy<T>(_ index: Int, _ body: (inout Decoding) -> T) -> T {
        within("policies[\(index)].typed_extension_config.typed_config", body)
    }

    /// - Returns: whether the policy is known here.
    private mutating func typedPolicy(_ opened: Opened, _ result: inout LoadBalancing) -> Bool {
        let prefix = "envoy.extensions.load_balancing_policies."
        switch opened.type {
        case prefix + "round_robin.v3.RoundRobin":
            guard
                let config = parse(
                    opened, as: Envoy_Extensions_LoadBalancingPolicies_RoundRobin_V3_RoundRobin.self
                )
            else { return true }
            noteUnknown(config)
            result.policy = .roundRobin
            if config.hasSlowStartConfig {
                result.slowStart = within("slow_start_config") {
                    $0.slowStart(config.slowStartConfig)
                }
            }
            localities(config.localityLbConfig, &result)
        case prefix + "least_request.v3.LeastRequest":
            guard
                let config = parse(
                    opened,
                    as: Envoy_Extensions_LoadBalancingPolicies_LeastRequest_V3_LeastRequest.self)
            else { return true }
            noteUnknown(config)
            result.policy = .leastRequest(
                choices: choices(config.hasChoiceCount, config.choiceCount),
                bias: bias(config.hasActiveRequestBias, config.activeRequestBias),
                scansAll: config.selectionMethod == .fullScan
                    || config.hasEnableFullScan && config.enableFullScan.value)
            if config.hasSlowStartConfig {
                result.slowStart = within("slow_start_config") {
                    $0.slowStart(config.slowStartConfig)
                }
            }
            localities(config.localityLbConfig, &result)
        case prefix + "random.v3.Random":
            guard
                let config = parse(
                    opened, as: Envoy_Extensions_LoadBalancingPolicies_Random_V3_Random.self)
            else { return true }
            noteUnknown(config)
            result.policy = .random
            localities(config.localityLbConfig, &result)
        case prefix + "ring_hash.v3.RingHash":
            guard
                let config = parse(
                    opened, as: Envoy_Extensions_LoadBalancingPolicies_RingHash_V3_RingHash.self)
            else { return true }
            noteUnknown(config)
            var hashing = LoadBalancing.ConsistentHashing(
                usesHostname: config.useHostnameForHashing,
                balanceFactor: balanceFactor(config.hasHashBalanceFactor, config.hashBalanceFactor))
            if config.hasConsistentHashingLbConfig {
                hashing = consistentHashing(config.consistentHashingLbConfig, &result)
            }
            if config.hasLocalityWeightedLbConfig { result.localityMode = .weighted }
            result.policy = ring(
                function: config.hashFunction == .murmurHash2 ? .murmurHash2 : .xxHash,
                minimum: config.hasMinimumRingSize ? config.minimumRingSize.value : nil,
                maximum: config.hasMaximumRingSize ? config.maximumRingSize.value : nil, hashing)
        case prefix + "maglev.v3.Maglev":
            guard
                let config = parse(
                    opened, as: Envoy_Extensions_LoadBalancingPolicies_Maglev_V3_Maglev.self)
            else { return true }
            noteUnknown(config)
            var hashing = LoadBalancing.ConsistentHashing()
            if config.hasConsistentHashingLbConfig {
                hashing = consistentHashing(config.consistentHashingLbConfig, &result)
            }
            if config.hasLocalityWeightedLbConfig { result.localityMode = .weighted }
            result.policy = maglev(config.hasTableSize ? config.tableSize.value : nil, hashing)
        case prefix + "wrr_locality.v3.WrrLocality":
            guard
                let config = parse(
                    opened,
                    as: Envoy_Extensions_LoadBalancingPolicies_WrrLocality_V3_WrrLocality.self)
            else { return true }
            noteUnknown(config)
            within("endpoint_picking_policy") {
                $0.typedPolicy(config.endpointPickingPolicy, &result)
            }
            result.localityMode = .weighted
        case Meshproxy_Config_V1_PeakEwma.protoMessageName:
            guard let config = parse(opened, as: Meshproxy_Config_V1_PeakEwma.self) else {
                return true
            }
            noteUnknown(config)
            result.policy = peakEWMA(config)
        case prefix + "cluster_provided.v3.ClusterProvided": break
        default: return false
        }
        return true
    }

    private mutating func peakEWMA(_ config: Meshproxy_Config_V1_PeakEwma) -> LoadBalancing.Policy {
        var result = LoadBalancing.PeakEWMA()
        if config.hasDecayTime { result.decayTime = positive(config.decayTime, "decay_time") }
        if config.hasFailurePenalty {
            result.failurePenalty = positive(config.failurePenalty, "failure_penalty")
        }
        for (index, price) in config.prices.enumerated() {
            within("prices[\(index)]") { at in
                at.noteUnknown(price)
                if !(price.factor > 0 && price.factor.isFinite) {
                    at.refuse("factor", expected: "more than 0", got: "\(price.factor)")
                }
                result.prices.append(
                    .init(
                        from: at.locality(price.from), to: at.locality(price.to),
                        factor: price.factor))
            }
        }
        return .peakEWMA(result)
    }

    private mutating func localities(
        _ message: Envoy_Extensions_LoadBalancingPolicies_Common_V3_LocalityLbConfig,
        _ result: inout LoadBalancing
    ) {
        switch message.localityConfigSpecifier {
        case .localityWeightedLbConfig: result.localityMode = .weighted
        case .zoneAwareLbConfig(let zones):
            result.localityMode = within("locality_lb_config.zone_aware_lb_config") { at in
                at.noteUnknown(zones)
                var mode = LoadBalancing.ZoneAware()
                if zones.hasRoutingEnabled {
                    mode.routingEnabled = Int(
                        at.percent(zones.routingEnabled, "routing_enabled").rounded())
                }
                if zones.hasMinClusterSize {
                    mode.minClusterSize = Int(clamping: zones.minClusterSize.value)
                }
                mode.failsOnPanic = zones.failTrafficOnPanic
                if zones.hasForceLocalZone {
                    mode.forcedLocalMinimum =
                        zones.forceLocalZone.hasMinSize
                        ? Int(zones.forceLocalZone.minSize.value) : 1
                } else if zones.forceLocalityDirectRouting {
                    mode.forcedLocalMinimum = 1
                }
                mode.countsWeights = zones.localityBasis == .healthyHostsWeight
                return .zoneAware(mode)
            }
        case nil: break
        }
    }

    private mutating func consistentHashing(
        _ message: Envoy_Extensions_LoadBalancingPolicies_Common_V3_ConsistentHashingLbConfig,
        _ result: inout LoadBalancing
    ) -> LoadBalancing.ConsistentHashing {
        within("consistent_hashing_lb_config") { at in
            at.noteUnknown(message)
            result.hashPolicy = at.hashPolicies(message.hashPolicy)
            return LoadBalancing.ConsistentHashing(
                usesHostname: message.useHostnameForHashing,
                balanceFactor: at.balanceFactor(
                    message.hasHashBalanceFactor, message.hashBalanceFactor))
        }
    }

    // MARK: What both ways share

    private mutating func ring(
        function: LoadBalancing.RingHash.Function, minimum: UInt64?, maximum: UInt64?,
        _ hashing: LoadBalancing.ConsistentHashing
    ) -> LoadBalancing.Policy {
        let largest: UInt64 = 8 << 20
        var ring = LoadBalancing.RingHash(function: function, hashing: hashing)
        if let minimum { ring.minimumSize = Int(min(minimum, largest)) }
        if let maximum { ring.maximumSize = Int(min(maximum, largest)) }
        if minimum ?? 0 > largest || maximum ?? 0 > largest || ring.minimumSize < 1
            || ring.maximumSize < ring.minimumSize
        {
            refuse(
                expected: "1 <= minimum_ring_size <= maximum_ring_size <= \(largest)",
                got: "\(minimum.map { "\($0)" } ?? "1024") and \(maximum ?? largest)")
        }
        return .ringHash(ring)
    }

    private mutating func maglev(
        _ size: UInt64?, _ hashing: LoadBalancing.ConsistentHashing
    ) -> LoadBalancing.Policy {
        var maglev = LoadBalancing.Maglev(hashing: hashing)
        if let size {
            guard size <= 5_000_011, Decoding.isPrime(Int(size)) else {
                refuse("table_size", expected: "a prime up to 5000011", got: "\(size)")
                return .maglev(maglev)
            }
            maglev.tableSize = Int(size)
        }
        return .maglev(maglev)
    }

    private static func isPrime(_ number: Int) -> Bool {
        if number < 4 { return number == 2 || number == 3 }
        var divisor = 2
        while divisor * divisor <= number {
            if number % divisor == 0 { return false }
            divisor += 1
        }
        return true
    }

    private mutating func balanceFactor(
        _ isSet: Bool, _ message: Google_Protobuf_UInt32Value
    ) -> Int {
        guard isSet else { return 0 }
        if message.value < 100 {
            refuse("hash_balance_factor", expected: "100 or more", got: "\(message.value)")
        }
        return Int(message.value)
    }

    private mutating func choices(_ isSet: Bool, _ message: Google_Protobuf_UInt32Value) -> Int {
        guard isSet else { return 2 }
        if message.value < 2 {
            refuse("choice_count", expected: "2 or more", got: "\(message.value)")
        }
        return Int(message.value)
    }

    private mutating func bias(
        _ isSet: Bool, _ message: Envoy_Config_Core_V3_RuntimeDouble
    ) -> Double {
        guard isSet else { return 1 }
        if message.defaultValue >= 0 { return message.defaultValue }
        refuse(
            "active_request_bias.default_value", expected: "0 or more",
            got: "\(message.defaultValue)")
        return 1
    }

    private mutating func slowStart(_ message: Envoy_Config_Cluster_V3_Cluster.SlowStartConfig)
        -> LoadBalancing.SlowStart?
    {
        noteUnknown(message)
        return slowStart(
            message.hasSlowStartWindow ? message.slowStartWindow : nil,
            message.hasAggression ? message.aggression : nil,
            message.hasMinWeightPercent ? message.minWeightPercent : nil)
    }

    private mutating func slowStart(
        _ message: Envoy_Extensions_LoadBalancingPolicies_Common_V3_SlowStartConfig
    ) -> LoadBalancing.SlowStart? {
        noteUnknown(message)
        return slowStart(
            message.hasSlowStartWindow ? message.slowStartWindow : nil,
            message.hasAggression ? message.aggression : nil,
            message.hasMinWeightPercent ? message.minWeightPercent : nil)
    }

    private mutating func slowStart(
        _ window: Google_Protobuf_Duration?, _ aggression: Envoy_Config_Core_V3_RuntimeDouble?,
        _ minimum: Envoy_Type_V3_Percent?
    ) -> LoadBalancing.SlowStart? {
        guard let window else { return nil }
        var result = LoadBalancing.SlowStart(window: duration(window, "slow_start_window"))
        if let aggression {
            if aggression.defaultValue > 0 {
                result.aggression = aggression.defaultValue
            } else {
                refuse(
                    "aggression.default_value", expected: "more than 0",
                    got: "\(aggression.defaultValue)")
            }
        }
        if let minimum { result.minimum = percent(minimum, "min_weight_percent") / 100 }
        return result.window == .zero ? nil : result
    }

    mutating func percent(_ message: Envoy_Type_V3_Percent, _ field: String) -> Double {
        if message.value >= 0, message.value <= 100 { return message.value }
        refuse(field, expected: "0 to 100", got: "\(message.value)")
        return 0
    }
}
