public import MeshBase

/// Anything that carries bytes both ways: a socket, TLS over another stream, or one CONNECT stream
/// of an HTTP/2 connection. Nothing above `EventLoop` knows which.
///
/// A stream belongs to one loop and is used on its thread alone. It calls its handler from the
/// loop only, never from inside a call made to it, so a handler may close the stream at any time.
public protocol ByteStream: AnyObject {
    /// Who is told. The stream holds it strongly until it has told it `streamClosed`, or until
    /// `close`/`abort`; that is what keeps a connection alive.
    var handler: (any ByteStreamHandler)? { get set }

    /// The other end, as far as it is known; a tunnel's is the authority's address.
    var remoteAddress: SocketAddress? { get }
    var localAddress: SocketAddress? { get }

    /// Takes all the bytes: sends what it can now and queues the rest.
    func write(_ bytes: Span<UInt8>)

    /// Bytes taken and not yet handed on. Above `writeLimit` a polite writer stops until
    /// `streamDrained`.
    var queuedBytes: Int { get }

    /// Ends our direction once the queue is empty (TCP FIN, close_notify, END_STREAM).
    func finish()

    /// Stops `streamReceived` until the same reason is resumed. Reasons add up.
    func pauseReading(_ reason: ReadPause)
    func resumeReading(_ reason: ReadPause)

    /// Flushes what is queued, then closes; the handler hears nothing more.
    func close()

    /// Closes at once and unfriendly (TCP RST where there is one); the handler hears nothing more.
    func abort()
}

extension ByteStream {
    /// Above this many queued bytes a writer should wait for `streamDrained`.
    public static var writeLimit: Int { 256 * 1024 }
}

/// Why a reader is held back; reading goes on when no reason is left.
public struct ReadPause: OptionSet, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// The other side's writer is full.
    public static let backPressure = ReadPause(rawValue: 1)
    /// The codec holds all that it may until its events are taken (HTTP/1 pipelining).
    public static let codecFull = ReadPause(rawValue: 2)
    /// The stream inside this one is paused.
    public static let inner = ReadPause(rawValue: 4)
    /// Nobody is there yet to take the bytes.
    public static let notReady = ReadPause(rawValue: 8)
}

/// What happens on a `ByteStream`, told to its owner.
public protocol ByteStreamHandler: AnyObject {
    /// A stream that was being connected is ready. Not called for accepted streams.
    func streamConnected()

    /// Bytes came; valid during the call only.
    func streamReceived(_ bytes: Span<UInt8>)

    /// The peer ended its direction in order; ours stays open.
    func streamReceivedEnd()

    /// The queue had grown beyond the write limit and is now less than half of it.
    func streamDrained()

    /// The stream is gone; the last call. Connecting that failed arrives here as well.
    func streamClosed(_ failure: TransportFailure)
}
