import EventLoop
import HTTPCodec
import HealthProbe
import LoadBalancer
import MeshBase
import MeshConfig
import Observability

/// The attempts of one exchange that went on past their per-try time-out, each beside the next.
///
/// With `hedge_on_per_try_timeout` a try that takes too long is not given up: it is set aside, and another is
/// sent to another host, in another failure domain if there is one. It costs a retry, of the policy and of
/// the budget. The first answer that the policy would not retry is the client's, and whatever else is
/// under way is reset. A worse one is dropped while there is hope of another, and passed on when it is the last.
///
/// It follows Envoy: an attempt that was set aside is never retried itself; one that finds no retry left, no
/// budget or no copy of the body just goes on, until the exchange's own deadline; and for outlier detection it has
/// timed out, whatever it answers.
struct Hedge {
    var attempts: [HedgedAttempt] = []
    /// The exchange makes no other attempt; these are the last.
    var isAlone = false

    mutating func remove(_ attempt: HedgedAttempt) { attempts.removeAll { $0 === attempt } }
}

/// One of them; it hears what its connection says.
final class HedgedAttempt: UpstreamCaller {
    let pick: Pick
    let connection: UpstreamConnection
    let stream: StreamID
    let began: Instant
    /// Holds it until it has ended.
    private unowned let exchange: Exchange

    init(
        _ pick: Pick, _ connection: UpstreamConnection, _ stream: StreamID, began: Instant,
        exchange: Exchange
    ) {
        self.pick = pick
        self.connection = connection
        self.stream = stream
        self.began = began
        self.exchange = exchange
    }

    func responseHead(_ head: consuming MessageHead, endStream: Bool) {
        exchange.answered(self, head, endStream: endStream)
    }

    func upstreamReset(_ failure: UpstreamFailure) { exchange.failed(self, failure) }

    // Its connection was leased before; a body comes only after a head; nothing is left to send.
    func leased(_: UpstreamConnection) {}
    func leaseFailed(_: UpstreamFailure) {}
    func responseInterim(_: MessageHead) {}
    func responseBody(_: UnsafeBufferPointer<UInt8>, endStream: Bool) {}
    func responseTrailers(_: MessageHead) {}
    func upstreamDrained() {}
}

extension Exchange {
    /// Makes another attempt beside one that has just been set aside.
    /// - Returns: whether there will be one.
    func hedge(beside attempt: HedgedAttempt) -> Bool {
        guard let cluster else { return false }
        cluster.metrics.perTryTimedOut()
        if cluster.detectsOutliers {
            cluster.observed(attempt.pick.host, .localFailure(wasConnected: true))
        }
        hedge.attempts.append(attempt)
        if tryAgain(.hedge, canReplay: canReplay) { return true }
        hedge.remove(attempt)
        return false
    }

    /// Replies, unless an attempt is still under way.
    func giveUp(_ error: ErrorReply) {
        if hedge.attempts.isEmpty { reply(error) } else { hedge.isAlone = true }
    }

    fileprivate func answered(
        _ attempt: HedgedAttempt, _ head: consuming MessageHead, endStream: Bool
    ) {
        guard let cluster else { return }
        cluster.metrics.responded(head.status, took: worker.loop.now - attempt.began)
        hedge.remove(attempt)
        let isLast = hedge.isAlone && hedge.attempts.isEmpty
        let evidence = retryPlan.evidence(of: head, at: worker.loop.wallClock)
        if !isLast, retryState.disdains(evidence) {
            if !endStream { attempt.connection.reset(attempt.stream, .cancel) }
            cluster.release(attempt.pick, .responded)
            return
        }
        dropAttempt()
        stopWaiting()
        releaseHost(.neutral)
        takeBack(attempt)
        pass(head, endStream: endStream)
    }

    fileprivate func failed(_ attempt: HedgedAttempt, _ failure: UpstreamFailure) {
        cluster?.metrics.wasReset()
        cluster?.release(attempt.pick, failure.outcome(wasConnected: true))
        hedge.remove(attempt)
        if hedge.isAlone { giveUp(.upstreamFailed(failure.transport, connected: true)) }
    }

    func dropHedges() {
        let attempts = hedge.attempts
        hedge = Hedge()
        for attempt in attempts {
            attempt.connection.reset(attempt.stream, .cancel)
            cluster?.release(attempt.pick, .neutral)
        }
    }
}
