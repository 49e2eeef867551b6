import EventLoop
import HTTPCodec
import HealthProbe
import LoadBalancer
import MTLS
import MeshBase
import MeshConfig

/// Carries out health checks: connects, pumps a `Probe`'s conversation until it has a result, and keeps
/// time. What the results mean is decided by `HealthTracker` and `HealthModel`.
///
/// Two kinds: the checks that a cluster's configuration asks for, on their schedule; and single connects
/// that the health model wants, to find out whether an address that failed is back. So many are
/// under way at once in the whole process; others wait in line, first come first served.
final class ProbeRunner {
    /// One probe to be run.
    struct Order: Hashable {
        var cluster: String
        var address: SocketAddress
        var check: Int
    }
    /// What configured checks now say of an endpoint.
    struct Turn {
        var cluster: String
        var address: SocketAddress
        var standing: ProbeStanding
    }

    private struct Check {
        var config: ProbeConfig
        var schedule: ProbeSchedule
        var trackers: [SocketAddress: HealthTracker] = [:]
    }
    private struct Checked {
        var checks: [Check]
        var endpoints: [SocketAddress: Endpoint] = [:]
        /// Endpoints without a first result do not count in their priority.
        var ignoresNew: Bool
        /// They said that they fail, and have not passed since.
        var excluded: Set<SocketAddress> = []

        /// What all checks together make of an endpoint.
        func standing(of address: SocketAddress) -> ProbeStanding {
            var result = ProbeStanding.passed
            for tracker in checks.compactMap({ $0.trackers[address] }) {
                if ignoresNew, !tracker.hasResult { return .excluded }
                if !tracker.isHealthy { result = .failed }
                if tracker.isDegraded, result == .passed { result = .degraded }
            }
            return result == .failed && excluded.contains(address) ? .excluded : result
        }
    }

    private let clusters: ClusterSet
    private var checked: [String: Checked] = [:]
    private var underWay: [ObjectIdentifier: ProbeSession] = [:]
    /// Connections that wait for their next check.
    private var idle: [Order: ProbeSession] = [:]
    /// Clusters that a worker has connected to.
    private var used: Set<String> = []
    private var line: [() -> Void] = []
    private var timer: LoopTimer?
    private let events: HealthEventLog
    private let turned: ([Turn]) -> Void
    private let passed: (_ cluster: String, _ address: SocketAddress) -> Void

    /// So many probes are under way at once.
    static let most = 128

    /// - Parameter turned: told when configured checks change their mind on endpoints.
    /// - Parameter passed: told of each check that passed for an endpoint that all checks hold for healthy.
    init(
        clusters: ClusterSet, events: HealthEventLog, turned: @escaping ([Turn]) -> Void,
        passed: @escaping (_ cluster: String, _ address: SocketAddress) -> Void
    ) {
        self.clusters = clusters
        self.events = events
        self.turned = turned
        self.passed = passed
        timer = LoopTimer(clusters.loop.timers) { [unowned self] in runDue() }
    }

    // MARK: Configuration

    /// Takes the clusters that are in force. Endpoints that stay keep what is known of them; new ones
    /// count as unhealthy until their first check, as in Envoy. Those that are no longer checked
    /// are healthy again.
    func adopt(_ configs: [Cluster]) {
        var turns: [Turn] = []
        var next: [String: Checked] = [:]
        for config in configs where !config.healthChecks.isEmpty {
            next[config.name] = adopt(config, &turns)
        }
        for name in checked.keys.sorted() {
            // In an order of their own, so that a simulated run replays.
            let changed = (checked[name]?.endpoints ?? [:]).filter {
                next[name]?.endpoints[$0.key] != $0.value
            }
            for address in changed.keys.sorted(by: { $0.description < $1.description }) {
                closeIdle(name, address)
                if next[name]?.endpoints[address] == nil,
                    checked[name]?.standing(of: address) != .passed
                {
                    turns.append(Turn(cluster: name, address: address, standing: .passed))
                }
            }
        }
        checked = next
        used.formIntersection(configs.map(\.name))
        if !turns.isEmpty { turned(turns) }
        arm()
    }

    private func adopt(_ config: Cluster, _ turns: inout [Turn]) -> Checked {
        let now = clusters.loop.now
        var result = Checked(checks: [], ignoresNew: config.ignoresNewUntilChecked)
        var addresses: [SocketAddress] = []
        for endpoint in config.endpoints.localities.flatMap(\.endpoints) {
            guard let address = endpoint.address, !endpoint.isNeverProbed else { continue }
            if result.endpoints.updateValue(endpoint, forKey: address) == nil {
                addresses.append(address)
            }
        }
        let known = checked[config.name]
        let isSame = known?.checks.map(\.config) == config.healthChecks
        if !isSame { closeIdle(config.name) }
        result.checks =
            isSame
            ? known?.checks ?? []
            : config.healthChecks.map {
                Check(
                    config: $0,
                    schedule: ProbeSchedule(
                        $0, hasTraffic: used.contains(config.name),
                        random: clusters.loop.random.split()))
            }
        for index in result.checks.indices {
            let check = result.checks[index].config
            let trackers = result.checks[index].trackers
            result.checks[index].schedule.update(addresses, now: now)
            result.checks[index].trackers = [:]
            for address in addresses {
                result.checks[index].trackers[address] =
                    trackers[address]
                    ?? HealthTracker(
                        failuresToEject: check.unhealthyThreshold,
                        successesToReturn: check.healthyThreshold)
            }
        }
        result.excluded = (known?.excluded ?? []).filter { result.endpoints[$0] != nil }
        for address in addresses {
            let standing = result.standing(of: address)
            if known?.standing(of: address) != standing || known?.endpoints[address] == nil {
                turns.append(Turn(cluster: config.name, address: address, standing: standing))
            }
        }
        return result
    }

    /// Closes the connections that wait for a next check, of a cluster or of one of its endpoints.
    private func closeIdle(_ cluster: String, _ address: SocketAddress? = nil) {
        let orders = idle.keys.filter {
            $0.cluster == cluster && (address == nil || $0.address == address)
        }
        for order in orders.sorted(by: { "\($0)" < "\($1)" }) {
            idle.removeValue(forKey: order)?.close()
        }
    }

    /// `nil` for what is checked no longer.
    private func config(of order: Order) -> ProbeConfig? {
        guard let cluster = checked[order.cluster], cluster.endpoints[order.address] != nil,
            order.check < cluster.checks.count
        else { return nil }
        return cluster.checks[order.check].config
    }

    /// A worker has connected to a cluster for the first time.
    func used(_ cluster: String) {
        guard used.insert(cluster).inserted, checked[cluster] != nil else { return }
        for index in (checked[cluster]?.checks ?? []).indices {
            checked[cluster]?.checks[index].schedule.trafficBegan(now: clusters.loop.now)
        }
        arm()
    }

    /// An endpoint said with an answer to a request that it fails its checks.
    func saidUnhealthy(_ cluster: String, _ address: SocketAddress) {
        guard checked[cluster]?.endpoints[address] != nil else { return }
        let before = checked[cluster]?.standing(of: address)
        checked[cluster]?.excluded.insert(address)
        for index in (checked[cluster]?.checks ?? []).indices {
            let order = Order(cluster: cluster, address: address, check: index)
            guard
                let change = checked[cluster]?.checks[index].trackers[address]?.saidUnhealthy(),
                change == .becameUnhealthy
            else { continue }
            note(order, .ejected(.passive))
        }
        tell(cluster, address, if: before)
    }

    // MARK: Running

    /// Connects to an address once. - Parameter done: hears `nil` when it worked.
    func connect(
        to address: SocketAddress, timeout: Duration,
        done: @escaping (TransportFailure.Kind?) -> Void
    ) {
        inLine { [self] in
            let session = ProbeSession(loop: clusters.loop, probe: TCPProbe(), timeout: timeout)
            underWay[ObjectIdentifier(session)] = session
            session.run {
                clusters.loop.connect(address, options: $0.options, handler: $0)
            } done: { [weak self] session, _, failure in
                self?.ended(session)
                done(failure)
            }
        }
    }

    /// Runs one configured check, when it is its turn.
    func run(_ order: Order) {
        inLine { [self] in
            if let config = config(of: order) { begin(order, config) }
        }
    }

    private func inLine(_ work: @escaping () -> Void) {
        line.append(work)
        advance()
    }

    private func advance() {
        while underWay.count < ProbeRunner.most, !line.isEmpty { line.removeFirst()() }
    }

    private func ended(_ session: ProbeSession) {
        underWay[ObjectIdentifier(session)] = nil
        advance()
    }

    private func begin(_ order: Order, _ config: ProbeConfig) {
        let endpoint = checked[order.cluster]?.endpoints[order.address]
        let done: ProbeSession.Done = { [weak self] session, result, _ in
            guard let self else { return }
            let isAsBefore = self.config(of: order) == config
            if !isAsBefore || checked[order.cluster]?.endpoints[order.address] != endpoint {
                session.close()
            } else if session.isIdle {
                idle.updateValue(session, forKey: order)?.close()
            }
            // What was found by other rules, or of somebody who is gone, is of no use.
            if isAsBefore { found(order, result) }
            ended(session)
        }
        if let session = idle.removeValue(forKey: order), session.isIdle {
            underWay[ObjectIdentifier(session)] = session
            session.runAgain(done: done)
            return
        }
        guard let cluster = clusters[order.cluster],
            let host = cluster.hosts.first(where: { $0.address == order.address })
        else { return }
        let criteria = config.transportCriteria
        let isTLS = cluster.usesTLS(for: host, criteria)
        let session = ProbeSession(
            loop: clusters.loop, probe: makeProbe(config, cluster, host, isTLS: isTLS),
            timeout: config.timeout, keepsConnection: config.reuseConnection)
        underWay[ObjectIdentifier(session)] = session
        let address = place(of: host.endpoint, at: host.address, config)
        session.run(
            connect: { [clusters] session in
                guard let context = try cluster.tlsContext(for: host, criteria, alpn: config.alpn)
                else {
                    return clusters.loop.connect(
                        address, options: session.options, handler: session)
                }
                let stream = TLSStream(
                    session: cluster.makeSession(context, for: host), clusters: clusters,
                    handler: session)
                stream.connect(address, options: session.options)
                return stream
            }, done: done)
    }

    /// Where an endpoint is asked for its health.
    private func place(
        of endpoint: Endpoint, at address: SocketAddress, _ config: ProbeConfig
    ) -> SocketAddress {
        let base = endpoint.healthCheckAddress ?? address
        if let port = endpoint.healthCheckPort { return base.with(port: port) }
        if endpoint.healthCheckAddress == nil, let port = config.altPort {
            return base.with(port: port)
        }
        return base
    }

    private func makeProbe(
        _ config: ProbeConfig, _ cluster: UpstreamCluster, _ host: Host, isTLS: Bool
    ) -> any Probe {
        let name = host.endpoint.healthCheckHostname
        switch config.kind {
        case .tcp(let send, let receive):
            return TCPProbe(send: send, receive: receive)
        case .http(let http):
            let connection: any HTTPConnection =
                http.useHTTP2 ? HTTP2Connection(role: .client) : HTTP1Connection(role: .client)
            return HTTPProbe(
                http, cluster: cluster.name, host: name, isTLS: isTLS, connection: connection)
        case .grpc(let service, let authority, let metadata):
            return GRPCProbe(
                service: service, authority: authority, metadata: metadata,
                cluster: cluster.name, host: name, isTLS: isTLS,
                connection: HTTP2Connection(role: .client))
        }
    }

    private func found(_ order: Order, _ result: ProbeResult) {
        guard
            var tracker = checked[order.cluster]?.checks[order.check].trackers[order.address]
        else { return }
        let before = checked[order.cluster]?.standing(of: order.address)
        let (isFirst, wasDegraded) = (!tracker.hasResult, tracker.isDegraded)
        let change = tracker.record(result)
        checked[order.cluster]?.checks[order.check].trackers[order.address] = tracker
        if change == .becameHealthy { checked[order.cluster]?.excluded.remove(order.address) }
        var didPass = false
        if case .failed(let failure, _) = result {
            if change == .becameUnhealthy, !isFirst { note(order, .ejected(failure.type)) }
            if isFirst { note(order, .failed(failure.type, isFirst: true)) }
            if !isFirst,
                checked[order.cluster]?.checks[order.check].config.alwaysLogsFailures == true
            {
                note(order, .failed(failure.type, isFirst: false))
            }
        } else {
            didPass = true
            if change == .becameHealthy { note(order, .added(isFirst: isFirst)) }
            if checked[order.cluster]?.checks[order.check].config.alwaysLogsSuccesses == true {
                note(order, .succeeded)
            }
            if tracker.isDegraded != wasDegraded {
                note(order, tracker.isDegraded ? .degraded : .noLongerDegraded)
            }
        }
        checked[order.cluster]?.checks[order.check].schedule.ended(
            order.address, passed: didPass, change, now: clusters.loop.now)
        tell(order.cluster, order.address, if: before)
        let after = checked[order.cluster]?.standing(of: order.address)
        if didPass, after == .passed || after == .degraded {
            passed(order.cluster, order.address)
        }
        arm()
    }

    /// Tells what the checks make of an endpoint, where that is something new.
    private func tell(_ cluster: String, _ address: SocketAddress, if before: ProbeStanding?) {
        guard let after = checked[cluster]?.standing(of: address), after != before else { return }
        turned([Turn(cluster: cluster, address: address, standing: after)])
    }

    private func note(_ order: Order, _ what: HealthEvent.What) {
        guard let cluster = checked[order.cluster], let endpoint = cluster.endpoints[order.address]
        else { return }
        let config = cluster.checks[order.check].config
        if config.eventLogPaths.isEmpty { return }
        let locality = clusters[order.cluster]?.hosts.first { $0.address == order.address }?
            .locality
        events.write(
            HealthEvent(
                checker: config.kind, address: order.address, cluster: order.cluster,
                endpoint: endpoint, locality: locality ?? Locality(), what: what),
            to: config.eventLogPaths)
    }

    private func runDue() {
        for name in checked.keys.sorted() {
            for index in (checked[name]?.checks ?? []).indices {
                let due = checked[name]?.checks[index].schedule.due(now: clusters.loop.now) ?? []
                for address in due { run(Order(cluster: name, address: address, check: index)) }
            }
        }
        arm()
    }

    private func arm() {
        let deadline = checked.values.lazy.flatMap(\.checks).compactMap(\.schedule.nextDeadline)
            .min()
        if let deadline { timer?.start(at: deadline) } else { timer?.stop() }
    }

    func reopenLogs() { events.reopen() }

    // MARK: Looking

    /// Whether an endpoint is checked, and its checks call it healthy.
    func isHealthy(_ cluster: String, _ address: SocketAddress) -> Bool {
        guard let known = checked[cluster], known.endpoints[address] != nil else { return false }
        let standing = known.standing(of: address)
        return standing == .passed || standing == .degraded
    }

    /// Why checks object to an endpoint, and when it is asked next; `nil` where they do not.
    func objection(_ cluster: String, _ address: SocketAddress, now: Instant) -> (String, String)? {
        guard let known = checked[cluster], known.endpoints[address] != nil else { return nil }
        for check in known.checks {
            guard let tracker = check.trackers[address] else { continue }
            if tracker.isHealthy, !tracker.isDegraded { continue }
            var reason = "health check (\(check.config.kind.word)): "
            if !tracker.hasResult {
                reason += "no result yet"
            } else if tracker.isDegraded, tracker.isHealthy {
                reason += "it says that it is degraded"
            } else {
                reason += "\(tracker.lastFailure) ×\(tracker.failures)"
            }
            let due = check.schedule.due(address)
            return (reason, due.map { "asked in \(($0 - now).inTenths)" } ?? "being asked")
        }
        return nil
    }
}

extension ProbeConfig.Kind {
    var word: String {
        switch self {
        case .tcp: "TCP"
        case .http: "HTTP"
        case .grpc: "GRPC"
        }
    }
}

extension ProbeResult.Failure {
    fileprivate var type: HealthEvent.FailureType {
        switch self {
        case .wrongAnswer, .retriableAnswer: .active
        case .network: .network
        case .timeout: .networkTimeout
        }
    }
}
