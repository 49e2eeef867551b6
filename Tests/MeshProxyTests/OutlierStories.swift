import HTTPCodec
import HealthProbe
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// Outlier detection over the answers of two workers.
@Suite struct OutlierStories {
    private final class Scene {
        let mesh: SimulatedMesh
        let proxy: ControlledProxy
        let servers: [ScriptedServer]
        let clients: [ScriptedClient]
        /// Statuses that the first server answers with, then 200.
        var script: [Int] = []

        init(_ seed: UInt64, endpoints: Int = 2, _ detection: String, more: String = "") {
            mesh = SimulatedMesh(seed: seed)
            var answer: () -> Int = { 200 }
            let bad = mesh.upstream("bad") { .reply($0.path == "/" ? answer() : 200) }
            servers = [bad] + (1..<endpoints).map { [mesh] in mesh.upstream("good \($0)") }
            let plane = mesh.controlPlane("east")
            plane.serve(
                [
                    ResourceText.listener(), ResourceText.routes(to: "svc"),
                    ResourceText.cluster("svc", ", outlier_detection: {\(detection)}" + more),
                    ResourceText.endpoints("svc", servers),
                ].joined(separator: "\n"))
            proxy = mesh.controlledProxy(plane, workers: 2)
            mesh.run(for: .milliseconds(100))
            clients = [mesh.client(.http2, proxy), mesh.client(.http2, proxy, worker: 1)]
            answer = { [unowned self] in script.isEmpty ? 200 : script.removeFirst() }
        }

        var bad: ScriptedServer { servers[0] }
        /// What clients asked the bad server for.
        var asked: Int { bad.requests.count { $0.path == "/" } }

        /// Asks through one worker until the bad server has answered.
        func ask(_ worker: Int) {
            let before = asked
            for _ in 0..<20 where asked == before {
                _ = clients[worker].get()
                mesh.run()
                mesh.run(for: .milliseconds(10))
            }
        }

        /// How many of these requests the bad server gets.
        func share(of count: Int) -> Int {
            let before = asked
            for index in 0..<count {
                _ = clients[index % 2].get()
                mesh.run()
            }
            return asked - before
        }

        func stat(_ name: String) -> Int? { proxy.stat("cluster.svc.outlier_detection." + name) }
    }

    @Test("Five 5xx in a row over two workers eject at the fifth, on both")
    func spread() {
        let scene = Scene(1, "max_ejection_percent: 50")
        scene.script = Array(repeating: 500, count: 100)
        for worker in [0, 1, 0, 1] { scene.ask(worker) }
        #expect(scene.bad.requests.count == 4 && scene.stat("ejections_active") == 0)
        #expect(scene.proxy.verdicts == 0)
        scene.ask(1)
        #expect(scene.bad.requests.count == 5 && scene.stat("ejections_active") == 1)
        #expect(scene.stat("ejections_enforced_consecutive_5xx") == 1)
        #expect(scene.share(of: 20) == 0)
        #expect(scene.proxy.page("/clusters").contains("consecutive-5xx"))
        #expect(scene.mesh.finish() == [])
    }

    @Test("A good answer on the other worker ends the run")
    func brokenRun() {
        let scene = Scene(2, "max_ejection_percent: 50")
        scene.script = [500, 500, 500, 500, 200, 500, 500, 500, 500, 500]
        for worker in [0, 0, 0, 0, 1, 0, 0, 0, 0] { scene.ask(worker) }
        #expect(scene.stat("ejections_active") == 0)
        scene.ask(0)
        #expect(scene.stat("ejections_active") == 1)
        #expect(scene.mesh.finish() == [])
    }

    @Test("An ejected endpoint comes back at the end of an interval after its time")
    func returns() {
        let scene = Scene(
            3, "max_ejection_percent: 50, base_ejection_time: 3s, interval: 2s")
        scene.script = Array(repeating: 503, count: 5)
        for worker in [0, 0, 0, 0, 0] { scene.ask(worker) }
        #expect(scene.share(of: 10) == 0)
        scene.mesh.run(for: .seconds(6))
        #expect(scene.stat("ejections_active") == 0)
        #expect(scene.share(of: 20) > 5)
        #expect(scene.mesh.finish() == [])
    }

    @Test("By default 10 % may be out, so of two endpoints none is, as in Envoy")
    func overCap() {
        let scene = Scene(4, "consecutive_5xx: 1")
        scene.script = [500]
        scene.ask(0)
        #expect(scene.stat("ejections_active") == 0 && scene.stat("ejections_overflow") == 1)
        let other = Scene(4, "consecutive_5xx: 1, always_eject_one_host: true")
        other.script = [500]
        other.ask(0)
        #expect(other.stat("ejections_active") == 1)
        #expect(scene.mesh.finish() == [] && other.mesh.finish() == [])
    }

    @Test("A success rate counts the answers of both workers, though one saw no failure")
    func successRate() {
        let scene = Scene(
            5, endpoints: 5,
            "consecutive_5xx: 1000, max_ejection_percent: 50, interval: 2s, "
                + "success_rate_request_volume: 20")
        // The second worker sees no failure: its good answers are what the volume is made of.
        scene.script = Array(repeating: 500, count: 12)
        for _ in 0..<60 {
            _ = scene.clients[0].get()
            scene.mesh.run()
        }
        scene.script = []
        for _ in 0..<60 {
            _ = scene.clients[1].get()
            scene.mesh.run()
        }
        #expect(scene.mesh.network.now < .zero + .seconds(2))
        #expect(scene.stat("ejections_active") == 0)
        scene.mesh.run(for: .seconds(2))
        #expect(scene.stat("ejections_enforced_success_rate") == 1)
        #expect(scene.share(of: 20) == 0)
        #expect(scene.mesh.finish() == [])
    }

    @Test("Refused connections eject by their own count, where that is split off")
    func refused() {
        let scene = Scene(
            6,
            "split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, "
                + "max_ejection_percent: 50")
        // More than two, and the path is ejected whatever is configured, and nobody tries it.
        scene.mesh.fault(scene.bad, .refuse)
        scene.mesh.resetConnections(to: scene.bad.address)
        for index in 0..<400 where scene.stat("ejections_active") == 0 {
            _ = scene.clients[index % 2].get()
            scene.mesh.run()
            scene.mesh.run(for: .milliseconds(100))
        }
        #expect(scene.stat("ejections_enforced_consecutive_local_origin_failure") == 1)
        #expect(scene.mesh.calls.allSatisfy { $0.isAnswered() })
        #expect(scene.mesh.finish() == [])
    }

    @Test("Good answers are told to nobody")
    func quiet() {
        let scene = Scene(7, "max_ejection_percent: 50")
        _ = scene.share(of: 50)
        let reports = scene.proxy.outlierReports
        // One for each worker and endpoint, to say where it counts.
        #expect(reports <= 4)
        _ = scene.share(of: 200)
        #expect(scene.proxy.outlierReports == reports)
        #expect(scene.mesh.finish() == [])
    }

    @Test("A health check that passes ends an ejection, unless that is switched off")
    func healthCheckReturns() {
        for (unejects, isOut) in [
            ("", 0), (", successful_active_health_check_uneject_host: false", 1),
        ] {
            let scene = Scene(
                8, "max_ejection_percent: 50, base_ejection_time: 100s" + unejects,
                more: """
                    , health_checks: [{timeout: 0.5s, interval: 1s, no_traffic_interval: 1s,
                      unhealthy_threshold: 2, healthy_threshold: 1,
                      http_health_check: {path: /health}}]
                    """)
            scene.mesh.run(for: .seconds(3))
            scene.script = Array(repeating: 503, count: 5)
            for _ in 0..<5 { scene.ask(0) }
            #expect(scene.stat("ejections_enforced_consecutive_5xx") == 1)
            scene.mesh.run(for: .seconds(3))
            #expect(scene.stat("ejections_active") == isOut)
            #expect((scene.share(of: 20) > 5) == (isOut == 0))
            #expect(scene.mesh.finish() == [])
        }
    }

    private static let grpc = ("content-type", "application/grpc")

    /// A gRPC answer that has a head, and says with its trailers how it went.
    private static func answer(_ status: Int, body: Int = 0) -> Answer {
        .bytes(body).chunked().header(grpc.0, grpc.1).trailer("grpc-status", "\(status)")
    }

    @Test("A gRPC status stands for the HTTP status that Envoy maps it to")
    func mapping() {
        let statuses = (0...17).map { code in
            var trailers = MessageHead()
            trailers.append(.grpcStatus, "\(code)")
            return OutlierDetector.Outcome.answered(trailers)
        }
        let expected = [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
            500,
        ]
        #expect(statuses == expected.map { .status($0) })
    }

    @Test("A gRPC status in trailers counts as the 5xx that it stands for, and a good one as good")
    func trailers() {
        let mesh = SimulatedMesh(seed: 9)
        var statuses = [13, 13, 0, 14, 14, 2, 4]
        let bad = mesh.upstream("bad", .http2) { _ in
            Self.answer(statuses.isEmpty ? 0 : statuses.removeFirst(), body: 10)
        }
        let good = mesh.upstream("good", .http2) { _ in Self.answer(0, body: 10) }
        var detection = OutlierDetection(maxEjectionPercent: 50)
        detection.consecutive5xx = 4
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", bad, good) { $0.outlierDetection = detection }])
        let client = mesh.client(.http2, proxy)
        for _ in 0..<30 {
            client.post("/pkg.Service/Call", bytes: 5, [Self.grpc, ("te", "trailers")])
            mesh.run()
        }
        #expect(bad.requests.count == 7 && statuses.isEmpty)
        #expect(proxy.stat("cluster.svc.outlier_detection.ejections_enforced_consecutive_5xx") == 1)
        #expect(mesh.finish() == [])
    }

    @Test(
        "A status that a policy retries is retried from trailers, while nothing went to the client")
    func retriedTrailers() {
        for (body, retries) in [(0, true), (10, false)] {
            let mesh = SimulatedMesh(seed: 10)
            let a = mesh.upstream("a", .http2) { _ in Self.answer(14, body: body) }
            let b = mesh.upstream("b", .http2) { _ in Self.answer(0, body: 3) }
            let proxy = mesh.controlledProxy(
                clusters: [.of("svc", a, b)],
                routes: [.forward(to: "svc", retry: .on([.grpcUnavailable], times: 1))])
            let client = mesh.client(.http2, proxy)
            // One after the other: together they would spend the retry budget.
            let calls = (0..<10).map { _ in
                let call = client.post(
                    "/pkg.Service/Call", bytes: 5, [Self.grpc, ("te", "trailers")])
                mesh.run()
                return call
            }
            #expect(calls.allSatisfy { $0.isAnswered() })
            let good = calls.count { $0.trailers?.string("grpc-status") == "0" }
            #expect(good == (retries ? 10 : 5), "\(body)")
            #expect(mesh.finish() == [])
        }
    }

    @Test("The head of a gRPC stream reaches its client at once, whatever may be retried")
    func streamingHead() {
        let mesh = SimulatedMesh(seed: 11)
        let a = mesh.upstream("a", .http2) { _ in
            Self.answer(0, body: 1000).slowly(100, every: .seconds(1))
        }
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", a)],
            routes: [.forward(to: "svc", retry: .on([.grpcUnavailable], times: 1))])
        let call = mesh.client(.http2, proxy).post(
            "/pkg.Service/Watch", bytes: 5, [Self.grpc, ("te", "trailers")])
        mesh.run(for: .milliseconds(20))
        #expect(call.status == 200 && !call.isDone)
        #expect(mesh.run())
        #expect(call.isAnswered() && mesh.finish() == [])
    }
}
