import EventLoop
import HealthProbe
import LoadBalancer
import MeshBase
import MeshConfig

/// Outlier detection of all clusters, over the answers of all workers.
///
/// Workers report failures, and leave the count of good answers where it can be read (`OutlierTally`). A
/// failure is judged in the order of its arrival; before that it is looked up whether any worker saw
/// a good answer since, which ends a run. The timer runs only while something failed in this interval
/// or somebody is out.
final class OutlierWatch {
    /// To be published.
    struct Turn: Equatable {
        var cluster: String
        var address: SocketAddress
        /// `nil`: it is back.
        var ejectedUntil: Instant?
        var reason = ""
    }

    private struct Source {
        var tally: OutlierTally
        /// Good answers that are taken into account.
        var known: UInt64 = 0
    }
    private struct Watched {
        var detector: OutlierDetector
        var config: OutlierDetection
        var metrics: OutlierMetrics
        /// By endpoint, then by worker.
        var sources: [SocketAddress: [Int: Source]] = [:]

        mutating func update(_ config: Cluster) {
            let endpoints = config.endpoints.localities.flatMap { locality in
                locality.endpoints.compactMap {
                    endpoint -> (address: SocketAddress, priority: Int)? in
                    guard case .address(let address) = endpoint.target else { return nil }
                    return (address, locality.priority)
                }
            }
            detector.update(endpoints)
            if sources.isEmpty { return }
            let addresses = Set(endpoints.map(\.address))
            sources = sources.filter { addresses.contains($0.key) }
        }
    }

    private let loop: any IOLoop
    private let cap: EjectionCap
    private let metrics: WorkerMetrics
    /// Those that ask for it.
    private var configs: [String: Cluster] = [:]
    /// Those of them that workers have called.
    private var watched: [String: Watched] = [:]
    private var deadlines: [String: Instant] = [:]
    private var timer: LoopTimer?
    private let turned: ([Turn]) -> Void

    init(
        loop: any IOLoop, cap: EjectionCap, metrics: WorkerMetrics,
        turned: @escaping ([Turn]) -> Void
    ) {
        self.loop = loop
        self.cap = cap
        self.metrics = metrics
        self.turned = turned
        timer = LoopTimer(loop.timers) { [unowned self] in intervalsEnded() }
    }

    deinit { timer?.stop() }

    /// Takes the clusters that are in force. Where the settings changed it begins anew.
    func adopt(_ clusters: [Cluster]) {
        configs = [:]
        for config in clusters where config.outlierDetection != nil {
            configs[config.name] = config
        }
        var turns: [Turn] = []
        for name in watched.keys.sorted() {
            if let config = configs[name], config.outlierDetection == watched[name]?.config {
                watched[name]?.update(config)
            } else {
                turns += returns(of: name)
                watched[name] = nil
                deadlines[name] = nil
            }
        }
        if !turns.isEmpty { turned(turns) }
        arm()
    }

    /// Begins to watch a cluster, when a worker has first called it.
    private func watch(_ name: String) {
        guard watched[name] == nil, let config = configs[name],
            let detection = config.outlierDetection
        else { return }
        var new = Watched(
            detector: OutlierDetector(detection, cap: cap, random: loop.random.split()),
            config: detection, metrics: metrics.outliers(config))
        new.update(config)
        watched[name] = new
    }

    /// Everybody who is out of a cluster, as returned.
    private func returns(of name: String) -> [Turn] {
        (watched[name]?.detector.ejected ?? []).map { Turn(cluster: name, address: $0) }
    }

    // MARK: What comes in

    func received(_ report: OutlierReport, from worker: Int) {
        for opened in report.opened {
            watch(opened.cluster)
            watched[opened.cluster]?.sources[opened.address, default: [:]][worker] = Source(
                tally: opened.tally)
        }
        var turns: [Turn] = []
        for observation in report.observations { turns += judge(observation, from: worker) }
        if !turns.isEmpty { turned(turns) }
        arm()
    }

    private func judge(
        _ observation: OutlierReport.Observation, from worker: Int
    ) -> [Turn] {
        let name = observation.cluster
        guard var cluster = watched[name] else { return [] }
        watched[name] = nil
        defer { watched[name] = cluster }
        let address = observation.address
        var hadGood = false
        for (index, source) in cluster.sources[address] ?? [:] {
            // Of the reporter those that came before its failure, of others all.
            let count = index == worker ? observation.goodCount : source.tally.goodCount
            if count == source.known { continue }
            cluster.sources[address]?[index]?.known = count
            hadGood = true
        }
        let now = loop.now
        if hadGood { _ = cluster.detector.record(address, .status(200), now: now) }
        let findings = cluster.detector.record(address, observation.outcome, now: now)
        deadlines[name] = cluster.detector.nextDeadline
        return findings.compactMap { turn($0, name, cluster.metrics) }
    }

    /// An active health check passed, and the endpoint counts as healthy.
    func healthCheckPassed(cluster: String, _ address: SocketAddress) {
        guard watched[cluster]?.detector.healthCheckPassed(address) == true else { return }
        deadlines[cluster] = watched[cluster]?.detector.nextDeadline
        turned([Turn(cluster: cluster, address: address)])
        arm()
    }

    // MARK: Time

    private func intervalsEnded() {
        let now = loop.now
        var turns: [Turn] = []
        for name in deadlines.keys.sorted() {
            guard let deadline = deadlines[name], deadline <= now, var cluster = watched[name]
            else { continue }
            let sources = cluster.sources
            let (returned, findings) = cluster.detector.intervalEnded(at: now) { address in
                var volume = OutlierDetector.Volume()
                for source in (sources[address] ?? [:]).values {
                    let counts = source.tally.counts(ofIntervalBefore: deadline)
                    volume.total += counts.total
                    volume.good += counts.good
                    volume.localTotal += counts.localTotal
                    volume.localGood += counts.localGood
                }
                return volume
            }
            turns += returned.map { Turn(cluster: name, address: $0) }
            turns += findings.compactMap { turn($0, name, cluster.metrics) }
            deadlines[name] = cluster.detector.nextDeadline
            watched[name] = cluster
        }
        if !turns.isEmpty { turned(turns) }
        arm()
    }

    private func arm() {
        if let deadline = deadlines.values.min() {
            timer?.start(at: deadline)
        } else {
            timer?.stop()
        }
    }

    private func turn(
        _ finding: OutlierDetector.Finding, _ cluster: String, _ metrics: OutlierMetrics
    ) -> Turn? {
        metrics.found(finding)
        guard case .ejected(let until) = finding.fate else { return nil }
        return Turn(
            cluster: cluster, address: finding.address, ejectedUntil: until,
            reason: finding.kind.rawValue)
    }
}
