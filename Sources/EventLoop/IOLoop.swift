public import MeshBase

/// All that the shell may ask of the world. `LibevLoop` answers with sockets and the clock,
/// `SimulatedLoop` (Tests/MeshSimulation) with a seeded network on virtual time.
///
/// A loop and everything made by it belong to one thread.
public protocol IOLoop: AnyObject {
    /// The time of this turn: read once when the loop wakes.
    var now: Instant { get }

    /// Wall-clock time, for logs and certificates.
    var wallClock: UnixTime { get }

    /// The loop's own chance.
    var random: SeededRandom { get set }

    /// The timers of this loop; a `LoopTimer` is made from it.
    var timers: TimerQueue { get }

    /// Opens a listening socket.
    /// - Throws: `SocketError` with the operation and errno.
    func listen(
        _ address: SocketAddress, options: ListenOptions, acceptor: any StreamAcceptor
    ) throws(SocketError) -> any StreamListener

    /// Starts to connect. Success and failure arrive at the handler, never from inside this call.
    func connect(
        _ address: SocketAddress, options: ConnectOptions, handler: any ByteStreamHandler
    ) -> any ByteStream

    /// Looks a host name up (A and AAAA). The answer arrives on this loop, never from inside the
    /// call; an empty list means that the name does not resolve now.
    func resolve(_ host: String, completion: @escaping ([SocketAddress]) -> Void)

    /// Calls `task.turnEnded()` once, before the loop waits again: where output of a whole turn
    /// is flushed together. Adding a task from inside `turnEnded` runs it in the same turn.
    func atTurnEnd(_ task: any TurnEndTask)
}

public protocol TurnEndTask: AnyObject {
    func turnEnded()
}

public struct ListenOptions: Sendable, Equatable {
    /// Several loops listen on the same address and the kernel spreads connections (SO_REUSEPORT).
    public var reusePort = false
    public var backlog: Int32 = 4096
    /// Accept connections to addresses that are not ours (IP_TRANSPARENT).
    public var transparent = false
    /// Ask where a client wanted to go before netfilter redirected it (SO_ORIGINAL_DST).
    public var originalDestination = false
    /// File mode of a pipe's socket.
    public var mode: UInt32 = 0o600

    public init() {}
}

public struct ConnectOptions: Sendable, Equatable {
    /// After this long without a connection: `connectTimeout`.
    public var timeout: Duration = .seconds(5)
    /// TCP_USER_TIMEOUT: unacknowledged bytes for this long end the connection.
    public var userTimeout: Duration? = nil
    /// TCP keep-alive idle time; probes every third of it.
    public var keepAlive: Duration? = .seconds(60)
    /// Local address to bind first.
    public var source: SocketAddress? = nil

    public init() {}
}

/// Takes accepted connections.
public protocol StreamAcceptor: AnyObject {
    /// A connection came. Set the stream's handler before returning, or close it. Its bytes arrive in a
    /// later call. `originalDestination` is set where the kernel redirected it (SO_ORIGINAL_DST).
    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?)
}

public protocol StreamListener: AnyObject {
    /// Where it listens, with the port that the kernel chose if 0 was asked for.
    var address: SocketAddress { get }
    /// Stops accepting; connections that exist live on.
    func close()
}

/// A system call that failed, kept as it was.
public struct SocketError: Error, Equatable, Sendable, CustomStringConvertible {
    public let operation: String
    public let errno: Int32
    public let address: SocketAddress?

    public init(operation: String, errno: Int32, address: SocketAddress? = nil) {
        self.operation = operation
        self.errno = errno
        self.address = address
    }

    public var description: String {
        let place = address.map { " \($0)" } ?? ""
        return "\(operation)\(place): errno \(errno) (\(SocketError.name(of: errno)))"
    }
}
