public import MeshBase

/// Decides which of several control planes is in force.
///
/// They are an ordered list. One is in force at a time and its resources are never mixed with another's;
/// the change is made before the break: the new one's configuration replaces the old as a whole,
/// when it is complete. The one in force is left when its stream is down and does not come back within
/// `timeout`, and what it gave stays in force until another is complete. A preferred one is listened
/// to meanwhile, and returned to once it has been complete for `returnHold`.
///
/// To be connected at a time: the one in force, those before it in the list (to return to), and, while the
/// one in force is down, those behind it as well, each tried after its predecessor had `timeout`.
public struct ControlPlaneSet: Sendable {
    public enum Phase: Sendable, Equatable {
        case idle
        /// A stream is being opened, or has given nothing complete yet.
        case connecting
        /// Everything that was asked for has come.
        case complete
        /// The stream ended; it is tried again at the given time.
        case down(retryAt: Instant)
    }

    /// What is to be done now; take them in order until there is none.
    public enum Step: Sendable, Equatable {
        case connect(Int)
        case disconnect(Int)
        /// This one's configuration is in force from now on.
        case switchTo(Int)
    }

    private struct Entry: Sendable {
        var phase = Phase.idle
        var backoff: Backoff
        /// When the present attempt (or outage) began.
        var since = Instant.zero
        var completeSince: Instant?
    }

    private var entries: [Entry]
    private let timeout: Duration
    private let returnHold: Duration
    private var random: SeededRandom
    public private(set) var inForce: Int?
    /// Entries up to this index may be connected.
    private var reach = 0
    private var reachSince: Instant

    public init(
        count: Int, timeout: Duration, returnHold: Duration, random: SeededRandom, now: Instant
    ) {
        precondition(count > 0)
        let backoff = Backoff(base: .milliseconds(250), cap: .seconds(5))
        precondition(backoff != nil)
        entries = (0..<count).compactMap { _ in backoff.map { Entry(backoff: $0) } }
        self.timeout = timeout
        self.returnHold = returnHold
        self.random = random
        reachSince = now
    }

    public func phase(of index: Int) -> Phase { entries[index].phase }

    /// When `steps` should be asked for again although nothing happened.
    public var nextDeadline: Instant? {
        var times: [Instant] = []
        for (index, entry) in entries.enumerated() {
            if case .down(let retryAt) = entry.phase, index <= reach { times.append(retryAt) }
            if let since = entry.completeSince, index < (inForce ?? 0) {
                times.append(since + returnHold)
            }
        }
        if isWanting, reach + 1 < entries.count { times.append(reachSince + timeout) }
        return times.min()
    }

    // MARK: What happened

    /// All that was asked of it has come and can be built.
    public mutating func becameComplete(_ index: Int, now: Instant) {
        if entries[index].phase == .complete { return }
        entries[index].phase = .complete
        entries[index].completeSince = now
        entries[index].backoff.reset()
    }

    /// The stream could not be opened, or ended.
    public mutating func ended(_ index: Int, now: Instant) {
        let wasComplete = entries[index].phase == .complete
        entries[index].phase = .down(
            retryAt: now + entries[index].backoff.next(random: &random))
        entries[index].completeSince = nil
        if wasComplete, index == inForce {
            reach = max(reach, index)
            reachSince = now
        } else if reach == index, reach + 1 < entries.count, inForce == nil || isWanting {
            // Refused at once: the next need not wait for this one's time to be over.
            extendReach(now)
        }
    }

    /// Whether what is in force has no live stream behind it.
    private var isWanting: Bool {
        guard let inForce else { return true }
        return entries[inForce].phase != .complete
    }

    private mutating func extendReach(_ now: Instant) {
        guard reach + 1 < entries.count else { return }
        reach += 1
        reachSince = now
    }

    // MARK: What to do

    public mutating func steps(now: Instant) -> [Step] {
        var steps: [Step] = []
        if isWanting, reach + 1 < entries.count, now >= reachSince + timeout { extendReach(now) }
        if let best = choice(now), best != inForce {
            steps.append(.switchTo(best))
            inForce = best
            reach = best
        }
        for index in entries.indices {
            if index <= max(reach, inForce ?? 0) {
                switch entries[index].phase {
                case .idle:
                    entries[index].phase = .connecting
                    entries[index].since = now
                    steps.append(.connect(index))
                case .down(let retryAt) where retryAt <= now:
                    entries[index].phase = .connecting
                    entries[index].since = now
                    steps.append(.connect(index))
                case .connecting, .complete, .down:
                    break
                }
            } else if entries[index].phase != .idle {
                // Behind the one in force, which is well: not needed.
                entries[index].phase = .idle
                entries[index].completeSince = nil
                steps.append(.disconnect(index))
            }
        }
        return steps
    }

    /// The one that should be in force, of those that are complete.
    private func choice(_ now: Instant) -> Int? {
        for (index, entry) in entries.enumerated() {
            guard entry.phase == .complete, let since = entry.completeSince else { continue }
            guard let inForce, index < inForce, entries[inForce].phase == .complete else {
                return index
            }
            // A preferred one proves itself first, while the present one is well.
            if now >= since + returnHold { return index }
        }
        return inForce
    }
}
