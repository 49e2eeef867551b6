internal import CLibev
internal import MeshBase

/// A real socket under a stream: its descriptor and its one libev watcher.
struct LibevKernel: StreamKernel {
    private let loop: LibevLoop
    private let socket: Socket
    // libev keeps its address, so it may not lie inside an object.
    private let io = UnsafeMutablePointer<ev_io>.allocate(capacity: 1)

    /// - Parameter socket: descriptor -1 where a socket could not be made.
    init(_ loop: LibevLoop, _ socket: Socket) {
        self.loop = loop
        self.socket = socket
    }

    static func connecting(
        _ loop: LibevLoop, to address: SocketAddress, _ options: ConnectOptions
    ) -> (LibevKernel, TransportFailure?) {
        var socket = Socket(descriptor: -1)
        var failure: TransportFailure?
        do throws(SocketError) {
            socket = try Socket(address.family, for: address)
            try prepare(socket, address, options)
            try socket.connect(address)
        } catch {
            failure = error.transportFailure(connecting: true)
        }
        return (LibevKernel(loop, socket), failure)
    }

    private static func prepare(
        _ socket: Socket, _ address: SocketAddress, _ options: ConnectOptions
    ) throws(SocketError) {
        if address.family != .unix {
            try socket.set(.noDelay, 1, for: address)
            if let limit = options.userTimeout {
                try socket.set(
                    .userTimeoutMilliseconds, clamped(limit.milliseconds, to: .max), for: address)
            }
            if let idle = options.keepAlive {
                let seconds = clamped(idle.components.seconds, to: 32_767)
                try socket.set(.keepAlive, 1, for: address)
                try socket.set(.keepAliveIdleSeconds, seconds, for: address)
                try socket.set(.keepAliveIntervalSeconds, max(1, seconds / 3), for: address)
                // Else the user time-out decides how many go unanswered (tcp(7)).
                if options.userTimeout == nil { try socket.set(.keepAliveProbes, 3, for: address) }
            }
        }
        if let source = options.source { try socket.bind(source) }
    }

    /// Positive and within what the kernel takes.
    private static func clamped(_ value: Int64, to limit: Int32) -> Int32 {
        Int32(truncatingIfNeeded: min(max(value, 1), Int64(limit)))
    }

    var scratch: UnsafeMutableBufferPointer<UInt8> { loop.scratch }

    var localAddress: SocketAddress? { socket.localAddress }

    func attach(_ stream: SocketStream<LibevKernel>) {
        mesh_io_init(io, ioReady, socket.descriptor, 0, Unmanaged.passRetained(stream).toOpaque())
    }

    func detach(_ stream: SocketStream<LibevKernel>) {
        ev_io_stop(loop.raw, io)
        // An event of this turn has been forgotten with the stop.
        io.deallocate()
        loop.freeLater(stream)
        Unmanaged.passUnretained(stream).release()
    }

    func wait(readable: Bool, writable: Bool) {
        mesh_io_wait(
            loop.raw, io, Int32((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)))
    }

    func receive(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Int {
        socket.receive(into: buffer)
    }

    func send(_ bytes: UnsafeBufferPointer<UInt8>) -> Int { socket.send(bytes) }

    func takePendingError() -> Int32 { socket.takePendingError() }

    func finishWriting() { socket.finishWriting() }

    func close() {
        if socket.descriptor >= 0 { socket.close() }
    }

    func reset() {
        if socket.descriptor >= 0 { socket.reset() }
    }
}

private func ioReady(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_io>, _ events: Int32) {
    let stream = Unmanaged<SocketStream<LibevKernel>>.fromOpaque(watcher.pointee.data)
    stream.takeUnretainedValue().ready(
        readable: events & Int32(EV_READ) != 0, writable: events & Int32(EV_WRITE) != 0)
}
