internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

extension Decoding {
    mutating func cluster(_ message: Envoy_Config_Cluster_V3_Cluster) -> Cluster? {
        noteUnknown(message)
        if message.name.isEmpty { refuse("name", expected: "a name", got: "none") }
        var cluster = Cluster(name: message.name)
        cluster.altStatName = message.altStatName
        cluster.metadata = metadata(message.metadata)
        cluster.queueTimeout = queueTimeout(cluster.metadata)
        cluster.discovery = discovery(message)
        if message.hasConnectTimeout {
            cluster.connectTimeout = positive(message.connectTimeout, "connect_timeout")
        }
        if message.hasLoadAssignment {
            cluster.endpoints = within("load_assignment") { $0.endpoints(message.loadAssignment) }
            switch cluster.discovery {
            case .eds:
                refuse("load_assignment", expected: "none for an EDS cluster", got: "one")
            case .fixed:
                requireLiteral(cluster.endpoints)
            case .logicalDNS where cluster.endpoints.count != 1:
                refuse(
                    "load_assignment", expected: "one endpoint for LOGICAL_DNS",
                    got: "\(cluster.endpoints.count)")
            case .strictDNS, .logicalDNS, .originalDestination, .aggregate: break
            }
        }
        cluster.loadBalancing = loadBalancing(message)
        if let factor = cluster.endpoints.overprovisioningFactor {
            cluster.loadBalancing.overprovisioningFactor = factor
        }
        if message.hasTransportSocket { cluster.transport = transport(message.transportSocket) }
        cluster.transportMatches = each(
            "transport_socket_matches", message.transportSocketMatches
        ) { at, match in
            at.requireWhole(match)
            return TransportMatch(
                name: match.name, criteria: Decoding.object(match.match),
                transport: at.transport(match.transportSocket))
        }
        if message.hasTransportSocketMatcher {
            refuse(
                "transport_socket_matcher", expected: "transport_socket_matches", got: "a matcher")
        }
        cluster.healthChecks = each("health_checks", message.healthChecks) { $0.probe($1) }
            .compactMap { $0 }
        if message.hasOutlierDetection {
            cluster.outlierDetection = within("outlier_detection") {
                $0.outlierDetection(message.outlierDetection)
            }
        }
        circuitBreakers(message, &cluster)
        protocolOptions(message, &cluster)
        if message.hasMaxRequestsPerConnection {
            cluster.maxRequestsPerConnection = Int(message.maxRequestsPerConnection.value)
        }
        if message.hasUpstreamConnectionOptions,
            message.upstreamConnectionOptions.hasTcpKeepalive
        {
            let keepalive = message.upstreamConnectionOptions.tcpKeepalive
            cluster.tcpKeepAlive = .seconds(
                keepalive.hasKeepaliveTime ? Int64(keepalive.keepaliveTime.value) : 7200)
        }
        if message.upstreamConnectionOptions.hasHappyEyeballsConfig {
            cluster.happyEyeballs = within("upstream_connection_options.happy_eyeballs_config") {
                $0.happyEyeballs(message.upstreamConnectionOptions.happyEyeballsConfig)
            }
        }
        if message.hasPerConnectionBufferLimitBytes {
            cluster.bufferLimitBytes = Int(message.perConnectionBufferLimitBytes.value)
        }
        if message.hasUpstreamBindConfig, message.upstreamBindConfig.hasSourceAddress {
            var wrapped = Envoy_Config_Core_V3_Address()
            wrapped.socketAddress = message.upstreamBindConfig.sourceAddress
            if wrapped.socketAddress.portSpecifier == nil { wrapped.socketAddress.portValue = 0 }
            cluster.source = address(wrapped, "upstream_bind_config.source_address")
        }
        cluster.drainOnHostRemoval = message.ignoreHealthOnHostRemoval
        cluster.ignoresNewUntilChecked = message.commonLbConfig.ignoreNewHostsUntilFirstHc
        for filter in message.filters {
            let type = Decoding.typeName(filter.typedConfig.typeURL)
            let opened = within("filters") { $0.open(filter.typedConfig) }
            if Decoding.passedBy.contains(opened.type) {
                remark("filters", "\(opened.type) is ignored")
            } else {
                refuse(
                    "filters", expected: "no upstream network filter",
                    got: opened.type.isEmpty ? type : opened.type)
            }
        }
        if cluster.members != nil { leaveToMembers(message, &cluster) }
        if case .originalDestination = cluster.discovery, cluster.loadBalancing.subsets != nil {
            refuse(
                "lb_subset_config", expected: "endpoints that are known beforehand",
                got: "ORIGINAL_DST")
        }
        return cluster
    }

    private mutating func requireLiteral(_ endpoints: EndpointSet) {
        for locality in endpoints.localities {
            for endpoint in locality.endpoints {
                if case .name(let name, _) = endpoint.target {
                    refuse(
                        "load_assignment",
                        expected: "IP addresses in a STATIC cluster (or type: STRICT_DNS)",
                        got: "\"\(name)\"")
                }
            }
        }
    }

    private mutating func discovery(_ message: Envoy_Config_Cluster_V3_Cluster)
        -> Cluster.Discovery
    {
        let refresh =
            message.hasDnsRefreshRate
            ? duration(message.dnsRefreshRate, "dns_refresh_rate")
            : .seconds(5)
        switch message.clusterDiscoveryType {
        case .type(let type):
            switch type {
            case .static: return .fixed
            case .strictDns: return .strictDNS(refresh: refresh)
            case .logicalDns: return .logicalDNS(refresh: refresh)
            case .eds:
                if !message.hasEdsClusterConfig {
                    refuse("eds_cluster_config", expected: "one for an EDS cluster", got: "none")
                }
                let name = message.edsClusterConfig.serviceName
                return .eds(serviceName: name.isEmpty ? message.name : name)
            case .originalDst:
                let config = message.originalDstLbConfig
                if config.useHTTPHeader || config.hasMetadataKey {
                    refuse(
                        "original_dst_lb_config", expected: "upstream_port_override alone",
                        got: "use_http_header or metadata_key")
                }
                return .originalDestination(
                    portOverride: config.hasUpstreamPortOverride
                        ? port(
                            config.upstreamPortOverride.value,
                            "original_dst_lb_config.upstream_port_override") : nil)
            case .UNRECOGNIZED(let number):
                refuse("type", expected: "a known type", got: "\(number)")
                return .fixed
            }
        case .clusterType(let custom):
            return within("cluster_type.typed_config") { at in
                let opened = at.open(custom.typedConfig)
                if opened.type == Decoding.aggregateCluster {
                    return at.aggregate(opened, name: message.name)
                }
                guard opened.type == "envoy.extensions.clusters.dns.v3.DnsCluster",
                    let dns = at.parse(
                        opened, as: Envoy_Extensions_Clusters_Dns_V3_DnsCluster.self)
                else {
                    at.refuse(
                        expected: "a DnsCluster or an aggregate ClusterConfig",
                        got: opened.type.isEmpty ? "none" : opened.type)
                    return .fixed
                }
                let refresh =
                    dns.hasDnsRefreshRate
                    ? at.duration(dns.dnsRefreshRate, "dns_refresh_rate") : .seconds(5)
                return dns.allAddressesInSingleEndpoint
                    ? .logicalDNS(refresh: refresh) : .strictDNS(refresh: refresh)
            }
        case nil:
            return .fixed
        }
    }

    private mutating func happyEyeballs(
        _ message: Envoy_Config_Cluster_V3_UpstreamConnectionOptions.HappyEyeballsConfig
    ) -> HappyEyeballs {
        noteUnknown(message)
        var result = HappyEyeballs()
        switch message.firstAddressFamilyVersion {
        case .default: break
        case .v4: result.firstFamily = .ipv4
        case .v6: result.firstFamily = .ipv6
        case .UNRECOGNIZED(let number):
            refuse("first_address_family_version", expected: "V4 or V6", got: "\(number)")
        }
        if message.hasFirstAddressFamilyCount {
            result.firstCount = Int(message.firstAddressFamilyCount.value)
            if result.firstCount == 0 {
                refuse("first_address_family_count", expected: "1 or more", got: "0")
            }
        }
        return result
    }

    private mutating func queueTimeout(_ metadata: Metadata) -> Duration? {
        switch metadata["meshproxy", "queue_timeout_ms"] {
        case nil: return nil
        case .number(let count)? where count >= 0 && count <= 86_400_000:
            return .nanoseconds(Int64(count * 1_000_000))
        case let other?:
            refuse(
                "metadata.filter_metadata.meshproxy.queue_timeout_ms",
                expected: "a number of milliseconds, at most a day", got: "\(other)")
            return nil
        }
    }

    private mutating func circuitBreakers(
        _ message: Envoy_Config_Cluster_V3_Cluster, _ cluster: inout Cluster
    ) {
        // As in Envoy the first of each priority counts.
        for threshold in message.circuitBreakers.thresholds.reversed() {
            switch threshold.priority {
            case .default: cluster.circuitBreakers = breakers(threshold)
            case .high: cluster.highPriorityBreakers = breakers(threshold)
            case .UNRECOGNIZED(let number):
                refuse(
                    "circuit_breakers.thresholds.priority", expected: "DEFAULT or HIGH",
                    got: "\(number)")
            }
        }
        for threshold in message.circuitBreakers.perHostThresholds.reversed() {
            let limit = threshold.hasMaxConnections ? Int(threshold.maxConnections.value) : .max
            switch threshold.priority {
            case .default: cluster.circuitBreakers.maxConnectionsPerHost = limit
            case .high: cluster.highPriorityBreakers.maxConnectionsPerHost = limit
            case .UNRECOGNIZED(let number):
                refuse(
                    "circuit_breakers.per_host_thresholds.priority", expected: "DEFAULT or HIGH",
                    got: "\(number)")
            }
            if threshold.hasMaxRequests || threshold.hasMaxPendingRequests
                || threshold.hasMaxRetries || threshold.hasRetryBudget
            {
                // Envoy's rule, too.
                remark("circuit_breakers.per_host_thresholds", "bounds max_connections alone")
            }
        }
    }

    private mutating func breakers(
        _ threshold: Envoy_Config_Cluster_V3_CircuitBreakers.Thresholds
    ) -> CircuitBreakers {
        var breakers = CircuitBreakers()
        if threshold.hasMaxConnections {
            breakers.maxConnections = Int(threshold.maxConnections.value)
        }
        if threshold.hasMaxPendingRequests {
            breakers.maxPendingRequests = Int(threshold.maxPendingRequests.value)
        }
        if threshold.hasMaxRequests { breakers.maxRequests = Int(threshold.maxRequests.value) }
        if threshold.hasMaxRetries { breakers.maxRetries = Int(threshold.maxRetries.value) }
        breakers.tracksRemaining = threshold.trackRemaining
        if threshold.hasMaxConnectionPools, threshold.maxConnectionPools.value < .max {
            remark(
                "circuit_breakers.thresholds.max_connection_pools",
                "is not in force: an endpoint has one pool for each protocol and priority")
        }
        // The largest number, Istio's default, bounds nothing and leaves our own budget.
        if threshold.hasMaxRetries, !threshold.hasRetryBudget, threshold.maxRetries.value < .max {
            breakers.retryBudgetPercent = 0
            breakers.retryBudgetMinimum = Int(threshold.maxRetries.value)
            breakers.retryBurst = 0
        }
        if threshold.hasRetryBudget {
            breakers.retryBurst = 0
            if threshold.retryBudget.hasBudgetPercent {
                breakers.retryBudgetPercent = percent(
                    threshold.retryBudget.budgetPercent,
                    "circuit_breakers.thresholds.retry_budget.budget_percent")
            }
            if threshold.retryBudget.hasMinRetryConcurrency {
                breakers.retryBudgetMinimum = Int(threshold.retryBudget.minRetryConcurrency.value)
            }
        }
        return breakers
    }

    private mutating func protocolOptions(
        _ message: Envoy_Config_Cluster_V3_Cluster, _ cluster: inout Cluster
    ) {
        if message.hasHTTP2ProtocolOptions {
            cluster.upstreamProtocol = .http2
            http2(message.http2ProtocolOptions, &cluster)
        }
        if message.protocolSelection == .useDownstreamProtocol {
            cluster.upstreamProtocol = .downstream
        }
        if message.hasCommonHTTPProtocolOptions {
            common(message.commonHTTPProtocolOptions, &cluster)
        }
        for (key, any) in message.typedExtensionProtocolOptions.sorted(by: { $0.key < $1.key }) {
            within("typed_extension_protocol_options") { at in
                at.atKey(key) { at in
                    let opened = at.open(any)
                    guard
                        opened.type == "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
                    else {
                        at.remark("", "\(opened.type) is ignored")
                        return
                    }
                    guard
                        let options = at.parse(
                            opened,
                            as: Envoy_Extensions_Upstreams_Http_V3_HttpProtocolOptions.self)
                    else { return }
                    at.noteUnknown(options)
                    at.common(options.commonHTTPProtocolOptions, &cluster)
                    for filter in options.httpFilters {
                        let type = at.within("http_filters") { $0.open(filter.typedConfig).type }
                        let codec = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
                        if type != codec, !Decoding.passedBy.contains(type), !filter.isOptional {
                            at.refuse("http_filters", expected: "upstream_codec", got: type)
                        }
                    }
                    switch options.upstreamProtocolOptions {
                    case .explicitHTTPConfig(let explicit):
                        switch explicit.protocolConfig {
                        case .http2ProtocolOptions(let settings):
                            cluster.upstreamProtocol = .http2
                            at.http2(settings, &cluster)
                        case .http3ProtocolOptions:
                            at.refuse(
                                "explicit_http_config", expected: "HTTP/1.1 or HTTP/2",
                                got: "HTTP/3")
                        case .httpProtocolOptions, nil: cluster.upstreamProtocol = .http1
                        }
                    case .useDownstreamProtocolConfig(let downstream):
                        cluster.upstreamProtocol = .downstream
                        at.http2(downstream.http2ProtocolOptions, &cluster)
                    case .autoConfig(let auto):
                        cluster.upstreamProtocol = .alpn
                        at.http2(auto.http2ProtocolOptions, &cluster)
                    case nil: break
                    }
                }
            }
        }
    }

    private mutating func common(
        _ message: Envoy_Config_Core_V3_HttpProtocolOptions, _ cluster: inout Cluster
    ) {
        if message.hasIdleTimeout {
            cluster.idleTimeout = duration(message.idleTimeout, "idle_timeout")
        }
        if message.hasMaxRequestsPerConnection {
            cluster.maxRequestsPerConnection = Int(message.maxRequestsPerConnection.value)
        }
    }

    private mutating func http2(
        _ message: Envoy_Config_Core_V3_Http2ProtocolOptions, _ cluster: inout Cluster
    ) {
        if message.hasMaxConcurrentStreams {
            cluster.maxConcurrentStreams = Int(message.maxConcurrentStreams.value)
        }
        if message.hasInitialStreamWindowSize {
            cluster.initialStreamWindow = window(
                message.initialStreamWindowSize.value, "initial_stream_window_size")
        }
        if message.hasInitialConnectionWindowSize {
            cluster.initialConnectionWindow = window(
                message.initialConnectionWindowSize.value, "initial_connection_window_size")
        }
        if message.hasConnectionKeepalive {
            cluster.keepAlive = within("connection_keepalive") {
                $0.keepAlive(message.connectionKeepalive)
            }
        }
    }

    private mutating func keepAlive(_ message: Envoy_Config_Core_V3_KeepaliveSettings)
        -> ConnectionKeepAlive
    {
        noteUnknown(message)
        var result = ConnectionKeepAlive(
            interval: message.hasInterval ? positive(message.interval, "interval") : nil,
            timeout: positive(message.timeout, "timeout"))
        if message.hasIntervalJitter {
            result.jitterPercent = percent(message.intervalJitter, "interval_jitter")
        }
        if message.hasConnectionIdleInterval {
            result.idleInterval = positive(
                message.connectionIdleInterval, "connection_idle_interval")
        }
        return result
    }

    mutating func window(_ value: UInt32, _ field: String) -> Int {
        if (65535...UInt32(Int32.max)).contains(value) { return Int(value) }
        refuse(field, expected: "65535 to 2147483647", got: "\(value)")
        return 65535
    }
}
