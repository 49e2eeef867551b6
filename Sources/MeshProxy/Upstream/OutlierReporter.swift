import EventLoop
import HTTPCodec
import HealthProbe
import LoadBalancer
import MeshBase

/// What a worker tells the control loop of the answers that outlier detection is about.
struct OutlierReport: Sendable {
    /// A failure, in the order in which the worker saw it.
    struct Observation: Sendable {
        var cluster: String
        var address: SocketAddress
        var outcome: OutlierDetector.Outcome
        /// How many good answers the worker had counted before.
        var goodCount: UInt64
    }
    /// Where the worker counts from now on; the control loop reads there.
    struct Opened: Sendable {
        var cluster: String
        var address: SocketAddress
        var tally: OutlierTally
    }

    var opened: [Opened] = []
    var observations: [Observation] = []

    var isEmpty: Bool { opened.isEmpty && observations.isEmpty }
}

/// Collects one worker's failures and sends them at the end of the turn, so that a run of them is
/// noticed at once; when much fails, no oftener than each millisecond. While nothing fails nothing
/// is sent, and no timer runs.
final class OutlierReporter: TurnEndTask {
    private let loop: any IOLoop
    var send: (OutlierReport) -> Void = { _ in }
    private var report = OutlierReport()
    private var isQueued = false
    private var timer: LoopTimer?
    private var sent = Instant.zero
    private static let pause = Duration.milliseconds(1)

    init(loop: any IOLoop) {
        self.loop = loop
    }

    deinit { timer?.stop() }

    func opened(_ tally: OutlierTally, cluster: String, address: SocketAddress) {
        report.opened.append(.init(cluster: cluster, address: address, tally: tally))
        queue()
    }

    func failed(
        cluster: String, address: SocketAddress, _ outcome: OutlierDetector.Outcome,
        goodCount: UInt64
    ) {
        report.observations.append(
            .init(cluster: cluster, address: address, outcome: outcome, goodCount: goodCount))
        queue()
    }

    func turnEnded() {
        if loop.now - sent >= OutlierReporter.pause || sent == .zero {
            flush()
            return
        }
        if timer == nil { timer = LoopTimer(loop.timers) { [unowned self] in flush() } }
        timer?.start(at: sent + OutlierReporter.pause)
    }

    private func queue() {
        if isQueued { return }
        isQueued = true
        loop.atTurnEnd(self)
    }

    private func flush() {
        isQueued = false
        sent = loop.now
        if report.isEmpty { return }
        send(report)
        report = OutlierReport()
    }
}

extension OutlierDetector.Outcome {
    /// What a response says of its endpoint: for gRPC what `grpc-status` stands for, be it in the head
    /// or in trailers.
    static func answered(_ head: borrowing MessageHead) -> OutlierDetector.Outcome {
        guard let text = head.string(.grpcStatus), let code = Int(text) else {
            return .status(head.status)
        }
        switch code {
        case 0: return .status(200)
        case 1: return .status(499)
        case 3, 9, 11: return .status(400)
        case 4: return .status(504)
        case 5: return .status(404)
        case 6, 10: return .status(409)
        case 7: return .status(403)
        case 8: return .status(429)
        case 12: return .status(501)
        case 14: return .status(503)
        case 16: return .status(401)
        default: return .status(500)
        }
    }
}
