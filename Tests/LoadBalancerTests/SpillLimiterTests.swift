import LoadBalancer
import MeshBase
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
}
