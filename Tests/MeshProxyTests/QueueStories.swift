import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Observability
import Testing

@testable import MeshProxy

/// `queue_timeout`: where a limit is reached requests wait for a place, in order, and not for ever. It is the
/// same for requests to an aggregate, in the member that they are to go to.
@Suite struct QueueStories {
    private let patience: Duration = .milliseconds(250)

    /// - Parameter within: the route leads to an aggregate that the cluster is a member of.
    private func mesh(
        seed: UInt64 = 1, workers: Int = 1, within aggregate: Bool, takes: Duration,
        timeout: Duration = .seconds(15), speaks: WireProtocol = .http2,
        _ limits: (inout CircuitBreakers) -> Void
    ) -> (SimulatedMesh, ScriptedServer, [SimulatedProxy], [ScriptedClient]) {
        let mesh = SimulatedMesh(seed: seed)
        let a = mesh.upstream("a", speaks) { _ in .reply(200).after(takes) }
        var settings = Settings()
        settings.queueTimeout = patience
        var cluster = Cluster.of("svc", a)
        limits(&cluster.circuitBreakers)
        let group = WorkerGroup(workers)
        let all = Cluster(name: "all", discovery: .aggregate(["svc"]))
        let proxies = (0..<workers).map {
            mesh.proxy(
                "\($0)", clusters: [all, cluster],
                routes: [.forward(to: aggregate ? "all" : "svc", timeout: timeout)],
                settings: settings, group: group)
        }
        let clients = proxies.map { mesh.client(.http2, $0) }
        // Connections are there when the story begins.
        for client in clients { client.get("/warm") }
        mesh.run()
        return (mesh, a, proxies, clients)
    }

    private func overflows(_ proxies: [SimulatedProxy]) -> UInt64 {
        proxies.reduce(0) {
            $0 + ($1.cluster()?.metrics.counters.value(.upstreamRqPendingOverflow) ?? 0)
        }
    }

    @Test(
        "Beyond max_requests requests wait and are served in the order of their coming",
        arguments: [false, true])
    func inOrder(within aggregate: Bool) {
        let (mesh, a, proxies, clients) = mesh(within: aggregate, takes: .milliseconds(100)) {
            $0.maxRequests = 2
        }
        let calls = (0..<6).map { clients[0].get("/\($0)") }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(a.requests.dropFirst().map(\.path) == (0..<6).map { "/\($0)" })
        for (index, call) in calls.enumerated() {
            let turns = Int64(index / 2 + 1)
            #expect(call.took >= .milliseconds(100 * turns))
            #expect(call.took < .milliseconds(100 * turns + 5))
        }
        #expect(overflows(proxies) == 0)
        #expect(mesh.finish() == [])
    }

    @Test(
        "Who has waited in vain for so long is answered 503, with the reason in words",
        arguments: [false, true])
    func inVain(within aggregate: Bool) {
        let (mesh, a, proxies, clients) = mesh(within: aggregate, takes: .seconds(1)) {
            $0.maxRequests = 1
        }
        let first = clients[0].get()
        let second = clients[0].get()
        mesh.run(for: .milliseconds(100))
        let third = clients[0].get()
        #expect(mesh.run())
        #expect(first.isAnswered())
        for call in [second, third] {
            #expect(call.isAnswered(503) && call.text.hasSuffix("overflow"))
            #expect(call.head?.string("x-envoy-overloaded") == "true")
            #expect(call.took >= patience && call.took < .milliseconds(252))
        }
        #expect(a.requests.count == 2 && overflows(proxies) == 2)
        #expect(mesh.finish() == [])
    }

    @Test("As many wait as may be pending; one more is refused at once", arguments: [false, true])
    func bounded(within aggregate: Bool) {
        let (mesh, a, proxies, clients) = mesh(within: aggregate, takes: .milliseconds(60)) {
            $0.maxRequests = 1
            $0.maxPendingRequests = 2
        }
        let calls = (0..<5).map { _ in clients[0].get() }
        #expect(mesh.run())
        #expect(calls.map(\.status) == [200, 200, 200, 503, 503])
        #expect(calls.suffix(2).allSatisfy { $0.took < .milliseconds(2) })
        #expect(a.requests.count == 4 && overflows(proxies) == 2)
        #expect(mesh.finish() == [])
    }

    @Test("Nobody waits past the request's own deadline", arguments: [false, true])
    func deadline(within aggregate: Bool) {
        let (mesh, _, proxies, clients) = mesh(
            within: aggregate, takes: .milliseconds(120), timeout: .milliseconds(150)
        ) { $0.maxRequests = 1 }
        let calls = (0..<3).map { _ in clients[0].get() }
        #expect(mesh.run())
        #expect(calls.map(\.status) == [200, 504, 504])
        for call in calls.suffix(2) {
            #expect(call.took >= .milliseconds(150) && call.took < .milliseconds(152))
        }
        #expect(overflows(proxies) == 0)
        #expect(mesh.finish() == [])
    }

    @Test(
        "A client that goes leaves the line, and the next has its turn", arguments: [false, true])
    func leaves(within aggregate: Bool) {
        let (mesh, a, _, clients) = mesh(within: aggregate, takes: .milliseconds(100)) {
            $0.maxRequests = 1
        }
        let calls = (0..<3).map { clients[0].get("/\($0)") }
        mesh.run(for: .milliseconds(50))
        calls[1].cancel()
        #expect(mesh.run())
        #expect(calls[0].isAnswered() && calls[2].isAnswered())
        #expect(calls[2].took >= .milliseconds(200) && calls[2].took < .milliseconds(205))
        #expect(a.requests.map(\.path) == ["/warm", "/0", "/2"])
        #expect(mesh.finish() == [])
    }

    @Test("Bodies that come while their request waits are sent with it", arguments: [false, true])
    func bodies(within aggregate: Bool) {
        let (mesh, a, _, clients) = mesh(within: aggregate, takes: .milliseconds(100)) {
            $0.maxRequests = 1
        }
        let first = clients[0].get()
        let post = clients[0].post(
            "/post", bytes: 30_000, pace: Pace(bytes: 10_000, every: .milliseconds(20)))
        #expect(mesh.run())
        #expect(first.isAnswered() && post.isAnswered())
        #expect(a.requests.last?.body.isWhole(30_000) == true)
        #expect(mesh.finish() == [])
    }

    @Test(
        "Where as many wait for a connection as may, more wait for that", arguments: [false, true])
    func pending(within aggregate: Bool) {
        let (mesh, a, proxies, clients) = mesh(
            within: aggregate, takes: .milliseconds(50), speaks: .http1
        ) {
            $0.maxConnections = 1
            $0.maxPendingRequests = 2
        }
        let calls = (0..<7).map { clients[0].get("/\($0)") }
        #expect(mesh.run())
        #expect(calls.map(\.status) == [200, 200, 200, 200, 200, 503, 503])
        #expect(a.requests.dropFirst().map(\.path) == (0..<5).map { "/\($0)" })
        #expect(calls[4].took >= .milliseconds(250) && calls[4].took < .milliseconds(255))
        #expect(a.accepted == 1 && overflows(proxies) == 2)
        #expect(mesh.finish() == [])
    }

    @Test(
        "Workers wait in one line: a place that one gives back goes to who came first, at once",
        arguments: [false, true])
    func acrossWorkers(within aggregate: Bool) {
        Seeds.each(20) { seed in
            let (mesh, a, proxies, clients) = mesh(
                seed: seed, workers: 3, within: aggregate, takes: .milliseconds(20)
            ) { $0.maxRequests = 1 }
            var random = SeededRandom(seed: seed)
            var calls: [Call] = []
            for number in 0..<9 {
                calls.append(clients[random.below(3)].get("/\(number)"))
                mesh.run(for: .milliseconds(2))
            }
            mesh.run()
            var problems = calls.allSatisfy { $0.isAnswered() } ? [] : ["not all were served"]
            let served = a.requests.suffix(9)
            if served.map(\.path) != (0..<9).map({ "/\($0)" }) {
                problems.append("order \(served.map(\.path))")
            }
            for (earlier, later) in zip(served, served.dropFirst()) {
                let gap = later.at - earlier.at
                if gap < .milliseconds(20) || gap > .milliseconds(22) {
                    problems.append("\(later.path) after \(gap)")
                }
            }
            if overflows(proxies) != 0 { problems.append("overflow") }
            return problems + mesh.finish()
        }
    }

    @Test(
        "With clients that go and queues that run out, no place and no waiter is forgotten",
        arguments: [false, true])
    func sweep(within aggregate: Bool) {
        Seeds.each(20) { seed in
            let (mesh, a, _, clients) = mesh(
                seed: seed, workers: 2, within: aggregate, takes: .milliseconds(30)
            ) {
                $0.maxRequests = 2
                $0.maxPendingRequests = 6
            }
            var random = SeededRandom(seed: seed)
            var calls: [Call] = []
            for _ in 0..<80 {
                calls.append(clients[random.below(2)].get())
                if random.below(4) == 0 { calls[random.below(calls.count)].cancel() }
                mesh.run(for: .milliseconds(Int64(random.below(20))))
            }
            mesh.run()
            let later = clients.map { $0.get() }
            mesh.run()
            var problems = later.allSatisfy { $0.isAnswered() } ? [] : ["a place is lost"]
            if a.requests.count < 30 { problems.append("only \(a.requests.count) came through") }
            return problems + mesh.finish()
        }
    }

    @Test(
        "A cluster that goes and comes back while requests wait loses none of them",
        arguments: [false, true])
    func clusterReturns(within aggregate: Bool) {
        let (mesh, _, proxies, clients) = mesh(
            within: aggregate, takes: .milliseconds(100)
        ) { $0.maxRequests = 1 }
        let calls = (0..<3).map { _ in clients[0].get() }
        mesh.run(for: .milliseconds(50))
        let clusters = proxies[0].snapshot.clusters
        proxies[0].push { $0.clusters = [] }
        proxies[0].push { $0.clusters = clusters }
        let later = clients[0].get()
        #expect(mesh.run())
        #expect((calls + [later]).allSatisfy { $0.isAnswered() })
        #expect(later.took >= .milliseconds(190) && later.took < .milliseconds(210))
        #expect(mesh.finish() == [])
    }

    @Test(
        "A cluster's metadata says how long its requests wait, and zero is not at all",
        arguments: [false, true])
    func metadata(within aggregate: Bool) {
        for (own, status) in [(Duration.zero, 503), (.seconds(2), 200)] {
            let mesh = SimulatedMesh(seed: 3)
            let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.seconds(1)) }
            var settings = Settings()
            settings.queueTimeout = patience
            let proxy = mesh.proxy(
                clusters: [
                    Cluster(name: "all", discovery: .aggregate(["svc"])),
                    .of("svc", a) {
                        $0.circuitBreakers.maxRequests = 1
                        $0.queueTimeout = own
                    },
                ], routes: [.forward(to: aggregate ? "all" : "svc")], settings: settings)
            let client = mesh.client(.http2, proxy)
            let calls = (0..<2).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.map(\.status) == [200, status])
            #expect(mesh.finish() == [])
        }
    }
}
