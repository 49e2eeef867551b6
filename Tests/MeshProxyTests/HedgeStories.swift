import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Observability
import Testing

@testable import MeshProxy

/// `hedge_on_per_try_timeout`: a try that takes too long goes on, and another is made beside it.
@Suite struct HedgeStories {
    private let perTry: Duration = .milliseconds(100)

    private func policy(_ times: Int = 1) -> RetryPolicy {
        var policy = RetryPolicy.on(.gatewayError, times: times, perTry: perTry)
        policy.backoffBase = .milliseconds(1)
        policy.backoffCap = .milliseconds(1)
        return policy
    }

    private func route(times: Int = 1, timeout: Duration = .seconds(15)) -> Route {
        .forward(to: "svc", timeout: timeout, retry: policy(times)) {
            $0.hedgePolicy = HedgePolicy(onPerTryTimeout: true)
        }
    }

    /// A proxy for servers; the first is local and has the first try.
    private func proxy(
        _ mesh: SimulatedMesh, _ servers: [ScriptedServer], times: Int = 1,
        timeout: Duration = .seconds(15), settings: Settings = Settings(),
        _ change: (inout Cluster) -> Void = { _ in }
    ) -> SimulatedProxy {
        mesh.proxy(
            clusters: [.of("svc", servers, change)],
            routes: [route(times: times, timeout: timeout)], settings: settings)
    }

    private func count(_ metric: ClusterMetric, _ proxy: SimulatedProxy) -> UInt64? {
        proxy.cluster()?.metrics.counters.value(metric)
    }

    @Test("The second try answers first: it is the client's, and the first is reset")
    func secondWins() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 1)
            let a = mesh.upstream("a", speaks) { _ in .reply(200).after(.milliseconds(800)) }
            let b = mesh.remote("b", speaks) { _ in .reply(200, "quick") }
            let proxy = proxy(mesh, [a, b])
            let call = mesh.client(.http2, proxy).get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.servedBy == "b" && call.text == "quick")
            #expect(call.took >= perTry && call.took < .milliseconds(105))
            mesh.run(for: .milliseconds(10))
            #expect(a.requests.count == 1 && a.requests[0].wasReset)
            #expect(count(.upstreamRqPerTryTimeout, proxy) == 1)
            #expect(count(.upstreamRqRetry, proxy) == 1)
            #expect(mesh.finish() == [])
        }
    }

    @Test("The first try answers first after all: it is the client's, and the second is reset")
    func firstWins() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 2)
            let a = mesh.upstream("a", speaks) { _ in .bytes(200_000).after(.milliseconds(150)) }
            let b = mesh.remote("b", speaks) { _ in .reply(200).after(.milliseconds(800)) }
            let call = mesh.client(.http2, proxy(mesh, [a, b])).get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.servedBy == "a" && call.body.isWhole(200_000))
            #expect(call.took >= .milliseconds(150) && call.took < .milliseconds(180))
            mesh.run(for: .milliseconds(10))
            #expect(b.requests.count == 1 && b.requests[0].wasReset)
            #expect(mesh.finish() == [])
        }
    }

    @Test("An answer that would be retried is dropped while another try is under way")
    func badAnswers() {
        for (slow, quick) in [(200, 503), (503, 200), (503, 503)] {
            let mesh = SimulatedMesh(seed: 3)
            let a = mesh.upstream("a", .http2) { _ in .reply(slow).after(.milliseconds(300)) }
            let b = mesh.remote("b", .http2) { _ in
                .reply(quick).after(.milliseconds(quick == 503 ? 20 : 400))
            }
            let call = mesh.client(.http2, proxy(mesh, [a, b])).get()
            #expect(mesh.run())
            #expect(call.isAnswered(min(slow, quick)))
            #expect(call.servedBy == (quick == 200 ? "b" : "a"))
            #expect(a.requests.count == 1 && b.requests.count == 1)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A try that is reset is dropped, too; when all have failed the client hears of the last")
    func resets() {
        for (first, second, status) in [(true, false, 200), (false, true, 200), (true, true, 503)] {
            let mesh = SimulatedMesh(seed: 4)
            let bad = Answer.resetStream(.internalError)
            let a = mesh.upstream("a", .http2) { _ in
                (first ? bad : .reply(200)).after(.milliseconds(200))
            }
            let b = mesh.remote("b", .http2) { _ in
                (second ? bad : .reply(200)).after(.milliseconds(150))
            }
            let call = mesh.client(.http2, proxy(mesh, [a, b])).get()
            #expect(mesh.run())
            #expect(call.isAnswered(status), "\(first) \(second) \(call.status)")
            #expect(mesh.finish() == [])
        }
    }

    @Test(
        "While two tries go on that are the last, the first bad answer of them is dropped as well")
    func lastTwo() {
        let mesh = SimulatedMesh(seed: 8)
        let a = mesh.upstream("a", .http2) { _ in .reply(503).after(.milliseconds(300)) }
        let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(300)) }
        let c = mesh.upstream("c", .http2, region: "north", priority: 2) { _ in
            .reply(503).after(.milliseconds(10))
        }
        let call = mesh.client(.http2, proxy(mesh, [a, b, c], times: 2)).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "b")
        #expect(call.took >= .milliseconds(400) && call.took < .milliseconds(405))
        #expect([a, b, c].allSatisfy { $0.requests.count == 1 })
        #expect(mesh.finish() == [])
    }

    @Test("Only an answer that the policy names is bad; what is left of a bad one's body is reset")
    func badOrNot() {
        for status in [500, 503] {
            let mesh = SimulatedMesh(seed: 9)
            var slow = Answer.bytes(2_000_000).after(.milliseconds(150))
            slow.status = status
            let a = mesh.upstream("a", .http2) { _ in slow }
            let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(500)) }
            let proxy = proxy(mesh, [a, b])
            let call = mesh.client(.http2, proxy).get()
            #expect(mesh.run())
            #expect(call.isAnswered(status == 500 ? 500 : 200))
            mesh.run(for: .milliseconds(10))
            #expect(a.requests[0].wasReset == (status == 503))
            #expect(b.requests[0].wasReset == (status == 500))
            #expect(count(.upstreamRq5xx, proxy) == 1)
            #expect(count(.upstreamRq2xx, proxy) == (status == 503 ? 1 : 0))
            #expect(mesh.finish() == [])
        }
    }

    @Test("That a try is reset is counted, and is evidence against its endpoint")
    func resetCounts() {
        let mesh = SimulatedMesh(seed: 10)
        let a = mesh.upstream("a", .http2) { _ in
            .resetStream(.internalError).after(.milliseconds(200))
        }
        let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(200)) }
        let proxy = proxy(mesh, [a, b])
        let call = mesh.client(.http2, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "b")
        #expect(count(.upstreamRqRxReset, proxy) == 1 && proxy.reports.failures == [.reset])
        #expect(mesh.finish() == [])
    }

    @Test("That a try is reset for another's answer says nothing of its endpoint")
    func noWord() {
        let mesh = SimulatedMesh(seed: 11)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(150)) }
        let b = mesh.remote("b", .http2) {
            $0.number == 0 ? .resetStream(.internalError) : .stall
        }
        let proxy = proxy(mesh, [a, b])
        let client = mesh.client(.http2, proxy)
        for _ in 0..<2 {
            let call = client.get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.servedBy == "a")
        }
        mesh.run(for: .milliseconds(10))
        #expect(b.requests.count > 1 && b.requests.last?.wasReset == true)
        // The reset, and since then no answer.
        let words = proxy.reports.evidence.filter {
            switch $0 {
            case .failed(_, b.address, _), .recovered(_, b.address, _): true
            default: false
            }
        }
        #expect(words.count == 1 && proxy.reports.failures == [.reset])
        #expect(mesh.finish() == [])
    }

    @Test("For outlier detection a try that goes on has timed out")
    func outliers() {
        let mesh = SimulatedMesh(seed: 12)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(150)) }
        let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(100)) }
        var detection = OutlierDetection()
        detection.consecutive5xx = 2
        detection.maxEjectionPercent = 100
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", a, b) { $0.outlierDetection = detection }], routes: [route()])
        let client = mesh.client(.http2, proxy)
        var servedBy: [String] = []
        for _ in 0..<3 {
            let call = client.get()
            #expect(mesh.run())
            servedBy.append(call.servedBy)
            mesh.run(for: .milliseconds(10))
        }
        #expect(servedBy == ["a", "a", "b"] && a.requests.count == 2)
        #expect(proxy.stat("cluster.svc.outlier_detection.ejections_active") == 1)
        #expect(mesh.finish() == [])
    }

    @Test("A try that goes on and answers ends the other's waiting for a place")
    func stopsWaiting() {
        let mesh = SimulatedMesh(seed: 13)
        var settings = Settings()
        settings.queueTimeout = .milliseconds(250)
        let a = mesh.upstream("a", .http2) {
            $0.path == "/held"
                ? .stall
                : Answer.bytes(20_000).slowly(2_000, every: .milliseconds(50))
                    .after(.milliseconds(150))
        }
        let b = mesh.remote("b", .http2)
        let proxy = proxy(mesh, [a, b], timeout: .milliseconds(900), settings: settings) {
            $0.circuitBreakers.maxPendingRequests = 1
        }
        mesh.fault(b, .blackHole)
        let client = mesh.client(.http2, proxy)
        // Its second try has the one place among those who wait for a connection.
        let held = client.get("/held")
        mesh.run(for: .milliseconds(20))
        let call = client.get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "a" && call.body.isWhole(20_000))
        #expect(call.took > .milliseconds(500) && held.isAnswered(504))
        #expect(count(.upstreamRqPendingOverflow, proxy) == 0)
        #expect(mesh.finish() == [])
    }

    @Test("Without a retry or a budget left the try goes on until the request's own deadline")
    func goesOn() {
        for budget in [3, 0] {
            let mesh = SimulatedMesh(seed: 5)
            let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(400)) }
            let b = mesh.remote("b", .http2) { _ in .stall }
            let proxy = proxy(mesh, [a, b]) {
                $0.circuitBreakers.retryBudgetPercent = 0
                $0.circuitBreakers.retryBudgetMinimum = budget
                $0.circuitBreakers.retryBurst = 0
            }
            let call = mesh.client(.http2, proxy).get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.servedBy == "a")
            #expect(call.took >= .milliseconds(400) && call.took < .milliseconds(405))
            #expect(b.requests.count == min(1, budget))
            #expect(count(.upstreamRqRetryOverflow, proxy) == (budget == 0 ? 1 : 0))
            #expect(mesh.finish() == [])
        }
    }

    @Test("All tries keep the deadline, and are reset by it")
    func deadline() {
        let mesh = SimulatedMesh(seed: 6)
        let servers = ["a", "b", "c"].map { mesh.upstream($0, .http2) { _ in .stall } }
        let call = mesh.client(
            .http2, proxy(mesh, servers, times: 5, timeout: .milliseconds(450))
        ).get()
        #expect(mesh.run())
        #expect(call.isAnswered(504))
        #expect(call.took >= .milliseconds(450) && call.took < .milliseconds(452))
        mesh.run(for: .milliseconds(5))
        let tries = servers.flatMap(\.requests).sorted { $0.at < $1.at }
        #expect(tries.count >= 4 && tries.allSatisfy(\.wasReset))
        #expect(Set(tries.prefix(3).map { $0.at }).count == 3)
        #expect(servers.allSatisfy { !$0.requests.isEmpty })
        #expect(mesh.finish() == [])
    }

    @Test("The second try leaves the failure domain, and has the body that can be repeated")
    func body() {
        for (bytes, isRepeated) in [(5000, true), (300_000, false)] {
            let mesh = SimulatedMesh(seed: 7)
            let local = ["a", "b"].map {
                mesh.upstream($0, .http2) { _ in .reply(200).after(.milliseconds(400)) }
            }
            let far = mesh.remote("far", .http2)
            let call = mesh.client(.http2, proxy(mesh, local + [far])).post("/", bytes: bytes)
            #expect(mesh.run())
            #expect(call.isAnswered() && (call.servedBy == "far") == isRepeated)
            #expect(far.requests.count == (isRepeated ? 1 : 0))
            #expect((local + [far]).flatMap(\.requests).allSatisfy { $0.body.isWhole(bytes) })
            #expect(mesh.finish() == [])
        }
    }

    @Test("Whatever answers, resets or goes, and whenever: one answer, and nothing is left over")
    func sweep() {
        Seeds.each(30) { seed in
            let mesh = SimulatedMesh(seed: seed)
            var random = SeededRandom(seed: seed)
            func answer() -> Answer {
                let after = Duration.milliseconds(Int64(random.below(400)))
                switch random.below(5) {
                case 0: return Answer.reply(503).after(after)
                case 1: return Answer.resetStream(.internalError).after(after)
                case 2: return .stall
                default: return Answer.reply(200).after(after)
                }
            }
            let servers =
                ["a", "b"].map { mesh.upstream($0, .http2) { _ in answer() } }
                + [mesh.remote("c", .http2) { _ in answer() }]
            let proxy = proxy(mesh, servers, times: 2, timeout: .seconds(1))
            let client = mesh.client(.http2, proxy)
            var calls: [Call] = []
            for _ in 0..<40 {
                calls.append(client.get())
                if random.below(8) == 0 { calls[random.below(calls.count)].cancel() }
                mesh.run(for: .milliseconds(Int64(random.below(40))))
            }
            mesh.run()
            let odd = calls.filter { $0.failure == nil && $0.answers != 1 }
            return odd.map { "\($0.id) has \($0.answers) answers" } + mesh.finish()
        }
    }
}
