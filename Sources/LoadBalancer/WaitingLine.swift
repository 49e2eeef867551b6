public import MeshBase

/// Those of one worker that wait for a place, first come first served, each until its time is over.
///
/// Nobody is sent away before one who came earlier, also when those who come later are given less time.
public struct WaitingLine<Waiter> {
    private struct Entry {
        var waiter: Waiter
        /// Rises along the line.
        var ticket: UInt64
        /// Never falls along the line.
        var deadline: Instant
    }

    private var entries: [Entry] = []
    /// Entries before it are gone; they are cut off when they are more than half.
    private var start = 0

    public init() {}

    public var count: Int { entries.count - start }
    public var isEmpty: Bool { count == 0 }
    /// The ticket of who is first.
    public var first: UInt64? { isEmpty ? nil : entries[start].ticket }
    /// When the first's time is over.
    public var nextDeadline: Instant? { isEmpty ? nil : entries[start].deadline }

    /// - Parameter ticket: higher than those before.
    public mutating func join(_ waiter: Waiter, ticket: UInt64, until deadline: Instant) {
        let latest = entries.last?.deadline ?? deadline
        entries.append(
            Entry(waiter: waiter, ticket: ticket, deadline: max(deadline, latest)))
    }

    /// Takes out who is first.
    public mutating func next() -> Waiter? {
        if isEmpty { return nil }
        let waiter = entries[start].waiter
        start += 1
        if start * 2 > entries.count {
            entries.removeFirst(start)
            start = 0
        }
        return waiter
    }

    /// Takes out one that does not wait any longer; costs a look at each before it.
    /// - Returns: whether it was in the line.
    public mutating func leave(_ isIt: (Waiter) -> Bool) -> Bool {
        guard let index = entries[start...].firstIndex(where: { isIt($0.waiter) }) else {
            return false
        }
        entries.remove(at: index)
        return true
    }

    /// Takes out whose time is over.
    public mutating func expire(at now: Instant) -> [Waiter] {
        var expired: [Waiter] = []
        while let deadline = nextDeadline, deadline <= now, let waiter = next() {
            expired.append(waiter)
        }
        return expired
    }
}
