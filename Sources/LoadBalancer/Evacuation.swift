public import MeshBase
public import MeshConfig

/// Takes the traffic off some endpoints at a rate, by an operator's word, and gives it back the same way.
///
/// The percentage is that of requests which would have gone there and go elsewhere; at 100 those
/// endpoints count as draining, and the formulas do the rest. What runs on them runs on. Where
/// nothing else is usable an evacuation yields: it must never be what makes requests fail.
public struct Evacuation: Equatable, Sendable {
    public var scope: EndpointScope
    /// Where it started, and what it goes to, in percent.
    public private(set) var from: Int
    public private(set) var target: Int
    public private(set) var percentPerSecond: Int
    public private(set) var since: Instant

    public init(
        scope: EndpointScope, target: Int = 100, percentPerSecond: Int = 10, from: Int = 0,
        since: Instant
    ) {
        self.scope = scope
        self.from = from
        self.target = min(100, max(0, target))
        self.percentPerSecond = max(1, percentPerSecond)
        self.since = since
    }

    public func percent(at now: Instant) -> Int {
        let moved = (now - since).milliseconds * Int64(percentPerSecond) / 1000
        let distance = Int(clamping: max(0, moved))
        return target >= from ? min(target, from + distance) : max(target, from - distance)
    }

    /// Back to nothing, at the rate that it came.
    public func undone(at now: Instant) -> Evacuation {
        Evacuation(
            scope: scope, target: 0, percentPerSecond: percentPerSecond, from: percent(at: now),
            since: now)
    }

    /// It was undone and has no effect any more.
    public func isOver(at now: Instant) -> Bool { target == 0 && percent(at: now) == 0 }

    /// When the percentage changes next.
    public func nextDeadline(after now: Instant) -> Instant {
        let percent = percent(at: now)
        if percent == target { return .distantFuture }
        let steps = Int64(abs(percent - from) + 1)
        let rate = Int64(percentPerSecond)
        return since + .milliseconds((steps * 1000 + rate - 1) / rate)
    }

    /// "leaving: 40 % of 100 %", "gone", "returning: 20 %".
    public func words(at now: Instant) -> String {
        let percent = percent(at: now)
        if target == 0 { return percent == 0 ? "over" : "returning: \(percent) %" }
        if percent == target { return percent == 100 ? "evacuated" : "evacuated by \(percent) %" }
        return "evacuating: \(percent) % of \(target) %"
    }
}
