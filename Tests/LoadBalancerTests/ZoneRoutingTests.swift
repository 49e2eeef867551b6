import LoadBalancer
import MeshBase
import MeshConfig
import Testing

private func at(_ zone: String) -> Locality { Locality(region: "r", zone: zone) }

/// "a4 b4/6": four of four hosts healthy in a, four of six in b.
private func zones(_ text: String) -> [ZoneCount] {
    text.split(separator: " ").map { part in
        let numbers = part.dropFirst().split(separator: "/").compactMap { Int($0) }
        return ZoneCount(
            at(String(part.prefix(1))), hosts: numbers.last ?? 0, healthy: numbers.first ?? 0)
    }
}

private func plan(
    members: String, endpoints: String, available: Double = 100, panicThreshold: Double = 50,
    _ change: (inout LoadBalancing.ZoneAware) -> Void = { _ in }
) -> ZoneRouting {
    var rule = LoadBalancing.ZoneAware()
    change(&rule)
    return ZoneRouting(
        rule, endpoints: zones(endpoints), own: at("a"),
        local: LocalCluster(zones: zones(members), available: available),
        panicThreshold: panicThreshold)
}

@Suite struct ZoneRoutingTests {
    @Test(
        "What stays and what others have room for, in Envoy's arithmetic",
        arguments: [
            // 40 % of the members and 25 % of the endpoints: 62.5 % stay.
            ("a4 b4 c2", "a5 b10 c5", ZoneRouting.Plan.shared(own: 6250, room: [0, 1000, 1500])),
            ("a4 b4 c2", "a8 b8 c4", .own),
            ("a1 b3", "a3 b3", .own),
            // Thirds are cut off: 1666 ÷ 3333, and 4166 - 3333 twice.
            ("a1 b1 c1", "a2 b5 c5", .shared(own: 4998, room: [0, 833, 1666])),
            // Nothing healthy, or nothing at all, where we are.
            ("a1 b1", "a0/2 b3 c3", .shared(own: 0, room: [0, 0, 5000])),
            ("a1 b1", "b3 c3", .shared(own: 0, room: [0, 5000])),
            // Members that are not healthy ask for nothing: 3333 and 6666 beside 6000 and 4000.
            ("a1/2 b2", "a6 b4", .own),
            ("a2 b1/2", "a6 b4", .shared(own: 9000, room: [0, 667])),
            // Rounding leaves nobody any room.
            ("a1 b1", "a9999 b10001", .shared(own: 9998, room: [0, 0])),
        ])
    func plans(members: String, endpoints: String, expected: ZoneRouting.Plan) {
        #expect(plan(members: members, endpoints: endpoints).plan == expected)
    }

    @Test("When localities are disregarded, and why")
    func flat() {
        func why(
            _ members: String, _ endpoints: String, available: Double = 100,
            _ change: (inout LoadBalancing.ZoneAware) -> Void = { _ in }
        ) -> ZoneRouting.Plan {
            plan(members: members, endpoints: endpoints, available: available, change).plan
        }
        #expect(why("a1 b1", "a3 b2/3") == .flat(.tooSmall))
        #expect(why("a1 b1", "a3 b2/3") { $0.minClusterSize = 5 } == .own)
        #expect(why("a1 b1", "a6") == .flat(.oneZone))
        #expect(why("a2", "a3 b3") == .flat(.localInOneZone))
        #expect(why("b1 c1", "a3 b3") == .flat(.notMember))
        #expect(why("a1 b1", "a3 b3") { $0.routingEnabled = 0 } == .flat(.turnedOff))
        #expect(why("a1 b1", "a3 b3", available: 49) == .flat(.localPanics))
        #expect(why("a1 b1", "a3 b3", available: 50) == .own)
        #expect(why("a1 b1", "a3 b3", available: 49) { $0.failsOnPanic = true } == .refused)
        #expect(
            plan(members: "a1 b1", endpoints: "a3 b3", available: 49, panicThreshold: 30).plan
                == .own)
        let alone = ZoneRouting(
            .init(), endpoints: zones("a3 b3"), own: at("a"), local: nil, panicThreshold: 50)
        #expect(alone.plan == .flat(.noLocalCluster))
        #expect(alone.words == "flat (no local cluster)")
    }

    @Test("A forced zone keeps all while it has enough, even if we are in one zone alone")
    func forced() {
        let (members, endpoints) = ("a9 b1", "a2 b8")
        #expect(
            plan(members: members, endpoints: endpoints) { $0.forcedLocalMinimum = 2 }.plan == .own)
        #expect(
            plan(members: members, endpoints: endpoints) { $0.forcedLocalMinimum = 3 }.plan
                == .shared(own: 2222, room: [0, 7000]))
        #expect(plan(members: "a1", endpoints: "a1 b9") { $0.forcedLocalMinimum = 1 }.plan == .own)
        // Three are there, and two of them well.
        #expect(
            plan(members: members, endpoints: "a2/3 b8") { $0.forcedLocalMinimum = 3 }.plan
                != .own)
    }

    @Test("Shares of weight, where the configuration counts that")
    func weights() {
        var endpoints = zones("a3 b3")
        endpoints[0].weight = 30
        endpoints[1].weight = 90
        let local = LocalCluster(zones: zones("a1 b1"))
        func plan(_ rule: LoadBalancing.ZoneAware) -> ZoneRouting.Plan {
            ZoneRouting(
                rule, endpoints: endpoints, own: at("a"), local: local, panicThreshold: 50
            ).plan
        }
        #expect(plan(.init()) == .own)
        #expect(plan(.init(countsWeights: true)) == .shared(own: 5000, room: [0, 2500]))
    }

    @Test("Draws keep to the plan within five standard deviations, and the words have its shares")
    func draws() {
        var random = SeededRandom(seed: 5)
        let routing = plan(members: "a4 b4 c2", endpoints: "a5 b10 c5")
        #expect(routing.words == "r/a 62.50 %, r/b 25.00 %, r/c 12.50 %")
        var counts = [0, 0, 0]
        for _ in 0..<100_000 {
            let (choice, zone) = routing.choose(&random)
            #expect((choice == .own) == (zone == 0))
            counts[zone] += 1
        }
        for (count, share) in zip(counts, [0.625, 0.25, 0.125]) {
            let deviation = (100_000 * share * (1 - share)).squareRoot()
            #expect(abs(Double(count) - 100_000 * share) < 5 * deviation)
        }
        let sampled = plan(members: "a1 b1", endpoints: "a3 b3") { $0.routingEnabled = 80 }
        let own = (0..<10_000).count { _ in sampled.choose(&random).choice == .own }
        #expect(abs(own - 8000) < 200)
        let few = plan(members: "a1 b1", endpoints: "a3 b3") { $0.routingEnabled = 1 }
        #expect(abs((0..<10_000).count { _ in few.choose(&random).choice == .own } - 100) < 50)
        #expect(plan(members: "a1 b1", endpoints: "a3 b3").words == "r/a 100.00 %")
        // Those for whom rounding left no room go anywhere.
        let rounded = plan(members: "a1 b1", endpoints: "a9999 b10001")
        let others = (0..<100_000).map { _ in rounded.choose(&random) }
            .filter { $0.choice == .other }
        #expect(others.count < 60 && Set(others.map(\.zone)) == [0, 1])
    }
}
