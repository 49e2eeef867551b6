import LoadBalancer
import MeshBase
import MeshConfig

/// One service of a `MeshSimulator`: its hosts, its requests, and what became of them.
final class SimulatedService {
    private let traffic: FaultTimeline.Traffic
    private let timeline: FaultTimeline
    private let settings: Settings
    private let retryPolicy: RetryPolicy?
    private let timeout: Duration
    private let subset: SubsetCriteria?
    private let drops: OverloadDrops?
    private let home: String
    private let hosts: SimulatedHosts
    private var random: SeededRandom
    private var budget: RetryBudget
    private var active = 0
    private var report: SimulationReport.Service
    private var evacuations: [Int: Evacuation] = [:]
    private var now = Instant.zero
    private static let answerTime = Duration.milliseconds(2)
    private static let roundTrip = Duration.milliseconds(1)

    init(
        _ cluster: Cluster, _ traffic: FaultTimeline.Traffic, _ bootstrap: Bootstrap,
        _ timeline: FaultTimeline, paths: PathHealth, localCluster: LocalCluster?,
        random: SeededRandom
    ) {
        var random = random
        self.traffic = traffic
        self.timeline = timeline
        settings = bootstrap.settings
        (retryPolicy, timeout, subset) = SimulatedService.route(to: cluster.name, bootstrap)
        let clusters = bootstrap.staticResources.clusters
        let first = cluster.leaves { name in clusters.first { $0.name == name } }.first ?? cluster
        let near = first.endpoints.localities.min { $0.priority < $1.priority }?.locality.region
        let own = bootstrap.node.locality.region
        home = own.isEmpty ? near ?? "" : own
        let hosts = SimulatedHosts(
            cluster, among: clusters, settings: bootstrap.settings, paths: paths,
            localCluster: localCluster, random: &random)
        self.hosts = hosts
        drops = OverloadDrops(cluster.endpoints.drops)
        self.random = random
        budget = RetryBudget(cluster.circuitBreakers)
        var marks: Set<Instant> = [.zero, .zero + timeline.length]
        for entry in timeline.entries {
            marks.insert(min(entry.from, .zero + timeline.length))
            marks.insert(min(entry.until, .zero + timeline.length))
        }
        report = SimulationReport.Service(
            name: cluster.name, perSecond: traffic.perSecond, home: home, marks: marks.sorted(),
            faults: timeline.entries.filter { hosts.isMeant($0.scope) })
        hosts.onFailback { [unowned self] in report.note($0, at: now) }
        adoptEndpoints()
    }

    /// The first route that leads there says how it is retried, and to which subset it goes.
    private static func route(
        to name: String, _ bootstrap: Bootstrap
    ) -> (RetryPolicy?, Duration, SubsetCriteria?) {
        let snapshot = bootstrap.staticResources
        let tables = snapshot.routes.sorted { $0.key < $1.key }.map(\.value)
        for host in (tables + snapshot.inlineRoutes).flatMap(\.virtualHosts) {
            for route in host.routes {
                guard case .forward(let action) = route.action, action.target.leads(to: name)
                else { continue }
                let timeout = action.timeout > .zero ? action.timeout : .seconds(3600)
                return (
                    action.retryPolicy ?? host.retryPolicy, timeout, SubsetCriteria(action.subset)
                )
            }
        }
        return (nil, .seconds(15), nil)
    }

    /// When the timeline changes something.
    func plan() -> [Instant] { report.marks.filter { $0 > .zero } + [.zero] }

    func received(_ event: SimulationQueue.Event, _ queue: inout SimulationQueue) {
        now = event.time
        switch event.what {
        case .tick:
            adoptEndpoints()
            adoptEvacuations()
        case .arrival:
            let next = now + .nanoseconds(1_000_000_000 / Int64(traffic.perSecond))
            if next < .zero + timeline.length {
                queue.add(next, service: event.service, .arrival)
            }
            active += 1
            var head = MessageHead()
            head.append(.method, "GET")
            let retry = RetryState(
                plan: RetryPlan(policy: retryPolicy), head: head, deadline: now + timeout)
            let request = SimulatedRequest(began: now, retry: retry)
            if drops?.drops(&random) != nil {
                finish(request, .shed)
            } else {
                attempt(request, event.service, &queue)
            }
        case .attempt(let request): attempt(request, event.service, &queue)
        case .ended(let request): ended(request, event.service, &queue)
        }
    }

    private func attempt(
        _ request: SimulatedRequest, _ service: Int, _ queue: inout SimulationQueue
    ) {
        switch hosts.pick(
            PickContext(now: now, attempted: request.attempted, subset: subset))
        {
        case .none(.spillLimited): finish(request, .shed)
        case .none: finish(request, .failed)
        case .chosen(let chosen):
            request.chosen = chosen
            var took = SimulatedService.answerTime
            request.result = meets(chosen, &took)
            let left = request.retry.deadline - now
            if took > left {
                took = left
                request.result = .outOfTime
            }
            request.took = took
            queue.add(now + took, service: service, .ended(request))
        }
    }

    /// What a request to this host meets now, and how long it takes.
    private func meets(
        _ chosen: SimulatedHosts.Chosen, _ took: inout Duration
    ) -> SimulatedRequest.Result {
        var result = SimulatedRequest.Result.answered(200)
        for entry in timeline.entries
        where entry.from <= now && now < entry.until && hosts.matches(entry.scope, chosen) {
            switch entry.fault {
            case .refuse:
                took = SimulatedService.roundTrip
                result = .failed(.connectRefused, .unsent)
            case .blackhole:
                let isRemote =
                    hosts.priority(of: chosen) > 0 || chosen.pick.host.locality.region != home
                took =
                    isRemote
                    ? min(chosen.cluster.connectTimeout, settings.remoteConnectTimeout)
                    : chosen.cluster.connectTimeout
                result = .failed(.connectTimeout, .unsent)
            case .reset:
                result = .failed(.reset, .sent)
            case .status(let status): result = .answered(status)
            case .slow(let more): took = took + more
            case .empty, .evacuate: break
            }
        }
        return result
    }

    private func ended(
        _ request: SimulatedRequest, _ service: Int, _ queue: inout SimulationQueue
    ) {
        if request.holdsBudget {
            budget.ended()
            request.holdsBudget = false
        }
        guard let chosen = request.chosen else { return }
        let evidence: RetryState.Evidence
        switch request.result {
        case .answered(let status):
            hosts.observed(chosen, status: status, took: request.took, now: now)
            hosts.release(chosen, .answered, now: now)
            if status < 500 {
                finish(request, .answered)
                return
            }
            evidence = .response(status: status, grpc: nil)
        case .outOfTime:
            // It says nothing of the connection.
            hosts.release(chosen, .abandoned, now: now)
            finish(request, .failed)
            return
        case .failed(let kind, let progress):
            hosts.release(chosen, .failed(TransportFailure(kind)), now: now)
            evidence = .transport(kind, progress)
        }
        request.attempted.append(chosen.pick.host)
        var tookPlace = false
        let decision = request.retry.decide(
            evidence, now: now, canReplay: true, random: &random
        ) {
            tookPlace = budget.begin(
                activeRequests: active,
                leavesDomain: hosts.canLeaveDomain(of: request.attempted), now: now)
            return tookPlace
        }
        request.holdsBudget = tookPlace
        switch decision {
        case .retry(let at):
            report.retries += 1
            queue.add(at, service: service, .attempt(request))
        case .giveUp:
            if request.holdsBudget { budget.ended() }
            request.holdsBudget = false
            finish(request, .failed)
        }
    }

    private func finish(_ request: SimulatedRequest, _ end: SimulationReport.End) {
        active -= 1
        let host = end == .answered ? request.chosen?.pick.host : nil
        report.ended(
            end, began: request.began, at: now, by: host?.locality,
            retried: request.retry.retries > 0,
            bytes: traffic.bytes)
    }

    private func adoptEndpoints() {
        let gone = timeline.entries.filter {
            $0.fault == .empty && $0.from <= now && now < $0.until
        }
        hosts.adoptEndpoints(without: gone.map(\.scope))
    }

    private func adoptEvacuations() {
        for (index, entry) in timeline.entries.enumerated() {
            guard case .evacuate(let rate) = entry.fault, entry.from <= now else { continue }
            if let running = evacuations[index] {
                if entry.until <= now, running.target > 0 {
                    evacuations[index] = running.undone(at: now)
                }
            } else {
                evacuations[index] = Evacuation(
                    scope: entry.scope, percentPerSecond: rate, since: now)
            }
        }
        if evacuations.isEmpty { return }
        hosts.adopt(evacuations.sorted { $0.key < $1.key }.map(\.value))
    }

    func finish() -> SimulationReport.Service {
        report
    }
}

extension Snapshot {
    /// Route tables that are written in listeners.
    fileprivate var inlineRoutes: [RouteConfiguration] {
        listeners.flatMap { $0.filterChains + [$0.defaultFilterChain].compactMap { $0 } }.compactMap
        {
            guard case .http(let manager) = $0.filter, case .inline(let table) = manager.routes
            else { return nil }
            return table
        }
    }
}

extension ForwardAction.Target {
    fileprivate func leads(to name: String) -> Bool {
        switch self {
        case .cluster(let cluster): cluster == name
        case .weighted(let clusters): clusters.contains { $0.name == name }
        case .clusterHeader: false
        }
    }
}
