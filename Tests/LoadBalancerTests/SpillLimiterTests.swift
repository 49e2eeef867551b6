import LoadBalancer
import MeshBase
import MeshConfig
import Testing

@Suite struct SpillLimiterTests {
    /// Offers this many requests for each second, evenly, and counts who gets in.
    private func offer(
        _ meter: inout SpillMeter, _ perSecond: Int, seconds: Int, from start: Instant,
        isDisplaced: Bool, most: Int? = nil, growth: Int? = nil
    ) -> Int {
        (0..<perSecond * seconds).count { index in
            let now = start + .nanoseconds(Int64(index) * 1_000_000_000 / Int64(perSecond))
            return meter.admits(
                now: now, isDisplaced: isDisplaced, maxPerSecond: most, maxGrowthPercent: growth)
        }
    }

    @Test("While nothing is displaced all get in, and the usual rate is learnt")
    func learns() {
        var meter = SpillMeter(now: .zero)
        let admitted = offer(
            &meter, 50, seconds: 20, from: .zero, isDisplaced: false, most: 1, growth: 100)
        #expect(admitted == 1000)
        #expect(abs(meter.usual - 50) < 1)
    }

    @Test("A survivor takes its limit in no second more, and little less")
    func rate() {
        var meter = SpillMeter(now: .zero)
        for second in 0..<10 {
            let admitted = offer(
                &meter, 1000, seconds: 1, from: .zero + .seconds(second), isDisplaced: true,
                most: 200)
            #expect((188...200).contains(admitted))
        }
    }

    @Test("Growth is of what it took before, and frozen while the outage lasts")
    func growth() {
        var meter = SpillMeter(now: .zero)
        _ = offer(&meter, 100, seconds: 10, from: .zero, isDisplaced: false, growth: 150)
        let before = meter.usual
        let start = Instant.zero + .seconds(10)
        let admitted = offer(
            &meter, 1000, seconds: 10, from: start, isDisplaced: true, growth: 150)
        #expect((1400...1515).contains(admitted))
        #expect(meter.usual == before)
    }

    @Test("Who took nothing before is not limited by growth, and the lower limit counts")
    func both() {
        var fresh = SpillMeter(now: .zero)
        #expect(offer(&fresh, 100, seconds: 5, from: .zero, isDisplaced: true, growth: 100) == 500)
        var meter = SpillMeter(now: .zero)
        _ = offer(&meter, 100, seconds: 10, from: .zero, isDisplaced: false)
        let admitted = offer(
            &meter, 1000, seconds: 4, from: .zero + .seconds(10), isDisplaced: true, most: 50,
            growth: 200)
        #expect((185...200).contains(admitted))
    }

    @Test("An outage is no usual time, and one odd second is three tenths of what is usual")
    func smoothing() {
        var meter = SpillMeter(now: .zero)
        func offer(_ perSecond: Int, _ seconds: Range<Int>, isDisplaced: Bool) {
            _ = self.offer(
                &meter, perSecond, seconds: seconds.count,
                from: .zero + .seconds(seconds.lowerBound), isDisplaced: isDisplaced)
        }
        offer(100, 0..<10, isDisplaced: false)
        offer(1, 10..<20, isDisplaced: true)
        offer(100, 20..<25, isDisplaced: false)
        #expect(abs(meter.usual - 100) < 2)
        offer(200, 25..<26, isDisplaced: false)
        offer(1, 26..<27, isDisplaced: false)
        #expect(abs(meter.usual - 130) < 2)
    }

    @Test("Small limits let something by, and quiet times save nothing up for a burst")
    func bounds() {
        var small = SpillMeter(now: .zero)
        let few = offer(&small, 100, seconds: 10, from: .zero, isDisplaced: true, most: 5)
        #expect((35...50).contains(few))
        var one = SpillMeter(now: .zero)
        let least = offer(&one, 100, seconds: 10, from: .zero, isDisplaced: true, most: 1)
        #expect((4...10).contains(least))
        var burst = SpillMeter(now: .zero)
        for start in [Instant.zero, .zero + .seconds(60)] {
            let admitted = (0..<100).count { _ in
                burst.admits(
                    now: start, isDisplaced: true, maxPerSecond: 100, maxGrowthPercent: nil)
            }
            #expect(admitted == 5)
        }
    }

    // MARK: Among localities

    /// A cluster whose localities take ten requests a second each time that they are offered.
    private struct Cluster {
        let balancer: Balancer
        var now = Instant.zero + .seconds(100)

        init(_ settings: SpillSettings, _ localities: String) {
            var all = Settings()
            all.spill = settings
            balancer = Balancer(
                configuration: LoadBalancing(panicThreshold: 0), paths: PathHealth(),
                settings: all, random: SeededRandom(seed: 4))
            set(localities)
        }

        /// "0a:ok,bad 1b:ok": in priority 0 zone a with a host that is well and one that is not, and so on.
        func set(_ localities: String) {
            var number: UInt32 = 0
            let endpoints = localities.split(separator: " ").flatMap { locality in
                locality.dropFirst(3).split(separator: ",").map { health in
                    number += 1
                    let status: Endpoint.Status =
                        health == "ok" ? .healthy : health == "bad" ? .unhealthy : .degraded
                    let address = SocketAddress.ipv4(number, port: 80)
                    return ResolvedEndpoint(
                        endpoint: Endpoint(target: .address(address), status: status),
                        address: address, priority: Int(String(locality.prefix(1))) ?? 0,
                        locality: Locality(zone: String(locality.dropFirst().prefix(1))))
                }
            }
            _ = balancer.update(endpoints: endpoints, now: now)
        }

        /// How many of so many that come at once are given a host.
        func admitted(of count: Int) -> Int {
            (0..<count).count { _ in
                guard case .host(let pick) = balancer.pick(PickContext(now: now)) else {
                    return false
                }
                balancer.release(pick, .abandoned, now: now)
                return true
            }
        }

        mutating func learn() {
            for _ in 0..<20 {
                _ = admitted(of: 20)
                now = now + .seconds(1)
            }
        }
    }

    @Test(
        "Traffic is displaced while a locality is out, or a priority has lost load to a worse one",
        arguments: [
            ("0a:ok 0b:ok,ok,ok,ok", true), ("0a:degraded 0b:ok,ok,ok,ok", true),
            ("0b:ok,ok,ok,ok", true), ("0a:ok,bad 0b:ok,ok,ok,ok", true),
            ("0a:bad 0b:ok,ok,ok,ok", false), ("0a:ok,bad,bad 0b:ok 1c:ok", false),
            ("0a:ok,degraded,degraded 0b:ok", true),
        ])
    func displaced(now: String, isWhole: Bool) {
        var cluster = Cluster(SpillSettings(maxGrowthPercent: 100), "0a:ok 0b:ok,ok,ok,ok")
        cluster.learn()
        cluster.set(now)
        #expect((cluster.admitted(of: 200) == 200) == isWhole)
    }

    @Test("Only what takes over for a better priority has a limit by requests")
    func takesOver() {
        let most = SpillSettings(maxPerSecond: 100)
        #expect(Cluster(most, "0a:ok 1b:ok").admitted(of: 200) == 200)
        #expect(Cluster(most, "0a:bad 1b:ok").admitted(of: 200) == 5)
        #expect(Cluster(most, "0a:bad 0b:ok,ok,ok,ok").admitted(of: 200) == 200)
        // The best priority that there is need not be the first.
        #expect(Cluster(most, "1a:ok 2b:ok").admitted(of: 200) == 200)
        #expect(Cluster(most, "1a:bad 1b:ok,ok,ok,ok 2c:ok").admitted(of: 200) == 200)
    }

    @Test("What a locality took in another priority is not what it usually takes in this one")
    func apart() {
        var cluster = Cluster(SpillSettings(maxGrowthPercent: 100), "0a:ok 1a:ok")
        cluster.learn()
        cluster.set("0a:bad 1a:ok")
        #expect(cluster.admitted(of: 200) == 200)
    }
}
