import EventLoop
import HTTPCodec
import MeshBase

/// What a drill does to the attempts of an exchange.
extension Exchange {
    func suffer(_ suffering: ClusterDrill.Suffering) {
        switch suffering {
        case .failure(let failure): fail(by: failure)
        case .status(let status): responseHead(MessageHead(status: status), endStream: true)
        case .silence(let end): hold(until: end, .silence)
        case .delay(let end): hold(until: end, .delay)
        }
    }

    func fail(by failure: TransportFailure) {
        leaseFailed(
            UpstreamFailure(transport: failure, unprocessed: true, isOfConnection: true))
    }

    /// An attempt waits for the end of what a drill does to it.
    var isHeld: Bool { times.waitsFor(.silence) || times.waitsFor(.delay) }

    private func hold(until end: Instant, _ meaning: ExchangeTimes.Wait) {
        let limit = perTryTimeout.map { worker.loop.now + $0 } ?? .distantFuture
        wait(for: limit <= end ? .perTry : meaning, until: min(end, limit))
    }
}
