import MeshBase
import Synchronization

/// All metrics of the process: which subjects there are, and the blocks that their workers write.
///
/// A worker asks for a block when it begins to serve a subject (a cluster, an HTTP prefix, a
/// listener, a TCP prefix) and gives it back when it has ended; both are rare and take a lock.
/// Increments go to the block alone. Several blocks of one subject, one for each worker or for each
/// generation of a listener, are added up when they are read. A block that is given back leaves its
/// counts with the subject, so that a counter doesn't run backwards while the others live on;
/// with its last block the subject goes.
///
/// Series cost whoever scrapes, so there is a budget. Subjects enter it in the order in which they
/// were made, as soon as they count something, and stay in; what finds no room is added up in one
/// subject of its kind, `overflow`. Nothing is lost, only less is told apart.
public final class MetricsRegistry: Sendable {
    /// The name of the subject that stands for all without room in the budget.
    public static let overflow = "_overflow"

    public let clusters = SubjectTable<ClusterMetric>()
    public let outliers = SubjectTable<OutlierMetric>()
    public let breakers = SubjectTable<BreakerMetric>()
    public let http = SubjectTable<HTTPMetric>()
    public let listeners = SubjectTable<ListenerMetric>()
    public let tcp = SubjectTable<TCPMetric>()
    /// Written by the control loop alone.
    public let server = CounterBlock<ServerMetric>()
    private let seriesBudget: Int

    public init(seriesBudget: Int = 20_000) {
        self.seriesBudget = seriesBudget
    }

    /// Everything as it is now, for one scrape.
    public func read() -> MetricsReading {
        var room = seriesBudget
        var families = [MetricsReading.family(of: server)]
        families.append(clusters.read(&room))
        families.append(outliers.read(&room))
        families.append(breakers.read(&room))
        families.append(http.read(&room))
        families.append(listeners.read(&room))
        families.append(tcp.read(&room))
        return MetricsReading(families: families)
    }
}

/// The counters and durations of one subject, written by one worker.
public final class SubjectBlock<Metric: MetricKind>: Sendable {
    /// As in Envoy's stat names: without colons.
    public let subject: String
    public let counters = CounterBlock<Metric>()
    /// In the order of `Metric.durations`.
    public let durations: [HistogramBlock]

    init(subject: String) {
        self.subject = subject
        durations = Metric.durations.map { _ in HistogramBlock() }
    }
}

/// The subjects of one kind.
public final class SubjectTable<Metric: MetricKind>: Sendable {
    private struct Entry: Sendable {
        var blocks: [SubjectBlock<Metric>] = []
        /// What blocks that are gone had counted.
        var left = MetricsReading.Subject(name: "", kind: Metric.self)
        var order: UInt64
        var isInBudget = false
    }

    private struct State: Sendable {
        var entries: [String: Entry] = [:]
        var count: UInt64 = 0
    }

    private let state = Mutex(State())

    init() {}

    /// A new block for the calling worker; its owner gives it back with `retire`.
    public func makeBlock(_ name: String) -> SubjectBlock<Metric> {
        let block = SubjectBlock<Metric>(subject: StatName.sanitized(name))
        state.withLock { state in
            state.count += 1
            state.entries[block.subject, default: Entry(order: state.count)].blocks.append(block)
        }
        return block
    }

    /// Nothing will be written to the block any more.
    public func retire(_ block: SubjectBlock<Metric>) {
        state.withLock { state in
            guard var entry = state.entries.removeValue(forKey: block.subject) else { return }
            entry.blocks.removeAll { $0 === block }
            if entry.blocks.isEmpty { return }
            entry.left.add(block, withGauges: false)
            state.entries[block.subject] = entry
        }
    }

    /// - Parameter room: how many series may still be told apart; lowered by those that are.
    func read(_ room: inout Int) -> MetricsReading.Family {
        var family = MetricsReading.Family(kind: Metric.self)
        var left = room
        state.withLock { state in
            var rest = MetricsReading.Subject(name: MetricsRegistry.overflow, kind: Metric.self)
            var newcomers: [(name: String, subject: MetricsReading.Subject)] = []
            for (name, entry) in state.entries.sorted(by: { $0.value.order < $1.value.order }) {
                var subject = entry.left
                subject.name = name
                for block in entry.blocks { subject.add(block, withGauges: true) }
                if entry.isInBudget {
                    left -= subject.seriesCount
                    family.subjects.append(subject)
                } else {
                    newcomers.append((name, subject))
                }
            }
            for (name, subject) in newcomers {
                let cost = subject.seriesCount
                if cost > left {
                    rest.add(subject)
                    family.overflowed += 1
                    continue
                }
                if cost > 0 { state.entries[name]?.isInBudget = true }
                left -= cost
                family.subjects.append(subject)
            }
            if family.overflowed > 0 { family.subjects.append(rest) }
        }
        room = max(0, left)
        family.subjects.sort { $0.name < $1.name }
        return family
    }
}

/// Names as they stand in Envoy's statistics.
public enum StatName {
    /// Colons part nothing in a stat name, so Envoy writes "_" for them, and for "://" as a whole.
    public static func sanitized(_ name: String) -> String {
        if !name.utf8.contains(58) { return name }
        var bytes: [UInt8] = []
        let source = Array(name.utf8)
        var index = 0
        while index < source.count {
            if source[index] == 58 {
                bytes.append(95)
                if source[index...].starts(with: "://".utf8) { index += 2 }
            } else {
                bytes.append(source[index])
            }
            index += 1
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
