import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// Connections that end at the wrong moment, and proxies that do.
@Suite struct ConnectionDrills {
    /// Envoy: a request that meets the end of its connection is a 503 UC, unless `reset` or
    /// `reset-before-request` is retried; Istio's default names neither.
    @Test("An endpoint that closes after a second of idleness, asked every second: no GET fails")
    func idleRace() {
        let mesh = SimulatedMesh(seed: 1)
        let a = mesh.upstream("a")
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let client = mesh.client(.http2, proxy)
        var calls: [Call] = []
        // The request leaves up to 1 ms before the close and up to 1 ms after it.
        for offset in stride(from: -1000, through: 1000, by: 25) {
            calls.append(client.get())
            #expect(mesh.run())
            mesh.network.after(.seconds(1)) { a.closeAll() }
            mesh.run(for: .seconds(1) + .microseconds(offset))
        }
        #expect(calls.allSatisfy { $0.isAnswered() && $0.took < .milliseconds(5) })
        #expect(mesh.finish() == [])
    }

    /// Envoy: the request hangs until the route's time-out, and each one after it, until outlier detection
    /// ejects the endpoint or the kernel gives up.
    @Test(
        "A middlebox forgets an idle connection: one GET waits for a PING, and the next for nothing"
    )
    func forgottenFlow() {
        let mesh = SimulatedMesh(seed: 2)
        let a = mesh.upstream("a", .http2)
        let b = mesh.remote("b", .http2)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        let first = client.get()
        #expect(mesh.run())
        mesh.run(for: .seconds(350))
        // What is sent now is lost, and with it the connection; others are not concerned.
        mesh.blackHole(a.host, from: proxy.host)
        let second = client.get()
        mesh.run(for: .milliseconds(5))
        mesh.network.heal()
        #expect(mesh.run())
        let third = client.get()
        #expect(mesh.run())
        #expect([first, second, third].allSatisfy { $0.isAnswered() })
        #expect(second.took > .seconds(2) && second.took < .milliseconds(2010))
        #expect(third.took < .milliseconds(5))
        #expect(mesh.finish() == [])
    }

    /// Envoy: SIGTERM ends it at once; pilot-agent must drain it over the admin port first, and wait.
    @Test("SIGTERM: what is under way ends well, new work is served, and the process ends after it")
    func terminated() {
        let mesh = SimulatedMesh(seed: 3)
        let a = mesh.upstream("a", .http2) { request in
            switch request.path {
            case "/slow": .reply().after(.seconds(5))
            case "/pkg.Service/Watch":
                .bytes(4000).chunked().header("content-type", "application/grpc")
                    .trailer("grpc-status", "0").slowly(100, every: .milliseconds(100))
            default: .reply()
            }
        }
        let proxy = mesh.controlledProxy(clusters: [.of("svc", a)])
        let clients = WireProtocol.allCases.map { mesh.client($0, proxy) }
        let stream = mesh.client(.http2, proxy).post("/slow", bytes: 100_000)
        let rpc = mesh.client(.http2, proxy).post(
            "/pkg.Service/Watch", bytes: 50, [("content-type", "application/grpc")], chunked: true)
        let warm = clients.map { $0.get() }
        mesh.run(for: .seconds(1))
        var hasStopped = false
        proxy.control.stopped = { hasStopped = true }
        let began = mesh.network.now
        proxy.control.drain()
        // The application still calls out while it winds down.
        let load = SteadyLoad(mesh, every: .milliseconds(20)) { clients[$0 % 2].get() }
        load.run(for: .seconds(3))
        let late = mesh.client(.http2, proxy).get()
        mesh.run(for: .milliseconds(100))
        #expect(!hasStopped)
        #expect(mesh.run())
        #expect((warm + [stream, rpc, late]).allSatisfy { $0.isAnswered() })
        #expect(rpc.body.isWhole(4000) && rpc.trailers?.string("grpc-status") == "0")
        #expect(load.failed.isEmpty)
        #expect(clients.allSatisfy { $0.connections > 1 })
        mesh.network.run(while: { !hasStopped }, limit: .seconds(30))
        // Others have five seconds to learn of it.
        let took = mesh.network.now - began
        #expect(hasStopped && took >= .seconds(5) && took < .milliseconds(5100))
        #expect(mesh.finish() == [])
    }

    @Test("SIGTERM: who has not learnt of it is served, calling out goes on, what is cut is told")
    func lameDuck() {
        let mesh = SimulatedMesh(seed: 33)
        let a = mesh.upstream("a", .http2) { $0.path == "/slow" ? .stall : .reply() }
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", a)], settings: Settings(drainTime: .seconds(10)),
            outboundPort: 9090)
        let application = mesh.client(.http2, to: proxy.address.with(port: 9090))
        let peer = mesh.client(.http2, proxy)
        for client in [application, peer] { client.get() }
        mesh.run(for: .seconds(1))
        var hasStopped = false
        proxy.control.stopped = { hasStopped = true }
        proxy.control.drain()
        #expect(!proxy.control.isReady)
        mesh.run(for: .seconds(4))
        let late = mesh.client(.http1, proxy).get()
        let out = application.get()
        mesh.run(for: .milliseconds(100))
        #expect(!hasStopped && late.isAnswered() && out.isAnswered())
        #expect(peer.goAways > 0 && application.goAways == 0 && application.connections == 1)
        mesh.client(.http1, proxy).get("/slow")
        application.get("/slow")
        mesh.run(for: .milliseconds(5800))
        #expect(!hasStopped)
        mesh.network.run(while: { !hasStopped }, limit: .seconds(1))
        #expect(hasStopped && proxy.control.cut == ["http": 1, "outbound": 1])
        #expect(mesh.finish() == [])
    }

    @Test("SIGINT with nothing open ends it at once, and so does a second signal whatever is open")
    func interrupted() {
        for isTwice in [false, true] {
            let mesh = SimulatedMesh(seed: 34)
            let a = mesh.upstream("a") { _ in .stall }
            let proxy = mesh.controlledProxy(clusters: [.of("svc", a)])
            if isTwice { mesh.client(.http1, proxy).get() }
            mesh.run(for: .seconds(1))
            var hasStopped = false
            proxy.control.stopped = { hasStopped = true }
            proxy.control.drain(lingers: isTwice)
            mesh.run(for: .milliseconds(100))
            #expect(hasStopped != isTwice)
            if isTwice { proxy.control.drain() }
            mesh.run(for: .milliseconds(10))
            #expect(hasStopped && proxy.control.cut == (isTwice ? ["http": 1] : [:]))
            #expect(mesh.finish() == [])
        }
    }

    /// Envoy: a change of a listener's filter chain drains its connections; Istio has pushed those for
    /// metadata alone.
    @Test("Fifty pushes over two hundred open streams: none is cut")
    func pushStorm() {
        let mesh = SimulatedMesh(seed: 4)
        let a = mesh.upstream("a", .http2) { _ in
            .bytes(10_000).slowly(100, every: .milliseconds(50))
        }
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let clients = (0..<10).map { _ in mesh.client(.http2, proxy) }
        let calls = (0..<200).map { clients[$0 % 10].get("/\($0)") }
        for number in 0..<50 {
            mesh.run(for: .milliseconds(50))
            proxy.push { snapshot in
                snapshot.clusters[0].maxRequestsPerConnection = 1000 + number
                snapshot.routes["routes"]?.virtualHosts[0].routes.append(.respond(404))
                snapshot.clusters[0].metadata = Metadata()
            }
        }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.body.isWhole(10_000) })
        #expect(proxy.reports.adopted == 51 && proxy.reports.problems == [])
        #expect(mesh.finish() == [])
    }
}
