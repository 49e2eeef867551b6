import MeshConfig

/// Metrics in Prometheus' text format, under the names that Envoy gives them there: dots become
/// underscores, the subject moves from the name into a label, and `upstream_rq_5xx` becomes
/// `upstream_rq_xx` with the class as a label.
///
/// Only what was ever written is printed, for a series that never moved costs as much as any other.
/// A ";" ends the part of a subject's name that is meant for eyes: istiod closes its names so.
public struct PrometheusText {
    /// Envoy's stat names in which no part matches are left out.
    public var filter: LinearRegex?

    public init(filter: LinearRegex? = nil) {
        self.filter = filter
    }

    public func text(_ reading: MetricsReading) -> String {
        var text = ""
        for family in reading.families { write(family, to: &text) }
        var typed = ""
        for own in reading.own.sorted(by: { $0.name < $1.name }) {
            let name = "meshproxy_" + own.name
            if typed != name {
                text += "# TYPE \(name) \(own.isGauge ? "gauge" : "counter")\n"
                typed = name
            }
            let labels =
                own.label.isEmpty ? "" : "{\(own.label)=\"\(PrometheusText.escaped(own.value))\"}"
            text += "\(name)\(labels) \(own.number)\n"
        }
        return text
    }

    private func write(_ family: MetricsReading.Family, to text: inout String) {
        let subjects = PrometheusText.merged(family.subjects)
        let stem = family.prefix.isEmpty ? "envoy_" : "envoy_\(family.prefix)_"
        var typed = ""
        for (index, metric) in family.metrics.enumerated() {
            let (name, codeClass) = PrometheusText.splitCodeClass(metric.name)
            let full = stem + PrometheusText.identifier(name)
            for subject in subjects where subject.isUsed[index] {
                guard isWanted(family, subject, metric.name) else { continue }
                if typed != full {
                    text += "# TYPE \(full) \(metric.isGauge ? "gauge" : "counter")\n"
                    typed = full
                }
                let labels = PrometheusText.labels(
                    codeClass.map { [("envoy_response_code_class", $0)] } ?? [], family, subject)
                text += "\(full)\(labels) \(subject.values[index])\n"
            }
        }
        for (index, durations) in family.durations.enumerated() {
            let full = stem + PrometheusText.identifier(durations)
            var isTyped = false
            for subject in subjects where subject.durations[index].total > 0 {
                guard isWanted(family, subject, durations) else { continue }
                if !isTyped { text += "# TYPE \(full) histogram\n" }
                isTyped = true
                write(subject.durations[index], full, family, subject, to: &text)
            }
        }
    }

    private func write(
        _ durations: MetricsReading.Durations, _ name: String, _ family: MetricsReading.Family,
        _ subject: MetricsReading.Subject, to text: inout String
    ) {
        var sum: UInt64 = 0
        for (bound, count) in zip(HistogramBlock.boundsMicroseconds, durations.counts) {
            sum &+= count
            let edge = StatsText.short(Double(bound) / 1000)
            let labels = PrometheusText.labels([], family, subject, last: ("le", edge))
            text += "\(name)_bucket\(labels) \(sum)\n"
        }
        let total = durations.total
        let labels = PrometheusText.labels([], family, subject)
        let all = PrometheusText.labels([], family, subject, last: ("le", "+Inf"))
        text += "\(name)_bucket\(all) \(total)\n"
        let milliseconds = StatsText.short(Double(durations.sumMicroseconds) / 1000)
        text += "\(name)_sum\(labels) \(milliseconds)\n\(name)_count\(labels) \(total)\n"
    }

    private func isWanted(
        _ family: MetricsReading.Family, _ subject: MetricsReading.Subject, _ metric: String
    ) -> Bool {
        guard let filter else { return true }
        var name = family.prefix.isEmpty ? metric : "\(family.prefix).\(subject.name).\(metric)"
        return name.withUTF8 { filter.matchesPart(of: $0) }
    }

    // MARK: Names and labels

    /// Subjects under their label's value. Two that come out equal are added up: a scrape with the
    /// same series twice is refused as a whole.
    static func merged(_ subjects: [MetricsReading.Subject]) -> [MetricsReading.Subject] {
        var result: [MetricsReading.Subject] = []
        var places: [String: Int] = [:]
        for var subject in subjects {
            subject.name = String(subject.name.prefix { $0 != ";" })
            if let place = places[subject.name] {
                result[place].add(subject)
            } else {
                places[subject.name] = result.count
                result.append(subject)
            }
        }
        return result
    }

    /// "upstream_rq_5xx" as "upstream_rq_xx" and "5".
    static func splitCodeClass(_ name: String) -> (name: String, codeClass: String?) {
        let end = name.suffix(4)
        guard end.hasPrefix("_"), end.hasSuffix("xx"), let digit = end.dropFirst().first,
            digit.isNumber
        else { return (name, nil) }
        return (name.dropLast(3) + "xx", String(digit))
    }

    static func identifier(_ name: String) -> String {
        String(
            decoding: name.utf8.map { byte in
                let isPlain =
                    (97...122).contains(byte) || (65...90).contains(byte)
                    || (48...57).contains(byte) || byte == 95
                return isPlain ? byte : 95
            }, as: UTF8.self)
    }

    static func escaped(_ value: String) -> String {
        var text = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    private static func labels(
        _ first: [(String, String)], _ family: MetricsReading.Family,
        _ subject: MetricsReading.Subject, last: (String, String)? = nil
    ) -> String {
        var all = first
        if !family.label.isEmpty { all.append((family.label, subject.name)) }
        if let last { all.append(last) }
        if all.isEmpty { return "" }
        return "{" + all.map { "\($0)=\"\(escaped($1))\"" }.joined(separator: ",") + "}"
    }
}
