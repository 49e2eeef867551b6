import EventLoop
import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation

@testable import MeshProxy

/// One request of a scripted client, and what came of it.
final class Call {
    let id: Int
    let method: String
    let path: String
    fileprivate(set) var begunAt = Instant.zero
    fileprivate(set) var endedAt: Instant?
    fileprivate(set) var head: MessageHead?
    /// Final response heads: more than one would be an answer too many.
    fileprivate(set) var answers = 0
    fileprivate(set) var interims: [Int] = []
    fileprivate(set) var body: PayloadReader
    fileprivate(set) var trailers: MessageHead?
    /// The response ended as it should.
    fileprivate(set) var isComplete = false
    /// What ended it otherwise.
    fileprivate(set) var failure: String?
    /// The client gave it up itself.
    fileprivate(set) var wasCancelled = false
    fileprivate var sender: BodySender?
    fileprivate(set) weak var client: ScriptedClient?

    fileprivate let request: MessageHead
    fileprivate let payload: Payload?
    fileprivate let requestTrailers: MessageHead?
    fileprivate let pace: Pace?
    fileprivate let stopsAt: Int?

    fileprivate init(
        id: Int, method: String, path: String, request: MessageHead, payload: Payload?,
        trailers: MessageHead?, pace: Pace?, stopsAt: Int?, echoes: Bool
    ) {
        self.id = id
        self.method = method
        self.path = path
        self.request = request
        self.payload = payload
        requestTrailers = trailers
        self.pace = pace
        self.stopsAt = stopsAt
        body = PayloadReader(seed: UInt64(id) + (echoes ? 0 : responseSeeds))
    }

    var status: Int { head?.status ?? 0 }
    var text: String { String(decoding: body.beginning, as: UTF8.self) }
    var servedBy: String { head?.string("x-served-by") ?? "" }
    var wire: WireProtocol { client?.wire ?? .http1 }
    var isDone: Bool { endedAt != nil }
    var took: Duration { (endedAt ?? .distantFuture) - begunAt }
    /// An answer, whole, and to this request.
    func isAnswered(_ status: Int = 200) -> Bool {
        isComplete && failure == nil && answers == 1 && self.status == status
    }

    func cancel() { client?.cancel(self) }

    fileprivate func end(_ failure: String?, at now: Instant) {
        guard endedAt == nil else { return }
        endedAt = now
        self.failure = failure
        sender?.stop()
        sender = nil
    }
}

/// An HTTP client that does what it is told: HTTP/1 one request after the other on one
/// connection, HTTP/2 all at once.
final class ScriptedClient: WireOwner {
    let wire: WireProtocol
    private unowned let mesh: SimulatedMesh
    let loop: SimulatedLoop
    let target: SocketAddress
    var limits = HTTPLimits()
    /// Speaks TLS.
    var tls: UpstreamTLS?
    /// At which pace it reads bodies.
    var reading: Pace?
    /// Streams of these paths are read at a pace of their own.
    var readingOf: [String: Pace] = [:]
    private var slowReaders: [StreamID: BodyReader] = [:]
    /// The connection of the moment.
    private(set) var end: WireEnd?
    private var reader: BodyReader?
    private var isOpen = false
    private var waiting: [Call] = []
    private var running: [StreamID: Call] = [:]
    /// Connections that were begun, ever.
    private(set) var connections = 0
    private(set) var goAways = 0
    /// Opens another connection when one ends.
    var reconnects = true

    init(_ mesh: SimulatedMesh, _ wire: WireProtocol, loop: SimulatedLoop, target: SocketAddress) {
        self.mesh = mesh
        self.wire = wire
        self.loop = loop
        self.target = target
    }

    // MARK: Requests

    @discardableResult
    func get(_ path: String = "/", _ headers: [(String, String)] = []) -> Call {
        send("GET", path, headers)
    }

    @discardableResult
    func post(
        _ path: String = "/", bytes: Int, _ headers: [(String, String)] = [],
        chunked: Bool = false, pace: Pace? = nil
    ) -> Call {
        send("POST", path, headers, bytes: bytes, chunked: chunked, pace: pace)
    }

    /// - Parameters:
    ///   - bytes: length of the body; `nil`: none.
    ///   - stopsAt: so much of the body is sent, and no more.
    ///   - echoes: the answer's body is to be the request's.
    @discardableResult
    func send(
        _ method: String, _ path: String = "/", _ headers: [(String, String)] = [],
        bytes: Int? = nil, chunked: Bool = false, trailers: [(String, String)] = [],
        pace: Pace? = nil, stopsAt: Int? = nil, host: String = "svc", echoes: Bool = false
    ) -> Call {
        let id = mesh.nextCallID()
        var head = MessageHead()
        head.append(":method", method)
        head.append(.scheme, "http" as StaticString)
        head.append(.authority, host)
        head.append(.path, path)
        head.append("x-id", "\(id)")
        if let bytes, !chunked { head.append(.contentLength, "\(bytes)") }
        for (name, value) in headers { head.append(name, value) }
        var fields: MessageHead?
        if !trailers.isEmpty {
            var made = MessageHead()
            for (name, value) in trailers { made.append(name, value) }
            fields = made
        }
        let call = Call(
            id: id, method: method, path: path, request: head,
            payload: bytes.map { Payload(seed: UInt64(id), count: $0) }, trailers: fields,
            pace: pace, stopsAt: stopsAt, echoes: echoes)
        call.client = self
        call.begunAt = mesh.network.now
        mesh.calls.append(call)
        waiting.append(call)
        proceed()
        return call
    }

    func cancel(_ call: Call) {
        call.wasCancelled = true
        if let index = waiting.firstIndex(where: { $0 === call }) {
            waiting.remove(at: index)
            call.end("cancelled", at: mesh.network.now)
            return
        }
        guard let id = running.first(where: { $0.value === call })?.key else { return }
        call.end("cancelled", at: mesh.network.now)
        running[id] = nil
        if wire == .http2 {
            end?.codec.reset(id, .cancel)
            end?.touch()
        } else {
            end?.abort()
        }
    }

    /// Closes in order.
    func close() {
        reconnects = false
        end?.close()
    }

    func abort() { end?.abort() }

    /// Ends our direction alone.
    func finish() { end?.finish() }

    // MARK: Connection

    private func proceed() {
        if end == nil, !waiting.isEmpty { connect() }
        guard isOpen, let end else { return }
        while let call = waiting.first {
            guard end.codec.streamsAvailable > 0 else { break }
            let endsNow = call.payload == nil && call.requestTrailers == nil
            guard let id = end.codec.sendRequest(call.request, endStream: endsNow) else { break }
            waiting.removeFirst()
            running[id] = call
            if !endsNow {
                let sender = BodySender(
                    call.payload ?? Payload(seed: 0, count: 0), on: id, of: end,
                    trailers: call.requestTrailers, pace: call.pace, stopsAt: call.stopsAt)
                call.sender = sender
                sender.pump()
            }
            end.touch()
        }
        // After GOAWAY what is left goes over another connection, when this one is done.
        if running.isEmpty, !waiting.isEmpty, end.codec.streamsAvailable == 0,
            end.codec.openStreams == 0, !end.codec.isFinished, goAways > 0
        {
            end.close()
        }
    }

    private func connect() {
        connections += 1
        isOpen = false
        let end = WireEnd(loop: loop, wire, isServer: false, limits: limits, owner: self)
        self.end = end
        reader = BodyReader(end, pace: reading)
        var options = ConnectOptions()
        options.timeout = .seconds(5)
        guard let tls else {
            let stream = loop.connect(target, options: options, handler: end)
            end.use(stream, isReady: false)
            return
        }
        let secure = TLSStream(
            session: mesh.ends.client(tls), clusters: mesh.ends.clusters, handler: end)
        end.use(secure, isReady: false)
        secure.connect(target, options: options)
    }

    func wireOpened(_ wire: WireEnd) {
        isOpen = true
        proceed()
    }

    func wireDrained(_ wire: WireEnd) {
        for id in running.keys.sorted() { running[id]?.sender?.pump() }
    }

    func wire(_ wire: WireEnd, _ event: HTTPEvent) {
        let now = loop.now
        switch event {
        case .head(let id, let head, let isEnd):
            running[id]?.head = head
            running[id]?.answers += 1
            if isEnd { complete(id, now) }
        case .interim(let id, let head):
            running[id]?.interims.append(head.status)
        case .body(let id, let bytes, let isEnd):
            running[id]?.body.take(bytes)
            if let path = running[id]?.path, let pace = readingOf[path] {
                let slow = slowReaders[id] ?? BodyReader(wire, pace: pace)
                slowReaders[id] = slow
                slow.took(bytes.count, on: id)
            } else {
                reader?.took(bytes.count, on: id)
            }
            if isEnd { complete(id, now) }
        case .trailers(let id, let trailers):
            running[id]?.trailers = trailers
            complete(id, now)
        case .reset(let id, let code):
            running.removeValue(forKey: id)?.end("stream reset: \(code)", at: now)
        case .drained(let id):
            running[id]?.sender?.pump()
        case .goAway:
            goAways += 1
        case .pong:
            break
        case .violation(let violation):
            failAll("violation: \(violation.reason)", now)
            wire.abort()
        }
        proceed()
    }

    private func complete(_ id: StreamID, _ now: Instant) {
        guard let call = running.removeValue(forKey: id) else { return }
        call.isComplete = true
        call.end(nil, at: now)
    }

    func wireEnded(_ wire: WireEnd, _ failure: TransportFailure?) {
        let wasOpen = isOpen
        isOpen = false
        end = nil
        reader?.stop()
        reader = nil
        for slow in slowReaders.values { slow.stop() }
        slowReaders = [:]
        failAll(failure?.kind.word ?? "closed", loop.now)
        if !wasOpen {
            // No connection at all: what waits fails as well.
            let failed = waiting
            waiting = []
            for call in failed { call.end(failure?.kind.word ?? "closed", at: loop.now) }
        }
        if reconnects { proceed() }
    }

    private func failAll(_ reason: String, _ now: Instant) {
        for id in running.keys.sorted() { running[id]?.end(reason, at: now) }
        running = [:]
    }
}

/// A connection of bytes, for what is no HTTP, or deliberately odd HTTP.
final class RawEnd: ByteStreamHandler, StreamAcceptor {
    private(set) var stream: (any ByteStream)?
    private(set) var bytes: [UInt8] = []
    private(set) var count = 0
    private(set) var isConnected = false
    private(set) var sawEnd = false
    private(set) var failure: TransportFailure?
    private(set) var accepted = 0
    private var all: [any ByteStream] = []
    /// Sends everything back.
    var echoes = false
    var keeps = 1 << 20
    var onBytes: ((RawEnd) -> Void)?

    func connect(from loop: SimulatedLoop, to address: SocketAddress) {
        stream = loop.connect(address, options: ConnectOptions(), handler: self)
    }

    var text: String { String(decoding: bytes, as: UTF8.self) }
    var isOver: Bool { failure != nil || sawEnd }

    func write(_ text: String) { write(Array(text.utf8)) }
    func write(_ bytes: [UInt8]) { stream?.write(bytes.span) }
    func finish() { stream?.finish() }
    func close() {
        stream?.close()
        stream = nil
    }
    func abort() {
        stream?.abort()
        stream = nil
    }
    /// Also those that were accepted before the last one.
    func closeAll() {
        for stream in all { stream.close() }
        close()
    }

    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?) {
        accepted += 1
        all.append(stream)
        self.stream = stream
        stream.handler = self
    }

    func streamConnected() { isConnected = true }

    func streamReceived(_ received: Span<UInt8>) {
        count += received.count
        received.withUnsafeBufferPointer { bytes.append(contentsOf: $0.prefix(keeps)) }
        if echoes { stream?.write(received) }
        onBytes?(self)
    }

    func streamReceivedEnd() {
        sawEnd = true
        if echoes { stream?.finish() }
    }

    func streamDrained() {}

    func streamClosed(_ failure: TransportFailure) {
        self.failure = failure
        stream = nil
    }
}
