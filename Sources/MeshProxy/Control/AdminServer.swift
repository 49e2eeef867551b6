import EventLoop
import HTTPCodec
import MeshBase

/// The admin port: small HTTP/1.1 requests, answered on the control loop.
///
/// Reading is open to whoever reaches the port; what changes something wants POST, and over TCP
/// only where the bootstrap allows it. A `Host` that is neither loopback nor the address itself is
/// refused, so that a web page cannot speak to it through somebody's browser.
final class AdminServer: StreamAcceptor {
    struct Request {
        var method: String
        var path: String
        /// In the order of the query; a key without "=" has an empty value.
        var query: [(key: String, value: String)]

        func value(_ key: String) -> String? { query.first { $0.key == key }?.value }
        func has(_ key: String) -> Bool { query.contains { $0.key == key } }
    }

    struct Reply {
        var status = 200
        var contentType = "text/plain; charset=UTF-8"
        var body: [UInt8]

        init(_ text: String, status: Int = 200) {
            self.status = status
            body = Array(text.utf8)
        }

        var text: String { String(decoding: body, as: UTF8.self) }

        static func json(_ text: String) -> Reply {
            var reply = Reply(text)
            reply.contentType = "application/json"
            return reply
        }
    }

    private let loop: any IOLoop
    private let answer: (Request) -> Reply
    private var listener: (any StreamListener)?
    private(set) var address: SocketAddress

    /// - Parameter answer: called on the loop for each request, complete with its body dropped.
    init(
        loop: any IOLoop, address: SocketAddress, answer: @escaping (Request) -> Reply
    ) throws(SocketError) {
        self.loop = loop
        self.answer = answer
        self.address = address
        let listener = try loop.listen(address, options: ListenOptions(), acceptor: self)
        self.listener = listener
        self.address = listener.address
    }

    func close() {
        listener?.close()
        listener = nil
    }

    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?) {
        _ = AdminConnection(stream: stream, loop: loop, server: self)
    }

    fileprivate func reply(to head: MessageHead) -> Reply {
        let method = head.string(.method) ?? ""
        let target = head.string(.path) ?? "/"
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var path = String(parts[0])
        // Callers are known that send "//stats".
        while path.hasPrefix("//") { path.removeFirst() }
        let query = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { pair in
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (
                key: AdminServer.unescape(halves[0]),
                value: halves.count > 1 ? AdminServer.unescape(halves[1]) : ""
            )
        }
        guard method == "GET" || method == "POST" || method == "HEAD" else {
            return Reply("method not allowed\n", status: 405)
        }
        guard isTrusted(authority: head.string(.authority) ?? "") else {
            return Reply("this host name is not served here\n", status: 403)
        }
        return answer(Request(method: method, path: path, query: query))
    }

    private func isTrusted(authority: String) -> Bool {
        if case .pipe = address { return true }
        var host = authority[...]
        if let colon = host.lastIndex(of: ":"), !host[colon...].contains("]") {
            host = host[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        if host.isEmpty || host == "localhost" { return true }
        // Any literal address is one that the caller had to know; a name could be rebound.
        return SocketAddress(ip: String(host), port: 0) != nil
    }

    static func unescape(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            if byte == 43 {
                bytes.append(32)
            } else if byte == 37, rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest.removeFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

private final class AdminConnection: ByteStreamHandler, TurnEndTask {
    private var stream: (any ByteStream)?
    private let loop: any IOLoop
    private let server: AdminServer
    private let codec: HTTP1Connection
    private var head: MessageHead?
    private var output = ByteBuffer()
    private var isDirty = false
    private var timer: LoopTimer?

    init(stream: any ByteStream, loop: any IOLoop, server: AdminServer) {
        self.stream = stream
        self.loop = loop
        self.server = server
        codec = HTTP1Connection(role: .server, limits: HTTPLimits())
        stream.handler = self
        let timer = LoopTimer(loop.timers) { [unowned self] in close() }
        self.timer = timer
        touch()
    }

    func streamConnected() {}

    func streamReceived(_ bytes: Span<UInt8>) {
        touch()
        codec.receive(bytes)
        takeEvents()
        markDirty()
    }

    func streamReceivedEnd() {
        codec.receiveEnd()
        takeEvents()
        flush()
        close()
    }

    func streamDrained() {}

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        timer?.stop()
    }

    func turnEnded() {
        isDirty = false
        takeEvents()
        flush()
        if codec.isFinished { close() }
    }

    private func takeEvents() {
        while let event = codec.nextEvent() {
            switch event {
            case .head(let id, let head, let end):
                self.head = head
                if end { answer(id) }
            case .body(let id, let bytes, let end):
                codec.consumed(bytes.count, on: id)
                if end { answer(id) }
            case .trailers(let id, _):
                answer(id)
            case .violation:
                flush()
                close()
                return
            default:
                break
            }
        }
    }

    private func answer(_ id: StreamID) {
        guard let head else { return }
        self.head = nil
        let reply = server.reply(to: head)
        var response = MessageHead(status: reply.status)
        response.append(.contentType, reply.contentType)
        response.append(.contentLength, "\(reply.body.count)")
        response.append("cache-control", "no-cache, max-age=0")
        response.append("x-content-type-options", "nosniff")
        let hasBody = !reply.body.isEmpty && !head.value(.method, equals: "HEAD")
        codec.sendResponse(response, on: id, endStream: !hasBody)
        if hasBody { codec.sendBody(reply.body.span, on: id, endStream: true) }
        markDirty()
    }

    private func markDirty() {
        if isDirty || stream == nil { return }
        isDirty = true
        loop.atTurnEnd(self)
    }

    private func flush() {
        codec.takeOutput(into: &output)
        output.withBytes { stream?.write($0.span) }
        output.removeAll()
        output.shrink()
    }

    private func touch() { timer?.start(at: loop.now + .seconds(60)) }

    private func close() {
        timer?.stop()
        stream?.close()
        stream = nil
    }
}
