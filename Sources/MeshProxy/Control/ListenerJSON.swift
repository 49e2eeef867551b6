import MeshBase
import MeshConfig

extension ConfigJSON {
    /// `envoy.config.listener.v3.Listener`.
    static func listener(_ listener: Listener) -> JSONValue {
        let direction: JSONValue =
            switch listener.direction {
            case .unspecified: .null
            case .inbound: "INBOUND"
            case .outbound: "OUTBOUND"
            }
        return .message(
            ("@type", .string(types + "envoy.config.listener.v3.Listener")),
            ("name", .string(listener.name)), ("address", address(listener.address)),
            (
                "additional_addresses",
                .array(listener.additionalAddresses.map { ["address": address($0)] })
            ),
            ("stat_prefix", .string(listener.statPrefix)),
            ("filter_chains", .array(listener.filterChains.map(filterChain))),
            (
                "default_filter_chain",
                listener.defaultFilterChain.map(filterChain) ?? .null
            ),
            ("listener_filters", .array(listenerFilters(listener))),
            ("listener_filters_timeout", duration(listener.inspectionTimeout)),
            (
                "continue_on_listener_filters_timeout",
                flag(listener.continueOnInspectionTimeout)
            ),
            ("use_original_dst", flag(listener.usesOriginalDestination)),
            ("transparent", flag(listener.transparent)),
            ("bind_to_port", listener.bindToPort ? .null : false),
            ("traffic_direction", direction),
            ("access_log", .array(listener.accessLogs.map(accessLog))))
    }

    private static func listenerFilters(_ listener: Listener) -> [JSONValue] {
        var filters: [JSONValue] = []
        func add(_ name: String, _ type: String) {
            filters.append([
                "name": .string("envoy.filters.listener.\(name)"),
                "typed_config": [
                    "@type": .string(
                        types + "envoy.extensions.filters.listener.\(name).v3.\(type)")
                ],
            ])
        }
        if listener.usesOriginalDestination { add("original_dst", "OriginalDst") }
        if listener.inspectsTLS { add("tls_inspector", "TlsInspector") }
        if listener.inspectsHTTP { add("http_inspector", "HttpInspector") }
        return filters
    }

    private static func filterChain(_ chain: FilterChain) -> JSONValue {
        var secure = JSONValue.null
        if let tls = chain.tls {
            secure = [
                "name": "envoy.transport_sockets.tls",
                "typed_config": .message(
                    (
                        "@type",
                        .string(
                            types
                                + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext")
                    ),
                    ("common_tls_context", common(tls.common)),
                    ("require_client_certificate", flag(tls.requireClientCertificate)),
                    ("require_sni", flag(tls.requireSNI)),
                    ("session_timeout", optional(tls.sessionTimeout))),
            ]
        }
        let filter: JSONValue =
            switch chain.filter {
            case .http(let manager):
                [
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connectionManager(manager),
                ]
            case .tcpProxy(let proxy):
                ["name": "envoy.filters.network.tcp_proxy", "typed_config": tcpProxy(proxy)]
            }
        return .message(
            ("filter_chain_match", match(chain.match)), ("filters", [filter]),
            ("transport_socket", secure),
            ("transport_socket_connect_timeout", duration(chain.connectTimeout)),
            ("name", .string(chain.name)))
    }

    private static func match(_ match: FilterChainMatch) -> JSONValue {
        let sourceType: JSONValue =
            switch match.sourceType {
            case .any: .null
            case .sameIPOrLoopback: "SAME_IP_OR_LOOPBACK"
            case .external: "EXTERNAL"
            }
        return .message(
            ("destination_port", match.destinationPort.map { .number(Int64($0)) } ?? .null),
            ("prefix_ranges", .array(match.destinationPrefixes.map(prefix))),
            ("server_names", strings(match.serverNames)),
            ("transport_protocol", .string(match.transportProtocol)),
            ("application_protocols", strings(match.applicationProtocols)),
            (
                "direct_source_prefix_ranges",
                .array(match.directSourcePrefixes.map(prefix))
            ),
            ("source_type", sourceType),
            ("source_prefix_ranges", .array(match.sourcePrefixes.map(prefix))),
            ("source_ports", .array(match.sourcePorts.map { .number(Int64($0)) })))
    }

    private static func connectionManager(_ manager: HTTPConnectionManager) -> JSONValue {
        let name = "envoy.extensions.filters.network.http_connection_manager.v3"
        let codec: JSONValue =
            switch manager.codec {
            case .auto: .null
            case .http1: "HTTP1"
            case .http2: "HTTP2"
            }
        let routes: (String, JSONValue) =
            switch manager.routes {
            case .inline(let configuration): ("route_config", routeConfiguration(configuration))
            case .named(let name):
                (
                    "rds",
                    [
                        "config_source": ["ads": [:], "resource_api_version": "V3"],
                        "route_config_name": .string(name),
                    ]
                )
            }
        let router: JSONValue = [
            "name": "envoy.filters.http.router",
            "typed_config": [
                "@type": .string(types + "envoy.extensions.filters.http.router.v3.Router")
            ],
        ]
        return .message(
            ("@type", .string("\(types)\(name).HttpConnectionManager")), ("codec_type", codec),
            ("stat_prefix", .string(manager.statPrefix)), routes,
            (
                "http_filters",
                .array(
                    manager.filters.map { filter in
                        switch filter {
                        case .router: router
                        case .statefulSession(let setting): sessionFilter(setting)
                        }
                    })
            ),
            ("server_name", .string(manager.serverName)),
            ("common_http_protocol_options", ["idle_timeout": duration(manager.idleTimeout)]),
            ("stream_idle_timeout", duration(manager.streamIdleTimeout)),
            ("request_timeout", duration(manager.requestTimeout)),
            ("drain_timeout", duration(manager.drainTimeout)),
            ("access_log", .array(manager.accessLogs.map(accessLog))),
            ("use_remote_address", flag(manager.useRemoteAddress)),
            ("xff_num_trusted_hops", number(manager.trustedHops)),
            ("forward_client_cert_details", word(manager.forwardClientCert)),
            ("normalize_path", flag(manager.normalizePath)),
            ("merge_slashes", flag(manager.mergeSlashes)))
    }

    private static func word(_ forward: HTTPConnectionManager.ForwardClientCert) -> JSONValue {
        switch forward {
        case .sanitize: .null
        case .forwardOnly: "FORWARD_ONLY"
        case .appendForward: "APPEND_FORWARD"
        case .sanitizeSet: "SANITIZE_SET"
        case .alwaysForwardOnly: "ALWAYS_FORWARD_ONLY"
        }
    }

    private static func tcpProxy(_ proxy: TCPProxy) -> JSONValue {
        let target: (String, JSONValue) =
            proxy.clusters.count == 1
            ? ("cluster", .string(proxy.clusters[0].name))
            : (
                "weighted_clusters",
                ["clusters": .array(proxy.clusters.map { weighted($0) })]
            )
        return .message(
            (
                "@type",
                .string(types + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy")
            ),
            ("stat_prefix", .string(proxy.statPrefix)), target,
            ("idle_timeout", duration(proxy.idleTimeout)),
            ("max_connect_attempts", number(proxy.maxConnectAttempts, unless: 1)),
            ("access_log", .array(proxy.accessLogs.map(accessLog))))
    }

    static func weighted(_ cluster: WeightedCluster) -> JSONValue {
        .message(
            ("name", .string(cluster.name)), ("weight", .number(Int64(cluster.weight))),
            perFilter(cluster.session))
    }

    private static func accessLog(_ config: AccessLogConfig) -> JSONValue {
        let format: JSONValue =
            switch config.format {
            case .standard: .null
            case .text(let text): ["text_format_source": ["inline_string": .string(text)]]
            case .json(let fields):
                ["json_format": .object(fields.map { (key: $0.0, value: .string($0.1)) })]
            }
        return [
            "name": "envoy.access_loggers.file",
            "typed_config": .message(
                (
                    "@type",
                    .string(types + "envoy.extensions.access_loggers.file.v3.FileAccessLog")
                ), ("path", .string(config.path)), ("log_format", format)),
        ]
    }
}
