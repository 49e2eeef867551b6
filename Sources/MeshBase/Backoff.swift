/// Exponential back-off with full jitter, as Envoy's `RetryPolicy.RetryBackOff` and its xDS
/// client define it: the n-th delay is drawn from 0 ..< min(base × 2ⁿ, cap).
public struct Backoff: Sendable, Equatable {
    public let base: Duration
    public let cap: Duration
    private var attempt = 0

    /// - Returns: `nil` unless 0 < base ≤ cap.
    public init?(base: Duration, cap: Duration) {
        guard base > .zero, base <= cap else { return nil }
        self.base = base
        self.cap = cap
    }

    public mutating func next(random: inout SeededRandom) -> Duration {
        let ceiling = min(cap.nanoseconds, base.nanoseconds << min(attempt, 20))
        // The shift can overflow for a huge base; the cap is then the answer.
        let bound = ceiling > 0 ? ceiling : cap.nanoseconds
        attempt += 1
        return .nanoseconds(Int64(random.below(Int(bound))))
    }

    /// Starts again from `base`, after a success.
    public mutating func reset() {
        attempt = 0
    }
}
