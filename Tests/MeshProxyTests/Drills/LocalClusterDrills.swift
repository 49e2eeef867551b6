import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// What becomes of requests when the pods of their own cluster fail, each in its own way.
@Suite struct LocalClusterDrills {
    /// Envoy: a refused connect is a 503 that its default retry sends to another pod of the same priority,
    /// until five in a row eject each pod; the first ejection acts at once, the others when health updates
    /// are merged, one second later. Half of that second's requests fail.
    @Test("All pods refuse: no request fails or waits, and west has them from the first")
    func refuse() {
        let drill = TwoClusters(seed: 1)
        #expect(drill.load.calls.byServer.keys.sorted() == ["east1", "east2", "east3"])
        #expect(drill.load.calls.byServer.values.sorted() == [33, 33, 34])
        for pod in drill.east { pod.kill() }
        let fault = drill.mesh.network.now
        drill.load.run(for: .seconds(2))
        #expect(drill.mesh.run())
        #expect(drill.load.failed.isEmpty && drill.load.worst < .milliseconds(5))
        let after = drill.load.calls(from: .zero, to: .seconds(2), after: fault)
        #expect(after.count == 200 && after.allSatisfy { $0.servedBy.hasPrefix("west") })
        #expect(drill.mesh.finish() == [])
    }

    /// Envoy: nothing is noticed before the route's time-out, and with none (Istio's default) not before
    /// the kernel gives up, after some 15 minutes.
    @Test("All pods are a black hole: those that were sent there wait for one PING, and none fails")
    func blackHole() {
        let drill = TwoClusters(seed: 4)
        for pod in drill.east { drill.mesh.blackHole(pod.host, from: drill.proxy.host) }
        let fault = drill.mesh.network.now
        drill.load.run(for: .seconds(4))
        #expect(drill.mesh.run())
        #expect(drill.load.failed.isEmpty)
        #expect(drill.load.worst < .milliseconds(2010))
        #expect(drill.load.moved(since: fault) < .milliseconds(2100))
        let hops = drill.proxy.deadPaths
        #expect(Set(hops) == Set(drill.east.map(\.address)))
        let later = drill.load.calls(from: .milliseconds(2100), to: .seconds(4), after: fault)
        #expect(later.allSatisfy { $0.took < .milliseconds(5) })
    }

    /// Envoy: the same as above. A connect to a black hole lasts for `connect_timeout`, 10 s in Istio.
    @Test(
        "All pods are a black hole before anybody is connected: the second way is tried after 250 ms"
    )
    func blackHoleBeforeConnect() {
        let mesh = SimulatedMesh(seed: 7)
        let east = (1...3).map { mesh.upstream("east\($0)", .http2) }
        let west = (1...2).map { mesh.remote("west\($0)", .http2) }
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", east + west) { $0.connectTimeout = .seconds(10) }])
        for pod in east { mesh.blackHole(pod.host, from: proxy.host) }
        let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(10))
        let fault = mesh.network.now
        load.run(for: .seconds(4))
        #expect(mesh.run())
        #expect(load.failed.isEmpty)
        #expect(load.worst >= .milliseconds(250) && load.worst < .milliseconds(260))
        let later = load.calls(from: .milliseconds(280), to: .seconds(4), after: fault)
        #expect(later.allSatisfy { $0.took < .milliseconds(5) })
    }

    /// Envoy: each connection pool finds out for itself.
    @Test(
        "A path that one service found dead is left by the others behind it without their own wait")
    func sharedPath() {
        let mesh = SimulatedMesh(seed: 8)
        let gateway = mesh.upstream("east", .http2)
        let west = mesh.remote("west", .http2)
        let names = ["first", "connected", "new"]
        let proxy = mesh.controlledProxy(
            clusters: names.map { .of($0, gateway, west) { $0.connectTimeout = .seconds(10) } },
            routes: names.map { .forward(to: $0, prefix: "/\($0)") })
        let client = mesh.client(.http2, proxy)
        let warm = [client.get("/first"), client.get("/connected")]
        #expect(mesh.run())
        #expect(warm.byServer == ["east": 2])
        mesh.blackHole(gateway.host, from: proxy.host)
        let first = client.get("/first")
        mesh.run(for: .milliseconds(1400))
        let connected = client.get("/connected")
        let new = client.get("/new")
        mesh.run(for: .milliseconds(200))
        // By now one PING is missed, and that is known to all who go that way.
        let doubtful = client.get("/connected")
        #expect(mesh.run())
        let calls = [first, connected, new, doubtful]
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "west" })
        #expect(first.took >= .seconds(2) && first.took < .milliseconds(2010))
        // The connection that is there is asked, and has half of a PING's time to answer.
        #expect(connected.took >= .milliseconds(1100) && connected.took < .milliseconds(1110))
        #expect(new.took >= .milliseconds(250) && new.took < .milliseconds(260))
        #expect(doubtful.took < .milliseconds(5))
        #expect(proxy.deadPaths == [gateway.address])
    }

    /// Envoy: each 503 is retried, for the first time mostly at another pod of the same priority. Of five
    /// endpoints Istio's 10 % let none be ejected, so all pods are asked for ever.
    @Test("All pods answer 503: each is asked five times, and no request fails")
    func serverErrors() {
        let drill = TwoClusters(seed: 2, retry: .ofIstio)
        let before = drill.asked
        for pod in drill.east { pod.answer = { _ in .reply(503, "no") } }
        let fault = drill.mesh.network.now
        drill.load.run(for: .seconds(2))
        #expect(drill.mesh.run())
        #expect(drill.load.failed.isEmpty)
        #expect(zip(drill.asked, before).map { $0 - $1 } == [5, 5, 5])
        // A retry waits for 25 ms at the most.
        #expect(drill.load.moved(since: fault) == .zero && drill.load.worst < .milliseconds(30))
        let later = drill.load.calls(from: .milliseconds(400), to: .seconds(2), after: fault)
        #expect(later.allSatisfy { $0.took < .milliseconds(5) && $0.servedBy.hasPrefix("west") })
        #expect(drill.mesh.finish() == [])
    }

    /// Envoy: in `spill`, its only mode, the same; where users want `strict` they set the factor to a large number.
    @Test("Nine of ten pods unhealthy: 14 % stay when traffic spills, all stay when it is strict")
    func mostUnhealthy() {
        for (mode, shares) in [(Settings.FailoverMode.spill, [14, 86]), (.strict, [100, 0])] {
            let mesh = SimulatedMesh(seed: 5)
            let east = (0..<10).map { mesh.upstream("east\($0)") }
            for pod in east.dropFirst() { pod.status = .unhealthy }
            let west = (0..<2).map { mesh.remote("west\($0)") }
            var settings = Settings()
            settings.failoverMode = mode
            let proxy = mesh.proxy(clusters: [.of("svc", east + west)], settings: settings)
            let client = mesh.client(.http1, proxy)
            let calls = (0..<300).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            let balancer = proxy.cluster().flatMap { proxy.balancer($0) }
            #expect(balancer?.load.healthyLoad == shares)
            let stayed = calls.count { $0.servedBy == "east0" }
            #expect(abs(stayed - 3 * shares[0]) <= (mode == .strict ? 0 : 18))
            #expect(mesh.finish() == [])
        }
    }

    /// Envoy: the same, as long as no zone-aware routing is asked for. Istio has dropped endpoints without
    /// a locality when it computed priorities.
    @Test("Endpoints without a locality take traffic and fail over as others do")
    func noLocality() {
        let mesh = SimulatedMesh(seed: 6)
        let near = mesh.upstream("near", region: "", zone: "")
        let far = mesh.upstream("far", region: "", zone: "", priority: 1)
        let proxy = mesh.proxy(clusters: [.of("svc", near, far)])
        let client = mesh.client(.http1, proxy)
        let before = (0..<20).map { _ in client.get() }
        #expect(mesh.run())
        near.kill()
        let after = (0..<20).map { _ in client.get() }
        #expect(mesh.run())
        #expect(before.byServer == ["near": 20] && after.byServer == ["far": 20])
        #expect(mesh.finish() == [])
    }
}
