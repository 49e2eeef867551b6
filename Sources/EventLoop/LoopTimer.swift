public import MeshBase

/// One deadline that can be moved and stopped. Its owner holds it; the loop fires it.
///
/// Moving a deadline to a later time, what idle and request time-outs do for each request, costs
/// one store: the queue finds out when the earlier time comes. So a time-out that nearly never
/// fires costs nearly nothing.
public final class LoopTimer {
    private let queue: TimerQueue
    private let fired: () -> Void
    /// When it fires; `nil` while it is stopped.
    public private(set) var deadline: Instant?
    /// The entry's time in the queue, at or before `deadline`; `nil` when it is in no queue.
    fileprivate var queuedAt: Instant?
    fileprivate var order: UInt64 = 0

    /// - Parameter fired: called on the loop; made once for each timer, not for each request.
    public init(_ queue: TimerQueue, fired: @escaping () -> Void) {
        self.queue = queue
        self.fired = fired
    }

    public func start(at deadline: Instant) {
        self.deadline = deadline
        if let queuedAt, queuedAt <= deadline { return }
        queue.insert(self, at: deadline)
    }

    public func stop() {
        deadline = nil
    }

    public var isRunning: Bool { deadline != nil }

    fileprivate func fire() {
        deadline = nil
        fired()
    }
}

/// The timers of one loop: a binary heap by time, then by order of starting.
///
/// An entry can be stale, when its timer was stopped or moved since; stale entries are dropped or
/// re-queued when their time comes. That can be an hour away, and an entry keeps its timer in memory; so
/// each time the heap has doubled all stale ones are swept out.
public final class TimerQueue {
    private struct Entry {
        var time: Instant
        var order: UInt64
        var timer: LoopTimer
    }

    private var heap: [Entry] = []
    private var nextOrder: UInt64 = 0
    private var sweepAt = TimerQueue.leastSweep
    private static let leastSweep = 256

    public init() {}

    /// Number of timers that wait, stale ones among them.
    public var count: Int { heap.count }

    /// When the next timer fires. Drops stale entries at the top.
    public func nextDeadline() -> Instant? {
        settleTop()
        return heap.first?.time
    }

    /// When to look again: at or before the next timer fires. What is stale stays where it is, so a
    /// timer that each request stops and starts again keeps its place; an idle loop wakes once for
    /// each place that was left behind, and then sleeps for ever.
    public var nextLook: Instant? { heap.isEmpty ? nil : heap[0].time }

    /// Fires all that is due, in order of time. What is started meanwhile waits for the next call,
    /// so a timer that starts itself again for `now` cannot hold the loop.
    public func fireDue(now: Instant) {
        let newest = nextOrder
        while let look = nextLook, look <= now {
            settleTop()
            guard let top = heap.first, top.time <= now, top.order <= newest else { return }
            removeTop()
            top.timer.queuedAt = nil
            top.timer.fire()
        }
    }

    fileprivate func insert(_ timer: LoopTimer, at time: Instant) {
        if heap.count >= sweepAt { sweep() }
        nextOrder += 1
        timer.queuedAt = time
        timer.order = nextOrder
        heap.append(Entry(time: time, order: nextOrder, timer: timer))
        siftUp(heap.count - 1)
    }

    /// Drops the entries of timers that are stopped, and second entries of timers that moved.
    private func sweep() {
        heap.removeAll { entry in
            if entry.timer.order != entry.order || entry.timer.queuedAt == nil { return true }
            if entry.timer.deadline != nil { return false }
            entry.timer.queuedAt = nil
            return true
        }
        // A sorted array is a heap.
        heap.sort { $0.time != $1.time ? $0.time < $1.time : $0.order < $1.order }
        sweepAt = max(TimerQueue.leastSweep, 2 * heap.count)
    }

    private func settleTop() {
        while let top = heap.first {
            // An earlier start of the same timer left a second entry behind.
            if top.timer.order != top.order || top.timer.queuedAt == nil {
                removeTop()
            } else if let deadline = top.timer.deadline {
                if deadline <= top.time { return }
                removeTop()
                insert(top.timer, at: deadline)
            } else {
                removeTop()
                top.timer.queuedAt = nil
            }
        }
    }

    private func removeTop() {
        let last = heap.removeLast()
        if heap.isEmpty { return }
        heap[0] = last
        var index = 0
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < heap.count && precedes(child, smallest) {
                smallest = child
            }
            if smallest == index { return }
            heap.swapAt(index, smallest)
            index = smallest
        }
    }

    private func siftUp(_ start: Int) {
        var index = start
        while index > 0, precedes(index, (index - 1) / 2) {
            heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        let (a, b) = (heap[left].time, heap[right].time)
        return a != b ? a < b : heap[left].order < heap[right].order
    }
}
