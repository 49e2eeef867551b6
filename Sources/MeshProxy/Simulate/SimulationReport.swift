import LoadBalancer
import MeshBase
import MeshConfig

/// What a simulation came to; `text` is for people, `json` for programs, `worse` for CI.
public struct SimulationReport: Sendable {
    enum End: Sendable {
        case answered, failed
        /// By the spill limiter: 503 with Retry-After.
        case shed
    }

    /// The time between two marks of the timeline.
    struct Phase: Sendable {
        var from: Instant
        var until: Instant
        var answered: [String: Int] = [:]
        var failed = 0
        var shed = 0
        var slowest = Duration.zero
    }

    struct Service: Sendable {
        let name: String
        let perSecond: Int
        let home: String
        let marks: [Instant]
        let faults: [FaultTimeline.Entry]
        var phases: [Phase]
        var retries = 0
        var remoteBytes = 0
        var failback: [(at: Instant, change: FailbackRamp.Change)] = []
        /// Most requests in one second, by locality.
        var peaks: [String: Int] = [:]
        private var second: [String: (number: Int64, count: Int)] = [:]
        /// For each fault, when the last request that noticed it had begun, and had ended.
        private var lastTroubled: [Instant?]
        private var troubled: [Instant?]

        init(
            name: String, perSecond: Int, home: String, marks: [Instant],
            faults: [FaultTimeline.Entry]
        ) {
            self.name = name
            self.perSecond = perSecond
            self.home = home
            self.marks = marks
            self.faults = faults
            phases = zip(marks, marks.dropFirst()).map { Phase(from: $0, until: $1) }
            lastTroubled = faults.map { _ in nil }
            troubled = lastTroubled
        }

        mutating func note(_ change: FailbackRamp.Change, at time: Instant) {
            failback.append((time, change))
        }

        mutating func ended(
            _ end: End, began: Instant, at now: Instant, by locality: Locality?, retried: Bool,
            bytes: Int
        ) {
            guard let index = phases.lastIndex(where: { $0.from <= began }) else { return }
            phases[index].slowest = max(phases[index].slowest, now - began)
            switch end {
            case .failed: phases[index].failed += 1
            case .shed: phases[index].shed += 1
            case .answered: break
            }
            if let locality {
                let place = SimulationReport.words(locality)
                phases[index].answered[place, default: 0] += 1
                if locality.region != home { remoteBytes += bytes }
                let number = now.nanoseconds / 1_000_000_000
                var meter = second[place] ?? (number, 0)
                meter = meter.number == number ? (number, meter.count + 1) : (number, 1)
                second[place] = meter
                peaks[place] = max(peaks[place] ?? 0, meter.count)
            }
            guard retried || end == .failed else { return }
            for (fault, entry) in faults.enumerated()
            where entry.from <= began && began < entry.until {
                // What comes after a pause is the trial of a suspect, which is not the outage.
                let isOutage = lastTroubled[fault].map { began - $0 < .milliseconds(500) } ?? true
                guard isOutage || end == .failed else { continue }
                lastTroubled[fault] = max(lastTroubled[fault] ?? began, began)
                troubled[fault] = max(troubled[fault] ?? now, now)
            }
        }

        var answered: Int { phases.reduce(0) { $0 + $1.answered.values.reduce(0, +) } }
        var failed: Int { phases.reduce(0) { $0 + $1.failed } }
        var shed: Int { phases.reduce(0) { $0 + $1.shed } }
        var slowest: Duration { phases.map(\.slowest).max() ?? .zero }
        var places: [String] { Set(phases.flatMap(\.answered.keys)).sorted() }

        /// From a fault to the end of the last request that noticed it; `nil`: none did.
        func failover(_ fault: Int) -> Duration? {
            troubled[fault].map { $0 - faults[fault].from }
        }
    }

    let length: Duration
    let services: [Service]

    static func words(_ locality: Locality) -> String {
        if locality.region.isEmpty { return locality.zone.isEmpty ? "-" : locality.zone }
        return locality.region + (locality.zone.isEmpty ? "" : "/" + locality.zone)
    }

    static func seconds(_ time: Instant) -> String { words(time - .zero) }

    /// "2 ms", "1.5 s".
    static func words(_ duration: Duration) -> String {
        let all = duration.milliseconds
        if all % 1000 == all, all > 0 { return "\(all) ms" }
        let tenths = all % 1000 / 100
        return tenths == 0 ? "\(all / 1000) s" : "\(all / 1000).\(tenths) s"
    }

    /// "30.5 MB".
    static func size(_ bytes: Int) -> String {
        if bytes < 1_000_000 { return "\(bytes / 1000) kB" }
        return "\(bytes / 1_000_000).\(bytes % 1_000_000 / 100_000) MB"
    }
}

extension SimulationReport {
    public var text: String { services.map(\.text).joined(separator: "\n") }

    public var json: String {
        JSONValue.object([
            (key: "seconds", value: .number(length.milliseconds / 1000)),
            (key: "services", value: .array(services.map(\.json))),
        ]).text
    }

    /// What got worse from this report to a newer one; empty: nothing did.
    ///
    /// More failed or shed requests are worse. Times and loads are worse from a tenth more on, since
    /// a changed configuration draws other chances.
    public func worse(in new: SimulationReport) -> [String] {
        var found: [String] = []
        for old in services {
            guard let now = new.services.first(where: { $0.name == old.name }) else {
                found.append("\(old.name): it is gone")
                continue
            }
            func compare(_ what: String, _ before: Int64, _ after: Int64, slack: Int64) {
                if after > before + slack {
                    found.append("\(old.name): \(what): \(before) before, \(after) now")
                }
            }
            compare("failed requests", Int64(old.failed), Int64(now.failed), slack: 0)
            compare("shed requests", Int64(old.shed), Int64(now.shed), slack: 0)
            let slowest = old.slowest.milliseconds
            compare(
                "slowest request in ms", slowest, now.slowest.milliseconds,
                slack: max(5, slowest / 10))
            for place in now.places {
                let before = Int64(old.peaks[place] ?? 0)
                compare(
                    "most requests for a second in \(place)", before, Int64(now.peaks[place] ?? 0),
                    slack: max(Int64(old.perSecond) / 20, before / 10))
            }
            for (index, fault) in old.faults.enumerated() where index < now.faults.count {
                let before = old.failover(index)?.milliseconds ?? 0
                compare(
                    "failover time in ms (\(fault.text))", before,
                    now.failover(index)?.milliseconds ?? 0, slack: max(20, before / 10))
            }
            let bytes = Int64(old.remoteBytes)
            compare(
                "bytes from other regions", bytes, Int64(now.remoteBytes),
                slack: max(1_000_000, bytes / 10))
        }
        return found
    }
}

extension SimulationReport.Service {
    fileprivate var text: String {
        var text =
            "\(name): \(answered + failed + shed) requests, \(perSecond) for each second: "
            + "\(answered) answered, \(failed) failed, \(shed) shed, \(retries) retries, "
            + "slowest \(SimulationReport.words(slowest))\n"
        let places = places
        let width = (places.map(\.count).max() ?? 0) + 2
        text += "  " + pad("who answered, when", 22)
        for place in places { text += pad(place, max(width, 8)) }
        text += "failed  shed\n"
        for phase in phases {
            let all = max(1, phase.answered.values.reduce(phase.failed + phase.shed, +))
            let when =
                SimulationReport.seconds(phase.from) + " to "
                + SimulationReport.seconds(phase.until)
            text += "  " + pad(when, 22)
            for place in places {
                let share = (phase.answered[place] ?? 0) * 100
                text += pad("\((share + all / 2) / all) %", max(width, 8))
            }
            text += pad("\(phase.failed)", 8) + "\(phase.shed)\n"
        }
        for (index, fault) in faults.enumerated() {
            text += "  at \(SimulationReport.seconds(fault.from)) \(fault.text): "
            if let time = failover(index) {
                text += "over for clients after \(SimulationReport.words(time))\n"
            } else {
                text += "no request noticed\n"
            }
        }
        for (time, change) in failback where isTold(change.event) {
            text +=
                "  at \(SimulationReport.seconds(time)) priority \(change.priority): "
                + "\(change.event.words)\n"
        }
        for place in places {
            text += "  most for \(place): \(peaks[place] ?? 0) requests in a second\n"
        }
        return text + "  from other regions: \(SimulationReport.size(remoteBytes))\n"
    }

    /// Ten steps forward are one piece of news.
    private func isTold(_ event: FailbackRamp.Event) -> Bool {
        if case .forward(let percent) = event { return percent == 10 || percent == 50 }
        return true
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    fileprivate var json: JSONValue {
        let phases = phases.map { phase in
            JSONValue.object([
                (key: "from_ms", value: .number((phase.from - .zero).milliseconds)),
                (key: "until_ms", value: .number((phase.until - .zero).milliseconds)),
                (key: "answered", value: numbers(phase.answered)),
                (key: "failed", value: .number(Int64(phase.failed))),
                (key: "shed", value: .number(Int64(phase.shed))),
                (key: "slowest_ms", value: .number(phase.slowest.milliseconds)),
            ])
        }
        let faults = faults.enumerated().map { index, fault in
            JSONValue.object([
                (key: "at_ms", value: .number((fault.from - .zero).milliseconds)),
                (key: "fault", value: .string(fault.text)),
                (
                    key: "failover_ms",
                    value: failover(index).map { .number($0.milliseconds) } ?? .null
                ),
            ])
        }
        let failback = failback.map { time, change in
            JSONValue.object([
                (key: "at_ms", value: .number((time - .zero).milliseconds)),
                (key: "priority", value: .number(Int64(change.priority))),
                (key: "state", value: .string(change.event.words)),
            ])
        }
        return .object([
            (key: "name", value: .string(name)),
            (key: "answered", value: .number(Int64(answered))),
            (key: "failed", value: .number(Int64(failed))),
            (key: "shed", value: .number(Int64(shed))),
            (key: "retries", value: .number(Int64(retries))),
            (key: "slowest_ms", value: .number(slowest.milliseconds)),
            (key: "remote_bytes", value: .number(Int64(remoteBytes))),
            (key: "most_per_second", value: numbers(peaks)),
            (key: "phases", value: .array(phases)), (key: "faults", value: .array(faults)),
            (key: "failback", value: .array(failback)),
        ])
    }

    private func numbers(_ counts: [String: Int]) -> JSONValue {
        .object(
            counts.sorted { $0.key < $1.key }.map { (key: $0.key, value: .number(Int64($0.value))) }
        )
    }
}
