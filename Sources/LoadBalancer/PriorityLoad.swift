/// How traffic is shared between priorities: Envoy's formulas, in its integer arithmetic.
///
/// A priority's health is its healthy share (of hosts, or of weights) times the overprovisioning factor, at most 100. Load
/// goes to healthy hosts in the order of priorities, then to degraded ones; what rounding leaves
/// over goes to the first that has any. While the healths add up to 100 or more nothing panics.
///
/// Where we differ: a priority panics only when *all* do, for otherwise another can take the traffic;
/// and in `strict` mode one live host makes a priority's health 100.
public struct PriorityLoad: Equatable, Sendable {
    public struct Level: Equatable, Sendable {
        public var hosts: Int
        public var healthy: Int
        public var degraded: Int
        /// The same as sums of weights, where a priority's health goes by those.
        public var weights: Weights?
        /// In percent; `nil`: that of all.
        public var overprovisioningFactor: UInt32?

        public init(hosts: Int, healthy: Int, degraded: Int = 0, weights: Weights? = nil) {
            self.hosts = hosts
            self.healthy = healthy
            self.degraded = degraded
            self.weights = weights
        }
    }
    public struct Weights: Equatable, Sendable {
        public var hosts: Int
        public var healthy: Int
        public var degraded: Int

        public init(hosts: Int, healthy: Int, degraded: Int = 0) {
            self.hosts = hosts
            self.healthy = healthy
            self.degraded = degraded
        }
    }

    /// Percent of all traffic to the healthy hosts of each priority.
    public internal(set) var healthyLoad: [Int]
    public internal(set) var degradedLoad: [Int]
    /// All hosts of every priority are used, whatever their health.
    public private(set) var isPanicking = false
    /// Nothing is available anywhere.
    public private(set) var isEmpty = false

    public init(
        levels: [Level], overprovisioningFactor: UInt32 = 140, panicThreshold: Double = 50,
        strict: Bool = false
    ) {
        func share(_ part: Int, of whole: Int, _ level: Level) -> Int {
            if part == 0 || whole == 0 { return 0 }
            let factor = Int(level.overprovisioningFactor ?? overprovisioningFactor)
            return strict ? 100 : min(100, factor * part / whole)
        }
        let health = levels.map {
            share($0.weights?.healthy ?? $0.healthy, of: $0.weights?.hosts ?? $0.hosts, $0)
        }
        let degraded = levels.map {
            share($0.weights?.degraded ?? $0.degraded, of: $0.weights?.hosts ?? $0.hosts, $0)
        }
        let total = min(100, (health + degraded).reduce(0, +))
        healthyLoad = Array(repeating: 0, count: levels.count)
        degradedLoad = healthyLoad
        isEmpty = total == 0
        if total == 0 {
            isPanicking = panicThreshold > 0
            if !levels.isEmpty { healthyLoad[0] = 100 }
        } else {
            var rest = 100
            let firstHealthy = PriorityLoad.distribute(&rest, health, total, &healthyLoad)
            let firstDegraded = PriorityLoad.distribute(&rest, degraded, total, &degradedLoad)
            if let firstHealthy {
                healthyLoad[firstHealthy] += rest
            } else if let firstDegraded {
                degradedLoad[firstDegraded] += rest
            }
            isPanicking =
                panicThreshold > 0 && total < 100
                && levels.allSatisfy { level in
                    let available =
                        level.hosts == 0
                        ? 0 : 100 * Double(level.healthy + level.degraded) / Double(level.hosts)
                    return available < min(100, panicThreshold)
                }
        }
        if isPanicking { spreadByHostCount(levels) }
    }

    private static func distribute(
        _ rest: inout Int, _ availability: [Int], _ total: Int, _ load: inout [Int]
    ) -> Int? {
        for index in availability.indices {
            load[index] = min(rest, availability[index] * 100 / total)
            rest -= load[index]
        }
        return availability.firstIndex { $0 > 0 }
    }

    /// When everything panics, health says nothing any more: shares follow the number of hosts.
    private mutating func spreadByHostCount(_ levels: [Level]) {
        let all = levels.reduce(0) { $0 + $1.hosts }
        guard all > 0, let first = levels.firstIndex(where: { $0.hosts > 0 }) else { return }
        var rest = 100
        for index in levels.indices {
            healthyLoad[index] = 100 * levels[index].hosts / all
            degradedLoad[index] = 0
            rest -= healthyLoad[index]
        }
        healthyLoad[first] += rest
    }

    /// The priority for a draw.
    /// - Parameter draw: any number; its remainder by 100 counts.
    public func choose(_ draw: UInt64) -> (priority: Int, degraded: Bool) {
        let wanted = Int(draw % 100) + 1
        var sum = 0
        for (index, load) in healthyLoad.enumerated() {
            sum += load
            if wanted <= sum { return (index, false) }
        }
        for (index, load) in degradedLoad.enumerated() {
            sum += load
            if wanted <= sum { return (index, true) }
        }
        return (0, false)
    }
}

/// A locality's weight inside its priority, scaled by how much of it is available (Envoy).
public func effectiveLocalityWeight(
    _ weight: UInt32, available: Int, of hosts: Int, overprovisioningFactor: UInt32,
    strict: Bool = false
) -> Double {
    guard available > 0, hosts > 0 else { return 0 }
    if strict { return Double(weight) }
    let ratio = Double(overprovisioningFactor) / 100 * (Double(available) / Double(hosts))
    return Double(weight) * min(1, ratio)
}
