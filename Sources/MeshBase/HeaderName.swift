/// Header names that the proxy itself looks at, as a token that costs one comparison to test.
///
/// The pseudo-headers of HTTP/2 come first, in the order in which they must be sent
/// (RFC 9113 §8.3).
public enum HeaderName: UInt8, Sendable, CaseIterable {
    case method, scheme, authority, path, status
    case host, connection, contentLength, transferEncoding, te, trailer, upgrade, expect
    case keepAlive, proxyConnection, http2Settings, date, server, location, retryAfter
    case contentType, grpcStatus, grpcMessage, grpcTimeout, xRequestID, xForwardedFor
    case xForwardedProto, xForwardedClientCert, userAgent, traceparent, cookie
    case envoyAttemptCount, envoyUpstreamServiceTime, envoyExpectedTimeout, envoyOriginalPath
    case envoyUpstreamTimeout, envoyPerTryTimeout, envoyMaxRetries, envoyRetryOn
    case envoyInternal, envoyDegraded, altSvc
    /// Any other name.
    case other

    /// In lower case, as HTTP/2 wants it.
    public var text: StaticString {
        switch self {
        case .method: ":method"
        case .scheme: ":scheme"
        case .authority: ":authority"
        case .path: ":path"
        case .status: ":status"
        case .host: "host"
        case .connection: "connection"
        case .contentLength: "content-length"
        case .transferEncoding: "transfer-encoding"
        case .te: "te"
        case .trailer: "trailer"
        case .upgrade: "upgrade"
        case .expect: "expect"
        case .keepAlive: "keep-alive"
        case .proxyConnection: "proxy-connection"
        case .http2Settings: "http2-settings"
        case .date: "date"
        case .server: "server"
        case .location: "location"
        case .retryAfter: "retry-after"
        case .contentType: "content-type"
        case .grpcStatus: "grpc-status"
        case .grpcMessage: "grpc-message"
        case .grpcTimeout: "grpc-timeout"
        case .xRequestID: "x-request-id"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedProto: "x-forwarded-proto"
        case .xForwardedClientCert: "x-forwarded-client-cert"
        case .userAgent: "user-agent"
        case .traceparent: "traceparent"
        case .cookie: "cookie"
        case .envoyAttemptCount: "x-envoy-attempt-count"
        case .envoyUpstreamServiceTime: "x-envoy-upstream-service-time"
        case .envoyExpectedTimeout: "x-envoy-expected-rq-timeout-ms"
        case .envoyOriginalPath: "x-envoy-original-path"
        case .envoyUpstreamTimeout: "x-envoy-upstream-rq-timeout-ms"
        case .envoyPerTryTimeout: "x-envoy-upstream-rq-per-try-timeout-ms"
        case .envoyMaxRetries: "x-envoy-max-retries"
        case .envoyRetryOn: "x-envoy-retry-on"
        case .envoyInternal: "x-envoy-internal"
        case .envoyDegraded: "x-envoy-degraded"
        case .altSvc: "alt-svc"
        case .other: ""
        }
    }

    public var isPseudo: Bool { rawValue <= HeaderName.status.rawValue }

    /// Finds the token of a name in any case; `.other` if it has none.
    public init(_ name: UnsafeBufferPointer<UInt8>) {
        self = .other
        guard let base = name.baseAddress, name.count > 0, name.count < HeaderName.byLength.count
        else { return }
        for candidate in HeaderName.byLength[name.count] {
            let text = candidate.text.utf8Start
            if (text[name.count - 1] == base[name.count - 1] | 0x20
                || text[name.count - 1] == base[name.count - 1])
                && asciiEqualIgnoringCase(base, text, count: name.count)
            {
                self = candidate
                return
            }
        }
    }

    private static let byLength: [[HeaderName]] = {
        var table: [[HeaderName]] = Array(repeating: [], count: 48)
        for name in HeaderName.allCases where name != .other {
            table[name.text.utf8CodeUnitCount].append(name)
        }
        return table
    }()
}

/// Compares ASCII text without regard to case. Only letters fold: "@" and "`" stay apart.
public func asciiEqualIgnoringCase(
    _ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, count: Int
) -> Bool {
    for index in 0..<count {
        let a = left[index]
        let b = right[index]
        if a == b { continue }
        let folded = a | 0x20
        if folded != b | 0x20 || folded < 97 || folded > 122 { return false }
    }
    return true
}
