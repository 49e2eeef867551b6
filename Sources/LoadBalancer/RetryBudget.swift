public import MeshConfig

/// Bounds the retries of one cluster in one worker to a share of its requests in flight, so that
/// retries cannot become the load that keeps a cluster down. A retry that waits in its back-off
/// counts, too.
public struct RetryBudget: Equatable, Sendable {
    public private(set) var active = 0
    public var percent: Double
    public var minimum: Int

    public init(_ breakers: CircuitBreakers = CircuitBreakers()) {
        percent = breakers.retryBudgetPercent
        minimum = breakers.retryBudgetMinimum
    }

    /// Takes a place if there is one; give it back with `ended`.
    public mutating func begin(activeRequests: Int) -> Bool {
        let limit = max(Double(minimum), Double(activeRequests) * percent / 100)
        guard Double(active) < limit else { return false }
        active += 1
        return true
    }

    public mutating func ended() {
        precondition(active > 0, "a retry ended that was not begun")
        active -= 1
    }
}

/// What of a cluster's limits is used in one worker.
public struct CircuitBreakerState: Equatable, Sendable {
    public private(set) var requests = 0
    public private(set) var pending = 0
    public private(set) var connections = 0
    public var limits: CircuitBreakers

    public init(_ limits: CircuitBreakers) {
        self.limits = limits
    }

    public mutating func beginRequest() -> Bool { take(\.requests, limits.maxRequests) }
    public mutating func endRequest() { giveBack(\.requests) }
    public mutating func beginPending() -> Bool { take(\.pending, limits.maxPendingRequests) }
    public mutating func endPending() { giveBack(\.pending) }
    public mutating func beginConnection() -> Bool { take(\.connections, limits.maxConnections) }
    public mutating func endConnection() { giveBack(\.connections) }

    private mutating func take(_ count: WritableKeyPath<Self, Int>, _ limit: Int) -> Bool {
        guard self[keyPath: count] < limit else { return false }
        self[keyPath: count] += 1
        return true
    }

    private mutating func giveBack(_ count: WritableKeyPath<Self, Int>) {
        precondition(self[keyPath: count] > 0, "ended more often than begun")
        self[keyPath: count] -= 1
    }
}
