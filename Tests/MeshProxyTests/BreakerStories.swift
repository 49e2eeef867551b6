import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Observability
import Testing

@testable import MeshProxy

/// Circuit breakers: one count for all workers of a process, and Envoy's answers.
@Suite struct BreakerStories {
    private func count(_ metric: ClusterMetric, _ proxies: [SimulatedProxy]) -> UInt64 {
        proxies.reduce(0) { $0 + ($1.cluster()?.metrics.counters.value(metric) ?? 0) }
    }

    @Test("Two workers at exactly the limit: so many requests at a time, and not one less")
    func exactly() {
        Seeds.each(20) { seed in
            var random = SeededRandom(seed: seed)
            let limit = 3 + random.below(12)
            let mesh = SimulatedMesh(seed: seed)
            let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(200)) }
            let group = WorkerGroup(2)
            let proxies = ["one", "two"].map {
                mesh.proxy(
                    $0, clusters: [.of("svc", a) { $0.circuitBreakers.maxRequests = limit }],
                    group: group)
            }
            let clients = proxies.map { mesh.client(.http2, $0) }
            for client in clients { client.get() }
            mesh.run()
            var problems: [String] = []
            for round in 1...3 {
                let share = random.below(limit + 1)
                // As many as may, some on either side; then more on both while those are under way.
                let calls = (0..<limit).map { clients[$0 < share ? 0 : 1].get() }
                mesh.run(for: .milliseconds(100))
                let more = (0..<6).map { clients[$0 % 2].get() }
                mesh.run()
                if !calls.allSatisfy({ $0.isAnswered() }) { problems.append("\(round): refused") }
                for call in more {
                    if !call.isAnswered(503) { problems.append("\(round): \(call.status)") }
                    if call.head?.string("x-envoy-overloaded") != "true" {
                        problems.append("\(round): not overloaded")
                    }
                }
            }
            if count(.upstreamRqPendingOverflow, proxies) != 18 { problems.append("overflow") }
            problems += mesh.finish()
            if group.breakers.count != 0 { problems.append("counts are left") }
            return problems
        }
    }

    @Test("A burst on both workers at once fills the limit to the last place")
    func burst() {
        Seeds.each(20) { seed in
            let mesh = SimulatedMesh(seed: seed)
            let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(200)) }
            let group = WorkerGroup(2)
            let proxies = ["one", "two"].map {
                mesh.proxy(
                    $0, clusters: [.of("svc", a) { $0.circuitBreakers.maxRequests = 10 }],
                    group: group)
            }
            let clients = proxies.map { mesh.client(.http2, $0) }
            let calls = (0..<40).map { clients[$0 % 2].get() }
            mesh.run()
            let served = calls.count { $0.isAnswered() }
            return (served == 10 ? [] : ["\(served) served"]) + mesh.finish()
        }
    }

    @Test("Connections and callers that wait are counted in all workers together")
    func connections() {
        let mesh = SimulatedMesh(seed: 3)
        let servers = ["a", "b", "c", "d"].map { name in
            mesh.upstream(name) { _ in .reply(200).after(.milliseconds(50)) }
        }
        let group = WorkerGroup(2)
        let proxies = ["one", "two"].map {
            mesh.proxy(
                $0,
                clusters: [
                    .of("svc", servers[0]) {
                        $0.circuitBreakers.maxConnections = 5
                        $0.circuitBreakers.maxPendingRequests = 7
                    }
                ], group: group)
        }
        let clients = proxies.map { mesh.client(.http2, $0) }
        let calls = (0..<20).map { clients[$0 % 2].get() }
        #expect(mesh.run())
        #expect(calls.count { $0.isAnswered() } == 7)
        #expect(calls.count { $0.isAnswered(503) } == 13)
        #expect(servers[0].accepted == 5)
        #expect(count(.upstreamRqPendingOverflow, proxies) == 13)
        #expect(count(.upstreamCxOverflow, proxies) > 0)
        #expect(count(.upstreamRqPendingTotal, proxies) == 7)
        #expect(count(.upstreamRqPendingActive, proxies) == 0)
        #expect(mesh.finish() == [])
    }

    @Test("Retries of both workers share one limit; a retry of a response beyond it is given up")
    func retries() {
        Seeds.each(20) { seed in
            let mesh = SimulatedMesh(seed: seed)
            let a = mesh.upstream("a", .http2) { _ in .reply(503).after(.milliseconds(20)) }
            let group = WorkerGroup(2)
            var policy = RetryPolicy.on(.serverError, times: 1)
            policy.backoffBase = .milliseconds(1)
            policy.backoffCap = .milliseconds(1)
            let proxies = ["one", "two"].map {
                mesh.proxy(
                    $0,
                    clusters: [
                        .of("svc", a) {
                            $0.circuitBreakers.retryBudgetPercent = 0
                            $0.circuitBreakers.retryBudgetMinimum = 4
                        }
                    ], routes: [.forward(to: "svc", retry: policy)], group: group)
            }
            let clients = proxies.map { mesh.client(.http2, $0) }
            let calls = (0..<20).map { clients[$0 % 2].get() }
            mesh.run()
            var problems = calls.allSatisfy { $0.isAnswered(503) } ? [] : ["answers"]
            if a.requests.count != 24 { problems.append("\(a.requests.count - 20) retries") }
            let over = count(.upstreamRqRetryOverflow, proxies)
            if over != 16 { problems.append("overflow \(over)") }
            return problems + mesh.finish()
        }
    }

    @Test("A retry that waits for its place takes one that another worker gave back")
    func waitingRetry() {
        let mesh = SimulatedMesh(seed: 5)
        let a = mesh.upstream("a", .http2) { _ in .resetConnection.after(.milliseconds(20)) }
        let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(300)) }
        let group = WorkerGroup(2)
        let proxies = ["one", "two"].map {
            mesh.proxy(
                $0,
                clusters: [
                    .of("svc", a, b) {
                        $0.circuitBreakers.retryBudgetPercent = 0
                        $0.circuitBreakers.retryBudgetMinimum = 1
                        $0.circuitBreakers.retryBurst = 0
                    }
                ], group: group)
        }
        let calls = proxies.map { mesh.client(.http2, $0).get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
        let times = b.requests.map(\.at)
        #expect(times.count == 2 && times[1] - times[0] >= .milliseconds(300))
        #expect(times[1] - times[0] < .milliseconds(400))
        #expect(mesh.finish() == [])
    }

    @Test("Beyond the budget so many retries leave the failure domain, of all workers together")
    func retryBurst() {
        Seeds.each(20) { seed in
            let mesh = SimulatedMesh(seed: seed)
            let a = mesh.upstream("a", .http2) { _ in .reply(503) }
            let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(50)) }
            let group = WorkerGroup(2)
            let proxies = ["one", "two"].map {
                mesh.proxy(
                    $0,
                    clusters: [
                        .of("svc", a, b) {
                            $0.circuitBreakers.retryBudgetPercent = 0
                            $0.circuitBreakers.retryBudgetMinimum = 2
                            $0.circuitBreakers.retryBurst = 12
                        }
                    ], routes: [.forward(to: "svc", retry: .on(.serverError))], group: group)
            }
            let clients = proxies.map { mesh.client(.http2, $0) }
            var problems: [String] = []
            func expect(_ count: Int, _ what: String) {
                let calls = (0..<20).map { clients[$0 % 2].get() }
                mesh.run()
                let served = calls.count { $0.isAnswered() }
                if served != count { problems.append("\(what): \(served)") }
            }
            // Not more than the burst at a time, those within the budget among them.
            expect(12, "at a time")
            expect(4, "the rest of the burst, and the budget")
            expect(2, "the budget")
            mesh.run(for: .seconds(10))
            expect(12, "the next window")
            return problems + mesh.finish()
        }
    }

    @Test("Connections to one endpoint are bounded in all workers together, but for each first")
    func perHost() {
        let mesh = SimulatedMesh(seed: 8)
        let servers = ["a", "b"].map { name in
            mesh.upstream(name) { _ in .reply(200).after(.milliseconds(50)) }
        }
        let group = WorkerGroup(2)
        let proxies = ["one", "two"].map {
            mesh.proxy(
                $0,
                clusters: [.of("svc", servers) { $0.circuitBreakers.maxConnectionsPerHost = 3 }],
                group: group)
        }
        let clients = proxies.map { mesh.client(.http2, $0) }
        let calls = (0..<24).map { clients[$0 % 2].get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(servers.allSatisfy { $0.accepted == 3 || $0.accepted == 4 })
        #expect(count(.upstreamCxOverflow, proxies) > 0)
        #expect(mesh.finish() == [])
        #expect(group.breakers.count == 0)
    }

    @Test("Gauges say how the limits stand, for all workers together")
    func gauges() {
        let mesh = SimulatedMesh(seed: 9)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(100)) }
        let group = WorkerGroup(2)
        let hub = MetricsHub()
        let proxies = ["one", "two"].map {
            mesh.proxy(
                $0,
                clusters: [
                    .of("svc", a) {
                        $0.circuitBreakers.maxRequests = 6
                        $0.circuitBreakers.tracksRemaining = true
                    }
                ], group: group)
        }
        let control = ClusterSet(
            loop: mesh.clientHost.makeLoop("control"), settings: Settings(), log: ProxyLog(),
            metrics: hub.makeWorker(), breakers: group.breakers)
        control.adopt(proxies[0].snapshot)
        func standing() -> String {
            for cluster in control.all { cluster.limits.showStanding(of: cluster.config) }
            let text = StatsText(usedOnly: true).text(hub.registry.read())
            return text.split(separator: "\n").filter { $0.contains(".circuit_breakers.") }
                .compactMap { $0.split(separator: ".", maxSplits: 3).last.map(String.init) }
                .joined(separator: "; ")
        }
        let calls = (0..<6).map { mesh.client(.http2, proxies[$0 % 2]).get() }
        mesh.run(for: .milliseconds(50))
        #expect(standing().contains("default.rq_open: 1"))
        #expect(standing().contains("default.remaining_rq: 0"))
        #expect(standing().contains("default.remaining_cx: 1022"))
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(standing().contains("default.rq_open: 0"))
        #expect(standing().contains("default.remaining_rq: 6"))
        #expect(!standing().contains("high"))
        #expect(mesh.finish() == [])
    }

    @Test("Routes of priority HIGH have limits and connections of their own")
    func highPriority() {
        let mesh = SimulatedMesh(seed: 6)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(50)) }
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", a) {
                    $0.circuitBreakers.maxRequests = 2
                    $0.highPriorityBreakers.maxRequests = 4
                }
            ],
            routes: [
                .forward(to: "svc", prefix: "/high") { $0.highPriority = true },
                .forward(to: "svc"),
            ])
        let client = mesh.client(.http2, proxy)
        let low = (0..<6).map { _ in client.get() }
        let urgent = (0..<6).map { _ in client.get("/high") }
        #expect(mesh.run())
        #expect(low.count { $0.isAnswered() } == 2 && urgent.count { $0.isAnswered() } == 4)
        #expect(a.accepted == 2)
        #expect(mesh.finish() == [])
    }

    @Test("Relayed connections count among a cluster's connections; one too many is closed")
    func relays() {
        let mesh = SimulatedMesh(seed: 7)
        let echo = mesh.rawServer("echo")
        let cluster = Cluster.of(
            "svc", addresses: [(echo.address, region: "", priority: 0)]
        ) { $0.circuitBreakers.maxConnections = 2 }
        let proxy = mesh.tcpProxy(clusters: [cluster])
        let clients = (0..<3).map { _ in mesh.rawClient(proxy) }
        mesh.run(for: .milliseconds(100))
        #expect(clients.count { $0.isConnected && !$0.isOver } == 2)
        #expect(count(.upstreamCxOverflow, [proxy]) == 1)
        for client in clients { client.abort() }
        mesh.run(for: .milliseconds(100))
        let later = mesh.rawClient(proxy)
        mesh.run(for: .milliseconds(100))
        #expect(later.isConnected && !later.isOver)
        #expect(mesh.finish() == [])
    }
}
