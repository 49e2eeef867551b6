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
    }

    private let loop: any IOLoop
    private let cap: EjectionCap
    private let metrics: WorkerMetrics
    private var clusters: [String: Watched] = [:]
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

    /// Takes the clusters that are in force. Where the settings changed it begins anew.
    func adopt(_ configs: [Cluster]) {
        var next: [String: Watched] = [:]
        var turns: [Turn] = []
        for config in configs {
            guard let detection = config.outlierDetection else { continue }
            var watched: Watched
            if let known = clusters[config.name], known.config == detection {
                watched = known
            } else {
                turns += returns(of: config.name)
                watched = Watched(
                    detector: OutlierDetector(detection, cap: cap, random: loop.random.split()),
                    config: detection, metrics: metrics.outliers(config))
            }
            let endpoints = config.endpoints.localities.flatMap { locality in
                locality.endpoints.compactMap {
                    endpoint -> (address: SocketAddress, priority: Int)? in
                    guard case .address(let address) = endpoint.target else { return nil }
                    return (address, locality.priority)
                }
            }
            watched.detector.update(endpoints)
            if !watched.sources.isEmpty {
                let addresses = Set(endpoints.map(\.address))
                watched.sources = watched.sources.filter { addresses.contains($0.key) }
            }
            next[config.name] = watched
        }
        for name in clusters.keys.sorted() where next[name] == nil { turns += returns(of: name) }
        clusters = next
        deadlines = deadlines.filter { next[$0.key] != nil }
        if !turns.isEmpty { turned(turns) }
        arm()
    }

    /// Everybody who is out of a cluster, as returned.
    private func returns(of name: String) -> [Turn] {
        (clusters[name]?.detector.ejected ?? []).map { Turn(cluster: name, address: $0) }
    }

    // MARK: What comes in

    func received(_ report: OutlierReport, from worker: Int) {
        for opened in report.opened {
            clusters[opened.cluster]?.sources[opened.address, default: [:]][worker] = Source(
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
        guard var watched = clusters[name] else { return [] }
        clusters[name] = nil
        defer { clusters[name] = watched }
        let address = observation.address
        var hadGood = false
        for (index, source) in watched.sources[address] ?? [:] {
            // Of the reporter those that came before its failure, of others all.
            let count = index == worker ? observation.goodCount : source.tally.goodCount
            if count == source.known { continue }
            watched.sources[address]?[index]?.known = count
            hadGood = true
        }
        let now = loop.now
        if hadGood { _ = watched.detector.record(address, .status(200), now: now) }
        let findings = watched.detector.record(address, observation.outcome, now: now)
        deadlines[name] = watched.detector.nextDeadline
        return findings.compactMap { turn($0, name, watched.metrics) }
    }

    /// An active health check passed, and the endpoint counts as healthy.
    func healthCheckPassed(cluster: String, _ address: SocketAddress) {
        guard clusters[cluster]?.detector.healthCheckPassed(address) == true else { return }
        turned([Turn(cluster: cluster, address: address)])
    }

    // MARK: Time

    private func intervalsEnded() {
        let now = loop.now
        var turns: [Turn] = []
        for name in deadlines.keys.sorted() {
            guard let deadline = deadlines[name], deadline <= now, var watched = clusters[name]
            else { continue }
            let sources = watched.sources
            let (returned, findings) = watched.detector.intervalEnded(at: now) { address in
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
            turns += findings.compactMap { turn($0, name, watched.metrics) }
            deadlines[name] = watched.detector.nextDeadline
            clusters[name] = watched
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
