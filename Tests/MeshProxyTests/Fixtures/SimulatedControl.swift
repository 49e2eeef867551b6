import EventLoop
import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import XDSClient

@testable import MeshProxy

/// Files that are entries of a dictionary.
final class DictionaryFiles: FileSource {
    private var contents: [String: [UInt8]] = [:]
    private var changed: (() -> Void)?

    func read(_ path: String) throws(SocketError) -> [UInt8] {
        guard let bytes = contents[path] else { throw SocketError(operation: "open", errno: 2) }
        return bytes
    }

    func watch(_ directory: String, changed: @escaping () -> Void) { self.changed = changed }

    func write(_ path: String, _ bytes: [UInt8]) {
        contents[path] = bytes
        changed?()
    }
}

/// The embedded control plane on a host of its own, serving what a test tells it to.
final class ControlPlane {
    let name: String
    let address: SocketAddress
    private let host: SimulatedHost
    private let network: SimulatedNetwork
    private var server: GRPCServer?
    private var calls: [ObjectIdentifier: PlaneCall] = [:]
    fileprivate private(set) var resources = ServedResources()
    /// When streams were opened, all that ever were.
    private(set) var opened: [Instant] = []
    /// Why clients refused a response.
    fileprivate(set) var refusals: [String] = []
    fileprivate(set) var acknowledgements = 0
    fileprivate(set) var malformed: [String] = []
    /// Every request is answered by a message that is no response.
    var answersGarbage = false

    init(_ name: String, host: SimulatedHost, network: SimulatedNetwork) {
        self.name = name
        self.host = host
        self.network = network
        address = host.addresses[0].with(port: 18000)
        start()
    }

    var openStreams: Int { calls.count }

    /// Listens, also again after `die`.
    func start() {
        do {
            server = try GRPCServer(loop: host.makeLoop(name), address: address) {
                [unowned self] path, call in open(path, call)
            }
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// The process is killed: connections are reset and new ones refused.
    func die() {
        host.die(kernelAlive: true)
        server = nil
        calls = [:]
    }

    /// Serves these resources, in YAML, from now on and no others.
    func serve(_ texts: String..., besides raw: [RawResource] = []) {
        do {
            let parsed = try ResourceFiles.parse(
                files: texts.enumerated().map { ("\($0.offset)", Array($0.element.utf8)) })
            resources = ServedResources(parsed + raw)
        } catch {
            preconditionFailure("\(error)")
        }
        for call in calls.values { call.changed() }
    }

    /// Resets the connections of all clients.
    func resetConnections() {
        network.resetConnections { [address] _, server in server == address }
    }

    /// Sends every client a message that is no response.
    func sendGarbage() {
        for call in calls.values { call.sendGarbage() }
    }

    private func open(_ path: String, _ call: GRPCCall) -> (any GRPCCallOwner)? {
        for variant in [XDSSession.Variant.stateOfTheWorld, .incremental] where variant.path == path
        {
            opened.append(network.now)
            let made = PlaneCall(call, variant, plane: self)
            calls[ObjectIdentifier(made)] = made
            return made
        }
        return nil
    }

    fileprivate func ended(_ call: PlaneCall) { calls[ObjectIdentifier(call)] = nil }
}

private final class PlaneCall: GRPCCallOwner {
    private let call: GRPCCall
    private unowned let plane: ControlPlane
    private var session: ADSServerSession

    init(_ call: GRPCCall, _ variant: XDSSession.Variant, plane: ControlPlane) {
        self.call = call
        self.plane = plane
        session = ADSServerSession(variant: variant, identifier: plane.name)
    }

    func received(_ message: [UInt8]) {
        if plane.answersGarbage {
            sendGarbage()
            return
        }
        let answer = session.received(message, resources: plane.resources)
        switch answer.report {
        case .acknowledged: plane.acknowledgements += 1
        case .refused(_, let reason): plane.refusals.append(reason)
        case .malformed(let reason): plane.malformed.append(reason)
        case nil: break
        }
        for message in answer.messages { call.send(message) }
    }

    func changed() {
        for message in session.changed(to: plane.resources) { call.send(message) }
    }

    func sendGarbage() { call.send([0xFF, 0xFF, 0xFF, 0xFF]) }

    func ended() { plane.ended(self) }
}

/// A real control loop and real workers on one simulated host, each on its own loop. The first worker
/// listens at port 8080, each further one at the next, so that a test can choose.
final class ControlledProxy {
    let host: SimulatedHost
    let address: SocketAddress
    let files = DictionaryFiles()
    private(set) var workers: [Worker] = []
    private(set) var control: ControlLoop!
    let hub = MetricsHub()
    /// What workers told the control loop of answers.
    private(set) var outlierReports = 0
    /// How often the control loop gave verdicts to the first worker, and which, in order.
    private(set) var verdicts = 0
    private(set) var changes: [HealthModel.Change] = []
    /// Localities that were asked as a whole, once for each time.
    private(set) var doubts: [Locality] = []
    /// What the first worker told of priorities that go and come back, and when.
    private(set) var failbacks: [(at: Instant, change: FailbackRamp.Change)] = []
    private(set) var problems: [String] = []

    init(_ name: String, host: SimulatedHost, bootstrap: Bootstrap, workers count: Int = 1) {
        self.host = host
        address = host.addresses[0].with(port: 8080)
        let controlLoop = host.makeLoop("\(name) control")
        let toControl: (WorkerReport) -> Void = controlLoop.outlet { [unowned self] report in
            if case .adopted(_, _, let problems) = report { self.problems += problems }
            if case .outliers = report { outlierReports += 1 }
            if case .failback(worker: 0, _, let change) = report {
                failbacks.append((controlLoop.now, change))
            }
            control?.received(report)
        }
        var orders: [(WorkerOrder) -> Void] = []
        let breakers = BreakerTable(workers: count)
        for index in 0..<count {
            let loop = host.makeLoop(index == 0 ? name : "\(name) \(index)")
            workers.append(
                Worker(
                    loop: loop, index: index, settings: bootstrap.settings, log: ProxyLog(),
                    metrics: hub.makeWorker(), sharesPorts: false, breakers: breakers,
                    tell: { [unowned self] in workers[$0].received(.placeIsFree($1)) },
                    send: toControl))
            orders.append(
                loop.outlet { [unowned self] order in
                    if index == 0, case .health(let changes) = order {
                        verdicts += 1
                        self.changes += changes
                    }
                    if index == 0, case .doubt(let locality) = order { doubts.append(locality) }
                    if index < workers.count {
                        workers[index].received(ControlledProxy.at(UInt16(index), order))
                    }
                })
        }
        control = ControlLoop(
            loop: controlLoop, bootstrap: bootstrap, files: files, log: ProxyLog(),
            metrics: hub.makeWorker(), workers: orders, breakers: breakers)
        control.start()
    }

    /// Moves the ports of listeners up.
    private static func at(_ offset: UInt16, _ order: WorkerOrder) -> WorkerOrder {
        guard offset > 0, case .adopt(var snapshot) = order else { return order }
        for index in snapshot.listeners.indices {
            let address = snapshot.listeners[index].address
            snapshot.listeners[index].address = address.with(port: address.port + offset)
        }
        return .adopt(snapshot)
    }

    /// The admin page's text.
    func page(_ path: String, _ query: (key: String, value: String)...) -> String {
        AdminPages(control: control, registry: hub, log: ProxyLog())
            .answer(AdminServer.Request(method: "GET", path: path, query: query)).text
    }

    /// The value of a metric by its name, as `/stats` prints it.
    func stat(_ name: String) -> Int? {
        page("/stats").split(separator: "\n").first { $0.hasPrefix(name + ": ") }
            .flatMap { Int($0.dropFirst(name.count + 2)) }
    }

    /// The control plane whose configuration is in force.
    var source: String { control.published.source }

    /// Of what control planes gave, in order.
    var clusterNames: [String] {
        let own = Set(control.bootstrap.staticResources.clusters.map(\.name))
        return control.published.clusters.map(\.name).filter { !own.contains($0) }.sorted()
    }

    var isRunning: Bool { control != nil }

    /// First hops that were called dead, in order, once for each time.
    var deadPaths: [SocketAddress] {
        changes.compactMap { change in
            if case .path(let address, usable: false) = change { address } else { nil }
        }
    }

    func close() { control.quit() }

    func forget() {
        control = nil
        workers = []
    }
}

extension SimulatedMesh {
    func controlPlane(_ name: String) -> ControlPlane {
        let plane = ControlPlane(name, host: makeHost(name), network: network)
        controlPlanes.append(plane)
        return plane
    }

    /// A proxy that has everything from these control planes, the first preferred.
    func controlledProxy(
        _ planes: ControlPlane..., incremental: Bool = false, settings: Settings = Settings(),
        workers: Int = 1
    ) -> ControlledProxy {
        let clusters = planes.map { plane in
            Cluster.of(plane.name, addresses: [(plane.address, region: "east", priority: 0)])
        }
        let bootstrap = Bootstrap(
            node: Node(id: "proxy"), staticResources: Snapshot(clusters: clusters),
            ads: AggregatedDiscovery(
                controlPlanes: planes.map { .init(cluster: $0.name) }, delta: incremental),
            wantsLDS: true, wantsCDS: true, settings: settings)
        let proxy = ControlledProxy(
            "proxy", host: makeHost("proxy"), bootstrap: bootstrap, workers: workers)
        controlled.append(proxy)
        return proxy
    }

    /// A proxy with a control loop and a configuration from a file.
    func controlledProxy(
        clusters: [Cluster], routes: [Route]? = nil, settings: Settings = Settings(),
        outboundPort: UInt16? = nil, workers: Int = 1,
        manager: (inout HTTPConnectionManager) -> Void = { _ in }
    ) -> ControlledProxy {
        let host = makeHost("proxy")
        var snapshot = SimulatedMesh.httpSnapshot(
            clusters: clusters.sorted { $0.name < $1.name }, routes: routes, manager: manager)
        snapshot.listeners[0].address = host.addresses[0].with(port: 8080)
        if let outboundPort {
            var outbound = snapshot.listeners[0]
            outbound.name = "outbound"
            outbound.direction = .outbound
            outbound.address = host.addresses[0].with(port: outboundPort)
            snapshot.listeners.append(outbound)
        }
        let proxy = ControlledProxy(
            "proxy", host: host,
            bootstrap: Bootstrap(
                node: Node(id: "proxy"), staticResources: snapshot, settings: settings),
            workers: workers)
        controlled.append(proxy)
        run(for: .milliseconds(10))
        return proxy
    }

    func client(
        _ wire: WireProtocol, _ proxy: ControlledProxy, worker: UInt16 = 0
    ) -> ScriptedClient {
        client(wire, to: proxy.address.with(port: proxy.address.port + worker))
    }
}

/// Resources as control planes serve them, in YAML.
enum ResourceText {
    static func cluster(_ name: String, _ more: String = "") -> String {
        """
        - {"@type": x/envoy.config.cluster.v3.Cluster, name: \(name), type: EDS,
           connect_timeout: 1s, eds_cluster_config: {eds_config: {ads: {}}}\(more)}
        """
    }

    /// The endpoints of a priority make one locality, of the first one's region.
    static func endpoints(_ name: String, _ servers: [ScriptedServer]) -> String {
        let localities = Set(servers.map(\.priority)).sorted().map { priority in
            let group = servers.filter { $0.priority == priority }
            let endpoints = group.map { server in
                "{endpoint: {address: {socket_address: {address: \(server.address.host), "
                    + "port_value: \(server.address.port)}}}}"
            }
            return "{locality: {region: \(group[0].locality.region)}, priority: \(priority), "
                + "lb_endpoints: [\(endpoints.joined(separator: ", "))]}"
        }
        return """
            - {"@type": x/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: \(name),
               endpoints: [\(localities.joined(separator: ", "))]}
            """
    }

    /// - Parameter certificate: a secret; with one, it speaks TLS.
    static func listener(
        _ name: String = "in", routes: String = "routes", certificate: String? = nil
    ) -> String {
        let filters = "type.googleapis.com/envoy.extensions.filters"
        let type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
        let socket = certificate.map {
            """

                transport_socket:
                  name: envoy.transport_sockets.tls
                  typed_config:
                    "@type": \(type).DownstreamTlsContext
                    common_tls_context:
                      alpn_protocols: [h2]
                      tls_certificate_sds_secret_configs: [{name: \($0), sds_config: {ads: {}}}]
            """
        }
        let text = """
            - "@type": x/envoy.config.listener.v3.Listener
              name: \(name)
              address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
              filter_chains:
              - filters:
                - typed_config:
                    "@type": \(filters).network.http_connection_manager.v3.HttpConnectionManager
                    stat_prefix: in
                    rds: {route_config_name: \(routes), config_source: {ads: {}}}
                    http_filters:
                    - typed_config: {"@type": \(filters).http.router.v3.Router}
            """
        return text + (socket ?? "")
    }

    static func certificate(_ name: String, _ leaf: (chain: [UInt8], key: [UInt8])) -> String {
        func quoted(_ bytes: [UInt8]) -> String {
            "\"" + String(decoding: bytes, as: UTF8.self).replacing("\n", with: "\\n") + "\""
        }
        return """
            - {"@type": x/envoy.extensions.transport_sockets.tls.v3.Secret, name: \(name),
               tls_certificate: {certificate_chain: {inline_string: \(quoted(leaf.chain))},
                 private_key: {inline_string: \(quoted(leaf.key))}}}
            """
    }

    static func routes(_ name: String = "routes", to cluster: String) -> String {
        """
        - {"@type": x/envoy.config.route.v3.RouteConfiguration, name: \(name), virtual_hosts:
            [{name: all, domains: ["*"],
              routes: [{match: {prefix: /}, route: {cluster: \(cluster)}}]}]}
        """
    }

    /// A listener, its routes, and a cluster of these servers.
    static func service(_ name: String = "svc", _ servers: ScriptedServer..., more: String = "")
        -> String
    {
        [listener(), routes(to: name), cluster(name, more), endpoints(name, servers)]
            .joined(separator: "\n")
    }
}
