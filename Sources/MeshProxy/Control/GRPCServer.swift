import EventLoop
import HTTPCodec
import MeshBase

/// One call that a gRPC client has open with us.
protocol GRPCCallOwner: AnyObject {
    func received(_ message: [UInt8])
    /// The client is gone or has ended the call; nothing follows.
    func ended()
}

/// A small gRPC server over plaintext HTTP/2: whole messages in and out. For the embedded control
/// plane; what calls mean is their owner's business.
final class GRPCServer: StreamAcceptor {
    private let loop: any IOLoop
    /// Makes the owner of a call, or says no to its path.
    private let open: (String, GRPCCall) -> (any GRPCCallOwner)?
    private var listener: (any StreamListener)?
    private var connections: [ObjectIdentifier: GRPCServerConnection] = [:]

    init(
        loop: any IOLoop, address: SocketAddress,
        open: @escaping (_ path: String, _ call: GRPCCall) -> (any GRPCCallOwner)?
    ) throws(SocketError) {
        self.loop = loop
        self.open = open
        listener = try loop.listen(address, options: ListenOptions(), acceptor: self)
    }

    var address: SocketAddress? { listener?.address }

    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?) {
        let connection = GRPCServerConnection(stream: stream, loop: loop, server: self)
        connections[ObjectIdentifier(connection)] = connection
    }

    func close() {
        listener?.close()
        listener = nil
        for connection in connections.values { connection.close() }
    }

    fileprivate func makeOwner(_ path: String, _ call: GRPCCall) -> (any GRPCCallOwner)? {
        open(path, call)
    }

    fileprivate func forget(_ connection: GRPCServerConnection) {
        connections[ObjectIdentifier(connection)] = nil
    }
}

/// Our side of one call.
final class GRPCCall {
    private var connection: GRPCServerConnection?
    private let id: StreamID
    fileprivate var owner: (any GRPCCallOwner)?
    fileprivate var reader = GRPCReader()

    fileprivate init(connection: GRPCServerConnection, id: StreamID) {
        self.connection = connection
        self.id = id
    }

    func send(_ message: [UInt8]) {
        connection?.send(GRPCWriter.frame(message), on: id)
    }

    fileprivate func end() {
        connection = nil
        let owner = owner
        self.owner = nil
        owner?.ended()
    }
}

private final class GRPCServerConnection: ByteStreamHandler, TurnEndTask {
    private var stream: (any ByteStream)?
    private let loop: any IOLoop
    private let server: GRPCServer
    private let codec = HTTP2Connection(role: .server)
    private var calls = StreamTable<GRPCCall>()
    private var output = ByteBuffer()
    private var isDirty = false

    init(stream: any ByteStream, loop: any IOLoop, server: GRPCServer) {
        self.stream = stream
        self.loop = loop
        self.server = server
        stream.handler = self
        markDirty()
    }

    func streamConnected() {}
    func streamDrained() {}

    func streamReceived(_ bytes: Span<UInt8>) {
        codec.receive(bytes)
        takeEvents()
        markDirty()
    }

    func streamReceivedEnd() { close() }

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        end()
    }

    func turnEnded() {
        isDirty = false
        flush()
        if codec.isFinished { close() }
    }

    func send(_ bytes: [UInt8], on id: StreamID) {
        codec.sendBody(bytes.span, on: id, endStream: false)
        markDirty()
    }

    func close() {
        flush()
        stream?.close()
        stream = nil
        end()
    }

    private func takeEvents() {
        while let event = codec.nextEvent() {
            switch event {
            case .head(let id, let head, _):
                begin(id, head)
            case .body(let id, let bytes, let end):
                received(bytes, on: id)
                if end { finish(id) }
            case .trailers(let id, _):
                finish(id)
            case .reset(let id, _):
                calls.remove(id)?.end()
            case .violation:
                close()
                return
            case .interim, .drained, .goAway, .pong:
                break
            }
        }
    }

    private func begin(_ id: StreamID, _ head: MessageHead) {
        let call = GRPCCall(connection: self, id: id)
        guard let owner = server.makeOwner(head.string(.path) ?? "", call) else {
            respond(id, status: "12", ends: true)
            return
        }
        call.owner = owner
        calls.insert(call, at: id)
        respond(id, status: nil, ends: false)
    }

    private func respond(_ id: StreamID, status: String?, ends: Bool) {
        var head = MessageHead(status: 200)
        head.append(.contentType, "application/grpc" as StaticString)
        if let status { head.append(.grpcStatus, status) }
        codec.sendResponse(head, on: id, endStream: ends)
    }

    private func received(_ bytes: UnsafeBufferPointer<UInt8>, on id: StreamID) {
        defer { codec.consumed(bytes.count, on: id) }
        guard let call = calls[id] else { return }
        do {
            var messages: [[UInt8]] = []
            try call.reader.receive(bytes.span) { messages.append($0) }
            for message in messages { call.owner?.received(message) }
        } catch {
            calls.remove(id)?.end()
            codec.reset(id, .protocolError)
        }
    }

    /// The client half-closed: so do we, with the status in trailers.
    private func finish(_ id: StreamID) {
        guard let call = calls.remove(id) else { return }
        call.end()
        var trailers = MessageHead()
        trailers.append(.grpcStatus, "0" as StaticString)
        codec.sendTrailers(trailers, on: id)
        markDirty()
    }

    private func markDirty() {
        if isDirty || stream == nil { return }
        isDirty = true
        loop.atTurnEnd(self)
    }

    private func flush() {
        codec.takeOutput(into: &output)
        output.withBytes { if $0.count > 0 { stream?.write($0.span) } }
        output.removeAll()
        output.shrink()
    }

    private func end() {
        for call in calls.all() { call.end() }
        calls.removeAll()
        server.forget(self)
    }
}
