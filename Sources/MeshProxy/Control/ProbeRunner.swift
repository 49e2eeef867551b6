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
/// that the health model wants, to find out whether an address that failed is back.
final class ProbeRunner {
    /// One probe to be run.
    struct Order {
        var cluster: String
        var address: SocketAddress
        var check: Int
    }

    private struct Check {
        var config: ProbeConfig
        var schedule: ProbeSchedule
        var trackers: [SocketAddress: HealthTracker] = [:]
    }

    private let clusters: ClusterSet
    private var checks: [String: [Check]] = [:]
    private var running: [ObjectIdentifier: RunningProbe] = [:]
    private var timer: LoopTimer?
    private let turned: (_ cluster: String, _ address: SocketAddress, _ healthy: Bool) -> Void
    private let passed: (_ cluster: String, _ address: SocketAddress) -> Void

    /// - Parameter turned: told when configured checks change their mind on an endpoint.
    /// - Parameter passed: told of each check that passed for an endpoint that all checks hold for healthy.
    init(
        clusters: ClusterSet,
        turned: @escaping (_ cluster: String, _ address: SocketAddress, _ healthy: Bool) -> Void,
        passed: @escaping (_ cluster: String, _ address: SocketAddress) -> Void
    ) {
        self.clusters = clusters
        self.turned = turned
        self.passed = passed
        timer = LoopTimer(clusters.loop.timers) { [unowned self] in runDue() }
    }

    /// Takes the clusters that are in force. Endpoints that stay keep what is known of them; new ones
    /// count as unhealthy until their first check, as in Envoy.
    func adopt(_ configs: [Cluster]) {
        var next: [String: [Check]] = [:]
        for config in configs where !config.healthChecks.isEmpty {
            let addresses = config.endpoints.localities.flatMap { locality in
                locality.endpoints.compactMap { endpoint -> SocketAddress? in
                    if case .address(let address) = endpoint.target { return address }
                    return nil
                }
            }
            var list = checks[config.name] ?? []
            if list.map(\.config) != config.healthChecks {
                list = config.healthChecks.map {
                    Check(
                        config: $0,
                        schedule: ProbeSchedule($0, random: clusters.loop.random.split()))
                }
            }
            for index in list.indices {
                list[index].schedule.update(addresses, now: clusters.loop.now)
                let known = list[index].trackers
                list[index].trackers = [:]
                for address in addresses {
                    if known[address] == nil { turned(config.name, address, false) }
                    list[index].trackers[address] =
                        known[address]
                        ?? HealthTracker(
                            failuresToEject: list[index].config.unhealthyThreshold,
                            successesToReturn: list[index].config.healthyThreshold)
                }
            }
            next[config.name] = list
        }
        checks = next
        arm()
    }

    /// Connects to an address once. - Parameter done: hears `nil` when it worked.
    func connect(
        to address: SocketAddress, timeout: Duration,
        done: @escaping (TransportFailure.Kind?) -> Void
    ) {
        let probe = RunningProbe(
            loop: clusters.loop, probe: TCPProbe(), timeout: timeout
        ) { [weak self] probe, _, failure in
            self?.running[ObjectIdentifier(probe)] = nil
            done(failure)
        }
        running[ObjectIdentifier(probe)] = probe
        probe.begin(clusters.loop.connect(address, options: probe.options, handler: probe))
    }

    /// Runs one configured check.
    func run(_ order: Order) {
        guard let cluster = clusters[order.cluster],
            let config = checks[order.cluster]?[order.check].config,
            let host = cluster.hosts.first(where: { $0.address == order.address })
        else { return }
        let running = RunningProbe(
            loop: clusters.loop, probe: makeProbe(config, cluster), timeout: config.timeout
        ) { [weak self] probe, result, _ in
            self?.running[ObjectIdentifier(probe)] = nil
            self?.ended(order, result)
        }
        self.running[ObjectIdentifier(running)] = running
        var address = host.address
        if let port = host.endpoint.healthCheckPort { address = address.with(port: port) }
        do {
            if let context = try cluster.tlsContext(for: host) {
                let stream = TLSStream(
                    session: cluster.makeSession(context, for: host), clusters: clusters,
                    handler: running)
                stream.connect(address, options: running.options)
                running.begin(stream)
            } else {
                running.begin(
                    clusters.loop.connect(address, options: running.options, handler: running))
            }
        } catch {
            running.fail("\(error)")
        }
    }

    private func makeProbe(_ config: ProbeConfig, _ cluster: UpstreamCluster) -> any Probe {
        switch config.kind {
        case .tcp(let send, let receive):
            return TCPProbe(send: send, receive: receive)
        case .http(let http):
            let connection: any HTTPConnection =
                http.useHTTP2 || cluster.config.upstreamProtocol == .http2
                ? HTTP2Connection(role: .client) : HTTP1Connection(role: .client)
            return HTTPProbe(http, cluster: cluster.name, connection: connection)
        case .grpc(let service, let authority):
            return GRPCProbe(
                service: service, authority: authority, cluster: cluster.name,
                connection: HTTP2Connection(role: .client))
        }
    }

    private func ended(_ order: Order, _ result: ProbeResult) {
        guard checks[order.cluster] != nil, order.check < (checks[order.cluster]?.count ?? 0)
        else { return }
        let change =
            checks[order.cluster]?[order.check].trackers[order.address]?.record(result) ?? .none
        let isHealthy =
            checks[order.cluster]?[order.check].trackers[order.address]?.isHealthy ?? false
        checks[order.cluster]?[order.check].schedule.ended(
            order.address, isHealthy: isHealthy, hasTraffic: true, now: clusters.loop.now)
        if change != .none || result == .passed {
            let all =
                checks[order.cluster]?.allSatisfy {
                    $0.trackers[order.address]?.isHealthy ?? true
                } ?? true
            if change != .none { turned(order.cluster, order.address, all) }
            if all, result == .passed { passed(order.cluster, order.address) }
        }
        arm()
    }

    private func runDue() {
        for name in checks.keys.sorted() {
            for index in (checks[name] ?? []).indices {
                let due = checks[name]?[index].schedule.due(now: clusters.loop.now) ?? []
                for address in due { run(Order(cluster: name, address: address, check: index)) }
            }
        }
        arm()
    }

    private func arm() {
        let deadline = checks.values.lazy.flatMap { $0 }.compactMap(\.schedule.nextDeadline).min()
        if let deadline { timer?.start(at: deadline) } else { timer?.stop() }
    }
}

/// One conversation under way.
private final class RunningProbe: ByteStreamHandler {
    let options: ConnectOptions
    private let probe: any Probe
    private let done: (RunningProbe, ProbeResult, TransportFailure.Kind?) -> Void
    private var stream: (any ByteStream)?
    private var timer: LoopTimer?
    private var isDone = false

    init(
        loop: any IOLoop, probe: any Probe, timeout: Duration,
        done: @escaping (RunningProbe, ProbeResult, TransportFailure.Kind?) -> Void
    ) {
        self.probe = probe
        self.done = done
        var options = ConnectOptions()
        options.timeout = timeout
        self.options = options
        let timer = LoopTimer(loop.timers) { [unowned self] in
            finish(.failed("timed out after \(timeout)"), .connectTimeout)
        }
        timer.start(at: loop.now + timeout)
        self.timer = timer
    }

    func begin(_ stream: any ByteStream) {
        self.stream = stream
    }

    func fail(_ reason: String) { finish(.failed(reason), .tlsNoCertificate) }

    func streamConnected() {
        step { probe.start(&$0) }
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        var output = ByteBuffer()
        let result = probe.received(bytes, &output)
        output.withBytes { if $0.count > 0 { stream?.write($0.span) } }
        if let result { finish(result, nil) }
    }

    func streamReceivedEnd() { finish(probe.closed(), .closed) }
    func streamDrained() {}

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        finish(.failed("\(failure.kind.word) \(failure.detail)"), failure.kind)
    }

    private func step(_ body: (inout ByteBuffer) -> ProbeResult?) {
        var output = ByteBuffer()
        let result = body(&output)
        output.withBytes { if $0.count > 0 { stream?.write($0.span) } }
        if let result { finish(result, nil) }
    }

    private func finish(_ result: ProbeResult, _ failure: TransportFailure.Kind?) {
        if isDone { return }
        isDone = true
        timer?.stop()
        stream?.close()
        stream = nil
        done(self, result, result == .passed ? nil : failure ?? .protocolError)
    }
}
