import EventLoop
import MeshBase

/// Decides when memory that closed connections left is given back to the system.
///
/// The allocator returns only what lies above all that is in use, so after a burst of connections a
/// process would stay as large as it was at its height: 215 MB after 4,000 of mTLS HTTP/2. To
/// give back what lies between takes some milliseconds, in which the workers' allocations wait. So it
/// is done when at least half of many connections have gone, once it is quiet, and rarely.
struct SpareMemory {
    private(set) var open = 0
    /// When to call `deadlineReached`.
    private(set) var nextDeadline: Instant?
    /// The most that were open since memory was last given back.
    private var height = 0
    private var notBefore = Instant.zero
    private var notAfter = Instant.zero

    /// Fewer leave nothing worth the time.
    static let least = 256
    static let quiet = Duration.milliseconds(200)
    static let longestWait = Duration.seconds(2)
    static let pause = Duration.seconds(10)

    mutating func connectionOpened() {
        open += 1
        height = max(height, open)
    }

    /// - Returns: the deadline, when there is a new one.
    mutating func connectionClosed(at now: Instant) -> Instant? {
        open -= 1
        guard height - open >= Self.least, open <= height / 2 else { return nil }
        if nextDeadline == nil { notAfter = now + Self.longestWait }
        nextDeadline = max(notBefore, min(now + Self.quiet, notAfter))
        return nextDeadline
    }

    /// - Returns: whether to give memory back now.
    mutating func deadlineReached(at now: Instant) -> Bool {
        guard let deadline = nextDeadline, now >= deadline else { return false }
        nextDeadline = nil
        // New ones came meanwhile and want what is spare.
        guard height - open >= Self.least, open <= height / 2 else { return false }
        height = open
        notBefore = now + Self.pause
        return true
    }
}

/// One worker's downstream connections, counted from being accepted to their end, and the memory
/// that they leave.
final class OpenConnections {
    private let loop: any IOLoop
    private var memory = SpareMemory()
    private var timer: LoopTimer?
    private var isStopped = false

    init(loop: any IOLoop) {
        self.loop = loop
    }

    func opened() { memory.connectionOpened() }

    func closed() {
        guard let deadline = memory.connectionClosed(at: loop.now), !isStopped else { return }
        let timer =
            timer
            ?? LoopTimer(loop.timers) { [unowned self] in
                if memory.deadlineReached(at: loop.now) { Machine.giveBackMemory() }
            }
        self.timer = timer
        timer.start(at: deadline)
    }

    func stop() {
        isStopped = true
        timer?.stop()
    }
}
