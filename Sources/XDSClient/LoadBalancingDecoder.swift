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
                result.localityMode = .zoneAware(
                    at.within("zone_aware_lb_config") { $0.zoneAware(zones) })
            case nil: break
            }
        }
        // Without selectors Envoy takes them for turned off.
        if message.hasLbSubsetConfig, !message.lbSubsetConfig.subsetSelectors.isEmpty {
            result.subsets = within("lb_subset_config") { $0.subsets(message.lbSubsetConfig) }
            if message.hasLoadBalancingPolicy {
                refuse(
                    "lb_subset_config", expected: "none beside load_balancing_policy", got: "one")
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
            result.slowStart = within("round_robin_lb_config") {
                $0.slowStart(message.roundRobinLbConfig)
            }
        case .leastRequest:
            let config = message.leastRequestLbConfig
            within("least_request_lb_config") { at in
                at.noteUnknown(config)
                result.policy = .leastRequest(
                    choices: at.choices(config.hasChoiceCount, config.choiceCount),
                    bias: at.bias(config.hasActiveRequestBias, config.activeRequestBias))
                result.slowStart = at.slowStart(config)
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
            let type = Decoding.typeName(message.clusterType.typedConfig.typeURL)
            if type == Decoding.aggregateCluster { return }
            refuse(
                "lb_policy", expected: "CLUSTER_PROVIDED with ORIGINAL_DST or an aggregate alone",
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
            expected: "round_robin, least_request, random, ring_hash, maglev, "
                + "client_side_weighted_round_robin, wrr_locality, subset or PeakEwma",
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
            read(
                opened, as: Envoy_Extensions_LoadBalancingPolicies_RoundRobin_V3_RoundRobin.self
            ) { at, config in
                result.policy = .roundRobin
                result.slowStart = at.slowStart(config)
                at.localities(config.localityLbConfig, &result)
            }
        case prefix + "least_request.v3.LeastRequest":
            read(
                opened, as: Envoy_Extensions_LoadBalancingPolicies_LeastRequest_V3_LeastRequest.self
            ) { at, config in
                result.policy = .leastRequest(
                    choices: at.choices(config.hasChoiceCount, config.choiceCount),
                    bias: at.bias(config.hasActiveRequestBias, config.activeRequestBias),
                    scansAll: config.selectionMethod == .fullScan
                        || config.hasEnableFullScan && config.enableFullScan.value)
                result.slowStart = at.slowStart(config)
                at.localities(config.localityLbConfig, &result)
            }
        case prefix + "random.v3.Random":
            read(opened, as: Envoy_Extensions_LoadBalancingPolicies_Random_V3_Random.self) {
                at, config in
                result.policy = .random
                at.localities(config.localityLbConfig, &result)
            }
        case prefix + "ring_hash.v3.RingHash":
            read(opened, as: Envoy_Extensions_LoadBalancingPolicies_RingHash_V3_RingHash.self) {
                at, config in
                let hashing =
                    at.hashing(config, &result)
                    ?? .init(
                        usesHostname: config.useHostnameForHashing,
                        balanceFactor: at.balanceFactor(
                            config.hasHashBalanceFactor, config.hashBalanceFactor))
                result.policy = at.ring(
                    function: config.hashFunction == .murmurHash2 ? .murmurHash2 : .xxHash,
                    minimum: config.hasMinimumRingSize ? config.minimumRingSize.value : nil,
                    maximum: config.hasMaximumRingSize ? config.maximumRingSize.value : nil,
                    hashing)
            }
        case prefix + "maglev.v3.Maglev":
            read(opened, as: Envoy_Extensions_LoadBalancingPolicies_Maglev_V3_Maglev.self) {
                at, config in
                result.policy = at.maglev(
                    config.hasTableSize ? config.tableSize.value : nil,
                    at.hashing(config, &result) ?? .init())
            }
        case prefix + "wrr_locality.v3.WrrLocality":
            read(
                opened, as: Envoy_Extensions_LoadBalancingPolicies_WrrLocality_V3_WrrLocality.self
            ) { at, config in
                at.within("endpoint_picking_policy") {
                    $0.typedPolicy(config.endpointPickingPolicy, &result)
                }
                result.localityMode = .weighted
            }
        case prefix + "subset.v3.Subset":
            read(opened, as: Envoy_Extensions_LoadBalancingPolicies_Subset_V3_Subset.self) {
                at, config in
                at.within("subset_lb_policy") { $0.typedPolicy(config.subsetLbPolicy, &result) }
                var subsets = at.subsets(config)
                subsets.allowsMoreKeys = config.allowRedundantKeys
                if result.subsets != nil {
                    at.refuse("subset_lb_policy", expected: "no subsets of subsets", got: "some")
                }
                result.subsets = subsets
            }
        case ClientSideWeighted.protoMessageName:
            read(opened, as: ClientSideWeighted.self) { at, config in
                result.policy = at.reportedLoad(config)
                result.slowStart = at.slowStart(config)
            }
        case Meshproxy_Config_V1_PeakEwma.protoMessageName:
            read(opened, as: Meshproxy_Config_V1_PeakEwma.self) { at, config in
                result.policy = at.peakEWMA(config)
            }
        case prefix + "cluster_provided.v3.ClusterProvided": break
        default: return false
        }
        return true
    }

    /// A policy's own message; what it can't be parsed as is a problem, and the policy is known still.
    private mutating func read<M: SwiftProtobuf.Message>(
        _ opened: Opened, as type: M.Type, _ body: (inout Decoding, M) -> Void
    ) {
        guard let config = parse(opened, as: type) else { return }
        noteUnknown(config)
        body(&self, config)
    }

    private typealias ClientSideWeighted =
        Envoy_Extensions_LoadBalancingPolicies_ClientSideWeightedRoundRobin_V3_ClientSideWeightedRoundRobin

    private mutating func reportedLoad(_ config: ClientSideWeighted) -> LoadBalancing.Policy {
        var result = LoadBalancing.ReportedLoad(
            metricNames: config.metricNamesForComputingUtilization)
        if config.hasBlackoutPeriod {
            result.blackout = duration(config.blackoutPeriod, "blackout_period")
        }
        if config.hasWeightExpirationPeriod {
            result.expiration = positive(config.weightExpirationPeriod, "weight_expiration_period")
        }
        if config.hasWeightUpdatePeriod {
            // Envoy's least.
            result.update = max(
                .milliseconds(100), duration(config.weightUpdatePeriod, "weight_update_period"))
        }
        if config.hasErrorUtilizationPenalty {
            let penalty = config.errorUtilizationPenalty.value
            if !(penalty >= 0 && penalty.isFinite) {
                refuse("error_utilization_penalty", expected: "0 or more", got: "\(penalty)")
            }
            result.errorPenalty = Double(penalty)
        }
        if config.enableOobLoadReport.value {
            remark("enable_oob_load_report", "is ignored: reports are read from answers")
        }
        return .reportedLoad(result)
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
                var mode = at.zoneAware(zones)
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

    /// What both consistent hashing policies say of hashing and localities.
    /// - Returns: `nil` without a `consistent_hashing_lb_config`.
    private mutating func hashing(
        _ config: some HashingMessage, _ result: inout LoadBalancing
    ) -> LoadBalancing.ConsistentHashing? {
        if config.hasLocalityWeightedLbConfig { result.localityMode = .weighted }
        guard config.hasConsistentHashingLbConfig else { return nil }
        let message = config.consistentHashingLbConfig
        return within("consistent_hashing_lb_config") { at in
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

    private mutating func zoneAware(_ message: some ZoneAwareMessage) -> LoadBalancing.ZoneAware {
        noteUnknown(message)
        var result = LoadBalancing.ZoneAware()
        if message.hasRoutingEnabled {
            result.routingEnabled = Int(
                percent(message.routingEnabled, "routing_enabled").rounded())
        }
        if message.hasMinClusterSize {
            result.minClusterSize = Int(clamping: message.minClusterSize.value)
        }
        result.failsOnPanic = message.failTrafficOnPanic
        return result
    }

    /// `slow_start_config` of a policy; `nil` where there is none, or its window is zero.
    private mutating func slowStart(_ policy: some SlowStartingMessage) -> LoadBalancing.SlowStart?
    {
        guard policy.hasSlowStartConfig else { return nil }
        let message = policy.slowStartConfig
        return within("slow_start_config") { at in
            at.noteUnknown(message)
            guard message.hasSlowStartWindow else { return nil }
            var result = LoadBalancing.SlowStart(
                window: at.duration(message.slowStartWindow, "slow_start_window"))
            if message.hasAggression {
                if message.aggression.defaultValue > 0 {
                    result.aggression = message.aggression.defaultValue
                } else {
                    at.refuse(
                        "aggression.default_value", expected: "more than 0",
                        got: "\(message.aggression.defaultValue)")
                }
            }
            if message.hasMinWeightPercent {
                result.minimum =
                    at.percent(message.minWeightPercent, "min_weight_percent") / 100
            }
            return result.window == .zero ? nil : result
        }
    }

    mutating func percent(_ message: Envoy_Type_V3_Percent, _ field: String) -> Double {
        if message.value >= 0, message.value <= 100 { return message.value }
        refuse(field, expected: "0 to 100", got: "\(message.value)")
        return 0
    }
}

// Both ways have messages of their own for the same things.

private protocol SlowStartMessage: SwiftProtobuf.Message {
    var hasSlowStartWindow: Bool { get }
    var slowStartWindow: Google_Protobuf_Duration { get }
    var hasAggression: Bool { get }
    var aggression: Envoy_Config_Core_V3_RuntimeDouble { get }
    var hasMinWeightPercent: Bool { get }
    var minWeightPercent: Envoy_Type_V3_Percent { get }
}
extension Envoy_Config_Cluster_V3_Cluster.SlowStartConfig: SlowStartMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_Common_V3_SlowStartConfig: SlowStartMessage {}

private protocol SlowStartingMessage {
    associatedtype SlowStart: SlowStartMessage
    var hasSlowStartConfig: Bool { get }
    var slowStartConfig: SlowStart { get }
}
extension Envoy_Config_Cluster_V3_Cluster.RoundRobinLbConfig: SlowStartingMessage {}
extension Envoy_Config_Cluster_V3_Cluster.LeastRequestLbConfig: SlowStartingMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_RoundRobin_V3_RoundRobin: SlowStartingMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_LeastRequest_V3_LeastRequest: SlowStartingMessage {
}
extension
    Envoy_Extensions_LoadBalancingPolicies_ClientSideWeightedRoundRobin_V3_ClientSideWeightedRoundRobin:
        SlowStartingMessage
{}

private protocol ZoneAwareMessage: SwiftProtobuf.Message {
    var hasRoutingEnabled: Bool { get }
    var routingEnabled: Envoy_Type_V3_Percent { get }
    var hasMinClusterSize: Bool { get }
    var minClusterSize: Google_Protobuf_UInt64Value { get }
    var failTrafficOnPanic: Bool { get }
}
extension Envoy_Config_Cluster_V3_Cluster.CommonLbConfig.ZoneAwareLbConfig: ZoneAwareMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_Common_V3_LocalityLbConfig.ZoneAwareLbConfig:
    ZoneAwareMessage
{}

private protocol HashingMessage {
    var hasLocalityWeightedLbConfig: Bool { get }
    var hasConsistentHashingLbConfig: Bool { get }
    var consistentHashingLbConfig:
        Envoy_Extensions_LoadBalancingPolicies_Common_V3_ConsistentHashingLbConfig
    { get }
}
extension Envoy_Extensions_LoadBalancingPolicies_RingHash_V3_RingHash: HashingMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_Maglev_V3_Maglev: HashingMessage {}
