import MeshBase
import MeshConfig

/// tmp
struct RetryState {
    enum Evidence {
        case transport(TransportFailure, unprocessed: Bool)
        case noEndpoint
        case response(MessageHead)
        var nothingWasSent: Bool {
            if case .transport(_, unprocessed: true) = self { return true }
            return false
        }
    }
    enum Decision { case giveUp; case retry(Instant) }
    var deadline: Instant?
    var retries = 0
    let policy: RetryPolicy?
    let isIdempotent: Bool
    init(policy: RetryPolicy? = nil, isIdempotent: Bool = false) {
        self.policy = policy
        self.isIdempotent = isIdempotent
    }
    var perTryTimeout: Duration? { policy?.perTryTimeout }
    func wants(_ head: MessageHead) -> Bool { false }
    mutating func settle() {}
    mutating func decide(_ evidence: Evidence, now: Instant, random: inout SeededRandom) -> Decision {
        if case .transport(_, let unprocessed) = evidence, unprocessed || isIdempotent, retries < 2 {
            retries += 1
            return .retry(now)
        }
        return .giveUp
    }
}
