public import MeshBase
public import MeshConfig

/// Says which endpoints of one cluster are due for a probe.
///
/// First probes are spread over an interval (or over `initialJitter`, where that is given), so that a
/// large cluster is not asked all at once. The next is due one interval after the last one *ended*;
/// which of Envoy's six intervals that is depends on what it found, whether that turned the endpoint or
/// only began a run, and whether the cluster has ever been connected to. An endpoint that is being
/// probed is never due.
public struct ProbeSchedule {
    private struct Target {
        var due: Instant
        var isRunning = false
    }

    private let config: ProbeConfig
    private var targets: [SocketAddress: Target] = [:]
    private var random: SeededRandom
    /// A connection has been made to the cluster, ever.
    private var hasTraffic: Bool

    public init(_ config: ProbeConfig, hasTraffic: Bool = false, random: SeededRandom) {
        self.config = config
        self.hasTraffic = hasTraffic
        self.random = random
    }

    /// Takes the addresses to be probed; known ones keep their time.
    public mutating func update(_ addresses: [SocketAddress], now: Instant) {
        var kept: [SocketAddress: Target] = [:]
        let spread =
            config.initialJitter > .zero ? config.initialJitter : min(config.interval, .seconds(1))
        for address in addresses where kept[address] == nil {
            kept[address] = targets[address] ?? Target(due: now + draw(spread))
        }
        targets = kept
    }

    /// The cluster is connected to for the first time: from now on it is asked as often as configured.
    public mutating func trafficBegan(now: Instant) {
        if hasTraffic { return }
        hasTraffic = true
        // By address: a dictionary's order differs from run to run.
        for address in targets.keys.sorted(by: { $0.description < $1.description }) {
            guard var target = targets[address], !target.isRunning else { continue }
            target.due = min(target.due, now + jittered(config.interval))
            targets[address] = target
        }
    }

    /// `nil` when nothing is ever due before a running probe ends. Cost: all targets.
    public var nextDeadline: Instant? {
        targets.values.lazy.filter { !$0.isRunning }.map(\.due).min()
    }

    /// When this endpoint is asked next; `nil` while it is being asked.
    public func due(_ address: SocketAddress) -> Instant? {
        guard let target = targets[address], !target.isRunning else { return nil }
        return target.due
    }

    /// The targets to probe now; each stays out until `ended`.
    public mutating func due(now: Instant) -> [SocketAddress] {
        var due: [SocketAddress] = []
        for (address, target) in targets where !target.isRunning && target.due <= now {
            targets[address]?.isRunning = true
            due.append(address)
        }
        // A dictionary's order differs from run to run; a seed must not.
        return due.sorted { $0.description < $1.description }
    }

    /// A probe ended; sets the time of the next.
    public mutating func ended(
        _ address: SocketAddress, passed: Bool, _ change: HealthTracker.Change, now: Instant
    ) {
        guard targets[address] != nil else { return }
        let interval = interval(passed: passed, isPending: change == .pending)
        targets[address] = Target(due: now + jittered(interval))
    }

    private func interval(passed: Bool, isPending: Bool) -> Duration {
        if !hasTraffic {
            let slow = config.noTrafficInterval
            return passed && !isPending ? config.noTrafficHealthyInterval ?? slow : slow
        }
        if passed {
            return isPending ? config.healthyEdgeInterval ?? config.interval : config.interval
        }
        let unhealthy = config.unhealthyInterval ?? config.interval
        return isPending ? config.unhealthyEdgeInterval ?? unhealthy : unhealthy
    }

    private mutating func jittered(_ interval: Duration) -> Duration {
        interval + draw(config.intervalJitter) + draw(interval * config.intervalJitterPercent / 100)
    }

    private mutating func draw(_ bound: Duration) -> Duration {
        bound > .zero ? .nanoseconds(Int64(random.below(Int(bound.nanoseconds)))) : .zero
    }
}
