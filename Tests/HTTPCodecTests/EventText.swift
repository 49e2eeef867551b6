import HTTPCodec
import MeshBase

/// Events as lines of text, for comparing by value. Body parts of a stream that follow each other
/// are joined, so that the same message reads the same however its bytes were cut.
struct EventText {
    private(set) var lines: [String] = []
    private var body: (stream: StreamID, text: String)?
    /// Gives body bytes back as soon as they are seen.
    var consumes = true

    mutating func receive(_ bytes: [UInt8], into connection: some HTTPConnection) {
        bytes.withUnsafeBufferPointer {
            connection.receive($0.span)
            drain(connection)
        }
    }

    mutating func receive(_ text: String, into connection: some HTTPConnection) {
        receive(Array(text.utf8), into: connection)
    }

    mutating func drain(_ connection: some HTTPConnection) {
        while let event = connection.nextEvent() { record(event, connection) }
    }

    private mutating func record(_ event: HTTPEvent, _ connection: some HTTPConnection) {
        if case .body(let id, let bytes, let end) = event {
            let text = (body?.text ?? "") + String(decoding: bytes, as: UTF8.self)
            if consumes { connection.consumed(bytes.count, on: id) }
            body = (id, text)
            if end { flush(end: true) }
            return
        }
        flush(end: false)
        switch event {
        case .head(let id, let head, let end):
            lines.append("head \(id) \(text(head))\(ending(end))")
        case .interim(let id, let head): lines.append("interim \(id) \(text(head))")
        case .trailers(let id, let head): lines.append("trailers \(id) \(text(head))")
        case .reset(let id, let code): lines.append("reset \(id) \(code)")
        case .drained(let id): lines.append("drained \(id)")
        case .goAway(let last, let code): lines.append("goaway \(last) \(code)")
        case .pong: lines.append("pong")
        case .violation(let violation): lines.append("violation \(violation.status)")
        case .body: break
        }
    }

    private mutating func flush(end: Bool) {
        if let body { lines.append("body \(body.stream) \(body.text)\(ending(end))") }
        body = nil
    }

    private func ending(_ end: Bool) -> String { end ? " end" : "" }

    private func text(_ head: MessageHead) -> String {
        var parts: [String] = []
        if head.status > 0 { parts.append("\(head.status)") }
        head.forEach { _, name, value in
            parts.append(
                "\(String(decoding: name, as: UTF8.self))=\(String(decoding: value, as: UTF8.self))"
            )
        }
        return parts.joined(separator: " ")
    }

    /// The lines so far, with a body that has not ended, and starts over.
    mutating func take() -> [String] {
        flush(end: false)
        defer { lines = [] }
        return lines
    }
}

/// Takes what a connection wants to send.
func output(_ connection: some HTTPConnection) -> [UInt8] {
    var buffer = ByteBuffer()
    connection.takeOutput(into: &buffer)
    return buffer.withBytes { Array($0) }
}

func outputText(_ connection: some HTTPConnection) -> String {
    String(decoding: output(connection), as: UTF8.self)
}

extension HTTPConnection {
    @discardableResult
    func send(_ text: String, on stream: StreamID, end: Bool = false) -> Bool {
        send(Array(text.utf8), on: stream, end: end)
    }

    @discardableResult
    func send(_ bytes: [UInt8], on stream: StreamID, end: Bool = false) -> Bool {
        bytes.withUnsafeBufferPointer { sendBody($0.span, on: stream, endStream: end) }
    }
}

/// Two connections back to back, and what each has seen.
struct Pair {
    let client: any HTTPConnection
    let server: any HTTPConnection
    var clientSaw = EventText()
    var serverSaw = EventText()

    /// Carries bytes until neither has any left.
    mutating func run() {
        while client.hasOutput || server.hasOutput {
            carry(from: client, to: server, &serverSaw)
            carry(from: server, to: client, &clientSaw)
        }
        clientSaw.drain(client)
        serverSaw.drain(server)
    }

    private func carry(
        from: some HTTPConnection, to: some HTTPConnection, _ seen: inout EventText
    ) {
        let bytes = output(from)
        if !bytes.isEmpty { seen.receive(bytes, into: to) }
    }
}

func request(
    _ method: StaticString = "GET", _ path: String = "/", authority: String = "a.b",
    _ fields: (String, String)...
) -> MessageHead {
    var head = MessageHead(method: method, scheme: "http", authority: authority, path: path)
    for (name, value) in fields { head.append(name, value) }
    return head
}

func response(_ status: Int, _ fields: (String, String)...) -> MessageHead {
    var head = MessageHead(status: status)
    for (name, value) in fields { head.append(name, value) }
    return head
}
