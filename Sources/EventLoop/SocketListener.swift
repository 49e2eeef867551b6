internal import CLibev
internal import MeshBase

/// A listening socket, and the connections that it accepts.
///
/// When descriptors or memory run out it stops accepting for a moment instead of being called
/// again and again for a connection that it cannot take.
final class SocketListener: StreamListener {
    let address: SocketAddress

    private let loop: LibevLoop
    private let socket: Socket
    private let io = UnsafeMutablePointer<ev_io>.allocate(capacity: 1)
    private let transparent: Bool
    /// Where all its connections arrive, unless each has to be asked.
    private let onlyAddress: SocketAddress?
    private var acceptor: (any StreamAcceptor)?
    private var recovery: LoopTimer?
    private var asksOriginalDestination: Bool

    /// Connections taken for one event, so that a flood leaves other sockets their turn.
    static let batch = 64
    static let exhaustionPause = Duration.milliseconds(100)

    init(
        _ loop: LibevLoop, _ address: SocketAddress, _ options: ListenOptions,
        _ acceptor: any StreamAcceptor
    ) throws(SocketError) {
        let socket = try Socket(address.family, for: address)
        do throws(SocketError) {
            try SocketListener.open(socket, address, options)
        } catch {
            socket.close()
            throw error
        }
        self.loop = loop
        self.socket = socket
        self.acceptor = acceptor
        self.address = socket.localAddress ?? address
        transparent = options.transparent
        onlyAddress = transparent || self.address.isWildcard ? nil : self.address
        asksOriginalDestination = options.originalDestination && address.family != .unix
        mesh_io_init(
            io, listenerReady, socket.descriptor, Int32(EV_READ),
            Unmanaged.passRetained(self).toOpaque())
        ev_io_start(loop.raw, io)
    }

    deinit {
        io.deallocate()
    }

    private static func open(
        _ socket: Socket, _ address: SocketAddress, _ options: ListenOptions
    ) throws(SocketError) {
        switch address {
        case .ipv4, .ipv6:
            try socket.set(.reuseAddress, 1, for: address)
            if options.reusePort { try socket.set(.reusePort, 1, for: address) }
            // As Envoy does: an IPv6 wildcard leaves IPv4 to a listener of its own.
            if address.family == .ipv6 { try socket.set(.ipv6Only, 1, for: address) }
            if options.transparent { try socket.setTransparent(address.family, for: address) }
            // Its connections inherit it.
            try socket.set(.noDelay, 1, for: address)
            try socket.bind(address)
        case .pipe(let path):
            do throws(SocketError) {
                try socket.bind(address)
            } catch {
                guard error.isAddressInUse, isStale(address) else { throw error }
                Socket.unlink(path)
                try socket.bind(address)
            }
            if !path.hasPrefix("@") { try Socket.changeMode(path, options.mode, address) }
        }
        try socket.listen(backlog: options.backlog, address)
    }

    /// A socket's path at which nobody listens: its owner died without removing it.
    private static func isStale(_ address: SocketAddress) -> Bool {
        guard let probe = try? Socket(.unix, for: address) else { return false }
        defer { probe.close() }
        do throws(SocketError) {
            try probe.connect(address)
            return false
        } catch {
            return error.isRefused
        }
    }

    func close() {
        guard acceptor != nil else { return }
        acceptor = nil
        recovery?.stop()
        recovery = nil
        ev_io_stop(loop.raw, io)
        socket.close()
        if case .pipe(let path) = address, !path.hasPrefix("@") { Socket.unlink(path) }
        loop.freeLater(self)
        Unmanaged.passUnretained(self).release()
    }

    fileprivate func acceptReady() {
        for _ in 0..<SocketListener.batch {
            guard let acceptor else { return }
            switch socket.accept() {
            case .success(let (accepted, peer)):
                take(accepted, from: peer, acceptor)
            case .failure(let error):
                if error.isExhaustion { pause() }
                // The connection may be gone again, and the next one be fine.
                if error.isWouldBlock || error.isExhaustion { return }
            }
        }
    }

    private func take(
        _ accepted: Socket, from peer: SocketAddress?, _ acceptor: any StreamAcceptor
    ) {
        let stream = SocketStream(
            loop, accepted: LibevKernel(loop, accepted), from: peer, at: onlyAddress)
        acceptor.accepted(stream, originalDestination: originalDestination(accepted, stream))
        if stream.handler == nil { stream.close() } else { stream.startReading() }
    }

    private func originalDestination(
        _ accepted: Socket, _ stream: SocketStream<LibevKernel>
    ) -> SocketAddress? {
        if !transparent, !asksOriginalDestination { return nil }
        let local = stream.localAddress
        if transparent { return local == address ? nil : local }
        switch accepted.originalDestination(address.family) {
        case .success(let destination):
            return destination == local ? nil : destination
        case .failure(let error):
            if error.isUnsupported { asksOriginalDestination = false }
            return nil
        }
    }

    private func pause() {
        ev_io_stop(loop.raw, io)
        if recovery == nil {
            // Stopped before the listener goes.
            recovery = LoopTimer(loop.timers) { [unowned self] in
                ev_io_start(loop.raw, io)
            }
        }
        recovery?.start(at: loop.now + SocketListener.exhaustionPause)
    }
}

@available(*, unavailable) extension SocketListener: Sendable {}

private func listenerReady(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_io>, _: Int32) {
    Unmanaged<SocketListener>.fromOpaque(watcher.pointee.data).takeUnretainedValue().acceptReady()
}
