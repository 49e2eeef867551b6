import LoadBalancer
import MeshBase
import Testing

@Suite struct OutlierTallyTests {
    private func at(_ milliseconds: Int) -> Instant { .zero + .milliseconds(milliseconds) }

    @Test("An interval's counts can be read until the one after the next begins")
    func intervals() {
        let tally = OutlierTally(interval: .seconds(1), splitsLocalOrigin: false)
        tally.answered(good: true, now: at(100))
        tally.answered(good: false, now: at(999))
        tally.answered(good: true, now: at(1000))
        let first = OutlierTally.Counts(total: 2, good: 1)
        #expect(tally.counts(ofIntervalBefore: at(1000)) == first)
        #expect(tally.counts(ofIntervalBefore: at(1900)) == first)
        #expect(tally.counts(ofIntervalBefore: at(2000)) == .init(total: 1, good: 1))
        tally.answered(good: true, now: at(2000))
        #expect(tally.counts(ofIntervalBefore: at(1000)) == .init())
        #expect(tally.counts(ofIntervalBefore: at(500)) == .init())
        #expect(tally.goodCount == 3)
    }

    @Test("Where it is split off our own side is counted apart, and a connection is no answer")
    func split() {
        let tally = OutlierTally(interval: .seconds(1), splitsLocalOrigin: true)
        tally.answered(good: false, now: at(1))
        tally.reached(false, now: at(1))
        tally.connected(now: at(1))
        #expect(
            tally.counts(ofIntervalBefore: at(1000))
                == .init(total: 1, good: 0, localTotal: 3, localGood: 2))
        #expect(tally.goodCount == 1)
    }
}
