public import MeshBase
public import MeshConfig
public import Synchronization

/// What of one cluster's limits is in use, in all workers together and apart for each priority; and
/// who waits for a place.
///
/// A place is reserved before it is used: one compare-and-exchange raises the count, and only from below
/// the limit. So a limit holds to the last place however many workers ask at once, and nobody is
/// refused while a place is free. Giving back is one subtraction.
///
/// **Waiting.** Who may wait draws a ticket. A worker keeps its own waiters in order (`WaitingLine`) and
/// shows the ticket of its first here, so that whoever gives a place back sees whose turn it is,
/// and tells that worker. A place and a waiter can't miss each other: who waits is counted *before* he looks
/// for a place once more, and a place is given back *before* one looks for who waits. That needs the one order
/// of sequential consistency, which costs nothing beside relaxed where additions are locked anyway (x86).
///
/// Limits come with each call: while a new configuration is on its way workers may differ in them, and
/// share the counts all the same.
public final class BreakerCells: Sendable {
    public enum Resource: Int, CaseIterable, Sendable {
        case requests, pending, connections, retries
    }
    /// Where something counts.
    public struct Place: Equatable, Sendable {
        public var resource: Resource
        public var priority: RequestPriority

        public init(_ resource: Resource = .requests, _ priority: RequestPriority = .normal) {
            self.resource = resource
            self.priority = priority
        }
    }

    @usableFromInline let counts = InlineArray<8, Atomic<Int>> { _ in Atomic(0) }
    @usableFromInline let waiting = InlineArray<8, Atomic<Int>> { _ in Atomic(0) }
    private let tickets = Atomic<UInt64>(0)
    private let fronts: [Front]
    /// A `BurstWindow` for each priority.
    private let bursts = InlineArray<2, Atomic<UInt64>> { _ in Atomic(0) }

    /// The tickets of those who are first in one worker; `.max` is nobody.
    private final class Front: Sendable {
        let tickets = InlineArray<8, Atomic<UInt64>> { _ in Atomic(.max) }
    }

    public init(workers: Int = 1) {
        fronts = (0..<workers).map { _ in Front() }
    }

    // MARK: Places

    /// Reserves a place if one is free; give it back with `release`.
    @inlinable
    public func reserve(_ resource: Resource, _ priority: RequestPriority, limit: Int) -> Bool {
        let index = BreakerCells.index(resource, priority)
        var count = counts[index].load(ordering: .sequentiallyConsistent)
        while count < limit {
            let (done, found) = counts[index].weakCompareExchange(
                expected: count, desired: count + 1, ordering: .sequentiallyConsistent)
            if done { return true }
            count = found
        }
        return false
    }

    /// Takes a place beyond any limit.
    public func force(_ resource: Resource, _ priority: RequestPriority) {
        counts[BreakerCells.index(resource, priority)].wrappingAdd(
            1, ordering: .sequentiallyConsistent)
    }

    /// - Returns: whether somebody waits for such a place.
    @inlinable
    public func release(_ resource: Resource, _ priority: RequestPriority) -> Bool {
        let index = BreakerCells.index(resource, priority)
        let (old, _) = counts[index].wrappingSubtract(1, ordering: .sequentiallyConsistent)
        precondition(old > 0, "given back more often than taken")
        return waiting[index].load(ordering: .sequentiallyConsistent) > 0
    }

    @inlinable
    public func count(_ resource: Resource, _ priority: RequestPriority) -> Int {
        counts[BreakerCells.index(resource, priority)].load(ordering: .sequentiallyConsistent)
    }

    /// Reserves a place for a retry beyond the budget, out of its burst.
    public func reserveBurst(_ priority: RequestPriority, limit: Int, now: Instant) -> Bool {
        guard reserve(.retries, priority, limit: limit) else { return false }
        let cell = priority.rawValue
        var found = bursts[cell].load(ordering: .sequentiallyConsistent)
        while let used = BurstWindow(rawValue: found).using(one: limit, now: now) {
            let (done, other) = bursts[cell].weakCompareExchange(
                expected: found, desired: used.rawValue, ordering: .sequentiallyConsistent)
            if done { return true }
            found = other
        }
        _ = release(.retries, priority)
        return false
    }

    /// Whether `reserveBurst` would say yes, if nobody else came first.
    public func hasBurst(_ priority: RequestPriority, limit: Int, now: Instant) -> Bool {
        let window = bursts[priority.rawValue].load(ordering: .sequentiallyConsistent)
        return count(.retries, priority) < limit
            && BurstWindow(rawValue: window).using(one: limit, now: now) != nil
    }

    // MARK: Waiting

    /// How many wait, in all workers.
    @inlinable
    public func waitingCount(_ resource: Resource, _ priority: RequestPriority) -> Int {
        waiting[BreakerCells.index(resource, priority)].load(ordering: .sequentiallyConsistent)
    }

    /// Joins those who wait, if they are fewer than `limit`; end it with `stopWaiting`.
    /// - Returns: the ticket, lower than all that are drawn later.
    public func startWaiting(
        _ resource: Resource, _ priority: RequestPriority, limit: Int
    ) -> UInt64? {
        let index = BreakerCells.index(resource, priority)
        var count = waiting[index].load(ordering: .sequentiallyConsistent)
        while count < limit {
            let (done, found) = waiting[index].weakCompareExchange(
                expected: count, desired: count + 1, ordering: .sequentiallyConsistent)
            if done {
                return tickets.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue
            }
            count = found
        }
        return nil
    }

    public func stopWaiting(_ resource: Resource, _ priority: RequestPriority) {
        let (old, _) = waiting[BreakerCells.index(resource, priority)].wrappingSubtract(
            1, ordering: .sequentiallyConsistent)
        precondition(old > 0, "stopped waiting more often than started")
    }

    /// Shows who is first in a worker; `nil` is nobody.
    public func show(
        first ticket: UInt64?, of worker: Int, _ resource: Resource, _ priority: RequestPriority
    ) {
        fronts[worker].tickets[BreakerCells.index(resource, priority)].store(
            ticket ?? .max, ordering: .sequentiallyConsistent)
    }

    /// The worker in which the one waits who came first; costs a look at each worker.
    public func workerOfFirst(_ resource: Resource, _ priority: RequestPriority) -> Int? {
        let index = BreakerCells.index(resource, priority)
        var first: Int?
        var least = UInt64.max
        for (worker, front) in fronts.enumerated() {
            let ticket = front.tickets[index].load(ordering: .sequentiallyConsistent)
            if ticket < least { (first, least) = (worker, ticket) }
        }
        return first
    }

    @inlinable
    static func index(_ resource: Resource, _ priority: RequestPriority) -> Int {
        priority.rawValue * 4 + resource.rawValue
    }
}
