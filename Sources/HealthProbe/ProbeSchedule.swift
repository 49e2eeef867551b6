public import MeshBase
public import MeshConfig

/// Says which endpoints of one cluster are due for a probe.
///
/// First probes are spread over an interval (or over `initialJitter`, where that is given), so that a
/// large cluster is not asked all at once. The next is due one interval after the last one *ended*;
/// an endpoint that is being probed is never due.
public struct ProbeSchedule {
    private struct Target {
        var due: Instant
        var isRunning = false
    }

    private let config: ProbeConfig
    private var targets: [SocketAddress: Target] = [:]
    private var random: SeededRandom

    public init(_ config: ProbeConfig, random: SeededRandom) {
        self.config = config
        self.random = random
    }

    /// Takes the addresses to be probed; known ones keep their time.
    public mutating func update(_ addresses: [SocketAddress], now: Instant) {
        var kept: [SocketAddress: Target] = [:]
        let spread =
            config.initialJitter > .zero ? config.initialJitter : min(config.interval, .seconds(1))
        for address in addresses {
            kept[address] = targets[address] ?? Target(due: now + draw(spread))
        }
        targets = kept
    }

    /// `nil` when nothing is ever due before a running probe ends. Cost: all targets.
    public var nextDeadline: Instant? {
        targets.values.lazy.filter { !$0.isRunning }.map(\.due).min()
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
        _ address: SocketAddress, isHealthy: Bool, hasTraffic: Bool, now: Instant
    ) {
        guard targets[address] != nil else { return }
        var interval = config.interval
        if !hasTraffic {
            interval = config.noTrafficInterval ?? .seconds(60)
        } else if !isHealthy {
            interval = config.unhealthyInterval ?? config.interval
        }
        let percent = interval * config.intervalJitterPercent / 100
        let next = now + interval + draw(config.intervalJitter) + draw(percent)
        targets[address] = Target(due: next)
    }

    private mutating func draw(_ bound: Duration) -> Duration {
        bound > .zero ? .nanoseconds(Int64(random.below(Int(bound.nanoseconds)))) : .zero
    }
}
