import Glibc
import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Random meshes, weather, faults, requests and pushes, each from a seed. What must hold for all
/// of them is said in `SweepRun.problems`. A failing seed prints itself; `MESH_SEED=n` runs it alone,
/// `MESH_SEEDS=n` another number of them.
@Suite struct SweepTests {
    private static let parts = 8

    @Test("In every mesh each request has one answer, or an error that the weather explains")
    func sweep() { Self.run(part: 0) }

    @Test("The same, for other seeds", arguments: 1..<parts)
    func sweepOn(part: Int) { Self.run(part: part) }

    @Test("A seed replays event by event")
    func replay() {
        for seed in [3, 4, 7, 8] as [UInt64] {
            let first = SweepRun(seed: seed)
            first.run()
            let second = SweepRun(seed: seed)
            second.run()
            #expect(first.mesh.network.trace.total == second.mesh.network.trace.total)
            #expect(first.mesh.network.trace.digest == second.mesh.network.trace.digest)
        }
    }

    private static func run(part: Int) {
        if let one = number("MESH_SEED") {
            if part == 0 { check(UInt64(one)) }
            return
        }
        let count = number("MESH_SEEDS") ?? 320
        for seed in stride(from: part, to: count, by: parts) { check(UInt64(seed)) }
    }

    private static func number(_ name: String) -> Int? {
        getenv(name).flatMap { Int(String(cString: $0)) }
    }

    private static func check(_ seed: UInt64) {
        let run = SweepRun(seed: seed)
        run.run()
        let problems = run.problems() + run.mesh.finish()
        if problems.isEmpty { return }
        Issue.record("MESH_SEED=\(seed): \(problems.prefix(8).joined(separator: "\n  "))")
    }
}

/// One mesh of a seed, and what is to happen in it.
private final class SweepRun {
    let mesh: SimulatedMesh
    private var random: SeededRandom
    private var services: [[ScriptedServer]] = []
    private var front: SimulatedProxy!
    private var calls: [(call: Call, service: Int, plan: Plan)] = []
    /// Something other than the requests themselves may make them fail.
    private var hasFaults = false
    private let trust: MeshTrust?
    private var allEnded = false

    /// What a server is to do with a request: follows from the request's number.
    private struct Plan {
        enum Kind: Int {
            case reply, echo, slow, chunked, trailers, busy, reset, close, stall, cut, refuse
        }
        var kind: Kind
        var requestBytes: Int?
        var replyBytes: Int
        var delay: Duration

        /// A whole answer of 200 follows when nothing else fails.
        var isCalm: Bool { kind.rawValue <= Kind.trailers.rawValue }
    }
    private var plans: [Int: Plan] = [:]

    init(seed: UInt64) {
        random = SeededRandom(seed: seed &+ 0x5EED)
        var conditions = LinkConditions.weather(&random)
        conditions.latency = min(conditions.latency, .milliseconds(10))
        let isHarsh = random.below(4) == 0
        if isHarsh {
            conditions.resetChance = 0.003
            conditions.refuseChance = 0.05
        }
        hasFaults = isHarsh
        mesh = SimulatedMesh(seed: seed, conditions: conditions)
        trust = random.below(4) == 0 ? MeshTrust() : nil
        build()
    }

    // MARK: The mesh

    private func build() {
        for service in 0..<2 {
            let count = 1 + random.below(3)
            let servers = (0..<count).map { index in
                let isRemote = index > 0 && random.below(2) == 0
                return mesh.upstream(
                    "s\(service)-\(index)", random.below(2) == 0 ? .http1 : .http2,
                    region: isRemote ? "west" : "east", priority: isRemote ? 1 : 0
                ) { [unowned self] in answer($0) }
            }
            // All endpoints of a cluster are spoken to in one protocol.
            services.append(servers.filter { $0.speaks == servers[0].speaks })
            for server in servers { server.tls = trust?.server("app") }
        }
        let inner = mesh.proxy("inner", snapshot: snapshot(generation: 0), settings: Settings())
        front = inner
        if random.below(2) == 0 { front = sidecar(to: inner) }
    }

    private func snapshot(generation: Int) -> Snapshot {
        var clusters = services.enumerated().map { number, servers in
            Cluster.of("service\(number)", servers) {
                $0.connectTimeout = .milliseconds(300)
                if let trust {
                    let alpn = servers[0].speaks == .http2 ? "h2" : "http/1.1"
                    $0.transport = .tls(trust.client("inner", alpn: [alpn]))
                }
                if generation % 3 == 1 { $0.maxRequestsPerConnection = 3 }
                if generation % 4 == 2 { $0.loadBalancing.policy = .leastRequest(choices: 2) }
            }
        }
        clusters.append(Cluster(name: "unused\(generation)"))
        return configured(
            clusters: clusters, names: clusters.map(\.name), tls: trust?.server("inner"),
            generation: generation)
    }

    private func sidecar(to inner: SimulatedProxy) -> SimulatedProxy {
        let cluster = Cluster.of("inner", addresses: [(inner.address, "west", 0)]) {
            $0.connectTimeout = .milliseconds(300)
            if let trust { $0.transport = .tls(trust.client("sidecar")) }
        }
        return mesh.proxy(
            "sidecar",
            snapshot: configured(
                clusters: [cluster], names: ["inner", "inner"], tls: nil, generation: 0))
    }

    private func configured(
        clusters: [Cluster], names: [String], tls: DownstreamTLS?, generation: Int
    ) -> Snapshot {
        var routes: [Route] = []
        for service in 0..<2 {
            let timeout = Duration.seconds(4)
            routes.append(
                .forward(to: names[service], prefix: "/\(service)/once", timeout: timeout))
            routes.append(
                .forward(
                    to: names[service], prefix: "/\(service)/", timeout: timeout,
                    retry: .on([.gatewayError, .refusedStream], times: 2, perTry: .seconds(2))))
        }
        var manager = HTTPConnectionManager(statPrefix: "http", routes: .named("routes"))
        manager.idleTimeout = .seconds(20)
        manager.streamIdleTimeout = .seconds(12)
        manager.drainTimeout = .milliseconds(200)
        if generation % 2 == 1 { manager.serverName = "g\(generation)" }
        let listener = Listener(
            name: "http", address: .loopback(port: 8080),
            filterChains: [FilterChain(tls: tls, filter: .http(manager))])
        return Snapshot(
            listeners: [listener], clusters: clusters,
            routes: [
                "routes": RouteConfiguration(
                    name: "routes",
                    virtualHosts: [
                        VirtualHost(
                            name: "all", domains: ["*"],
                            routes: generation % 2 == 0 ? routes : routes + [.respond(404)])
                    ])
            ])
    }

    private func answer(_ request: ReceivedRequest) -> Answer {
        guard let plan = plans[request.id] else { return .reply(500, "nobody asked") }
        let whole = Answer.bytes(plan.replyBytes).after(plan.delay)
        switch plan.kind {
        case .reply: return whole
        case .echo: return .echo
        case .slow: return whole.slowly(max(1, plan.replyBytes / 10), every: .milliseconds(5))
        case .chunked: return whole.chunked()
        case .trailers: return whole.chunked().trailer("x-end", "\(request.id)")
        case .busy: return .reply(503, "busy")
        case .reset: return .resetConnection.after(plan.delay)
        case .close: return .closeConnection
        case .stall: return .stall
        case .cut: return .bytes(plan.replyBytes + 1).cut(after: plan.replyBytes / 2, by: .reset)
        case .refuse:
            return request.connection >= 0
                && services.joined().contains {
                    $0.speaks == .http2 && $0.requests.contains { $0 === request }
                } ? .resetStream(.refusedStream) : .reply(503, "busy")
        }
    }

    // MARK: What happens

    func run() {
        let clients = (0..<(1 + random.below(3))).map { _ in
            mesh.client(random.below(2) == 0 ? .http1 : .http2, front)
        }
        if front === mesh.proxies[0] {
            for client in clients {
                client.tls = trust?.client(
                    "client", alpn: [client.wire == .http2 ? "h2" : "http/1.1"])
            }
        }
        if random.below(3) == 0 { clients[0].reading = Pace(bytes: 8000, every: .milliseconds(2)) }
        // Some meshes have good servers, some have all kinds.
        let kinds = random.below(3) == 0 ? 11 : 5
        // Who breaks an HTTP/2 connection breaks the requests of others as well.
        if kinds > 5, services.contains(where: { $0[0].speaks == .http2 }) { hasFaults = true }
        for _ in 0..<(8 + random.below(25)) {
            let client = clients[random.below(clients.count)]
            mesh.network.after(.milliseconds(random.below(1500))) { [unowned self] in
                send(client, kinds)
            }
        }
        if random.below(2) == 0 {
            for _ in 0..<(1 + random.below(4)) { planFault() }
        }
        for number in 1..<(1 + random.below(4)) {
            mesh.network.after(.milliseconds(random.below(1500))) { [unowned self] in
                push(number)
            }
        }
        if random.below(4) == 0 {
            mesh.network.after(.milliseconds(700)) { [unowned self] in front.drain() }
        }
        mesh.run(for: .seconds(2))
        allEnded = mesh.run(limit: .seconds(60))
        mesh.network.heal()
        mesh.network.connectFaults = [:]
        mesh.run(for: .seconds(45))
    }

    private func send(_ client: ScriptedClient, _ kinds: Int) {
        let service = random.below(2)
        var plan = Plan(
            kind: Plan.Kind(rawValue: random.below(kinds)) ?? .reply, requestBytes: nil,
            replyBytes: size(), delay: .milliseconds(random.below(3) == 0 ? random.below(200) : 0))
        let isPost = random.below(2) == 0 || plan.kind == .echo
        if isPost { plan.requestBytes = size() }
        if !isPost, random.below(4) == 0 { plan.requestBytes = size() }
        let method = isPost ? "POST" : plan.requestBytes == nil ? "GET" : "PUT"
        if plan.kind == .echo { plan.replyBytes = plan.requestBytes ?? 0 }
        plans[mesh.nextCallNumber] = plan
        let call = client.send(
            method, isPost ? "/\(service)/once" : "/\(service)/more", bytes: plan.requestBytes,
            chunked: random.below(3) == 0, echoes: plan.kind == .echo)
        calls.append((call, service, plan))
        if random.below(12) == 0 {
            mesh.network.after(.milliseconds(random.below(100))) { call.cancel() }
            // On HTTP/1 the connection goes, and with it nothing else: calls there are serial.
        }
    }

    private func size() -> Int {
        switch random.below(10) {
        case 0: 0
        case 1, 2, 3: random.below(100)
        case 4, 5, 6: random.below(3000)
        case 7, 8: random.below(20_000)
        default: mesh.network.conditions.segmentBytes > 4096 ? random.below(150_000) : 5000
        }
    }

    private func planFault() {
        hasFaults = true
        let servers = services.flatMap { $0 }
        let server = servers[random.below(servers.count)]
        let begins = Duration.milliseconds(random.below(1500))
        let lasts = Duration.milliseconds(50 + random.below(1500))
        let network = mesh.network
        let inner = mesh.proxies[0]
        // Which leg: to a server, between the proxies, or to the client.
        var (left, right, target) = (inner.host, server.host, server.address)
        let leg = random.below(4)
        if leg == 1, front !== inner {
            (left, right, target) = (front.host, inner.host, inner.address)
        }
        if leg == 2 { (left, right, target) = (mesh.clientHost, front.host, front.address) }
        // The scripted client has no time-outs, so what it sends must arrive at last.
        let worst: Link.Carriage = leg == 2 ? .waiting : .losing
        let begin: () -> Void
        let end: () -> Void
        switch random.below(7) {
        case 0, 1:
            let faults = [
                ConnectFault.refuse, .unreachable, .blackHole, .closeAtOnce, .resetAtOnce,
            ]
            let fault = faults[random.below(faults.count)]
            begin = { network.connectFaults[server.address] = fault }
            end = { network.connectFaults[server.address] = nil }
        case 2:
            begin = { server.kill() }
            end = { server.listen() }
        case 3:
            begin = { network.partition([left], from: [right]) }
            end = { network.between([left], [right]) { $0.carriage = .carrying } }
        case 4:
            begin = { network.between([left], [right]) { $0.carriage = worst } }
            end = { network.between([left], [right]) { $0.carriage = .carrying } }
        case 5:
            begin = { network.resetConnections { _, address in address == target } }
            end = {}
        default:
            begin = { server.shutDown() }
            end = { network.resetConnections() }
        }
        network.after(begins, begin)
        network.after(begins + lasts, end)
    }

    private func push(_ number: Int) {
        var next = snapshot(generation: number)
        // Endpoints come and go, but a service keeps one.
        for index in next.clusters.indices where next.clusters[index].endpoints.count > 1 {
            if random.below(2) == 0 {
                next.clusters[index].endpoints.localities[0].endpoints.removeFirst()
                if next.clusters[index].endpoints.localities[0].endpoints.isEmpty {
                    next.clusters[index].endpoints.localities.removeFirst()
                }
            }
        }
        mesh.proxies[0].push { $0 = next }
    }

    // MARK: What must hold

    func problems() -> [String] {
        var problems: [String] = []
        if !allEnded { problems.append("some calls never ended") }
        // A stream's window, the limit of a queue, and one turn's worth.
        if mesh.mostHeld > 1_800_000 { problems.append("\(mesh.mostHeld) bytes held") }
        for proxy in mesh.proxies { problems += proxy.reports.problems }
        var processed: [Int: [(server: ScriptedServer, request: ReceivedRequest)]] = [:]
        for server in mesh.servers {
            for request in server.requests {
                processed[request.id, default: []].append((server, request))
            }
        }
        for (call, service, plan) in calls {
            let name =
                "call \(call.id) \(call.method) \(plan.kind) \(call.status) "
                + "\(call.failure ?? "") \(call.wire) \(call.body.count) of \(plan.replyBytes), "
                + "\(call.begunAt.nanoseconds / 1_000_000) ms + \(call.took.milliseconds)"
            for (server, request) in processed[call.id] ?? [] {
                if !services[service].contains(where: { $0 === server }) {
                    problems.append("\(name): reached \(server.name)")
                }
                let count = plan.requestBytes ?? 0
                if !request.body.isIntact || request.isComplete && request.body.count != count {
                    problems.append("\(name): \(server.name) got \(request.body.count) of \(count)")
                }
            }
            problems += verdict(on: call, service, plan, name)
            let times = (processed[call.id] ?? []).filter { $0.request.isComplete }.count
            if call.method == "POST", plan.kind != .refuse, times > 1 {
                problems.append("\(name): processed \(times) times")
            }
            if plan.isCalm, !hasFaults, !call.wasCancelled, times != 1 {
                problems.append("\(name): processed \(times) times in calm weather")
            }
        }
        return problems
    }

    private func verdict(
        on call: Call, _ service: Int, _ plan: Plan, _ name: String
    ) -> [String] {
        var problems: [String] = []
        if call.answers > 1 { problems.append("\(name): answered \(call.answers) times") }
        if call.status == 200 {
            if call.head?.string("x-id") != "\(call.id)" {
                problems.append("\(name): the answer is to another request")
            }
            if !services[service].contains(where: { $0.name == call.servedBy }) {
                problems.append("\(name): answered by \(call.servedBy)")
            }
            if !call.body.isIntact || call.isComplete && call.body.count != plan.replyBytes {
                problems.append("\(name): body of \(call.body.count), not \(plan.replyBytes)")
            }
            if call.isComplete, plan.kind == .trailers, call.client?.wire == .http2,
                call.trailers?.string("x-end") != "\(call.id)"
            {
                problems.append("\(name): no trailers")
            }
        }
        if call.wasCancelled || hasFaults { return problems }
        // In good weather what happens is what the server was told to do.
        switch plan.kind {
        case .reply, .echo, .slow, .chunked, .trailers:
            if !call.isAnswered() { problems.append("\(name): not answered") }
        case .busy: if !call.isAnswered(503) { problems.append("\(name): not 503") }
        case .reset, .close:
            if !call.isAnswered(503) { problems.append("\(name): not 503") }
        case .refuse: if !call.isAnswered(503) { problems.append("\(name): not 503") }
        case .stall:
            // A second try may find the only endpoint suspected for other requests.
            if !call.isAnswered(504), !call.isAnswered(503) {
                problems.append("\(name): not 504")
            }
        case .cut:
            // Cut at once, or before the head has left: a failure before the response.
            if !call.isAnswered(503), call.failure == nil { problems.append("\(name): not cut") }
        }
        return problems
    }
}
