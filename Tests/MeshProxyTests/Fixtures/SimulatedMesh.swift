import EventLoop
import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import TestPKI

@testable import MeshProxy

/// Scripted clients, real proxies and scripted servers on one simulated network.
///
///     let mesh = SimulatedMesh(seed: 1)
///     let a = mesh.upstream("a") { _ in .reply(200, "hello") }
///     let proxy = mesh.proxy(clusters: [.of("svc", a)])
///     let call = mesh.client(.http1, proxy).get("/")
///     mesh.run()
///     #expect(call.isAnswered() && a.requests.count == 1)
///
/// After every turn of a loop the balancers of all proxies are checked, and proxies' connections
/// are noted, so that `finish` can tell whether all are gone in the end.
final class SimulatedMesh {
    let network: SimulatedNetwork
    /// Where clients live.
    let clientHost: SimulatedHost
    private let clientLoop: SimulatedLoop
    private(set) lazy var ends = TLSEnds(clientLoop)
    private(set) var servers: [ScriptedServer] = []
    private(set) var proxies: [SimulatedProxy] = []
    private(set) var clients: [ScriptedClient] = []
    /// Proxies with a control loop, and the control planes that they ask.
    var controlled: [ControlledProxy] = []
    var controlPlanes: [ControlPlane] = []
    private var rawEnds: [RawEnd] = []
    var calls: [Call] = []
    private var hostCount: UInt32 = 0
    private var callCount = 0
    /// The most that the write queues of all streams held together.
    private(set) var mostQueued = 0
    private var seen: [ObjectIdentifier: WeakObject] = [:]
    /// The most body bytes that one exchange of a proxy had waiting in codecs and streams.
    fileprivate(set) var mostHeld = 0
    /// Told after every turn, besides what the mesh checks itself.
    var onStep: (() -> Void)?

    init(seed: UInt64 = 1, conditions: LinkConditions = LinkConditions()) {
        network = SimulatedNetwork(seed: seed)
        network.conditions = conditions
        clientHost = network.makeHost("clients", addresses: ["10.9.0.1"])
        clientLoop = clientHost.makeLoop("clients")
        network.onStep = { [unowned self] in stepped() }
        installSeededRandom(seed: seed)
    }

    deinit {
        removeSeededRandom()
    }

    // MARK: Building

    /// A scripted server on a host of its own, port 80.
    func upstream(
        _ name: String, _ speaks: WireProtocol = .http1, region: String = "east",
        zone: String = "1", priority: Int = 0,
        _ answer: @escaping (ReceivedRequest) -> Answer = { _ in .reply(200, "ok") }
    ) -> ScriptedServer {
        let host = makeHost(name)
        let server = ScriptedServer(
            name: name, host: host, loop: host.makeLoop(name), address: address(of: host, 80),
            speaks: speaks, locality: Locality(region: region, zone: zone), priority: priority,
            answer: answer)
        servers.append(server)
        return server
    }

    /// Many servers on one host, each on a port of its own: a whole cluster, cheaper to simulate.
    func upstreams(
        _ name: String, count: Int, _ speaks: WireProtocol = .http2,
        _ answer: @escaping (ReceivedRequest) -> Answer = { _ in .reply(200, "ok") }
    ) -> [ScriptedServer] {
        let host = makeHost(name)
        let loop = host.makeLoop(name)
        let made = (0..<count).map { number in
            ScriptedServer(
                name: "\(name)\(number)", host: host, loop: loop,
                address: address(of: host, 8000 + UInt16(number)), speaks: speaks,
                locality: Locality(region: "east", zone: "1"), priority: 0, answer: answer)
        }
        servers += made
        return made
    }

    /// A server of another region, at priority 1.
    func remote(
        _ name: String, _ speaks: WireProtocol = .http1,
        _ answer: @escaping (ReceivedRequest) -> Answer = { _ in .reply(200, "ok") }
    ) -> ScriptedServer {
        upstream(name, speaks, region: "west", priority: 1, answer)
    }

    /// A server of bytes, on a host of its own, port 80.
    func rawServer(_ name: String, _ change: (RawEnd) -> Void = { _ in }) -> RawServer {
        let host = makeHost(name)
        let end = RawEnd()
        rawEnds.append(end)
        change(end)
        let address = address(of: host, 80)
        let loop = host.makeLoop(name)
        do {
            let listener = try loop.listen(address, options: ListenOptions(), acceptor: end)
            return RawServer(end: end, host: host, address: address, listener: listener)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// A proxy with one listener for HTTP at port 8080.
    func proxy(
        _ name: String = "proxy", clusters: [Cluster], routes: [Route]? = nil,
        settings: Settings = Settings(), tls: DownstreamTLS? = nil,
        group: WorkerGroup = WorkerGroup(),
        manager: (inout HTTPConnectionManager) -> Void = { _ in },
        virtualHost: (inout VirtualHost) -> Void = { _ in }
    ) -> SimulatedProxy {
        proxy(
            name,
            snapshot: SimulatedMesh.httpSnapshot(
                clusters: clusters, routes: routes, tls: tls, manager: manager,
                virtualHost: virtualHost), settings: settings, group: group)
    }

    static func httpSnapshot(
        clusters: [Cluster], routes: [Route]? = nil, tls: DownstreamTLS? = nil,
        manager: (inout HTTPConnectionManager) -> Void = { _ in },
        virtualHost: (inout VirtualHost) -> Void = { _ in }
    ) -> Snapshot {
        let routes = routes ?? [.forward(to: clusters.first?.name ?? "")]
        var host = VirtualHost(name: "all", domains: ["*"], routes: routes)
        virtualHost(&host)
        var config = HTTPConnectionManager(statPrefix: "http", routes: .named("routes"))
        manager(&config)
        let listener = Listener(
            name: "http", address: .loopback(port: 8080),
            filterChains: [FilterChain(tls: tls, filter: .http(config))])
        return Snapshot(
            listeners: [listener], clusters: clusters,
            routes: ["routes": RouteConfiguration(name: "routes", virtualHosts: [host])])
    }

    /// A proxy that relays bytes at port 8080.
    func tcpProxy(
        _ name: String = "proxy", clusters: [Cluster], settings: Settings = Settings(),
        change: (inout TCPProxy) -> Void = { _ in }
    ) -> SimulatedProxy {
        var config = TCPProxy(
            statPrefix: "tcp", clusters: clusters.map { WeightedCluster(name: $0.name) })
        change(&config)
        let listener = Listener(
            name: "tcp", address: .loopback(port: 8080),
            filterChains: [FilterChain(filter: .tcpProxy(config))])
        return proxy(
            name, snapshot: Snapshot(listeners: [listener], clusters: clusters),
            settings: settings)
    }

    /// A proxy with any configuration. The ports of its listeners count, not their addresses:
    /// they listen on the proxy's own.
    func proxy(
        _ name: String, snapshot: Snapshot, settings: Settings = Settings(),
        group: WorkerGroup = WorkerGroup()
    ) -> SimulatedProxy {
        let proxy = SimulatedProxy(
            name, host: makeHost(name), snapshot: snapshot, settings: settings,
            group: group)
        proxies.append(proxy)
        return proxy
    }

    func client(_ wire: WireProtocol, _ proxy: SimulatedProxy, port: UInt16 = 8080)
        -> ScriptedClient
    {
        client(wire, to: proxy.address.with(port: port))
    }

    func client(_ wire: WireProtocol, to target: SocketAddress) -> ScriptedClient {
        let client = ScriptedClient(self, wire, loop: clientLoop, target: target)
        clients.append(client)
        return client
    }

    func rawClient(_ proxy: SimulatedProxy, port: UInt16 = 8080) -> RawEnd {
        let end = RawEnd()
        rawEnds.append(end)
        end.connect(from: clientLoop, to: proxy.address.with(port: port))
        return end
    }

    /// The number that the next call will have.
    var nextCallNumber: Int { callCount + 1 }

    func nextCallID() -> Int {
        callCount += 1
        return callCount
    }

    func makeHost(_ name: String) -> SimulatedHost {
        hostCount += 1
        return network.makeHost(name, addresses: ["10.0.\(hostCount).1"])
    }

    private func address(of host: SimulatedHost, _ port: UInt16) -> SocketAddress {
        host.addresses[0].with(port: port)
    }

    // MARK: Faults

    /// What new connections to a server meet.
    func fault(_ server: ScriptedServer, _ fault: ConnectFault?) {
        network.connectFaults[server.address] = fault
    }

    /// Everything on the way to and from a host is lost from now on, without a word.
    func blackHole(_ host: SimulatedHost, from other: SimulatedHost) {
        network.between([host], [other]) { $0.carriage = .losing }
    }

    func resetConnections(to address: SocketAddress) {
        network.resetConnections { _, server in server == address }
    }

    // MARK: Running

    /// Lets everything happen until every call has ended.
    /// - Returns: whether they all did within the limit.
    @discardableResult
    func run(limit: Duration = .seconds(60)) -> Bool {
        network.run(while: { calls.contains { !$0.isDone } }, limit: limit)
    }

    func run(for duration: Duration) { network.run(for: duration) }

    /// Ends everything: clients first, then proxies, then servers.
    /// - Returns: what was left over; empty when all is well.
    func finish() -> [String] {
        network.heal()
        for client in clients { client.close() }
        for end in rawEnds { end.closeAll() }
        run(for: .seconds(1))
        var left: [String] = []
        for proxy in proxies {
            left += proxy.leftovers()
            proxy.close()
        }
        for proxy in controlled { proxy.close() }
        run(for: .seconds(1))
        for plane in controlPlanes { plane.die() }
        for server in servers {
            server.stopListening()
            server.closeAll()
        }
        run(for: .seconds(11))
        if network.liveStreams > 0 { left.append("\(network.liveStreams) live streams") }
        for proxy in proxies { proxy.forget() }
        for proxy in controlled { proxy.forget() }
        network.trace.capacity = 0
        let alive = seen.values.compactMap { $0.object }
        left += alive.map { "\(type(of: $0)) is alive" }.sorted()
        return left
    }

    private func stepped() {
        for proxy in proxies { proxy.checkInvariants() }
        let queued = network.queuedBytes
        mostQueued = max(mostQueued, queued)
        if network.steps % 16 == 0 { noteObjects() }
        onStep?()
    }

    private func noteObjects() {
        network.visitHandlers { handler in
            switch handler {
            case let connection as DownstreamConnection:
                noteHeld(connection.stream, connection.codec)
            case let connection as UpstreamConnection: noteHeld(connection.stream, connection.codec)
            default: break
            }
            switch handler {
            case is DownstreamConnection, is UpstreamConnection, is TLSStream:
                let key = ObjectIdentifier(handler)
                if seen[key]?.object == nil { seen[key] = WeakObject(object: handler) }
            default:
                break
            }
        }
    }
}

extension SimulatedMesh {
    fileprivate func noteHeld(_ stream: (any ByteStream)?, _ codec: (any HTTPConnection)?) {
        guard let stream, let codec else { return }
        var held = stream.queuedBytes
        if codec.openStreams > 0 {
            for id in StreamID(1)...64 { held += codec.queuedBytes(on: id) }
        }
        mostHeld = max(mostHeld, held)
    }
}

private struct WeakObject {
    weak var object: AnyObject?
}

struct RawServer {
    let end: RawEnd
    let host: SimulatedHost
    let address: SocketAddress
    let listener: any StreamListener
}

/// The workers of one process: they count their limits together, and wait in one line.
final class WorkerGroup {
    let breakers: BreakerTable
    private var outlets: [(WorkerOrder) -> Void] = []

    init(_ count: Int = 1) {
        breakers = BreakerTable(workers: count)
    }

    /// - Returns: the index of the worker.
    fileprivate func join(_ outlet: @escaping (WorkerOrder) -> Void) -> Int {
        outlets.append(outlet)
        return outlets.count - 1
    }

    fileprivate func tell(_ worker: Int, _ order: WorkerOrder) { outlets[worker](order) }
}

/// A real worker on a simulated host.
final class SimulatedProxy {
    let name: String
    let host: SimulatedHost
    let address: SocketAddress
    private(set) var worker: Worker!
    private(set) var snapshot: Snapshot
    let reports = Reports()
    private var balancers: [ObjectIdentifier: Balancer] = [:]

    final class Reports {
        var evidence: [HealthEvidence] = []
        var failures: [TransportFailure.Kind] {
            evidence.compactMap { evidence in
                if case .failed(_, _, let failure) = evidence { failure.kind } else { nil }
            }
        }
        /// Of all clusters, in order.
        var failbacks: [FailbackRamp.Change] { failbackNews.map(\.change) }
        var failbackNews: [(cluster: String, change: FailbackRamp.Change)] = []
        var problems: [String] = []
        var adopted: UInt64 = 0
        var openWork = 0
        var isClosed = false
    }

    /// - Parameter group: proxies with the same one are workers of one process.
    init(
        _ name: String, host: SimulatedHost, snapshot: Snapshot, settings: Settings,
        group: WorkerGroup = WorkerGroup()
    ) {
        self.name = name
        self.host = host
        address = host.addresses[0].with(port: 8080)
        self.snapshot = Snapshot()
        let reports = reports
        let loop = host.makeLoop(name)
        let index = group.join(loop.outlet { [weak self] in self?.worker?.received($0) })
        worker = Worker(
            loop: loop, index: index, settings: settings, log: ProxyLog(),
            metrics: WorkerMetrics(), sharesPorts: false, breakers: group.breakers,
            tell: { group.tell($0, .placeIsFree($1)) }
        ) { report in
            switch report {
            case .adopted(_, let number, let problems):
                reports.adopted = number
                reports.problems += problems
            case .evidence(let evidence): reports.evidence.append(evidence)
            case .outliers: break
            case .failback(_, let cluster, let change):
                reports.failbackNews.append((cluster, change))
            case .drill: break
            case .openWork(_, let work): reports.openWork = work.values.reduce(0, +)
            case .closed: reports.isClosed = true
            }
        }
        push { $0 = snapshot }
    }

    /// Publishes a changed snapshot, with new generations for what changed.
    func push(_ change: (inout Snapshot) -> Void) {
        var next = snapshot
        change(&next)
        next.number = snapshot.number + 1
        for index in next.listeners.indices {
            let port = next.listeners[index].address.port
            next.listeners[index].address = address.with(port: port)
            let old = snapshot.listeners.first { $0.name == next.listeners[index].name }
            if next.listeners[index] != old { next.listeners[index].generation = next.number }
        }
        for index in next.clusters.indices {
            let old = snapshot.clusters.first { $0.name == next.clusters[index].name }
            if next.clusters[index].endpoints != old?.endpoints {
                next.clusters[index].endpoints.generation = next.number
            }
            if next.clusters[index] != old { next.clusters[index].generation = next.number }
        }
        for (name, routes) in next.routes where routes != snapshot.routes[name] {
            next.routes[name]?.generation = next.number
        }
        for (name, secret) in next.secrets where secret != snapshot.secrets[name] {
            next.secrets[name]?.generation = next.number
        }
        next.clusters.sort { $0.name < $1.name }
        snapshot = next
        worker.received(.adopt(next))
    }

    func drain() { worker.received(.drain) }
    func stopListening() { worker.received(.stopListening) }
    func close() { worker.received(.close) }
    func forget() {
        worker = nil
        balancers = [:]
    }

    /// Exchanges and relayed connections that are open.
    var openWork: Int { worker.openWork }

    func cluster(_ name: String = "svc") -> UpstreamCluster? { worker.clusters[name] }

    func balancer(_ cluster: UpstreamCluster) -> Balancer? {
        if let known = balancers[ObjectIdentifier(cluster)] { return known }
        let found = Mirror(reflecting: cluster).descendant("balancer") as? Balancer
        balancers[ObjectIdentifier(cluster)] = found
        return found
    }

    func checkInvariants() {
        guard let worker else { return }
        for cluster in worker.clusters.made { balancer(cluster)?.checkInvariants() }
    }

    /// What should not be there when nobody asks for anything any more.
    func leftovers() -> [String] {
        var left: [String] = []
        if worker.openWork != 0 { left.append("\(name): \(worker.openWork) open exchanges") }
        for cluster in worker.clusters.made {
            for host in cluster.hosts where host.activeRequests != 0 {
                left.append("\(name): \(host.activeRequests) requests on \(host.address)")
            }
            guard
                let cells = Mirror(reflecting: cluster.limits).descendant("cells") as? BreakerCells
            else { preconditionFailure("a cluster's limits have no cells") }
            for priority in RequestPriority.allCases {
                for resource in BreakerCells.Resource.allCases {
                    let count = resource == .connections ? 0 : cells.count(resource, priority)
                    let waiting = cells.waitingCount(resource, priority)
                    if count == 0, waiting == 0 { continue }
                    left.append("\(name): \(count) \(resource), \(waiting) wait for one")
                }
            }
        }
        return left
    }
}
