public import MeshBase
public import MeshConfig

/// Caps what the localities that survive an outage are given, so that the second does not go the way
/// of the first. What is too much is shed, which is cheaper for all than a queue.
///
/// It acts only while traffic is displaced: a priority has lost load to a worse one, or a locality
/// that has hosts has none left that is usable. Until then it learns what each locality usually
/// takes, from this worker alone.
public struct SpillLimiter {
    private let settings: SpillSettings
    private var meters: [(priority: Int, locality: Locality, meter: SpillMeter)] = []
    private var isDisplaced = false
    private var home = 0

    /// - Returns: `nil` when nothing is limited.
    public init?(_ settings: SpillSettings) {
        if settings.maxPerSecond == nil, settings.maxGrowthPercent == nil { return nil }
        self.settings = settings
    }

    /// Takes in who is there, and how it stands with them.
    mutating func rebuilt(_ hosts: [Host], _ load: PriorityLoad, now: Instant) {
        home = hosts.map(\.priority).min() ?? 0
        var usable: [Bool] = Array(repeating: false, count: meters.count)
        for host in hosts {
            let index: Int
            if let known = meters.firstIndex(where: {
                $0.priority == host.priority && $0.locality == host.locality
            }) {
                index = known
            } else {
                index = meters.count
                meters.append((host.priority, host.locality, SpillMeter(now: now)))
                usable.append(false)
            }
            host.meter = index
            if host.standing == .healthy || host.standing == .degraded { usable[index] = true }
        }
        let present = Set(hosts.map(\.meter))
        let isWhole = present.allSatisfy { usable[$0] }
        let homeLoad =
            home < load.healthyLoad.count ? load.healthyLoad[home] + load.degradedLoad[home] : 100
        isDisplaced = !isWhole || homeLoad < 100
    }

    /// Whether this host may be given one more request.
    mutating func admits(_ host: Host, now: Instant) -> Bool {
        guard meters.indices.contains(host.meter) else { return true }
        let limit = host.priority > home ? settings.maxPerSecond : nil
        return meters[host.meter].meter.admits(
            now: now, isDisplaced: isDisplaced, maxPerSecond: limit,
            maxGrowthPercent: settings.maxGrowthPercent)
    }
}

/// What one locality takes: its usual rate while all is well, a token bucket while it is not.
public struct SpillMeter {
    /// Requests for each second that it took before; 0 is none, or not known yet.
    public private(set) var usual = 0.0
    private var windowBegan: Instant
    private var count = 0
    private var tokens = 0.0
    private var filled: Instant
    private var wasDisplaced = false

    public init(now: Instant) {
        windowBegan = now
        filled = now
    }

    /// Whether one more request is within the limits; if so it is counted.
    public mutating func admits(
        now: Instant, isDisplaced: Bool, maxPerSecond: Int?, maxGrowthPercent: Int?
    ) -> Bool {
        guard isDisplaced else {
            learn(now)
            wasDisplaced = false
            return true
        }
        var limit = maxPerSecond.map(Double.init)
        // With nothing to grow from, growth says nothing.
        if let maxGrowthPercent, usual > 0 {
            limit = min(limit ?? .infinity, usual * Double(maxGrowthPercent) / 100)
        }
        guard let limit else {
            wasDisplaced = true
            return true
        }
        // A burst is paid for by the rate, so that no second sees more than the limit.
        let room = max(1, limit / 20)
        if wasDisplaced {
            tokens += max(limit - room, limit / 2) * SpillMeter.seconds(now - filled)
        } else {
            tokens = room
        }
        tokens = min(room, tokens)
        filled = now
        wasDisplaced = true
        if tokens < 1 { return false }
        tokens -= 1
        return true
    }

    private mutating func learn(_ now: Instant) {
        // The outage was no usual time.
        if wasDisplaced {
            windowBegan = now
            count = 0
        }
        let took = SpillMeter.seconds(now - windowBegan)
        if took >= 1 {
            let rate = Double(count) / took
            usual = usual == 0 ? rate : usual + 0.3 * (rate - usual)
            windowBegan = now
            count = 0
        }
        count += 1
    }

    private static func seconds(_ duration: Duration) -> Double {
        Double(duration.nanoseconds) / 1e9
    }
}
