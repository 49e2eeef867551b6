import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// Active health checks of a whole proxy.
@Suite struct HealthCheckStories {
    private final class Scene {
        let mesh: SimulatedMesh
        let plane: ControlPlane
        let servers: [ScriptedServer]
        let proxy: ControlledProxy
        let client: ScriptedClient
        /// What the first server answers checks and requests with.
        var health: Answer = .reply(200)
        var answer: Answer = .reply(200)
        private let more: String

        init(_ seed: UInt64, _ check: String, more: String = "", endpoints: Int = 2) {
            mesh = SimulatedMesh(seed: seed)
            self.more =
                ", health_checks: [{timeout: 0.5s, interval: 1s, unhealthy_threshold: 3, "
                + "healthy_threshold: 2, \(check)"
                + (check.contains("no_traffic") ? "" : ", no_traffic_interval: 1s") + "}]\(more)"
            var first: (ReceivedRequest) -> Answer = { _ in .reply(200) }
            servers =
                [mesh.upstream("first") { first($0) }]
                + (1..<endpoints).map { [mesh] in mesh.upstream("other \($0)") }
            plane = mesh.controlPlane("east")
            proxy = mesh.controlledProxy(plane)
            client = mesh.client(.http2, proxy)
            first = { [unowned self] in $0.path == "/health" ? health : answer }
            serve(servers)
            mesh.run(for: .seconds(3))
        }

        func serve(_ servers: [ScriptedServer]) {
            plane.serve(
                [
                    ResourceText.listener(), ResourceText.routes(to: "svc"),
                    ResourceText.cluster("svc", more), ResourceText.endpoints("svc", servers),
                ].joined(separator: "\n"))
        }

        var first: ScriptedServer { servers[0] }
        var probes: Int { first.requests.count { $0.path == "/health" } }

        /// How many of these requests the first server gets.
        func share(of count: Int) -> Int {
            let calls = (0..<count).map { _ in client.get() }
            mesh.run()
            #expect(calls.allSatisfy { $0.isAnswered() })
            return calls.count { $0.servedBy == "first" }
        }
    }

    private let http = "http_health_check: {path: /health}"

    @Test("A status that is not expected turns an endpoint at once, a retriable one in a run")
    func statuses() {
        let scene = Scene(
            1, "http_health_check: {path: /health, retriable_statuses: [{start: 429, end: 430}]}")
        #expect(scene.share(of: 10) == 5)
        scene.health = .reply(503)
        scene.mesh.run(for: .seconds(2))
        #expect(scene.share(of: 10) == 0)
        scene.health = .reply(200)
        scene.mesh.run(for: .seconds(4))
        #expect(scene.share(of: 10) == 5)
        scene.health = .reply(429)
        scene.mesh.run(for: .milliseconds(1900))
        #expect(scene.share(of: 10) == 5)
        scene.mesh.run(for: .seconds(3))
        #expect(scene.share(of: 10) == 0)
        #expect(scene.mesh.finish() == [])
    }

    @Test("x-envoy-immediate-health-check-fail on any answer takes its endpoint out at once")
    func immediate() {
        let scene = Scene(2, http)
        scene.answer = .reply(200).header("x-envoy-immediate-health-check-fail", "1")
        #expect(scene.share(of: 2) == 1)
        scene.answer = .reply(200)
        #expect(scene.share(of: 10) == 0)
        #expect(scene.proxy.page("/clusters").contains("/failed_active_hc"))
        // Two checks that pass bring it back.
        scene.mesh.run(for: .seconds(4))
        #expect(scene.share(of: 10) == 5)
        #expect(scene.mesh.finish() == [])
    }

    @Test("An endpoint that says it is degraded gets nothing while others are well")
    func degraded() {
        // Of two it would be used: one healthy one can take 70 %.
        let scene = Scene(3, http, endpoints: 4)
        scene.health = .reply(200).header("x-envoy-degraded", "1")
        scene.mesh.run(for: .seconds(2))
        #expect(scene.share(of: 10) == 0)
        #expect(scene.proxy.page("/clusters").contains("health_flags::/degraded_active_hc"))
        for server in scene.servers.dropFirst() { server.kill() }
        #expect(scene.share(of: 3) == 3)
        #expect(scene.mesh.finish() == [])
    }

    @Test(
        "An endpoint that discovery takes away stays while its checks pass, and goes when one fails"
    )
    func lingers() {
        for ignores in [false, true] {
            let scene = Scene(
                4, http, more: ignores ? ", ignore_health_on_host_removal: true" : "")
            scene.serve([scene.servers[1]])
            scene.mesh.run(for: .seconds(3))
            #expect(scene.share(of: 10) == (ignores ? 0 : 5))
            scene.health = .reply(503)
            scene.mesh.run(for: .seconds(2))
            #expect(scene.share(of: 10) == 0)
            let probes = scene.probes
            scene.health = .reply(200)
            scene.mesh.run(for: .seconds(5))
            #expect(scene.share(of: 10) == 0 && scene.probes == probes)
            #expect(scene.mesh.finish() == [])
        }
    }

    @Test("A new endpoint of a cluster in use gets nothing before its first check")
    func newcomer() {
        let scene = Scene(5, http)
        let late = scene.mesh.upstream("late") { .reply($0.path == "/health" ? 503 : 200) }
        scene.serve(scene.servers + [late])
        scene.mesh.run(for: .milliseconds(20))
        _ = scene.share(of: 30)
        scene.mesh.run(for: .seconds(3))
        _ = scene.share(of: 30)
        #expect(late.requests.allSatisfy { $0.path == "/health" } && !late.requests.isEmpty)
        #expect(scene.mesh.finish() == [])
    }

    @Test("New endpoints do not count with ignore_new_hosts_until_first_hc, and do without")
    func newHosts() {
        for ignores in [false, true] {
            let scene = Scene(
                6, http,
                more: ", common_lb_config: {ignore_new_hosts_until_first_hc: \(ignores)}",
                endpoints: 1)
            let far = scene.mesh.remote("far")
            scene.serve([scene.first, far])
            scene.mesh.run(for: .seconds(4))
            #expect(scene.share(of: 20) == 20)
            // Nine that take long to answer: with them one of ten is healthy.
            let slow = (0..<9).map { number in
                scene.mesh.upstream("slow \(number)") { _ in .stall }
            }
            scene.serve([scene.first] + slow + [far])
            scene.mesh.run(for: .milliseconds(30))
            let share = scene.share(of: 100)
            #expect(ignores ? share == 100 : share < 40, "\(share)")
        }
    }

    @Test("A connection is used for check after check, unless reuse_connection is false")
    func reuse() {
        for reuses in [true, false] {
            let scene = Scene(7, http + ", reuse_connection: \(reuses)", endpoints: 1)
            scene.mesh.run(for: .seconds(10))
            #expect(scene.probes >= 8)
            #expect(scene.first.accepted == (reuses ? 1 : scene.probes))
            // One that the endpoint closes between two checks is no failure.
            scene.first.closeAll()
            scene.mesh.run(for: .seconds(3))
            #expect(scene.share(of: 5) == 5)
            #expect(scene.mesh.finish() == [])
        }
    }

    @Test("A cluster that nobody has called is asked slowly, and at the interval from then on")
    func noTraffic() {
        let scene = Scene(8, http + ", no_traffic_interval: 60s, no_traffic_healthy_interval: 100s")
        scene.mesh.run(for: .seconds(90))
        #expect(scene.probes == 1)
        _ = scene.share(of: 2)
        scene.mesh.run(for: .seconds(10))
        #expect((10...12).contains(scene.probes))
        #expect(scene.mesh.finish() == [])
    }

    @Test("Checks change while one is under way: its answer counts no more, the new one decides")
    func changedMidway() {
        let mesh = SimulatedMesh(seed: 11)
        let a = mesh.upstream("a") {
            .reply($0.path == "/old" ? 503 : 200).after(.milliseconds(400))
        }
        let plane = mesh.controlPlane("east")
        let proxy = mesh.controlledProxy(plane)
        for path in ["/old", "/new"] {
            plane.serve(
                [
                    ResourceText.listener(), ResourceText.routes(to: "svc"),
                    ResourceText.cluster(
                        "svc",
                        ", health_checks: [{timeout: 1s, interval: 10s, healthy_threshold: 2, "
                            + "initial_jitter: 0.001s, http_health_check: {path: \(path)}}]"),
                    ResourceText.endpoints("svc", [a]),
                ].joined(separator: "\n"))
            mesh.run(for: .milliseconds(200))
        }
        mesh.run(for: .seconds(1))
        #expect(a.requests.map(\.path) == ["/old", "/new"])
        #expect(!proxy.page("/clusters").contains("failed_active_hc"))
        #expect(mesh.finish() == [])
    }

    @Test("The endpoint's own place and name for checks, and one that is never checked")
    func ownPlace() {
        let mesh = SimulatedMesh(seed: 9)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        let checked = mesh.upstream("checked") { _ in .reply(503) }
        var cluster = Cluster.of("svc", a, b)
        cluster.healthChecks = [
            ProbeConfig(kind: .http(HTTPProbeConfig(path: "/health", host: "of.check")))
        ]
        cluster.endpoints.localities[0].endpoints[0].healthCheckAddress = checked.address
        cluster.endpoints.localities[0].endpoints[0].healthCheckHostname = "a.checks"
        cluster.endpoints.localities[0].endpoints[1].isNeverProbed = true
        let proxy = mesh.controlledProxy(clusters: [cluster])
        mesh.run(for: .seconds(2))
        #expect(checked.requests.first?.head.string(.authority) == "a.checks" && a.requests.isEmpty)
        let calls = (0..<4).map { _ in mesh.client(.http1, proxy).get() }
        #expect(mesh.run())
        #expect(calls.byServer == ["b": 4])
        #expect(mesh.finish() == [])
    }

    @Test("Of hundreds of checks that hang, so many are under way at once, and all have their turn")
    func bounded() {
        let mesh = SimulatedMesh(seed: 10)
        mesh.network.onStep = nil
        let pods = mesh.upstreams("pod", count: 400)
        for pod in pods { mesh.fault(pod, .blackHole) }
        var cluster = Cluster.of("svc", pods)
        cluster.healthChecks = [
            ProbeConfig(
                kind: .tcp(send: [], receive: []), timeout: .seconds(3), interval: .seconds(60))
        ]
        let proxy = mesh.controlledProxy(clusters: [cluster])
        var most = 0
        for _ in 0..<300 {
            mesh.run(for: .milliseconds(50))
            most = max(most, mesh.network.liveStreams)
        }
        #expect(most == ProbeRunner.most && mesh.network.liveStreams == 0)
        #expect(!proxy.page("/clusters").contains("no result yet"))
    }
}
