public import EventLoop
internal import Glibc
public import MeshBase

/// A machine of the simulated network: addresses, listeners, and the loops that run on it.
public final class SimulatedHost {
    public let name: String
    public let addresses: [SocketAddress]
    /// Where netfilter of this host sends connections that arrive for `destination`; `nil` leaves
    /// them alone. The acceptor is told the original destination.
    public var redirectArrivals: ((_ destination: SocketAddress) -> SocketAddress?)?

    let number: Int
    unowned let network: SimulatedNetwork
    private(set) var loops: [SimulatedLoop] = []
    var listeners: [SocketAddress: [SimulatedListener]] = [:]
    private(set) var isDown = false
    private var nextPort: UInt16 = 32768

    init(_ network: SimulatedNetwork, _ name: String, number: Int, _ addresses: [SocketAddress]) {
        self.network = network
        self.name = name
        self.number = number
        self.addresses = addresses
    }

    /// A loop on this host. Several of them are the threads of one process.
    public func makeLoop(_ name: String) -> SimulatedLoop {
        isDown = false
        let loop = SimulatedLoop(network, self, name)
        loops.append(loop)
        return loop
    }

    /// Everything of this host stops. With its kernel alive (a killed process) peers get ends and
    /// resets; without (power lost) they hear nothing, also later. `makeLoop` brings it back.
    public func die(kernelAlive: Bool) {
        isDown = !kernelAlive
        for loop in loops { loop.isDead = true }
        for listener in listeners.values.flatMap({ $0 }) { listener.close() }
        for number in network.sockets.keys.sorted() {
            guard let socket = network.sockets[number], socket.loop.host === self else { continue }
            socket.die(telling: kernelAlive)
        }
        loops = []
    }

    func takePort() -> UInt16 {
        nextPort = nextPort == .max ? 32768 : nextPort + 1
        return nextPort
    }

    /// The address of ours that a connection to `destination` starts from.
    func source(for destination: SocketAddress) -> SocketAddress {
        switch destination {
        case .pipe: destination
        case .ipv4(let ip, _):
            if ip >> 24 == 127 {
                .loopback(port: takePort())
            } else {
                (addresses.first { if case .ipv4 = $0 { true } else { false } }
                    ?? .loopback(port: 0)).with(port: takePort())
            }
        case .ipv6:
            (addresses.first { if case .ipv6 = $0 { true } else { false } }
                ?? .ipv6(0, 1, port: 0)).with(port: takePort())
        }
    }

    /// One of the listeners for that address, by chance as SO_REUSEPORT does it.
    func listener(for address: SocketAddress) -> SimulatedListener? {
        var candidates = listeners[address] ?? []
        if candidates.isEmpty {
            switch address {
            case .ipv4(_, let port): candidates = listeners[.ipv4(0, port: port)] ?? []
            case .ipv6(_, _, let port): candidates = listeners[.ipv6(0, 0, port: port)] ?? []
            case .pipe: break
            }
        }
        if candidates.count < 2 { return candidates.first }
        return candidates[network.random.below(candidates.count)]
    }
}

/// The simulated twin of `LibevLoop`.
public final class SimulatedLoop: IOLoop {
    public let name: String
    public let host: SimulatedHost
    public internal(set) var now: Instant
    public var random: SeededRandom
    public let timers = TimerQueue()
    /// Where netfilter sends the connects of this loop; `nil` leaves them alone.
    public var redirectConnects: ((_ destination: SocketAddress) -> SocketAddress?)?

    unowned let network: SimulatedNetwork
    var isDead = false
    private var number = 0
    private var turnEnd: [any TurnEndTask] = []
    private var turnEndRunning: [any TurnEndTask] = []
    private var closed: [AnyObject] = []
    private var closedDying: [AnyObject] = []
    private var lastDelivery = Instant.zero

    init(_ network: SimulatedNetwork, _ host: SimulatedHost, _ name: String) {
        self.network = network
        self.host = host
        self.name = name
        now = network.now
        random = network.random.split()
        number = network.add(self)
    }

    public var wallClock: UnixTime {
        UnixTime(
            microseconds: network.wallClockStart.microseconds + network.now.nanoseconds / 1000)
    }

    public func listen(
        _ address: SocketAddress, options: ListenOptions, acceptor: any StreamAcceptor
    ) throws(SocketError) -> any StreamListener {
        var address = address
        switch address {
        case .pipe: break
        case .ipv4, .ipv6: if address.port == 0 { address = address.with(port: host.takePort()) }
        }
        if let others = host.listeners[address], !others.isEmpty,
            !options.reusePort || !others.allSatisfy(\.sharesPort)
        {
            throw SocketError(operation: "bind", errno: EADDRINUSE, address: address)
        }
        let listener = SimulatedListener(self, address, options.reusePort, acceptor)
        host.listeners[address, default: []].append(listener)
        return listener
    }

    public func connect(
        _ address: SocketAddress, options: ConnectOptions, handler: any ByteStreamHandler
    ) -> any ByteStream {
        let socket = SimulatedSocket(
            self, connectingTo: address, via: redirectConnects?(address), options)
        return SocketStream(
            self, connecting: socket, to: address, timeout: options.timeout, failure: nil,
            handler: handler)
    }

    public func resolve(_ host: String, completion: @escaping ([SocketAddress]) -> Void) {
        let literal = SocketAddress(ip: host, port: 0)
        let delay = literal == nil ? network.nameDelay : .zero
        network.schedule(
            at: network.now + delay,
            .delivery(self) { [unowned network] in
                completion(literal.map { [$0] } ?? network.names[host] ?? [])
            })
    }

    public func atTurnEnd(_ task: any TurnEndTask) {
        turnEnd.append(task)
    }

    /// What `Mailbox` is between real loops: calls `deliver` on this loop, after a moment, in the
    /// order of posting.
    public func post(_ deliver: @escaping () -> Void) {
        let delay = Duration.nanoseconds(1000 + network.random.below(200_000))
        lastDelivery = max(lastDelivery, network.now + delay)
        network.schedule(at: lastDelivery, .delivery(self, deliver))
    }

    /// A sender for this loop, of the same shape as a mailbox's `post`.
    public func outlet<Message>(
        _ received: @escaping (Message) -> Void
    ) -> (Message) -> Void {
        { [unowned self] message in post { received(message) } }
    }

    var hasTurnEndWork: Bool { !turnEnd.isEmpty || !closed.isEmpty }

    func freeLater(_ object: AnyObject) {
        closed.append(object)
    }

    func endTurn() {
        timers.fireDue(now: now)
        while !turnEnd.isEmpty {
            swap(&turnEnd, &turnEndRunning)
            for task in turnEndRunning { task.turnEnded() }
            turnEndRunning.removeAll(keepingCapacity: true)
        }
        if !closed.isEmpty {
            swap(&closed, &closedDying)
            closedDying.removeAll(keepingCapacity: true)
        }
    }
}

@available(*, unavailable) extension SimulatedLoop: Sendable {}

final class SimulatedListener: StreamListener {
    let address: SocketAddress
    let loop: SimulatedLoop
    let sharesPort: Bool
    private var acceptor: (any StreamAcceptor)?
    private var waiting: [(SimulatedSocket, SocketAddress?)] = []

    init(
        _ loop: SimulatedLoop, _ address: SocketAddress, _ sharesPort: Bool,
        _ acceptor: any StreamAcceptor
    ) {
        self.loop = loop
        self.address = address
        self.sharesPort = sharesPort
        self.acceptor = acceptor
    }

    /// A connection is made; the loop hears of it in a turn to come.
    func offer(_ socket: SimulatedSocket, originalDestination: SocketAddress?) {
        waiting.append((socket, originalDestination))
        if waiting.count == 1 { loop.network.makeRunnable(.listener(self)) }
    }

    func runReady() {
        let batch = waiting
        waiting = []
        for (socket, destination) in batch {
            guard let acceptor else {
                socket.reset()
                continue
            }
            var peer: SocketAddress? = socket.remoteAddress
            if case .pipe = socket.remoteAddress { peer = nil }
            let stream = SocketStream(loop, accepted: socket, from: peer)
            acceptor.accepted(stream, originalDestination: destination)
            if stream.handler == nil { stream.close() } else { stream.startReading() }
        }
    }

    func close() {
        guard acceptor != nil else { return }
        acceptor = nil
        loop.host.listeners[address]?.removeAll { $0 === self }
        // As a kernel does with connections that nobody has accepted yet.
        for (socket, _) in waiting { socket.reset() }
        waiting = []
    }
}
