public import MeshBase
internal import Synchronization

/// How one endpoint answered one worker, counted for outlier detection.
///
/// The worker that owns it writes, with plain stores; the control loop reads the same cells when something
/// failed. So an answer that is good costs a few stores and no message, and the good answers of
/// workers that saw no failure are known none the less.
///
/// Counts are kept for the interval that runs and the one before: an interval of number *k* has place
/// *k* mod 2, and is written over when *k* + 2 begins. Numbers follow from the clock, so all workers
/// and the control loop agree on them.
public final class OutlierTally: Sendable {
    public struct Counts: Equatable, Sendable {
        public var total = 0
        public var good = 0
        public var localTotal = 0
        public var localGood = 0

        public init(total: Int = 0, good: Int = 0, localTotal: Int = 0, localGood: Int = 0) {
            self.total = total
            self.good = good
            self.localTotal = localTotal
            self.localGood = localGood
        }
    }

    /// Failures of our own side are counted apart.
    public let splitsLocalOrigin: Bool
    private let interval: Int64
    private let goodEver = Atomic<UInt64>(0)
    private let places = InlineArray<2, Place> { _ in Place() }

    private struct Place: ~Copyable, Sendable {
        let number = Atomic<Int64>(-1)
        let total = Atomic<UInt64>(0)
        let good = Atomic<UInt64>(0)
        let localTotal = Atomic<UInt64>(0)
        let localGood = Atomic<UInt64>(0)
    }

    public init(interval: Duration, splitsLocalOrigin: Bool) {
        self.interval = max(1, interval.nanoseconds)
        self.splitsLocalOrigin = splitsLocalOrigin
    }

    // MARK: The owner

    /// An answer came, from the endpoint or, unless that is counted apart, made up for it.
    public func answered(good: Bool, now: Instant) {
        let index = place(now)
        OutlierTally.add(places[index].total)
        if good {
            OutlierTally.add(places[index].good)
            OutlierTally.add(goodEver)
        }
        if splitsLocalOrigin { reached(true, now: now) }
    }

    /// Our own side did its part, or failed at it.
    public func reached(_ good: Bool, now: Instant) {
        let index = place(now)
        OutlierTally.add(places[index].localTotal)
        if good { OutlierTally.add(places[index].localGood) }
    }

    /// A connection for bytes was made.
    public func connected(now: Instant) {
        if !splitsLocalOrigin {
            answered(good: true, now: now)
            return
        }
        reached(true, now: now)
        OutlierTally.add(goodEver)
    }

    private func place(_ now: Instant) -> Int {
        let number = now.nanoseconds / interval
        let index = Int(number & 1)
        if places[index].number.load(ordering: .relaxed) != number {
            places[index].total.store(0, ordering: .relaxed)
            places[index].good.store(0, ordering: .relaxed)
            places[index].localTotal.store(0, ordering: .relaxed)
            places[index].localGood.store(0, ordering: .relaxed)
            places[index].number.store(number, ordering: .releasing)
        }
        return index
    }

    private static func add(_ cell: borrowing Atomic<UInt64>) {
        cell.store(cell.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

    // MARK: Any thread

    /// All good answers so far: when it differs from before, runs of failures were broken.
    public var goodCount: UInt64 { goodEver.load(ordering: .relaxed) }

    /// The counts of the interval that ended last before or at `time`.
    public func counts(ofIntervalBefore time: Instant) -> Counts {
        let number = time.nanoseconds / interval - 1
        let index = Int(number & 1)
        guard number >= 0, places[index].number.load(ordering: .acquiring) == number else {
            return Counts()
        }
        func read(_ cell: borrowing Atomic<UInt64>) -> Int {
            Int(clamping: cell.load(ordering: .relaxed))
        }
        return Counts(
            total: read(places[index].total), good: read(places[index].good),
            localTotal: read(places[index].localTotal), localGood: read(places[index].localGood))
    }
}
