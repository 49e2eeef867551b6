import MeshBase
import MeshConfig
import Testing

@testable import LoadBalancer

/// A balancer in virtual time whose hosts take as long to answer as the test says.
private struct Bench {
    let balancer: Balancer
    var now = Instant.zero + .seconds(1000)

    init(_ rule: LoadBalancing.PeakEWMA, _ hosts: [(zone: String, weight: UInt32)], home: String) {
        var settings = Settings()
        settings.locality = Locality(region: "r", zone: home)
        balancer = Balancer(
            configuration: LoadBalancing(policy: .peakEWMA(rule)), paths: PathHealth(),
            settings: settings, random: SeededRandom(seed: 9))
        _ = balancer.update(
            endpoints: hosts.enumerated().map { number, host in
                let address = SocketAddress.ipv4(0x0A00_0000 + UInt32(number), port: 80)
                return ResolvedEndpoint(
                    endpoint: Endpoint(target: .address(address), weight: host.weight),
                    address: address, locality: Locality(region: "r", zone: host.zone))
            })
    }

    init(_ rule: LoadBalancing.PeakEWMA = .init(), hosts: Int) {
        self.init(rule, Array(repeating: ("z", 1), count: hosts), home: "z")
    }

    func pick() -> Pick? {
        guard case .host(let pick) = balancer.pick(PickContext(now: now)) else { return nil }
        return pick
    }

    /// Requests one after the other; what each host answers and how fast; how many each got.
    mutating func run(
        _ requests: Int, _ answer: (Int) -> (status: Int, milliseconds: Int)
    ) -> [Int] {
        var counts = Array(repeating: 0, count: balancer.hosts.count)
        for _ in 0..<requests {
            guard let pick = pick(),
                let index = balancer.hosts.firstIndex(where: { $0 === pick.host })
            else { continue }
            counts[index] += 1
            let (status, milliseconds) = answer(index)
            let took = Duration.milliseconds(milliseconds)
            now = now + took
            balancer.observed(pick.host, status: status, took: took, now: now)
            balancer.release(pick, .answered, now: now)
        }
        return counts
    }
}

@Suite struct PeakEWMAPolicyTests {
    @Test("A peak counts at once, what is lower by and by, and all of it fades")
    func latency() {
        var latency = PeakLatency()
        let decay = Duration.seconds(10)
        func value(_ seconds: Int) -> Int64 {
            let now = Instant.zero + .seconds(1_000_000 + seconds)
            return (latency.value(now: now, decayTime: decay).nanoseconds + 50_000) / 100_000
        }
        func record(_ milliseconds: Int, at seconds: Int) {
            latency.record(
                .milliseconds(milliseconds), now: .zero + .seconds(1_000_000 + seconds),
                decayTime: decay)
        }
        #expect(!latency.isKnown && value(0) == 0)
        record(10, at: 0)
        #expect(value(0) == 100)
        record(500, at: 0)
        #expect(value(0) == 5000)
        // Nothing has passed since the peak, so a fast answer says nothing against it.
        record(10, at: 0)
        #expect(value(0) == 5000)
        // 500 ms ÷ e, and ÷ e².
        #expect(value(10) == 1839 && value(20) == 677)
        // 500 ÷ e + 10 · (1 - 1 ÷ e).
        record(10, at: 10)
        #expect(value(10) == 1903)
        record(200, at: 10)
        #expect(value(10) == 2000)
    }

    @Test("A host that fails fast does not attract traffic")
    func failsFast() {
        var bench = Bench(hosts: 3)
        _ = bench.run(30) { _ in (200, 10) }
        let counts = bench.run(300) { $0 == 0 ? (503, 1) : (200, 10) }
        #expect(counts[0] <= 3 && counts[1] + counts[2] >= 297, "\(counts)")
        // Faster and well it gets what it can: every draw that it is in, which is two of three.
        bench.now = bench.now + .seconds(100)
        let well = bench.run(300) { $0 == 0 ? (200, 1) : (200, 10) }
        #expect((160...240).contains(well[0]), "\(well)")
    }

    @Test("A failure of the transport counts like a failed answer")
    func transportFailure() {
        var bench = Bench(hosts: 2)
        _ = bench.run(20) { _ in (200, 10) }
        guard let pick = bench.pick() else { return }
        bench.balancer.release(pick, .failed(TransportFailure(.reset)), now: bench.now)
        let failed = bench.balancer.hosts.firstIndex { $0 === pick.host } ?? 0
        let counts = bench.run(50) { _ in (200, 10) }
        #expect(counts[failed] == 0 && counts[1 - failed] == 50)
    }

    @Test("A slow host loses its traffic, and is asked again when its latency has faded")
    func slow() {
        var bench = Bench(hosts: 2)
        #expect(bench.run(100) { _ in (200, 10) }.min() ?? 0 > 20)
        let slow = bench.run(100) { $0 == 0 ? (200, 1000) : (200, 10) }
        #expect(slow[0] == 1, "\(slow)")
        // The other's 10 ms stay fresh, so 1 s must fade by a factor of 100: 46 s.
        let early = bench.run(4000) { _ in (200, 10) }
        #expect(early[0] == 0, "\(early)")
        let late = bench.run(4000) { _ in (200, 10) }
        #expect(late[0] > 1000, "\(late)")
    }

    @Test("Requests in flight count as much as latency")
    func inFlight() {
        var bench = Bench(hosts: 2)
        _ = bench.run(40) { $0 == 0 ? (200, 40) : (200, 10) }
        var held = [0, 0]
        for _ in 0..<50 {
            guard let pick = bench.pick() else { continue }
            held[pick.host === bench.balancer.hosts[0] ? 0 : 1] += 1
        }
        // 40 ms · 10 ~ 10 ms · 40; fading makes the ratio a little less than 1 : 4.
        #expect((9...14).contains(held[0]), "\(held)")
    }

    @Test("Of a new host one request at a time, until it has answered")
    func unknown() {
        var bench = Bench(hosts: 2)
        let first = bench.pick()
        let second = bench.pick()
        #expect(first?.host !== second?.host)
        guard let first, let second else { return }
        bench.now = bench.now + .milliseconds(20)
        bench.balancer.observed(first.host, status: 200, took: .milliseconds(20), now: bench.now)
        bench.balancer.release(first, .answered, now: bench.now)
        for _ in 0..<10 { #expect(bench.pick()?.host === first.host) }
        bench.balancer.release(second, .abandoned, now: bench.now)
        #expect(bench.pick()?.host === second.host)
    }

    @Test("A remote locality costs its price, and a weight divides")
    func prices() {
        let rule = LoadBalancing.PeakEWMA(prices: [
            .init(from: Locality(zone: "far"), factor: 1),
            .init(to: Locality(region: "r", zone: "far"), factor: 4),
        ])
        func share(remote milliseconds: Int, home: String = "near", weight: UInt32 = 1) -> Int {
            var bench = Bench(rule, [("near", 1), ("far", weight)], home: home)
            _ = bench.run(20) { $0 == 0 ? (200, 10) : (200, milliseconds) }
            return bench.run(100) { $0 == 0 ? (200, 10) : (200, milliseconds) }[1]
        }
        let far = Locality(region: "r", zone: "far")
        #expect(rule.price(from: far, to: far) == 1 && rule.price(from: Locality(), to: far) == 4)
        #expect(rule.price(from: Locality(), to: Locality(region: "r", zone: "near")) == 1)
        // As fast as the near one it is four times as dear; at a fifth of its latency it is worth it.
        #expect(share(remote: 10) == 0 && share(remote: 2) == 100)
        #expect(share(remote: 8, home: "far") == 100)
        #expect(share(remote: 10, weight: 8) == 100)
    }

    @Test("Under other policies nothing is measured")
    func off() {
        let bench = Bench(hosts: 2)
        #expect(bench.balancer.judgesAnswers)
        _ = bench.balancer.update(endpoints: [], configuration: LoadBalancing())
        #expect(!bench.balancer.judgesAnswers)
    }
}
