import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// How traffic comes back to a region, how much a survivor is given, and how a region is evacuated.
@Suite struct FailbackStories {
    private struct Shop {
        let mesh = SimulatedMesh(seed: 1)
        let east: ScriptedServer
        let west: ScriptedServer
        let proxy: SimulatedProxy
        let client: ScriptedClient

        init(_ settings: Settings = Settings()) {
            east = mesh.upstream("east", .http2)
            west = mesh.remote("west", .http2)
            proxy = mesh.proxy(clusters: [.of("svc", east, west)], settings: settings)
            client = mesh.client(.http2, proxy)
        }

        /// A request each 10 ms. - Returns: how many percent were answered by east, if all were answered.
        func eastShare(_ duration: Duration) -> Int? {
            let calls = traffic(duration)
            guard calls.allSatisfy({ $0.isAnswered() }) else { return nil }
            return 100 * calls.count { $0.servedBy == "east" } / calls.count
        }

        func traffic(_ duration: Duration) -> [Call] {
            var calls: [Call] = []
            let end = mesh.network.now + duration
            while mesh.network.now < end {
                calls.append(client.get())
                mesh.run(for: .milliseconds(10))
            }
            mesh.run()
            return calls
        }

        func kill() {
            mesh.fault(east, .refuse)
            mesh.resetConnections(to: east.address)
        }
    }

    @Test("A region that was out for 20 s is watched for 10 s and then returned to by tenths")
    func ramp() {
        let shop = Shop()
        #expect(shop.eastShare(.seconds(1)) == 100)
        shop.kill()
        #expect(shop.eastShare(.seconds(20)) == 0)
        shop.mesh.fault(shop.east, nil)
        // Its hold ends, one request finds out that it is well, and there it stays.
        let found = shop.eastShare(.seconds(16)) ?? -1
        #expect(found <= 1)
        var shares: [Int] = []
        for _ in 0..<10 { shares.append(shop.eastShare(.seconds(6)) ?? -1) }
        #expect(shares == shares.sorted() && shares.last == 100)
        #expect(shares.contains { (15...85).contains($0) })
        let events = shop.proxy.reports.failbacks.map(\.event)
        #expect(events.first == .out && events.last == .finished)
        #expect(events.contains(.forward(percent: 40)))
        #expect(shop.mesh.finish() == [])
    }

    @Test("A region that fails again while it comes back loses its load and no request is lost")
    func failsAgain() {
        let shop = Shop()
        #expect(shop.eastShare(.seconds(1)) == 100)
        shop.kill()
        #expect(shop.eastShare(.seconds(2)) == 0)
        shop.mesh.fault(shop.east, nil)
        #expect(shop.eastShare(.seconds(6)) != nil)
        shop.kill()
        let again = shop.eastShare(.seconds(1)) ?? -1
        #expect(again == 0)
        let events = shop.proxy.reports.failbacks.map(\.event)
        #expect(events.filter { $0 == .out }.count == 2 && !events.contains(.finished))
        #expect(shop.mesh.finish() == [])
    }

    @Test("Server errors of a region that comes back take steps back")
    func errors() {
        let mesh = SimulatedMesh(seed: 4)
        var isSick = false
        let east = mesh.upstream("east", .http2) { _ in
            isSick ? .reply(500, "cold") : .reply(200, "ok")
        }
        let west = mesh.remote("west", .http2)
        let proxy = mesh.proxy(clusters: [.of("svc", east, west)])
        let client = mesh.client(.http2, proxy)
        func traffic(_ duration: Duration) {
            let end = mesh.network.now + duration
            while mesh.network.now < end {
                _ = client.get()
                mesh.run(for: .milliseconds(10))
            }
        }
        traffic(.seconds(1))
        mesh.fault(east, .refuse)
        mesh.resetConnections(to: east.address)
        traffic(.seconds(3))
        isSick = true
        mesh.fault(east, nil)
        traffic(.seconds(30))
        let events = proxy.reports.failbacks.map(\.event)
        #expect(events.count { if case .holding = $0 { true } else { false } } > 2)
        #expect(!events.contains { if case .forward(let p) = $0 { p > 20 } else { false } })
        isSick = false
        traffic(.seconds(40))
        #expect(proxy.reports.failbacks.last?.event == .finished)
        #expect(mesh.finish() == [])
    }

    @Test("What a survivor may not take is answered by 503 with Retry-After")
    func spill() {
        var settings = Settings()
        settings.spill = SpillSettings(maxPerSecond: 40, retryAfter: .milliseconds(1500))
        let shop = Shop(settings)
        #expect(shop.eastShare(.seconds(1)) == 100)
        shop.kill()
        let calls = shop.traffic(.seconds(5))
        let answered = calls.count { $0.isAnswered() }
        #expect((180...200).contains(answered))
        let shed = calls.filter { $0.isAnswered(503) }
        #expect(shed.count == calls.count - answered)
        #expect(shed.allSatisfy { $0.head?.string("retry-after") == "2" })
        #expect(shop.mesh.finish() == [])
    }

    @Test("An evacuated region loses its traffic by and by, and no request")
    func evacuation() {
        let shop = Shop()
        #expect(shop.eastShare(.seconds(1)) == 100)
        let evacuation = Evacuation(
            scope: EndpointScope(region: "east"), percentPerSecond: 10,
            since: shop.mesh.network.now)
        shop.proxy.worker.received(.evacuate([evacuation]))
        let first = shop.eastShare(.seconds(5)) ?? -1
        #expect((60...90).contains(first))
        _ = shop.eastShare(.seconds(5))
        #expect(shop.eastShare(.seconds(2)) == 0)
        // A push in between does not bring it back.
        shop.proxy.push { $0.clusters[0].endpoints.overprovisioningFactor = 140 }
        #expect(shop.eastShare(.seconds(1)) == 0)
        shop.proxy.worker.received(.evacuate([evacuation.undone(at: shop.mesh.network.now)]))
        _ = shop.eastShare(.seconds(10))
        #expect(shop.eastShare(.seconds(2)) == 100)
        #expect(shop.proxy.reports.failbacks.isEmpty)
        #expect(shop.mesh.finish() == [])
    }
}
