public import MeshBase

/// An HTTP connection as values: bytes go in, events come out; messages go in, bytes come out.
/// HTTP/1.1 and HTTP/2, client and server, are all this, and touch no socket and no clock.
///
/// How it is used, in each turn of the loop:
///
///     connection.receive(bytes)
///     while let event = connection.nextEvent() { … }
///     …
///     connection.takeOutput(into: &buffer)      // then written to the stream at once
///
/// **Streams.** Each exchange has a number. HTTP/2's are the protocol's own; HTTP/1 counts 1, 2, 3…
/// and has one open at a time: a pipelined request is held back until its predecessor is done.
///
/// **Back-pressure in.** Body bytes that were delivered count against a window until they are given
/// back with `consumed`: HTTP/2 sends no WINDOW_UPDATE for them, and HTTP/1 clears `wantsInput`.
///
/// **Back-pressure out.** `sendBody` takes everything. When it returns `false` the stream's queue
/// is beyond `sendLimit` (the peer's window is shut); wait for `.drained` before sending more.
///
/// After a `ProtocolViolation` of connection scope the output may hold a last reply or a GOAWAY;
/// flush it and close.
public protocol HTTPConnection: AnyObject {
    /// Parses; events are queued. Bytes that it can't use yet (pipelining) it keeps. The bytes
    /// must stay where they are until `nextEvent` has returned `nil`: body parts are slices of them.
    func receive(_ bytes: Span<UInt8>)

    /// The peer ended its direction: completes a body that is delimited by closing, or reports
    /// what was cut short.
    func receiveEnd()

    /// The next event, or `nil`. Ask also when an exchange was done, for a pipelined request, and
    /// after `takeOutput`, for `.drained`.
    func nextEvent() -> HTTPEvent?

    /// Whether more input is welcome now; when `false`, stop reading until it is `true` again
    /// (after `consumed`, or when an exchange is done).
    var wantsInput: Bool { get }

    /// Client: begins an exchange.
    /// - Returns: its number, or `nil` when no further exchange can be opened on this connection
    ///   (limit reached, GOAWAY, HTTP/1 busy or closing).
    func sendRequest(_ head: MessageHead, endStream: Bool) -> StreamID?

    /// Server: an interim (1xx) or the final response head, or for either role nothing else.
    func sendResponse(_ head: MessageHead, on stream: StreamID, endStream: Bool)

    /// Body bytes, all taken. - Returns: `false` when the stream's queue is beyond `sendLimit`.
    @discardableResult
    func sendBody(_ bytes: Span<UInt8>, on stream: StreamID, endStream: Bool) -> Bool

    /// Ends the message with trailers.
    func sendTrailers(_ trailers: MessageHead, on stream: StreamID)

    /// Gives an exchange up: RST_STREAM, or for HTTP/1 the end of the connection.
    func reset(_ stream: StreamID, _ code: HTTPErrorCode)

    /// Body bytes of a stream have left for good. Those that never will are given back by `reset`,
    /// also when the stream has ended.
    func consumed(_ count: Int, on stream: StreamID)

    /// Counts body bytes as sent that the caller writes itself, as they are, behind all output so far.
    /// - Returns: `false`, with nothing counted, where that can't be: then they go by `sendBody`.
    func passBody(_ count: Int, on stream: StreamID, endStream: Bool) -> Bool

    /// Body bytes of this stream that wait inside for the peer's window.
    func queuedBytes(on stream: StreamID) -> Int

    /// Starts to end the connection gracefully: HTTP/2 GOAWAY (first with the highest stream number,
    /// and with the real one when called again), HTTP/1 `connection: close` on the next response.
    func shutDown()

    /// HTTP/2: sends a PING; its acknowledgement is the event `.pong`. HTTP/1: does nothing.
    func ping()

    /// Moves all bytes that are to be sent into `output`.
    func takeOutput(into output: inout ByteBuffer)

    var hasOutput: Bool { get }

    /// Exchanges that are open.
    var openStreams: Int { get }

    /// Client: how many more exchanges could be begun now. 0 after GOAWAY.
    var streamsAvailable: Int { get }

    /// No exchange is open and none may follow: close the transport once the output is flushed.
    var isFinished: Bool { get }
}

extension HTTPConnection {
    public func passBody(_ count: Int, on stream: StreamID, endStream: Bool) -> Bool { false }

    /// Nothing is to be sent, input is welcome, and more may follow: mostly what receiving comes to.
    public var isAtRest: Bool { !hasOutput && wantsInput && !isFinished }

    /// As `consumed`. - Returns: whether that gave something to send, or made input welcome that was not.
    public func giveBack(_ count: Int, on stream: StreamID) -> Bool {
        let couldRead = wantsInput
        consumed(count, on: stream)
        return !couldRead || hasOutput
    }
}

public typealias StreamID = Int32

public enum HTTPEvent {
    /// A request head (server), or the final response head (client).
    case head(StreamID, MessageHead, endStream: Bool)
    /// A 1xx response (client).
    case interim(StreamID, MessageHead)
    /// Part of a body. The bytes are valid until the next call to the connection.
    case body(StreamID, UnsafeBufferPointer<UInt8>, endStream: Bool)
    /// The message ends with these.
    case trailers(StreamID, MessageHead)
    /// The peer gave the exchange up, or broke the protocol in it (then it is reset already).
    /// No further event of this stream follows.
    case reset(StreamID, HTTPErrorCode)
    /// The queue of a stream whose `sendBody` returned `false` has run low.
    case drained(StreamID)
    /// The peer will process no stream above this number; open ones above it are reported with
    /// `.reset(_, .refusedStream)` before.
    case goAway(lastStream: StreamID, HTTPErrorCode)
    case pong
    /// The peer broke the protocol; the connection must be closed after a last flush.
    case violation(ProtocolViolation)
}

/// RFC 9113 §7; for HTTP/1 the nearest meaning.
public enum HTTPErrorCode: UInt32, Sendable {
    case noError = 0
    case protocolError, internalError, flowControlError, settingsTimeout, streamClosed
    case frameSizeError
    /// Provably not processed: may be retried whatever the method (§8.7).
    case refusedStream
    case cancel, compressionError, connectError, enhanceYourCalm, inadequateSecurity
    case http11Required
}

/// A peer broke the protocol.
public struct ProtocolViolation: Error, Equatable, Sendable {
    /// What to reply if one still can: 400, 431, 501, 505.
    public let status: Int
    /// One line for the log: what was expected, what came. Never peer bytes verbatim.
    public let reason: String

    public init(status: Int, reason: String) {
        self.status = status
        self.reason = reason
    }
}

/// Bounds on what a peer may make us hold. Every field has a test that reaches it.
public struct HTTPLimits: Sendable, Equatable {
    /// Names and values of one head together, with four bytes for each field.
    public var maxHeaderBytes = 60 * 1024
    public var maxHeaderCount = 100
    /// HTTP/2: streams that one side may have open with the other.
    public var maxConcurrentStreams = 1000
    /// HTTP/2: bytes of body that the peer may send before `consumed`, for a stream.
    public var streamWindow = 256 * 1024
    /// The same for the connection. `nil`: room for what all its streams may leave unread, so that one
    /// that is read slowly never holds up another.
    public var connectionWindow: Int?
    /// HTTP/1: bytes of body delivered and not consumed before `wantsInput` turns false.
    public var bodyWindow = 256 * 1024
    /// Bytes queued for one stream before `sendBody` returns `false`.
    public var sendLimit = 256 * 1024

    public init() {}

    /// The connection's window as it is opened, within the protocol's bounds (RFC 9113 §6.9).
    var window: Int {
        let most = HTTP2Connection.mostWindow
        if let connectionWindow { return min(max(65_535, connectionWindow), most) }
        if maxConcurrentStreams >= most / max(1, streamWindow) { return most }
        return max(65_535, maxConcurrentStreams * streamWindow)
    }
}
