import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// A connect that takes longer than a quarter of a second gets a second way beside it.
@Suite struct SecondPathStories {
    /// One endpoint that is reached at two addresses, each of them a server of its own here.
    private final class TwoAddresses {
        let mesh: SimulatedMesh
        let first: ScriptedServer
        let second: ScriptedServer
        let proxy: ControlledProxy
        let client: ScriptedClient

        init(seed: UInt64, _ speaks: WireProtocol = .http2) {
            mesh = SimulatedMesh(seed: seed)
            first = mesh.upstream("first", speaks)
            second = mesh.upstream("second", speaks)
            var cluster = Cluster.of("svc", first) { $0.connectTimeout = .seconds(10) }
            cluster.endpoints.localities[0].endpoints[0].additionalAddresses = [second.address]
            proxy = mesh.controlledProxy(clusters: [cluster])
            client = mesh.client(.http2, proxy)
        }
    }

    @Test(
        "The first address is a black hole: after 250 ms the second is tried, and stays the one taken",
        arguments: WireProtocol.allCases)
    func secondAddress(speaks: WireProtocol) {
        let scene = TwoAddresses(seed: 1, speaks)
        scene.mesh.fault(scene.first, .blackHole)
        let call = scene.client.post("/", bytes: 10)
        #expect(scene.mesh.run())
        #expect(call.isAnswered() && call.servedBy == "second")
        #expect(call.took >= .milliseconds(250) && call.took < .milliseconds(255))
        #expect(scene.proxy.deadPaths == [])
        // A second connection, and it goes the way that won.
        scene.second.closeAll()
        let next = scene.client.get()
        #expect(scene.mesh.run())
        #expect(next.servedBy == "second" && next.took < .milliseconds(30))
        // Being slower is looked into, by a connect of the control loop.
        scene.mesh.run(for: .seconds(5))
        #expect(Set(scene.proxy.deadPaths) == [scene.first.address])
    }

    @Test(
        "The first address is slow and wins all the same: the second connect is closed, no evidence"
    )
    func firstWins() {
        let scene = TwoAddresses(seed: 2)
        scene.mesh.network.between([scene.proxy.host], [scene.first.host, scene.second.host]) {
            $0.conditions.latency = .milliseconds(150)
        }
        let call = scene.client.get()
        #expect(scene.mesh.run())
        #expect(call.servedBy == "first" && call.took < .milliseconds(610))
        scene.mesh.run(for: .seconds(5))
        #expect(scene.proxy.changes == [] && scene.second.requests.isEmpty)
        let next = scene.client.get()
        #expect(scene.mesh.run())
        #expect(next.servedBy == "first" && scene.first.accepted == 1)
        #expect(scene.mesh.finish() == [])
    }

    @Test("The first address refuses: the second is tried at once, and both refusing is a failure")
    func refusal() {
        let scene = TwoAddresses(seed: 3)
        scene.mesh.fault(scene.first, .refuse)
        let call = scene.client.post("/", bytes: 10)
        #expect(scene.mesh.run())
        #expect(call.servedBy == "second" && call.took < .milliseconds(5))
        scene.second.kill()
        let last = scene.client.get()
        #expect(scene.mesh.run())
        #expect(last.status == 503 && last.took < .milliseconds(100))
        #expect(scene.mesh.finish() == [])
    }

    @Test("Both addresses refuse: the request fails at once, and no later one waits for them")
    func bothRefuse() {
        let scene = TwoAddresses(seed: 7)
        for server in [scene.first, scene.second] { scene.mesh.fault(server, .refuse) }
        for _ in 0..<2 {
            let call = scene.client.post("/", bytes: 10)
            #expect(scene.mesh.run())
            #expect(call.status == 503 && call.took < .milliseconds(10))
        }
        #expect(scene.mesh.finish() == [])
    }

    @Test("Who comes while two addresses are tried waits for the same two connects")
    func joins() {
        let scene = TwoAddresses(seed: 8)
        scene.mesh.network.between([scene.proxy.host], [scene.first.host, scene.second.host]) {
            $0.conditions.latency = .milliseconds(150)
        }
        let call = scene.client.get()
        scene.mesh.run(for: .milliseconds(260))
        let next = scene.client.get()
        #expect(scene.mesh.run())
        #expect(call.servedBy == "first" && next.servedBy == "first")
        #expect(scene.proxy.stat("cluster.svc.upstream_cx_total") == 2)
        #expect(scene.mesh.finish() == [])
    }

    @Test(
        "While one connect is still slow who comes later goes elsewhere at once, though another failed"
    )
    func stillSlow() {
        let mesh = SimulatedMesh(seed: 9)
        let near = ["first", "second"].map { mesh.upstream($0, .http2) }
        let far = mesh.remote("far", .http2)
        var cluster = Cluster.of("svc", near[0], far) { $0.connectTimeout = .seconds(10) }
        cluster.endpoints.localities[0].endpoints[0].additionalAddresses = [near[1].address]
        let proxy = mesh.controlledProxy(clusters: [cluster])
        let client = mesh.client(.http2, proxy)
        mesh.fault(near[0], .blackHole)
        // It is slow to refuse.
        mesh.fault(near[1], .refuse)
        mesh.network.between([proxy.host], [near[1].host]) {
            $0.conditions.latency = .milliseconds(150)
        }
        let first = client.post("/", bytes: 10)
        mesh.run(for: .milliseconds(600))
        #expect(first.servedBy == "far" && first.took >= .milliseconds(500))
        let next = client.post("/", bytes: 10)
        mesh.run(for: .milliseconds(100))
        #expect(next.servedBy == "far" && next.took < .milliseconds(5))
    }

    @Test("A gateway is a black hole at connect: after 250 ms its requests go over the other one")
    func otherGateway() {
        let mesh = SimulatedMesh(seed: 4)
        let gateways = [mesh.upstream("near", .http2), mesh.remote("far", .http2)]
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", gateways) { $0.connectTimeout = .seconds(10) }])
        let client = mesh.client(.http2, proxy)
        mesh.blackHole(gateways[0].host, from: proxy.host)
        let first = (0..<5).map { _ in client.post("/", bytes: 10) }
        mesh.run(for: .milliseconds(500))
        #expect(first.allSatisfy { $0.isAnswered() && $0.servedBy == "far" })
        #expect(first.allSatisfy { $0.took >= .milliseconds(250) && $0.took < .milliseconds(255) })
        // The connect is still under way, and those who come now need not find out for themselves.
        let next = client.post("/", bytes: 10)
        mesh.run(for: .milliseconds(10))
        #expect(next.isAnswered() && next.took < .milliseconds(5) && proxy.deadPaths == [])
        mesh.run(for: .seconds(2))
        #expect(proxy.deadPaths.first == gateways[0].address)
        #expect(gateways[1].accepted == 1)
    }

    @Test("A slow gateway that connects first keeps its requests, and the other connect is closed")
    func slowGateway() {
        let mesh = SimulatedMesh(seed: 5)
        let near = mesh.upstream("near", .http2)
        let far = mesh.remote("far", .http2)
        let proxy = mesh.controlledProxy(clusters: [.of("svc", near, far)])
        mesh.network.between([proxy.host], [near.host, far.host]) {
            $0.conditions.latency = .milliseconds(150)
        }
        let call = mesh.client(.http2, proxy).get()
        #expect(mesh.run())
        #expect(call.servedBy == "near" && call.took < .milliseconds(610))
        mesh.run(for: .seconds(3))
        #expect(far.requests.isEmpty && proxy.changes == [] && mesh.finish() == [])
    }

    @Test("Nowhere else to go: a slow connect is waited for, until its time is over")
    func noOther() {
        let mesh = SimulatedMesh(seed: 6)
        let only = mesh.upstream("only", .http2)
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", only) { $0.connectTimeout = .milliseconds(700) }])
        mesh.fault(only, .blackHole)
        let call = mesh.client(.http2, proxy).get()
        mesh.run(for: .milliseconds(690))
        #expect(!call.isDone)
        #expect(mesh.run())
        #expect(!call.isAnswered())
    }
}
