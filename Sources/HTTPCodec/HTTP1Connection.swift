public import MeshBase

// HTTP/1.1 as one `HTTPConnection` (RFC 9112): a reader and a writer, each with a phase, and one
// exchange at a time between them.
//
//     reading          leaves it when                           for
//     head             a head is complete                       length, chunkSize, untilClose, over
//     length           the declared bytes came                  over
//     chunkSize        a size line is complete                  chunk, trailers
//     chunk            its bytes came                           chunkEnd
//     chunkEnd         its CR LF came                           chunkSize
//     trailers         the empty line came                      over
//     untilClose       the peer closed                          over
//     over             the exchange is done on both sides       head
//
// The reader is pulled: `receive` only remembers where the bytes lie, and `nextEvent` parses as far
// as the next event, so a body part is a slice of the input and nothing is queued. What is left
// when there is no further event is copied to `kept`: an incomplete head, or a pipelined request
// that must wait for its predecessor.
//
// A server whose response ends before the request does reads the rest of it and drops it, up to a
// bound; then the connection is over. A broken rule ends the connection, always: after it there is
// no agreement with the peer on where a message begins.

public final class HTTP1Connection: HTTPConnection {
    public enum Role: Sendable {
        case client, server
    }

    private enum Reading {
        case head, length, chunkSize, chunk, chunkEnd, trailers, untilClose, over
    }

    private enum Writing {
        /// No head was written yet in this exchange.
        case head
        case length, chunked, untilClose
        /// The message has no body; what is sent of one is dropped (an answer to HEAD).
        case none
        case over
    }

    private static let maxInterim = 16
    private static let maxChunkLine = 256
    /// What a server reads and drops of a request that was answered before its end.
    private static let maxDiscarded = 64 * 1024

    private let role: Role
    private let context: HTTPCodecContext
    private let workspace: HeadWorkspace

    private var input: UnsafeBufferPointer<UInt8> = UnsafeBufferPointer(start: nil, count: 0)
    private var kept = ByteBuffer()
    /// Bytes of `kept` in which no line end was found that could complete the head.
    private var searched = 0

    private var reading = Reading.head
    private var readingLeft = 0
    private var writing = Writing.over
    private var writingLeft = 0

    private var stream: StreamID = 0
    private var isOpen = false
    private var isClosed = false
    private var inputEnded = false
    private var persists = true
    private var isShuttingDown = false
    private var discarded: Int?
    private var interims = 0
    private var requestMethod = HTTP1Parser.Method.other
    private var peerVersion: UInt8 = 11
    private var awaitsContinue = false

    private var unconsumed = 0
    private var isBlocked = false
    private var output = ByteBuffer()
    private var pending: [HTTPEvent] = []

    public init(role: Role, context: HTTPCodecContext) {
        self.role = role
        self.context = context
        workspace = context.workspace
    }

    public convenience init(role: Role, limits: HTTPLimits = HTTPLimits()) {
        self.init(role: role, context: HTTPCodecContext(limits: limits))
    }

    private var limits: HTTPLimits { context.limits }

    // MARK: Receiving

    public func receive(_ bytes: Span<UInt8>) {
        if isClosed || inputEnded { return }
        bytes.withUnsafeBufferPointer { bytes in
            if input.count > 0 { keepInput() }
            if kept.isEmpty {
                input = bytes
            } else {
                kept.append(bytes)
            }
        }
    }

    public func receiveEnd() {
        if inputEnded || isClosed { return }
        keepInput()
        inputEnded = true
        if !isOpen, kept.isEmpty { close() }
    }

    public func nextEvent() -> HTTPEvent? {
        // Mostly it is asked again after the last event, with nothing left to look at.
        if input.count == 0, kept.capacity == 0, pending.isEmpty, !inputEnded, !isClosed {
            return nil
        }
        while true {
            if !pending.isEmpty { return pending.removeFirst() }
            if isClosed {
                drop()
                return nil
            }
            let isDiscarding = discarded != nil
            do throws(ProtocolViolation) {
                if let event = try step() {
                    if !isDiscarding { return event }
                } else if pending.isEmpty, !isClosed {
                    if inputEnded, let event = endOfInput() { return event }
                    keepInput()
                    if kept.isEmpty { kept.shrink() }
                    return nil
                }
            } catch {
                return violated(error)
            }
        }
    }

    public var wantsInput: Bool {
        if isClosed || inputEnded || unconsumed >= limits.bodyWindow { return false }
        return reading != .over || kept.isEmpty
    }

    public func consumed(_ count: Int, on stream: StreamID) {
        if stream == self.stream { unconsumed = max(0, unconsumed - count) }
    }

    private func keepInput() {
        if input.count > 0 {
            kept.append(input)
            input = UnsafeBufferPointer(start: nil, count: 0)
        }
    }

    private func drop() {
        input = UnsafeBufferPointer(start: nil, count: 0)
        kept.removeAll()
        kept.shrink()
    }

    /// The bytes to be parsed next. Those in `kept` stay where they are until the next call.
    private var available: UnsafeBufferPointer<UInt8> {
        input.count > 0 ? input : kept.withBytes { $0 }
    }

    private func advance(_ count: Int) {
        if input.count > 0 {
            input = UnsafeBufferPointer(rebasing: input[count...])
        } else {
            kept.consume(count)
        }
        searched = 0
    }

    /// One step of the reader. `nil`: no event can come of the bytes that are here, or (when
    /// `pending` or `isClosed` changed) look there.
    private func step() throws(ProtocolViolation) -> HTTPEvent? {
        while true {
            let bytes = available
            switch reading {
            case .over:
                if role == .client, bytes.count > 0 { throw unexpected() }
                return nil
            case .head:
                if bytes.count == 0 { return nil }
                if role == .client, !isOpen { throw unexpected() }
                if searched > 0, !mayBeComplete(bytes) { return nil }
                return role == .server ? try readRequest(bytes) : try readResponse(bytes)
            case .length:
                if bytes.count == 0 { return nil }
                let count = min(bytes.count, readingLeft)
                readingLeft -= count
                advance(count)
                if readingLeft == 0 { readingDone() }
                return body(bytes, count, endStream: readingLeft == 0)
            case .untilClose:
                if bytes.count == 0 { return nil }
                advance(bytes.count)
                return body(bytes, bytes.count, endStream: false)
            case .chunkSize:
                guard try readChunkSize(bytes) else { return nil }
            case .chunk:
                if bytes.count == 0 { return nil }
                let count = min(bytes.count, readingLeft)
                readingLeft -= count
                advance(count)
                if readingLeft == 0 { reading = .chunkEnd }
                return body(bytes, count, endStream: false)
            case .chunkEnd:
                if bytes.count > 0, bytes[0] != 13 { throw malformedChunk() }
                if bytes.count < 2 { return nil }
                if bytes[1] != 10 { throw malformedChunk() }
                advance(2)
                reading = .chunkSize
            case .trailers:
                if bytes.count == 0 || (searched > 0 && !mayBeComplete(bytes)) { return nil }
                var parser = HTTP1Parser(limits: limits, workspace: workspace)
                guard let count = try parser.parseTrailers(bytes.span) else {
                    searched = bytes.count
                    return nil
                }
                advance(count)
                readingDone()
                if parser.isEmpty { return body(bytes, 0, endStream: true) }
                return .trailers(stream, parser.head())
            }
        }
    }

    /// Whether a line ends in what came since the last look, in a way that completes the head or
    /// makes it wrong. Without this, a head that comes byte by byte would be parsed as often.
    private func mayBeComplete(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        var at = searched
        while at < bytes.count {
            if bytes[at] == 10 {
                if at == 0 || bytes[at - 1] != 13 { return true }
                if at == 1 || bytes[at - 2] == 10 { return true }
            }
            at += 1
        }
        searched = bytes.count
        return bytes.count > limits.maxHeaderBytes
    }

    private func body(
        _ bytes: UnsafeBufferPointer<UInt8>, _ count: Int, endStream: Bool
    ) -> HTTPEvent {
        if let dropped = discarded {
            discarded = dropped + count
            if dropped + count > HTTP1Connection.maxDiscarded { close() }
        } else {
            unconsumed += count
        }
        return .body(
            stream, UnsafeBufferPointer(rebasing: bytes[0..<count]), endStream: endStream)
    }

    private func readRequest(
        _ bytes: UnsafeBufferPointer<UInt8>
    ) throws(ProtocolViolation) -> HTTPEvent? {
        var parser = HTTP1Parser(limits: limits, workspace: workspace)
        guard let count = try parser.parseRequest(bytes.span, scheme: context.scheme) else {
            searched = bytes.count
            return nil
        }
        advance(count)
        stream &+= 1
        isOpen = true
        interims = 0
        writing = .head
        unconsumed = 0
        requestMethod = parser.method
        peerVersion = parser.httpVersion
        awaitsContinue = parser.expectsContinue
        persists =
            !parser.saysClose && (peerVersion == 11 || parser.saysKeepAlive)
            && !isShuttingDown && stream < StreamID.max
        if parser.method == .connect {
            // What follows would be the tunnel's, and HTTP/1 tunnels are not ours to open.
            persists = false
            reading = .over
        } else if parser.isChunked {
            reading = .chunkSize
        } else if let length = parser.contentLength, length > 0 {
            reading = .length
            readingLeft = length
        } else {
            reading = .over
            awaitsContinue = false
        }
        return .head(stream, parser.head(), endStream: reading == .over)
    }

    private func readResponse(
        _ bytes: UnsafeBufferPointer<UInt8>
    ) throws(ProtocolViolation) -> HTTPEvent? {
        var parser = HTTP1Parser(limits: limits, workspace: workspace)
        guard let count = try parser.parseResponse(bytes.span) else {
            searched = bytes.count
            return nil
        }
        advance(count)
        let status = parser.status
        if status == 101 {
            throw ProtocolViolation(status: 502, reason: "101 without having asked for it")
        }
        if status < 200 {
            interims += 1
            if interims > HTTP1Connection.maxInterim {
                throw ProtocolViolation(status: 502, reason: "too many interim responses")
            }
            if parser.isChunked || (parser.contentLength ?? 0) > 0 {
                throw ProtocolViolation(status: 502, reason: "interim response with a body")
            }
            return .interim(stream, parser.head())
        }
        peerVersion = parser.httpVersion
        if parser.saysClose || (peerVersion == 10 && !parser.saysKeepAlive) { persists = false }
        if requestMethod == .head || status == 204 || status == 304 {
            readingDone()
        } else if parser.isChunked {
            reading = .chunkSize
        } else if let length = parser.contentLength {
            if length == 0 {
                readingDone()
            } else {
                reading = .length
                readingLeft = length
            }
        } else {
            reading = .untilClose
            persists = false
        }
        return .head(stream, parser.head(), endStream: reading == .over || !isOpen)
    }

    private func readChunkSize(
        _ bytes: UnsafeBufferPointer<UInt8>
    ) throws(ProtocolViolation) -> Bool {
        var size = 0
        var at = 0
        while at < bytes.count {
            let byte = bytes[at]
            let folded = byte | 0x20
            let digit: UInt8
            if byte >= 48, byte <= 57 {
                digit = byte - 48
            } else if folded >= 97, folded <= 102 {
                digit = folded - 87
            } else {
                break
            }
            at += 1
            if at > 15 { throw malformedChunk() }
            size = size << 4 | Int(digit)
        }
        if at == bytes.count { return false }
        if at == 0 || (bytes[at] != 13 && bytes[at] != 0x3B) { throw malformedChunk() }
        while at < bytes.count, ByteClass.isValue(bytes[at]) {
            at += 1
            if at > HTTP1Connection.maxChunkLine { throw malformedChunk() }
        }
        if at < bytes.count, bytes[at] != 13 { throw malformedChunk() }
        if at + 1 >= bytes.count { return false }
        if bytes[at + 1] != 10 { throw malformedChunk() }
        advance(at + 2)
        readingLeft = size
        reading = size == 0 ? .trailers : .chunk
        return true
    }

    private func malformedChunk() -> ProtocolViolation {
        ProtocolViolation(status: 400, reason: "malformed chunk")
    }

    private func unexpected() -> ProtocolViolation {
        ProtocolViolation(status: 502, reason: "bytes that no request asked for")
    }

    /// The peer closed, and the bytes that came before it are used up.
    private func endOfInput() -> HTTPEvent? {
        if reading == .over {
            if !isOpen { close() }
            return nil
        }
        if reading == .untilClose {
            let last = body(UnsafeBufferPointer(start: nil, count: 0), 0, endStream: true)
            readingDone()
            return last
        }
        let cutShort = isOpen && discarded == nil
        close()
        return cutShort ? .reset(stream, .cancel) : nil
    }

    private func violated(_ violation: ProtocolViolation) -> HTTPEvent {
        if role == .server, !isOpen || writing == .head {
            var head = MessageHead(status: violation.status)
            head.append(.contentLength, "0")
            _ = HTTP1Writer.writeResponse(
                head, framing: .length(0), persistence: .close, into: &output)
        }
        close()
        return .violation(violation)
    }

    // MARK: The exchange

    private func readingDone() {
        reading = .over
        finishExchange()
    }

    private func writingDone() {
        writing = .over
        if role == .server, reading != .over {
            if persists { discarded = 0 } else { close() }
            isOpen = false
        }
        finishExchange()
    }

    private func finishExchange() {
        guard reading == .over, writing == .over else { return }
        isOpen = false
        discarded = nil
        let nothingLeft = inputEnded && kept.isEmpty && input.count == 0
        if !persists || nothingLeft || (role == .client && isShuttingDown) {
            close()
        } else {
            reading = .head
        }
    }

    private func close() {
        isClosed = true
        isOpen = false
        discarded = nil
        reading = .over
        writing = .over
    }

    /// Our own side broke the message: it can't be ended as if nothing were.
    private func fail() {
        pending.append(.reset(stream, .internalError))
        close()
    }

    public func reset(_ stream: StreamID, _ code: HTTPErrorCode) {
        if isOpen, stream == self.stream { close() }
    }

    public func shutDown() {
        isShuttingDown = true
        if role == .client || writing == .head { persists = false }
        if !isOpen, discarded == nil, kept.isEmpty, input.count == 0 { close() }
    }

    public func ping() {}

    public var openStreams: Int { isOpen ? 1 : 0 }

    public var streamsAvailable: Int {
        role == .client && !isOpen && !isClosed && !isShuttingDown && !inputEnded
            && stream < StreamID.max && kept.isEmpty && input.count == 0 ? 1 : 0
    }

    public var isFinished: Bool { isClosed }

    // MARK: Sending

    public func sendRequest(_ head: MessageHead, endStream: Bool) -> StreamID? {
        guard streamsAvailable > 0, !head.value(.method, equals: "CONNECT") else { return nil }
        stream += 1
        isOpen = true
        interims = 0
        unconsumed = 0
        persists = true
        reading = .head
        requestMethod = head.value(.method, equals: "HEAD") ? .head : .other
        let declared = HTTP1Writer.declaredLength(head)
        workspace.lend(&output)
        let framing: HTTP1Writer.Framing
        if endStream {
            if let declared, declared != 0 {
                fail()
                return stream
            }
            framing = wantsLength(head) ? .length(0) : .none
        } else {
            framing = declared.map { .length($0) } ?? .chunked
        }
        if declared == -1 || !HTTP1Writer.writeRequest(head, framing: framing, into: &output) {
            fail()
            return stream
        }
        begin(framing, endStream: endStream)
        return stream
    }

    /// Methods whose requests are expected to have a body say that theirs is empty (RFC 9110 §8.6).
    private func wantsLength(_ head: MessageHead) -> Bool {
        head.value(.method, equals: "POST") || head.value(.method, equals: "PUT")
            || head.value(.method, equals: "PATCH")
    }

    public func sendResponse(_ head: MessageHead, on stream: StreamID, endStream: Bool) {
        guard role == .server, isOpen, stream == self.stream, writing == .head else { return }
        if head.status < 200 {
            guard head.status >= 100, head.status != 101 else { return fail() }
            awaitsContinue = false
            // HTTP/1.0 doesn't know interim responses.
            if peerVersion == 10 { return }
            if !HTTP1Writer.writeResponse(
                head, framing: .none, persistence: .unsaid, into: &output)
            {
                fail()
            }
            return
        }
        workspace.lend(&output)
        let declared = HTTP1Writer.declaredLength(head)
        var framing: HTTP1Writer.Framing
        if requestMethod == .head || head.status == 204 || head.status == 304 {
            framing = .none
        } else if endStream {
            if let declared, declared != 0 { return fail() }
            framing = .length(0)
        } else if let declared {
            framing = .length(declared)
        } else {
            framing = peerVersion == 10 ? .untilClose : .chunked
        }
        if declared == -1 { return fail() }
        if framing == .untilClose || isShuttingDown { persists = false }
        // Whether the body of a client that was never told to continue will come is not known.
        if awaitsContinue, reading != .over { persists = false }
        // More will come than is read and dropped: the client should know that this ends the
        // connection, or it sends its next request into the void.
        if reading == .length, readingLeft > Self.maxDiscarded { persists = false }
        let persistence: HTTP1Writer.Persistence =
            persists ? (peerVersion == 10 ? .keepAlive : .unsaid) : .close
        if !HTTP1Writer.writeResponse(
            head, framing: framing, persistence: persistence, into: &output)
        {
            return fail()
        }
        begin(framing, endStream: endStream)
    }

    private func begin(_ framing: HTTP1Writer.Framing, endStream: Bool) {
        switch framing {
        case .none:
            writing = .none
        case .length(let count):
            writing = .length
            writingLeft = count
        case .chunked:
            writing = .chunked
        case .untilClose:
            writing = .untilClose
        }
        if endStream { writingDone() }
    }

    @discardableResult
    public func sendBody(_ bytes: Span<UInt8>, on stream: StreamID, endStream: Bool) -> Bool {
        guard isOpen, stream == self.stream else { return true }
        workspace.lend(&output)
        switch writing {
        case .over, .head:
            return true
        case .none:
            break
        case .length:
            if bytes.count > writingLeft || (endStream && bytes.count < writingLeft) {
                fail()
                return true
            }
            writingLeft -= bytes.count
            output.append(bytes)
        case .chunked:
            if bytes.count > 0 {
                output.reserve(bytes.count + 32)
                HTTP1Writer.writeChunkSize(bytes.count, into: &output)
                output.append(bytes)
                output.append("\r\n")
            }
            if endStream { output.append("0\r\n\r\n") }
        case .untilClose:
            output.append(bytes)
        }
        if endStream {
            writingDone()
            return true
        }
        if output.count > limits.sendLimit { isBlocked = true }
        return !isBlocked
    }

    public func passBody(_ count: Int, on stream: StreamID, endStream: Bool) -> Bool {
        guard isOpen, stream == self.stream else { return false }
        if writing == .length {
            if count > writingLeft || (endStream && count < writingLeft) { return false }
            writingLeft -= count
        } else if writing != .untilClose {
            return false
        }
        if endStream { writingDone() }
        return true
    }

    public func sendTrailers(_ trailers: MessageHead, on stream: StreamID) {
        guard isOpen, stream == self.stream else { return }
        switch writing {
        case .over, .head:
            return
        case .length where writingLeft > 0:
            return fail()
        case .chunked:
            HTTP1Writer.writeTrailers(trailers, into: &output)
        case .length, .none, .untilClose:
            // There is no place for them; a message may be forwarded without (RFC 9110 §6.5.1).
            break
        }
        writingDone()
    }

    public func queuedBytes(on stream: StreamID) -> Int {
        isOpen && stream == self.stream ? output.count : 0
    }

    public var hasOutput: Bool { !output.isEmpty }

    public func takeOutput(into other: inout ByteBuffer) {
        workspace.take(&output, into: &other)
        if isBlocked {
            isBlocked = false
            if isOpen { pending.append(.drained(stream)) }
        }
    }
}

@available(*, unavailable)
extension HTTP1Connection: Sendable {}
