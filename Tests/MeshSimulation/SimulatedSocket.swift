internal import EventLoop
internal import Glibc
internal import MeshBase

/// One end of a simulated TCP connection, below `SocketStream`: what a kernel keeps for it.
///
/// Bytes that were sent lie in the receiver's `wire` until their segment arrives, then in its
/// `inbox` until they are read; both together may not grow beyond the link's receive buffer, and
/// that makes writers wait. Segments of one connection are kept in a list of their own, and an
/// arrival takes the first, so that nothing can overtake within a connection.
final class SimulatedSocket: StreamKernel {
    let loop: SimulatedLoop
    let isClient: Bool
    let localAddress: SocketAddress?
    let remoteAddress: SocketAddress
    private(set) var number = 0
    private(set) var stream: SocketStream<SimulatedSocket>?

    private unowned let network: SimulatedNetwork
    /// The way to the peer.
    private var outgoing: Link?
    private var peer: SimulatedSocket?
    private var state: State
    private let target: SocketAddress
    private let userTimeout: Duration?

    private var segments: [Segment] = []
    private var nextSegment = 0
    private var lastArrival = Instant.zero
    private var wire = ByteBuffer()
    private var inbox = ByteBuffer()
    private var inboxEnded = false
    private var finished = false
    private var error: Int32 = 0
    private var waitsToRead = false
    private var waitsToWrite = false
    private var isScheduled = false
    private var roomIsComing = false
    /// Something for us was lost, and TCP lets nothing through after a gap.
    private var isDeaf = false
    private var cut = 0

    private enum State {
        case connecting
        case connected
        case closed
    }

    private enum Segment {
        case bytes(Int)
        case end
        case reset
    }

    /// - Parameter redirected: where netfilter sends it instead of `address`.
    init(
        _ loop: SimulatedLoop, connectingTo address: SocketAddress,
        via redirected: SocketAddress?, _ options: ConnectOptions
    ) {
        self.loop = loop
        network = loop.network
        isClient = true
        remoteAddress = address
        target = redirected ?? address
        userTimeout = options.userTimeout
        let source = options.source ?? loop.host.source(for: target)
        localAddress = source.port == 0 ? source.with(port: loop.host.takePort()) : source
        state = .connecting
        number = network.register(self)
        network.record("connect", number)
        start()
    }

    /// The server's end of a connection that arrived.
    private init(
        _ loop: SimulatedLoop, peer: SimulatedSocket, at address: SocketAddress,
        from source: SocketAddress, _ outgoing: Link
    ) {
        self.loop = loop
        network = loop.network
        isClient = false
        localAddress = address
        remoteAddress = source
        target = source
        userTimeout = nil
        state = .connected
        self.peer = peer
        self.outgoing = outgoing
        number = network.register(self)
    }

    var unreadBytes: Int { wire.count + inbox.count }

    // MARK: Connecting

    private var targetHost: SimulatedHost? {
        switch target {
        case .pipe: loop.host
        case .ipv4(let ip, _) where ip >> 24 == 127: loop.host
        case .ipv6(0, 1, _): loop.host
        case .ipv4, .ipv6: network.host(of: target)
        }
    }

    private func start() {
        guard let host = targetHost else {
            return answer(EHOSTUNREACH, after: .milliseconds(1))
        }
        let link = network.link(loop.host, host)
        outgoing = link
        network.schedule(at: link.arrival(of: 0), .connectArrives(self))
    }

    private func answer(_ error: Int32, after delay: Duration) {
        network.schedule(at: network.now + delay, .connectAnswered(self, error))
    }

    func connectArrives() {
        guard state == .connecting, let outgoing, let host = targetHost else { return }
        switch outgoing.carriage {
        case .carrying: break
        case .waiting: return outgoing.hold(.connectArrives(self))
        case .losing: return
        }
        let back = network.link(host, loop.host)
        let fault = network.connectFaults[target]
        let redirected = host.redirectArrivals?(target)
        let listener = host.listener(for: redirected ?? target)
        func reply(_ error: Int32) {
            network.schedule(at: back.arrival(of: 0), .connectAnswered(self, error))
        }
        switch fault {
        case .refuse: return reply(ECONNREFUSED)
        case .unreachable: return reply(EHOSTUNREACH)
        case .blackHole: return
        case .closeAtOnce, .resetAtOnce, nil: break
        }
        if host.isDown { return }
        if outgoing.chance(outgoing.conditions.refuseChance) { return reply(ECONNREFUSED) }
        guard let owner = listener?.loop ?? (fault == nil ? nil : host.loops.first) else {
            return reply(ECONNREFUSED)
        }
        let source = localAddress ?? .loopback(port: 0)
        let other = SimulatedSocket(
            owner, peer: self, at: redirected ?? target, from: source, back)
        peer = other
        lastArrival = back.arrival(of: 0)
        network.schedule(at: lastArrival, .connectAnswered(self, 0))
        switch fault {
        case .closeAtOnce: other.close()
        case .resetAtOnce: other.reset()
        default:
            let original =
                redirected != nil || target != remoteAddress ? remoteAddress : nil
            listener?.offer(other, originalDestination: original)
        }
    }

    func connectAnswered(_ error: Int32) {
        if let peer, let outgoing = peer.outgoing {
            switch outgoing.carriage {
            case .carrying: break
            case .waiting: return outgoing.hold(.connectAnswered(self, error))
            case .losing:
                peer.isDeaf = true
                return
            }
        }
        guard state == .connecting else {
            // Given up meanwhile: the other end learns that nobody is here.
            if peer != nil { transmit(.reset, size: 0) }
            return
        }
        network.record(error == 0 ? "connected" : "connect failed", number, Int(error))
        self.error = error
        if error == 0 { state = .connected }
        wake()
    }

    func takePendingError() -> Int32 {
        let pending = error
        error = 0
        return pending
    }

    // MARK: Sending

    func send(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        if error != 0 {
            defer { error = EPIPE }
            return -Int(error)
        }
        guard state == .connected, !finished, let peer, let outgoing else { return -Int(EPIPE) }
        let count = min(bytes.count, room)
        if count == 0 { return 0 }
        network.record("send", number, count)
        if outgoing.chance(outgoing.conditions.resetChance) {
            breakConnection(ECONNRESET)
            return count
        }
        peer.wire.append(UnsafeBufferPointer(rebasing: bytes[..<count]))
        var left = count
        while left > 0 {
            let piece = outgoing.pieceSize(of: left)
            transmit(.bytes(piece), size: piece)
            left -= piece
        }
        return count
    }

    private var room: Int {
        guard let peer, let outgoing else { return 0 }
        return max(0, outgoing.conditions.receiveBuffer - peer.unreadBytes)
    }

    private var hasRoom: Bool {
        guard let outgoing else { return true }
        return room * 3 >= outgoing.conditions.receiveBuffer
    }

    private func transmit(_ segment: Segment, size: Int) {
        guard let peer, let outgoing else { return }
        peer.segments.append(segment)
        // Unix sockets and loopback have links too, from a host to itself.
        peer.lastArrival = max(peer.lastArrival, outgoing.arrival(of: size))
        network.schedule(at: peer.lastArrival, .segment(peer))
    }

    func finishWriting() {
        guard state == .connected, !finished else { return }
        finished = true
        network.record("finish", number)
        transmit(.end, size: 0)
    }

    // MARK: Arriving

    func segmentArrives() {
        guard nextSegment < segments.count, let peer, let link = peer.outgoing else { return }
        switch link.carriage {
        case .carrying: break
        case .waiting:
            link.hold(.segment(self))
            return peer.armUserTimeout()
        case .losing:
            isDeaf = true
        }
        defer { partWhenOver() }
        let segment = segments[nextSegment]
        nextSegment += 1
        if nextSegment == segments.count {
            segments.removeAll(keepingCapacity: true)
            nextSegment = 0
        } else if nextSegment > 1024 {
            segments.removeFirst(nextSegment)
            nextSegment = 0
        }
        if isDeaf { return peer.armUserTimeout() }
        peer.cut += 1
        switch segment {
        case .bytes(let count): bytesArrive(count)
        case .end:
            network.record("end", number)
            inboxEnded = true
        case .reset:
            if state == .closed { return }
            network.record("reset", number)
            error = ECONNRESET
            inboxEnded = true
            if link.chance(link.conditions.resetDiscards) { inbox.removeAll() }
        }
        wake()
    }

    private func bytesArrive(_ count: Int) {
        let count = min(count, wire.count)
        if state == .closed {
            wire.consume(count)
            // Nobody is here any more.
            transmit(.reset, size: 0)
            return
        }
        network.record("bytes", number, count)
        wire.withBytes { inbox.append(UnsafeBufferPointer(rebasing: $0[..<count])) }
        wire.consume(count)
    }

    func receive(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Int {
        if inbox.isEmpty {
            if error != 0 {
                defer { error = 0 }
                return -Int(error)
            }
            return inboxEnded ? 0 : -Int(EAGAIN)
        }
        let count = min(buffer.count, inbox.count)
        inbox.withBytes { bytes in
            _ = buffer.update(fromContentsOf: bytes[..<count])
        }
        inbox.consume(count)
        inbox.shrink()
        if let peer, peer.waitsToWrite, !peer.roomIsComing, let outgoing, peer.hasRoom {
            peer.roomIsComing = true
            network.schedule(at: outgoing.arrival(of: 0), .writable(peer))
        }
        return count
    }

    func roomKnown() {
        roomIsComing = false
        wake()
    }

    // MARK: Breaking

    /// Both ends find the connection gone.
    func breakConnection(_ reason: Int32) {
        for end in [self, peer].compactMap({ $0 }) where end.state != .closed {
            end.isDeaf = true
            end.error = reason
            end.inboxEnded = true
            network.record("broken", end.number)
            end.wake()
        }
    }

    private func armUserTimeout() {
        guard let userTimeout else { return }
        network.schedule(at: network.now + userTimeout, .timeout(self, cut))
    }

    func userTimeoutPassed(_ cut: Int) {
        if cut != self.cut || state != .connected { return }
        error = ETIMEDOUT
        inboxEnded = true
        wake()
    }

    /// The process is gone: nobody hears of this socket any more.
    func die(telling: Bool) {
        stream?.handler = nil
        stream = nil
        if telling { return close() }
        isDeaf = true
        peer?.isDeaf = true
        if state != .closed { end() }
    }

    // MARK: The stream's side

    var scratch: UnsafeMutableBufferPointer<UInt8> { network.scratch }

    func attach(_ stream: SocketStream<SimulatedSocket>) {
        self.stream = stream
    }

    func detach(_ stream: SocketStream<SimulatedSocket>) {
        waitsToRead = false
        waitsToWrite = false
        loop.freeLater(stream)
        self.stream = nil
    }

    func wait(readable: Bool, writable: Bool) {
        waitsToRead = readable
        waitsToWrite = writable
        wake()
    }

    private var isReadable: Bool { !inbox.isEmpty || inboxEnded || error != 0 }
    private var isWritable: Bool {
        error != 0 || (state == .connected && !roomIsComing && hasRoom)
    }

    /// Level-triggered: while there is something that the stream waits for, it is called.
    private func wake() {
        if isScheduled || stream == nil { return }
        let broken = error != 0 && (waitsToRead || waitsToWrite)
        guard (waitsToRead && isReadable) || (waitsToWrite && isWritable) || broken else { return }
        isScheduled = true
        network.makeRunnable(.socket(self))
    }

    func runReady() {
        isScheduled = false
        guard let stream else { return }
        let readable = waitsToRead && isReadable
        let writable = waitsToWrite && isWritable
        if readable || writable { stream.ready(readable: readable, writable: writable) }
        wake()
    }

    func close() {
        guard state != .closed else { return }
        if state == .connected, error == 0 {
            // Input that nobody will read makes a kernel send a reset instead of an end.
            if !inbox.isEmpty {
                transmit(.reset, size: 0)
            } else if !finished {
                transmit(.end, size: 0)
            }
        }
        network.record("close", number)
        end()
    }

    func reset() {
        guard state != .closed else { return }
        if state == .connected, error == 0 { transmit(.reset, size: 0) }
        network.record("abort", number)
        end()
    }

    private func end() {
        state = .closed
        inbox.removeAll()
        inbox.shrink()
        network.forget(self)
        partWhenOver()
    }

    /// The two ends hold each other until nothing can happen between them any more.
    private func partWhenOver() {
        guard state == .closed, let peer, peer.state == .closed, !peer.hasSegments, !hasSegments
        else { return }
        peer.peer = nil
        self.peer = nil
    }

    private var hasSegments: Bool { nextSegment < segments.count }
}
