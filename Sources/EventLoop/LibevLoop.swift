internal import CLibev
public import MeshBase

/// The event loop of one thread, over libev and epoll.
///
/// A turn is: wake, read the clock, handle what the sockets have; then, before waiting again, fire
/// the timers that are due, run the turn-end tasks until none is left, free what was closed, and
/// set the one libev timer to the next deadline. Sockets come before timers so that bytes which
/// lay ready while the loop was busy are not lost to a time-out.
///
/// All timers of a loop share one libev timer, set only when the earliest deadline is another
/// than before. With no timer and nothing to read the loop sleeps (libev looks up once a minute).
///
/// Nothing here is for other threads; they have `Mailbox`.
public final class LibevLoop: IOLoop {
    public private(set) var now: Instant
    public var random: SeededRandom
    public let timers = TimerQueue()

    let raw: OpaquePointer
    /// Where every socket of the loop is read to, one at a time.
    let scratch: UnsafeMutableBufferPointer<UInt8>
    /// How often the loop woke since its start.
    public private(set) var turns = 0

    private let prepare = UnsafeMutablePointer<ev_prepare>.allocate(capacity: 1)
    private let check = UnsafeMutablePointer<ev_check>.allocate(capacity: 1)
    private let timer = UnsafeMutablePointer<ev_timer>.allocate(capacity: 1)
    private var armedFor: Instant?
    private var turnEnd: [any TurnEndTask] = []
    private var turnEndRunning: [any TurnEndTask] = []
    private var closed: [AnyObject] = []
    private var closedDying: [AnyObject] = []
    private var signals: [SignalWatcher] = []
    private var mailboxes: [MailboxReceiver] = []
    private var resolver: Resolver?

    /// Bulk costs least in reads of this size; memory that no read reached is not resident.
    static let scratchBytes = 128 * 1024

    /// Makes a loop for the calling thread. SIGPIPE is ignored from then on.
    /// - Parameter seed: the start of `random`.
    public init(seed: UInt64) {
        guard let raw = mesh_loop_new() else { preconditionFailure("epoll is not available") }
        mesh_ignore_sigpipe()
        self.raw = raw
        now = Socket.monotonicNow
        random = SeededRandom(seed: seed)
        scratch = .allocate(capacity: LibevLoop.scratchBytes)
        // Not retained: the watchers end with the loop.
        let me = Unmanaged.passUnretained(self).toOpaque()
        mesh_prepare_start(raw, prepare, turnEnds, me)
        mesh_check_start(raw, check, turnBegins, me)
        mesh_timer_init(timer, timerPassed, me)
    }

    deinit {
        close()
        ev_timer_stop(raw, timer)
        ev_prepare_stop(raw, prepare)
        ev_check_stop(raw, check)
        ev_loop_destroy(raw)
        prepare.deallocate()
        check.deallocate()
        timer.deallocate()
        scratch.deallocate()
    }

    public var wallClock: UnixTime { Socket.wallClock }

    /// Handles events until `stop`.
    public func run() {
        now = Socket.monotonicNow
        _ = ev_run(raw, 0)
        // The turn that was told to stop has not been ended by libev.
        endTurn()
    }

    /// Makes `run` return when the events at hand are handled.
    public func stop() {
        mesh_loop_break(raw)
    }

    /// Lets go of mailboxes and signals, whose handlers often hold the loop's owner and so the
    /// loop. Posts are refused from then on. For when `run` has returned for the last time.
    public func close() {
        resolver?.stop()
        resolver = nil
        for mailbox in mailboxes { mailbox.stop(raw) }
        mailboxes = []
        for signal in signals { signal.stop(raw) }
        signals = []
    }

    public func listen(
        _ address: SocketAddress, options: ListenOptions, acceptor: any StreamAcceptor
    ) throws(SocketError) -> any StreamListener {
        try SocketListener(self, address, options, acceptor)
    }

    public func connect(
        _ address: SocketAddress, options: ConnectOptions, handler: any ByteStreamHandler
    ) -> any ByteStream {
        let (kernel, failure) = LibevKernel.connecting(self, to: address, options)
        return SocketStream(
            self, connecting: kernel, to: address, timeout: options.timeout, failure: failure,
            handler: handler)
    }

    public func resolve(_ host: String, completion: @escaping ([SocketAddress]) -> Void) {
        if let literal = SocketAddress(ip: host, port: 0) {
            atTurnEnd(Answered([literal], completion))
            return
        }
        if resolver == nil { resolver = Resolver(self) }
        guard let resolver else { return atTurnEnd(Answered([], completion)) }
        resolver.ask(host, completion)
    }

    public func atTurnEnd(_ task: any TurnEndTask) {
        turnEnd.append(task)
    }

    /// Calls `handler` on the loop for every signal of that number. One loop may have it.
    public func onSignal(_ number: Int32, _ handler: @escaping () -> Void) {
        signals.append(SignalWatcher(raw, number, handler))
    }

    /// Keeps an object that was closed until nothing of this turn can still be using it.
    func freeLater(_ object: AnyObject) {
        closed.append(object)
    }

    func keep(_ mailbox: MailboxReceiver) {
        mailboxes.append(mailbox)
    }

    fileprivate func beginTurn() {
        turns &+= 1
        now = Socket.monotonicNow
    }

    fileprivate func endTurn() {
        timers.fireDue(now: now)
        // Each list is emptied in its twin, for what dies there may add to it.
        while !turnEnd.isEmpty {
            swap(&turnEnd, &turnEndRunning)
            for task in turnEndRunning { task.turnEnded() }
            turnEndRunning.removeAll(keepingCapacity: true)
        }
        if !closed.isEmpty {
            swap(&closed, &closedDying)
            closedDying.removeAll(keepingCapacity: true)
        }
        let next = timers.nextLook
        if next == armedFor { return }
        armedFor = next
        if let next {
            mesh_timer_start(raw, timer, Double(max(0, (next - now).nanoseconds)) * 1e-9)
        } else {
            ev_timer_stop(raw, timer)
        }
    }

    fileprivate func timerRang() {
        armedFor = nil
    }
}

@available(*, unavailable) extension LibevLoop: Sendable {}

private func loop(_ data: UnsafeMutableRawPointer) -> LibevLoop {
    Unmanaged<LibevLoop>.fromOpaque(data).takeUnretainedValue()
}

private func turnBegins(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_check>, _: Int32) {
    loop(watcher.pointee.data).beginTurn()
}

private func turnEnds(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_prepare>, _: Int32) {
    loop(watcher.pointee.data).endTurn()
}

private func timerPassed(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_timer>, _: Int32) {
    loop(watcher.pointee.data).timerRang()
}

private final class SignalWatcher {
    private let watcher = UnsafeMutablePointer<ev_signal>.allocate(capacity: 1)
    fileprivate let handler: () -> Void

    init(_ raw: OpaquePointer, _ number: Int32, _ handler: @escaping () -> Void) {
        self.handler = handler
        mesh_signal_start(
            raw, watcher, signalCame, number, Unmanaged.passUnretained(self).toOpaque())
    }

    func stop(_ raw: OpaquePointer) {
        ev_signal_stop(raw, watcher)
    }

    deinit {
        watcher.deallocate()
    }
}

private func signalCame(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_signal>, _: Int32) {
    Unmanaged<SignalWatcher>.fromOpaque(watcher.pointee.data).takeUnretainedValue().handler()
}

private final class Answered: TurnEndTask {
    private let addresses: [SocketAddress]
    private let completion: ([SocketAddress]) -> Void

    init(_ addresses: [SocketAddress], _ completion: @escaping ([SocketAddress]) -> Void) {
        self.addresses = addresses
        self.completion = completion
    }

    func turnEnded() {
        completion(addresses)
    }
}
