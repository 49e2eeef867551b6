import MeshBase
import MeshConfig

/// Decides, for one exchange, whether a failed attempt is followed by another.
///
/// Two rules, either of which is enough. *Always*: a transport failure before any response is retried
/// up to twice, if the request was provably not processed, or is idempotent. *By policy*: what the
/// route's `retry_on` names, up to its number of retries, as Envoy reads those words.
///
/// Neither applies when the body can't be sent again, when the response has begun to go to the client,
/// when the deadline leaves no time, or when the cluster's retry budget is spent. Attempts that no
/// endpoint began to process take nothing from the budget: repeating them adds no load, and when
/// all local endpoints go at once every request in flight has to be repeated. The first retry of a
/// transport failure goes out at once, for it goes elsewhere; others wait for a jittered back-off, or for
/// as long as the endpoint itself asked for where the policy heeds that.
struct RetryState {
    /// How far an attempt came before it failed.
    enum Progress: Equatable {
        /// No byte of it was sent: no connection, or the pool never took it.
        case unsent
        /// The peer says that it did not process it: REFUSED_STREAM, or above GOAWAY's last stream.
        case refused
        /// Sent in part or whole; no response yet.
        case sent
        /// The client has seen part of the response.
        case responding
    }
    enum Evidence: Equatable {
        case transport(TransportFailure.Kind, Progress)
        /// A response head; `grpc` is its `grpc-status`, where it has one, and `resetsAfter` how long
        /// it asks to be left alone, where the policy heeds that.
        case response(
            status: Int, grpc: Int?, isRateLimited: Bool = false, hasRetriableHeader: Bool = false,
            resetsAfter: Duration? = nil)
        case perTryTimeout
        /// As that, and the attempt goes on.
        case hedge
    }
    enum Decision: Equatable {
        case retry(at: Instant)
        case giveUp(Refusal)
    }
    /// The words of the access log.
    enum Refusal: String {
        case notRetriable = "not-retriable"
        case attemptsSpent = "retries-spent"
        case budgetSpent = "budget-spent"
        case bodyGone = "body-not-replayable"
        case deadline = "deadline"
        case responseBegun = "response-begun"
    }

    /// Retries that transport failures get without any policy.
    static let alwaysArmed = 2

    private let plan: RetryPlan
    private let isCovered: Bool
    private let isIdempotent: Bool
    /// Of the whole exchange; known once the request has come whole.
    var deadline: Instant
    private var backoff: Backoff?
    private(set) var retries = 0

    /// - Parameters:
    ///   - head: of the request: its method says whether it is idempotent (RFC 9110 §9.2.2).
    ///   - deadline: of the whole exchange.
    init(plan: RetryPlan, head: borrowing MessageHead, deadline: Instant) {
        self.plan = plan
        self.deadline = deadline
        isCovered = plan.covers(head)
        isIdempotent = RetryState.isIdempotent(head)
        backoff = Backoff(
            base: plan.policy?.backoffBase ?? .milliseconds(25),
            cap: plan.policy?.backoffCap ?? .milliseconds(250))
    }

    static func isIdempotent(_ head: borrowing MessageHead) -> Bool {
        isSafe(head) || head.value(.method, equals: "PUT") || head.value(.method, equals: "DELETE")
    }

    /// It asks and changes nothing (RFC 9110 §9.2.1).
    static func isSafe(_ head: borrowing MessageHead) -> Bool {
        head.value(.method, equals: "GET") || head.value(.method, equals: "HEAD")
            || head.value(.method, equals: "OPTIONS") || head.value(.method, equals: "TRACE")
    }

    /// - Parameters:
    ///   - canReplay: the request's body is still held whole.
    ///   - beginRetry: takes a place in the cluster's retry budget; asked only when all else agrees.
    mutating func decide(
        _ evidence: Evidence, now: Instant, canReplay: Bool, random: inout SeededRandom,
        beginRetry: () -> Bool
    ) -> Decision {
        if case .transport(_, .responding) = evidence { return .giveUp(.responseBegun) }
        let isArmed = isAlwaysRetried(evidence)
        let isAsked = isCovered && isNamed(evidence)
        guard isArmed || isAsked else { return .giveUp(.notRetriable) }
        guard
            isArmed && retries < RetryState.alwaysArmed
                || isAsked && retries < plan.maxRetries
        else { return .giveUp(.attemptsSpent) }
        guard canReplay else { return .giveUp(.bodyGone) }
        var at = now
        if case .response(_, _, _, _, let wait?) = evidence {
            // No sooner than asked for, and not all at the same moment.
            at = now + wait + .nanoseconds(Int64(random.below(Int(wait.nanoseconds / 2) + 1)))
        } else if retries > 0 || !isTransport(evidence) {
            if let delay = backoff?.next(random: &random) { at = now + delay }
        }
        guard at < deadline else { return .giveUp(.deadline) }
        guard wasUnprocessed(evidence) || beginRetry() else { return .giveUp(.budgetSpent) }
        retries += 1
        return .retry(at: at)
    }

    /// Whether the policy would rather have another answer than this.
    func disdains(_ evidence: Evidence) -> Bool { isCovered && isNamed(evidence) }

    private func isTransport(_ evidence: Evidence) -> Bool {
        if case .transport = evidence { true } else { false }
    }

    private func wasUnprocessed(_ evidence: Evidence) -> Bool {
        switch evidence {
        case .transport(_, .unsent), .transport(_, .refused): true
        default: false
        }
    }

    private func isAlwaysRetried(_ evidence: Evidence) -> Bool {
        guard case .transport(let kind, let progress) = evidence else { return false }
        // Our own lack of descriptors is no better on another host.
        if kind == .exhausted { return false }
        switch progress {
        case .unsent, .refused: return true
        case .sent: return isIdempotent
        case .responding: return false
        }
    }

    private func isNamed(_ evidence: Evidence) -> Bool {
        let conditions = plan.conditions
        if conditions.isEmpty { return false }
        // Envoy counts an attempt without a response as the 5xx that it would become.
        let anyReset: RetryPolicy.Conditions = [.reset, .serverError, .gatewayError]
        switch evidence {
        // Envoy's rule: nothing is reset, so any policy will do.
        case .hedge: return true
        case .perTryTimeout:
            return !conditions.isDisjoint(with: anyReset)
        case .transport(.exhausted, _): return false
        case .transport(_, let progress):
            if !conditions.isDisjoint(with: anyReset) { return true }
            switch progress {
            case .unsent:
                return conditions.contains(.resetBeforeRequest)
                    || conditions.contains(.connectFailure)
            case .refused: return conditions.contains(.refusedStream)
            case .sent, .responding: return false
            }
        case .response(let status, let grpc, let isRateLimited, let hasRetriableHeader, _):
            // Who is told to come less often comes again only when he is told to.
            if isRateLimited { return conditions.contains(.envoyRateLimited) }
            return names(status) || hasRetriableHeader || names(grpcStatus: grpc)
        }
    }

    private func names(_ status: Int) -> Bool {
        let conditions = plan.conditions
        if conditions.contains(.serverError), (500..<600).contains(status) { return true }
        if conditions.contains(.gatewayError), (502...504).contains(status) { return true }
        if conditions.contains(.retriable4xx), status == 409 { return true }
        return conditions.contains(.retriableStatusCodes)
            && (plan.policy?.retriableStatusCodes.contains(status) == true
                || plan.statusCodes.contains(status))
    }

    private func names(grpcStatus: Int?) -> Bool {
        let conditions = plan.conditions
        switch grpcStatus {
        case 1: return conditions.contains(.grpcCancelled)
        case 4: return conditions.contains(.grpcDeadlineExceeded)
        case 8: return conditions.contains(.grpcResourceExhausted)
        case 13: return conditions.contains(.grpcInternal)
        case 14: return conditions.contains(.grpcUnavailable)
        default: return false
        }
    }
}
