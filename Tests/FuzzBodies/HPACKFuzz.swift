import HTTPCodec
import MeshBase

/// A field as bytes.
struct PlainField: Equatable, CustomStringConvertible {
    var name: [UInt8]
    var value: [UInt8]

    var description: String {
        String(decoding: name, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self)
    }
}

// MARK: Blocks that come

/// Header blocks made of the input, one request each, read by our server and by nghttp2 where it is
/// installed: what we let in must be what it reads, and what it can't read we may not.
func fuzzHPACKDecoder(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    var input = FuzzInput(bytes)
    var limits = HTTPLimits()
    limits.maxHeaderCount = 200
    let server = HTTP2Connection(role: .server, limits: limits)
    let peer = PeerInflater()
    server.give(clientPreface()) {}
    var stream: StreamID = 1
    while !input.isEmpty, stream < 200 {
        let block = nextBlock(&input)
        var seen = Transcript()
        server.give(frame(1, 5, UInt8(stream), block)) { seen.drain(server) }
        let theirs = peer.map { $0.read(block) }
        if seen.violation != nil { return nil }
        if let theirs {
            guard let theirs else { return "we read a block that nghttp2 can't: \(block)" }
            if let head = seen.messages.first?.head,
                let problem = difference(plain(head), asDelivered(theirs))
            {
                return problem
            }
        }
        // Else the number of open streams is the limit of this test.
        server.sendResponse(MessageHead(status: 200), on: stream, endStream: true)
        _ = server.output()
        stream += 2
    }
    return nil
}

private func clientPreface() -> [UInt8] {
    Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])
}

/// The first byte: bit 7, the rest is a length and a block as it is; else its low three bits are the
/// number of fields, and bit 3 says that a table size comes first.
private func nextBlock(_ input: inout FuzzInput) -> [UInt8] {
    let how = input.byte()
    if how & 0x80 != 0 { return input.take(Int(input.byte())) }
    var block: [UInt8] = []
    if how & 8 != 0 { append(Int(input.byte()) * 17, prefix: 5, 0x20, to: &block) }
    // A request that is complete: what follows is delivered.
    if how & 0x10 == 0 { block += [0x82, 0x86, 0x84, 0x01, 1, 0x61] }
    for _ in 0..<how & 7 { appendField(&input, to: &block) }
    return block
}

private func appendField(_ input: inout FuzzInput, to block: inout [UInt8]) {
    let kind = input.byte()
    if kind & 0x80 != 0 {
        append(Int(kind & 0x7F), prefix: 7, 0x80, to: &block)
        return
    }
    let isIndexed = kind & 0x60 != 0x20
    let index = kind & 0x1F == 0 ? 0 : Int(input.byte() % 100)
    append(index, prefix: isIndexed ? 6 : 4, isIndexed ? 0x40 : kind & 0x40 >> 2, to: &block)
    if index == 0 { appendString(&input, isName: true, to: &block) }
    appendString(&input, isName: false, to: &block)
}

/// A byte says how long: bit 7, the bytes are taken for Huffman code; bit 6, it is long and of one
/// byte, so that entries are thrown out.
private func appendString(_ input: inout FuzzInput, isName: Bool, to block: inout [UInt8]) {
    let how = input.byte()
    let count = Int(how & 0x1F)
    if how & 0x40 != 0 {
        append(count * 64, prefix: 7, how & 0x80, to: &block)
        block += [UInt8](repeating: input.byte(), count: count * 64)
        return
    }
    var text = input.take(count)
    if how & 0xA0 == 0 {
        // Mostly such characters as may stand there.
        text = text.map { isName ? 0x61 + $0 % 26 : 0x21 + $0 % 94 }
    }
    append(text.count, prefix: 7, how & 0x80, to: &block)
    block += text
}

/// RFC 7541 §5.1.
private func append(_ value: Int, prefix: UInt8, _ pattern: UInt8, to block: inout [UInt8]) {
    let most = 1 << Int(prefix) - 1
    if value < most {
        block.append(pattern | UInt8(value))
        return
    }
    block.append(pattern | UInt8(most))
    var rest = value - most
    while rest >= 128 {
        block.append(UInt8(rest & 0x7F) | 0x80)
        rest >>= 7
    }
    block.append(UInt8(rest))
}

// MARK: Heads that go out

/// Heads made of the input go from a client to a server and back as the head of the response, while
/// either changes the size of the other's table. They must arrive as they were, and nghttp2 must
/// read the same.
func fuzzHPACKEncoder(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    var input = FuzzInput(bytes)
    let client = HTTP2Connection(role: .client)
    let server = HTTP2Connection(role: .server)
    let peers = (PeerInflater(), PeerInflater())
    client.give(server.output()) {}
    server.give(client.output()) {}
    var stream: StreamID = 1
    while !input.isEmpty, stream < 400 {
        let how = input.byte()
        if how & 0x80 != 0 {
            let size = Int(input.byte()) * 40
            let toClient = how & 0x40 != 0
            let setting: [UInt8] = [0, 1, 0, 0, UInt8(size >> 8), UInt8(size & 0xFF)]
            let connection = toClient ? client : server
            connection.give(frame(4, 0, 0, setting)) {}
            (toClient ? peers.0 : peers.1)?.resize(size)
        }
        let fields = nextFields(&input, Int(how & 0xF))
        var request = MessageHead(method: "GET", scheme: "http", authority: "a", path: "/")
        var response = MessageHead(status: 200)
        for field in fields {
            append(field, to: &request)
            append(field, to: &response)
        }
        guard client.sendRequest(request, endStream: true) == stream else {
            return "the client may not send"
        }
        let there = Passage(from: client, to: server, peers.0)
        if let problem = there.problem(of: request) { return problem }
        server.sendResponse(response, on: stream, endStream: true)
        let back = Passage(from: server, to: client, peers.1)
        if let problem = back.problem(of: response) { return problem }
        stream += 2
    }
    return nil
}

private let names = [
    "accept", "Accept-Language", "authorization", "content-type", "cookie", "User-Agent",
    "x-request-id", "traceparent", "x-forwarded-for", "x-a", "X-B", "server", "date", "etag",
    "set-cookie", "x-envoy-attempt-count",
]

/// A byte for the name, one for the value: few values, so that they come again, or some bytes, or
/// many of them.
private func nextFields(_ input: inout FuzzInput, _ count: Int) -> [PlainField] {
    (0..<count).map { _ in
        let kind = input.byte()
        let value = input.byte()
        let name = Array(names[Int(kind & 0xF)].utf8)
        if kind & 0x80 != 0 {
            return PlainField(
                name: name, value: input.take(Int(value & 0x1F)).map { 0x21 + $0 % 94 })
        }
        let times = kind & 0x40 != 0 ? Int(value) * 8 : Int(kind >> 4 & 3) * 9
        return PlainField(name: name, value: [UInt8](repeating: 0x61 + value % 16, count: times))
    }
}

private func append(_ field: PlainField, to head: inout MessageHead) {
    field.name.withUnsafeBufferPointer { name in
        field.value.withUnsafeBufferPointer {
            head.append(token: HeaderName(name), name: name, value: $0)
        }
    }
}

/// One head on its way, as the receiver and nghttp2 read it.
private struct Passage {
    private let seen: Transcript
    private let theirs: [PlainField]??

    init(from sender: HTTP2Connection, to receiver: HTTP2Connection, _ peer: PeerInflater?) {
        let wire = sender.output()
        var seen = Transcript()
        receiver.give(wire) { seen.drain(receiver) }
        self.seen = seen
        theirs = peer.map { $0.read(headerBlock(in: wire)) }
    }

    func problem(of head: MessageHead) -> String? {
        if let violation = seen.violation { return "what we wrote we refuse: \(violation)" }
        guard let came = seen.messages.first?.head else { return "a head did not arrive" }
        let expected = asDelivered(plain(head))
        if let problem = difference(plain(came), expected) { return problem }
        guard let theirs else { return nil }
        guard let theirs else { return "nghttp2 can't read what we wrote" }
        return difference(asDelivered(theirs), expected).map { "nghttp2: " + $0 }
    }
}

/// The fragments of HEADERS and CONTINUATION.
private func headerBlock(in wire: [UInt8]) -> [UInt8] {
    var block: [UInt8] = []
    var at = 0
    while at + 9 <= wire.count {
        let length = Int(wire[at]) << 16 | Int(wire[at + 1]) << 8 | Int(wire[at + 2])
        if wire[at + 3] == 1 || wire[at + 3] == 9 { block += wire[at + 9..<at + 9 + length] }
        at += 9 + length
    }
    return block
}

// MARK: Comparing

private func plain(_ head: MessageHead) -> [PlainField] {
    var fields: [PlainField] = []
    if head.status > 0 {
        fields.append(PlainField(name: Array(":status".utf8), value: Array("\(head.status)".utf8)))
    }
    head.forEach { _, name, value in
        fields.append(
            PlainField(
                name: String(decoding: name, as: UTF8.self).lowercased().utf8.map { $0 },
                value: Array(value)))
    }
    return fields
}

/// What a receiver makes of fields: one cookie, and the authority instead of Host. Cookies that hold
/// nothing leave nothing.
private func asDelivered(_ fields: [PlainField]) -> [PlainField] {
    let authority = Array(":authority".utf8)
    let (host, cookie) = (Array("host".utf8), Array("cookie".utf8))
    let hasAuthority = fields.contains { $0.name == authority }
    var result: [PlainField] = []
    for var field in fields {
        if field.name == host {
            if hasAuthority { continue }
            field.name = authority
        }
        if field.name == cookie, let first = result.firstIndex(where: { $0.name == cookie }) {
            let separator = result[first].value.isEmpty ? "" : "; "
            result[first].value += Array(separator.utf8) + field.value
        } else {
            result.append(field)
        }
    }
    return result
}

/// The order counts among fields of one name only.
private func difference(_ ours: [PlainField], _ expected: [PlainField]) -> String? {
    func sorted(_ fields: [PlainField]) -> [PlainField] {
        fields.enumerated().sorted {
            $0.element.name == $1.element.name
                ? $0.offset < $1.offset
                : $0.element.name.lexicographicallyPrecedes($1.element.name)
        }.map(\.element)
    }
    let (ours, expected) = (sorted(ours), sorted(expected))
    return ours == expected ? nil : "\(ours) instead of \(expected)"
}
