import HTTPCodec
import MeshBase

/// Frames made of the input, so that a mutation is a changed frame rather than a broken one; the
/// first byte says how to give them in, as for HTTP/1. Bit 7: the rest goes in as it is.
func fuzzHTTP2(_ bytes: UnsafeBufferPointer<UInt8>, asServer: Bool) -> String? {
    var input = FuzzInput(bytes)
    let how = input.byte()
    var wire: [UInt8] = asServer ? Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) : []
    wire += frame(4, 0, 0, [])
    if how & 0x80 != 0 {
        wire += input.take(mostFrames * 9)
    } else {
        for _ in 0..<mostFrames where !input.isEmpty { wire += nextFrame(&input) }
    }
    let whole = watch(wire, piece: 0, asServer: asServer)
    let cut = watch(wire, piece: Int(how & 0x3F), asServer: asServer)
    if let difference = whole.difference(from: cut) {
        return "cut into pieces it reads differently: \(difference)"
    }
    for message in take(wire, piece: Int(how & 0x3F), asServer: asServer)
    where message.isComplete {
        let problem =
            asServer
            ? problemOfForwarding(request: message)
            : problemOfForwarding(response: message, toHead: message.stream == 3)
        if let problem { return problem }
    }
    return nil
}

/// Each read lets a peer send some more frames that do nothing, so how many it may send depends on
/// how they are cut. So many it may send in any case.
private let mostFrames = 240

/// Type, flags and stream from a byte each. HEADERS, PUSH_PROMISE and CONTINUATION with bit 7 of
/// the type take "name NUL value NUL" and encode it; others a length and as many bytes.
private func nextFrame(_ input: inout FuzzInput) -> [UInt8] {
    let kind = input.byte()
    let type = kind & 0x7F % 11
    let flags = input.byte()
    let stream = input.byte()
    let payload = input.take(Int(input.byte()))
    return frame(type, flags, stream, kind & 0x80 != 0 ? literals(payload) : payload)
}

func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
    [
        UInt8(truncatingIfNeeded: payload.count >> 16),
        UInt8(truncatingIfNeeded: payload.count >> 8),
        UInt8(truncatingIfNeeded: payload.count), type, flags, 0, 0, 0, stream,
    ] + payload
}

/// A header block of literals without indexing (RFC 7541 §6.2.2).
func literals(_ text: [UInt8]) -> [UInt8] {
    let parts = text.split(separator: 0, omittingEmptySubsequences: false)
    var block: [UInt8] = []
    for index in stride(from: 0, to: parts.count - 1, by: 2) {
        let name = parts[index].prefix(126)
        let value = parts[index + 1].prefix(126)
        block += [0, UInt8(name.count)]
        block += name
        block.append(UInt8(value.count))
        block += value
    }
    return block
}

private func opened(asServer: Bool) -> HTTP2Connection {
    let connection = HTTP2Connection(role: asServer ? .server : .client, limits: smallLimits())
    if !asServer {
        for method in ["GET", "HEAD", "GET"] as [StaticString] {
            let head = MessageHead(method: method, scheme: "http", authority: "a", path: "/")
            _ = connection.sendRequest(head, endStream: true)
        }
    }
    _ = connection.output()
    return connection
}

/// Nothing is answered nor given back, so that all depends on the bytes alone.
private func watch(_ wire: [UInt8], piece: Int, asServer: Bool) -> Transcript {
    let connection = opened(asServer: asServer)
    var seen = Transcript()
    for part in pieces(wire, of: piece) {
        connection.give(part) { seen.drain(connection, consumes: false) }
    }
    connection.receiveEnd()
    seen.drain(connection, consumes: false)
    _ = connection.output()
    return seen
}

/// Each request is answered and each byte given back.
private func take(_ wire: [UInt8], piece: Int, asServer: Bool) -> [ReceivedMessage] {
    let connection = opened(asServer: asServer)
    var seen = Transcript()
    let body = [UInt8](repeating: 0x62, count: 300)
    func drain() {
        seen.drain(connection) { _ in
        } onComplete: { message in
            if !asServer { return }
            connection.sendResponse(MessageHead(status: 200), on: message.stream, endStream: false)
            body.withUnsafeBufferPointer {
                _ = connection.sendBody($0.span, on: message.stream, endStream: true)
            }
        }
        _ = connection.output()
    }
    for part in pieces(wire, of: piece) { connection.give(part, drain) }
    connection.shutDown()
    connection.receiveEnd()
    drain()
    return seen.messages
}
