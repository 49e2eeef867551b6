import MeshBase

/// All that an exchange waits for, by value: one timer, set to `next`, serves them all.
///
/// A sign of life is one store; `next` may then be later than the timer, which finds nothing due and
/// is set again.
struct ExchangeTimes {
    /// What an attempt, or the pause before the next one, waits for: one at a time.
    enum Wait: Equatable {
        /// The limit of one attempt.
        case perTry
        /// The end of a back-off.
        case retry
        /// The end of a drill's silence or delay.
        case silence, delay
    }

    enum Due: Equatable {
        /// Neither side gave a sign of life for `idleLimit`.
        case idle
        /// The same within one attempt.
        case tryIdle
        case wait(Wait)
        /// The whole exchange must be over.
        case end
    }

    /// When the whole exchange must be over.
    var end = Instant.distantFuture
    /// How long both sides may be silent; zero is for ever.
    var idleLimit = Duration.zero

    private var touched = Instant.zero
    private var tryLimit = Duration.zero
    private var tryBegan = Instant.zero
    private var waitEnds = Instant.distantFuture
    private var wait = Wait.perTry

    /// A sign of life from either side.
    mutating func touch(at now: Instant) {
        touched = now
    }

    /// Bounds the silence of the attempt that begins now.
    mutating func boundTry(_ limit: Duration, from now: Instant) {
        tryLimit = limit
        tryBegan = now
    }

    mutating func wait(for wait: Wait, until time: Instant) {
        self.wait = wait
        waitEnds = time
    }

    mutating func stopWaiting() {
        waitEnds = .distantFuture
    }

    /// What bounds one attempt goes with it.
    mutating func endAttempt() {
        stopWaiting()
        tryLimit = .zero
    }

    func waitsFor(_ wait: Wait) -> Bool {
        waitEnds != .distantFuture && self.wait == wait
    }

    /// When there is something to look at; `distantFuture` for never.
    var next: Instant { min(min(idleAt, tryIdleAt), min(waitEnds, end)) }

    /// The earliest thing that is due; what has been taken is not due again. `nil`: nothing yet.
    mutating func takeDue(at now: Instant) -> Due? {
        let time = next
        guard time <= now, time != .distantFuture else { return nil }
        if time == idleAt {
            idleLimit = .zero
            return .idle
        }
        if time == tryIdleAt {
            tryLimit = .zero
            return .tryIdle
        }
        if time == waitEnds {
            stopWaiting()
            return .wait(wait)
        }
        end = .distantFuture
        return .end
    }

    private var idleAt: Instant {
        idleLimit > .zero ? touched + idleLimit : .distantFuture
    }

    private var tryIdleAt: Instant {
        tryLimit > .zero ? max(touched, tryBegan) + tryLimit : .distantFuture
    }
}
