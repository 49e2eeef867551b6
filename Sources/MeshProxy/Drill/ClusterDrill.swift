import EventLoop
import LoadBalancer
import MeshBase
import Observability

/// A drill at work in one cluster of one worker: carries out what `DrillRun` decides, and tells the
/// control loop what it counts.
///
/// Requests to an aggregate that has the cluster among its members are as good as the cluster's own: they meet the
/// fault at its endpoints, count, and are elsewhere with another member.
final class ClusterDrill {
    enum Suffering {
        case failure(TransportFailure)
        /// No word until then, and the attempt fails.
        case silence(until: Instant)
        /// The attempt goes on then.
        case delay(until: Instant)
        case status(Int)
    }

    private(set) var run: DrillRun
    private unowned let cluster: UpstreamCluster
    private let loop: any IOLoop
    private var timer: LoopTimer?
    /// Since when endpoints have kept silent, until they are suspected for it.
    private var silences: [(host: Host, since: Instant)] = []
    private static let tick = Duration.milliseconds(50)

    init(_ drill: Drill, cluster: UpstreamCluster) {
        self.cluster = cluster
        loop = cluster.set.loop
        run = DrillRun(drill, random: loop.random.split())
        timer = LoopTimer(loop.timers) { [weak self] in self?.ticked() }
        timer?.start(at: loop.now + ClusterDrill.tick)
        if drill.fault == .empty { cluster.hideBest(percent: drill.percent) }
    }

    /// - Returns: what this attempt suffers; `nil` lets it go.
    func attempted(_ host: Host, isRetry: Bool) -> Suffering? {
        let now = loop.now
        guard
            run.attempted(isLocal: isLocal(host), isRetry: isRetry, now: now)
        else { return nil }
        switch run.drill.fault {
        case .refuse:
            let failure = TransportFailure(.connectRefused, detail: "drill")
            cluster.suspectAlone(host, failure)
            return .failure(failure)
        case .blackhole:
            if !silences.contains(where: { $0.host === host }) { silences.append((host, now)) }
            return .silence(until: now + cluster.patience(with: host))
        case .slow: return .delay(until: now + run.drill.delay)
        case .serverError: return .status(503)
        case .empty, .planeDown, .planeWrong: return nil
        }
    }

    private func isLocal(_ host: Host) -> Bool {
        host.priority == cluster.bestPriority && (host.owner == nil || host.owner === cluster)
    }

    /// Attempts on this endpoint have waited in vain.
    func silenceEnded(_ host: Host) {
        silences.removeAll { $0.host === host }
        _ = cluster.silenceEnded(host)
    }

    func requestEnded(_ record: AccessLogRecord, began: Instant, wasHeld: Bool) {
        let leftByClient = record.flags.contains(.downstreamConnectionTermination)
        // A client that gives up on anything but the drill says nothing about it.
        if leftByClient, !wasHeld { return }
        let failed =
            leftByClient || record.status >= 500
            || !record.flags.isDisjoint(with: [
                .upstreamConnectionTermination, .upstreamRequestTimeout, .upstreamRemoteReset,
            ])
        let isLocal = record.upstreamHost.map { address in
            cluster.hosts.contains { $0.address == address && self.isLocal($0) }
        }
        run.requestEnded(
            failed: failed, isLocal: isLocal,
            attempts: record.attemptCount, began: began, now: loop.now)
    }

    func followed(_ change: FailbackRamp.Change) {
        guard change.priority == cluster.bestPriority else { return }
        switch change.event {
        case .out: run.turned(isOut: true)
        case .finished: run.turned(isOut: false)
        case .holding, .forward, .back: break
        }
    }

    func stop() {
        run.stop(at: loop.now)
        ticked()
    }

    /// The cluster is gone.
    func cancel() {
        timer?.stop()
        cluster.set.drillProgress(run.counts, .over)
    }

    private func ticked() {
        let now = loop.now
        run.advance(to: now)
        if run.phase == .running {
            for (host, since) in silences where now >= since + cluster.patience(with: host) {
                silenceEnded(host)
            }
        } else {
            cluster.hideBest(percent: 0)
        }
        cluster.set.drillProgress(run.counts, run.phase)
        if run.phase == .over {
            timer?.stop()
            cluster.drillEnded()
        } else {
            timer?.start(at: now + ClusterDrill.tick)
        }
    }
}
