public import MeshBase

/// How a link behaves. The defaults are a good local network.
public struct LinkConditions: Sendable {
    public var latency = Duration.microseconds(200)
    /// Added to the latency, drawn for each segment. Segments of one connection stay in order.
    public var jitter = Duration.microseconds(50)
    /// Largest pieces that arrive by themselves.
    public var segmentBytes = 64 * 1024
    /// Splits writes into pieces of any size down to one byte.
    public var splitsAnywhere = false
    /// Bytes for each second; `nil` means no limit.
    public var bandwidth: Int? = nil
    /// Bytes that a receiver takes before its reader must have read some.
    public var receiveBuffer = 256 * 1024
    /// The chance of each segment that both ends are reset instead.
    public var resetChance = 0.0
    /// The chance of a new connection to be refused.
    public var refuseChance = 0.0
    /// The chance of a reset to destroy what the other end has received and not read.
    public var resetDiscards = 0.0

    public init() {}

    /// Some weather: everything but resets and refusals, drawn from `random`.
    public static func weather(_ random: inout SeededRandom) -> LinkConditions {
        var conditions = LinkConditions()
        conditions.latency = .microseconds(10 << random.below(12))
        conditions.jitter = .microseconds(random.below(2000))
        conditions.splitsAnywhere = random.below(2) == 0
        conditions.segmentBytes = 256 << random.below(9)
        conditions.receiveBuffer = 2048 << random.below(8)
        conditions.bandwidth = random.below(4) == 0 ? 1_000_000 << random.below(6) : nil
        conditions.resetDiscards = random.below(3) == 0 ? 0.5 : 0
        return conditions
    }
}

/// The way from one host to another, one direction.
public final class Link {
    public enum Carriage: Sendable {
        case carrying
        /// Everything waits, and arrives when it carries again; connects wait as well.
        case waiting
        /// Everything vanishes. A connection that lost something stays deaf for ever.
        case losing
    }

    public var conditions: LinkConditions
    public var carriage = Carriage.carrying {
        didSet {
            if carriage != .waiting { releaseHeld() }
        }
    }

    private unowned let network: SimulatedNetwork
    private var held: [NetworkEvent] = []
    private var busyUntil = Instant.zero

    init(_ network: SimulatedNetwork, _ conditions: LinkConditions) {
        self.network = network
        self.conditions = conditions
    }

    /// When something that leaves now arrives.
    func arrival(of bytes: Int) -> Instant {
        var leaves = network.now
        if let bandwidth = conditions.bandwidth, bytes > 0 {
            busyUntil =
                max(busyUntil, leaves) + .nanoseconds(bytes * 1_000_000_000 / max(1, bandwidth))
            leaves = busyUntil
        }
        let jitter = conditions.jitter.nanoseconds
        let extra = jitter > 0 ? network.random.below(Int(jitter)) : 0
        return leaves + conditions.latency + .nanoseconds(extra)
    }

    func chance(_ probability: Double) -> Bool {
        probability > 0 && network.random.unit() < probability
    }

    /// The size of the next piece of a write.
    func pieceSize(of bytes: Int) -> Int {
        let most = min(bytes, max(1, conditions.segmentBytes))
        if !conditions.splitsAnywhere || most == 1 { return most }
        switch network.random.below(8) {
        case 0: return 1 + network.random.below(min(most, 4))
        case 1, 2: return 1 + network.random.below(min(most, 100))
        case 3, 4: return 1 + network.random.below(most)
        default: return most
        }
    }

    func hold(_ event: NetworkEvent) {
        held.append(event)
    }

    private func releaseHeld() {
        let events = held
        held = []
        for event in events { network.schedule(at: network.now + conditions.latency, event) }
    }
}

/// What a new connection meets at an address.
public enum ConnectFault: Sendable {
    case refuse
    case unreachable
    /// No answer at all.
    case blackHole
    /// The connection is made and closed at once; the listener's owner never sees it.
    case closeAtOnce
    case resetAtOnce
}
