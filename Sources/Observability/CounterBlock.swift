public import Synchronization

/// Counters and gauges of one subject in one worker.
///
/// Only the worker that owns a block writes to it, so a relaxed load and store is enough and costs
/// a quarter of an atomic addition; the control loop reads the same cells when it is scraped and
/// may see one metric a moment older than another. The cells lie in the object itself, so an
/// increment is a load and a store at a fixed offset. What was ever written counts as used
/// (`usedonly`): a value above zero says so itself, and for zeros there is a mask.
/// A histogram is a block of its own, since it needs a cell for each bucket.
public final class CounterBlock<Metric: MetricKind>: Sendable {
    @usableFromInline let cells = InlineArray<48, Atomic<UInt64>> { _ in Atomic(0) }
    @usableFromInline let writtenZero = Atomic<UInt64>(0)

    public init() {
        precondition(Metric.allCases.count <= cells.count)
    }

    /// Owner only.
    @inlinable public func add(_ metric: Metric, _ amount: UInt64 = 1) {
        let index = metric.rawValue
        cells[index].store(
            cells[index].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Owner only; stops at zero.
    @inlinable public func subtract(_ metric: Metric, _ amount: UInt64 = 1) {
        let old = value(metric)
        set(metric, old > amount ? old - amount : 0)
    }

    /// Owner only.
    @inlinable public func set(_ metric: Metric, _ value: UInt64) {
        let index = metric.rawValue
        cells[index].store(value, ordering: .relaxed)
        if value != 0 { return }
        let mask = writtenZero.load(ordering: .relaxed)
        writtenZero.store(mask | 1 << UInt64(index), ordering: .relaxed)
    }

    /// Any thread.
    @inlinable public func value(_ metric: Metric) -> UInt64 {
        cells[metric.rawValue].load(ordering: .relaxed)
    }

    /// Any thread: whether the metric was ever written, zero included.
    public func isUsed(_ metric: Metric) -> Bool {
        value(metric) != 0
            || writtenZero.load(ordering: .relaxed) >> UInt64(metric.rawValue) & 1 == 1
    }
}

/// Counts durations in Envoy's default buckets, for one subject in one worker; same rules of
/// ownership as `CounterBlock`.
public final class HistogramBlock: Sendable {
    /// Upper bounds in microseconds: 0.5 ms to an hour.
    public static let boundsMicroseconds: [UInt64] = [
        500, 1000, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 600_000_000, 1_800_000_000,
        3_600_000_000,
    ]
    /// A bucket for each bound, one beyond them, and the sum.
    private let cells = InlineArray<21, Atomic<UInt64>> { _ in Atomic(0) }

    public init() {
        precondition(cells.count == HistogramBlock.boundsMicroseconds.count + 2)
    }

    /// Owner only.
    public func record(microseconds: UInt64) {
        let bounds = HistogramBlock.boundsMicroseconds
        var index = 0
        while index < bounds.count && microseconds > bounds[index] { index += 1 }
        add(index, 1)
        add(bounds.count + 1, microseconds)
    }

    private func add(_ index: Int, _ amount: UInt64) {
        cells[index].store(
            cells[index].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Any thread: counts of each bucket (not cumulative; the last is beyond all bounds).
    public var counts: [UInt64] {
        (0...HistogramBlock.boundsMicroseconds.count).map { cells[$0].load(ordering: .relaxed) }
    }

    /// Any thread.
    public var sumMicroseconds: UInt64 {
        cells[HistogramBlock.boundsMicroseconds.count + 1].load(ordering: .relaxed)
    }
}
