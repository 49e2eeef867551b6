public import MeshBase
public import MeshConfig

/// How a priority comes back that was wholly out while it had load.
///
///     whole ──nothing usable──▸ out ──usable──▸ holding ──hold is over──▸ ramping ──10 steps──▸ whole
///                                ▲                 │ ▲                       │
///                                └─nothing usable──┘ └── failures at 10 % ───┤
///                                └────────────── nothing usable ─────────────┘
///
/// A cluster that has just come back is cold, and often goes again: clients that jump to it at once
/// hit empty caches and one pod of many. So it is watched for as long as it was away, between
/// `minHold` and `maxHold`, without load; then it gets 10 % of its share, 20 %, and so on. Failures
/// take a step back. A step in which nothing was sent counts as passed, since where there is no load
/// there is nothing to spare. An outage that begins before the ramp has ended is the old one.
///
/// The ramp is laid over what Envoy's formulas gave: a priority with a factor of 40 % has 40 % of its
/// share, and the rest is shared as if it were out. It acts on returns from complete outages alone,
/// so partial failures follow the formulas bit for bit. When the others can't take the rest either,
/// there is no ramp.
public struct FailbackRamp {
    public enum Event: Equatable, Sendable {
        /// Nothing of it is usable.
        case out
        /// Usable again; gets nothing for this long.
        case holding(Duration)
        case forward(percent: Int)
        case back(percent: Int)
        case finished

        /// The words of the admin port and the log.
        public var words: String {
            switch self {
            case .out: "out"
            case .holding(let hold): "failback holds for \(hold.milliseconds) ms"
            case .forward(let percent): "failback \(percent) %"
            case .back(let percent): "failback \(percent) % after failures"
            case .finished: "whole"
            }
        }
    }
    public struct Change: Equatable, Sendable {
        public var priority: Int
        public var event: Event

        public init(priority: Int, event: Event) {
            self.priority = priority
            self.event = event
        }
    }

    private enum Phase {
        case whole, out, holding, ramping
    }
    private struct Level {
        var phase = Phase.whole
        /// It had load when it was last whole.
        var carried = false
        var wentOut = Instant.zero
        /// The end of the hold or of the step.
        var until = Instant.distantFuture
        var hold = Duration.zero
        var step = Duration.zero
        var percent = 100
        var requests = 0
        var failures = 0
    }

    private let settings: FailbackSettings
    private var levels: [Level] = []
    /// Holding or ramping: results are of interest, and shares are not the formulas'.
    public private(set) var isActive = false
    /// When `advance` wants to be called again.
    public private(set) var nextDeadline = Instant.distantFuture
    private var isDue = false
    private static let steps = 10

    public init(_ settings: FailbackSettings = FailbackSettings()) {
        self.settings = settings
    }

    /// A request to a host of this priority has ended.
    /// - Returns: whether the shares have to be worked out again.
    public mutating func ended(priority: Int, failed: Bool) -> Bool {
        guard isActive, priority < levels.count, levels[priority].phase == .ramping else {
            return false
        }
        levels[priority].requests += 1
        return failed ? answeredBadly(priority: priority) : false
    }

    /// A request that has not ended yet was answered badly. The failure counts at once, the request when it
    /// has ended. - Returns: as `ended`.
    public mutating func answeredBadly(priority: Int) -> Bool {
        guard isActive, priority < levels.count, levels[priority].phase == .ramping else {
            return false
        }
        levels[priority].failures += 1
        isDue = isDue || exceedsErrors(levels[priority])
        return isDue
    }

    /// Follows what the formulas say now, and the time.
    /// - Parameters:
    ///   - usable: for each priority, whether any host of it is healthy or degraded.
    ///   - load: for each priority, its percent of all traffic by the formulas.
    public mutating func advance(usable: [Bool], load: [Int], now: Instant) -> [Change] {
        guard settings.isEnabled else { return [] }
        if levels.count != usable.count {
            levels = (0..<usable.count).map { $0 < levels.count ? levels[$0] : Level() }
        }
        isDue = false
        var changes: [Change] = []
        for priority in levels.indices {
            let events = advance(&levels[priority], usable[priority], load[priority], now)
            changes += events.map { Change(priority: priority, event: $0) }
        }
        isActive = levels.contains { $0.phase == .holding || $0.phase == .ramping }
        nextDeadline = levels.map(\.until).min() ?? .distantFuture
        return changes
    }

    private func advance(
        _ level: inout Level, _ usable: Bool, _ load: Int, _ now: Instant
    ) -> [Event] {
        guard usable else {
            if level.phase == .whole {
                guard level.carried else { return [] }
                level.wentOut = now
            }
            if level.phase == .out { return [] }
            level.phase = .out
            level.percent = 0
            level.until = .distantFuture
            return [.out]
        }
        switch level.phase {
        case .whole:
            level.carried = load > 0
            return []
        case .out:
            level.hold = min(max(now - level.wentOut, settings.minHold), settings.maxHold)
            let part = Double(level.hold.nanoseconds) / Double(settings.maxHold.nanoseconds)
            level.step = .nanoseconds(
                Int64(Double(settings.ramp.nanoseconds) * part) / Int64(FailbackRamp.steps))
            return [hold(&level, now)]
        case .holding, .ramping:
            return step(&level, now)
        }
    }

    private func hold(_ level: inout Level, _ now: Instant) -> Event {
        level.phase = .holding
        level.percent = 0
        level.until = now + level.hold
        return .holding(level.hold)
    }

    private func step(_ level: inout Level, _ now: Instant) -> [Event] {
        if level.phase == .ramping, exceedsErrors(level) {
            let percent = level.percent - 100 / FailbackRamp.steps
            if percent <= 0 { return [hold(&level, now)] }
            begin(&level, percent, now)
            return [.back(percent: percent)]
        }
        var events: [Event] = []
        while level.until <= now {
            if level.percent >= 100 {
                level = Level(carried: true)
                return [.finished]
            }
            level.phase = .ramping
            let percent = min(100, level.percent + 100 / FailbackRamp.steps)
            begin(&level, percent, level.until)
            events = [.forward(percent: percent)]
        }
        return events
    }

    private func begin(_ level: inout Level, _ percent: Int, _ now: Instant) {
        level.percent = percent
        level.requests = 0
        level.failures = 0
        level.until = now + max(level.step, .milliseconds(1))
    }

    private func exceedsErrors(_ level: Level) -> Bool {
        // Of bad answers some are still under way.
        level.failures * 100 > max(level.requests, level.failures) * settings.maxErrorPercent
    }

    /// How much of its share each priority gets, in percent.
    public var percents: [Int] { levels.map(\.percent) }

    /// The load of the formulas, with what returning priorities don't get yet given to the others.
    /// - Parameter formula: Envoy's formulas with everything that is configured.
    public func ramped(
        _ load: PriorityLoad, _ hosts: [PriorityLoad.Level],
        by formula: ([PriorityLoad.Level]) -> PriorityLoad
    ) -> PriorityLoad {
        var result = load
        var rest = hosts
        for priority in levels.indices.reversed()
        where levels[priority].phase == .holding || levels[priority].phase == .ramping {
            rest = hosts
            for other in levels.indices
            where other >= priority && levels[other].percent < 100 && levels[other].phase != .whole
            {
                rest[other] = PriorityLoad.Level(hosts: hosts[other].hosts, healthy: 0)
            }
            let without = formula(rest)
            if without.isEmpty || without.isPanicking { continue }
            result = result.blended(levels[priority].percent, with: without)
        }
        return result
    }

    public func checkInvariants() {
        for level in levels {
            precondition((0...100).contains(level.percent))
            precondition(level.phase != .whole || level.percent == 100)
            precondition(level.phase != .holding || level.percent == 0)
            precondition(level.requests >= 0 && level.failures >= 0)
        }
    }
}

extension PriorityLoad {
    /// `percent` of this load, and the rest shared as `other` says.
    func blended(_ percent: Int, with other: PriorityLoad) -> PriorityLoad {
        var result = self
        var rest = 100
        for index in healthyLoad.indices {
            result.healthyLoad[index] =
                (healthyLoad[index] * percent + other.healthyLoad[index] * (100 - percent)) / 100
            result.degradedLoad[index] =
                (degradedLoad[index] * percent + other.degradedLoad[index] * (100 - percent)) / 100
            rest -= result.healthyLoad[index] + result.degradedLoad[index]
        }
        // What rounding leaves over goes to the greatest share, which the least notices it.
        if let most = result.healthyLoad.indices.max(by: {
            result.healthyLoad[$0] < result.healthyLoad[$1]
        }) {
            result.healthyLoad[most] += rest
        }
        return result
    }
}
