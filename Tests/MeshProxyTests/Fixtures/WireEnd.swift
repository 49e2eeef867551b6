import EventLoop
import HTTPCodec
import MeshBase
import MeshSimulation

enum WireProtocol: CaseIterable, Sendable {
    case http1, http2
}

/// What a scripted client or server wants to hear of its end of a connection.
protocol WireOwner: AnyObject {
    func wireOpened(_ wire: WireEnd)
    func wire(_ wire: WireEnd, _ event: HTTPEvent)
    /// The socket has room again.
    func wireDrained(_ wire: WireEnd)
    /// The last call. `nil`: ended in order.
    func wireEnded(_ wire: WireEnd, _ failure: TransportFailure?)
}

/// A test's end of an HTTP connection: a stream, a codec, and one flush a turn, as the proxy has
/// them, but with nothing decided.
final class WireEnd: ByteStreamHandler, TurnEndTask {
    let loop: SimulatedLoop
    private(set) var stream: (any ByteStream)?
    private(set) var codec: any HTTPConnection
    private var owner: (any WireOwner)?
    private var isDirty = false
    /// Over TLS nothing is written before the handshake is done.
    private var isReady = false
    /// Bytes that were received, of whatever.
    private(set) var received = 0
    /// Never reads: a stalled peer.
    var isDeaf = false {
        didSet { if isDeaf { stream?.pauseReading(.notReady) } }
    }

    init(
        loop: SimulatedLoop, _ kind: WireProtocol, isServer: Bool, limits: HTTPLimits,
        owner: any WireOwner
    ) {
        self.loop = loop
        self.owner = owner
        switch kind {
        case .http1:
            codec = HTTP1Connection(role: isServer ? .server : .client, limits: limits)
        case .http2:
            codec = HTTP2Connection(role: isServer ? .server : .client, limits: limits)
        }
    }

    func use(_ stream: any ByteStream, isReady: Bool) {
        self.stream = stream
        self.isReady = isReady
        stream.handler = self
        touch()
    }

    var isOpen: Bool { stream != nil }
    /// A polite writer waits.
    var isFull: Bool { (stream?.queuedBytes ?? 0) > 256 * 1024 }

    /// To be called after anything was done with the codec.
    func touch() {
        if isDirty || stream == nil { return }
        isDirty = true
        loop.atTurnEnd(self)
    }

    /// Bytes that no codec would send.
    func writeRaw(_ bytes: [UInt8]) {
        flush()
        stream?.write(bytes.span)
    }

    func close() {
        guard let stream else { return }
        flush()
        self.stream = nil
        stream.close()
        end(nil)
    }

    /// Ends our direction; the other one stays open.
    func finish() {
        flush()
        stream?.finish()
    }

    func abort() {
        guard let stream else { return }
        self.stream = nil
        stream.abort()
        end(nil)
    }

    private func flush() {
        guard isReady, let stream, codec.hasOutput else { return }
        var bytes = ByteBuffer()
        codec.takeOutput(into: &bytes)
        bytes.withBytes { stream.write($0.span) }
    }

    private func takeEvents() {
        while stream != nil, let event = codec.nextEvent() { owner?.wire(self, event) }
    }

    private func end(_ failure: TransportFailure?) {
        let owner = owner
        self.owner = nil
        owner?.wireEnded(self, failure)
    }

    func turnEnded() {
        isDirty = false
        takeEvents()
        if !isReady { return }
        if codec.hasOutput {
            flush()
            takeEvents()
        }
        guard let stream else { return }
        if codec.wantsInput {
            stream.resumeReading(.codecFull)
        } else {
            stream.pauseReading(.codecFull)
        }
        if codec.isFinished { close() }
    }

    // MARK: What the stream says

    func streamConnected() {
        isReady = true
        owner?.wireOpened(self)
        touch()
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        received += bytes.count
        codec.receive(bytes)
        takeEvents()
        touch()
    }

    func streamReceivedEnd() {
        codec.receiveEnd()
        takeEvents()
        touch()
    }

    func streamDrained() { owner?.wireDrained(self) }

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        end(failure)
    }
}

/// Sends one body as fast as the other side takes it, or at a pace, or only a part of it.
final class BodySender {
    let payload: Payload
    private let wire: WireEnd
    private let id: StreamID
    private var sent = 0
    private(set) var isDone = false
    private let trailers: MessageHead?
    private let pace: Pace?
    /// Where it stops, and what happens there.
    private let stopsAt: Int?
    private let stopped: (() -> Void)?
    private var timer: LoopTimer?

    init(
        _ payload: Payload, on id: StreamID, of wire: WireEnd, trailers: MessageHead? = nil,
        pace: Pace? = nil, stopsAt: Int? = nil, stopped: (() -> Void)? = nil
    ) {
        self.payload = payload
        self.wire = wire
        self.id = id
        self.trailers = trailers
        self.pace = pace
        self.stopsAt = stopsAt
        self.stopped = stopped
    }

    func pump() {
        if isDone || timer?.isRunning == true { return }
        let end = min(stopsAt ?? payload.count, payload.count)
        while sent < end {
            if wire.isFull || !wire.isOpen { return }
            let piece = min(pace?.bytes ?? 16384, end - sent)
            let isLast = sent + piece == payload.count && trailers == nil
            let hasRoom = payload.withBytes(at: sent, count: piece) {
                wire.codec.sendBody($0.span, on: id, endStream: isLast)
            }
            sent += piece
            wire.touch()
            if let pace, sent < end { return wait(pace.every) }
            if !hasRoom, sent < end { return }
        }
        isDone = true
        if stopsAt != nil { return stopped?() ?? () }
        if let trailers {
            wire.codec.sendTrailers(trailers, on: id)
        } else if payload.count == 0 {
            wire.codec.sendBody([UInt8]().span, on: id, endStream: true)
        }
        wire.touch()
    }

    private func wait(_ duration: Duration) {
        if timer == nil {
            timer = LoopTimer(wire.loop.timers) { [unowned self] in pump() }
        }
        timer?.start(at: wire.loop.now + duration)
    }

    func stop() {
        isDone = true
        timer?.stop()
    }
}

/// Gives received bytes back, at once or at a slow reader's pace.
final class BodyReader {
    private let wire: WireEnd
    private let pace: Pace?
    private var owed: [(id: StreamID, count: Int)] = []
    private var timer: LoopTimer?

    init(_ wire: WireEnd, pace: Pace?) {
        self.wire = wire
        self.pace = pace
    }

    func took(_ count: Int, on id: StreamID) {
        guard let pace else {
            wire.codec.consumed(count, on: id)
            wire.touch()
            return
        }
        owed.append((id, count))
        if timer == nil {
            timer = LoopTimer(wire.loop.timers) { [unowned self] in giveBack(pace) }
        }
        if timer?.isRunning != true { timer?.start(at: wire.loop.now + pace.every) }
    }

    private func giveBack(_ pace: Pace) {
        var left = pace.bytes
        while left > 0, let first = owed.first {
            let count = min(left, first.count)
            wire.codec.consumed(count, on: first.id)
            left -= count
            if count == first.count {
                owed.removeFirst()
            } else {
                owed[0].count -= count
            }
        }
        wire.touch()
        if !owed.isEmpty, wire.isOpen { timer?.start(at: wire.loop.now + pace.every) }
    }

    func stop() {
        timer?.stop()
        owed = []
    }
}
