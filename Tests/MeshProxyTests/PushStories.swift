import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Configuration that changes under requests, and ends that are to be graceful.
@Suite struct PushStories {
    @Test("A push in the middle of a request loses nothing, whatever it changes")
    func midRequest() {
        let changes: [(inout Snapshot) -> Void] = [
            { $0.listeners[0].statPrefix = "changed" },
            { $0.clusters[0].endpoints.localities = [] },
            { $0.clusters = [] },
            { $0.clusters[0].upstreamProtocol = .http1 },
            { $0.clusters[0].connectTimeout = .seconds(1) },
            { $0.routes["routes"]?.virtualHosts[0].routes = [.respond(404)] },
            { $0.listeners = [] },
            { $0 = Snapshot() },
        ]
        for wire in WireProtocol.allCases {
            for (index, change) in changes.enumerated() {
                let mesh = SimulatedMesh(seed: 1)
                let a = mesh.upstream("a", .http2) { _ in
                    .bytes(100_000).slowly(10_000, every: .milliseconds(10))
                }
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let call = mesh.client(wire, proxy).post("/", bytes: 1000)
                mesh.run(for: .milliseconds(30))
                proxy.push(change)
                #expect(mesh.run())
                #expect(call.isAnswered() && call.body.isWhole(100_000), "change \(index)")
                mesh.run(for: .seconds(3))
                #expect(proxy.openWork == 0)
                #expect(mesh.finish() == [], "change \(index)")
            }
        }
    }

    @Test("An endpoint removed while requests wait for its connection still serves them")
    func removedWhileConnecting() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 2)
            let (a, b) = (mesh.upstream("a", speaks), mesh.upstream("b", speaks))
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            mesh.network.between([proxy.host], [a.host]) {
                $0.conditions.latency = .milliseconds(50)
            }
            let client = mesh.client(.http2, proxy)
            let calls = (0..<3).map { _ in client.get() }
            mesh.run(for: .milliseconds(20))
            proxy.push { $0.clusters[0].endpoints = .of([b]) }
            let later = client.get()
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "a" })
            #expect(later.servedBy == "b")
            mesh.run(for: .seconds(3))
            #expect(a.openConnections == 0)
            #expect(mesh.finish() == [])
        }
    }

    @Test("New routes, endpoints and listeners are in force for the next request")
    func nextRequest() {
        let mesh = SimulatedMesh(seed: 3)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let client = mesh.client(.http2, proxy)
        func served() -> String {
            let call = client.get()
            mesh.run()
            return call.servedBy
        }
        #expect(served() == "a")
        proxy.push { $0.clusters[0].endpoints = .of([b]) }
        #expect(served() == "b")
        proxy.push {
            $0.clusters.append(.of("other", a))
            $0.routes["routes"]?.virtualHosts[0].routes = [.forward(to: "other")]
        }
        #expect(served() == "a")
        proxy.push { $0.routes["routes"]?.virtualHosts[0].routes = [.forward(to: "gone")] }
        let lost = client.get()
        mesh.run()
        #expect(lost.isAnswered(503))
        proxy.push { snapshot in
            var second = snapshot.listeners[0]
            second.name = "second"
            second.address = second.address.with(port: 9090)
            snapshot.listeners.append(second)
            snapshot.routes["routes"]?.virtualHosts[0].routes = [.forward(to: "svc")]
        }
        let call = mesh.client(.http1, proxy, port: 9090).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && proxy.reports.problems == [])
        #expect(mesh.finish() == [])
    }

    @Test("A drain loses no request: those open finish, those on their way are answered")
    func drain() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 4)
            let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(30)) }
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let clients = (0..<4).map { _ in mesh.client(wire, proxy) }
            var calls: [Call] = []
            for step in 0..<100 {
                calls.append(clients[step % 4].send(step % 3 == 0 ? "POST" : "GET", bytes: 10))
                if step == 50 { proxy.drain() }
                mesh.run(for: .milliseconds(15))
            }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            #expect(a.requests.count == 100)
            mesh.run(for: .seconds(3))
            #expect(mesh.finish() == [])
        }
    }

    @Test("HTTP/2 is drained in two steps: a GOAWAY that admits all, then the real one")
    func drainHTTP2() {
        let mesh = SimulatedMesh(seed: 5)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.seconds(2)) }
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let client = mesh.client(.http2, proxy)
        let call = client.get()
        mesh.run(for: .milliseconds(100))
        proxy.drain()
        mesh.run(for: .milliseconds(100))
        #expect(client.goAways == 1 && !call.isDone)
        mesh.run(for: .milliseconds(1100))
        #expect(client.goAways == 2 && !call.isDone)
        #expect(mesh.run())
        #expect(call.isAnswered())
        mesh.run(for: .milliseconds(50))
        #expect(client.end == nil)
        #expect(mesh.finish() == [])
    }

    @Test("An endpoint that shuts down gracefully is left without a failed request")
    func upstreamGoesAway() {
        let mesh = SimulatedMesh(seed: 6)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(20)) }
        let b = mesh.upstream("b", .http2) { _ in .reply(200).after(.milliseconds(20)) }
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        var calls: [Call] = []
        for step in 0..<100 {
            calls.append(client.post("/", bytes: 100))
            if step == 40 {
                a.stopListening()
                a.shutDown()
            }
            mesh.run(for: .milliseconds(3))
        }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(mesh.finish() == [])
    }

    @Test("A closed worker leaves nothing behind, whatever was under way")
    func close() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 7)
            let a = mesh.upstream("a", .http2) { _ in .stall }
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let client = mesh.client(wire, proxy)
            let call = client.get()
            mesh.run(for: .milliseconds(20))
            proxy.close()
            #expect(proxy.reports.isClosed)
            client.reconnects = false
            mesh.run(for: .seconds(20))
            #expect(call.isDone)
            #expect(mesh.finish() == [])
        }
    }
}
