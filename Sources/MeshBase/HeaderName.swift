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
    case envoyRetryGRPCOn, envoyRetriableStatusCodes, envoyHedgeOnTimeout, envoyRateLimited
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
        case .envoyRetryGRPCOn: "x-envoy-retry-grpc-on"
        case .envoyRetriableStatusCodes: "x-envoy-retriable-status-codes"
        case .envoyHedgeOnTimeout: "x-envoy-hedge-rq-on-per-try-timeout"
        case .envoyRateLimited: "x-envoy-ratelimited"
        case .other: ""
        }
    }

    public var isPseudo: Bool { rawValue <= HeaderName.status.rawValue }

    /// Finds the token of a name in any case; `.other` if it has none.
    public init(_ name: UnsafeBufferPointer<UInt8>) {
        self = .other
        guard let base = name.baseAddress, name.count > 0 else { return }
        let candidate = table.candidate(base, count: name.count)
        let known = candidate.text
        if known.utf8CodeUnitCount == name.count,
            asciiEqualIgnoringCase(base, known.utf8Start, count: name.count)
        {
            self = candidate
        }
    }

}

/// Never written after it is made.
nonisolated(unsafe) private let table = HeaderNameTable()

/// A perfect hash of the known names: three bytes and the length say which name it can only be.
private struct HeaderNameTable {
    private let slots = UnsafeMutablePointer<HeaderName>.allocate(capacity: 512)
    private var multiplier: UInt32 = 0

    /// Looks for a multiplier that sends no two names to one slot; about one in ten does.
    init() {
        var random = SeededRandom(seed: 1)
        while true {
            multiplier = UInt32(truncatingIfNeeded: random.next()) | 1
            slots.initialize(repeating: .other, count: 512)
            var isPerfect = true
            for name in HeaderName.allCases where name != .other {
                let slot = slot(name.text.utf8Start, count: name.text.utf8CodeUnitCount)
                if slots[slot] != .other { isPerfect = false }
                slots[slot] = name
            }
            if isPerfect { return }
        }
    }

    func candidate(_ text: UnsafePointer<UInt8>, count: Int) -> HeaderName {
        slots[slot(text, count: count)]
    }

    /// Upper and lower case come to the same slot.
    private func slot(_ text: UnsafePointer<UInt8>, count: Int) -> Int {
        let bytes =
            UInt32(text[0]) | UInt32(text[count / 2]) << 8 | UInt32(text[count - 1]) << 16
        let key = (bytes | 0x0020_2020) ^ UInt32(truncatingIfNeeded: count) << 24
        return Int((key &* multiplier) >> 23)
    }
}

/// Some of the known names, as a bit for each.
public struct HeaderNameSet: Sendable {
    let bits: UInt64

    public init(_ names: HeaderName...) {
        bits = names.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    }
}

/// Compares ASCII text without regard to case. Only letters fold: "@" and "`" stay apart.
public func asciiEqualIgnoringCase(
    _ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, count: Int
) -> Bool {
    let left = UnsafeRawPointer(left)
    let right = UnsafeRawPointer(right)
    var index = 0
    while index + 8 <= count {
        let a = left.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        let b = right.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        if a != b, lowercase(a) != lowercase(b) { return false }
        index += 8
    }
    while index < count {
        let a = left.load(fromByteOffset: index, as: UInt8.self)
        let b = right.load(fromByteOffset: index, as: UInt8.self)
        if a != b, lowercase(UInt64(a)) != lowercase(UInt64(b)) { return false }
        index += 1
    }
    return true
}

/// Eight bytes at once. A byte's high bit shows whether it is at least "A" and beyond "Z" after
/// sums that can't carry into its neighbour, since bytes above ASCII are taken out before.
private func lowercase(_ bytes: UInt64) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let low = bytes & (ones &* 0x7F)
    let fromA = low &+ ones &* (0x80 - 0x41)
    let beyondZ = low &+ ones &* (0x7F - 0x5A)
    let isUpper = (fromA ^ beyondZ) & ~bytes & (ones &* 0x80)
    return bytes | isUpper >> 2
}
