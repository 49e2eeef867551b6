import EventLoop
import HealthProbe
import LoadBalancer
import MeshBase
import MeshConfig
import Observability
import XDSClient

/// The one thread that decides: configuration, health, admin, stopping.
///
/// It publishes immutable values to the workers and hears what they saw; it never touches their
/// connections, and they never wait for it.
final class ControlLoop {
    let loop: any IOLoop
    let bootstrap: Bootstrap
    private let log: ProxyLog
    private let files: any FileSource
    private let workers: [(WorkerOrder) -> Void]
    let clusters: ClusterSet
    private var discovery: DiscoveryClient?
    private var names: NameWatch?
    private var health: HealthModel
    private var healthTimer: LoopTimer?
    private var silences = SilenceWatch()
    private var probes: ProbeRunner?
    private var outliers: OutlierWatch?
    private var removed = RemovedEndpoints()
    /// Priorities that are not whole, as workers told last.
    let failbacks = FailbackBoard()
    var evacuations: [Evacuation] = []
    /// The drill that runs, or ran last.
    private(set) var drill: DrillWatch?
    private var contents: [String: [UInt8]] = [:]
    private var readFailures: [String: String] = [:]

    /// The last snapshot as its source gave it, before names and files are filled in.
    private var base: Snapshot
    /// The last one that the workers were given.
    private(set) var published = Snapshot()
    private var snapshotCount: UInt64 = 0
    private(set) var source = "static"
    private(set) var adoptedBy: [Int: UInt64] = [:]
    private(set) var problems: [String] = []
    let started: Instant
    private(set) var isDraining = false
    private var closedWorkers = 0
    private var reliefTimer: LoopTimer?
    private var nextRelief = Instant.zero
    /// For each worker, what is open by listener.
    private var openWork: [Int: [String: Int]] = [:]
    private var drainTimer: LoopTimer?
    private var drainDeadline = Instant.distantFuture
    /// Until then a graceful stop goes on even with nothing open.
    private var lingerEnd = Instant.zero
    /// What a stop ended before its time, by listener.
    private(set) var cut: [String: Int] = [:]
    private var certificateEnd: (snapshot: UInt64, seconds: Int64?)?
    /// Called when the process may end.
    var stopped: () -> Void = {}

    init(
        loop: any IOLoop, bootstrap: Bootstrap, files: any FileSource, log: ProxyLog,
        metrics: WorkerMetrics, workers: [(WorkerOrder) -> Void],
        breakers: BreakerTable = BreakerTable()
    ) {
        self.loop = loop
        self.bootstrap = bootstrap
        self.files = files
        self.log = log
        self.workers = workers
        base = bootstrap.staticResources
        started = loop.now
        clusters = ClusterSet(
            loop: loop, settings: bootstrap.settings, log: log, metrics: metrics,
            breakers: breakers)
        clusters.tell = { workers[$0](.placeIsFree($1)) }
        health = HealthModel(
            failuresToEject: bootstrap.settings.transportFailuresToEject,
            baseHold: bootstrap.settings.baseHold, maxHold: bootstrap.settings.maxHold)
        healthTimer = LoopTimer(loop.timers) { [unowned self] in healthDeadline() }
        names = NameWatch(loop: loop) { [unowned self] in publish() }
        probes = ProbeRunner(
            clusters: clusters, events: HealthEventLog(loop: loop, log: log.component("health")),
            turned: { [unowned self] in turned($0) },
            passed: { [unowned self] cluster, address in
                outliers?.healthCheckPassed(cluster: cluster, address)
            })
        outliers = OutlierWatch(
            loop: loop, cap: bootstrap.settings.ejectionCap, metrics: metrics
        ) { [unowned self] in turned($0) }
        clusters.report = { [unowned self] in evidence($0) }
        clusters.outliers.send = { [unowned self] in outliers?.received($0, from: -1) }
    }

    func start() {
        publish()
        guard let ads = bootstrap.ads else { return }
        let client = DiscoveryClient(
            bootstrap: bootstrap, discovery: ads, clusters: clusters,
            log: log.component("xds")
        ) { [unowned self] snapshot, source in
            base = snapshot
            self.source = source
            publish()
        }
        discovery = client
        client.changed = { [unowned self] in followDrill() }
        client.start()
    }

    var controlPlanes: [DiscoveryClient.Status] { discovery?.statuses ?? [] }
    var discoveryCounts: [ResourceType: (successes: Int, rejections: Int, attempts: Int)] {
        discovery?.counts ?? [:]
    }
    var warming: [String] { discovery?.warming ?? [] }
    var healthModel: HealthModel { health }

    /// Why health checks object to an endpoint, and when it is asked next.
    func objectionOfProbes(_ cluster: String, _ address: SocketAddress) -> (String, String)? {
        probes?.objection(cluster, address, now: loop.now)
    }

    /// When the first certificate in force ends, in seconds since 1970; read once for a snapshot.
    var firstCertificateEnd: Int64? {
        if let known = certificateEnd, known.snapshot == published.number { return known.seconds }
        let seconds = CertificateList.firstEnd(of: published)
        certificateEnd = (published.number, seconds)
        return seconds
    }

    /// The names of those "cluster" or "listener" resources that wait for something.
    func warmingNames(_ kind: String) -> [String] {
        warming.compactMap { words in
            guard words.hasPrefix(kind + " ") else { return nil }
            return words.dropFirst(kind.count + 1).split(separator: " ").first.map(String.init)
        }
    }

    var workerCount: Int { workers.count }
    /// An operator has asked for readiness to fail.
    var isHealthFailed = false

    /// Ready: something complete is in force in every worker, and it is not about to go.
    var isReady: Bool { state == .live }

    /// What the process is about, in Envoy's words.
    var state: ServerState {
        if isDraining || isHealthFailed { return .draining }
        if bootstrap.ads != nil, discovery?.inForce == nil { return .preInitializing }
        return adoptedBy.count < workers.count ? .initializing : .live
    }

    /// Why the state is what it is, for people.
    var stateReason: String {
        switch state {
        case .live: return "serving snapshot \(published.number) from \(source)"
        case .draining:
            return isDraining ? "stopping" : "readiness was made to fail by /healthcheck/fail"
        case .preInitializing:
            let waits = warming.isEmpty ? "" : "; " + warming.joined(separator: "; ")
            return "no control plane has given a complete configuration yet" + waits
        case .initializing:
            return "\(adoptedBy.count) of \(workers.count) workers have the configuration"
        }
    }

    // MARK: Configuration

    /// Fills in what the snapshot leaves to us, file contents and addresses of names, and gives it
    /// to the workers.
    func publish() {
        names?.watch(base.clusters)
        var snapshot = base
        if let names, !names.isEmpty { snapshot.clusters = snapshot.clusters.map(names.resolved) }
        removed.keep(in: &snapshot.clusters) { [probes] in probes?.isHealthy($0, $1) ?? false }
        readFiles(of: snapshot)
        snapshot.files = contents
        snapshotCount += 1
        snapshot.number = snapshotCount
        snapshot.source = source
        published = snapshot
        clusters.adopt(snapshot)
        outliers?.adopt(snapshot.clusters)
        forgetHealth(of: snapshot)
        for worker in workers { worker(.adopt(snapshot)) }
        // What it says of new endpoints is for those who have them.
        probes?.adopt(snapshot.clusters)
    }

    private func readFiles(of snapshot: Snapshot) {
        var wanted: [String: [UInt8]] = [:]
        for (path, directory) in FileReferences.paths(in: snapshot) {
            do {
                wanted[path] = try files.read(path)
                readFailures[path] = nil
            } catch {
                // What was read last stays in force.
                wanted[path] = contents[path]
                if readFailures[path] != "\(error)" {
                    log.warning("cannot read a file", ["path": path, "error": "\(error)"])
                }
                readFailures[path] = "\(error)"
            }
            let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
                .joined(separator: "/")
            files.watch(directory ?? (parent.isEmpty ? "." : parent)) { [weak self] in
                self?.filesChanged()
            }
        }
        contents = wanted
    }

    private func filesChanged() {
        for (path, before) in contents {
            if let now = try? files.read(path), now != before {
                publish()
                return
            }
        }
    }

    // MARK: Health

    func received(_ report: WorkerReport) {
        switch report {
        case .adopted(let worker, let number, let problems):
            adoptedBy[worker] = number
            if number == snapshotCount { giveMemoryBackSoon() }
            self.problems = problems
            for problem in problems { log.warning("not taken over", ["problem": problem]) }
        case .evidence(let evidence):
            self.evidence(evidence)
        case .outliers(let worker, let report):
            outliers?.received(report, from: worker)
        case .failback(let worker, let cluster, let change):
            failbacks.note(change, cluster: cluster, worker: worker)
            log.info(
                "failback",
                [
                    "cluster": cluster, "priority": "\(change.priority)",
                    "state": change.event.words, "worker": "\(worker)",
                ])
        case .drill(let worker, let counts, let phase):
            let mustStop = drill?.received(counts, phase, worker: worker, now: loop.now)
            if mustStop == true { revertDrill() }
        case .openWork(let worker, let byListener):
            openWork[worker] = byListener
            checkDrained()
        case .closed:
            closedWorkers += 1
            if closedWorkers == workers.count { stopped() }
        }
    }

    /// What it took to read and compile a configuration is free again. Pushes that follow each other
    /// closely share the work.
    private func giveMemoryBackSoon() {
        if reliefTimer == nil {
            reliefTimer = LoopTimer(loop.timers) { [unowned self] in
                nextRelief = loop.now + .seconds(10)
                Machine.giveBackMemory()
                Machine.forgetCode()
            }
        }
        reliefTimer?.start(at: max(nextRelief, loop.now + .milliseconds(200)))
    }

    private func evidence(_ evidence: HealthEvidence) {
        switch evidence {
        case .failed(let cluster, let address, let failure):
            publish(
                health.failed(
                    cluster: cluster, address, gateway: nil, failure, now: loop.now))
            if failure.kind.isSilence { fellSilent(address, of: cluster) }
        case .recovered(let cluster, let address, let path):
            publish(health.succeeded(cluster: cluster, address, gateway: path))
        case .saidUnhealthy(let cluster, let address):
            probes?.saidUnhealthy(cluster, address)
        case .used(let cluster):
            probes?.used(cluster)
        case .answered(let path):
            publish(health.answered(path: path))
        }
    }

    /// Health checks changed their mind on these.
    private func turned(_ turns: [ProbeRunner.Turn]) {
        publish(
            turns.flatMap { turn in
                health.probesTurned(cluster: turn.cluster, turn.address, turn.standing)
            })
        let areGone = turns.contains {
            $0.standing == .failed && removed.isLingering($0.cluster, $0.address)
        }
        // Not from inside the probes' own call.
        if areGone { loop.atTurnEnd(Deferred { [weak self] in self?.publish() }) }
    }

    /// A first hop keeps silent; when others of its locality do, too, all workers ask the rest.
    private func fellSilent(_ address: SocketAddress, of cluster: String) {
        let now = loop.now
        guard let locality = clusters.locality(of: address, in: cluster),
            silences.fellSilent(address, in: locality, now: now)
        else { return }
        silences.prune(now: now)
        log.warning(
            "a locality falls silent, asking all of it",
            ["locality": SimulationReport.words(locality)])
        clusters.doubt(locality)
        for worker in workers { worker(.doubt(locality)) }
    }

    /// Outlier detection ejected or returned these.
    private func turned(_ turns: [OutlierWatch.Turn]) {
        publish(
            turns.flatMap { turn in
                health.outlierTurned(
                    cluster: turn.cluster, turn.address, ejectedUntil: turn.ejectedUntil,
                    reason: turn.reason)
            })
    }

    private func healthDeadline() {
        let (requests, changes) = health.deadlineReached(at: loop.now)
        for case .wantsProbe(let subject, let address) in requests {
            probes?.connect(to: address, timeout: .seconds(1)) { [weak self] failure in
                guard let self else { return }
                publish(health.connectProbed(subject, failure: failure, now: loop.now))
            }
        }
        publish(changes)
    }

    /// Gives new verdicts to everybody who balances.
    private func publish(_ changes: [HealthModel.Change]) {
        if !changes.isEmpty {
            for change in changes {
                let subject = change.subject
                log.info(
                    "health",
                    [
                        "subject": "\(subject)",
                        "state": health.describe(subject, now: loop.now),
                    ])
            }
            clusters.adopt(changes)
            for worker in workers { worker(.health(changes)) }
        }
        if let deadline = health.nextDeadline {
            healthTimer?.start(at: deadline)
        } else {
            healthTimer?.stop()
        }
    }

    /// Gives the evacuations that there are now to everybody who balances.
    func publish(_ evacuations: [Evacuation]) {
        self.evacuations = evacuations
        clusters.adopt(evacuations)
        for worker in workers { worker(.evacuate(evacuations)) }
    }

    func begin(_ drill: Drill) {
        self.drill = DrillWatch(drill)
        log.warning(
            "drill begins",
            [
                "cluster": drill.cluster, "fault": drill.fault.rawValue,
                "control_plane": drill.plane,
                "percent": "\(drill.percent)", "for": "\(drill.ends - drill.began)",
            ])
        for worker in workers { worker(.drill(drill)) }
        discovery?.adopt(drill)
    }

    private func followDrill() {
        guard let plane = drill?.drill.plane, !plane.isEmpty, let discovery else { return }
        let isComplete = discovery.statuses.contains { $0.name == plane && $0.phase == .complete }
        drill?.followed(inForce: discovery.inForce, isComplete: isComplete, now: loop.now)
    }

    func stopDrill(_ reason: String) {
        drill?.stop(reason, at: loop.now)
        revertDrill()
    }

    private func revertDrill() {
        log.warning("drill ends early", ["reason": drill?.reason ?? ""])
        for worker in workers { worker(.drill(nil)) }
        discovery?.adopt(nil)
    }

    private func forgetHealth(of snapshot: Snapshot) {
        if health.isEmpty { return }
        var names: Set<String> = []
        var addresses: Set<SocketAddress> = []
        for cluster in snapshot.clusters {
            names.insert(cluster.name)
            for locality in cluster.endpoints.localities {
                for endpoint in locality.endpoints {
                    if let address = endpoint.address { addresses.insert(address) }
                    addresses.formUnion(endpoint.additionalAddresses)
                }
            }
        }
        health.retain { subject in
            switch subject {
            case .endpoint(let cluster, let address):
                names.contains(cluster) && addresses.contains(address)
            case .path(let address):
                addresses.contains(address)
            }
        }
    }

    // MARK: Stopping

    /// Graceful, as a lame duck: readiness fails, the connections of clients end in two steps while new ones
    /// are still answered, what the application asks for through an outbound listener goes on, and
    /// the process ends when nothing is open any more, or at the deadline. Asked again, it ends at once.
    /// - Parameter lingers: does not end before others had time to learn that it is about to go.
    func drain(time: Duration? = nil, lingers: Bool = true) {
        if isDraining {
            noteCut("asked to stop again")
            close()
            return
        }
        isDraining = true
        let settings = bootstrap.settings
        let time = time ?? settings.drainTime
        drainDeadline = loop.now + time
        if lingers { lingerEnd = loop.now + min(settings.drainPropagationDelay, time / 2) }
        log.info("draining", ["at_most": "\(time)"])
        for worker in workers { worker(.drain) }
        let timer = LoopTimer(loop.timers) { [unowned self] in drainTick() }
        drainTimer = timer
        timer.start(at: loop.now + .milliseconds(50))
    }

    private func drainTick() {
        if loop.now >= drainDeadline {
            noteCut("drain time is over")
            close()
            return
        }
        for worker in workers { worker(.reportOpenWork) }
        drainTimer?.start(at: loop.now + .milliseconds(50))
    }

    private func checkDrained() {
        guard isDraining, loop.now >= lingerEnd, openWork.count == workers.count,
            openWork.values.allSatisfy(\.isEmpty)
        else { return }
        close()
    }

    /// Says what is about to be cut, as the workers last told it.
    private func noteCut(_ reason: String) {
        cut = openWork.values.reduce(into: [:]) { $0.merge($1, uniquingKeysWith: +) }
        let parts = cut.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        log.warning(
            reason,
            [
                "cut": "\(cut.values.reduce(0, +))", "by_listener": parts.joined(separator: ", "),
            ])
    }

    /// Lets the connections of listeners end gracefully, or with `graceful` false stops to accept new
    /// ones at once. Until the drain time is over new ones are still accepted; then, unless told
    /// to stay, the process ends.
    func drainListeners(inboundOnly: Bool, graceful: Bool, thenExit: Bool) {
        if isDraining { return }
        guard graceful else {
            for worker in workers { worker(.stopListeners(inboundOnly: inboundOnly)) }
            return
        }
        for worker in workers { worker(.drainListeners(inboundOnly: inboundOnly)) }
        guard thenExit else { return }
        let timer = LoopTimer(loop.timers) { [unowned self] in close() }
        drainTimer?.stop()
        drainTimer = timer
        timer.start(at: loop.now + bootstrap.settings.drainTime)
    }

    /// Ends now, whatever is open.
    func quit() {
        isDraining = true
        close()
    }

    private func close() {
        drainTimer?.stop()
        drainTimer = nil
        reliefTimer?.stop()
        discovery?.stop()
        for worker in workers { worker(.close) }
        if workers.isEmpty { stopped() }
    }

    func reopenLogs() {
        probes?.reopenLogs()
        for worker in workers { worker(.reopenLogs) }
    }
}

/// Envoy's `ServerInfo.State`, with its numbers in `server.state`.
enum ServerState: Int {
    case live, draining, preInitializing, initializing

    var word: String {
        switch self {
        case .live: "LIVE"
        case .draining: "DRAINING"
        case .preInitializing: "PRE_INITIALIZING"
        case .initializing: "INITIALIZING"
        }
    }
}

extension HealthModel.Change {
    fileprivate var subject: HealthModel.Subject {
        switch self {
        case .endpoint(let cluster, let address, _): .endpoint(cluster: cluster, address)
        case .path(let address, usable: _): .path(address)
        }
    }
}
