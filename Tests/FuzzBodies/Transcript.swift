import HTTPCodec
import MeshBase

/// A message as a connection delivered it.
struct ReceivedMessage {
    let stream: StreamID
    var head: MessageHead
    var body: [UInt8] = []
    var trailers: MessageHead?
    var isComplete = false
}

/// What a connection said: each event in a line of bytes, the bodies, and the messages that they
/// make.
struct Transcript {
    private(set) var lines: [[UInt8]] = []
    private var bodies: [StreamID: [UInt8]] = [:]
    private var resets: Set<StreamID> = []
    private(set) var messages: [ReceivedMessage] = []
    private(set) var violation: String?

    /// Takes all events. `onComplete` is called with each message that came to its end, and
    /// `onHead` with its beginning.
    mutating func drain(
        _ connection: some HTTPConnection, consumes: Bool = true,
        onHead: (StreamID) -> Void = { _ in }, onComplete: (ReceivedMessage) -> Void = { _ in }
    ) {
        while let event = connection.nextEvent() {
            if case .body(let id, let bytes, let end) = event {
                body(id, bytes)
                if consumes, !bytes.isEmpty { connection.consumed(bytes.count, on: id) }
                if end { complete(id, onComplete) }
                continue
            }
            switch event {
            case .head(let id, let head, let end):
                line("head \(id)", head)
                messages.append(ReceivedMessage(stream: id, head: head))
                onHead(id)
                if end { complete(id, onComplete) }
            case .interim(let id, let head): line("interim \(id)", head)
            case .trailers(let id, let head):
                line("trailers \(id)", head)
                if let index = open(id) { messages[index].trailers = head }
                complete(id, onComplete)
            case .reset(let id, let code):
                resets.insert(id)
                line("reset \(id) \(code)")
            case .drained: break
            case .goAway(let last, let code): line("goaway \(last) \(code)")
            case .pong: line("pong")
            case .violation(let found):
                violation = found.reason
                line("violation \(found.status)")
            case .body: break
            }
        }
    }

    private func open(_ id: StreamID) -> Int? {
        messages.lastIndex { $0.stream == id && !$0.isComplete }
    }

    private mutating func body(_ id: StreamID, _ bytes: UnsafeBufferPointer<UInt8>) {
        if bytes.isEmpty { return }
        bodies[id, default: []] += bytes
        if let index = open(id) { messages[index].body += bytes }
    }

    private mutating func complete(_ id: StreamID, _ onComplete: (ReceivedMessage) -> Void) {
        line("end \(id)")
        guard let index = open(id) else { return }
        messages[index].isComplete = true
        onComplete(messages[index])
    }

    private mutating func line(_ text: String, _ head: MessageHead? = nil) {
        var bytes = Array(text.utf8)
        if let head {
            bytes += Array(" \(head.status)".utf8)
            head.forEach { _, name, value in
                bytes.append(0x20)
                bytes += name
                bytes.append(0x3D)
                bytes += value
            }
        }
        lines.append(bytes)
    }

    /// Where two differ, for a report; `nil` when they don't. How much of a body was heard before its
    /// stream was reset may depend on how it came.
    func difference(from other: Transcript) -> String? {
        for id in Set(bodies.keys).union(other.bodies.keys) {
            let (ours, theirs) = (bodies[id] ?? [], other.bodies[id] ?? [])
            let isSame =
                resets.contains(id)
                ? ours.starts(with: theirs) || theirs.starts(with: ours) : ours == theirs
            if !isSame { return "body \(id): \(ours) against \(theirs)" }
        }
        if lines == other.lines { return nil }
        func text(_ all: [[UInt8]], _ index: Int) -> String {
            index < all.count ? String(decoding: all[index], as: UTF8.self) : "nothing"
        }
        let index =
            lines.indices.first { $0 >= other.lines.count || lines[$0] != other.lines[$0] }
            ?? lines.count
        return "\(text(lines, index)) against \(text(other.lines, index))"
    }
}

extension HTTPConnection {
    func give(_ bytes: some Collection<UInt8>, _ drain: () -> Void) {
        let array = Array(bytes)
        array.withUnsafeBufferPointer {
            receive($0.span)
            drain()
        }
    }

    func output() -> [UInt8] {
        var buffer = ByteBuffer()
        takeOutput(into: &buffer)
        return buffer.withBytes { Array($0) }
    }
}

func send(_ message: ReceivedMessage, on stream: StreamID, of connection: some HTTPConnection) {
    if !message.body.isEmpty {
        message.body.withUnsafeBufferPointer {
            _ = connection.sendBody($0.span, on: stream, endStream: message.trailers == nil)
        }
    }
    if let trailers = message.trailers { connection.sendTrailers(trailers, on: stream) }
}

// MARK: One message in, one message out

/// Sends a request that was let in on over HTTP/1, and reads what that made.
func problemOfForwarding(request: ReceivedMessage) -> String? {
    let client = HTTP1Connection(role: .client)
    let isEmpty = request.body.isEmpty && request.trailers == nil
    guard let stream = client.sendRequest(request.head, endStream: isEmpty) else { return nil }
    send(request, on: stream, of: client)
    var refusal = Transcript()
    refusal.drain(client)
    // Refused while it was written; nothing of it may be used.
    if !refusal.lines.isEmpty { return nil }
    let server = HTTP1Connection(role: .server)
    var seen = Transcript()
    let wire = client.output()
    server.give(wire) {
        seen.drain(server) { _ in
        } onComplete: { message in
            server.sendResponse(MessageHead(status: 204), on: message.stream, endStream: true)
        }
    }
    server.receiveEnd()
    seen.drain(server)
    return compare(request, seen, requestWire: wire)
}

/// Sends a response that was let in on over HTTP/1, and reads what that made.
func problemOfForwarding(response: ReceivedMessage, toHead: Bool) -> String? {
    let request = MessageHead(
        method: toHead ? "HEAD" : "GET", scheme: "http", authority: "a", path: "/")
    let client = HTTP1Connection(role: .client)
    let server = HTTP1Connection(role: .server)
    guard client.sendRequest(request, endStream: true) != nil else { return nil }
    var asked = Transcript()
    server.give(client.output()) { asked.drain(server) }
    let isEmpty = response.body.isEmpty && response.trailers == nil
    server.sendResponse(response.head, on: 1, endStream: isEmpty)
    send(response, on: 1, of: server)
    let before = asked.lines.count
    asked.drain(server)
    if asked.lines.count > before { return nil }
    var seen = Transcript()
    let wire = server.output()
    client.give(wire) { seen.drain(client) }
    client.receiveEnd()
    seen.drain(client)
    return compare(response, seen, requestWire: wire)
}

private func compare(
    _ sent: ReceivedMessage, _ seen: Transcript, requestWire wire: [UInt8]
) -> String? {
    let text = "\nforwarded as: " + String(decoding: wire, as: UTF8.self)
    if let violation = seen.violation { return "forwarded, it is refused: \(violation)\(text)" }
    guard seen.messages.count == 1, let came = seen.messages.first else {
        return "forwarded, it is \(seen.messages.count) messages\(text)"
    }
    if !came.isComplete { return "forwarded, it does not end\(text)" }
    if came.body != sent.body { return "forwarded, its body differs\(text)" }
    let before = fields(of: sent.head)
    let after = fields(of: came.head)
    if before != after { return "forwarded, its head differs: \(before) against \(after)\(text)" }
    return nil
}

/// What must arrive as it was: all but what frames the message or belongs to one connection.
private func fields(of head: MessageHead) -> [String] {
    let ofConnection: Set<String> = [
        "content-length", "transfer-encoding", "connection", "keep-alive", "te", "upgrade",
        "trailer", "expect", ":scheme", "host", "proxy-connection", "http2-settings",
    ]
    var result = ["\(head.status)"]
    var methodPathAuthority: [String] = []
    head.forEach { _, name, value in
        let name = String(decoding: name, as: UTF8.self)
        if ofConnection.contains(name.lowercased()) { return }
        let field = "\(name)=\(Array(value))"
        if name.hasPrefix(":") {
            methodPathAuthority.append(field)
        } else {
            result.append(field.lowercased())
        }
    }
    return result + methodPathAuthority.sorted()
}
