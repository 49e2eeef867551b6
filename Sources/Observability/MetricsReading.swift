/// What all metrics were at one moment: plain values, for the writers of text.
public struct MetricsReading: Sendable {
    public struct Metric: Sendable, Equatable {
        public var name: String
        public var isGauge: Bool
        var isCommon: Bool
    }

    public struct Durations: Sendable, Equatable {
        /// Not cumulative; the last is beyond all bounds of `HistogramBlock`.
        public var counts: [UInt64]
        public var sumMicroseconds: UInt64 = 0

        public var total: UInt64 { counts.reduce(0, &+) }
    }

    /// One cluster, prefix or listener.
    public struct Subject: Sendable, Equatable {
        public var name: String
        /// In the order of the family's metrics.
        public var values: [UInt64]
        public var isUsed: [Bool]
        /// In the order of the family's durations.
        public var durations: [Durations]

        init<Kind: MetricKind>(name: String, kind: Kind.Type) {
            self.name = name
            values = Array(repeating: 0, count: Kind.allCases.count)
            isUsed = Array(repeating: false, count: Kind.allCases.count)
            let buckets = HistogramBlock.boundsMicroseconds.count + 1
            durations = Kind.durations.map { _ in
                Durations(counts: Array(repeating: 0, count: buckets))
            }
        }

        /// What it costs a scrape: its used metrics and the buckets of its used durations.
        var seriesCount: Int {
            let used = isUsed.reduce(0) { $0 + ($1 ? 1 : 0) }
            return durations.reduce(used) { $0 + ($1.total == 0 ? 0 : $1.counts.count + 2) }
        }

        mutating func add<Kind: MetricKind>(_ block: CounterBlock<Kind>, withGauges: Bool) {
            for metric in Kind.allCases {
                let index = metric.rawValue
                if block.isUsed(metric) { isUsed[index] = true }
                if metric.isGauge, !withGauges { continue }
                let value = block.value(metric)
                values[index] =
                    metric.isCommon ? max(values[index], value) : values[index] &+ value
            }
        }

        mutating func add<Kind: MetricKind>(_ block: SubjectBlock<Kind>, withGauges: Bool) {
            add(block.counters, withGauges: withGauges)
            for (index, histogram) in block.durations.enumerated() {
                add(histogram.counts, sum: histogram.sumMicroseconds, at: index)
            }
        }

        /// Another subject's, to be told apart from this one's no more.
        mutating func add(_ other: Subject) {
            for index in values.indices {
                values[index] &+= other.values[index]
                isUsed[index] = isUsed[index] || other.isUsed[index]
            }
            for index in durations.indices {
                let more = other.durations[index]
                add(more.counts, sum: more.sumMicroseconds, at: index)
            }
        }

        private mutating func add(_ counts: [UInt64], sum: UInt64, at index: Int) {
            for bucket in counts.indices { durations[index].counts[bucket] &+= counts[bucket] }
            durations[index].sumMicroseconds &+= sum
        }
    }

    /// All subjects of one kind.
    public struct Family: Sendable {
        /// "cluster", "http", "listener", "tcp"; empty for the process itself.
        public var prefix: String
        public var label: String
        public var metrics: [Metric]
        public var durations: [String]
        /// Sorted by name; one without a name for the process itself.
        public var subjects: [Subject] = []
        /// How many subjects found no room in the budget.
        public var overflowed = 0

        init<Kind: MetricKind>(kind: Kind.Type) {
            prefix = Kind.prefix
            label = Kind.label
            metrics = Kind.allCases.map {
                Metric(name: $0.name, isGauge: $0.isGauge, isCommon: $0.isCommon)
            }
            durations = Kind.durations
        }
    }

    public var families: [Family]
    /// What is ours and has no place in Envoy's names.
    public var own: [OwnMetric] = []

    init(families: [Family]) {
        self.families = families
    }

    /// Takes the process's own metrics again, after some were derived from the others.
    public mutating func refresh(_ server: CounterBlock<ServerMetric>) {
        for index in families.indices where families[index].prefix.isEmpty {
            families[index] = MetricsReading.family(of: server)
        }
    }

    static func family<Kind: MetricKind>(of block: CounterBlock<Kind>) -> Family {
        var family = Family(kind: Kind.self)
        var subject = Subject(name: "", kind: Kind.self)
        subject.add(block, withGauges: true)
        family.subjects = [subject]
        return family
    }
}

/// A metric of ours, `meshproxy_…`, with its label where it has one.
public struct OwnMetric: Sendable, Equatable {
    public var name: String
    public var isGauge: Bool
    public var label: String
    public var value: String
    public var number: UInt64

    /// - Parameter name: without the prefix.
    public init(
        _ name: String, isGauge: Bool = true, label: String = "", value: String = "",
        number: UInt64
    ) {
        self.name = name
        self.isGauge = isGauge
        self.label = label
        self.value = value
        self.number = number
    }
}
