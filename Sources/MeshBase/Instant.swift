/// A point on the monotonic clock, in nanoseconds since an arbitrary start.
///
/// Only `EventLoop` produces instants; everything else is handed them, so that it can be tested
/// by calling it with the time that the test wants.
public struct Instant: Comparable, Hashable, Sendable {
    public let nanoseconds: Int64

    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// Later than every instant that a clock will ever show.
    public static let distantFuture = Instant(nanoseconds: .max)
    public static let zero = Instant(nanoseconds: 0)

    public static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// Saturates instead of overflowing, so that "never" stays never.
    public static func + (instant: Instant, duration: Duration) -> Instant {
        let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(duration.nanoseconds)
        return Instant(nanoseconds: overflow ? (duration < .zero ? .min : .max) : sum)
    }

    public static func - (instant: Instant, duration: Duration) -> Instant {
        instant + (.zero - duration)
    }

    public static func - (later: Instant, earlier: Instant) -> Duration {
        .nanoseconds(later.nanoseconds &- earlier.nanoseconds)
    }
}

extension Duration {
    /// The whole duration in nanoseconds, rounded towards zero; saturates beyond 292 years.
    public var nanoseconds: Int64 {
        let total = attoseconds
        let size = total.magnitude
        let perNanosecond: UInt64 = 1_000_000_000
        let high = UInt64(truncatingIfNeeded: size >> 64)
        let limit = UInt64(Int64.max)
        // One division of the processor; 128 bits by 128 would be a call and fifty times as dear.
        let count =
            high < perNanosecond
            ? min(
                limit, perNanosecond.dividingFullWidth((high, UInt64(truncatingIfNeeded: size))).0)
            : limit
        return total < 0 ? (count == limit ? .min : -Int64(count)) : Int64(count)
    }

    /// For people: "1.2 s"; nothing below 0.
    public var inTenths: String {
        let tenths = max(0, milliseconds) / 100
        return "\(tenths / 10).\(tenths % 10) s"
    }

    /// Whole milliseconds, rounded towards zero.
    public var milliseconds: Int64 { nanoseconds / 1_000_000 }
}

/// Wall-clock time in microseconds since 1970-01-01 UTC: for logs and certificates, never for timers.
public struct UnixTime: Comparable, Hashable, Sendable {
    public let microseconds: Int64

    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    public var seconds: Int64 { microseconds / 1_000_000 }

    /// Saturates instead of overflowing.
    public static func - (time: UnixTime, duration: Duration) -> UnixTime {
        let (difference, overflow) = time.microseconds.subtractingReportingOverflow(
            duration.nanoseconds / 1000)
        return UnixTime(microseconds: overflow ? (duration < .zero ? .max : .min) : difference)
    }

    public static func < (left: UnixTime, right: UnixTime) -> Bool {
        left.microseconds < right.microseconds
    }
}
