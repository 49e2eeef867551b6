internal import CLibev
public import MeshBase

/// What a stream asks of the kernel: one connected socket. `LibevLoop` has real ones; a simulated
/// network has its own, so that the very same stream runs on both.
public protocol StreamKernel {
    /// Where bytes are read to; one for each loop.
    var scratch: UnsafeMutableBufferPointer<UInt8> { get }
    var localAddress: SocketAddress? { get }

    /// Keeps the stream alive and calls its `ready` from then on.
    func attach(_ stream: SocketStream<Self>)
    /// Calls it no more, and lets go of it at the end of the turn.
    func detach(_ stream: SocketStream<Self>)
    /// What `ready` shall be called for: level-triggered, all or none.
    func wait(readable: Bool, writable: Bool)

    /// - Returns: the number of bytes, 0 at the end, or -errno.
    func receive(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Int
    /// - Returns: the number of bytes taken, 0 when there is no room, or -errno.
    func send(_ bytes: UnsafeBufferPointer<UInt8>) -> Int
    /// How a connect ended: 0 or an errno.
    func takePendingError() -> Int32
    func finishWriting()
    func close()
    /// Closes with a reset.
    func reset()
}

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
public final class SocketStream<Kernel: StreamKernel>: ByteStream {
    public var handler: (any ByteStreamHandler)?
    public let remoteAddress: SocketAddress?

    private let loop: any IOLoop
    private let kernel: Kernel
    private var phase: Phase
    private var waitsToRead = false
    private var waitsToWrite = false
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

    /// A connection that was accepted. Its bytes wait for `startReading`, and then for another turn.
    /// - Parameter localAddress: `nil`: to be asked for when somebody wants to know.
    public init(
        _ loop: any IOLoop, accepted kernel: Kernel, from remoteAddress: SocketAddress?,
        at localAddress: SocketAddress? = nil
    ) {
        knownLocalAddress = localAddress
        self.loop = loop
        self.kernel = kernel
        self.remoteAddress = remoteAddress
        phase = .open
        kernel.attach(self)
    }

    /// To be called when the acceptor has set a handler. A pause that it has begun with is no system call.
    public func startReading() { updateInterest() }

    /// A connection that was started, or that failed to be: also that is told later in the turn.
    public init(
        _ loop: any IOLoop, connecting kernel: Kernel, to address: SocketAddress,
        timeout: Duration, failure: TransportFailure?, handler: any ByteStreamHandler
    ) {
        self.loop = loop
        self.kernel = kernel
        self.remoteAddress = address
        self.handler = handler
        self.failure = failure
        phase = .connecting
        kernel.attach(self)
        if failure == nil {
            updateInterest()
            startTimer(timeout)
        } else {
            loop.atTurnEnd(self)
        }
    }

    public var localAddress: SocketAddress? {
        if knownLocalAddress == nil, phase != .closed { knownLocalAddress = kernel.localAddress }
        return knownLocalAddress
    }

    // MARK: Writing

    public var queuedBytes: Int { queue.count }

    public func write(_ bytes: Span<UInt8>) {
        guard phase == .open || phase == .connecting, !finishing, failure == nil else { return }
        bytes.withUnsafeBufferPointer { bytes in
            guard phase == .open, queue.isEmpty else {
                queue.append(bytes)
                return
            }
            let sent = kernel.send(bytes)
            if sent < 0 { return failLater(sent) }
            hasSent = true
            if sent < bytes.count {
                queue.append(UnsafeBufferPointer(rebasing: bytes[sent...]))
                updateInterest()
            }
        }
        if queue.count > Self.writeLimit { wasFull = true }
    }

    public func finish() {
        guard phase == .open || phase == .connecting, !finishing else { return }
        finishing = true
        if phase == .open, queue.isEmpty, failure == nil { kernel.finishWriting() }
    }

    private func flush() {
        let sent = queue.withBytes { kernel.send($0) }
        if sent < 0 { return failLater(sent) }
        hasSent = true
        queue.consume(sent)
        if queue.isEmpty {
            queue.shrink()
            updateInterest()
            if phase == .flushing { return linger() }
            if finishing { kernel.finishWriting() }
        }
        if wasFull, queue.count < Self.writeLimit / 2 {
            wasFull = false
            handler?.streamDrained()
        }
    }

    // MARK: Reading

    /// The watcher goes on until bytes come that are not wanted yet: often none do before
    /// `resumeReading`, and then neither call costs a system call.
    public func pauseReading(_ reason: ReadPause) {
        pauses.insert(reason)
    }

    public func resumeReading(_ reason: ReadPause) {
        if pauses.remove(reason) != nil { updateInterest() }
    }

    private func read() {
        let count = kernel.receive(into: kernel.scratch)
        if count > 0 {
            handler?.streamReceived(UnsafeBufferPointer(rebasing: kernel.scratch[..<count]).span)
        } else if count == 0 {
            sawEnd = true
            updateInterest()
            handler?.streamReceivedEnd()
        } else if count != wouldBlock {
            fail(SocketError(operation: "recv", errno: Int32(-count)))
        }
    }

    // MARK: Ending

    public func close() {
        guard phase == .open || phase == .connecting else { return }
        handler = nil
        guard phase == .open, failure == nil else { return release { $0.close() } }
        if queue.isEmpty { return linger() }
        phase = .flushing
        updateInterest()
        startTimer(flushLimit)
    }

    public func abort() {
        guard phase == .open || phase == .connecting else { return }
        handler = nil
        release { $0.reset() }
    }

    private func linger() {
        if sawEnd || !hasSent { return release { $0.close() } }
        if !finishing { kernel.finishWriting() }
        phase = .lingering
        updateInterest()
        startTimer(lingerLimit)
    }

    /// Reads and throws away, a bounded amount for each event.
    private func discard() {
        for _ in 0..<16 {
            let count = kernel.receive(into: kernel.scratch)
            if count == wouldBlock { return }
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
    private func release(_ close: (Kernel) -> Void) {
        phase = .closed
        queue.removeAll()
        queue.shrink()
        timer?.stop()
        timer = nil
        kernel.detach(self)
        close(kernel)
    }

    // MARK: Watching

    /// - Parameter isUnwanted: there are bytes, and reading is paused.
    private func updateInterest(isUnwanted: Bool = false) {
        var read = false
        var write = false
        switch phase {
        case .connecting:
            // A failure is told as both, so that a connect that succeeds need not be asked.
            read = true
            write = true
        case .open where failure == nil:
            read = !sawEnd && (pauses.isEmpty || waitsToRead && !isUnwanted)
            write = !queue.isEmpty
        case .flushing:
            read = !sawEnd
            write = true
        case .lingering: read = true
        case .open, .closed: break
        }
        if read == waitsToRead, write == waitsToWrite { return }
        waitsToRead = read
        waitsToWrite = write
        kernel.wait(readable: read, writable: write)
    }

    /// The kernel has bytes or room, or the connection ended; one or both are true.
    public func ready(readable: Bool, writable: Bool) {
        switch phase {
        case .connecting: connectEnded(error: readable ? kernel.takePendingError() : 0)
        case .open:
            if readable {
                if pauses.isEmpty, !sawEnd { read() } else { updateInterest(isUnwanted: true) }
            }
            if writable, phase == .open, !queue.isEmpty { flush() }
        case .flushing:
            if readable, !sawEnd { discard() }
            if writable, phase == .flushing { flush() }
        case .lingering: discard()
        case .closed: break
        }
    }

    /// - Parameter errno: 0 if it has not.
    private func connectEnded(error errno: Int32) {
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
            kernel.finishWriting()
        }
    }

    private func startTimer(_ duration: Duration) {
        timer?.stop()
        // The timer is stopped, and with it this closure, before the stream goes.
        let timer = LoopTimer(loop.timers) { [unowned self] in timePassed() }
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
    public func turnEnded() {
        guard let failure, phase == .open || phase == .connecting else { return }
        var rounds = 0
        while phase == .open, !sawEnd, pauses.isEmpty, rounds < 16 {
            rounds += 1
            let count = kernel.receive(into: kernel.scratch)
            if count <= 0 { break }
            handler?.streamReceived(UnsafeBufferPointer(rebasing: kernel.scratch[..<count]).span)
        }
        if phase != .closed { tellClosed(failure) }
    }
}

@available(*, unavailable) extension SocketStream: Sendable {}

/// How long `close` tries to send what is queued.
private let flushLimit = Duration.seconds(5)
/// How long the peer may take to end its direction after that.
private let lingerLimit = Duration.seconds(2)

private let wouldBlock = -Int(EAGAIN)
