import EventLoop
import Glibc
import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

@Suite struct BalancingStories {
    @Test("Requests of one key go to one endpoint, and a retry leaves it")
    func hashing() {
        let mesh = SimulatedMesh(seed: 11)
        let servers = (0..<4).map { mesh.upstream("s\($0)") }
        let proxy = mesh.proxy(
            clusters: [.of("svc", servers) { $0.loadBalancing.policy = .ringHash(.init()) }],
            routes: [
                .forward(to: "svc") {
                    $0.hashPolicy = [HashPolicy(source: .header("x-user"), terminal: false)]
                }
            ])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<60).map { client.get("/", [("x-user", "u\($0 % 12)")]) }
        #expect(mesh.run())
        for user in 0..<12 {
            let served = Set((0..<5).map { calls[user + 12 * $0].servedBy })
            #expect(served.count == 1)
        }
        #expect(servers.allSatisfy { !$0.requests.isEmpty })
        guard let owner = servers.first(where: { $0.name == calls[0].servedBy }) else {
            Issue.record("nobody served")
            return
        }

        owner.kill()
        let moved = client.get("/", [("x-user", "u0")])
        #expect(mesh.run())
        #expect(moved.isAnswered() && moved.servedBy != owner.name)
        #expect(mesh.finish() == [])
    }

    /// Proxies are in zones 1 and 2; each zone of the service has a third of the servers.
    @Test("Requests stay in our zone as far as it goes, and others go where no proxy is")
    func zones() {
        let mesh = SimulatedMesh(seed: 14)
        let servers = (0..<6).map { mesh.upstream("s\($0)", zone: "\($0 / 2 + 1)") }
        func members(_ zones: String...) -> Cluster {
            var cluster = Cluster(name: "proxies")
            for (index, zone) in zones.enumerated() {
                cluster.endpoints.localities.append(
                    LocalityEndpoints(
                        locality: Locality(region: "east", zone: zone),
                        endpoints: [Endpoint(address: .loopback(port: 9001 + UInt16(index)))]))
            }
            return cluster
        }
        var settings = Settings()
        settings.locality = Locality(region: "east", zone: "1")
        settings.localCluster = "proxies"
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", servers) { $0.loadBalancing.localityMode = .zoneAware(.init()) },
                members("1", "2"),
            ], settings: settings)
        let client = mesh.client(.http2, proxy)
        func counts(_ calls: Int) -> [Int] {
            let before = servers.map(\.requests.count)
            for _ in 0..<calls {
                _ = client.get("/")
                #expect(mesh.run())
            }
            return zip(servers, before).map { $0.requests.count - $1 }
        }
        let shared = counts(300)
        // 66.66 % stay; zone 2 has a third of the servers, and half of the proxies.
        #expect(abs(shared[0] + shared[1] - 200) < 41)
        #expect(shared[2] + shared[3] == 0 && shared[4] + shared[5] > 59)

        // A verdict on a member counts: all that are healthy are in our zone now.
        let changes = [
            HealthModel.Change.endpoint(
                cluster: "proxies", .loopback(port: 9002), .failedProbe)
        ]
        proxy.worker.received(.health(changes))
        // So of all requests the third stays that there are servers for.
        let alone = counts(300)
        #expect(abs(alone[0] + alone[1] - 100) < 41)
        #expect(abs(alone[2] + alone[3] - 100) < 41)

        proxy.push { $0.clusters.removeAll { $0.name == "proxies" } }
        #expect(counts(60) == [10, 10, 10, 10, 10, 10])
        #expect(mesh.finish() == [])
    }

    /// Two servers of version 1, one of version 2, one of neither.
    private func versions(
        _ mesh: SimulatedMesh, _ rules: LoadBalancing.Subsets, _ routes: [Route],
        manager: (inout HTTPConnectionManager) -> Void = { _ in }
    ) -> (servers: [ScriptedServer], client: ScriptedClient) {
        let servers = (0..<4).map { mesh.upstream("s\($0)") }
        let cluster = Cluster.of("svc", servers) { cluster in
            cluster.loadBalancing.subsets = rules
            for (index, version) in ["1", "1", "2"].enumerated() {
                cluster.endpoints.localities[0].endpoints[index].metadata = Metadata([
                    "envoy.lb": ["version": .string(version)]
                ])
            }
        }
        let proxy = mesh.proxy(clusters: [cluster], routes: routes, manager: manager)
        return (servers, mesh.client(.http2, proxy))
    }

    @Test(
        "A route's subset serves it; without one the fallback does, or nobody",
        arguments: [
            (LoadBalancing.Subsets.Fallback.refuse, ["s0", "s1"], "1"),
            (.refuse, [], "9"),
            (.anyEndpoint, ["s0", "s1", "s2", "s3"], "9"),
            (.defaultSubset, ["s2"], "9"),
            (.anyEndpoint, ["s2"], "2"),
        ])
    func subsets(
        fallback: LoadBalancing.Subsets.Fallback, served: [String], version: String
    ) {
        let mesh = SimulatedMesh(seed: 15)
        let rules = LoadBalancing.Subsets(
            [.init(["version"])], fallback: fallback, defaultSubset: ["version": .string("2")])
        let (_, client) = versions(
            mesh, rules, [.forward(to: "svc") { $0.subset = ["version": .string(version)] }])
        let calls = (0..<40).map { _ in client.get("/") }
        #expect(mesh.run())
        if served.isEmpty {
            #expect(calls.allSatisfy { $0.status == 503 && $0.text == "no healthy upstream" })
        } else {
            #expect(calls.allSatisfy { $0.isAnswered() })
            #expect(Set(calls.map(\.servedBy)) == Set(served))
        }
        #expect(mesh.finish() == [])
    }

    @Test("With fewer keys a subset is found after all, and the access log says so")
    func fewerKeys() throws {
        let path = "/tmp/balancing-stories-\(getpid()).log"
        defer { unlink(path) }
        let mesh = SimulatedMesh(seed: 19)
        let rules = LoadBalancing.Subsets([
            .init(["version"]), .init(["stage", "version"], fallback: .keys(["version"])),
        ])
        let route = Route.forward(to: "svc") {
            $0.subset = ["version": .string("2"), "stage": .string("x")]
        }
        let (_, client) = versions(mesh, rules, [route]) {
            $0.accessLogs = [AccessLogConfig(path: path, format: .text("%ATTEMPTS%"))]
        }
        let call = client.get("/")
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "s2")
        #expect(mesh.finish() == [])
        let text = String(decoding: try Files.read(path), as: UTF8.self)
        #expect(text.contains(" subset-fallback=version:2 ok 200 "), "\(text)")
    }

    @Test("Weighted clusters choose subsets of one cluster, and a retry stays in the one it has")
    func weightedSubsets() {
        let mesh = SimulatedMesh(seed: 16)
        let target = ForwardAction.Target.weighted(
            [("1", 1), ("2", 3)].map {
                WeightedCluster(
                    name: "svc", weight: $0.1, subset: ["version": .string($0.0)])
            })
        let route = Route(
            match: RouteMatch(path: .prefix("/")),
            action: .forward(ForwardAction(target: target)))
        let (servers, client) = versions(
            mesh, LoadBalancing.Subsets([.init(["version"])]), [route])
        servers[0].kill()
        let calls = (0..<200).map { _ in client.get("/") }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        let second = calls.count { $0.servedBy == "s2" }
        #expect(abs(second - 150) < 31 && calls.count { $0.servedBy == "s1" } == 200 - second)
        #expect(mesh.finish() == [])
    }

    @Test(
        "Nine of ten local endpoints are unhealthy: 14 and 86 percent, or all to the one that is left",
        arguments: [(Settings.FailoverMode.spill, [14, 86]), (.strict, [100, 0])])
    func nineOfTen(mode: Settings.FailoverMode, shares: [Int]) {
        let mesh = SimulatedMesh(seed: 17)
        let local = mesh.upstreams("local", count: 10)
        let remote = (0..<4).map { mesh.remote("remote\($0)", .http2) }
        let cluster = Cluster.of("svc", local + remote) { cluster in
            for index in 1..<10 {
                cluster.endpoints.localities[0].endpoints[index].status = .unhealthy
            }
        }
        var settings = Settings()
        settings.failoverMode = mode
        let proxy = mesh.proxy(clusters: [cluster], settings: settings)
        let client = mesh.client(.http2, proxy)
        var calls: [Call] = []
        for _ in 0..<20 {
            calls += (0..<100).map { _ in client.get("/") }
            #expect(mesh.run())
        }
        #expect(calls.allSatisfy { $0.isAnswered() })
        let balancer = proxy.cluster().flatMap { proxy.balancer($0) }
        #expect(balancer?.load.healthyLoad == shares)
        let stayed = calls.count { $0.servedBy == "local0" }
        let expected = 20 * shares[0]
        // Five standard deviations; none where all or nothing goes.
        #expect(abs(stayed - expected) <= (shares[1] == 0 ? 0 : 78))
        #expect(local.dropFirst().allSatisfy { $0.requests.isEmpty })
        let spread = remote.map(\.requests.count)
        #expect((spread.max() ?? 0) - (spread.min() ?? 0) <= 1)
        #expect(mesh.finish() == [])
    }

    @Test(
        "Endpoints have a share of requests dropped before any of them sees it",
        arguments: [
            (UInt32(300_000), "x-envoy-drop-overload"),
            (1_000_000, "x-envoy-unconditional-drop-overload"),
        ])
    func drops(share: UInt32, header: String) {
        let mesh = SimulatedMesh(seed: 18)
        let server = mesh.upstream("a", .http2)
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", server) {
                    $0.endpoints.drops = [
                        .init(category: "lb", share: FractionalPercent(partsPerMillion: share))
                    ]
                }
            ])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<1000).map { _ in client.get("/") }
        #expect(mesh.run())
        let dropped = calls.filter { $0.status == 503 }
        #expect(dropped.allSatisfy { $0.head?.strings(header) == ["true"] })
        #expect(dropped.allSatisfy { $0.text.hasSuffix("drop overload") })
        // Five standard deviations.
        #expect(abs(dropped.count - Int(share) / 1000) <= (share == 1_000_000 ? 0 : 72))
        #expect(server.requests.count == 1000 - dropped.count)

        proxy.push { $0.clusters[0].endpoints.drops = [] }
        let later = (0..<50).map { _ in client.get("/") }
        #expect(mesh.run())
        #expect(later.allSatisfy { $0.isAnswered() })
        #expect(mesh.finish() == [])
    }

    @Test(
        "Under peak EWMA neither a slow endpoint nor one that fails at once draws traffic",
        arguments: [true, false])
    func peakEWMA(isSlow: Bool) {
        let mesh = SimulatedMesh(seed: 13)
        let well = (0..<3).map { number in
            mesh.upstream("well\(number)") { _ in .reply(200, "ok").after(.milliseconds(20)) }
        }
        let bad = mesh.upstream("bad") { _ in
            isSlow ? .reply(200, "ok").after(.milliseconds(400)) : .reply(500, "no")
        }
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", well + [bad]) { $0.loadBalancing.policy = .peakEWMA(.init()) }
            ])
        let client = mesh.client(.http2, proxy)
        for _ in 0..<60 {
            _ = client.get("/")
            #expect(mesh.run())
        }
        // One of two that are drawn is always well, so it is asked once, to be known.
        #expect(bad.requests.count == 1)
        #expect(well.allSatisfy { $0.requests.count > 10 })
        #expect(mesh.finish() == [])
    }

    @Test("Endpoints get as much as they report that they can take, in headers or in trailers")
    func reportedLoad() {
        let mesh = SimulatedMesh(seed: 14)
        let metrics = "endpoint-load-metrics"
        let strong = mesh.upstream("strong", .http2) { _ in
            .reply(200, "ok").trailer(metrics, "TEXT rps_fractional=100, cpu_utilization=0.25")
        }
        let weak = mesh.upstream("weak", .http2) { _ in
            .reply(200, "ok").header(metrics, "TEXT rps_fractional=100, cpu_utilization=0.75")
        }
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", strong, weak) {
                    $0.loadBalancing.policy = .reportedLoad(.init(blackout: .seconds(2)))
                }
            ])
        let client = mesh.client(.http2, proxy)
        func ask(_ count: Int) {
            for _ in 0..<count {
                let call = client.get("/")
                mesh.run(for: .milliseconds(20))
                #expect(call.isAnswered())
            }
        }
        ask(80)
        // Turns begin anew each time that weights are worked out.
        #expect(abs(strong.requests.count - 40) <= 1 && abs(weak.requests.count - 40) <= 1)
        mesh.run(for: .seconds(2))
        ask(40)
        #expect(abs(strong.requests.count - 70) <= 1 && abs(weak.requests.count - 50) <= 1)
        #expect(mesh.finish() == [])
    }

    @Test("A client without the cookie is given one, once, and it leads back")
    func cookie() {
        let mesh = SimulatedMesh(seed: 12)
        let servers = (0..<4).map { mesh.upstream("s\($0)") }
        let cookie = HashPolicy.Cookie(name: "sid", life: .seconds(60), path: "/")
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", servers) { $0.loadBalancing.policy = .maglev(.init(tableSize: 251)) }
            ],
            routes: [
                .forward(to: "svc") {
                    $0.hashPolicy = [HashPolicy(source: .cookie(cookie), terminal: false)]
                }
            ])
        let first = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        let given = first.head?.strings("set-cookie") ?? []
        #expect(given.count == 1 && given[0].hasPrefix("sid=\""))
        let kept = String(given.first?.prefix { $0 != ";" } ?? "")
        let later = (0..<8).map { _ in mesh.client(.http1, proxy).get("/", [("cookie", kept)]) }
        #expect(mesh.run())
        #expect(later.allSatisfy { $0.servedBy == first.servedBy })
        #expect(later.allSatisfy { $0.head?.strings("set-cookie") == [] })
        #expect(mesh.finish() == [])
    }
}
