import EventLoop
import HTTPCodec
import HealthProbe
import LoadBalancer
import MTLS
import MeshBase
import MeshConfig
import Observability

/// One cluster in one loop: its balancer, its pools, its limits and counters.
final class UpstreamCluster {
    let set: ClusterSet
    private(set) var config: Cluster
    let metrics: ClusterMetrics
    let balancer: Balancer
    /// `nil` unless it is an aggregate.
    private(set) var stack: ClusterStack?
    /// Aggregates have it among their members, or had.
    private var isMember = false
    let limits: ClusterLimits
    /// One for each transport that the cluster has, made when it is first needed.
    private var tls: [TransportKey: TLSContext] = [:]
    /// Its health checks know that it is connected to.
    private var hasToldOfUse = false
    private let sessions = TLSSessionCache()
    private var sharedContext: HTTPCodecContext?
    private var ownDrill: ClusterDrill?
    /// Almost always `nil`; every attempt and every end of a request looks. Requests to an aggregate are in the
    /// drill of its member.
    var drill: ClusterDrill? { stack == nil ? ownDrill : stack?.drill }
    private(set) var bestPriority = 0
    /// The region that counts as near: that of the best priority.
    private var nearRegion: String?
    /// It is gone from the configuration; exchanges that still retry keep no connection behind.
    private var isDrained = false
    /// Endpoints of which a failure was reported and no success since.
    private var failing: Set<SocketAddress> = []
    private var reportWindow = Instant.zero
    private var reportsInWindow = 0
    private static let reportsPerWindow = 50

    /// Almost always `nil`.
    private var drops: OverloadDrops?

    /// The balancing policy's own hash policies, which go before a route's.
    private(set) var hashKey: HashKeyRule?

    private struct TransportKey: Hashable {
        /// 0 is the cluster's own, then come its `transportMatches`.
        var index: Int
        var alpn: [String]
    }

    /// How an endpoint answered, for its balancer and for health.
    enum Outcome {
        case responded
        case failed(TransportFailure, wasConnected: Bool)
        /// As `failed`, and suspicion has been cast already, or is not due.
        case failedTogether(TransportFailure, wasConnected: Bool)
        /// No answer within the time that one attempt has.
        case timedOut(wasConnected: Bool)
        /// Says nothing about the endpoint.
        case neutral
    }

    enum Choice {
        case host(Pick)
        /// The member of an aggregate that was chosen has as many requests, or connections, as it may.
        case full(UpstreamCluster)
        case none(String)
    }

    init(_ config: Cluster, set: ClusterSet, metrics: ClusterMetrics) {
        self.config = config
        self.set = set
        self.metrics = metrics
        limits = ClusterLimits(config, set: set, metrics: metrics)
        balancer = Balancer(
            configuration: config.loadBalancing, paths: set.paths, settings: set.settings,
            random: set.loop.random.split())
        balancer.failbackChanged = { [unowned self] in failbackChanged($0) }
        balancer.setLocalCluster(set.localCluster)
        adoptEndpoints()
        if config.members != nil { stack = ClusterStack(config, set: set) }
        if !set.evacuations.isEmpty { adopt(set.evacuations) }
        if let drill = set.drill, drill.ends > set.loop.now { adopt(drill) }
    }

    var name: String { config.name }
    /// Its own.
    var hosts: [Host] { balancer.hosts }

    /// Of an aggregate: its members may have come, gone or changed.
    func followMembers() { stack?.update(config) }

    func joinAggregate() {
        if isMember { return }
        isMember = true
        for host in balancer.hosts { host.owner = self }
    }

    /// Takes a new version on; endpoints that stay keep their pools and what is known of them.
    func update(_ config: Cluster) {
        if config.generation == self.config.generation,
            config.endpoints.generation == self.config.endpoints.generation
        {
            return
        }
        let old = self.config
        self.config = config
        sharedContext = nil
        limits.adopt(config)
        if config.outlierDetection != old.outlierDetection {
            for host in balancer.hosts { host.tally = nil }
        }
        let countsAnew = RequestPriority.allCases.contains {
            config.breakers($0).maxConnectionsPerHost != old.breakers($0).maxConnectionsPerHost
        }
        if config.transport != old.transport || config.transportMatches != old.transportMatches
            || config.upstreamProtocol != old.upstreamProtocol || countsAnew
        {
            tls = [:]
            for host in balancer.hosts { pools(of: host)?.drain() }
            for host in balancer.hosts { host.attachment = nil }
        }
        adoptEndpoints()
    }

    /// What the codecs of its connections share.
    var codecContext: HTTPCodecContext {
        if let sharedContext { return sharedContext }
        var limits = HTTPLimits()
        limits.maxConcurrentStreams = config.maxConcurrentStreams
        limits.streamWindow = config.initialStreamWindow
        limits.connectionWindow = config.initialConnectionWindow
        let context = HTTPCodecContext(limits: limits, workspace: set.headWorkspace)
        sharedContext = context
        return context
    }

    /// Trust has changed: connections from now on are made under the new one.
    func forgetTLS() {
        tls = [:]
    }

    func drain() {
        isDrained = true
        ownDrill?.cancel()
        ownDrill = nil
        limits.drain()
        for host in balancer.hosts {
            pools(of: host)?.drain()
            host.attachment = nil
        }
    }

    func adopt(_ verdicts: [(address: SocketAddress, verdict: Verdict)]) {
        balancer.setVerdicts(verdicts, now: set.loop.now)
        for (address, verdict) in verdicts where verdict != .healthy && verdict != .degraded {
            for host in balancer.hosts where host.address == address {
                pools(of: host)?.closeIdle()
            }
        }
    }

    func adopt(_ evacuations: [Evacuation]) {
        balancer.setEvacuations(evacuations, service: name)
    }

    func adopt(_ localCluster: LocalCluster?) {
        balancer.setLocalCluster(localCluster)
    }

    /// What zone-aware routing does here, in words; `nil` where it has no say.
    var zoneWords: String? {
        self.set.settings.localCluster.isEmpty
            ? nil : balancer.zoneWords(now: self.set.loop.now)
    }

    /// The subsets that routes can name, each with the number of its endpoints.
    var subsetWords: [String] { balancer.subsetWords }

    private func failbackChanged(_ change: FailbackRamp.Change) {
        set.failback(name, change)
        ownDrill?.followed(change)
        // What is to get load again is connected to before it does.
        guard case .holding = change.event else { return }
        warm { $0.priority == change.priority }
    }

    /// Connects to some of these hosts that it knew before.
    func warm(_ isMeant: (Host) -> Bool) {
        for host in balancer.hosts.lazy.filter(isMeant).prefix(UpstreamCluster.warmedHosts) {
            pools(of: host)?.warm()
        }
    }
    private static let warmedHosts = 16

    private func adoptEndpoints() {
        hashKey = try? HashKeyRule(config.loadBalancing.hashPolicy)
        let best = config.endpoints.localities.min { $0.priority < $1.priority }
        nearRegion = best?.locality.region
        bestPriority = max(0, best?.priority ?? 0)
        let update = balancer.update(
            endpoints: config.endpoints.resolved(config.happyEyeballs),
            configuration: config.loadBalancing,
            overprovisioningFactor: config.endpoints.overprovisioningFactor,
            weighsPriorityHealth: config.endpoints.weighsPriorityHealth, now: set.loop.now)
        drops = OverloadDrops(config.endpoints.drops)
        if isMember { for host in update.added { host.owner = self } }
        for host in update.removed {
            pools(of: host)?.drain()
            host.attachment = nil
        }
        metrics.membership(total: balancer.hosts.count)
    }

    // MARK: Drills

    /// Begins a drill if it is of this cluster; `nil` stops the one that there is.
    func adopt(_ drill: Drill?) {
        guard let drill else {
            ownDrill?.stop()
            return
        }
        if drill.cluster == name { ownDrill = ClusterDrill(drill, cluster: self) }
    }

    func drillEnded() { ownDrill = nil }

    /// Takes endpoints of the best priority away, as if the configuration had.
    func hideBest(percent: Int) {
        for host in balancer.hideBest(percent: percent) { pools(of: host)?.closeIdle() }
    }

    func suspectAlone(_ host: Host, _ failure: TransportFailure) {
        balancer.suspectAlone(host, failure, now: set.loop.now)
    }

    /// A drill's endpoint has not said a word for as long as one waits.
    func silenceEnded(_ host: Host) -> TransportFailure {
        if let owner = stack?.owner(of: host) { return owner.silenceEnded(host) }
        let failure = TransportFailure(.connectTimeout, detail: "drill")
        suspectAlone(host, failure)
        return failure
    }

    /// How long an attempt waits for an endpoint that does not say a word.
    func patience(with host: Host) -> Duration {
        let patience = set.settings.pingInterval + set.settings.pingTimeout
        let limit = connectTimeout(of: host)
        return hasAlternative(to: host) ? min(limit, patience) : limit
    }

    // MARK: Outliers

    /// Whether anybody wants to know how requests were answered.
    var detectsOutliers: Bool {
        config.outlierDetection != nil || !config.healthChecks.isEmpty || balancer.judgesAnswers
            || stack != nil
    }

    /// An endpoint answered with this head, so long after it was asked.
    /// - Parameter isLast: nothing is to come that says how it went.
    func answered(
        _ host: Host, _ head: borrowing MessageHead, took: Duration, isLast: Bool
    ) {
        if let stack, let owner = stack.owner(of: host) {
            if head.status >= 500 { stack.answeredBadly(host, of: owner) }
            if owner.detectsOutliers { owner.answered(host, head, took: took, isLast: isLast) }
            return
        }
        reported(host, in: head)
        if config.outlierDetection != nil, isLast { observed(host, .answered(head)) }
        if !config.healthChecks.isEmpty, host.verdict == .healthy || host.verdict == .degraded,
            head.string("x-envoy-immediate-health-check-fail") != nil
        {
            set.report(.saidUnhealthy(cluster: name, address: host.address))
        }
        if balancer.judgesAnswers {
            balancer.observed(host, status: head.status, took: took, now: set.loop.now)
        }
    }

    /// Whether what endpoints say of their load in trailers matters.
    var readsReports: Bool { balancer.readsReports || stack != nil }

    /// An endpoint may have said in this head, or in these trailers, how loaded it is.
    func reported(_ host: Host, in head: borrowing MessageHead) {
        if let owner = stack?.owner(of: host) {
            owner.reported(host, in: head)
        } else if balancer.readsReports, let report = LoadReport(head) {
            balancer.reported(host, report, now: set.loop.now)
        }
    }

    /// An attempt at this endpoint came to something. Good answers are counted and no more.
    func observed(_ host: Host, _ outcome: OutlierDetector.Outcome) {
        if let owner = stack?.owner(of: host) {
            if owner.detectsOutliers { owner.observed(host, outcome) }
            return
        }
        guard let tally = host.tally ?? openTally(host) else { return }
        let now = set.loop.now
        switch outcome {
        case .status(let status):
            tally.answered(good: status < 500, now: now)
            if status < 500 { return }
        case .connected:
            tally.connected(now: now)
            return
        case .localFailure(let wasConnected):
            if !tally.splitsLocalOrigin {
                tally.answered(good: false, now: now)
            } else {
                if wasConnected { tally.reached(true, now: now) }
                tally.reached(false, now: now)
            }
        }
        // Of one that is out already more of the same is no news.
        if case .ejected(_, .outlier) = host.verdict { return }
        set.outliers.failed(
            cluster: name, address: host.address, outcome, goodCount: tally.goodCount)
    }

    private func openTally(_ host: Host) -> OutlierTally? {
        guard let detection = config.outlierDetection, !host.isRemoved else { return nil }
        let tally = OutlierTally(
            interval: detection.interval,
            splitsLocalOrigin: detection.splitExternalLocalOriginErrors)
        host.tally = tally
        set.outliers.opened(tally, cluster: name, address: host.address)
        return tally
    }

    // MARK: Choosing

    /// Whether `pick` looks at its key.
    var usesKeys: Bool { stack?.usesKeys ?? balancer.usesKeys }

    /// Chooses an endpoint; give it back with `release`.
    func pick(_ request: PickContext) -> Choice {
        var held: UpstreamCluster?
        return pick(request, holding: &held)
    }

    /// As `pick`, for who may have a place in a member of an aggregate already.
    func pick(_ request: PickContext, holding held: inout UpstreamCluster?) -> Choice {
        let choice =
            stack?.pick(request, holding: &held) ?? Choice(balancer.pick(request))
        if case .none = choice { metrics.foundNoneHealthy() }
        return choice
    }

    /// What a request is answered that no endpoint is there for.
    func refusal(_ reason: String) -> ErrorReply {
        guard reason == NoHost.spillLimited.rawValue else { return .noEndpoint(reason) }
        let seconds = (set.settings.spill.retryAfter.milliseconds + 999) / 1000
        return .spillLimited(retryAfter: max(1, seconds))
    }

    func release(_ pick: Pick, _ outcome: Outcome) {
        if let stack, let owner = stack.owner(of: pick.host) {
            stack.release(pick, outcome, to: owner)
            return
        }
        switch outcome {
        case .responded:
            balancer.release(pick, .answered, now: set.loop.now)
            if !failing.isEmpty, failing.remove(pick.host.address) != nil {
                set.report(
                    .recovered(
                        cluster: name, address: pick.host.address, path: pick.host.path.address))
            }
        case .failed(let failure, let wasConnected):
            balancer.release(pick, .failed(failure), now: set.loop.now)
            reportFailure(pick.host, failure)
            observeFailure(pick.host, failure.kind, wasConnected)
        case .failedTogether(let failure, let wasConnected):
            balancer.release(pick, .abandoned, now: set.loop.now)
            observeFailure(pick.host, failure.kind, wasConnected)
        case .timedOut(let wasConnected):
            balancer.release(pick, .abandoned, now: set.loop.now)
            if detectsOutliers {
                observed(pick.host, .localFailure(wasConnected: wasConnected))
            }
        case .neutral:
            balancer.release(pick, .abandoned, now: set.loop.now)
        }
    }

    private func observeFailure(
        _ host: Host, _ kind: TransportFailure.Kind, _ wasConnected: Bool
    ) {
        // Our own lack of something says nothing on the endpoint.
        if !detectsOutliers || kind == .exhausted { return }
        observed(host, .localFailure(wasConnected: wasConnected))
    }

    // MARK: Limits

    /// Whether the endpoints' owner wants this request dropped, and what it is answered then.
    func drop() -> ErrorReply? {
        guard let drops, let category = drops.drops(&set.loop.random) else { return nil }
        metrics.dropped()
        return .dropped(category: category, all: drops.isTotal)
    }

    // MARK: Connections

    func pool(
        to host: Host, downstreamIsHTTP2: Bool, priority: RequestPriority = .normal
    ) -> UpstreamPool {
        if let owner = stack?.owner(of: host) {
            return owner.pool(to: host, downstreamIsHTTP2: downstreamIsHTTP2, priority: priority)
        }
        let version: UpstreamPool.HTTPVersion
        switch config.upstreamProtocol {
        case .http1: version = .http1
        case .http2: version = .http2
        case .alpn: version = .alpn
        case .downstream: version = downstreamIsHTTP2 ? .http2 : .http1
        }
        let pools: HostPools
        if let known = self.pools(of: host) {
            pools = known
        } else {
            pools = HostPools()
            host.attachment = pools
        }
        return pools.pool(version, priority) {
            let pool = UpstreamPool(
                cluster: self, host: host, version: version, priority: priority)
            if isDrained || host.isRemoved { pool.drain() }
            return pool
        }
    }

    private func pools(of host: Host) -> HostPools? { host.attachment as? HostPools }

    /// Connecting to another region is given less time, because there is somewhere else to go.
    func connectTimeout(of host: Host) -> Duration {
        if let owner = stack?.owner(of: host) { return owner.connectTimeout(of: host) }
        let isRemote = host.priority > 0 || (host.locality.region != (nearRegion ?? ""))
        return isRemote
            ? min(config.connectTimeout, set.settings.remoteConnectTimeout) : config.connectTimeout
    }

    /// The context for connections to a host, `nil` for plaintext.
    /// - Parameters:
    ///   - criteria: in the place of the host's own `envoy.transport_socket_match`.
    ///   - alpn: in the place of the transport's, unless empty.
    func tlsContext(
        for host: Host, _ criteria: [String: MetadataValue]? = nil, alpn: [String] = []
    ) throws(TLSConfigurationError) -> TLSContext? {
        if let owner = stack?.owner(of: host) {
            return try owner.tlsContext(for: host, criteria, alpn: alpn)
        }
        let (index, transport) = transport(for: host, criteria)
        guard case .tls(var policy) = transport else { return nil }
        let key = TransportKey(index: index, alpn: alpn)
        if let known = tls[key] { return known }
        if !alpn.isEmpty { policy.common.alpn = alpn }
        let context = try TLSContext(
            upstream: policy, secrets: set.secrets, files: set.files)
        tls[key] = context
        return context
    }

    private func transport(
        for host: Host, _ criteria: [String: MetadataValue]?
    ) -> (index: Int, Transport) {
        for (position, match) in config.transportMatches.enumerated()
        where match.criteria.allSatisfy({ key, value in
            let given = criteria.map { $0[key] }
            return (given ?? host.endpoint.metadata["envoy.transport_socket_match", key]) == value
        }) {
            return (position + 1, match.transport)
        }
        return (0, config.transport)
    }

    /// Whether connections to a host with these criteria are TLS.
    func usesTLS(for host: Host, _ criteria: [String: MetadataValue]?) -> Bool {
        transport(for: host, criteria).1 != .plaintext
    }

    func makeSession(_ context: TLSContext, for host: Host) -> TLSSession {
        if let owner = stack?.owner(of: host) { return owner.makeSession(context, for: host) }
        var name = ""
        if case .tls(let policy) = config.transport {
            name = policy.autoHostSNI ? host.hostname : policy.sni
        }
        for match in config.transportMatches {
            if case .tls(let policy) = match.transport, name.isEmpty { name = policy.sni }
        }
        return context.makeClientSession(
            pipe: set.pipe, serverName: name, cache: sessions, key: host.address.description)
    }

    // MARK: What pools and connections say

    func connecting(_ host: Host) {
        if !hasToldOfUse, !config.healthChecks.isEmpty {
            hasToldOfUse = true
            set.report(.used(cluster: name))
        }
        metrics.connecting()
    }

    func connected(_ host: Host) {}

    func connectionClosed(
        _ host: Host, over address: SocketAddress, failure: TransportFailure?, wasConnected: Bool
    ) {
        metrics.connectionClosed(failure?.kind, wasConnected: wasConnected)
        guard let failure else { return }
        // One event, however many waited for the connection or had a request on it.
        connectionIsLate(host, over: address, failure)
    }

    /// A connection goes on, but keeps requests waiting for too long: to connect, or for a PING.
    func connectionIsLate(
        _ host: Host, over address: SocketAddress, _ failure: TransportFailure
    ) {
        balancer.suspect(host, failure, over: address, now: set.loop.now)
        reportFailure(host, failure, over: address)
    }

    /// A PING on a connection is answered that was late.
    func connectionAnswered(over address: SocketAddress) {
        set.paths.answered(set.paths.path(to: address))
        set.report(.answered(path: address))
    }

    /// Of several ways to a host this one was connected first; the others were late.
    func raceWon(_ host: Host, over address: SocketAddress, late: [SocketAddress]) {
        balancer.prefer(address, for: host)
        let failure = TransportFailure(.connectLate, detail: "\(address) was connected sooner")
        for address in late { reportFailure(host, failure, over: address) }
    }

    /// Where else requests could go that wait for this one, over another first hop.
    func alternative(to host: Host) -> Host? { balancer.alternative(to: host, now: set.loop.now) }

    /// Whether another endpoint could take what waits for this one.
    func hasAlternative(to host: Host) -> Bool {
        balancer.hasAlternative(to: host) || isMember && set.aggregatesHaveAlternative(to: host)
    }

    /// Whether a retry of what failed at these hosts would go to another zone or region.
    func canLeaveDomain(of failed: [Host]) -> Bool {
        stack?.canLeaveDomain(of: failed) ?? balancer.canLeaveDomain(of: failed)
    }

    private func reportFailure(
        _ host: Host, _ failure: TransportFailure, over address: SocketAddress? = nil
    ) {
        failing.insert(host.address)
        // When thousands of requests fail together, a few say what all of them would.
        if set.loop.now - reportWindow > .milliseconds(100) {
            reportWindow = set.loop.now
            reportsInWindow = 0
        }
        reportsInWindow += 1
        if reportsInWindow > UpstreamCluster.reportsPerWindow { return }
        let isOfPath = failure.kind.concernsFirstHop
        set.report(
            .failed(
                cluster: name, address: isOfPath ? address ?? host.address : host.address, failure))
    }

    func received(_ count: Int) { metrics.received(count) }
    func sent(_ count: Int) { metrics.sent(count) }
}

extension UpstreamCluster.Choice {
    init(_ result: PickResult) {
        switch result {
        case .host(let pick): self = .host(pick)
        case .none(let reason): self = .none(reason.rawValue)
        }
    }
}

/// The pools of one endpoint: one for each protocol that is spoken with it, and each priority.
private final class HostPools {
    private var pools: [UpstreamPool] = []

    func pool(
        _ version: UpstreamPool.HTTPVersion, _ priority: RequestPriority,
        _ make: () -> UpstreamPool
    ) -> UpstreamPool {
        for pool in pools where pool.version == version && pool.priority == priority {
            return pool
        }
        let pool = make()
        pools.append(pool)
        return pool
    }

    func drain() { for pool in pools { pool.drain() } }
    func warm() { for pool in pools { pool.warm() } }
    func closeIdle() { for pool in pools { pool.closeIdle() } }
}
