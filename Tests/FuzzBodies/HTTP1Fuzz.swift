import HTTPCodec
import MeshBase

/// Small bounds, so that short inputs reach them.
func smallLimits() -> HTTPLimits {
    var limits = HTTPLimits()
    limits.maxHeaderBytes = 2048
    limits.maxHeaderCount = 24
    limits.bodyWindow = 1024
    limits.streamWindow = 70_000
    limits.maxConcurrentStreams = 8
    return limits
}

/// The first byte says how: its low six bits the size of a piece, bit 6 whether to answer early.
func fuzzHTTP1Request(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    var input = FuzzInput(bytes)
    let how = input.byte()
    let wire = input.rest()
    let whole = serve(wire, piece: 0, early: how & 0x40 != 0)
    let cut = serve(wire, piece: Int(how & 0x3F), early: how & 0x40 != 0)
    if let difference = whole.difference(from: cut) {
        return "cut into pieces it reads differently: \(difference)"
    }
    for message in whole.messages where message.isComplete {
        if let problem = problemOfForwarding(request: message) { return problem }
    }
    return nil
}

private func serve(_ wire: [UInt8], piece: Int, early: Bool) -> Transcript {
    let server = HTTP1Connection(role: .server, limits: smallLimits())
    var seen = Transcript()
    func answer(_ id: StreamID) {
        server.sendResponse(MessageHead(status: 200), on: id, endStream: true)
    }
    func drain() {
        seen.drain(server) {
            if early { answer($0) }
        } onComplete: {
            if !early { answer($0.stream) }
        }
    }
    for part in pieces(wire, of: piece) { server.give(part, drain) }
    server.receiveEnd()
    drain()
    _ = server.output()
    return seen
}

/// The first byte as for requests; bit 7: the requests are HEAD.
func fuzzHTTP1Response(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    var input = FuzzInput(bytes)
    let how = input.byte()
    let toHead = how & 0x80 != 0
    let wire = input.rest()
    let whole = ask(wire, piece: 0, toHead: toHead)
    let cut = ask(wire, piece: Int(how & 0x3F), toHead: toHead)
    if let difference = whole.difference(from: cut) {
        return "cut into pieces it reads differently: \(difference)"
    }
    for message in whole.messages where message.isComplete {
        if let problem = problemOfForwarding(response: message, toHead: toHead) { return problem }
    }
    return nil
}

private func ask(_ wire: [UInt8], piece: Int, toHead: Bool) -> Transcript {
    let client = HTTP1Connection(role: .client, limits: smallLimits())
    let request = MessageHead(
        method: toHead ? "HEAD" : "GET", scheme: "http", authority: "a", path: "/")
    var seen = Transcript()
    _ = client.sendRequest(request, endStream: true)
    for part in pieces(wire, of: piece) { client.give(part) { seen.drain(client) } }
    client.receiveEnd()
    seen.drain(client)
    _ = client.output()
    return seen
}
