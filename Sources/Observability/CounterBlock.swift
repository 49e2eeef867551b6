import Synchronization

/// Counters and gauges of one subject in one worker.
///
/// Only the worker that owns a block writes to it, so a relaxed load and store is enough and costs
/// a quarter of an atomic addition; the control loop reads the same cells when it is scraped and
/// may see one metric a moment older than another. The storage is one atomic array that never
/// moves: two cells for each metric, the value and whether it was ever written (`usedonly`).
/// A histogram is a block of its own, since it needs a cell for each bucket.
public final class CounterBlock<Metric: MetricKind>: Sendable {
    private let cells: AtomicCells

    public init() {
        cells = AtomicCells(count: Metric.allCases.count * 2)
    }

    /// Owner only.
    @inlinable public func add(_ metric: Metric, _ amount: UInt64 = 1) {
        set(metric, value(metric) &+ amount)
    }

    /// Owner only; stops at zero.
    @inlinable public func subtract(_ metric: Metric, _ amount: UInt64 = 1) {
        let old = value(metric)
        set(metric, old > amount ? old - amount : 0)
    }

    /// Owner only.
    public func set(_ metric: Metric, _ value: UInt64) {
        cells.store(metric.rawValue * 2, value)
        cells.store(metric.rawValue * 2 + 1, 1)
    }

    /// Any thread.
    public func value(_ metric: Metric) -> UInt64 { cells.load(metric.rawValue * 2) }

    /// Any thread: whether the metric was ever written, zero included.
    public func isUsed(_ metric: Metric) -> Bool { cells.load(metric.rawValue * 2 + 1) != 0 }
}

/// A fixed number of atomic cells, eight to a chunk. A chunk is not aligned to a cache line, so
/// at its edges it may share one with a neighbour of another worker.
final class AtomicCells: Sendable {
    private struct Line: ~Copyable, Sendable {
        let a = Atomic<UInt64>(0)
        let b = Atomic<UInt64>(0)
        let c = Atomic<UInt64>(0)
        let d = Atomic<UInt64>(0)
        let e = Atomic<UInt64>(0)
        let f = Atomic<UInt64>(0)
        let g = Atomic<UInt64>(0)
        let h = Atomic<UInt64>(0)
    }

    private final class Chunk: Sendable {
        let line = Line()
    }

    private let chunks: [Chunk]

    init(count: Int) {
        chunks = (0..<(count + 7) / 8).map { _ in Chunk() }
    }

    func load(_ index: Int) -> UInt64 {
        let chunk = chunks[index >> 3]
        return switch index & 7 {
        case 0: chunk.line.a.load(ordering: .relaxed)
        case 1: chunk.line.b.load(ordering: .relaxed)
        case 2: chunk.line.c.load(ordering: .relaxed)
        case 3: chunk.line.d.load(ordering: .relaxed)
        case 4: chunk.line.e.load(ordering: .relaxed)
        case 5: chunk.line.f.load(ordering: .relaxed)
        case 6: chunk.line.g.load(ordering: .relaxed)
        default: chunk.line.h.load(ordering: .relaxed)
        }
    }

    func store(_ index: Int, _ value: UInt64) {
        let chunk = chunks[index >> 3]
        switch index & 7 {
        case 0: chunk.line.a.store(value, ordering: .relaxed)
        case 1: chunk.line.b.store(value, ordering: .relaxed)
        case 2: chunk.line.c.store(value, ordering: .relaxed)
        case 3: chunk.line.d.store(value, ordering: .relaxed)
        case 4: chunk.line.e.store(value, ordering: .relaxed)
        case 5: chunk.line.f.store(value, ordering: .relaxed)
        case 6: chunk.line.g.store(value, ordering: .relaxed)
        default: chunk.line.h.store(value, ordering: .relaxed)
        }
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

    private let cells = AtomicCells(count: HistogramBlock.boundsMicroseconds.count + 2)

    public init() {}

    /// Owner only.
    public func record(microseconds: UInt64) {
        let bounds = HistogramBlock.boundsMicroseconds
        var index = 0
        while index < bounds.count && microseconds > bounds[index] { index += 1 }
        cells.store(index, cells.load(index) &+ 1)
        let sum = bounds.count + 1
        cells.store(sum, cells.load(sum) &+ microseconds)
    }

    /// Any thread: counts of each bucket (not cumulative; the last is beyond all bounds).
    public var counts: [UInt64] {
        (0...HistogramBlock.boundsMicroseconds.count).map { cells.load($0) }
    }

    /// Any thread.
    public var sumMicroseconds: UInt64 { cells.load(HistogramBlock.boundsMicroseconds.count + 1) }
}
