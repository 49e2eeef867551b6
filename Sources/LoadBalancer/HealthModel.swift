public import MeshBase

/// The control loop's opinion of every endpoint and path, made of what workers and probes report.
///
///     well ──failure──▸ suspect ──enough in a row──▸ ejected
///      ▲ ▲                 │ hold over                  │ hold over
///      │ └──success────────┤                            │
///      │                   ▼                            ▼
///      └──probe passed── probing ◂──────────────────────┘
///      └──success──────  trial  (endpoints that a probe cannot reach)
///
/// Evidence goes to the layer that it speaks of: what concerns the first hop judges the path, and so
/// every endpoint behind it, in one record; the rest judges the endpoint in its cluster. After a hold
/// (1 s, doubling to 30 s) the shell is asked to connect once. That needs no traffic, so an
/// endpoint that nobody uses comes back, too. A connect says nothing about TLS or about what lies
/// behind a gateway: after it the subject is returned, but its hold is remembered until a request
/// succeeds, so that the next failure ejects it at once and for longer.
///
/// Configured health checks and outlier detection are verdicts of their own, and stand beside it: an
/// endpoint is healthy when none of the three objects.
public struct HealthModel {
    /// Whom evidence is about.
    public enum Subject: Hashable, Sendable {
        case endpoint(cluster: String, SocketAddress)
        case path(SocketAddress)
    }
    /// To be published to all workers.
    public enum Change: Equatable, Sendable {
        case endpoint(cluster: String, SocketAddress, Verdict)
        case path(SocketAddress, usable: Bool)
    }
    /// To be done by the shell.
    public enum Request: Equatable, Sendable {
        /// Connect to this address, and report with `connectProbed`.
        case wantsProbe(Subject, SocketAddress)
    }
    public enum Phase: String, Sendable {
        case well, suspect, ejected, probing, trial
    }

    private struct Record {
        var phase = Phase.well
        var failures = 0
        var kind: TransportFailure.Kind?
        var hold = Duration.zero
        var until = Instant.zero
        /// Workers were told not to use it.
        var isOut = false
        /// The address that a connect probe can reach; `nil` behind a gateway.
        var probeAddress: SocketAddress?
        var probes = ProbeStanding.passed
        var outlier: (until: Instant, reason: String)?
    }

    private var records: [Subject: Record] = [:]
    private let failuresToEject: Int
    private let baseHold: Duration
    private let maxHold: Duration

    public init(
        failuresToEject: Int = 3, baseHold: Duration = .seconds(1),
        maxHold: Duration = .seconds(30)
    ) {
        self.failuresToEject = max(1, failuresToEject)
        self.baseHold = baseHold
        self.maxHold = maxHold
    }

    // MARK: Evidence

    /// A worker reports a transport failure.
    /// - Parameter gateway: the first hop, when the endpoint is not reached directly.
    public mutating func failed(
        cluster: String, _ address: SocketAddress, gateway: SocketAddress?,
        _ failure: TransportFailure, now: Instant
    ) -> [Change] {
        if failure.kind == .exhausted { return [] }
        let isDirect = gateway == nil
        if failure.layer == .path || (isDirect && failure.kind.concernsFirstHop) {
            let hop = gateway ?? address
            return fail(.path(hop), failure.kind, probe: hop, now)
        }
        return fail(
            .endpoint(cluster: cluster, address), failure.kind, probe: isDirect ? address : nil,
            now)
    }

    /// A worker reports that a request was answered; reports may be sparse.
    public mutating func succeeded(
        cluster: String, _ address: SocketAddress, gateway: SocketAddress?
    ) -> [Change] {
        recover(.endpoint(cluster: cluster, address)) + recover(.path(gateway ?? address))
    }

    /// A worker reports that a PING over this path was answered, late.
    public mutating func answered(path address: SocketAddress) -> [Change] {
        records[.path(address)]?.kind == .pingLate ? recover(.path(address)) : []
    }

    /// Configured health checks changed their mind on an endpoint.
    public mutating func probesTurned(
        cluster: String, _ address: SocketAddress, _ standing: ProbeStanding
    ) -> [Change] {
        change(.endpoint(cluster: cluster, address)) { $0.probes = standing }
    }

    /// Outlier detection ejected an endpoint, or with `nil` returned it.
    public mutating func outlierTurned(
        cluster: String, _ address: SocketAddress, ejectedUntil: Instant?, reason: String
    ) -> [Change] {
        change(.endpoint(cluster: cluster, address)) {
            $0.outlier = ejectedUntil.map { ($0, reason) }
        }
    }

    /// The answer to `.wantsProbe`; `nil` is success.
    public mutating func connectProbed(
        _ subject: Subject, failure: TransportFailure.Kind?, now: Instant
    ) -> [Change] {
        guard var record = records[subject], record.phase == .probing else { return [] }
        // Our own lack of descriptors says nothing; ask again later.
        if failure == .exhausted {
            record.phase = record.isOut ? .ejected : .suspect
            record.until = now + baseHold
            records[subject] = record
            return []
        }
        if let failure { return fail(subject, failure, probe: record.probeAddress, now) }
        record.phase = .trial
        record.failures = 0
        record.isOut = false
        if case .path = subject {
            // Connecting is all that a path is asked for.
            record = Record()
        }
        records[subject] = record
        return [publication(subject)]
    }

    private mutating func fail(
        _ subject: Subject, _ kind: TransportFailure.Kind, probe: SocketAddress?, _ now: Instant
    ) -> [Change] {
        var record = records[subject] ?? Record()
        // Doubt is cast where there is none yet. A late PING is about to be answered, or to time out,
        // which then is the first failure.
        if kind.isOnlyDoubt, record.phase != .well { return [] }
        if record.kind?.isOnlyDoubt == true, record.phase == .suspect {
            record = Record(probes: record.probes, outlier: record.outlier)
        }
        record.failures += 1
        record.kind = kind
        record.probeAddress = probe
        // What was under way when it was ejected adds nothing.
        if record.phase == .ejected {
            records[subject] = record
            return []
        }
        let wasTried = record.phase == .probing || record.phase == .trial
        // Silence that lasted as long as these two take is not the fault of one request.
        let isSilent = kind == .pingTimeout || kind == .connectTimeout
        let counts =
            !kind.isOnlyDoubt && (record.failures >= failuresToEject || isSilent)
        let ejects = counts || (wasTried && record.hold > .zero)
        if wasTried || record.phase == .well {
            record.hold = record.hold == .zero ? baseHold : min(record.hold + record.hold, maxHold)
            record.until = now + record.hold
        }
        record.phase = ejects ? .ejected : .suspect
        record.isOut = record.isOut || ejects
        records[subject] = record
        return ejects ? [publication(subject)] : []
    }

    private mutating func recover(_ subject: Subject) -> [Change] {
        guard let record = records[subject], record.phase != .well else { return [] }
        let wasOut = record.isOut
        records[subject] = Record(probes: record.probes, outlier: record.outlier)
        return wasOut ? [publication(subject)] : []
    }

    private mutating func change(
        _ subject: Subject, _ body: (inout Record) -> Void
    ) -> [Change] {
        let before = publication(subject)
        body(&records[subject, default: Record()])
        let after = publication(subject)
        return before == after ? [] : [after]
    }

    private func publication(_ subject: Subject) -> Change {
        switch subject {
        case .path(let address):
            return .path(address, usable: isUsable(address))
        case .endpoint(let cluster, let address):
            return .endpoint(cluster: cluster, address, verdict(cluster: cluster, address))
        }
    }

    /// Whether workers may go this way.
    public func isUsable(_ path: SocketAddress) -> Bool { records[.path(path)]?.isOut != true }

    /// What workers are told of an endpoint.
    public func verdict(cluster: String, _ address: SocketAddress) -> Verdict {
        let record = records[.endpoint(cluster: cluster, address)] ?? Record()
        if record.probes == .excluded { return .excluded }
        if record.probes == .failed { return .failedProbe }
        if let outlier = record.outlier {
            return .ejected(until: outlier.until, .outlier(outlier.reason))
        }
        if record.isOut {
            return .ejected(until: record.until, .transport(record.kind ?? .reset))
        }
        return record.probes == .degraded ? .degraded : .healthy
    }

    // MARK: Time

    public var nextDeadline: Instant? {
        records.values.lazy.filter { $0.phase == .suspect || $0.phase == .ejected }
            .map(\.until).min()
    }

    /// Holds that are over: who can be probed is to be probed, others get a trial by traffic.
    public mutating func deadlineReached(at now: Instant) -> ([Request], [Change]) {
        var requests: [Request] = []
        var changes: [Change] = []
        let due = records.filter {
            ($0.value.phase == .suspect || $0.value.phase == .ejected) && $0.value.until <= now
        }
        for subject in due.keys.sorted(by: { "\($0)" < "\($1)" }) {
            if let address = records[subject]?.probeAddress {
                records[subject]?.phase = .probing
                requests.append(.wantsProbe(subject, address))
            } else {
                let wasOut = records[subject]?.isOut == true
                records[subject]?.phase = .trial
                records[subject]?.isOut = false
                records[subject]?.failures = 0
                if wasOut { changes.append(publication(subject)) }
            }
        }
        return (requests, changes)
    }

    /// Nothing is known against anybody.
    public var isEmpty: Bool { records.isEmpty }

    /// Forgets whom no cluster names any more.
    public mutating func retain(_ isKnown: (Subject) -> Bool) {
        records = records.filter { isKnown($0.key) }
    }

    // MARK: Looking

    public func phase(of subject: Subject) -> Phase { records[subject]?.phase ?? .well }

    /// What is thought of a subject, why, and what comes next, each in words.
    public struct Explanation: Equatable, Sendable {
        /// "well", "suspect", "ejected", "probing", "trial", "unhealthy", "degraded".
        public var state: String
        /// Empty where all is well.
        public var reason = ""
        public var next = ""

        public init(_ state: String, reason: String = "", next: String = "") {
            self.state = state
            self.reason = reason
            self.next = next
        }

        /// "suspect: connect-refused ×3, probe in 1.2 s".
        public var text: String {
            if reason.isEmpty { return state }
            return "\(state): \(reason)" + (next.isEmpty ? "" : ", \(next)")
        }
    }

    public func explain(_ subject: Subject, now: Instant) -> Explanation {
        guard let record = records[subject] else { return Explanation("well") }
        switch record.probes {
        case .failed: return Explanation("unhealthy", reason: "health checks fail")
        case .excluded: return Explanation("unhealthy", reason: "health checks have not passed")
        case .passed, .degraded: break
        }
        if let outlier = record.outlier {
            return Explanation(
                "ejected", reason: outlier.reason, next: "back in \((outlier.until - now).inTenths)"
            )
        }
        let kind = record.kind?.word ?? "failures"
        switch record.phase {
        case .well:
            return record.probes == .degraded
                ? Explanation("degraded", reason: "its health check says so") : Explanation("well")
        case .suspect, .ejected:
            let next = record.probeAddress == nil ? "trial" : "probe"
            return Explanation(
                record.phase.rawValue, reason: "\(kind) ×\(record.failures)",
                next: "\(next) in \((record.until - now).inTenths)")
        case .probing:
            return Explanation(
                "probing", reason: "\(kind) ×\(record.failures)", next: "connecting")
        case .trial:
            return Explanation("trial", reason: "after \(kind)", next: "well with the next success")
        }
    }

    public func describe(_ subject: Subject, now: Instant) -> String {
        explain(subject, now: now).text
    }

    /// What must always hold; for tests.
    public func checkInvariants() {
        for record in records.values {
            precondition(record.phase != .ejected || record.isOut)
            precondition(!(record.phase == .well || record.phase == .trial) || !record.isOut)
            precondition(record.hold <= max(maxHold, baseHold))
            precondition(record.phase != .probing || record.probeAddress != nil)
        }
    }
}

/// What active health checks make of an endpoint.
public enum ProbeStanding: Equatable, Sendable {
    case passed
    /// It passes, and says that it is degraded.
    case degraded
    case failed
    /// It fails, or was not asked yet, and its priority is reckoned without it.
    case excluded
}
