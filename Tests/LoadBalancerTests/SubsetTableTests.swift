import MeshBase
import MeshConfig
import Testing

@testable import LoadBalancer

private func address(_ number: Int) -> SocketAddress {
    .ipv4(0x0A00_0000 + UInt32(number), port: 80)
}

private func endpoint(
    _ number: Int, _ values: [String: MetadataValue] = [:], priority: Int = 0, zone: String = "z",
    localityWeight: UInt32? = nil, status: Endpoint.Status = .unknown
) -> ResolvedEndpoint {
    ResolvedEndpoint(
        endpoint: Endpoint(
            target: .address(address(number)), status: status,
            metadata: Metadata(["envoy.lb": values])),
        address: address(number), priority: priority,
        locality: Locality(region: "r", zone: zone), localityWeight: localityWeight)
}

/// Envoy's example: three versions, two stages, and a host that is the default.
private let fleet = [
    endpoint(1, ["stage": "prod", "version": "1.0"]),
    endpoint(2, ["stage": "prod", "version": "1.0"]),
    endpoint(3, ["stage": "prod", "version": "1.1"]),
    endpoint(4, ["stage": "dev", "version": "1.2"]),
    endpoint(5, ["stage": "dev", "version": "1.1"]),
]

extension MetadataValue: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self = .string(value) }
}

private struct Bench {
    let balancer: Balancer

    init(
        _ rules: LoadBalancing.Subsets, _ endpoints: [ResolvedEndpoint] = fleet,
        settings: Settings = Settings(), _ change: (inout LoadBalancing) -> Void = { _ in }
    ) {
        var configuration = LoadBalancing(subsets: rules)
        change(&configuration)
        var settings = settings
        settings.locality = Locality(region: "r", zone: "a")
        balancer = Balancer(
            configuration: configuration, paths: PathHealth(), settings: settings,
            random: SeededRandom(seed: 3))
        _ = balancer.update(endpoints: endpoints)
    }

    func result(_ values: [String: MetadataValue], attempted: [Host] = []) -> PickResult {
        defer { balancer.checkInvariants() }
        return balancer.pick(
            PickContext(now: .zero, attempted: attempted, subset: SubsetCriteria(values)))
    }

    func pick(_ values: [String: MetadataValue], attempted: [Host] = []) -> Pick? {
        if case .host(let pick) = result(values, attempted: attempted) { pick } else { nil }
    }

    func reason(_ values: [String: MetadataValue]) -> NoHost? {
        if case .none(let reason) = result(values) { reason } else { nil }
    }

    /// The numbers of the hosts that requests of one route get, and how often.
    func counts(_ values: [String: MetadataValue], _ picks: Int = 60) -> [Int: Int] {
        let criteria = SubsetCriteria(values)
        var counts: [Int: Int] = [:]
        for _ in 0..<picks {
            let result = balancer.pick(PickContext(now: .zero, subset: criteria))
            guard case .host(let pick) = result else { continue }
            let number = (1...99).first { address($0) == pick.host.address } ?? 0
            counts[number, default: 0] += 1
            balancer.release(pick, .abandoned, now: .zero)
        }
        return counts
    }
}

private let byVersion = LoadBalancing.Subsets([.init(["version"]), .init(["stage", "version"])])

@Suite struct SubsetTableTests {
    @Test("A route's values lead to the endpoints that have them, of one selector's keys exactly")
    func match() {
        let bench = Bench(byVersion)
        #expect(bench.counts(["version": "1.0"]) == [1: 30, 2: 30])
        #expect(bench.counts(["version": "1.1"]) == [3: 30, 5: 30])
        #expect(bench.counts(["version": "1.1", "stage": "dev"]) == [5: 60])
        #expect(
            bench.pick(["version": "1.1", "stage": "dev"])?.decision
                == "subset=stage:dev,version:1.1")
        #expect(
            bench.balancer.subsetWords.prefix(2)
                == ["stage:dev,version:1.1 1", "stage:dev,version:1.2 1"])
        for values: [String: MetadataValue] in [
            [:], ["version": "9"], ["stage": "prod"], ["version": .number(1.1)],
            ["version": "1.1", "stage": "dev", "more": "x"],
        ] {
            #expect(bench.reason(values) == .noSubset)
        }
    }

    @Test("The cluster's fallback takes what has no subset, or asks for none")
    func fallbacks() {
        var rules = byVersion
        rules.fallback = .anyEndpoint
        let any = Bench(rules)
        #expect(any.counts([:]).count == 5 && any.counts(["version": "9"]).count == 5)
        #expect(any.pick(["version": "9"])?.decision == "subset-fallback=any")
        #expect(any.counts(["version": "1.2"]) == [4: 60])

        rules.fallback = .defaultSubset
        rules.defaultSubset = ["stage": "prod", "version": "1.1"]
        let byDefault = Bench(rules)
        #expect(byDefault.counts(["version": "9"]) == [3: 60])
        #expect(byDefault.pick([:])?.decision == "subset-fallback=default")

        rules.defaultSubset = ["stage": "nowhere"]
        #expect(Bench(rules).reason([:]) == .noSubset)
        rules.panicsToAny = true
        #expect(Bench(rules).counts([:]).count == 5)
        #expect(Bench(rules).pick([:])?.decision == "subset-panic=any")
    }

    @Test("A selector's own fallback goes before the cluster's, and fewer keys are looked up again")
    func selectorFallbacks() {
        var rules = byVersion
        rules.fallback = .anyEndpoint
        rules.defaultSubset = ["stage": "dev"]
        rules.selectors[0].fallback = .refuse
        rules.selectors[1].fallback = .keys(["version"])
        let bench = Bench(rules)
        #expect(bench.reason(["version": "9"]) == .noSubset)
        #expect(bench.counts(["stage": "x", "version": "1.0"]) == [1: 30, 2: 30])
        #expect(
            bench.pick(["stage": "x", "version": "1.0"])?.decision == "subset-fallback=version:1.0")
        #expect(bench.reason(["stage": "x", "version": "9"]) == .noSubset)
        // No selector has these keys, so none has a say.
        #expect(bench.counts(["stage": "x"]).count == 5)
        rules.selectors[0].fallback = .defaultSubset
        #expect(Bench(rules).counts(["version": "9"]) == [4: 30, 5: 30])
        rules.selectors[0].fallback = .anyEndpoint
        #expect(Bench(rules).counts(["version": "9"]).count == 5)
    }

    @Test("Health, priorities and panic are the subset's own, and an unhealthy one has no fallback")
    func health() {
        var rules = LoadBalancing.Subsets([.init(["v"])], fallback: .anyEndpoint)
        var hosts = (1...2).map {
            endpoint($0, ["v": "1"], status: $0 == 1 ? .healthy : .unhealthy)
        }
        hosts += [endpoint(3, ["v": "1"], priority: 1)]
        hosts += (4...9).map { endpoint($0, ["v": "2"]) }
        hosts += (10...12).map { endpoint($0, ["v": "3"], status: .unhealthy) }
        let bench = Bench(rules, hosts)
        // One of two: 70 percent, though of the whole priority 5 of 11 are unhealthy.
        let counts = bench.counts(["v": "1"], 10_000)
        #expect(abs((counts[1] ?? 0) - 7000) < 230 && (counts[1] ?? 0) + (counts[3] ?? 0) == 10_000)
        #expect(bench.counts(["v": "2"]) == [4: 10, 5: 10, 6: 10, 7: 10, 8: 10, 9: 10])
        #expect(bench.counts(["v": "3"]) == [10: 20, 11: 20, 12: 20])
        #expect(bench.pick(["v": "3"])?.reason == .panic)
        rules.panicsToAny = true
        let strict = Bench(rules, hosts) { $0.panicThreshold = 0 }
        #expect(strict.reason(["v": "3"]) == .allUnhealthy)
    }

    @Test("A retry and a last resort stay in the subset")
    func stays() throws {
        let bench = Bench(byVersion)
        let first = try #require(bench.pick(["version": "1.0"]))
        let second = try #require(bench.pick(["version": "1.0"], attempted: [first.host]))
        #expect(second.reason == .elsewhere && second.host !== first.host)
        #expect(second.decision == "subset=version:1.0")
        for host in bench.balancer.hosts.prefix(2) {
            bench.balancer.suspect(host, TransportFailure(.connectRefused), now: .zero)
        }
        #expect(bench.pick(["version": "1.0"])?.reason == .lastResort)
        let fresh = Bench(byVersion).balancer
        // The third is alone in one of its subsets.
        #expect(
            fresh.hosts.map { fresh.hasAlternative(to: $0) } == [true, true, false, false, false])
        let alone = Bench(byVersion, [endpoint(1), endpoint(2, status: .unhealthy)]).balancer
        #expect(!alone.hasAlternative(to: alone.hosts[0]))
    }

    @Test("A subset comes back by the ramp of its cluster")
    func ramp() {
        let bench = Bench(
            byVersion, [endpoint(1, ["version": "1"]), endpoint(2, ["version": "1"], priority: 1)])
        #expect(bench.counts(["version": "1"]) == [1: 60])
        let first = bench.balancer.hosts[0]
        bench.balancer.suspect(first, TransportFailure(.connectRefused), now: .zero)
        #expect(bench.counts(["version": "1"]) == [2: 60])
        bench.balancer.succeeded(first)
        #expect(bench.counts(["version": "1"]) == [2: 60])
    }

    @Test("What a subset's survivors may not take goes to no fallback")
    func spill() {
        var rules = byVersion
        rules.fallback = .defaultSubset
        rules.defaultSubset = ["version": "1"]
        rules.panicsToAny = true
        var settings = Settings()
        settings.spill = SpillSettings(maxPerSecond: 1)
        let hosts = [
            endpoint(1, ["version": "1"], status: .unhealthy),
            endpoint(2, ["version": "1"], priority: 1, zone: "near"),
            endpoint(3, ["version": "2"], priority: 1, zone: "far"),
        ]
        let bench = Bench(rules, hosts, settings: settings)
        #expect(bench.counts([:]) == [2: 1])
        #expect(bench.reason([:]) == .spillLimited)
    }

    @Test("New endpoints make new subsets; the same route finds them")
    func updates() {
        let bench = Bench(byVersion)
        #expect(bench.counts(["version": "2"]) == [:])
        _ = bench.balancer.update(endpoints: fleet + [endpoint(6, ["version": "2"])])
        #expect(bench.counts(["version": "2"]) == [6: 60])
        _ = bench.balancer.update(endpoints: [endpoint(1, ["version": "2"])])
        #expect(bench.counts(["version": "2"]) == [1: 60])
        #expect(bench.reason(["version": "1.0"]) == .noSubset)
    }

    @Test("The list of fallbacks is tried in order, each over the route's other values")
    func fallbackList() {
        var rules = byVersion
        rules.readsFallbackList = true
        let bench = Bench(rules)
        func asked(_ changes: [String: MetadataValue]...) -> [String: MetadataValue] {
            [
                "version": "1.0",
                "fallback_list": .list(changes.map { .object($0) }),
            ]
        }
        #expect(bench.counts(asked(["version": "9"], ["stage": "prod"])) == [1: 30, 2: 30])
        #expect(bench.counts(asked(["version": "1.1"], ["stage": "prod"])) == [3: 30, 5: 30])
        #expect(bench.counts(asked()) == [1: 30, 2: 30])
        #expect(Bench(byVersion).reason(asked()) == .noSubset)
        // What is no change changes nothing.
        let odd: [String: MetadataValue] = ["version": "1.0", "fallback_list": .list(["x"])]
        #expect(bench.counts(odd) == [1: 30, 2: 30])
    }

    @Test("What routes came to that are gone is not kept")
    func forgets() {
        let table = SubsetTable(byVersion, [])
        weak var gone: SubsetCriteria?
        do {
            let criteria = SubsetCriteria(["version": "1.0"])
            gone = criteria
            _ = table.steps(for: criteria)
        }
        #expect(gone != nil)
        for number in 0..<1024 {
            _ = table.steps(for: SubsetCriteria(["version": .number(Double(number))]))
        }
        #expect(gone == nil)
    }

    @Test("An endpoint with a list is in the subset of each element, where lists match any")
    func lists() {
        let hosts = [
            endpoint(1, ["v": .list(["a", "b", "b"]), "w": .list(["x", "y"])]),
            endpoint(2, ["v": "b", "w": "x"]),
        ]
        var rules = LoadBalancing.Subsets(
            [.init(["v"]), .init(["v", "w"])], fallback: .defaultSubset, defaultSubset: ["v": "a"])
        #expect(Bench(rules, hosts).counts(["v": "b"]) == [2: 60])
        rules.listsMatchAny = true
        #expect(Bench(rules, hosts).counts(["v": "b"]) == [1: 30, 2: 30])
        #expect(Bench(rules, hosts).counts(["v": "a", "w": "y"]) == [1: 60])
        // The list as a whole is none of its elements.
        #expect(
            Bench(rules, hosts).pick(["v": .list(["a", "b", "b"])])?.decision
                == "subset-fallback=default")
        #expect(Bench(rules, hosts).counts([:]) == [1: 60])
    }

    @Test("A selector of single endpoints takes the best priority's first, whatever its health")
    func single() {
        let rules = LoadBalancing.Subsets([.init(["id"], isSingle: true)])
        let bench = Bench(
            rules,
            [
                endpoint(1, ["id": "a"], priority: 1), endpoint(2, ["id": "a"], status: .unhealthy),
                endpoint(3, ["id": "a"]), endpoint(4, ["id": "b"], priority: 1),
            ]
        ) { $0.panicThreshold = 0 }
        #expect(bench.counts(["id": "a"]) == [2: 60])
        #expect(bench.counts(["id": "b"]) == [4: 60])
        #expect(bench.balancer.subsetWords == ["id:a 1", "id:b 1", "left out as duplicates 2"])
    }

    @Test("More values than keys are let by where they may be: the first selector that fits counts")
    func moreKeys() {
        var rules = byVersion
        #expect(Bench(rules).reason(["x": "y", "version": "1.0"]) == .noSubset)
        rules.allowsMoreKeys = true
        #expect(Bench(rules).counts(["x": "y", "version": "1.0"]) == [1: 30, 2: 30])
        rules.selectors.reverse()
        #expect(
            Bench(rules).counts(["x": "y", "stage": "dev", "version": "1.1"]) == [5: 60])
        #expect(Bench(rules).counts(["stage": "dev", "version": "1.1"]) == [5: 60])
    }

    @Test(
        "Weights of localities: ignored, as given, or by the share of a locality that is in the subset",
        arguments: [
            (
                LoadBalancing.Subsets.LocalityWeights.ignored, [1: 75, 4: 75, 5: 75, 6: 75],
                [2: 100, 3: 100, 7: 100]
            ),
            // 1 and 2 to one and to three hosts, and to two and to one.
            (.given, [1: 100, 4: 66, 5: 67, 6: 67], [2: 50, 3: 50, 7: 200]),
            // 1 × 1 ÷ 3, which is rounded to 0: nothing goes there. 1 × 2 ÷ 3 and 2 × 1 ÷ 4 come to 1.
            (.scaled, [4: 100, 5: 100, 6: 100], [2: 75, 3: 75, 7: 150]),
        ])
    func localityWeights(
        mode: LoadBalancing.Subsets.LocalityWeights, first: [Int: Int], second: [Int: Int]
    ) {
        let hosts =
            [endpoint(1, ["v": "1"], zone: "a", localityWeight: 1)]
            + (2...3).map { endpoint($0, ["v": "2"], zone: "a", localityWeight: 1) }
            + (4...6).map { endpoint($0, ["v": "1"], zone: "b", localityWeight: 2) }
            + [endpoint(7, ["v": "2"], zone: "b", localityWeight: 2)]
        let rules = LoadBalancing.Subsets([.init(["v"])], localityWeights: mode)
        let bench = Bench(rules, hosts) { $0.localityMode = .weighted }
        for (value, expected) in [("1", first), ("2", second)] {
            let counts = bench.counts(["v": .string(value)], 300)
            #expect(Set(counts.keys) == Set(expected.keys))
            for (host, count) in expected { #expect(abs((counts[host] ?? 0) - count) <= 1) }
        }
    }

    @Test("Zones are the subset's: it must be large enough itself")
    func zones() {
        let hosts =
            (1...3).map { endpoint($0, ["v": "1"], zone: "a") }
            + (4...6).map { endpoint($0, ["v": "1"], zone: "b") }
            + (7...8).map { endpoint($0, ["v": "2"], zone: $0 == 7 ? "a" : "b") }
        let bench = Bench(LoadBalancing.Subsets([.init(["v"])]), hosts) {
            $0.localityMode = .zoneAware(.init())
        }
        bench.balancer.setLocalCluster(
            LocalCluster(
                zones: ["a", "b"].map {
                    ZoneCount(Locality(region: "r", zone: $0), hosts: 1, healthy: 1)
                }))
        #expect(bench.counts(["v": "1"]) == [1: 20, 2: 20, 3: 20])
        #expect(bench.pick(["v": "1"])?.decision == "subset=v:1 zone-own")
        #expect(bench.counts(["v": "2"]) == [7: 30, 8: 30])
        #expect(bench.pick(["v": "2"])?.decision == "subset=v:2")
    }

    @Test("A key finds its host inside the subset")
    func hashing() {
        let bench = Bench(byVersion) { $0.policy = .maglev(.init(tableSize: 251)) }
        let criteria = SubsetCriteria(["version": "1.1"])
        var owners: [UInt64: SocketAddress] = [:]
        for round in 0..<3 {
            for key in UInt64(0)..<40 {
                let result = bench.balancer.pick(
                    PickContext(now: .zero, key: key &* 0x9E37_79B9_7F4A_7C15, subset: criteria))
                guard case .host(let pick) = result else { continue }
                if round > 0 { #expect(owners[key] == pick.host.address) }
                owners[key] = pick.host.address
            }
        }
        #expect(Set(owners.values) == [address(3), address(5)])
    }
}
