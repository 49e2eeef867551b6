import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Retries must help the request and not harm the service.
@Suite struct RetryDrills {
    /// Envoy: without a `retry_budget` three retries at a time, of all that are in flight; with one, as here.
    @Test("A thousand failures at once and a budget of 20 %: at most 200 retries")
    func budget() {
        let mesh = SimulatedMesh(seed: 1)
        let a = mesh.upstream("a", .http2) { _ in .reply(503, "no").after(.milliseconds(50)) }
        let b = mesh.remote("b", .http2) { _ in .reply(503, "no").after(.milliseconds(50)) }
        for server in [a, b] { server.limits.maxConcurrentStreams = 2000 }
        let proxy = mesh.proxy(
            clusters: [.of("svc", a, b) { $0.circuitBreakers.maxRequests = 2000 }],
            routes: [.forward(to: "svc", retry: .on(.serverError))])
        let clients = (0..<10).map { _ in mesh.client(.http2, proxy) }
        let calls = (0..<1000).map { clients[$0 % 10].get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered(503) })
        #expect(a.requests.count + b.requests.count == 1200)
        #expect(mesh.finish() == [])
    }

    /// Envoy: with `max_retries` as large as Istio sets it, no bound on retries; with its default of 3, the second case.
    @Test("Ten local pods answer 503 at 300 requests a second: the burst of the budget hides it")
    func localErrors() {
        for (burst, isHidden) in [(CircuitBreakers().retryBurst, true), (0, false)] {
            let mesh = SimulatedMesh(seed: 4)
            let local = mesh.upstreams("local", count: 10)
            let remote = (0..<2).map { mesh.remote("remote\($0)", .http2) }
            let proxy = mesh.controlledProxy(
                clusters: [
                    .of("svc", local + remote) {
                        $0.outlierDetection = OutlierDetection(maxEjectionPercent: 100)
                        $0.circuitBreakers.retryBurst = burst
                    }
                ], routes: [.forward(to: "svc", retry: .ofIstio)])
            let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .microseconds(3333))
            load.run(for: .milliseconds(200))
            let fault = mesh.network.now
            for pod in local { pod.answer = { _ in .reply(503, "no") } }
            load.run(for: .milliseconds(800))
            #expect(mesh.run())
            #expect(load.failed.isEmpty == isHidden, "\(load.failed.count) failed")
            #expect(load.moved(since: fault) < .milliseconds(500))
            #expect(mesh.finish() == [])
        }
    }

    /// Envoy: the same; its route time-out spans all tries.
    @Test("A deadline of 250 ms and tries of 100 ms: the third gets what is left, and no more")
    func deadline() {
        let mesh = SimulatedMesh(seed: 2)
        let servers = ["a", "b", "c"].map { mesh.upstream($0, .http2) { _ in .stall } }
        var policy = RetryPolicy.on(.gatewayError, times: 5, perTry: .milliseconds(100))
        policy.backoffBase = .milliseconds(1)
        policy.backoffCap = .milliseconds(1)
        let proxy = mesh.proxy(
            clusters: [.of("svc", servers)],
            routes: [.forward(to: "svc", timeout: .milliseconds(250), retry: policy)])
        let call = mesh.client(.http2, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered(504))
        #expect(call.took >= .milliseconds(250) && call.took < .milliseconds(252))
        mesh.run(for: .milliseconds(5))
        let tries = servers.flatMap(\.requests).sorted { $0.at < $1.at }
        #expect(tries.count == 3 && tries.allSatisfy(\.wasReset))
        #expect(tries[2].at - tries[0].at >= .milliseconds(200))
        #expect(tries[2].at - tries[0].at < .milliseconds(204))
        #expect(mesh.finish() == [])
    }

    /// Envoy: the same counts. What waits in its pools is bounded apart, by `max_pending_requests`.
    @Test("Twice what a cluster may take: the excess is refused at once, and after it none is")
    func overload() {
        let mesh = SimulatedMesh(seed: 3)
        let a = mesh.upstream("a", .http2) { _ in .reply().after(.milliseconds(100)) }
        let proxy = mesh.proxy(clusters: [.of("svc", a) { $0.circuitBreakers.maxRequests = 10 }])
        let client = mesh.client(.http2, proxy)
        client.get()
        #expect(mesh.run())
        // 20 at a time come when 10 may be in flight.
        let over = SteadyLoad(mesh, client, every: .milliseconds(5))
        over.run(for: .seconds(2))
        #expect(mesh.run())
        #expect(over.calls.count == 400 && over.failed.allSatisfy { $0.isAnswered(503) })
        #expect((200...215).contains(over.failed.count))
        #expect(over.failed.allSatisfy { $0.took < .milliseconds(2) })
        #expect(over.calls.filter { $0.isAnswered() }.allSatisfy { $0.took < .milliseconds(103) })
        let under = SteadyLoad(mesh, client, every: .milliseconds(12))
        under.run(for: .seconds(2))
        #expect(mesh.run())
        #expect(under.failed.isEmpty && under.worst < .milliseconds(103))
        #expect(mesh.finish() == [])
    }
}
