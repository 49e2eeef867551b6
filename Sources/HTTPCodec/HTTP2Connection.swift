internal import MeshBase

// HTTP/2 as an `HTTPConnection` (RFC 9113): frames, stream states and flow control. What a header block
// says is read by `HPACKDecoder` into an `HTTP2HeadBuilder`, and written by `HPACKEncoder`.
//
// **In.** Frames are read where they lie; only one that is cut by the end of the input is kept. DATA
// is handed on in pieces as it comes. **Out.** Every frame is written to `output` when it is sent, body bytes
// by one copy; only what the peer's window refuses waits in the stream's own queue.
//
// **Windows are ours to open**: `consumed` is what opens them, in steps of half a window. So a stream that
// was closed with bytes outstanding stays in the table until its bytes were consumed; else a peer could
// fill us through streams that it ends at once. What nobody will consume is given back at once.
//
// **Errors** (§5.4). What breaks one message resets its stream; what breaks the connection's state ends it
// with GOAWAY and a violation. A frame on a stream that is over is judged by how it ended: after our own
// reset it was under way and is passed over, after the peer's reset it is an error of the stream, after a
// proper end one of the connection (§5.1). The last few endings are remembered for that.
//
// **Peace.** A peer can make work out of few bytes. Streams that are opened and taken back before they
// were answered draw on one budget that answered streams fill again; frames that do nothing (empty DATA,
// PING, SETTINGS, PRIORITY, unknown ones) draw on another, which each read fills a little. Who
// overdraws either is told to calm down.

public final class HTTP2Connection: HTTPConnection {
    public enum Role: Sendable {
        case client, server
    }

    let role: Role
    let context: HTTPCodecContext
    let workspace: HeadWorkspace
    var decoder = HPACKDecoder()
    var encoder = HPACKEncoder()

    var streams = HTTP2StreamTable()
    var events: [HTTPEvent] = []
    var eventsTaken = 0
    var output = ByteBuffer()

    // What is being read.
    var prefaceLeft: Int
    var sawSettings = false
    /// A frame, or its header, of which the rest has not come.
    var partial = ByteBuffer()
    /// The DATA frame whose payload is coming, and what is left of it and of its padding.
    var dataFrame = HTTP2FrameHeader(type: .data, flags: 0, stream: 0, length: 0)
    var dataLeft = 0
    var paddingLeft = 0
    var isInData = false
    /// A header block that came without its end.
    var block = ByteBuffer()
    var blockFrame: HTTP2FrameHeader?
    var blockDependsOnItself = false
    var continuations = 0

    // Streams.
    var nextStream: StreamID = 1
    /// The highest that the peer has opened.
    var lastPeerStream: StreamID = 0
    var endings: [Ending] = []
    var endingsNext = 0
    public internal(set) var openStreams = 0

    // Windows and settings.
    var sendWindow = 65_535
    var receiveWindow = 65_535
    var toReturn = 0
    let connectionWindow: Int
    var peerStreamWindow = 65_535
    /// Until the peer says something: what RFC 9113 §6.5.2 recommends as the least.
    var peerMaxStreams = 100
    var peerHasSpoken = false
    /// Streams that wait for the connection's window, in turn.
    var blocked: [HTTP2Stream] = []

    var isDead = false
    var isShuttingDown = false
    var shutDownTwice = false
    /// What our last GOAWAY named; a later one may not name more.
    var goAwayLast: StreamID?
    var peerGoesAway = false
    var resetBudget = HTTP2Connection.mostResets
    var idleFrameBudget = HTTP2Connection.mostIdleFrames

    struct Ending {
        enum Cause {
            case bothEnded, peerReset, ourReset
        }
        var stream: StreamID
        var cause: Cause
    }

    static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    static let mostWindow = 0x7FFF_FFFF
    static let mostInterims = 16
    static let mostContinuations = 8
    static let keptEndings = 32
    static let mostResets = 1000
    static let mostIdleFrames = 1000
    static let idleFramesPerRead = 64

    public init(role: Role, context: HTTPCodecContext) {
        self.role = role
        self.context = context
        workspace = context.workspace
        connectionWindow = context.limits.window
        prefaceLeft = role == .server ? HTTP2Connection.preface.utf8CodeUnitCount : 0
        start()
    }

    public convenience init(role: Role, limits: HTTPLimits = HTTPLimits()) {
        self.init(role: role, context: HTTPCodecContext(limits: limits))
    }

    var limits: HTTPLimits { context.limits }
    var streamWindow: Int { min(limits.streamWindow, HTTP2Connection.mostWindow) }

    func start() {
        if role == .client { output.append(HTTP2Connection.preface) }
        var settings: [(HTTP2Setting, Int)] = [
            (.initialWindowSize, streamWindow), (.maxHeaderListSize, limits.maxHeaderBytes),
        ]
        if role == .server {
            settings.append((.maxConcurrentStreams, limits.maxConcurrentStreams))
        } else {
            settings.append((.enablePush, 0))
        }
        output.appendSettings(settings)
        if connectionWindow > receiveWindow {
            output.appendWindowUpdate(0, connectionWindow - receiveWindow)
            receiveWindow = connectionWindow
        }
    }

    // MARK: Events

    public func nextEvent() -> HTTPEvent? {
        if eventsTaken == events.count {
            if eventsTaken > 0 {
                events.removeAll(keepingCapacity: events.count <= 64)
                eventsTaken = 0
            }
            return nil
        }
        var event = HTTPEvent.pong
        swap(&event, &events[eventsTaken])
        eventsTaken += 1
        return event
    }

    public var wantsInput: Bool { !isDead }

    /// Takes back events of a stream that the caller wants to hear no more of.
    func forget(_ id: StreamID) {
        if eventsTaken == events.count { return }
        let waiting = events[eventsTaken...].filter { event in
            switch event {
            case .head(id, _, _), .interim(id, _), .body(id, _, _), .trailers(id, _),
                .reset(id, _), .drained(id):
                false
            default:
                true
            }
        }
        events = Array(waiting)
        eventsTaken = 0
    }

    // MARK: Streams

    func open(_ id: StreamID) -> HTTP2Stream {
        let stream = streams.open(id)
        stream.sendWindow = peerStreamWindow
        stream.receiveWindow = streamWindow
        openStreams += 1
        return stream
    }

    /// Whether nobody has opened it yet (§5.1).
    func isIdle(_ id: StreamID) -> Bool {
        role == .server ? id % 2 == 0 || id > lastPeerStream : id % 2 == 0 || id >= nextStream
    }

    /// Whether the caller knows of the stream.
    func isKnown(_ stream: HTTP2Stream) -> Bool {
        role == .client || stream.headDelivered
    }

    func ending(of id: StreamID) -> Ending.Cause? {
        for ending in endings where ending.stream == id { return ending.cause }
        return nil
    }

    func remember(_ id: StreamID, _ cause: Ending.Cause) {
        let ending = Ending(stream: id, cause: cause)
        if endings.count < HTTP2Connection.keptEndings {
            endings.append(ending)
        } else {
            endings[endingsNext] = ending
            endingsNext = (endingsNext + 1) % HTTP2Connection.keptEndings
        }
    }

    func closeIfEnded(_ stream: HTTP2Stream) {
        if stream.remoteEnded, stream.localEnded, !stream.isClosed {
            close(stream, .noError, .bothEnded)
        }
    }

    /// The stream is over. The caller hears of it unless both sides came to their end.
    func close(_ stream: HTTP2Stream, _ code: HTTPErrorCode, _ cause: Ending.Cause) {
        openStreams -= 1
        remember(stream.id, cause)
        let isClean = cause == .bothEnded
        if !stream.isSilent, isKnown(stream), !isClean {
            events.append(.reset(stream.id, code))
            abandonBody(stream)
        }
        if !stream.queue.isEmpty { stream.queue.removeAll() }
        stream.queue.shrink()
        stream.trailers = nil
        if role == .server || stream.isSilent { abandonBody(stream) }
        if role == .server, isClean {
            forget(stream.id)
            resetBudget = min(HTTP2Connection.mostResets, resetBudget + 1)
        }
        stream.isClosed = true
        if stream.unconsumed == 0 { streams.remove(stream.id) }
    }

    /// Resets a stream from our side.
    /// - Parameter tells: the caller does not know yet.
    func resetStream(_ stream: HTTP2Stream, _ code: HTTPErrorCode, tells: Bool) {
        output.appendRSTStream(stream.id, code)
        if !tells { stream.isSilent = true }
        close(stream, code, .ourReset)
    }

    func endConnection(_ code: HTTPErrorCode) {
        if isDead { return }
        isDead = true
        openStreams = 0
        output.appendGoAway(last: goAwayLast ?? lastPeerStream, code)
        events.append(
            .violation(
                ProtocolViolation(status: 400, reason: "HTTP/2 connection error \(code)")))
    }

    // MARK: Windows

    public func consumed(_ count: Int, on id: StreamID) {
        guard let stream = streams[id] else { return }
        let count = min(count, stream.unconsumed)
        if count <= 0 { return }
        stream.unconsumed -= count
        giveBack(count, to: stream)
        if stream.isClosed, stream.unconsumed == 0 { streams.remove(id) }
    }

    /// Gives back to the connection's window what the caller will not consume any more.
    func abandonBody(_ stream: HTTP2Stream) {
        if stream.unconsumed > 0 {
            let count = stream.unconsumed
            stream.unconsumed = 0
            giveBack(count, to: nil)
        }
    }

    func giveBack(_ count: Int, to stream: HTTP2Stream?) {
        if isDead { return }
        toReturn += count
        if toReturn >= connectionWindow / 2 {
            output.appendWindowUpdate(0, toReturn)
            receiveWindow += toReturn
            toReturn = 0
        }
        guard let stream, !stream.isClosed, !stream.remoteEnded else { return }
        stream.toReturn += count
        if stream.toReturn >= streamWindow / 2 {
            output.appendWindowUpdate(stream.id, stream.toReturn)
            stream.receiveWindow += stream.toReturn
            stream.toReturn = 0
        }
    }

    // MARK: Ending

    public func reset(_ id: StreamID, _ code: HTTPErrorCode) {
        guard let stream = streams[id] else { return }
        stream.isSilent = true
        forget(id)
        abandonBody(stream)
        if stream.isClosed {
            streams.remove(id)
        } else if !isDead {
            resetStream(stream, code, tells: false)
        }
    }

    public func shutDown() {
        if isDead { return }
        if role == .server, !isShuttingDown {
            output.appendGoAway(last: StreamID.max, .noError)
        } else if !shutDownTwice {
            shutDownTwice = true
            goAwayLast = lastPeerStream
            output.appendGoAway(last: lastPeerStream, .noError)
        }
        isShuttingDown = true
    }

    public func ping() {
        if !isDead { output.appendPing(nil, isAck: false) }
    }

    public var streamsAvailable: Int {
        if role == .server || isDead || isShuttingDown || peerGoesAway { return 0 }
        if nextStream < 0 { return 0 }
        return max(0, min(peerMaxStreams, limits.maxConcurrentStreams) - openStreams)
    }

    public var isFinished: Bool {
        if isDead { return true }
        return openStreams == 0 && (shutDownTwice || peerGoesAway)
    }
}

@available(*, unavailable)
extension HTTP2Connection: Sendable {}
