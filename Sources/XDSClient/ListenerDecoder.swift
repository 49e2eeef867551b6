internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

extension Decoding {
    /// Filters whose absence changes no request's fate: telemetry, and hints that peers do without.
    /// `cors` and `fault` are on it only where nothing is set in them.
    static let passedBy: Set<String> = [
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        "io.istio.http.peer_metadata.Config",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "stats.PluginConfig",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "envoy.extensions.filters.http.compressor.v3.Compressor",
    ]

    static let passedByWhenEmpty: Set<String> = [
        "envoy.extensions.filters.http.cors.v3.Cors",
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
    ]

    mutating func listener(_ message: Envoy_Config_Listener_V3_Listener) -> Listener? {
        noteUnknown(message)
        if message.hasFilterChainMatcher {
            refuse("filter_chain_matcher", expected: "filter_chain_match", got: "a matcher tree")
        }
        if message.hasUdpListenerConfig {
            refuse("udp_listener_config", expected: "a TCP listener", got: "a UDP one")
        }
        if message.hasApiListener {
            refuse("api_listener", expected: "an address", got: "an API listener")
        }
        if case .internalListener? = message.listenerSpecifier {
            refuse("internal_listener", expected: "an address", got: "an internal listener")
            return nil
        }
        let address = address(message.address, "address")
        let more = each("additional_addresses", message.additionalAddresses) {
            $0.address($1.address, "address")
        }
        let name = message.name.isEmpty ? address?.description ?? "" : message.name
        var listener = Listener(
            name: name, address: address ?? .loopback(port: 0),
            additionalAddresses: more.compactMap { $0 })
        listener.bindToPort = message.hasBindToPort ? message.bindToPort.value : true
        if message.hasDeprecatedV1, message.deprecatedV1.hasBindToPort {
            listener.bindToPort = message.deprecatedV1.bindToPort.value
        }
        listener.usesOriginalDestination = message.useOriginalDst.value
        for (index, filter) in message.listenerFilters.enumerated() {
            within("listener_filters[\(index)]") { at in
                guard case .typedConfig(let any)? = filter.configType else {
                    at.refuse("typed_config", expected: "a configuration", got: "none")
                    return
                }
                let opened = at.open(any)
                switch opened.type {
                case "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":
                    listener.inspectsTLS = true
                case "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":
                    listener.inspectsHTTP = true
                case "envoy.extensions.filters.listener.original_dst.v3.OriginalDst":
                    listener.usesOriginalDestination = true
                default:
                    at.refuse(
                        "typed_config", expected: "tls_inspector, http_inspector or original_dst",
                        got: opened.type)
                }
                if filter.hasFilterDisabled {
                    at.remark("filter_disabled", "is ignored: the filter runs on all ports")
                }
            }
        }
        listener.filterChains = each("filter_chains", message.filterChains) { $0.filterChain($1) }
            .compactMap { $0 }
        if message.hasDefaultFilterChain {
            listener.defaultFilterChain = within("default_filter_chain") {
                $0.filterChain(message.defaultFilterChain)
            }
        }
        if message.filterChains.isEmpty, !message.hasDefaultFilterChain {
            refuse("filter_chains", expected: "one or more", got: "none")
        }
        var matches: [FilterChainMatch: Int] = [:]
        for (index, chain) in listener.filterChains.enumerated() {
            if let other = matches.updateValue(index, forKey: chain.match) {
                refuse(
                    "filter_chains[\(index)].filter_chain_match",
                    expected: "a match of its own", got: "the same as filter_chains[\(other)]")
            }
        }
        // Envoy puts the inspector in itself when a match needs it.
        let chains = listener.filterChains
        if chains.contains(where: {
            !$0.match.serverNames.isEmpty || !$0.match.transportProtocol.isEmpty
                || !$0.match.applicationProtocols.isEmpty
        }) {
            listener.inspectsTLS = true
        }
        if message.hasListenerFiltersTimeout {
            listener.inspectionTimeout = duration(
                message.listenerFiltersTimeout, "listener_filters_timeout")
        }
        listener.continueOnInspectionTimeout = message.continueOnListenerFiltersTimeout
        if message.hasPerConnectionBufferLimitBytes {
            listener.bufferLimitBytes = Int(message.perConnectionBufferLimitBytes.value)
        }
        switch message.trafficDirection {
        case .inbound: listener.direction = .inbound
        case .outbound: listener.direction = .outbound
        default: listener.direction = .unspecified
        }
        listener.accessLogs = accessLogs(message.accessLog)
        listener.statPrefix = message.statPrefix
        listener.transparent = message.transparent.value
        return address == nil ? nil : listener
    }

    private mutating func filterChain(_ message: Envoy_Config_Listener_V3_FilterChain)
        -> FilterChain?
    {
        noteUnknown(message)
        let match = within("filter_chain_match") { $0.chainMatch(message.filterChainMatch) }
        let tls = message.hasTransportSocket ? downstreamTLS(message.transportSocket) : nil
        if message.useProxyProto.value {
            refuse("use_proxy_proto", expected: "false", got: "true")
        }
        var terminal: NetworkFilter?
        for (index, filter) in message.filters.enumerated() {
            within("filters[\(index)]") { at in
                let isLast = index == message.filters.count - 1
                guard case .typedConfig(let any)? = filter.configType else {
                    at.refuse(
                        "typed_config", expected: "a configuration",
                        got: filter.configType == nil ? "none" : "config_discovery")
                    return
                }
                let found = at.within("typed_config") { $0.networkFilter(any) }
                if let found {
                    if isLast {
                        terminal = found
                    } else {
                        at.refuse(expected: "the terminal filter to be the last", got: "one before")
                    }
                }
            }
        }
        if terminal == nil, problems.isEmpty {
            refuse("filters", expected: "a terminal filter", got: "none")
        }
        guard let terminal else { return nil }
        var chain = FilterChain(name: message.name, match: match, tls: tls, filter: terminal)
        if message.hasTransportSocketConnectTimeout {
            chain.connectTimeout = duration(
                message.transportSocketConnectTimeout, "transport_socket_connect_timeout")
        }
        return chain
    }

    private mutating func chainMatch(_ message: Envoy_Config_Listener_V3_FilterChainMatch)
        -> FilterChainMatch
    {
        requireWhole(message)
        var match = FilterChainMatch()
        if message.hasDestinationPort {
            match.destinationPort = port(message.destinationPort.value, "destination_port")
        }
        match.destinationPrefixes = each("prefix_ranges", message.prefixRanges) { $0.prefix($1) }
            .compactMap { $0 }
        if !message.addressSuffix.isEmpty || message.hasSuffixLen {
            refuse("address_suffix", expected: "none (not supported)", got: "one")
        }
        match.serverNames = each("server_names", message.serverNames) { at, name in
            let rest = name.hasPrefix("*.") ? name.dropFirst(2) : name[...]
            if rest.isEmpty || rest.contains("*") {
                at.refuse(expected: "a.com or *.a.com", got: "\"\(name)\"")
            }
            return name.lowercased()
        }
        match.transportProtocol = message.transportProtocol
        match.applicationProtocols = message.applicationProtocols
        match.directSourcePrefixes = each(
            "direct_source_prefix_ranges", message.directSourcePrefixRanges
        ) { $0.prefix($1) }.compactMap { $0 }
        switch message.sourceType {
        case .any: match.sourceType = .any
        case .sameIpOrLoopback: match.sourceType = .sameIPOrLoopback
        case .external: match.sourceType = .external
        case .UNRECOGNIZED(let number):
            refuse("source_type", expected: "a known name", got: "\(number)")
        }
        match.sourcePrefixes = each("source_prefix_ranges", message.sourcePrefixRanges) {
            $0.prefix($1)
        }.compactMap { $0 }
        match.sourcePorts = each("source_ports", message.sourcePorts) { $0.port($1, "") }
        return match
    }

    /// - Returns: `nil` for one that is passed by, and after a refusal.
    private mutating func networkFilter(_ any: Google_Protobuf_Any) -> NetworkFilter? {
        let opened = open(any)
        switch opened.type {
        case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager":
            return parse(
                opened,
                as: Envoy_Extensions_Filters_Network_HttpConnectionManager_V3_HttpConnectionManager
                    .self
            ).map { .http(connectionManager($0)) }
        case "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy":
            guard
                let message = parse(
                    opened, as: Envoy_Extensions_Filters_Network_TcpProxy_V3_TcpProxy.self)
            else { return nil }
            return .tcpProxy(tcpProxy(message))
        default:
            if Decoding.passedBy.contains(opened.type) {
                remark("", "\(opened.type) is ignored")
            } else {
                refuse(
                    expected: "http_connection_manager or tcp_proxy",
                    got: opened.type.isEmpty ? "none" : opened.type)
            }
            return nil
        }
    }

    private mutating func tcpProxy(
        _ message: Envoy_Extensions_Filters_Network_TcpProxy_V3_TcpProxy
    ) -> TCPProxy {
        noteUnknown(message)
        var clusters: [WeightedCluster] = []
        switch message.clusterSpecifier {
        case .cluster(let name):
            if name.isEmpty { refuse("cluster", expected: "a name", got: "none") }
            clusters = [WeightedCluster(name: name)]
        case .weightedClusters(let weighted):
            clusters = weighted.clusters.map { WeightedCluster(name: $0.name, weight: $0.weight) }
            let sum = clusters.reduce(UInt64(0)) { $0 + UInt64($1.weight) }
            if sum == 0 || sum > UInt64(UInt32.max) {
                refuse(
                    "weighted_clusters", expected: "weights from 1 to 4294967295 together",
                    got: "\(sum)")
            }
        case nil:
            refuse(expected: "cluster or weighted_clusters", got: "none")
        }
        if message.hasTunnelingConfig {
            refuse("tunneling_config", expected: "none (not supported here)", got: "a tunnel")
        }
        var proxy = TCPProxy(statPrefix: message.statPrefix, clusters: clusters)
        if message.hasIdleTimeout {
            proxy.idleTimeout = duration(message.idleTimeout, "idle_timeout")
        }
        if message.hasMaxConnectAttempts {
            proxy.maxConnectAttempts = max(1, Int(message.maxConnectAttempts.value))
        }
        for policy in message.hashPolicy {
            if case .sourceIp? = policy.policySpecifier {
                proxy.hashesSource = true
            } else {
                remark("hash_policy", "a policy other than source_ip is ignored")
            }
        }
        proxy.accessLogs = accessLogs(message.accessLog)
        return proxy
    }

    private mutating func connectionManager(
        _ message: Envoy_Extensions_Filters_Network_HttpConnectionManager_V3_HttpConnectionManager
    ) -> HTTPConnectionManager {
        noteUnknown(message)
        let routes: HTTPConnectionManager.Routes
        switch message.routeSpecifier {
        case .rds(let rds):
            if rds.routeConfigName.isEmpty {
                refuse("rds.route_config_name", expected: "a name", got: "none")
            }
            routes = .named(rds.routeConfigName)
        case .routeConfig(let config):
            routes = .inline(within("route_config") { $0.routes(config) })
        case .scopedRoutes, nil:
            refuse(
                expected: "rds or route_config",
                got: message.routeSpecifier == nil ? "none" : "scoped_routes")
            routes = .named("")
        }
        var manager = HTTPConnectionManager(statPrefix: message.statPrefix, routes: routes)
        switch message.codecType {
        case .auto: manager.codec = .auto
        case .http1: manager.codec = .http1
        case .http2: manager.codec = .http2
        case .http3: refuse("codec_type", expected: "AUTO, HTTP1 or HTTP2", got: "HTTP3")
        case .UNRECOGNIZED(let number):
            refuse("codec_type", expected: "AUTO, HTTP1 or HTTP2", got: "\(number)")
        }
        httpFilters(message.httpFilters, &manager)
        manager.accessLogs = accessLogs(message.accessLog)
        manager.serverName = message.serverName
        manager.serverHeaderPassThrough = message.serverHeaderTransformation == .passThrough
        manager.useRemoteAddress = message.useRemoteAddress.value
        manager.trustedHops = Int(message.xffNumTrustedHops)
        if message.hasInternalAddressConfig {
            manager.trustsUnixSockets = message.internalAddressConfig.unixSockets
            manager.internalAddresses = within("internal_address_config") { at in
                at.each("cidr_ranges", message.internalAddressConfig.cidrRanges) {
                    $0.prefix($1)
                }.compactMap { $0 }
            }
        }
        manager.skipXFFAppend = message.skipXffAppend
        if message.hasGenerateRequestID {
            manager.generateRequestID = message.generateRequestID.value
        }
        manager.preserveExternalRequestID = message.preserveExternalRequestID
        switch message.forwardClientCertDetails {
        case .sanitize: manager.forwardClientCert = .sanitize
        case .forwardOnly: manager.forwardClientCert = .forwardOnly
        case .appendForward: manager.forwardClientCert = .appendForward
        case .sanitizeSet: manager.forwardClientCert = .sanitizeSet
        case .alwaysForwardOnly: manager.forwardClientCert = .alwaysForwardOnly
        case .UNRECOGNIZED(let number):
            refuse("forward_client_cert_details", expected: "a known name", got: "\(number)")
        }
        manager.xfccSubject = message.setCurrentClientCertDetails.subject.value
        manager.xfccURI = message.setCurrentClientCertDetails.uri
        manager.xfccDNS = message.setCurrentClientCertDetails.dns
        let common = message.commonHTTPProtocolOptions
        if common.hasIdleTimeout {
            manager.idleTimeout = duration(
                common.idleTimeout, "common_http_protocol_options.idle_timeout")
        }
        if common.hasMaxConnectionDuration {
            manager.maxConnectionDuration = duration(
                common.maxConnectionDuration,
                "common_http_protocol_options.max_connection_duration")
        }
        if common.hasMaxRequestsPerConnection {
            manager.maxRequestsPerConnection = Int(common.maxRequestsPerConnection.value)
        }
        if common.hasMaxHeadersCount {
            manager.maxRequestHeaders = Int(common.maxHeadersCount.value)
        }
        if message.hasStreamIdleTimeout {
            manager.streamIdleTimeout = duration(message.streamIdleTimeout, "stream_idle_timeout")
        }
        if message.hasRequestTimeout {
            manager.requestTimeout = duration(message.requestTimeout, "request_timeout")
        }
        if message.hasRequestHeadersTimeout {
            manager.requestHeadersTimeout = duration(
                message.requestHeadersTimeout, "request_headers_timeout")
        }
        if message.hasDrainTimeout {
            manager.drainTimeout = duration(message.drainTimeout, "drain_timeout")
        }
        if message.hasMaxRequestHeadersKb {
            manager.maxRequestHeadersBytes = Int(message.maxRequestHeadersKb.value) * 1024
        }
        let http2 = message.http2ProtocolOptions
        if http2.hasMaxConcurrentStreams {
            manager.maxConcurrentStreams = Int(http2.maxConcurrentStreams.value)
        }
        if http2.hasInitialStreamWindowSize {
            manager.initialStreamWindow = window(
                http2.initialStreamWindowSize.value,
                "http2_protocol_options.initial_stream_window_size")
        }
        if http2.hasInitialConnectionWindowSize {
            manager.initialConnectionWindow = window(
                http2.initialConnectionWindowSize.value,
                "http2_protocol_options.initial_connection_window_size")
        }
        if message.hasHTTPProtocolOptions {
            manager.acceptHTTP10 = message.httpProtocolOptions.acceptHTTP10
        }
        manager.normalizePath = message.normalizePath.value
        manager.mergeSlashes = message.mergeSlashes
        switch message.stripPortMode {
        case .stripAnyHostPort(let flag): manager.stripMatchingHostPort = flag
        case nil: manager.stripMatchingHostPort = message.stripMatchingHostPort
        }
        if message.hasLocalReplyConfig { remark("local_reply_config", "is ignored") }
        for upgrade in message.upgradeConfigs where upgrade.upgradeType.lowercased() == "connect" {
            refuse("upgrade_configs", expected: "no CONNECT", got: upgrade.upgradeType)
        }
        return manager
    }

    private mutating func httpFilters(
        _ filters: [Envoy_Extensions_Filters_Network_HttpConnectionManager_V3_HttpFilter],
        _ manager: inout HTTPConnectionManager
    ) {
        var hasRouter = false
        manager.filters = [.router]
        for (index, filter) in filters.enumerated() {
            within("http_filters[\(index)]") { at in
                guard case .typedConfig(let any)? = filter.configType else {
                    if filter.isOptional {
                        at.remark("", "\(filter.name) is ignored")
                    } else {
                        at.refuse(
                            "typed_config", expected: "a configuration",
                            got: filter.configType == nil ? "none" : "config_discovery")
                    }
                    return
                }
                let opened = at.within("typed_config") { $0.open(any) }
                if opened.type == "envoy.extensions.filters.http.router.v3.Router" {
                    hasRouter = true
                    if index != filters.count - 1 {
                        at.refuse(expected: "the router to be the last filter", got: "one after it")
                    }
                    if let router = at.parse(
                        opened, as: Envoy_Extensions_Filters_Http_Router_V3_Router.self)
                    {
                        manager.suppressEnvoyHeaders = router.suppressEnvoyHeaders
                        manager.respectsExpectedTimeout = router.respectExpectedRqTimeout
                    }
                } else if opened.type == Decoding.sessionFilter {
                    let setting = at.within("typed_config") { $0.statefulSession(opened) }
                    if manager.filters.count > 1 {
                        at.refuse(expected: "one filter for sessions", got: "a second")
                    }
                    // A filter that is off is there for the routes that turn it on.
                    manager.filters.insert(
                        .statefulSession(filter.disabled ? .off : setting), at: 0)
                } else if Decoding.passedBy.contains(opened.type) || filter.isOptional
                    || filter.disabled
                    || opened.isEmpty && Decoding.passedByWhenEmpty.contains(opened.type)
                {
                    at.remark("", "\(opened.type) is ignored")
                } else {
                    at.refuse(
                        "typed_config", expected: "a filter that is known here",
                        got: opened.type.isEmpty ? "none" : opened.type)
                }
            }
        }
        if !hasRouter, problems.isEmpty {
            refuse("http_filters", expected: "envoy.filters.http.router as the last", got: "none")
        }
    }
}
