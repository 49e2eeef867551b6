internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

extension Decoding {
    /// `envoy.config.core.v3.HealthCheck`; `nil` with a problem noted.
    mutating func probe(_ message: Envoy_Config_Core_V3_HealthCheck) -> ProbeConfig? {
        noteUnknown(message)
        guard let kind = probeKind(message) else { return nil }
        var probe = ProbeConfig(kind: kind)
        guard message.hasTimeout, message.hasInterval else {
            refuse(expected: "timeout and interval", got: "not both")
            return nil
        }
        probe.timeout = positive(message.timeout, "timeout")
        probe.interval = positive(message.interval, "interval")
        probe.unhealthyThreshold = max(1, Int(message.unhealthyThreshold.value))
        probe.healthyThreshold = max(1, Int(message.healthyThreshold.value))
        intervals(message, &probe)
        if message.hasReuseConnection { probe.reuseConnection = message.reuseConnection.value }
        if message.hasAltPort { probe.altPort = port(message.altPort.value, "alt_port") }
        if message.hasTransportSocketMatchCriteria {
            probe.transportCriteria = Decoding.object(message.transportSocketMatchCriteria)
        }
        probe.alpn = message.tlsOptions.alpnProtocols
        probe.alwaysLogsFailures = message.alwaysLogHealthCheckFailures
        probe.alwaysLogsSuccesses = message.alwaysLogHealthCheckSuccess
        if !message.eventLogPath.isEmpty { probe.eventLogPaths.append(message.eventLogPath) }
        for path in each("event_logger", message.eventLogger, { $0.eventSink($1) }) {
            if let path { probe.eventLogPaths.append(path) }
        }
        if message.hasEventService { remark("event_service", "is ignored: no events are sent") }
        return probe
    }

    private mutating func intervals(
        _ message: Envoy_Config_Core_V3_HealthCheck, _ probe: inout ProbeConfig
    ) {
        if message.hasUnhealthyInterval {
            probe.unhealthyInterval = positive(message.unhealthyInterval, "unhealthy_interval")
        }
        if message.hasUnhealthyEdgeInterval {
            probe.unhealthyEdgeInterval = positive(
                message.unhealthyEdgeInterval, "unhealthy_edge_interval")
        }
        if message.hasHealthyEdgeInterval {
            probe.healthyEdgeInterval = positive(
                message.healthyEdgeInterval, "healthy_edge_interval")
        }
        if message.hasNoTrafficInterval {
            probe.noTrafficInterval = positive(message.noTrafficInterval, "no_traffic_interval")
        }
        if message.hasNoTrafficHealthyInterval {
            probe.noTrafficHealthyInterval = positive(
                message.noTrafficHealthyInterval, "no_traffic_healthy_interval")
        }
        probe.initialJitter = duration(message.initialJitter, "initial_jitter")
        probe.intervalJitter = duration(message.intervalJitter, "interval_jitter")
        probe.intervalJitterPercent = Int(message.intervalJitterPercent)
    }

    private mutating func probeKind(_ message: Envoy_Config_Core_V3_HealthCheck)
        -> ProbeConfig.Kind?
    {
        switch message.healthChecker {
        case .tcpHealthCheck(let tcp):
            if tcp.hasProxyProtocolConfig {
                refuse(
                    "tcp_health_check.proxy_protocol_config", expected: "none", got: "a header")
            }
            let send = within("tcp_health_check.send") { $0.payload(tcp.send) }
            let receive = each("tcp_health_check.receive", tcp.receive) { $0.payload($1) }
            return .tcp(send: send, receive: receive)
        case .httpHealthCheck(let http):
            return within("http_health_check") { .http($0.httpProbe(http)) }
        case .grpcHealthCheck(let grpc):
            let metadata = within("grpc_health_check") {
                $0.headerChanges(add: grpc.initialMetadata, remove: [], "initial")
            }
            return .grpc(
                service: grpc.serviceName, authority: grpc.authority, metadata: metadata)
        case .customHealthCheck, nil:
            refuse(
                expected: "tcp_health_check, http_health_check or grpc_health_check",
                got: message.healthChecker == nil ? "none" : "custom_health_check")
            return nil
        }
    }

    private mutating func httpProbe(
        _ http: Envoy_Config_Core_V3_HealthCheck.HttpHealthCheck
    ) -> HTTPProbeConfig {
        var config = HTTPProbeConfig(path: http.path, host: http.host)
        if http.path.isEmpty { refuse("path", expected: "a path", got: "none") }
        if http.method == .connect { refuse("method", expected: "another", got: "CONNECT") }
        if http.method != .methodUnspecified { config.method = http.method.protoName }
        if http.hasSend { refuse("send", expected: "none", got: "a body to send") }
        switch http.codecClientType {
        case .http1: break
        case .http2: config.useHTTP2 = true
        default:
            refuse("codec_client_type", expected: "HTTP1 or HTTP2", got: "\(http.codecClientType)")
        }
        config.expectedStatuses = statuses(http.expectedStatuses, "expected_statuses")
        config.retriableStatuses = statuses(http.retriableStatuses, "retriable_statuses")
        config.requestHeaders = headerChanges(
            add: http.requestHeadersToAdd, remove: http.requestHeadersToRemove, "request")
        if http.hasServiceNameMatcher {
            config.serviceName = within("service_name_matcher") {
                $0.stringMatcher(http.serviceNameMatcher)
            }
        }
        config.receive = each("receive", http.receive) { $0.payload($1) }
        if http.hasResponseBufferSize {
            config.bodyLimit = Int(min(http.responseBufferSize.value, 1 << 20))
            if config.bodyLimit == 0 { config.bodyLimit = 1 << 20 }
        }
        return config
    }

    private mutating func statuses(_ ranges: [Envoy_Type_V3_Int64Range], _ field: String)
        -> [Range<Int>]
    {
        ranges.compactMap { range in
            guard range.start >= 100, range.end <= 600, range.start < range.end else {
                refuse(
                    field, expected: "a range in [100, 600)", got: "\(range.start)..\(range.end)")
                return nil
            }
            return Int(range.start)..<Int(range.end)
        }
    }

    private mutating func eventSink(_ logger: Envoy_Config_Core_V3_TypedExtensionConfig)
        -> String?
    {
        within("typed_config") { at in
            let opened = at.open(logger.typedConfig)
            guard
                opened.type
                    == "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink",
                let sink = at.parse(
                    opened,
                    as: Envoy_Extensions_HealthCheck_EventSinks_File_V3_HealthCheckEventFileSink
                        .self)
            else {
                at.refuse(
                    expected: "a HealthCheckEventFileSink",
                    got: opened.type.isEmpty ? "none" : opened.type)
                return nil
            }
            at.noteUnknown(sink)
            if sink.eventLogPath.isEmpty {
                at.refuse("event_log_path", expected: "a path", got: "none")
            }
            return sink.eventLogPath
        }
    }

    /// Text is hexadecimal here, as Envoy has it.
    private mutating func payload(_ message: Envoy_Config_Core_V3_HealthCheck.Payload) -> [UInt8] {
        switch message.payload {
        case .binary(let data): return [UInt8](data)
        case .text(let text):
            let digits = text.compactMap(\.hexDigitValue)
            if digits.count != text.count || digits.count % 2 != 0 {
                refuse("text", expected: "hex digits", got: "\"\(text)\"")
                return []
            }
            return stride(from: 0, to: digits.count, by: 2)
                .map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
        case nil: return []
        }
    }
}

extension Envoy_Config_Core_V3_RequestMethod {
    fileprivate var protoName: String {
        switch self {
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .connect: "CONNECT"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .patch: "PATCH"
        default: "GET"
        }
    }
}
