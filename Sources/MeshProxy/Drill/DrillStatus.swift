import MeshBase

/// What `GET /drill` says, and how `meshproxy drill` tells it to people.
///
/// On the wire it is a line for each field, `name: value`, times in milliseconds; what is not known
/// is left out.
struct DrillStatus: Equatable {
    enum State: String {
        case running, returning, over
    }

    var number: UInt64 = 0
    var cluster = ""
    var fault = ""
    var percent = 0
    /// The control plane that the fault is about; empty where it is about endpoints.
    var plane = ""
    /// The control plane whose configuration came into force instead, and how long after the start.
    var successor: String?
    var succession: Duration?
    /// From the end until the control plane had given everything again, and until it was in force.
    var reconnection: Duration?
    var resumption: Duration?
    var state = State.over
    var planned = Duration.zero
    var elapsed = Duration.zero
    /// Why it ended early.
    var reason: String?
    var requests = 0
    var failed = 0
    var hit = 0
    var retries = 0
    /// From the start to the first answer of another priority.
    var firstRemote: Duration?
    /// From the first hit to the first request that went elsewhere by itself.
    var detection: Duration?
    /// From the end until the endpoints had all of their traffic back.
    var failback: Duration?

    init() {}

    var text: String {
        var lines = [
            "drill: \(number)", "cluster: \(cluster)", "fault: \(fault)", "percent: \(percent)",
            "state: \(state.rawValue)", "planned_ms: \(planned.milliseconds)",
            "elapsed_ms: \(elapsed.milliseconds)",
        ]
        if !plane.isEmpty { lines.append("control_plane: \(plane)") }
        if let successor { lines.append("successor: \(successor)") }
        if let reason { lines.append("ended_early: \(reason)") }
        lines += [
            "requests: \(requests)", "requests_failed: \(failed)", "attempts_hit: \(hit)",
            "retries: \(retries)",
        ]
        func add(_ name: String, _ time: Duration?) {
            if let time { lines.append("\(name): \(time.milliseconds)") }
        }
        add("first_remote_success_ms", firstRemote)
        add("detection_ms", detection)
        add("failback_ms", failback)
        add("succession_ms", succession)
        add("reconnection_ms", reconnection)
        add("resumption_ms", resumption)
        return lines.map { $0 + "\n" }.joined()
    }

    /// Reads `text`; lines that it does not know it passes by. `nil` where no drill is told of.
    init?(_ text: String) {
        var fields: [String: String] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            fields[String(line[..<colon])] = String(value)
        }
        guard let number = fields["drill"].flatMap({ UInt64($0) }),
            let state = fields["state"].flatMap(State.init(rawValue:))
        else { return nil }
        func whole(_ name: String) -> Int { fields[name].flatMap { Int($0) } ?? 0 }
        func time(_ name: String) -> Duration? {
            fields[name].flatMap { Int($0) }.map { .milliseconds($0) }
        }
        self.number = number
        self.state = state
        cluster = fields["cluster"] ?? ""
        fault = fields["fault"] ?? ""
        percent = whole("percent")
        planned = time("planned_ms") ?? .zero
        elapsed = time("elapsed_ms") ?? .zero
        reason = fields["ended_early"]
        requests = whole("requests")
        failed = whole("requests_failed")
        hit = whole("attempts_hit")
        retries = whole("retries")
        firstRemote = time("first_remote_success_ms")
        detection = time("detection_ms")
        failback = time("failback_ms")
        plane = fields["control_plane"] ?? ""
        successor = fields["successor"]
        succession = time("succession_ms")
        reconnection = time("reconnection_ms")
        resumption = time("resumption_ms")
    }

    // MARK: For people

    /// Nothing failed, it was not called off, and a control plane that was cut off is back.
    var isPassed: Bool {
        failed == 0 && reason == nil
            && (fault != Drill.Fault.planeDown.rawValue || resumption != nil)
    }

    /// What it is, to whom it happens.
    var title: String {
        switch Drill.Fault(rawValue: fault) {
        case .planeDown: "\(fault) of \(plane)"
        case .planeWrong: "\(fault) of \(plane) for \(percent) % of the endpoints"
        case .empty: "\(fault) for \(percent) % of the endpoints"
        case .refuse, .blackhole, .slow, .serverError, nil: "\(fault) for \(percent) % of attempts"
        }
    }

    var report: String {
        var lines = ["drill of \(cluster): \(title)"]
        if let reason {
            lines.append("  called off after \(words(elapsed)): \(reason)")
        } else {
            lines.append("  ended by itself after \(words(elapsed))")
        }
        let failures = failed == 0 ? "none failed" : "\(failed) failed"
        lines.append(
            requests == 0
                ? "  no request came, so it shows nothing"
                : "  \(counted(requests, "request")): \(failures)")
        if !plane.isEmpty {
            lines += planeLines
        } else if requests > 0 {
            lines += endpointLines
        }
        if requests > 0 { lines.append(isPassed ? "  passed" : "  not passed") }
        return lines.map { $0 + "\n" }.joined()
    }

    private var endpointLines: [String] {
        [
            "  \(counted(hit, "attempt")) met the fault, "
                + "\(retries) \(retries == 1 ? "retry" : "retries")",
            firstRemote.map { "  first answer from elsewhere \(words($0)) after the start" }
                ?? "  nothing was answered from elsewhere",
            detection.map { "  new requests went elsewhere \(words($0)) after the first hit" }
                ?? "  new requests were never sent elsewhere",
            failback.map { "  all traffic was back \(words($0)) after the end" }
                ?? "  the traffic has not come back",
        ]
    }

    private var planeLines: [String] {
        let held =
            fault == Drill.Fault.planeDown.rawValue
            ? "  what it had given last stayed in force" : "  what it said was in force"
        var lines = [held]
        if let successor, let succession {
            lines.append("  \(successor) was in force \(words(succession)) after the start")
        }
        guard fault == Drill.Fault.planeDown.rawValue else { return lines }
        lines.append(
            reconnection.map { "  it had given everything again \(words($0)) after the end" }
                ?? "  it was not reached again")
        if let resumption, successor != nil {
            lines.append("  it was in force again \(words(resumption)) after the end")
        }
        return lines
    }

    private func counted(_ count: Int, _ noun: String) -> String {
        "\(count) \(noun)\(count == 1 ? "" : "s")"
    }

    private func words(_ duration: Duration) -> String {
        let all = duration.milliseconds
        if all <= 0 { return "less than 1 ms" }
        return SimulationReport.words(duration)
    }
}
