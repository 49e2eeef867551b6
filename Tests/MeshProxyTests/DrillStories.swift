import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// A fault that is put on a running proxy through its admin port, as `meshproxy drill` does it.
@Suite struct DrillStories {
    private final class Shop {
        let mesh = SimulatedMesh(seed: 1)
        let east: ScriptedServer
        let west: ScriptedServer
        let proxy: ControlledProxy
        let desk: DrillDesk
        private let client: ScriptedClient
        var printed: String { desk.printed }
        var status: Int32? { desk.status }

        /// - Parameter within: east and west are two clusters, and requests go to an aggregate of both.
        init(within aggregate: Bool = false, westAnswers: Bool = true) throws {
            east = mesh.upstream("east", .http2)
            west = mesh.remote("west", .http2)
            let all = Cluster(name: "all", discovery: .aggregate(["svc", "far"]))
            proxy = mesh.controlledProxy(
                clusters: aggregate
                    ? [all, .of("svc", east), .of("far", west)]
                    : [.of("svc", east, west), .of("other", east, west)],
                routes: [.forward(to: aggregate ? "all" : "svc")])
            desk = try DrillDesk(mesh, proxy)
            client = mesh.client(.http2, proxy)
            if !westAnswers { mesh.fault(west, .refuse) }
        }

        func begin(_ change: (inout DrillOptions) -> Void = { _ in }) { desk.begin(change) }

        /// A request each 10 ms.
        @discardableResult
        func traffic(_ duration: Duration) -> [Call] {
            var made: [Call] = []
            let end = mesh.network.now + duration
            while mesh.network.now < end {
                made.append(client.get())
                mesh.run(for: .milliseconds(10))
            }
            return made
        }

        func finish() -> [String] {
            desk.close()
            return mesh.finish()
        }
    }

    private func share(_ calls: [Call], _ server: String) -> Int {
        100 * calls.count { $0.servedBy == server } / max(1, calls.count)
    }

    @Test(
        "Refusals at 100 % lose no request; the traffic moves and comes back by itself",
        arguments: [false, true])
    func refuse(within aggregate: Bool) throws {
        let shop = try Shop(within: aggregate)
        #expect(share(shop.traffic(.seconds(1)), "east") == 100)
        shop.begin()
        shop.traffic(.milliseconds(200))
        let during = shop.traffic(.seconds(9))
        #expect(share(during, "west") == 100)
        let after = shop.traffic(.seconds(80))
        #expect(share(Array(after.suffix(100)), "east") == 100)
        #expect(shop.mesh.calls.allSatisfy { $0.isAnswered() })
        #expect(shop.status == 0, "\(shop.printed)")
        #expect(shop.printed.contains("refuse for 100 % of attempts on svc, for 10 s\n"))
        #expect(shop.printed.contains(" requests: none failed\n"))
        #expect(shop.printed.contains("  all traffic was back "))
        // Nobody else has learnt anything from it.
        #expect(shop.proxy.changes.isEmpty && shop.proxy.deadPaths == [])
        #expect(shop.finish() == [])
    }

    @Test("It ends without whoever began it")
    func abandoned() throws {
        let shop = try Shop()
        shop.traffic(.milliseconds(500))
        shop.begin()
        shop.traffic(.seconds(1))
        shop.desk.abandon()
        let calls = shop.traffic(.seconds(80))
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(share(Array(calls.suffix(100)), "east") == 100)
        #expect(shop.proxy.control.drill?.phase(at: shop.mesh.network.now) == .over)
        #expect(shop.finish() == [])
    }

    @Test("Where nothing else answers it is called off at once", arguments: [false, true])
    func calledOff(within aggregate: Bool) throws {
        let shop = try Shop(within: aggregate, westAnswers: false)
        shop.traffic(.seconds(1))
        shop.begin()
        let calls = shop.traffic(.seconds(2))
        let failed = calls.count { !$0.isAnswered() }
        #expect(failed > 0 && failed < 60, "\(failed)")
        shop.traffic(.seconds(60))
        #expect(shop.status == 1)
        #expect(shop.printed.contains("  called off after "))
        #expect(shop.finish() == [])
    }

    @Test(
        "Silence, endpoints that are gone, and late answers lose no request",
        arguments: ["blackhole", "empty", "slow"], [false, true])
    func others(fault: String, within aggregate: Bool) throws {
        let shop = try Shop(within: aggregate)
        shop.traffic(.seconds(1))
        shop.begin { $0.fault = fault }
        shop.traffic(.seconds(5))
        let during = shop.traffic(.seconds(4))
        // Nobody leaves an endpoint that answers, however late.
        #expect(share(during, "west") == (fault == "slow" ? 0 : 100))
        shop.traffic(.seconds(80))
        #expect(share(shop.traffic(.seconds(1)), "east") == 100)
        shop.mesh.run()
        if fault == "slow" { #expect(during.allSatisfy { $0.took >= .seconds(1) }) }
        #expect(shop.mesh.calls.allSatisfy { $0.isAnswered() })
        #expect(shop.status == 0, "\(shop.printed)")
        #expect(shop.finish() == [])
    }

    @Test("Answers of 503 reach clients where no policy retries them, and that ends it")
    func serverErrors() throws {
        let shop = try Shop()
        shop.traffic(.seconds(1))
        shop.begin { $0.fault = "5xx" }
        let calls = shop.traffic(.seconds(2))
        #expect((1..<60).contains(calls.count { $0.isAnswered(503) }))
        shop.traffic(.seconds(20))
        #expect(shop.status == 1 && shop.printed.contains("  called off after "))
        #expect(shop.finish() == [])
    }

    @Test("An aggregate's drill is one of its members")
    func aggregate() throws {
        let shop = try Shop(within: true)
        shop.begin { $0.cluster = "all" }
        shop.mesh.run(for: .seconds(1))
        #expect(shop.status == 1)
        #expect(
            shop.printed.contains("expected a member of the aggregate, svc or far, got \"all\""))
        #expect(shop.finish() == [])
    }

    @Test("The admin port refuses what can't be, and a second drill beside the first")
    func refusals() throws {
        let shop = try Shop()
        shop.begin { $0.cluster = "nobody" }
        shop.mesh.run(for: .seconds(1))
        #expect(shop.status == 1 && shop.printed.contains("expected a cluster's name"))
        shop.begin()
        shop.mesh.run(for: .seconds(1))
        shop.begin { $0.cluster = "other" }
        shop.mesh.run(for: .seconds(1))
        #expect(shop.printed == "drill 1 of svc is not over yet\n")
        #expect(shop.finish() == [])
    }
}
