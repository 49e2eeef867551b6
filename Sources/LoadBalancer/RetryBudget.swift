public import MeshConfig

/// How many retries of one cluster may run at a time: a share of its requests in flight, so that
/// retries cannot become the load that keeps a cluster down. A retry that waits in its back-off
/// counts, too.
///
/// Workers count their retries together, in `BreakerCells`; who has but one owner counts here.
public struct RetryBudget: Equatable, Sendable {
    public private(set) var active = 0
    private let percent: Double
    private let minimum: Int

    public init(_ breakers: CircuitBreakers = CircuitBreakers()) {
        percent = breakers.retryBudgetPercent
        minimum = breakers.retryBudgetMinimum
    }

    /// How many retries may run beside so many requests.
    public func limit(activeRequests: Int) -> Int {
        max(minimum, Int((Double(activeRequests) * percent / 100).rounded(.up)))
    }

    /// Takes a place if there is one; give it back with `ended`.
    public mutating func begin(activeRequests: Int) -> Bool {
        guard active < limit(activeRequests: activeRequests) else { return false }
        active += 1
        return true
    }

    public mutating func ended() {
        precondition(active > 0, "a retry ended that was not begun")
        active -= 1
    }
}
