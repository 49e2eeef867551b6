import EventLoop
import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation

@testable import MeshProxy

/// What a scripted server does with a request.
struct Answer {
    enum Kind {
        case reply
        /// Sends the request's body back while it comes.
        case echo
        /// Nothing, for ever.
        case stall
        case closeConnection
        case resetConnection
        case resetStream(HTTPErrorCode)
        /// Bytes that are no HTTP.
        case garbage
        /// Says that nothing above the streams before this one is processed, and ends.
        case refuseWithGoAway
    }
    /// How a body breaks off.
    enum Cut {
        case reset, close, stall, resetStream
    }

    var kind = Kind.reply
    var status = 200
    var headers: [(String, String)] = []
    var text = ""
    /// Takes the place of `text`: a payload of the request's number.
    var bytes: Int?
    var trailers: [(String, String)] = []
    var interims: [Int] = []
    var delay = Duration.zero
    /// Acts when the request's head is there, not its end.
    var isEarly = false
    var declaresLength = true
    var pace: Pace?
    var cut: (after: Int, how: Cut)?
    /// HTTP/2: begins to shut down before the reply. HTTP/1: says `connection: close`.
    var goesAway = false

    static func reply(_ status: Int = 200, _ text: String = "") -> Answer {
        var answer = Answer()
        answer.status = status
        answer.text = text
        return answer
    }

    static func bytes(_ count: Int) -> Answer {
        var answer = Answer()
        answer.bytes = count
        return answer
    }

    private static func of(_ kind: Kind) -> Answer {
        var answer = Answer()
        answer.kind = kind
        return answer
    }

    static var echo: Answer {
        var answer = of(.echo)
        answer.isEarly = true
        return answer
    }
    static var stall: Answer { of(.stall) }
    static var closeConnection: Answer { of(.closeConnection) }
    static var resetConnection: Answer { of(.resetConnection) }
    static var garbage: Answer { of(.garbage) }
    static var refuseWithGoAway: Answer { of(.refuseWithGoAway) }
    static func resetStream(_ code: HTTPErrorCode) -> Answer { of(.resetStream(code)) }

    func after(_ delay: Duration) -> Answer { changed { $0.delay = delay } }
    func early() -> Answer { changed { $0.isEarly = true } }
    func header(_ name: String, _ value: String) -> Answer {
        changed { $0.headers.append((name, value)) }
    }
    func trailer(_ name: String, _ value: String) -> Answer {
        changed { $0.trailers.append((name, value)) }
    }
    func interim(_ status: Int) -> Answer { changed { $0.interims.append(status) } }
    func chunked() -> Answer { changed { $0.declaresLength = false } }
    func slowly(_ bytes: Int, every interval: Duration) -> Answer {
        changed { $0.pace = Pace(bytes: bytes, every: interval) }
    }
    func cut(after bytes: Int, by how: Cut) -> Answer { changed { $0.cut = (bytes, how) } }
    func goingAway() -> Answer { changed { $0.goesAway = true } }

    private func changed(_ change: (inout Answer) -> Void) -> Answer {
        var copy = self
        change(&copy)
        return copy
    }
}

/// A request as it reached a server.
final class ReceivedRequest {
    let head: MessageHead
    /// What the client called it.
    let id: Int
    /// How many requests the server had before.
    let number: Int
    let at: Instant
    let connection: Int
    fileprivate(set) var body: PayloadReader
    fileprivate(set) var trailers: MessageHead?
    fileprivate(set) var isComplete = false
    /// The other side gave it up.
    fileprivate(set) var wasReset = false

    init(_ head: MessageHead, number: Int, at: Instant, connection: Int) {
        self.head = head
        self.number = number
        self.at = at
        self.connection = connection
        id = Int(head.string("x-id") ?? "") ?? -1
        body = PayloadReader(seed: UInt64(bitPattern: Int64(id)))
    }

    var method: String { head.string(.method) ?? "" }
    var path: String { head.string(.path) ?? "" }
    var text: String { String(decoding: body.beginning, as: UTF8.self) }
}

/// An HTTP server that answers as it is told, and remembers whom it answered.
final class ScriptedServer: StreamAcceptor {
    let name: String
    let host: SimulatedHost
    let loop: SimulatedLoop
    let address: SocketAddress
    let speaks: WireProtocol
    let locality: Locality
    let priority: Int
    var weight: UInt32 = 1
    var status = Endpoint.Status.unknown
    var answer: (ReceivedRequest) -> Answer
    var limits = HTTPLimits()
    /// At which pace it reads bodies.
    var reading: Pace?
    /// Speaks TLS.
    var tls: DownstreamTLS?
    /// Never reads anything.
    var isDeaf = false
    private(set) var requests: [ReceivedRequest] = []
    /// Connections that were accepted, ever.
    private(set) var accepted = 0
    fileprivate lazy var ends = TLSEnds(loop)
    private var listener: (any StreamListener)?
    fileprivate var connections: [ObjectIdentifier: ServerConnection] = [:]

    init(
        name: String, host: SimulatedHost, loop: SimulatedLoop, address: SocketAddress,
        speaks: WireProtocol, locality: Locality, priority: Int,
        answer: @escaping (ReceivedRequest) -> Answer
    ) {
        self.name = name
        self.host = host
        self.loop = loop
        self.address = address
        self.speaks = speaks
        self.locality = locality
        self.priority = priority
        self.answer = answer
        listen()
    }

    func listen() {
        guard listener == nil else { return }
        do {
            listener = try loop.listen(address, options: ListenOptions(), acceptor: self)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// New connections are refused; those that are there stay.
    func stopListening() {
        listener?.close()
        listener = nil
    }

    /// The process dies: connections reset, new ones refused.
    func kill() {
        stopListening()
        for connection in open { connection.wire?.abort() }
    }

    func closeAll() {
        for connection in open { connection.wire?.close() }
    }

    /// Begins a graceful end on every connection.
    func shutDown() {
        for connection in open {
            connection.wire?.codec.shutDown()
            connection.wire?.codec.shutDown()
            connection.wire?.touch()
        }
    }

    var openConnections: Int { connections.count }
    private var open: [ServerConnection] {
        connections.values.sorted { $0.number < $1.number }
    }

    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?) {
        accepted += 1
        let connection = ServerConnection(self, number: accepted)
        connections[ObjectIdentifier(connection)] = connection
        connection.begin(stream)
    }

    fileprivate func received(_ head: MessageHead, connection: Int) -> ReceivedRequest {
        let request = ReceivedRequest(
            head, number: requests.count, at: loop.now, connection: connection)
        requests.append(request)
        return request
    }
}

private final class ServerConnection: WireOwner {
    private unowned let server: ScriptedServer
    let number: Int
    private(set) var wire: WireEnd?
    private var reader: BodyReader?
    private var streams: [StreamID: ServerStream] = [:]

    init(_ server: ScriptedServer, number: Int) {
        self.server = server
        self.number = number
    }

    func begin(_ stream: any ByteStream) {
        let wire = WireEnd(
            loop: server.loop, server.speaks, isServer: true, limits: server.limits, owner: self)
        self.wire = wire
        reader = BodyReader(wire, pace: server.reading)
        if let tls = server.tls {
            let ends = server.ends
            let secure = TLSStream(
                session: ends.server(tls), clusters: ends.clusters, handler: wire)
            wire.use(secure, isReady: false)
            secure.accept(stream, firstBytes: Span())
        } else {
            wire.use(stream, isReady: true)
        }
        if server.isDeaf { wire.isDeaf = true }
    }

    func wireOpened(_ wire: WireEnd) {}

    func wireDrained(_ wire: WireEnd) {
        for id in streams.keys.sorted() { streams[id]?.pump() }
    }

    func wireEnded(_ wire: WireEnd, _ failure: TransportFailure?) {
        for id in streams.keys.sorted() { streams[id]?.cancelled() }
        streams = [:]
        reader?.stop()
        reader = nil
        self.wire = nil
        server.connections[ObjectIdentifier(self)] = nil
    }

    func wire(_ wire: WireEnd, _ event: HTTPEvent) {
        switch event {
        case .head(let id, let head, let end):
            let request = server.received(head, connection: number)
            let stream = ServerStream(server, request, server.answer(request), id, wire)
            streams[id] = stream
            stream.begin()
            if end {
                if stream.isEcho {
                    stream.echo(UnsafeBufferPointer(start: nil, count: 0), true)
                }
                stream.requestEnded()
            }
        case .body(let id, let bytes, let end):
            guard let stream = streams[id] else {
                return wire.codec.consumed(bytes.count, on: id)
            }
            stream.request.body.take(bytes)
            if stream.isEcho {
                stream.echo(bytes, end)
            } else {
                reader?.took(bytes.count, on: id)
            }
            if end { stream.requestEnded() }
        case .trailers(let id, let trailers):
            streams[id]?.request.trailers = trailers
            streams[id]?.requestEnded()
        case .reset(let id, _):
            streams.removeValue(forKey: id)?.cancelled()
        case .drained(let id):
            streams[id]?.pump()
        case .interim, .goAway, .pong:
            break
        case .violation:
            wire.close()
        }
    }
}

/// One request of a scripted server, and what it does about it.
private final class ServerStream {
    let request: ReceivedRequest
    private unowned let server: ScriptedServer
    private let answer: Answer
    private let id: StreamID
    private let wire: WireEnd
    private var sender: BodySender?
    private var timer: LoopTimer?
    private var hasBegun = false
    private var hasReplied = false
    private var owed = 0

    init(
        _ server: ScriptedServer, _ request: ReceivedRequest, _ answer: Answer, _ id: StreamID,
        _ wire: WireEnd
    ) {
        self.server = server
        self.request = request
        self.answer = answer
        self.id = id
        self.wire = wire
    }

    var isEcho: Bool {
        if case .echo = answer.kind { return true }
        return false
    }

    func begin() {
        if answer.isEarly { act() }
    }

    func requestEnded() {
        request.isComplete = true
        if !hasBegun { act() }
    }

    func cancelled() {
        if !hasReplied, sender?.isDone != true { request.wasReset = true }
        sender?.stop()
        timer?.stop()
    }

    func pump() {
        sender?.pump()
        if owed > 0, !wire.isFull {
            wire.codec.consumed(owed, on: id)
            owed = 0
            wire.touch()
        }
    }

    private func act() {
        hasBegun = true
        guard answer.delay > .zero else { return actNow() }
        let timer = LoopTimer(server.loop.timers) { [unowned self] in actNow() }
        timer.start(at: server.loop.now + answer.delay)
        self.timer = timer
    }

    private func actNow() {
        switch answer.kind {
        case .reply, .echo: reply()
        case .stall: break
        case .closeConnection: wire.close()
        case .resetConnection: wire.abort()
        case .resetStream(let code): wire.codec.reset(id, code)
        case .garbage:
            wire.writeRaw(Array("\u{7}\u{8}\u{9} this is no answer \r\n\r\n".utf8))
        case .refuseWithGoAway:
            // GOAWAY with a last stream of 0 and no error (RFC 9113 §6.8).
            wire.writeRaw([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            wire.close()
        }
        wire.touch()
    }

    private func reply() {
        for status in answer.interims {
            wire.codec.sendResponse(MessageHead(status: status), on: id, endStream: false)
        }
        if answer.goesAway { wire.codec.shutDown() }
        var head = MessageHead(status: answer.status)
        head.append("x-served-by", server.name)
        head.append("x-id", "\(request.id)")
        for (name, value) in answer.headers { head.append(name, value) }
        if isEcho {
            wire.codec.sendResponse(head, on: id, endStream: false)
            return
        }
        let text = Array(answer.text.utf8)
        let count = answer.bytes ?? text.count
        let bodiless =
            request.method == "HEAD" || answer.status == 204 || answer.status == 304
        if answer.declaresLength, answer.status != 204 {
            head.append(.contentLength, "\(count)")
        }
        var trailers: MessageHead?
        if !answer.trailers.isEmpty {
            var fields = MessageHead()
            for (name, value) in answer.trailers { fields.append(name, value) }
            trailers = fields
        }
        let endsNow = bodiless || (count == 0 && trailers == nil)
        wire.codec.sendResponse(head, on: id, endStream: endsNow)
        if endsNow {
            hasReplied = true
            return
        }
        if answer.bytes == nil, trailers == nil, answer.cut == nil, answer.pace == nil {
            wire.codec.sendBody(text.span, on: id, endStream: true)
            hasReplied = true
            return
        }
        if answer.bytes == nil { wire.codec.sendBody(text.span, on: id, endStream: false) }
        let sender = BodySender(
            Payload(seed: UInt64(request.id) + responseSeeds, count: answer.bytes ?? 0), on: id,
            of: wire, trailers: trailers, pace: answer.pace, stopsAt: answer.cut?.after,
            stopped: { [unowned self] in cutOff() })
        self.sender = sender
        sender.pump()
    }

    private func cutOff() {
        switch answer.cut?.how {
        case .reset: server.loop.atTurnEnd(Later { [wire] in wire.abort() })
        case .close: server.loop.atTurnEnd(Later { [wire] in wire.close() })
        case .resetStream:
            server.loop.atTurnEnd(
                Later { [wire, id] in
                    wire.codec.reset(id, .internalError)
                    wire.touch()
                })
        case .stall, nil: break
        }
    }

    func echo(_ bytes: UnsafeBufferPointer<UInt8>, _ end: Bool) {
        let hasRoom =
            bytes.isEmpty
            ? wire.codec.sendBody([UInt8]().span, on: id, endStream: end)
            : wire.codec.sendBody(bytes.span, on: id, endStream: end)
        if end { hasReplied = true }
        if hasRoom, !wire.isFull {
            wire.codec.consumed(bytes.count + owed, on: id)
            owed = 0
        } else {
            owed += bytes.count
        }
        wire.touch()
    }
}

/// Does something at the end of the turn.
final class Later: TurnEndTask {
    private let action: () -> Void

    init(_ action: @escaping () -> Void) {
        self.action = action
    }

    func turnEnded() { action() }
}

/// Response payloads have seeds of their own, so that an echo can't pass for one.
let responseSeeds: UInt64 = 1_000_000
