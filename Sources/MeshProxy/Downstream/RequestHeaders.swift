import MeshBase
import MeshConfig
import Observability

/// What a connection manager adds to and takes from a request before it is routed
/// (Envoy's "HTTP header manipulation": x-forwarded-*, x-request-id, x-forwarded-client-cert).
enum RequestHeaders {
    static func prepare(
        _ head: inout MessageHead, config: HTTPConnectionManager,
        connection: DownstreamConnection, random: inout SeededRandom
    ) {
        if head.containsAny(of: RetryPlan.internalOnly),
            !isInternal(head, config: config, connection: connection)
        {
            head.removeAll(of: RetryPlan.internalOnly)
            head.remove(RetryPlan.headerNamesName)
        }
        if config.useRemoteAddress {
            head.set(.xForwardedProto, connection.tls == nil ? "http" : "https")
            if !config.skipXFFAppend, let address = connection.remoteAddress {
                appendForwardedFor(&head, address.host)
            }
        } else if !head.contains(.xForwardedProto) {
            if connection.tls == nil {
                head.append(.xForwardedProto, "http" as StaticString)
            } else {
                head.append(.xForwardedProto, "https" as StaticString)
            }
        }
        if config.generateRequestID, !head.contains(.xRequestID) {
            let worker = connection.worker
            worker.scratch.removeAll()
            appendRequestID(to: &worker.scratch, random: &random)
            worker.scratch.withBytes { head.append(.xRequestID, $0) }
        }
        clientCertificate(&head, config: config, connection: connection)
    }

    /// Envoy's rule of trust: the request came by no more than one hop, from an internal address. Whether it did
    /// is said by the connection where `use_remote_address` is on, else by x-forwarded-for.
    private static func isInternal(
        _ head: borrowing MessageHead, config: HTTPConnectionManager,
        connection: DownstreamConnection
    ) -> Bool {
        var source = connection.remoteAddress
        if config.useRemoteAddress {
            if head.contains(.xForwardedFor) { return false }
        } else {
            guard let text = head.string(.xForwardedFor), !text.contains(",") else { return false }
            source = SocketAddress(ip: text.filter { $0 != " " }, port: 0)
        }
        switch source {
        case .pipe: return config.trustsUnixSockets
        case .ipv4, .ipv6:
            return config.internalAddresses.contains { source.map($0.contains) == true }
        case nil: return false
        }
    }

    private static func appendForwardedFor(_ head: inout MessageHead, _ address: String) {
        if let before = head.string(.xForwardedFor) {
            head.set(.xForwardedFor, before + "," + address)
        } else {
            head.append(.xForwardedFor, address)
        }
    }

    /// `x-forwarded-client-cert`, by `forward_client_cert_details`.
    private static func clientCertificate(
        _ head: inout MessageHead, config: HTTPConnectionManager,
        connection: DownstreamConnection
    ) {
        switch config.forwardClientCert {
        case .sanitize:
            head.remove(.xForwardedClientCert)
        case .alwaysForwardOnly:
            break
        case .forwardOnly:
            if connection.tls?.isVerified != true { head.remove(.xForwardedClientCert) }
        case .appendForward, .sanitizeSet:
            guard let element = connection.forwardedElement else {
                head.remove(.xForwardedClientCert)
                return
            }
            if config.forwardClientCert == .appendForward,
                let before = head.string(.xForwardedClientCert)
            {
                head.set(.xForwardedClientCert, before + "," + element)
            } else {
                head.set(.xForwardedClientCert, element)
            }
        }
    }

    /// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
    static func grpcTimeout(_ text: UnsafeBufferPointer<UInt8>) -> Duration? {
        guard (2...9).contains(text.count), let unit = text.last else { return nil }
        var value: Int64 = 0
        for digit in text.dropLast() {
            guard (48...57).contains(digit) else { return nil }
            value = value * 10 + Int64(digit - 48)
        }
        switch unit {
        case UInt8(ascii: "H"): return .seconds(value * 3600)
        case UInt8(ascii: "M"): return .seconds(value * 60)
        case UInt8(ascii: "S"): return .seconds(value)
        case UInt8(ascii: "m"): return .milliseconds(value)
        case UInt8(ascii: "u"): return .microseconds(value)
        case UInt8(ascii: "n"): return .nanoseconds(value)
        default: return nil
        }
    }
}

/// What is added to a response before it is passed on.
enum ResponseHeaders {
    static func finish(
        _ head: inout MessageHead, manager: HTTPManager, serviceTime: Duration?, date: HTTPDate
    ) {
        if !manager.config.serverHeaderPassThrough || !head.contains(.server) {
            manager.serverName.withBytes { head.set(.server, $0) }
        }
        if !head.contains(.date) { date.withBytes { head.append(.date, $0) } }
        if let serviceTime, !manager.config.suppressEnvoyHeaders {
            withDecimal(serviceTime.milliseconds) { head.set(.envoyUpstreamServiceTime, $0) }
        }
    }

    static func withDecimal(_ value: Int64, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { text in
            var start = 20
            var rest = max(value, 0)
            repeat {
                start -= 1
                text[start] = UInt8(48 + rest % 10)
                rest /= 10
            } while rest > 0
            body(UnsafeBufferPointer(rebasing: text[start...]))
        }
    }
}
