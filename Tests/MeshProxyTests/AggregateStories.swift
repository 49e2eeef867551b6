import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// A cluster that is made of others, which stand in for each other in their order.
@Suite struct AggregateStories {
    private final class Scene {
        let mesh: SimulatedMesh
        let east: [ScriptedServer]
        let west: ScriptedServer
        let group = WorkerGroup()
        let proxy: SimulatedProxy
        let client: ScriptedClient

        /// - Parameters:
        ///   - members: of the aggregate that the route leads to.
        ///   - more: other clusters.
        ///   - region: where west is.
        init(
            _ seed: UInt64, members: [String] = ["east", "west"], more: [Cluster] = [],
            region: String = "west", retry: RetryPolicy? = .on(.connectFailure),
            settings: Settings = Settings(), east change: (inout Cluster) -> Void = { _ in },
            west changeWest: (inout Cluster) -> Void = { _ in },
            route: (inout ForwardAction) -> Void = { _ in },
            manager: (inout HTTPConnectionManager) -> Void = { _ in }
        ) {
            mesh = SimulatedMesh(seed: seed)
            east = [0, 1].map { [mesh] in mesh.upstream("e\($0)") { Scene.answer($0) } }
            west = mesh.upstream("w", .http2, region: region) {
                $0.path == "/bad" ? .reply().after(Scene.slow) : .reply()
            }
            let top = Cluster(name: "all", discovery: .aggregate(members))
            proxy = mesh.proxy(
                clusters: [top, .of("east", east, change), .of("west", [west], changeWest)]
                    + more,
                routes: [
                    .forward(to: "all", prefix: "/high") { $0.highPriority = true },
                    .forward(to: "east", prefix: "/east"),
                    .forward(to: "all", retry: retry, route),
                ], settings: settings, group: group, manager: manager)
            client = mesh.client(.http2, proxy)
        }

        static let slow = Duration.milliseconds(100)

        private static func answer(_ request: ReceivedRequest) -> Answer {
            switch request.path {
            case "/stall": .stall
            case "/bad": .reply(503)
            case "/close": .closeConnection
            default: .reply()
            }
        }

        func ask(_ count: Int = 1, _ path: String = "/") -> [Call] {
            let calls = (0..<count).map { _ in client.get(path) }
            mesh.run()
            return calls
        }

        func served(_ count: Int = 10) -> Set<String> { Set(ask(count).map(\.servedBy)) }

        /// East has been away for 20 s; then there is a request for this path each 10 ms.
        /// - Returns: what came of the aggregate's priority 0, of which a member knows nothing.
        func comeBack(_ path: String, for duration: Duration) -> [FailbackRamp.Event] {
            for (verdict, wait) in [(Verdict.failedProbe, 20), (.healthy, 0)] {
                _ = ask()
                proxy.worker.received(
                    .health(
                        east.map { .endpoint(cluster: "east", $0.address, verdict) }))
                _ = ask()
                mesh.run(for: .seconds(wait))
            }
            for _ in 0..<duration.milliseconds / 10 {
                client.get(path)
                mesh.run(for: .milliseconds(10))
            }
            mesh.run()
            return proxy.reports.failbackNews.filter {
                $0.cluster == "all" && $0.change.priority == 0
            }
            .map(\.change.event)
        }
    }

    @Test(
        "Requests go to the first member, each over its own protocol and pool; when it dies to the next"
    )
    func failover() {
        let scene = Scene(1)
        #expect(scene.served() == ["e0", "e1"])
        for server in scene.east { server.kill() }
        let calls = scene.ask(20)
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "w" })
        #expect(scene.west.requests.allSatisfy { $0.head.httpVersion == 20 })
        for server in scene.east { server.listen() }
        scene.mesh.run(for: .seconds(40))
        #expect(scene.served(40).isSuperset(of: ["e0", "e1"]))
        #expect(scene.proxy.reports.failbacks.contains { $0.priority == 0 })
        #expect(scene.mesh.finish() == [])
    }

    @Test("A member comes back by tenths; its failures and its bad answers begin the hold again")
    func comesBack() {
        let hold = FailbackRamp.Event.holding(.seconds(10))
        let steps = (1...10).map { FailbackRamp.Event.forward(percent: 10 * $0) }
        let good = Scene(14)
        #expect(good.comeBack("/", for: .seconds(45)) == [.out, hold] + steps + [.finished])
        #expect(good.served() == ["e0", "e1"] && good.mesh.finish() == [])
        for path in ["/bad", "/close"] {
            let scene = Scene(15)
            let events = scene.comeBack(path, for: .seconds(15))
            #expect(events == [.out, hold, .forward(percent: 10), hold], "\(path)")
            #expect(scene.mesh.finish() == [])
        }
    }

    @Test("Members that go by keys have them from the aggregate's route")
    func keys() {
        let scene = Scene(
            13, east: { $0.loadBalancing.policy = .ringHash(.init()) },
            route: { $0.hashPolicy = [HashPolicy(source: .header("x-user"), terminal: false)] })
        let calls = (0..<60).map { scene.client.get("/", [("x-user", "u\($0 % 12)")]) }
        #expect(scene.mesh.run())
        for user in 0..<12 {
            #expect(Set((0..<5).map { calls[user + 12 * $0].servedBy }).count == 1)
        }
        #expect(Set(calls.map(\.servedBy)) == ["e0", "e1"] && scene.mesh.finish() == [])
    }

    @Test("A retry of an answer goes to another member")
    func retry() {
        let scene = Scene(2, retry: .on(.serverError))
        let call = scene.ask(1, "/bad")[0]
        #expect(call.isAnswered() && call.servedBy == "w")
        #expect(scene.mesh.finish() == [])
    }

    @Test("Previous priorities are those of all members together")
    func previousPriorities() {
        var policy = RetryPolicy.on(.serverError, times: 3)
        policy.previousPrioritiesUpdateFrequency = 2
        let scene = Scene(3, retry: policy)
        let call = scene.ask(1, "/bad")[0]
        // Once where any request goes, then away from the priority of both.
        #expect(call.servedBy == "w")
        #expect(scene.east.map { $0.requests.count } == [1, 1])
        #expect(scene.mesh.finish() == [])
        // Nothing else speaks for the other member: it is no farther away.
        policy.previousPrioritiesUpdateFrequency = 1
        let near = Scene(3, region: "east", retry: policy)
        #expect(near.ask(1, "/bad")[0].servedBy == "w")
        #expect(near.east.reduce(0) { $0 + $1.requests.count } == 1)
        #expect(near.mesh.finish() == [])
    }

    @Test("Requests under way count in the member that has them, and no longer when they end")
    func limits() {
        let scene = Scene(4, east: { $0.circuitBreakers.maxRequests = 2 })
        let held = [0, 1].map { _ in scene.client.get("/stall") }
        scene.mesh.run(for: .milliseconds(50))
        let refused = scene.client.get()
        scene.mesh.run(for: .milliseconds(50))
        #expect(refused.isAnswered(503) && refused.text.contains("overflow"))
        for call in held { call.cancel() }
        scene.mesh.run(for: .milliseconds(50))
        #expect(scene.ask(2).allSatisfy { $0.isAnswered() })
        #expect(scene.mesh.finish() == [])
    }

    @Test("A route of priority HIGH has the member's places of that priority")
    func highPriority() {
        let scene = Scene(
            10,
            east: {
                $0.circuitBreakers.maxRequests = 0
                $0.highPriorityBreakers.maxRequests = 2
            })
        #expect(scene.ask()[0].isAnswered(503))
        #expect(scene.ask(3, "/high").map(\.status).sorted() == [200, 200, 503])
        #expect(scene.ask(2, "/high").allSatisfy { $0.isAnswered() })
        #expect(scene.mesh.finish() == [])
    }

    /// Requests wait so long for a place.
    private var patient: Settings {
        var settings = Settings()
        settings.queueTimeout = .seconds(1)
        return settings
    }

    @Test("Requests to a member and requests to the aggregate wait in one line")
    func oneLine() {
        let scene = Scene(11, settings: patient) { $0.circuitBreakers.maxRequests = 1 }
        let held = scene.client.get("/stall")
        scene.mesh.run(for: .milliseconds(50))
        let paths = ["/1", "/east/2", "/3", "/east/4"]
        var calls: [Call] = []
        for path in paths {
            calls.append(scene.client.get(path))
            scene.mesh.run(for: .milliseconds(5))
        }
        held.cancel()
        #expect(scene.mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        let served = scene.east.flatMap(\.requests).sorted { $0.at < $1.at }.map(\.path)
        #expect(served == ["/stall"] + paths)
        #expect(scene.west.requests.isEmpty)
        #expect(scene.mesh.finish() == [])
    }

    @Test("Who has waited in a member that has died goes to the next, and leaves its place behind")
    func waitsForTheDead() {
        let scene = Scene(
            13, retry: nil, settings: patient,
            east: {
                $0.endpoints.localities[0].endpoints.removeLast()
                $0.circuitBreakers.maxRequests = 1
            })
        let held = scene.client.get("/stall")
        scene.mesh.run(for: .milliseconds(50))
        let calls = (0..<3).map { _ in scene.client.get() }
        scene.mesh.run(for: .milliseconds(50))
        #expect(scene.west.requests.isEmpty)
        scene.east[0].kill()
        #expect(scene.mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "w" && $0.took < .seconds(1) })
        #expect(!held.isAnswered() || held.servedBy == "w")
        scene.east[0].listen()
        scene.mesh.run(for: .seconds(40))
        #expect(scene.ask(1, "/east")[0].servedBy == "e0")
        #expect(scene.mesh.finish() == [])
    }

    @Test("Who waits for a connection of a member that has died goes to the next as well")
    func pendingOfTheDead() {
        let scene = Scene(
            14, retry: nil, settings: patient,
            east: {
                $0.endpoints.localities[0].endpoints.removeLast()
                $0.circuitBreakers.maxConnections = 1
                $0.circuitBreakers.maxPendingRequests = 2
            })
        let held = scene.client.get("/stall")
        scene.mesh.run(for: .milliseconds(50))
        // Two wait for the connection, two to do so; one more is too many.
        let calls = (0..<5).map { _ in scene.client.get() }
        scene.mesh.run(for: .milliseconds(50))
        #expect(calls[4].isAnswered(503) && calls[4].text.hasSuffix("overflow"))
        scene.east[0].kill()
        #expect(scene.mesh.run())
        #expect(calls.prefix(4).allSatisfy { $0.isAnswered() && $0.servedBy == "w" })
        #expect(!held.isAnswered() || held.servedBy == "w")
        scene.east[0].listen()
        scene.mesh.run(for: .seconds(40))
        #expect(scene.ask(3, "/east").allSatisfy { $0.servedBy == "e0" })
        #expect(scene.mesh.finish() == [])
    }

    @Test("A retry waits for its place in the member that it goes to")
    func retryWaits() {
        let scene = Scene(
            15, retry: .on(.serverError), settings: patient,
            west: { $0.circuitBreakers.maxRequests = 1 })
        let calls = scene.ask(3, "/bad")
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "w" })
        // One after the other.
        #expect(calls.contains { $0.took >= Scene.slow * 3 })
        #expect(scene.mesh.finish() == [])
    }

    @Test("With members that die and clients that go no place is lost")
    func queueSweep() {
        Seeds.each(20) { seed in
            let limit = { (cluster: inout Cluster) in
                cluster.circuitBreakers.maxRequests = 2
                cluster.circuitBreakers.maxPendingRequests = 4
            }
            let scene = Scene(seed, settings: self.patient, east: limit, west: limit)
            var random = SeededRandom(seed: seed)
            var calls: [Call] = []
            for _ in 0..<80 {
                calls.append(scene.client.get(random.below(6) == 0 ? "/stall" : "/"))
                if random.below(3) == 0 { calls[random.below(calls.count)].cancel() }
                if random.below(20) == 0 { for server in scene.east { server.kill() } }
                if random.below(10) == 0 { for server in scene.east { server.listen() } }
                scene.mesh.run(for: .milliseconds(Int64(random.below(60))))
            }
            for call in calls { call.cancel() }
            for server in scene.east { server.listen() }
            scene.mesh.run(for: .seconds(90))
            var problems = scene.ask(2).allSatisfy { $0.isAnswered() } ? [] : ["a place is lost"]
            problems +=
                scene.ask(2, "/east").allSatisfy { $0.isAnswered() } ? [] : ["one in east is"]
            return problems + scene.mesh.finish()
        }
    }

    @Test("Members come, go, and change what they are while requests run")
    func members() {
        let scene = Scene(5, members: ["later", "east"])
        #expect(scene.served() == ["e0", "e1"])
        let running = scene.client.get("/stall")
        scene.mesh.run(for: .milliseconds(20))
        scene.proxy.push { $0.clusters.append(.of("later", scene.west)) }
        #expect(scene.proxy.snapshot.clusters.contains { $0.name == "later" })
        let calls = (0..<6).map { _ in scene.client.get() }
        scene.mesh.run(for: .milliseconds(100))
        #expect(calls.allSatisfy { $0.servedBy == "w" })
        #expect(scene.group.breakers.count == 3)
        scene.proxy.push { snapshot in
            snapshot.clusters.removeAll { $0.name == "later" || $0.name == "east" }
        }
        running.cancel()
        let lost = scene.ask()[0]
        // With its last request a member that is gone is let go.
        #expect(scene.group.breakers.count == 1)
        #expect(lost.isAnswered(503) && lost.text == "no healthy upstream")
        // An aggregate becomes a cluster of its own.
        scene.proxy.push { snapshot in
            snapshot.clusters.removeAll { $0.name == "all" }
            snapshot.clusters.append(.of("all", scene.east))
        }
        #expect(scene.served() == ["e0", "e1"])
        #expect(scene.mesh.finish() == [])
    }

    @Test("An aggregate of aggregates is their members in order; one that goes round ends")
    func nested() {
        let inner = Cluster(name: "inner", discovery: .aggregate(["gone", "east", "all"]))
        let scene = Scene(6, members: ["inner", "west", "inner"], more: [inner])
        #expect(scene.served() == ["e0", "e1"])
        for server in scene.east { server.kill() }
        #expect(scene.served() == ["w"])
        #expect(scene.mesh.finish() == [])
    }

    @Test("A black hole in the only endpoint of a member is left for the next as within a cluster")
    func blackHole() {
        let scene = Scene(7) { $0.endpoints.localities[0].endpoints.removeLast() }
        scene.mesh.fault(scene.east[0], .blackHole)
        let call = scene.ask()[0]
        #expect(call.isAnswered() && call.servedBy == "w" && call.took < .seconds(3))
        #expect(scene.mesh.finish() == [])
    }

    @Test("A session sticks over the members' bounds")
    func session() {
        let session = StatefulSession(carrier: .header("x-session"))
        let scene = Scene(8, manager: { $0.filters = [.statefulSession(.on(session)), .router] })
        for server in scene.east { server.kill() }
        let first = scene.ask()[0]
        #expect(first.servedBy == "w")
        for server in scene.east { server.listen() }
        scene.mesh.run(for: .seconds(60))
        let value = first.head?.string("x-session") ?? ""
        let later = (0..<10).map { _ in scene.client.get("/", [("x-session", value)]) }
        #expect(scene.mesh.run())
        #expect(later.allSatisfy { $0.servedBy == "w" })
        #expect(scene.mesh.finish() == [])
    }

    @Test("Relayed connections count among those of the member that has them")
    func relayLimit() {
        let mesh = SimulatedMesh(seed: 12)
        let echo = mesh.rawServer("echo")
        let top = Cluster(name: "all", discovery: .aggregate(["part"]))
        let part = Cluster.of("part", addresses: [(echo.address, region: "", priority: 0)]) {
            $0.circuitBreakers.maxConnections = 2
            $0.circuitBreakers.maxRequests = 0
        }
        let proxy = mesh.tcpProxy(clusters: [top, part]) { $0.clusters = [.init(name: "all")] }
        let clients = (0..<3).map { _ in mesh.rawClient(proxy) }
        mesh.run(for: .milliseconds(100))
        #expect(clients.count { $0.isConnected && !$0.isOver } == 2)
        for client in clients { client.abort() }
        mesh.run(for: .milliseconds(100))
        let later = mesh.rawClient(proxy)
        mesh.run(for: .milliseconds(100))
        #expect(later.isConnected && !later.isOver)
        #expect(mesh.finish() == [])
    }

    @Test("A member that is gone and comes back still counts what is relayed to it since before")
    func relayOutlivesMember() {
        let mesh = SimulatedMesh(seed: 16)
        let echo = mesh.rawServer("echo")
        let top = Cluster(name: "all", discovery: .aggregate(["part"]))
        let part = Cluster.of("part", addresses: [(echo.address, region: "", priority: 0)]) {
            $0.circuitBreakers.maxConnections = 1
        }
        let proxy = mesh.tcpProxy(clusters: [top, part]) { $0.clusters = [.init(name: "all")] }
        func isRelayed() -> RawEnd? {
            let client = mesh.rawClient(proxy)
            mesh.run(for: .milliseconds(100))
            return client.isConnected && !client.isOver ? client : nil
        }
        let old = isRelayed()
        #expect(old != nil)
        proxy.push { $0.clusters.removeAll { $0.name == "part" } }
        proxy.push { $0.clusters.append(part) }
        #expect(isRelayed() == nil)
        old?.abort()
        mesh.run(for: .milliseconds(100))
        #expect(isRelayed() != nil)
        #expect(mesh.finish() == [])
    }

    @Test("Bytes are relayed to a member, and to the next when it refuses")
    func relay() {
        let mesh = SimulatedMesh(seed: 9)
        let east = mesh.rawServer("east") { $0.echoes = true }
        let west = mesh.rawServer("west") { $0.echoes = true }
        let top = Cluster(name: "all", discovery: .aggregate(["east", "west"]))
        let parts = [("east", east), ("west", west)].map { name, server in
            Cluster.of(name, addresses: [(server.address, region: name, priority: 0)])
        }
        let proxy = mesh.tcpProxy(clusters: [top] + parts) { $0.clusters = [.init(name: "all")] }
        let first = mesh.rawClient(proxy)
        first.write("one")
        mesh.run(for: .milliseconds(100))
        #expect(first.text == "one" && east.end.text == "one")
        east.listener.close()
        let second = mesh.rawClient(proxy)
        second.write("two")
        mesh.run(for: .milliseconds(100))
        #expect(second.text == "two" && west.end.text == "two")
        #expect(mesh.finish() == [])
    }
}
