import MeshConfig

extension ConfigJSON {
    /// `envoy.config.core.v3.HealthCheck`, but for the headers that its requests get.
    static func healthCheck(_ check: ProbeConfig) -> JSONValue {
        .message(
            ("timeout", duration(check.timeout)), ("interval", duration(check.interval)),
            ("unhealthy_threshold", .number(Int64(check.unhealthyThreshold))),
            ("healthy_threshold", .number(Int64(check.healthyThreshold))), checker(check.kind),
            ("no_traffic_interval", duration(check.noTrafficInterval)),
            ("no_traffic_healthy_interval", optional(check.noTrafficHealthyInterval)),
            ("unhealthy_interval", optional(check.unhealthyInterval)),
            ("unhealthy_edge_interval", optional(check.unhealthyEdgeInterval)),
            ("healthy_edge_interval", optional(check.healthyEdgeInterval)),
            ("initial_jitter", check.initialJitter > .zero ? duration(check.initialJitter) : .null),
            (
                "interval_jitter",
                check.intervalJitter > .zero ? duration(check.intervalJitter) : .null
            ), ("interval_jitter_percent", number(check.intervalJitterPercent)),
            ("alt_port", check.altPort.map { .number(Int64($0)) } ?? .null),
            ("reuse_connection", check.reuseConnection ? .null : false),
            ("transport_socket_match_criteria", check.transportCriteria.map(object) ?? .null),
            ("tls_options", .message(("alpn_protocols", strings(check.alpn)))),
            ("event_log_path", .string(check.eventLogPaths.first ?? "")),
            ("event_logger", .array(check.eventLogPaths.dropFirst().map(eventFile))),
            ("always_log_health_check_failures", flag(check.alwaysLogsFailures)),
            ("always_log_health_check_success", flag(check.alwaysLogsSuccesses)))
    }

    private static func checker(_ kind: ProbeConfig.Kind) -> (String, JSONValue) {
        switch kind {
        case .tcp(let send, let receive):
            let fields: JSONValue = .message(
                ("send", send.isEmpty ? .null : payload(send)),
                ("receive", .array(receive.map(payload))))
            return ("tcp_health_check", fields.isEmpty ? [:] : fields)
        case .http(let http):
            let hasLimit = http.bodyLimit != HTTPProbeConfig(path: "").bodyLimit
            return (
                "http_health_check",
                .message(
                    ("path", .string(http.path)), ("host", .string(http.host)),
                    ("method", http.method == "GET" ? .null : .string(http.method)),
                    ("expected_statuses", .array(http.expectedStatuses.map(range))),
                    ("retriable_statuses", .array(http.retriableStatuses.map(range))),
                    ("service_name_matcher", http.serviceName.map(string) ?? .null),
                    ("receive", .array(http.receive.map(payload))),
                    ("response_buffer_size", hasLimit ? number(http.bodyLimit) : .null),
                    ("codec_client_type", http.useHTTP2 ? "HTTP2" : .null))
            )
        case .grpc(let service, let authority, _):
            let fields: JSONValue = .message(
                ("service_name", .string(service)), ("authority", .string(authority)))
            return ("grpc_health_check", fields.isEmpty ? [:] : fields)
        }
    }

    private static func eventFile(_ path: String) -> JSONValue {
        let type = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
        return [
            "name": "envoy.health_check.event_sinks.file",
            "typed_config": ["@type": .string(types + type), "event_log_path": .string(path)],
        ]
    }

    private static func range(_ range: Range<Int>) -> JSONValue {
        ["start": .number(Int64(range.lowerBound)), "end": .number(Int64(range.upperBound))]
    }

    private static func payload(_ bytes: [UInt8]) -> JSONValue {
        ["text": .string(bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined())]
    }
}
