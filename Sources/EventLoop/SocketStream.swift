internal import CLibev
internal import MeshBase

/// One TCP or unix connection.
///
/// **Reading.** Interest in reading stays armed for the whole life of the connection, so that a
/// request costs no `epoll_ctl`; only a pause or the peer's end takes it away. One readable event
/// is one `recv` into the loop's scratch: what does not fit raises the event again.
///
/// **Writing.** A write goes to the kernel at once. What it refuses is queued, and only then is
/// the socket watched for being writable; the queue's memory goes when it is empty.
///
/// **Failing.** A write that fails is told at the end of the turn, never from inside `write`. What
/// the peer sent before is delivered first: a server that answers early and then resets is
/// answered for, not lost.
///
/// **Closing.** To close a socket with unread input makes the kernel send a reset, which destroys
/// our last bytes on their way. So `close` sends the queue (for `flushLimit` at most), ends our
/// direction, and reads and discards until the peer has ended its own or `lingerLimit` passed.
/// The stream has then no handler; the loop keeps it until the descriptor is closed.
final class SocketStream: ByteStream {
    var handler: (any ByteStreamHandler)?
    let remoteAddress: SocketAddress?

    private let loop: LibevLoop
    private let socket: Socket
    private let io = UnsafeMutablePointer<ev_io>.allocate(capacity: 1)
    private var phase: Phase
    /// What `io` waits for now.
    private var interest: Int32 = 0
    private var queue = ByteBuffer()
    private var pauses: ReadPause = []
    private var sawEnd = false
    private var finishing = false
    private var wasFull = false
    /// Something was handed to the kernel, which a reset could destroy.
    private var hasSent = false
    private var failure: TransportFailure?
    private var timer: LoopTimer?
    private var knownLocalAddress: SocketAddress?

    private enum Phase {
        case connecting
        case open
        /// `close` was called and the queue is not empty yet.
        case flushing
        /// All is sent and our direction ended; waits for the peer's end.
        case lingering
        case closed
    }

    /// How long `close` tries to send what is queued.
    static let flushLimit = Duration.seconds(5)
    /// How long the peer may take to end its direction after that.
    static let lingerLimit = Duration.seconds(2)

    /// A connection that was accepted. Its bytes wait until the loop's next turn.
    init(_ loop: LibevLoop, accepted socket: Socket, from remoteAddress: SocketAddress?) {
        self.loop = loop
        self.socket = socket
        self.remoteAddress = remoteAddress
        phase = .open
        startWatching()
        updateInterest()
    }

    /// Starts a connection; also what fails at once is told at the end of the turn.
    init(
        _ loop: LibevLoop, connectingTo address: SocketAddress, _ options: ConnectOptions,
        _ handler: any ByteStreamHandler
    ) {
        self.loop = loop
        self.remoteAddress = address
        self.handler = handler
        phase = .connecting
        var socket = Socket(descriptor: -1)
        do throws(SocketError) {
            socket = try Socket(address.family, for: address)
            try SocketStream.prepare(socket, address, options)
            try socket.connect(address)
        } catch {
            failure = error.transportFailure(connecting: true)
        }
        self.socket = socket
        startWatching()
        if failure != nil {
            loop.atTurnEnd(self)
            return
        }
        updateInterest()
        startTimer(options.timeout)
    }

    deinit {
        io.deallocate()
    }

    /// TCP options that both kinds of connections have.
    static func setCommonOptions(_ socket: Socket) {
        // A connection that is already gone refuses them; reading will tell.
        try? socket.set(.noDelay, 1)
    }

    private static func prepare(
        _ socket: Socket, _ address: SocketAddress, _ options: ConnectOptions
    ) throws(SocketError) {
        if address.family != .unix {
            try socket.set(.noDelay, 1, for: address)
            if let limit = options.userTimeout {
                try socket.set(.userTimeoutMilliseconds, clamped(limit.milliseconds), for: address)
            }
            if let idle = options.keepAlive {
                let seconds = clamped(idle.components.seconds)
                try socket.set(.keepAlive, 1, for: address)
                try socket.set(.keepAliveIdleSeconds, seconds, for: address)
                try socket.set(.keepAliveIntervalSeconds, max(1, seconds / 3), for: address)
                try socket.set(.keepAliveProbes, 3, for: address)
            }
        }
        if let source = options.source { try socket.bind(source) }
    }

    /// Positive and within what the kernel takes for times.
    private static func clamped(_ value: Int64) -> Int32 {
        Int32(truncatingIfNeeded: min(max(value, 1), 32_767_000))
    }

    var localAddress: SocketAddress? {
        if knownLocalAddress == nil, socket.descriptor >= 0, phase != .closed {
            knownLocalAddress = socket.localAddress
        }
        return knownLocalAddress
    }

    // MARK: Writing

    var queuedBytes: Int { queue.count }

    func write(_ bytes: Span<UInt8>) {
        guard phase == .open || phase == .connecting, !finishing, failure == nil else { return }
        bytes.withUnsafeBufferPointer { bytes in
            guard phase == .open, queue.isEmpty else {
                queue.append(bytes)
                return
            }
            let sent = socket.send(bytes)
            if sent < 0 { return failLater(sent) }
            hasSent = true
            if sent < bytes.count {
                queue.append(UnsafeBufferPointer(rebasing: bytes[sent...]))
                updateInterest()
            }
        }
        if queue.count > SocketStream.writeLimit { wasFull = true }
    }

    func finish() {
        guard phase == .open || phase == .connecting, !finishing else { return }
        finishing = true
        if phase == .open, queue.isEmpty, failure == nil { socket.finishWriting() }
    }

    private func flush() {
        let sent = queue.withBytes { socket.send($0) }
        if sent < 0 { return failLater(sent) }
        hasSent = true
        queue.consume(sent)
        if queue.isEmpty {
            queue.shrink()
            updateInterest()
            if phase == .flushing { return linger() }
            if finishing { socket.finishWriting() }
        }
        if wasFull, queue.count < SocketStream.writeLimit / 2 {
            wasFull = false
            handler?.streamDrained()
        }
    }

    // MARK: Reading

    func pauseReading(_ reason: ReadPause) {
        pauses.insert(reason)
        updateInterest()
    }

    func resumeReading(_ reason: ReadPause) {
        pauses.remove(reason)
        updateInterest()
    }

    private func read() {
        let count = socket.receive(into: loop.scratch)
        if count > 0 {
            handler?.streamReceived(UnsafeBufferPointer(rebasing: loop.scratch[..<count]).span)
        } else if count == 0 {
            sawEnd = true
            updateInterest()
            handler?.streamReceivedEnd()
        } else if count != -Int(EAGAIN) {
            fail(SocketError(operation: "recv", errno: Int32(-count)))
        }
    }

    // MARK: Ending

    func close() {
        guard phase == .open || phase == .connecting else { return }
        handler = nil
        guard phase == .open, failure == nil else { return release { $0.close() } }
        if queue.isEmpty { return linger() }
        phase = .flushing
        updateInterest()
        startTimer(SocketStream.flushLimit)
    }

    func abort() {
        guard phase == .open || phase == .connecting else { return }
        handler = nil
        release { $0.reset() }
    }

    private func linger() {
        if !finishing { socket.finishWriting() }
        if sawEnd || !hasSent { return release { $0.close() } }
        phase = .lingering
        updateInterest()
        startTimer(SocketStream.lingerLimit)
    }

    /// Reads and throws away, a bounded amount for each event.
    private func discard() {
        for _ in 0..<16 {
            let count = socket.receive(into: loop.scratch)
            if count == -Int(EAGAIN) { return }
            if count <= 0 {
                sawEnd = true
                if phase == .lingering || count < 0 { return release { $0.close() } }
                return updateInterest()
            }
        }
    }

    private func failLater(_ result: Int) {
        let error = SocketError(operation: "send", errno: Int32(truncatingIfNeeded: -result))
        queue.removeAll()
        queue.shrink()
        if phase == .flushing { return release { $0.close() } }
        failure = error.transportFailure(connecting: false)
        updateInterest()
        loop.atTurnEnd(self)
    }

    private func fail(_ error: SocketError) {
        tellClosed(failure ?? error.transportFailure(connecting: phase == .connecting))
    }

    private func tellClosed(_ failure: TransportFailure) {
        let handler = handler
        self.handler = nil
        release { $0.close() }
        handler?.streamClosed(failure)
    }

    /// Gives the descriptor back, once. The loop lets go of the stream at the end of the turn.
    private func release(_ close: (Socket) -> Void) {
        phase = .closed
        queue.removeAll()
        queue.shrink()
        ev_io_stop(loop.raw, io)
        interest = 0
        timer?.stop()
        timer = nil
        if socket.descriptor >= 0 { close(socket) }
        loop.freeLater(self)
        Unmanaged.passUnretained(self).release()
    }

    // MARK: Watching

    private func startWatching() {
        mesh_io_init(io, ioReady, socket.descriptor, 0, Unmanaged.passRetained(self).toOpaque())
    }

    private func updateInterest() {
        var wanted: Int32 = 0
        switch phase {
        case .connecting: wanted = writable
        case .open where failure == nil:
            if !sawEnd, pauses.isEmpty { wanted |= readable }
            if !queue.isEmpty { wanted |= writable }
        case .flushing: wanted = sawEnd ? writable : readable | writable
        case .lingering: wanted = readable
        case .open, .closed: break
        }
        if wanted == interest { return }
        interest = wanted
        mesh_io_wait(loop.raw, io, wanted)
    }

    fileprivate func ready(_ events: Int32) {
        switch phase {
        case .connecting: connectEnded()
        case .open:
            if events & readable != 0, interest & readable != 0 { read() }
            if events & writable != 0, phase == .open, !queue.isEmpty { flush() }
        case .flushing:
            if events & readable != 0, !sawEnd { discard() }
            if events & writable != 0, phase == .flushing { flush() }
        case .lingering: discard()
        case .closed: break
        }
    }

    private func connectEnded() {
        let errno = socket.takePendingError()
        if errno != 0 { return fail(SocketError(operation: "connect", errno: errno)) }
        timer?.stop()
        timer = nil
        phase = .open
        updateInterest()
        handler?.streamConnected()
        guard phase == .open else { return }
        if !queue.isEmpty {
            flush()
        } else if finishing {
            socket.finishWriting()
        }
    }

    private func startTimer(_ duration: Duration) {
        // The timer is stopped, and with it this closure, before the stream goes.
        let timer = LoopTimer(loop.timers) { [unowned(unsafe) self] in timePassed() }
        timer.start(at: loop.now + duration)
        self.timer = timer
    }

    private func timePassed() {
        if phase == .connecting {
            tellClosed(TransportFailure(.connectTimeout, detail: "connect: no answer in time"))
        } else if phase == .flushing {
            release { $0.reset() }
        } else if phase == .lingering {
            release { $0.close() }
        }
    }
}

extension SocketStream: TurnEndTask {
    /// Tells a failure that was found inside a call. Bytes that came before it are told first.
    func turnEnded() {
        guard let failure, phase == .open || phase == .connecting else { return }
        var rounds = 0
        while phase == .open, !sawEnd, pauses.isEmpty, rounds < 16 {
            rounds += 1
            let count = socket.receive(into: loop.scratch)
            if count <= 0 { break }
            handler?.streamReceived(UnsafeBufferPointer(rebasing: loop.scratch[..<count]).span)
        }
        if phase != .closed { tellClosed(failure) }
    }
}

@available(*, unavailable) extension SocketStream: Sendable {}

private let readable = Int32(EV_READ)
private let writable = Int32(EV_WRITE)

private func ioReady(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_io>, _ events: Int32) {
    Unmanaged<SocketStream>.fromOpaque(watcher.pointee.data).takeUnretainedValue().ready(events)
}
