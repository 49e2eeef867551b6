import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

/// Who waits for a place within a cluster's limits.
protocol PlaceWaiter: AnyObject {
    /// It is its turn, and a place is taken for it. Called from inside what gave the place back, so
    /// what it is for is begun later.
    func placeFound(_ resource: BreakerCells.Resource)
    /// It has waited for as long as it may.
    func waitedInVain(for resource: BreakerCells.Resource)
}

/// To the worker in which the next for a place waits: one may be free.
struct PlaceNews: Sendable {
    var cluster: String
    var resource: BreakerCells.Resource
    var priority: RequestPriority
}

/// A cluster's circuit breakers in one worker: places for requests, for callers that wait for a connection,
/// for connections and for retries, each apart for the two priorities.
///
/// Who finds no place is refused. With `queue_timeout` a request waits for one so long, and as many wait
/// as `max_pending_requests` says, for the place of a request and again for one that waits for a connection.
/// Nobody goes before those who wait. A request to an aggregate waits in the member that it is to go to, beside those
/// that were sent there.
///
/// Counts are of all workers together (`BreakerCells`). What is taken here is given back here, once.
/// Who waits is kept by its own worker; a place that is given back goes to who came first, in whichever
/// worker that is. One timer serves all who wait, and there is none while nobody does.
final class ClusterLimits {
    private let name: String
    private let set: ClusterSet
    private let metrics: ClusterMetrics
    /// Made by the one loop that shows how the limits stand.
    private var gauges: BreakerMetrics?
    /// With the other workers; `cells` are its own.
    private let share: BreakerShare
    private let cells: BreakerCells
    /// Beside the cluster's configuration, for every request asks.
    private var normal: CircuitBreakers
    private var high: CircuitBreakers
    private var queueTimeout: Duration
    /// By priority and resource; empty until somebody waits.
    private var lines: [WaitingLine<any PlaceWaiter>] = []
    private var timer: LoopTimer?
    private var isDrained = false

    init(_ config: Cluster, set: ClusterSet, metrics: ClusterMetrics) {
        name = config.name
        self.set = set
        self.metrics = metrics
        share = set.breakers.share(config.name)
        cells = share.cells
        normal = config.circuitBreakers
        high = config.highPriorityBreakers
        queueTimeout = ClusterLimits.patience(config, set)
    }

    deinit { timer?.stop() }

    func adopt(_ config: Cluster) {
        normal = config.circuitBreakers
        high = config.highPriorityBreakers
        queueTimeout = ClusterLimits.patience(config, set)
        // Higher limits are free places for those who wait.
        if lines.isEmpty { return }
        for priority in RequestPriority.allCases {
            for resource in BreakerCells.Resource.allCases { passOn(resource, priority) }
        }
    }

    /// The cluster is gone from the configuration. Another may come by its name and have a line of its own, so
    /// nobody waits here any longer: who does goes on, beyond the limits.
    func drain() {
        isDrained = true
        timer?.stop()
        if lines.isEmpty { return }
        for priority in RequestPriority.allCases {
            for resource in BreakerCells.Resource.allCases {
                let index = ClusterLimits.index(resource, priority)
                while let waiter = lines[index].next() {
                    cells.force(resource, priority)
                    serve(waiter, resource, priority)
                }
            }
        }
    }

    /// An aggregate bounds no requests; its members do.
    private static func patience(_ config: Cluster, _ set: ClusterSet) -> Duration {
        config.members == nil ? config.queueTimeout ?? set.settings.queueTimeout : .zero
    }

    private func limits(_ priority: RequestPriority) -> CircuitBreakers {
        switch priority {
        case .normal: normal
        case .high: high
        }
    }

    private func limit(_ resource: BreakerCells.Resource, _ priority: RequestPriority) -> Int {
        let limits = limits(priority)
        switch resource {
        case .requests: return limits.maxRequests
        case .pending: return limits.maxPendingRequests
        case .connections: return limits.maxConnections
        case .retries:
            let requests = cells.count(.requests, priority)
            return RetryBudget(limits).limit(activeRequests: requests)
        }
    }

    /// Sets the gauges, which are of all workers together. Of priority HIGH they are there once it has
    /// limits of its own.
    func showStanding(of config: Cluster) {
        let gauges = gauges ?? set.makeBreakerMetrics(config)
        self.gauges = gauges
        for priority in RequestPriority.allCases
        where priority == .normal || high != CircuitBreakers() {
            let left = [BreakerCells.Resource.connections, .pending, .requests, .retries].map {
                limit($0, priority) - cells.count($0, priority)
            }
            gauges.standing(
                priority, left: left, showsLeft: limits(priority).tracksRemaining)
        }
    }

    // MARK: Requests

    enum Admission {
        case granted
        /// The caller hears of its place, or that there is none.
        case waits
        case refused
    }

    /// From its admission to its end a request counts, while it waits for a connection or a retry, too.
    func admitRequest(_ priority: RequestPriority, _ waiter: any PlaceWaiter) -> Admission {
        if reserve(.requests, priority, limit: limits(priority).maxRequests) {
            metrics.requestBegan()
            return .granted
        }
        return queue(waiter, for: .requests, priority) ? .waits : .refused
    }

    func releaseRequest(_ priority: RequestPriority) {
        release(.requests, priority)
        metrics.requestEnded()
    }

    /// For one attempt at a member of an aggregate: a request, which may `queue` if there is no place, or a relayed
    /// connection.
    func admitAttempt(_ place: BreakerCells.Place) -> Bool {
        if place.resource == .connections {
            return admitConnection(place.priority, isFirst: false)
        }
        guard reserve(.requests, place.priority, limit: limits(place.priority).maxRequests) else {
            return false
        }
        metrics.requestBegan()
        return true
    }

    func releaseAttempt(_ place: BreakerCells.Place) {
        if place.resource == .connections {
            releaseConnection(place.priority)
        } else {
            releaseRequest(place.priority)
        }
    }

    // MARK: Retries

    /// Takes a place in the retry budget.
    /// - Parameter leavesDomain: of what failed; asked only when it matters.
    func admitRetry(_ priority: RequestPriority, leavesDomain: () -> Bool) -> Bool {
        if reserve(.retries, priority, limit: limit(.retries, priority)) { return true }
        let burst = limits(priority).retryBurst
        if cells.hasBurst(priority, limit: burst, now: set.loop.now), leavesDomain(),
            cells.reserveBurst(priority, limit: burst, now: set.loop.now)
        {
            return true
        }
        metrics.retryOverflowed()
        return false
    }

    /// Whether `admitRetry` would say yes, if nobody else came first.
    func hasRoomForRetry(_ priority: RequestPriority, leavesDomain: () -> Bool) -> Bool {
        if cells.waitingCount(.retries, priority) == 0,
            cells.count(.retries, priority) < limit(.retries, priority)
        {
            return true
        }
        let burst = limits(priority).retryBurst
        return cells.hasBurst(priority, limit: burst, now: set.loop.now) && leavesDomain()
    }

    func releaseRetry(_ priority: RequestPriority) { release(.retries, priority) }

    /// How long a retry waits for others to make room in the budget.
    private static let longestBudgetWait = Duration.seconds(2)

    /// Waits for others to make room in the budget, first come first served.
    /// - Returns: whether it does; where the budget is nothing, nobody can.
    func waitForRetry(_ waiter: any PlaceWaiter, _ priority: RequestPriority) -> Bool {
        guard limit(.retries, priority) > 0 else { return false }
        return wait(
            waiter, for: .retries, priority, among: .max, patience: ClusterLimits.longestBudgetWait)
    }

    // MARK: Connections, and who waits for one

    func admitPending(_ priority: RequestPriority) -> Bool {
        guard reserve(.pending, priority, limit: limits(priority).maxPendingRequests) else {
            return false
        }
        metrics.pendingBegan()
        return true
    }

    /// For callers that no limit holds up.
    func forcePending(_ priority: RequestPriority) {
        cells.force(.pending, priority)
        metrics.pendingBegan()
    }

    func releasePending(_ priority: RequestPriority) {
        release(.pending, priority)
        metrics.pendingEnded()
    }

    /// Where connections to one endpoint are counted; `nil` where they are not bounded.
    func share(ofHost address: SocketAddress) -> BreakerShare? {
        if min(normal.maxConnectionsPerHost, high.maxConnectionsPerHost) == .max { return nil }
        // No name of a cluster has a line feed in it.
        return set.breakers.share("\(name)\n\(address)")
    }

    /// - Parameters:
    ///   - isFirst: to its endpoint. Envoy's rule: every endpoint may have one, so that nobody waits for ever.
    ///   - host: counts those to the endpoint, of both priorities.
    func admitConnection(
        _ priority: RequestPriority, isFirst: Bool, host: BreakerShare? = nil
    ) -> Bool {
        let limits = limits(priority)
        let fits = cells.reserve(.connections, priority, limit: limits.maxConnections)
        let fitsHost =
            host?.cells.reserve(.connections, .normal, limit: limits.maxConnectionsPerHost) ?? true
        if fits, fitsHost { return true }
        metrics.connectionsOverflowed()
        if isFirst {
            if !fits { cells.force(.connections, priority) }
            if !fitsHost { host?.cells.force(.connections, .normal) }
            return true
        }
        if fits { release(.connections, priority) }
        if fitsHost { _ = host?.cells.release(.connections, .normal) }
        return false
    }

    func releaseConnection(_ priority: RequestPriority, host: BreakerShare? = nil) {
        release(.connections, priority)
        _ = host?.cells.release(.connections, .normal)
    }

    // MARK: Waiting

    private func reserve(
        _ resource: BreakerCells.Resource, _ priority: RequestPriority, limit: Int
    ) -> Bool {
        cells.waitingCount(resource, priority) == 0
            && cells.reserve(resource, priority, limit: limit)
    }

    /// Waits for a place, of which none was free, among requests or among those who wait for a connection.
    /// - Returns: whether it does; else it is refused.
    func queue(
        _ waiter: any PlaceWaiter, for resource: BreakerCells.Resource,
        _ priority: RequestPriority
    ) -> Bool {
        if queueTimeout > .zero,
            wait(
                waiter, for: resource, priority, among: limits(priority).maxPendingRequests,
                patience: queueTimeout)
        {
            return true
        }
        metrics.overflowed()
        return false
    }

    private func wait(
        _ waiter: any PlaceWaiter, for resource: BreakerCells.Resource,
        _ priority: RequestPriority, among limit: Int, patience: Duration
    ) -> Bool {
        guard !isDrained, let worker = set.worker,
            let ticket = cells.startWaiting(resource, priority, limit: limit)
        else { return false }
        if lines.isEmpty {
            lines = RequestPriority.allCases.flatMap { _ in
                BreakerCells.Resource.allCases.map { _ in WaitingLine() }
            }
        }
        let index = ClusterLimits.index(resource, priority)
        lines[index].join(waiter, ticket: ticket, until: set.loop.now + patience)
        cells.show(first: lines[index].first, of: worker, resource, priority)
        startTimer()
        // Another worker may have given a place back since it was asked for.
        passOn(resource, priority)
        return true
    }

    func stopWaiting(
        _ waiter: any PlaceWaiter, for resource: BreakerCells.Resource,
        _ priority: RequestPriority
    ) {
        guard !lines.isEmpty,
            lines[ClusterLimits.index(resource, priority)].leave({ $0 === waiter })
        else { return }
        left(1, resource, priority)
        // It may have been the one whom a free place was meant for.
        passOn(resource, priority)
    }

    private func release(_ resource: BreakerCells.Resource, _ priority: RequestPriority) {
        if cells.release(resource, priority) { passOn(resource, priority) }
    }

    /// A place may be free: the first in line has it, in whichever worker it waits.
    func passOn(_ resource: BreakerCells.Resource, _ priority: RequestPriority) {
        let index = ClusterLimits.index(resource, priority)
        while let first = cells.workerOfFirst(resource, priority) {
            let limit = limit(resource, priority)
            // Of a cluster that is gone the line is another's, in this worker, too.
            guard first == set.worker, !isDrained else {
                if isDrained || cells.count(resource, priority) < limit {
                    set.tell(
                        first, PlaceNews(cluster: name, resource: resource, priority: priority))
                }
                return
            }
            guard cells.reserve(resource, priority, limit: limit),
                let waiter = lines[index].next()
            else { return }
            serve(waiter, resource, priority)
        }
    }

    /// Lets one who is out of the line have the place that was taken for it.
    private func serve(
        _ waiter: any PlaceWaiter, _ resource: BreakerCells.Resource, _ priority: RequestPriority
    ) {
        left(1, resource, priority)
        switch resource {
        case .requests: metrics.requestBegan()
        case .pending: metrics.pendingBegan()
        case .retries: metrics.retried()
        case .connections: break
        }
        waiter.placeFound(resource)
    }

    /// So many have left the line of this worker.
    private func left(
        _ count: Int, _ resource: BreakerCells.Resource, _ priority: RequestPriority
    ) {
        let index = ClusterLimits.index(resource, priority)
        if let worker = set.worker {
            cells.show(first: lines[index].first, of: worker, resource, priority)
        }
        for _ in 0..<count { cells.stopWaiting(resource, priority) }
    }

    private func startTimer() {
        guard let next = lines.compactMap(\.nextDeadline).min() else {
            timer?.stop()
            return
        }
        if timer == nil {
            timer = LoopTimer(set.loop.timers) { [unowned self] in timeIsOver() }
        }
        timer?.start(at: next)
    }

    private func timeIsOver() {
        for priority in RequestPriority.allCases {
            for resource in BreakerCells.Resource.allCases {
                let index = ClusterLimits.index(resource, priority)
                let expired = lines[index].expire(at: set.loop.now)
                if expired.isEmpty { continue }
                left(expired.count, resource, priority)
                if resource != .retries { for _ in expired { metrics.overflowed() } }
                for waiter in expired { waiter.waitedInVain(for: resource) }
                passOn(resource, priority)
            }
        }
        startTimer()
    }

    private static func index(
        _ resource: BreakerCells.Resource, _ priority: RequestPriority
    ) -> Int {
        priority.rawValue * BreakerCells.Resource.allCases.count + resource.rawValue
    }
}
