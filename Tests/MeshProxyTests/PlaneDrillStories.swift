import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// `meshproxy drill` with faults of control planes: what the proxy goes on with, and how it comes back.
@Suite struct PlaneDrillStories {
    private final class Shop {
        let mesh = SimulatedMesh(seed: 1)
        let a: ScriptedServer
        let b: ScriptedServer
        let first: ControlPlane
        let second: ControlPlane
        let proxy: ControlledProxy
        let desk: DrillDesk
        private let load: SteadyLoad

        /// - Parameter planes: the second says the same, with another endpoint.
        init(planes: Int) throws {
            a = mesh.upstream("a")
            b = mesh.upstream("b")
            first = mesh.controlPlane("first")
            second = mesh.controlPlane("second")
            first.serve(ResourceText.service("svc", a))
            second.serve(ResourceText.service("svc", b))
            proxy =
                planes == 1
                ? mesh.controlledProxy(first) : mesh.controlledProxy(first, second)
            mesh.run(for: .milliseconds(100))
            desk = try DrillDesk(mesh, proxy)
            let client = mesh.client(.http2, proxy)
            load = SteadyLoad(mesh, client, every: .milliseconds(10))
        }

        /// What the requests of so long came to.
        func traffic(_ duration: Duration) -> [Call] {
            let before = load.calls.count
            load.run(for: duration)
            return Array(load.calls.dropFirst(before))
        }

        func finish() -> [String] {
            desk.close()
            return mesh.finish()
        }
    }

    @Test("The only control plane is cut off: what it gave serves on, and it is reached again")
    func down() throws {
        let shop = try Shop(planes: 1)
        shop.desk.begin { $0.fault = "cp-down" }
        let during = shop.traffic(.seconds(9))
        #expect(shop.first.openStreams == 0)
        // What it says meanwhile is not heard.
        shop.first.serve(ResourceText.service("svc", shop.b))
        let before = shop.traffic(.milliseconds(900))
        #expect((during + before).allSatisfy { $0.isAnswered() && $0.servedBy == "a" })
        let after = shop.traffic(.seconds(10))
        #expect(after.allSatisfy { $0.isAnswered() } && after.last?.servedBy == "b")
        #expect(shop.desk.status == 0, "\(shop.desk.printed)")
        let report = shop.desk.printed
        #expect(report.contains("drill of svc: cp-down of first\n"))
        #expect(report.contains("  what it had given last stayed in force\n"))
        #expect(report.contains("  it had given everything again "))
        #expect(!report.contains("was in force"))
        // Tries are at most 5 s apart.
        let news = try #require(DrillStatus(shop.proxy.page("/drill")))
        #expect(news.reconnection.map { $0 > .zero && $0 < .milliseconds(5100) } == true)
        #expect(shop.first.opened.count == 2)
        #expect(shop.finish() == [])
    }

    @Test("Of two control planes the second takes over, and the first is returned to")
    func successor() throws {
        let shop = try Shop(planes: 2)
        shop.desk.begin { $0.fault = "cp-down" }
        let during = shop.traffic(.seconds(9))
        #expect(during.last?.servedBy == "b" && shop.proxy.source == "second")
        let after = shop.traffic(.seconds(20))
        #expect((during + after).allSatisfy { $0.isAnswered() })
        #expect(after.last?.servedBy == "a" && shop.proxy.source == "first")
        #expect(shop.desk.status == 0, "\(shop.desk.printed)")
        #expect(shop.desk.printed.contains("  second was in force "))
        #expect(shop.desk.printed.contains("  it was in force again "))
        let news = try #require(DrillStatus(shop.proxy.page("/drill")))
        #expect(news.successor == "second")
        #expect(news.succession.map { $0 < .seconds(3) } == true)
        // It has to stay well for two seconds first.
        let (reconnection, resumption) = try (
            #require(news.reconnection), #require(news.resumption)
        )
        #expect(resumption - reconnection >= .milliseconds(1999))
        #expect(shop.finish() == [])
    }

    @Test("Endpoints are wiped by a wrong push: it is called off, and they are back at once")
    func wrong() throws {
        let shop = try Shop(planes: 1)
        let before = shop.traffic(.seconds(1))
        shop.desk.begin { $0.fault = "cp-wrong" }
        let calls = shop.traffic(.seconds(5))
        let failed = calls.filter { !$0.isAnswered() }
        #expect(before.allSatisfy { $0.isAnswered() })
        // The third of twenty is above 5 %; workers tell every 50 ms.
        #expect((2...12).contains(failed.count) && failed.allSatisfy { $0.isAnswered(503) })
        #expect(calls.suffix(400).allSatisfy { $0.isAnswered() && $0.servedBy == "a" })
        shop.mesh.run(for: .seconds(5))
        #expect(shop.desk.status == 1 && shop.desk.printed.contains("  called off after "))
        #expect(shop.desk.printed.contains("  what it said was in force\n"))
        #expect(shop.finish() == [])
    }

    @Test(
        "Half of the endpoints are gone from a push: the others have the traffic until it ends by itself"
    )
    func halfWrong() throws {
        let shop = try Shop(planes: 1)
        shop.first.serve(ResourceText.service("svc", shop.a, shop.b))
        _ = shop.traffic(.seconds(1))
        shop.desk.begin { options in
            options.fault = "cp-wrong"
            options.percent = 50
        }
        _ = shop.traffic(.milliseconds(100))
        let during = shop.traffic(.seconds(5))
        // A push in between is as wrong.
        shop.first.serve(
            ResourceText.service("svc", shop.a, shop.b, more: ", max_requests_per_connection: 1000")
        )
        let later = shop.traffic(.seconds(4))
        shop.desk.abandon()
        let after = shop.traffic(.seconds(10))
        #expect((during + later + after).allSatisfy { $0.isAnswered() })
        #expect(during.byServer.count == 1 && later.byServer.count == 1)
        #expect(Array(after.suffix(100)).byServer == ["a": 50, "b": 50])
        #expect(shop.finish() == [])
    }

    @Test("What can't be is refused with what could")
    func refusals() throws {
        let shop = try Shop(planes: 1)
        shop.desk.begin { options in
            options.fault = "cp-down"
            options.controlPlane = "nobody"
        }
        shop.mesh.run(for: .seconds(1))
        #expect(
            shop.desk.printed == "query \"control_plane\": expected first, got \"nobody\"\n")
        shop.desk.begin { options in
            options.cluster = "first"
            options.fault = "cp-wrong"
        }
        shop.mesh.run(for: .seconds(1))
        #expect(shop.desk.printed.contains("expected a cluster that a control plane gives"))
        let mesh = SimulatedMesh(seed: 2)
        let desk = try DrillDesk(mesh, mesh.controlledProxy(clusters: [.of("svc", shop.a)]))
        desk.begin { $0.fault = "cp-down" }
        mesh.run(for: .seconds(1))
        #expect(desk.printed.contains("expected a bootstrap with ads_config"))
        desk.close()
        #expect(shop.finish() == [])
    }
}
