/// What one probe found.
public enum ProbeResult: Equatable, Sendable {
    /// `HealthCheckFailureType` in Envoy's events, and whether it takes a run of them.
    public enum Failure: Equatable, Sendable {
        /// It answered, and not what was expected.
        case wrongAnswer
        /// The same, of those that `retriable_statuses` names.
        case retriableAnswer
        case network
        case timeout

        /// An answer is meant; a network may lose one.
        var turnsAtOnce: Bool { self == .wrongAnswer }
    }

    case passed
    /// It passed, and says that it is degraded (`x-envoy-degraded`).
    case degraded
    /// With what was expected and what came, for people.
    case failed(Failure, String)
}

/// Decides from probe results whether one endpoint may take traffic, as Envoy does.
///
/// A single odd result proves nothing, so health flips only after a run of results that contradict it;
/// one that agrees ends the run. Two things decide at once: the very first result, for until then
/// nothing is known that could be contradicted, and an answer that says no. When to probe is
/// `ProbeSchedule`'s business.
public struct HealthTracker: Equatable, Sendable {
    public enum Change: Equatable, Sendable {
        case none
        /// The run that has begun may turn it.
        case pending
        case becameHealthy
        case becameUnhealthy
    }

    /// Before the first result an endpoint is not trusted.
    public private(set) var isHealthy = false
    public private(set) var isDegraded = false
    public private(set) var hasResult = false
    public private(set) var lastFailure = ""
    /// Failures since the last success.
    public private(set) var failures = 0
    private let failuresToEject: Int
    private let successesToReturn: Int
    private var contradictions = 0

    public init(failuresToEject: Int, successesToReturn: Int) {
        self.failuresToEject = max(1, failuresToEject)
        self.successesToReturn = max(1, successesToReturn)
    }

    public mutating func record(_ result: ProbeResult) -> Change {
        var turnsAtOnce = !hasResult
        hasResult = true
        switch result {
        case .passed, .degraded:
            failures = 0
            isDegraded = result == .degraded
            return lean(toHealthy: true, atOnce: turnsAtOnce)
        case .failed(let failure, let reason):
            lastFailure = reason
            failures += 1
            if failure.turnsAtOnce { turnsAtOnce = true }
            return lean(toHealthy: false, atOnce: turnsAtOnce)
        }
    }

    /// The endpoint itself said, with an answer to a request, that it fails.
    public mutating func saidUnhealthy() -> Change {
        lastFailure = "it said so: x-envoy-immediate-health-check-fail"
        hasResult = true
        return lean(toHealthy: false, atOnce: true)
    }

    private mutating func lean(toHealthy: Bool, atOnce: Bool) -> Change {
        if toHealthy == isHealthy {
            contradictions = 0
            return .none
        }
        contradictions += 1
        if !atOnce, contradictions < (isHealthy ? failuresToEject : successesToReturn) {
            return .pending
        }
        isHealthy = toHealthy
        contradictions = 0
        return toHealthy ? .becameHealthy : .becameUnhealthy
    }
}
