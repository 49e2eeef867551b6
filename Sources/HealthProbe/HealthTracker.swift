/// What one probe found.
public enum ProbeResult: Equatable, Sendable {
    case passed
    /// With what was expected and what came, for people.
    case failed(String)
}

/// Decides from probe results whether one endpoint may take traffic.
///
/// A single odd result proves nothing, so health flips only after a run of results that contradict it;
/// one that agrees ends the run. The very first result decides at once, as in Envoy: until then
/// nothing is known that could be contradicted. When to probe is `ProbeSchedule`'s business.
public struct HealthTracker: Equatable, Sendable {
    public enum Change: Equatable, Sendable {
        case none
        case becameHealthy
        case becameUnhealthy
    }

    /// Before the first result an endpoint is not trusted.
    public private(set) var isHealthy = false
    public private(set) var hasResult = false
    public private(set) var lastFailure = ""
    private let failuresToEject: Int
    private let successesToReturn: Int
    private var contradictions = 0

    public init(failuresToEject: Int, successesToReturn: Int) {
        self.failuresToEject = max(1, failuresToEject)
        self.successesToReturn = max(1, successesToReturn)
    }

    public mutating func record(_ result: ProbeResult) -> Change {
        let passed = result == .passed
        if case .failed(let reason) = result { lastFailure = reason }
        if !hasResult {
            hasResult = true
            isHealthy = passed
            return passed ? .becameHealthy : .becameUnhealthy
        }
        if passed == isHealthy {
            contradictions = 0
            return .none
        }
        contradictions += 1
        if contradictions < (isHealthy ? failuresToEject : successesToReturn) { return .none }
        isHealthy = passed
        contradictions = 0
        return passed ? .becameHealthy : .becameUnhealthy
    }
}
