import LoadBalancer
import MeshBase
import MeshConfig
import Testing

private func address(_ number: Int) -> SocketAddress {
    .ipv4(0x0A00_0000 + UInt32(number), port: 80)
}

private func endpoint(
    _ number: Int, priority: Int = 0, weight: UInt32 = 1, zone: String = "z", region: String = "r",
    localityWeight: UInt32? = nil, gateway: SocketAddress? = nil,
    status: Endpoint.Status = .unknown
) -> ResolvedEndpoint {
    ResolvedEndpoint(
        endpoint: Endpoint(target: .address(address(number)), weight: weight, status: status),
        address: address(number), gateway: gateway, priority: priority,
        locality: Locality(region: region, zone: zone), localityWeight: localityWeight)
}

/// A balancer with virtual time.
private struct Bench {
    let balancer: Balancer
    let paths: PathHealth
    var now = Instant.zero

    init(
        _ endpoints: [ResolvedEndpoint], _ configuration: LoadBalancing = LoadBalancing(),
        paths: PathHealth = PathHealth(), settings: Settings = Settings()
    ) {
        self.paths = paths
        balancer = Balancer(
            configuration: configuration, paths: paths, settings: settings,
            random: SeededRandom(seed: 7))
        _ = balancer.update(endpoints: endpoints)
    }

    func pick(attempted: [Host] = []) -> Pick? {
        defer { balancer.checkInvariants() }
        guard
            case .host(let pick) = balancer.pick(PickContext(now: now, attempted: attempted))
        else { return nil }
        return pick
    }

    func reason() -> NoHost? {
        if case .none(let reason) = balancer.pick(PickContext(now: now)) { reason } else { nil }
    }

    /// How often each host is picked; each pick is answered at once.
    func counts(_ picks: Int) -> [SocketAddress: Int] {
        var counts: [SocketAddress: Int] = [:]
        for _ in 0..<picks {
            guard let pick = pick() else { continue }
            counts[pick.host.address, default: 0] += 1
            balancer.release(pick, .abandoned, now: now)
        }
        return counts
    }

    func fail(_ pick: Pick?, _ kind: TransportFailure.Kind) {
        guard let pick else { return }
        balancer.release(pick, .failed(TransportFailure(kind)), now: now)
        balancer.checkInvariants()
    }

    func refuse(_ numbers: Int...) {
        for host in balancer.hosts where numbers.contains(where: { address($0) == host.address }) {
            balancer.suspect(host, TransportFailure(.connectRefused), now: now)
        }
    }
}

@Suite struct BalancerTests {
    @Test("Weighted round robin is exact in every run as long as the sum of weights")
    func weightedRoundRobin() {
        let bench = Bench([
            endpoint(1, weight: 5), endpoint(2, weight: 3), endpoint(3, weight: 2),
        ])
        for _ in 0..<50 {
            #expect(bench.counts(10) == [address(1): 5, address(2): 3, address(3): 2])
        }
    }

    @Test("Round robin among equals visits each once before any twice")
    func roundRobin() {
        let bench = Bench((1...7).map { endpoint($0) })
        #expect(bench.counts(70).values.allSatisfy { $0 == 10 })
    }

    @Test(
        "Weighted policies keep to their shares",
        arguments: [LoadBalancing.Policy.random, .leastRequest(choices: 2), .roundRobin])
    func shares(policy: LoadBalancing.Policy) {
        let bench = Bench(
            [endpoint(1, weight: 1), endpoint(2, weight: 3)], LoadBalancing(policy: policy))
        let counts = bench.counts(8000)
        #expect(abs(counts[address(2), default: 0] - 6000) < 160)
    }

    @Test("Least request prefers the idle of two")
    func leastRequest() {
        let bench = Bench(
            [endpoint(1), endpoint(2)], LoadBalancing(policy: .leastRequest(choices: 8)))
        var held: [Host] = []
        for _ in 0..<200 {
            if let pick = bench.pick() { held.append(pick.host) }
        }
        let first = held.count { $0.address == address(1) }
        #expect(abs(first - 100) <= 4)
    }

    @Test("Half a healthy priority keeps seventy percent")
    func spill() {
        let bench = Bench(
            [endpoint(1), endpoint(2, status: .unhealthy)] + [endpoint(3, priority: 1)])
        let counts = bench.counts(10000)
        #expect(abs(counts[address(1), default: 0] - 7000) < 230)
        #expect(counts[address(2)] == nil)
    }

    @Test("A priority's health goes by weights where the endpoints say so")
    func weighedHealth() {
        let endpoints = [
            endpoint(1, weight: 9, status: .unhealthy), endpoint(2), endpoint(3, priority: 1),
        ]
        let bench = Bench(endpoints)
        #expect(bench.pick() != nil && bench.balancer.load.healthyLoad == [70, 30])
        _ = bench.balancer.update(endpoints: endpoints, weighsPriorityHealth: true)
        #expect(bench.pick() != nil && bench.balancer.load.healthyLoad == [14, 86])
    }

    @Test("Localities share by effective weight")
    func localities() {
        let bench = Bench(
            [
                endpoint(1, zone: "x", localityWeight: 1),
                endpoint(2, zone: "x", localityWeight: 1, status: .unhealthy),
                endpoint(3, zone: "y", localityWeight: 2),
                endpoint(4, zone: "y", localityWeight: 2),
            ], LoadBalancing(localityMode: .weighted))
        let counts = bench.counts(2700)
        #expect(abs(counts[address(1), default: 0] - 700) <= 1)
    }

    @Test("A strict balancer leaves a locality its weight while one host of it lives")
    func strictLocalities() {
        var settings = Settings()
        settings.failoverMode = .strict
        let bench = Bench(
            [
                endpoint(1, zone: "x", localityWeight: 1),
                endpoint(2, zone: "x", localityWeight: 1, status: .unhealthy),
                endpoint(3, zone: "y", localityWeight: 1),
            ], LoadBalancing(localityMode: .weighted), settings: settings)
        #expect(abs(bench.counts(1000)[address(1), default: 0] - 500) <= 1)
    }

    @Test("Balancers do not all begin with the same locality")
    func phases() {
        let first = (UInt64(0)..<20).map { seed in
            let balancer = Balancer(
                configuration: LoadBalancing(localityMode: .weighted), paths: PathHealth(),
                random: SeededRandom(seed: seed))
            _ = balancer.update(
                endpoints: [1, 2].map { endpoint($0, zone: "\($0)", localityWeight: 1) })
            guard case .host(let pick) = balancer.pick(PickContext(now: .zero)) else { return "" }
            return pick.host.locality.zone
        }
        #expect(Set(first) == ["1", "2"])
    }

    @Test("Who is excluded is reckoned neither with its priority nor with its locality")
    func excluded() {
        let endpoints =
            (1...4).map { endpoint($0, zone: "x", localityWeight: 1) }
            + [endpoint(5, zone: "y", localityWeight: 1), endpoint(6, priority: 1)]
        let bench = Bench(endpoints, LoadBalancing(localityMode: .weighted))
        for weighs in [false, true] {
            _ = bench.balancer.update(endpoints: endpoints, weighsPriorityHealth: weighs)
            bench.balancer.setVerdicts([2, 3, 4].map { (address($0), .excluded) })
            let counts = bench.counts(1000)
            #expect(bench.balancer.load.healthyLoad == [100, 0])
            #expect(abs(counts[address(1), default: 0] - 500) <= 1)
            bench.balancer.setVerdicts([2, 3, 4].map { (address($0), .failedProbe) })
            #expect(bench.pick() != nil && bench.balancer.load.healthyLoad == [56, 44])
        }
    }

    @Test("When all local hosts refuse, all load goes remote at once")
    func allRefused() {
        let bench = Bench([endpoint(1), endpoint(2), endpoint(3, priority: 1)])
        bench.refuse(1, 2)
        #expect(bench.counts(100) == [address(3): 100])
    }

    @Test("A suspect is tried by one request after its hold, and a success restores it")
    func halfOpen() {
        var bench = Bench([endpoint(1), endpoint(2)])
        bench.refuse(1)
        bench.now = .zero + .milliseconds(999)
        #expect(bench.counts(10) == [address(2): 10])
        bench.now = .zero + .seconds(1)
        let trial = bench.pick()
        #expect(trial?.reason == .trial && trial?.host.address == address(1))
        #expect(bench.counts(10) == [address(2): 10])
        if let trial { bench.balancer.release(trial, .answered, now: bench.now) }
        #expect(bench.counts(10) == [address(1): 5, address(2): 5])
    }

    @Test("Of several suspects each is tried when its own hold is over")
    func holds() {
        var bench = Bench([endpoint(1), endpoint(2), endpoint(3)])
        for number in [1, 2] {
            bench.refuse(number)
            bench.now = bench.now + .milliseconds(400)
        }
        #expect(bench.counts(10) == [address(3): 10])
        for (number, milliseconds) in [(1, 1000), (2, 1400)] {
            bench.now = .zero + .milliseconds(milliseconds)
            let trial = bench.pick()
            #expect(trial?.reason == .trial && trial?.host.address == address(number))
            #expect(bench.pick()?.host.address == address(3))
        }
    }

    @Test("A failed trial doubles the hold, up to thirty seconds")
    func holdDoubles() {
        var bench = Bench([endpoint(1), endpoint(2)])
        bench.refuse(1)
        var holds: [Int64] = []
        for _ in 0..<7 {
            let until = bench.paths.path(to: address(1)).suspicion.until
            holds.append((until - bench.now).milliseconds / 1000)
            bench.now = until
            let trial = bench.pick()
            #expect(trial?.reason == .trial)
            bench.fail(trial, .connectRefused)
        }
        #expect(holds == [1, 2, 4, 8, 16, 30, 30])
    }

    @Test("An abandoned trial leaves room for the next")
    func abandonedTrial() {
        var bench = Bench([endpoint(1), endpoint(2)])
        bench.refuse(1)
        bench.now = .zero + .seconds(1)
        if let trial = bench.pick() { bench.balancer.release(trial, .abandoned, now: bench.now) }
        #expect(bench.pick()?.reason == .trial)
    }

    @Test("It takes three resets in a row to suspect, and an answer between them starts anew")
    func resets() {
        let bench = Bench([endpoint(1)])
        for _ in 0..<2 { bench.fail(bench.pick(), .reset) }
        if let pick = bench.pick() { bench.balancer.release(pick, .answered, now: bench.now) }
        for _ in 0..<2 { bench.fail(bench.pick(), .reset) }
        #expect(bench.pick()?.reason == .healthy)
        bench.fail(bench.pick(), .reset)
        #expect(bench.pick()?.reason == .lastResort)
    }

    @Test("Suspects alone are the last resort, the one whose hold ends first")
    func lastResort() {
        var bench = Bench([endpoint(1), endpoint(2)])
        bench.refuse(1)
        bench.now = .zero + .milliseconds(10)
        bench.refuse(2)
        let first = bench.pick()
        #expect(first?.reason == .lastResort && first?.host.address == address(1))
        bench.fail(first, .connectRefused)
        #expect(bench.pick()?.host.address == address(2))
    }

    @Test("A dead gateway takes all clusters behind it away in one event")
    func gateway() {
        let paths = PathHealth()
        let gateway = address(99)
        let one = Bench([endpoint(1, gateway: gateway), endpoint(2)], paths: paths)
        let two = Bench([endpoint(3, gateway: gateway), endpoint(4)], paths: paths)
        #expect(two.counts(10)[address(3)] == 5)
        let behind = one.balancer.hosts[0]
        one.balancer.suspect(
            behind, TransportFailure(.connectTimeout, layer: .path), now: .zero)
        #expect(one.counts(10) == [address(2): 10] && two.counts(10) == [address(4): 10])
    }

    @Test("An endpoint's own failure behind a gateway leaves the gateway alone")
    func innerFailure() {
        let gateway = address(99)
        let bench = Bench([endpoint(1, gateway: gateway), endpoint(2, gateway: gateway)])
        bench.balancer.suspect(
            bench.balancer.hosts[0], TransportFailure(.tunnelRefused), now: .zero)
        #expect(bench.counts(10) == [address(2): 10])
    }

    @Test("A retry leaves the region that failed, though it lies in a lower priority")
    func retryElsewhere() throws {
        let bench = Bench([
            endpoint(1), endpoint(2), endpoint(3, priority: 1, region: "other"),
        ])
        let tried = try #require(bench.pick())
        #expect(bench.pick(attempted: [tried.host])?.host.address == address(3))
        let remote = try #require(bench.balancer.hosts.last)
        let second = try #require(bench.pick(attempted: [tried.host, remote]))
        #expect(second.host !== tried.host && second.host !== remote)
    }

    @Test("A failure domain can be left while a healthy host lies in another zone or region")
    func leaveDomain() {
        let bench = Bench([
            endpoint(1), endpoint(2), endpoint(3, zone: "other"), endpoint(4, region: "other"),
        ])
        let hosts = bench.balancer.hosts
        #expect(bench.balancer.canLeaveDomain(of: [hosts[0]]))
        #expect(bench.balancer.canLeaveDomain(of: [hosts[0], hosts[2]]))
        #expect(!bench.balancer.canLeaveDomain(of: [hosts[0], hosts[2], hosts[3]]))
        bench.balancer.setVerdicts([
            (address(3), .ejected(until: .distantFuture, .outlier("5xx"))),
            (address(4), .ejected(until: .distantFuture, .outlier("5xx"))),
        ])
        #expect(!bench.balancer.canLeaveDomain(of: [hosts[0]]))
    }

    @Test("Why there is no host is said")
    func noHost() {
        #expect(Bench([]).reason() == .noEndpoints)
        #expect(Bench([endpoint(1, status: .draining)]).reason() == .allDraining)
        let off = LoadBalancing(panicThreshold: 0)
        #expect(Bench([endpoint(1, status: .unhealthy)], off).reason() == .allUnhealthy)
        let ejected = Bench([endpoint(1)], off)
        ejected.balancer.setVerdicts([
            (address(1), .ejected(until: .distantFuture, .outlier("5xx")))
        ])
        #expect(ejected.reason() == .allEjected)
    }

    @Test("Panic uses what outlier detection ejected, but not suspects")
    func panic() {
        let bench = Bench([endpoint(1), endpoint(2), endpoint(3)])
        bench.balancer.setVerdicts(
            [1, 2].map { (address($0), .ejected(until: .distantFuture, .outlier("5xx"))) })
        #expect(bench.pick()?.reason == .panic)
        bench.refuse(1)
        #expect(Set(bench.counts(30).keys) == [address(2), address(3)])
        let draining = Bench([
            endpoint(1, status: .unhealthy), endpoint(2, status: .draining),
            endpoint(3, status: .unhealthy),
        ])
        #expect(Set(draining.counts(30).keys) == [address(1), address(3)])
    }

    /// We are in zone a with 4 of 10; the service has 5, 10 and 5 hosts in a, b and c.
    private func zoned(
        _ rule: LoadBalancing.ZoneAware = .init(), unhealthy: Set<Int> = [],
        and more: [ResolvedEndpoint] = []
    ) -> Bench {
        var settings = Settings()
        settings.locality = Locality(region: "r", zone: "a")
        let bench = Bench(
            (1...20).map {
                endpoint(
                    $0, zone: $0 <= 5 ? "a" : $0 <= 15 ? "b" : "c",
                    status: unhealthy.contains($0) ? .unhealthy : .unknown)
            } + more, LoadBalancing(localityMode: .zoneAware(rule)), settings: settings)
        bench.balancer.setLocalCluster(
            LocalCluster(
                zones: [("a", 4), ("b", 4), ("c", 2)].map {
                    ZoneCount(Locality(region: "r", zone: $0.0), hosts: $0.1, healthy: $0.1)
                }))
        return bench
    }

    @Test("Zone-aware: what our zone has no endpoints for goes where there is room, and is named")
    func zones() throws {
        let bench = zoned()
        let counts = bench.counts(20_000)
        func sum(_ numbers: ClosedRange<Int>) -> Int {
            numbers.reduce(0) { $0 + counts[address($1), default: 0] }
        }
        // 62.5, 25 and 12.5 percent; five standard deviations.
        #expect(abs(sum(1...5) - 12_500) < 345)
        #expect(abs(sum(6...15) - 5000) < 310)
        #expect(abs(sum(16...20) - 2500) < 235)
        // Inside a zone the policy is the same.
        #expect((counts[address(1)] ?? 0) - (counts[address(5)] ?? 0) <= 1)
        for _ in 0..<50 {
            let pick = try #require(bench.pick())
            #expect(pick.decision == (pick.host.locality.zone == "a" ? "zone-own" : "zone-other"))
        }
        #expect(
            bench.balancer.zoneWords(now: bench.now) == "r/a 62.50 %, r/b 25.00 %, r/c 12.50 %")
        bench.balancer.setLocalCluster(nil)
        #expect(bench.pick()?.decision == nil)
        #expect(bench.counts(200).values.allSatisfy { $0 == 10 })
        #expect(bench.balancer.zoneWords(now: bench.now) == "flat (no local cluster)")
    }

    /// We are in zone c, which is the last by name, with half of the members; all have two endpoints,
    /// and b has four.
    @Test("Of all zones ours has the first say, and only what is healthy counts, or its weight")
    func ownZone() {
        var settings = Settings()
        settings.locality = Locality(region: "r", zone: "c")
        func bench(_ rule: LoadBalancing.ZoneAware) -> Bench {
            let zones = ["a", "a", "b", "b", "b", "b", "c", "c"]
            let bench = Bench(
                zones.enumerated().map { endpoint($0, weight: $1 == "b" ? 3 : 1, zone: $1) }
                    + [endpoint(8, zone: "a", status: .degraded)],
                LoadBalancing(localityMode: .zoneAware(rule)), settings: settings)
            bench.balancer.setLocalCluster(
                LocalCluster(
                    zones: [("c", 2), ("a", 1), ("b", 1)].map {
                        ZoneCount(Locality(region: "r", zone: $0.0), hosts: $0.1, healthy: $0.1)
                    }))
            return bench
        }
        let even = bench(.init())
        #expect(even.balancer.zoneWords(now: .zero) == "r/c 50.00 %, r/a 0.00 %, r/b 50.00 %")
        for _ in 0..<50 {
            let pick = even.pick()
            let isOwn = pick?.host.locality.zone == "c"
            #expect(pick?.zone == (isOwn ? ZoneRouting.Choice.own : .other))
        }
        #expect(
            bench(.init(countsWeights: true)).balancer.zoneWords(now: .zero)
                == "r/c 25.00 %, r/a 0.00 %, r/b 75.00 %")
    }

    @Test("A zone without an endpoint that is degraded leaves such requests to all of those")
    func zonesOfDegraded() {
        var settings = Settings()
        settings.locality = Locality(region: "r", zone: "a")
        let statuses: [Endpoint.Status] = [
            .healthy, .healthy, .degraded, .degraded, .healthy, .healthy, .healthy, .healthy,
            .unhealthy, .unhealthy,
        ]
        let bench = Bench(
            statuses.enumerated().map {
                endpoint($0, zone: $0 < 4 ? "a" : "b", status: $1)
            }, LoadBalancing(localityMode: .zoneAware(.init())), settings: settings)
        bench.balancer.setLocalCluster(
            LocalCluster(
                zones: ["a", "b"].map {
                    ZoneCount(Locality(region: "r", zone: $0), hosts: 1, healthy: 1)
                }))
        let degraded = (0..<500).compactMap { _ in bench.pick() }
            .filter { $0.reason == .degraded }
        #expect(Set(degraded.map(\.decision)) == ["zone-own", "zone-any"])
    }

    @Test("Of our own cluster priority 0 counts, as discovery and verdicts have it")
    func localCluster() {
        let bench = Bench([
            endpoint(1, zone: "b"), endpoint(2, zone: "a"),
            endpoint(3, zone: "a", status: .degraded), endpoint(4, zone: "a", status: .unhealthy),
            endpoint(5, priority: 1, zone: "d"),
        ])
        bench.refuse(2)
        let own = Locality(region: "r", zone: "b")
        let expected = LocalCluster(
            zones: [
                ZoneCount(own, hosts: 1, healthy: 1),
                ZoneCount(Locality(region: "r", zone: "a"), hosts: 3, healthy: 1),
            ], available: 75)
        #expect(LocalCluster(members: bench.balancer.hosts, own: own) == expected)
    }

    @Test("Zones are for priority 0: what spills goes to priority 1 as if there were none")
    func zonesAndPriorities() throws {
        let bench = zoned(
            unhealthy: Set(1...20).subtracting([1, 2, 6, 7, 8, 9, 10, 11, 16, 17]),
            and: (21...26).map { endpoint($0, priority: 1, zone: $0 < 24 ? "a" : "b") })
        #expect(bench.balancer.zoneWords(now: bench.now) == "r/a 50.00 %, r/b 50.00 %, r/c 0.00 %")
        #expect(bench.balancer.load.healthyLoad == [70, 30])
        var remote = 0
        for _ in 0..<3000 {
            let pick = try #require(bench.pick())
            if pick.host.priority == 1 {
                remote += 1
                #expect(pick.decision == nil)
            } else {
                #expect(pick.host.locality.zone != "c" && pick.zone != nil)
            }
            bench.balancer.release(pick, .abandoned, now: bench.now)
        }
        #expect(abs(remote - 900) < 126)
        let counts = bench.counts(3000)
        let ends = (21...26).map { counts[address($0), default: 0] }
        #expect((ends.max() ?? 0) - (ends.min() ?? 0) <= 1)
    }

    @Test("Where panic is to fail traffic no unhealthy host gets any; a suspect may still be tried")
    func failsOnPanic() {
        let rule = LoadBalancing.ZoneAware(failsOnPanic: true)
        let bench = zoned(rule, unhealthy: Set(2...20))
        #expect(bench.reason() == .failsOnPanic)
        #expect(zoned(unhealthy: Set(2...20)).pick()?.reason == .panic)
        bench.refuse(1)
        #expect(bench.pick()?.reason == .lastResort)

        let well = zoned(rule)
        #expect(well.pick()?.reason == .healthy)
        well.balancer.setLocalCluster(
            LocalCluster(
                zones: ["a", "b"].map {
                    ZoneCount(Locality(region: "r", zone: $0), hosts: 5, healthy: 2)
                }, available: 40))
        #expect(well.reason() == .failsOnPanic)
    }

    @Test("A host keeps its identity and its pool when endpoints are updated")
    func identity() {
        final class Pool {}
        let bench = Bench([endpoint(1), endpoint(2)])
        let pool = Pool()
        let host = bench.balancer.hosts[0]
        host.attachment = pool
        let update = bench.balancer.update(endpoints: [endpoint(3), endpoint(1, weight: 9)])
        #expect(update.added.map(\.address) == [address(3)])
        #expect(update.removed.map(\.address) == [address(2)])
        #expect(bench.balancer.hosts[1] === host && host.attachment === pool && host.weight == 9)
    }
}
