import MeshConfig

/// Metrics as Envoy's `/stats` prints them: `name: value`, sorted.
public struct StatsText {
    /// Only what was ever written.
    public var usedOnly: Bool
    /// Names in which no part matches are left out.
    public var filter: LinearRegex?

    public init(usedOnly: Bool = false, filter: LinearRegex? = nil) {
        self.usedOnly = usedOnly
        self.filter = filter
    }

    public struct Entry: Equatable, Sendable {
        public enum Value: Equatable, Sendable {
            case number(UInt64)
            /// Estimates in milliseconds at `StatsText.quantiles`; empty when nothing was recorded.
            case quantiles([Double])
        }
        public var name: String
        public var value: Value
    }

    public static let quantiles: [Double] = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]

    /// One line for each metric; histograms behind the others, as Envoy has it.
    public func text(_ reading: MetricsReading) -> String {
        var text = ""
        for entry in entries(reading) {
            text += entry.name
            switch entry.value {
            case .number(let value):
                text += ": \(value)\n"
            case .quantiles(let values):
                if values.isEmpty {
                    text += ": No recorded values\n"
                    continue
                }
                text += ":"
                for (quantile, value) in zip(StatsText.quantiles, values) {
                    text += " P\(StatsText.short(quantile))(nan,\(StatsText.short(value)))"
                }
                text += "\n"
            }
        }
        return text
    }

    /// What `text` prints, as values.
    public func entries(_ reading: MetricsReading) -> [Entry] {
        var numbers: [Entry] = []
        var histograms: [Entry] = []
        for family in reading.families {
            for subject in family.subjects {
                let stem =
                    family.prefix.isEmpty ? "" : "\(family.prefix).\(subject.name)."
                for (index, metric) in family.metrics.enumerated() {
                    if usedOnly, !subject.isUsed[index] { continue }
                    let name = stem + metric.name
                    if isWanted(name) {
                        numbers.append(Entry(name: name, value: .number(subject.values[index])))
                    }
                }
                for (index, durations) in subject.durations.enumerated() {
                    let isUsed = durations.total > 0
                    if usedOnly, !isUsed { continue }
                    let name = stem + family.durations[index]
                    if isWanted(name) {
                        histograms.append(
                            Entry(
                                name: name,
                                value: .quantiles(
                                    isUsed
                                        ? StatsText.quantiles.map {
                                            StatsText.estimate($0, durations)
                                        } : [])))
                    }
                }
            }
        }
        for own in reading.own {
            let label = own.label.isEmpty ? "" : ".\(StatName.sanitized(own.value))"
            let name = "meshproxy.\(own.name)\(label)"
            if isWanted(name) { numbers.append(Entry(name: name, value: .number(own.number))) }
        }
        numbers.sort { $0.name < $1.name }
        histograms.sort { $0.name < $1.name }
        return numbers + histograms
    }

    private func isWanted(_ name: String) -> Bool {
        guard let filter else { return true }
        var name = name
        return name.withUTF8 { filter.matchesPart(of: $0) }
    }

    /// Where in its bucket a quantile lies, if durations are spread evenly there; in milliseconds.
    static func estimate(_ quantile: Double, _ durations: MetricsReading.Durations) -> Double {
        let bounds = HistogramBlock.boundsMicroseconds
        let wanted = quantile / 100 * Double(durations.total)
        var below = 0.0
        var last = 0.0
        for (index, count) in durations.counts.enumerated() where count > 0 {
            let low = index == 0 ? 0 : Double(bounds[index - 1])
            let high = index < bounds.count ? Double(bounds[index]) : low
            if below + Double(count) >= wanted {
                let part = max(0, wanted - below) / Double(count)
                return (low + (high - low) * part) / 1000
            }
            below += Double(count)
            last = high
        }
        return last / 1000
    }

    /// At most three decimals and no zeros at the end.
    static func short(_ value: Double) -> String {
        let thousandths = Int64((value * 1000).rounded())
        var text = "\(thousandths / 1000)"
        var rest = thousandths % 1000
        if rest == 0 { return text }
        var digits = "\(rest + 1000)".dropFirst()
        while rest > 0, rest % 10 == 0 {
            rest /= 10
            digits = digits.dropLast()
        }
        text += "." + digits
        return text
    }
}
