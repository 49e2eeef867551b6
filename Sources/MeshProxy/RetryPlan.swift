import MeshBase
import MeshConfig

/// How one exchange may be tried again, and how long it may take: what its route says, and what
/// its request asks for besides with Envoy's x-envoy headers.
///
/// Those headers count only on requests of clients that are trusted (`RequestHeaders` takes them out
/// of all others), and they end here: an endpoint does not see them.
struct RetryPlan {
    /// Any of these makes a request's plan differ from its route's.
    static let asking = HeaderNameSet(
        .envoyRetryOn, .envoyRetryGRPCOn, .envoyMaxRetries, .envoyRetriableStatusCodes,
        .envoyHedgeOnTimeout, .envoyUpstreamTimeout, .envoyPerTryTimeout)
    /// What is taken out of a request whose client is not trusted.
    static let internalOnly = HeaderNameSet(
        .envoyRetryOn, .envoyRetryGRPCOn, .envoyMaxRetries, .envoyRetriableStatusCodes,
        .envoyHedgeOnTimeout, .envoyUpstreamTimeout, .envoyPerTryTimeout, .envoyExpectedTimeout)
    /// Too rare to have a token.
    static let headerNamesName = "x-envoy-retriable-header-names"

    private(set) var conditions: RetryPolicy.Conditions = []
    private(set) var maxRetries = 1
    let policy: RetryPolicy?
    private let retriableHeaders: [HeaderTest]
    private let retriableRequestHeaders: [HeaderTest]
    /// Asked for by the request.
    private(set) var statusCodes: [Int] = []
    private(set) var headerNames: [String] = []
    /// Asked for by the request; zero is no limit.
    private(set) var timeout: Duration?
    private(set) var perTryTimeout: Duration?
    /// An attempt goes on past the per-try time-out, beside another.
    private(set) var hedgesOnTimeout = false

    init(
        policy: RetryPolicy?, retriableHeaders: [HeaderTest] = [],
        retriableRequestHeaders: [HeaderTest] = []
    ) {
        self.policy = policy
        self.retriableHeaders = retriableHeaders
        self.retriableRequestHeaders = retriableRequestHeaders
        perTryTimeout = policy?.perTryTimeout
        guard let policy else { return }
        conditions = policy.conditions
        maxRetries = policy.maxRetries
    }

    init(_ forward: CompiledForward?) {
        self.init(
            policy: forward?.retryPolicy, retriableHeaders: forward?.retriableHeaders ?? [],
            retriableRequestHeaders: forward?.retriableRequestHeaders ?? [])
        hedgesOnTimeout = forward?.hedgePolicy?.onPerTryTimeout ?? false
    }

    /// Adds what a request asks for, and takes the headers that say so out of it.
    /// - Parameter takesExpected: the deadline that the proxy before left counts.
    mutating func take(from head: inout MessageHead, takesExpected: Bool) {
        if let words = head.string(.envoyRetryOn) { insert(words, among: .http) }
        if let words = head.string(.envoyRetryGRPCOn) { insert(words, among: .grpc) }
        if !conditions.isEmpty, let count = RetryPlan.number(head, .envoyMaxRetries) {
            maxRetries = count
        }
        if let codes = head.string(.envoyRetriableStatusCodes) {
            statusCodes = RetryPlan.words(codes).compactMap { Int($0) }
        }
        if let names = head.string(RetryPlan.headerNamesName) {
            headerNames = RetryPlan.words(names)
            head.remove(RetryPlan.headerNamesName)
        }
        let expected = takesExpected ? RetryPlan.number(head, .envoyExpectedTimeout) : nil
        if let limit = expected ?? RetryPlan.number(head, .envoyUpstreamTimeout) {
            timeout = .milliseconds(limit)
        }
        if let limit = RetryPlan.number(head, .envoyPerTryTimeout) {
            perTryTimeout = limit == 0 ? nil : .milliseconds(limit)
        }
        if head.value(.envoyHedgeOnTimeout, equals: "true") { hedgesOnTimeout = true }
        if head.value(.envoyHedgeOnTimeout, equals: "false") { hedgesOnTimeout = false }
        head.removeAll(of: RetryPlan.asking)
    }

    private mutating func insert(_ words: String, among allowed: RetryPolicy.Conditions) {
        for word in RetryPlan.words(words) {
            guard let condition = RetryPolicy.Conditions(word: word) else { continue }
            conditions.formUnion(condition.intersection(allowed))
        }
    }

    private static func words(_ text: String) -> [String] {
        text.split { $0 == "," || $0 == " " }.map(String.init)
    }

    private static func number(_ head: borrowing MessageHead, _ name: HeaderName) -> Int? {
        guard let number = head.string(name).flatMap({ Int($0) }), number >= 0 else { return nil }
        // A year of milliseconds; beyond it nobody means a number.
        return min(number, 31_536_000_000)
    }

    // MARK: Judging

    /// Whether the policy speaks for requests like this one.
    func covers(_ request: borrowing MessageHead) -> Bool {
        if retriableRequestHeaders.isEmpty { return true }
        for test in retriableRequestHeaders where test.passes(request) { return true }
        return false
    }

    /// Whether a gRPC status may lead to another attempt.
    var namesGRPC: Bool {
        !conditions.isDisjoint(with: [
            .grpcCancelled, .grpcDeadlineExceeded, .grpcResourceExhausted, .grpcInternal,
            .grpcUnavailable,
        ])
    }

    /// What a response says about trying again.
    func evidence(of head: borrowing MessageHead, at now: UnixTime) -> RetryState.Evidence {
        var hasRetriableHeader = false
        if conditions.contains(.retriableHeaders) {
            for test in retriableHeaders where test.passes(head) { hasRetriableHeader = true }
            for name in headerNames where head.string(name) != nil { hasRetriableHeader = true }
        }
        return .response(
            status: head.status, grpc: head.string(.grpcStatus).flatMap { Int($0) },
            isRateLimited: head.contains(.envoyRateLimited),
            hasRetriableHeader: hasRetriableHeader, resetsAfter: wait(in: head, at: now))
    }

    /// How long the endpoint asks to be left alone, by the first of the policy's headers that says so
    /// within bounds.
    private func wait(in head: borrowing MessageHead, at now: UnixTime) -> Duration? {
        guard let backoff = policy?.rateLimitedBackoff else { return nil }
        for header in backoff.resetHeaders {
            guard let number = head.string(header.name).flatMap({ Int64($0) }), number >= 0,
                number < 1 << 40
            else { continue }
            let wait: Duration =
                switch header.format {
                case .seconds: .seconds(number)
                case .unixTimestamp: .seconds(number - now.seconds)
                }
            if wait > .zero, wait <= backoff.maxInterval { return wait }
        }
        return nil
    }
}

extension RetryPolicy.Conditions {
    /// What `x-envoy-retry-grpc-on` may name.
    fileprivate static let grpc: RetryPolicy.Conditions = [
        .grpcCancelled, .grpcDeadlineExceeded, .grpcInternal, .grpcResourceExhausted,
        .grpcUnavailable,
    ]
    fileprivate static let http = RetryPolicy.Conditions(rawValue: ~grpc.rawValue)
}
