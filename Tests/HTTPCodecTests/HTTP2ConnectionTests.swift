import HTTPCodec
import MeshBase
import Testing

private func pair(_ limits: HTTPLimits = HTTPLimits()) -> Pair {
    var pair = Pair(
        client: HTTP2Connection(role: .client),
        server: HTTP2Connection(role: .server, limits: limits))
    pair.run()
    return pair
}

/// A frame as RFC 9113 §4.1 has it.
private func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let length = UInt32(payload.count)
    var bytes = [UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags]
    for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(stream >> shift & 255)) }
    return bytes + payload
}

/// HPACK's literals without indexing, for names and values below 127 bytes.
private func block(_ fields: [(String, String)]) -> [UInt8] {
    var bytes: [UInt8] = []
    for (name, value) in fields {
        bytes.append(0)
        for text in [name, value] {
            bytes.append(UInt8(text.utf8.count))
            bytes.append(contentsOf: text.utf8)
        }
    }
    return bytes
}

private let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])

/// What a server sees of a request that is written frame by frame.
private func served(
    _ fields: [(String, String)], data: [UInt8]? = nil, limits: HTTPLimits = HTTPLimits()
) -> (lines: [String], output: [UInt8]) {
    let server = HTTP2Connection(role: .server, limits: limits)
    var seen = EventText()
    seen.receive(preface, into: server)
    _ = output(server)
    var bytes = frame(1, data == nil ? 5 : 4, 1, block(fields))
    if let data { bytes += frame(0, 1, 1, data) }
    seen.receive(bytes, into: server)
    return (seen.take(), output(server))
}

private let get: [(String, String)] = [
    (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"),
]

@Suite("HTTP/2")
struct HTTP2ConnectionTests {
    @Test("Heads, bodies and trailers travel both ways")
    func exchange() {
        var pair = pair()
        let id = pair.client.sendRequest(
            request("POST", "/x", ("X-Case", "v"), ("connection", "close"), ("te", "trailers")),
            endStream: false)
        #expect(id == 1)
        pair.client.send("hello", on: 1)
        pair.client.sendTrailers(response(0, ("X-Sum", "1")), on: 1)
        pair.run()
        #expect(
            pair.serverSaw.take() == [
                "head 1 :method=POST :scheme=http :authority=a.b :path=/x x-case=v te=trailers",
                "body 1 hello", "trailers 1 x-sum=1",
            ])
        pair.server.sendResponse(response(103, ("Link", "x")), on: 1, endStream: false)
        pair.server.sendResponse(response(200, ("Keep-Alive", "x")), on: 1, endStream: false)
        pair.server.send("world", on: 1)
        pair.server.sendTrailers(response(0, ("grpc-status", "0")), on: 1)
        pair.run()
        #expect(
            pair.clientSaw.take() == [
                "interim 1 103 link=x", "head 1 200", "body 1 world", "trailers 1 grpc-status=0",
            ])
        #expect(pair.client.openStreams == 0 && pair.server.openStreams == 0)
    }

    @Test("The end of a message comes once, with its head, its last bytes, or alone")
    func endings() {
        var pair = pair()
        for (number, body) in [nil, "x", ""].enumerated() {
            let id = StreamID(2 * number + 1)
            #expect(pair.client.sendRequest(request(), endStream: true) == id)
            pair.run()
            #expect(pair.serverSaw.take().last?.hasSuffix(" end") == true)
            pair.server.sendResponse(response(200), on: id, endStream: body == nil)
            if let body { pair.server.send(body, on: id, end: true) }
            pair.run()
            let expected =
                body.map { ["head \(id) 200", "body \(id) \($0) end"] } ?? ["head \(id) 200 end"]
            #expect(pair.clientSaw.take() == expected)
        }
        #expect(pair.client.openStreams == 0 && pair.server.openStreams == 0)
    }

    @Test("Many streams interleave")
    func manyStreams() {
        var pair = pair()
        let ids = (0..<100).compactMap { _ in pair.client.sendRequest(request(), endStream: true) }
        #expect(ids.count == 100)
        pair.run()
        #expect(pair.serverSaw.take().count == 100 && pair.server.openStreams == 100)
        for id in ids.reversed() {
            pair.server.sendResponse(response(200), on: id, endStream: false)
            pair.server.send("\(id)", on: id, end: true)
        }
        pair.run()
        let lines = pair.clientSaw.take()
        #expect(ids.allSatisfy { lines.contains("body \($0) \($0) end") })
        #expect(pair.client.openStreams == 0 && pair.server.openStreams == 0)
    }

    @Test("Before SETTINGS a client may open 100 streams, and then what they say")
    func concurrency() {
        var limits = HTTPLimits()
        limits.maxConcurrentStreams = 2
        var pair = Pair(
            client: HTTP2Connection(role: .client),
            server: HTTP2Connection(role: .server, limits: limits))
        #expect(pair.client.streamsAvailable == 100)
        pair.run()
        #expect(pair.client.streamsAvailable == 2)
        _ = pair.client.sendRequest(request(), endStream: true)
        _ = pair.client.sendRequest(request(), endStream: true)
        #expect(pair.client.streamsAvailable == 0)
        #expect(pair.client.sendRequest(request(), endStream: true) == nil)
        pair.client.reset(1, .cancel)
        #expect(pair.client.streamsAvailable == 1)
    }

    @Test("A shut window queues, reports the limit, and drains when bytes are consumed")
    func windows() {
        var limits = HTTPLimits()
        limits.streamWindow = 100_000
        limits.connectionWindow = 100_000
        let client = HTTP2Connection(role: .client)
        let server = HTTP2Connection(role: .server, limits: limits)
        var pair = Pair(client: client, server: server)
        pair.serverSaw.consumes = false
        pair.run()
        _ = client.sendRequest(request("POST"), endStream: false)
        let chunk = Array(repeating: UInt8(120), count: 50_000)
        var sent = 0
        while client.send(chunk, on: 1) { sent += chunk.count }
        sent += chunk.count
        pair.run()
        #expect(client.queuedBytes(on: 1) == sent - 100_000)
        #expect(pair.serverSaw.take().last?.utf8.count == "body 1 ".utf8.count + 100_000)
        #expect(pair.clientSaw.take().isEmpty)
        while client.queuedBytes(on: 1) > 0 {
            server.consumed(100_000, on: 1)
            pair.run()
        }
        #expect(pair.clientSaw.take() == ["drained 1"])
        #expect(client.send("end", on: 1, end: true))
        server.consumed(100_000, on: 1)
        pair.run()
        #expect(pair.serverSaw.take().last?.hasSuffix("xend end") == true)
    }

    @Test("What a reset stream leaves unconsumed goes back to the connection's window")
    func windowOfResetStreams() {
        var limits = HTTPLimits()
        limits.streamWindow = 65_535
        limits.connectionWindow = 65_535
        let client = HTTP2Connection(role: .client)
        let server = HTTP2Connection(role: .server, limits: limits)
        var pair = Pair(client: client, server: server)
        pair.serverSaw.consumes = false
        pair.run()
        let chunk = Array(repeating: UInt8(120), count: 60_000)
        for number in 0..<6 {
            let id = StreamID(2 * number + 1)
            #expect(client.sendRequest(request("POST"), endStream: false) == id)
            client.send(chunk, on: id)
            pair.run()
            #expect(client.queuedBytes(on: id) == 0)
            #expect(pair.serverSaw.take().last?.hasPrefix("body \(id) xxx") == true)
            if number % 2 == 0 { client.reset(id, .cancel) } else { server.reset(id, .cancel) }
            pair.run()
            _ = pair.serverSaw.take()
        }
    }

    @Test("Bytes of an ended response count until they are consumed")
    func endedButUnconsumed() {
        var limits = HTTPLimits()
        limits.connectionWindow = 65_535
        let client = HTTP2Connection(role: .client, limits: limits)
        let server = HTTP2Connection(role: .server)
        var pair = Pair(client: client, server: server)
        pair.clientSaw.consumes = false
        let chunk = Array(repeating: UInt8(120), count: 40_000)
        for id in [1, 3] as [StreamID] {
            #expect(client.sendRequest(request(), endStream: true) == id)
            pair.run()
            server.sendResponse(response(200), on: id, endStream: false)
            server.send(chunk, on: id, end: true)
            pair.run()
        }
        #expect(server.queuedBytes(on: 3) == 80_000 - 65_535 && client.openStreams == 1)
        client.consumed(40_000, on: 1)
        pair.run()
        #expect(server.queuedBytes(on: 3) == 0 && client.openStreams == 0)
    }

    @Test("Resets reach the other side with their code, unknown ones as internal error")
    func resets() {
        var pair = pair()
        _ = pair.client.sendRequest(request(), endStream: true)
        _ = pair.client.sendRequest(request(), endStream: true)
        pair.run()
        _ = pair.serverSaw.take()
        pair.client.reset(1, .cancel)
        pair.server.reset(3, .refusedStream)
        pair.run()
        #expect(pair.serverSaw.take() == ["reset 1 cancel"])
        #expect(pair.clientSaw.take() == ["reset 3 refusedStream"])

        let server = HTTP2Connection(role: .server)
        var seen = EventText()
        seen.receive(preface + frame(1, 5, 1, block(get)), into: server)
        seen.receive(frame(3, 0, 1, [0, 0, 1, 0]), into: server)
        #expect(seen.take().last == "reset 1 internalError")
    }

    @Test("A response that ends before its request stops the request")
    func earlyAnswer() {
        var pair = pair()
        _ = pair.client.sendRequest(request("POST"), endStream: false)
        pair.run()
        pair.server.sendResponse(response(413), on: 1, endStream: true)
        pair.run()
        #expect(pair.clientSaw.take() == ["head 1 413 end", "reset 1 noError"])
        #expect(pair.client.openStreams == 0 && pair.server.openStreams == 0)
    }

    @Test("Shutting down lets streams end that are open, and refuses later ones")
    func goAway() {
        var pair = pair()
        _ = pair.client.sendRequest(request(), endStream: true)
        pair.run()
        pair.server.shutDown()
        pair.run()
        #expect(pair.clientSaw.take() == ["goaway 2147483647 noError"])
        #expect(pair.client.streamsAvailable == 0)
        pair.server.shutDown()
        pair.run()
        #expect(pair.clientSaw.take() == ["goaway 1 noError"])
        #expect(!pair.server.isFinished)
        pair.server.sendResponse(response(200), on: 1, endStream: true)
        pair.run()
        #expect(pair.clientSaw.take() == ["head 1 200 end"])
        #expect(pair.server.isFinished && pair.client.isFinished)
    }

    @Test("Streams above a GOAWAY's last are refused, so they may be retried")
    func refusedByGoAway() {
        let client = HTTP2Connection(role: .client)
        var seen = EventText()
        _ = client.sendRequest(request(), endStream: true)
        _ = client.sendRequest(request(), endStream: true)
        seen.receive(frame(4, 0, 0, []) + frame(7, 0, 0, [0, 0, 0, 1, 0, 0, 0, 0]), into: client)
        #expect(seen.take() == ["reset 3 refusedStream", "goaway 1 noError"])
        #expect(client.openStreams == 1)
    }

    @Test("The end of input cuts open streams short")
    func endOfInput() {
        var pair = pair()
        _ = pair.client.sendRequest(request(), endStream: true)
        pair.client.receiveEnd()
        pair.clientSaw.drain(pair.client)
        #expect(pair.clientSaw.take() == ["reset 1 cancel"])
        #expect(pair.client.isFinished)
    }

    @Test("A PING is answered")
    func ping() {
        var pair = pair()
        pair.client.ping()
        pair.run()
        #expect(pair.clientSaw.take() == ["pong"] && pair.serverSaw.take().isEmpty)
    }

    @Test("CONNECT is a stream of bytes both ways")
    func connect() {
        var pair = pair()
        var head = MessageHead()
        head.append(.method, "CONNECT")
        head.append(.authority, "a:1")
        #expect(pair.client.sendRequest(head, endStream: false) == 1)
        pair.run()
        #expect(pair.serverSaw.take() == ["head 1 :method=CONNECT :authority=a:1"])
        pair.server.sendResponse(response(200), on: 1, endStream: false)
        pair.client.send("up", on: 1)
        pair.server.send("down", on: 1)
        pair.run()
        #expect(pair.clientSaw.take() == ["head 1 200", "body 1 down"])
        #expect(pair.serverSaw.take() == ["body 1 up"])
    }

    @Test("Cookie crumbs are joined, and a lone Host is the authority")
    func crumbs() {
        let fields: [(String, String)] = [
            (":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "h"),
            ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"),
        ]
        #expect(
            served(fields).lines == [
                "head 1 :method=GET :scheme=http :path=/ cookie=a=b; c=d x=y :authority=h end"
            ])
        #expect(
            served(get + [("host", "A")]).lines == [
                "head 1 :method=GET :scheme=http :path=/ :authority=a end"
            ])
    }

    @Test(
        "A malformed request never becomes an event",
        arguments: [
            get + [("connection", "close")], get + [("keep-alive", "1")],
            get + [("transfer-encoding", "chunked")], get + [("upgrade", "x")],
            get + [("proxy-connection", "x")], get + [("http2-settings", "x")],
            get + [("te", "gzip")], get + [("X-Upper", "x")], get + [("x y", "z")],
            get + [("x", "a\r\nb")], get + [("x", "a\u{0}")], get + [("x", "a\nb")],
            get + [("host", "other")], get + [("host", "a"), ("host", "a")],
            get + [(":path", "/")], get + [("x", "y"), (":scheme", "http")],
            get + [("content-length", "1")], get + [("content-length", "x")],
            [(":method", "GET"), (":scheme", "http"), (":authority", "a")],
            [(":method", "G T"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
            [(":method", "GET"), (":scheme", "http"), (":path", "/ x"), (":authority", "a")],
            [(":method", "GET"), (":scheme", "http"), (":path", "/#x"), (":authority", "a")],
            [(":method", "GET"), (":scheme", "http"), (":path", "x"), (":authority", "a")],
            [(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")],
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "u@a")],
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a/b")],
        ])
    func malformed(fields: [(String, String)]) {
        let (lines, output) = served(fields)
        #expect(lines.isEmpty)
        // The last frame out is RST_STREAM of stream 1 with PROTOCOL_ERROR.
        #expect(output.suffix(13) == frame(3, 0, 1, [0, 0, 0, 1])[...])
    }

    @Test("A body that contradicts its length is a reset")
    func lengthMismatch() {
        for data in [[1], [1, 2, 3]] as [[UInt8]] {
            let (lines, _) = served(get + [("content-length", "2")], data: data)
            #expect(lines.last == "reset 1 protocolError")
            #expect(!lines.contains { $0.hasSuffix(" end") })
        }
    }

    @Test("A head past its limits is answered with 431")
    func tooLarge() {
        var limits = HTTPLimits()
        limits.maxHeaderCount = 5
        var (lines, output) = served(get + [("a", "b"), ("c", "d")], limits: limits)
        #expect(lines.isEmpty && output.contains(sequence: "431"))
        limits = HTTPLimits()
        limits.maxHeaderBytes = 100
        let long = String(repeating: "x", count: 90)
        (lines, output) = served(get + [("a", long)], limits: limits)
        #expect(lines.isEmpty && output.contains(sequence: "431"))
        // A client can only give the stream up.
        let client = HTTP2Connection(role: .client, limits: limits)
        var seen = EventText()
        _ = client.sendRequest(request(), endStream: true)
        seen.receive(
            frame(4, 0, 0, []) + frame(1, 5, 1, block([(":status", "200"), ("a", long)])),
            into: client)
        #expect(seen.take() == ["reset 1 enhanceYourCalm"])
    }

    @Test("Interim responses are bounded")
    func interimStorm() {
        let client = HTTP2Connection(role: .client)
        var seen = EventText()
        _ = client.sendRequest(request(), endStream: true)
        seen.receive(frame(4, 0, 0, []), into: client)
        for _ in 0..<17 {
            seen.receive(frame(1, 4, 1, block([(":status", "103")])), into: client)
        }
        #expect(seen.take().last == "reset 1 protocolError")
    }

    @Test(
        "A broken connection is a violation",
        arguments: [
            Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8),
            preface + frame(0, 0, 0, [1]),
            preface + frame(1, 4, 2, block(get)),
            preface + frame(1, 4, 1, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            preface + frame(9, 4, 1, []),
            preface + frame(6, 0, 0, [1]),
            preface + frame(8, 0, 0, [0, 0, 0, 0]),
        ])
    func violations(bytes: [UInt8]) {
        let server = HTTP2Connection(role: .server)
        var seen = EventText()
        seen.receive(bytes, into: server)
        #expect(seen.take() == ["violation 400"])
        #expect(server.isFinished && !server.wantsInput && server.openStreams == 0)
        seen.receive(preface, into: server)
        #expect(seen.take().isEmpty)
    }

    @Test("Streams that are opened only to be reset end the connection at last")
    func rapidReset() {
        let server = HTTP2Connection(role: .server)
        var seen = EventText()
        seen.receive(preface, into: server)
        for number in 0..<2000 {
            let id = UInt32(2 * number + 1)
            seen.receive(frame(1, 5, id, block(get)) + frame(3, 0, id, [0, 0, 0, 8]), into: server)
        }
        #expect(seen.take().last == "violation 400" && server.openStreams == 0)
    }

    @Test("What would split a message is not sent")
    func splitting() {
        var pair = pair()
        #expect(pair.client.sendRequest(request("GET", "/a b"), endStream: true) == nil)
        _ = pair.client.sendRequest(request(), endStream: true)
        pair.run()
        pair.server.sendResponse(response(200, ("x", "a\r\nb")), on: 1, endStream: true)
        pair.run()
        #expect(pair.clientSaw.take() == ["reset 1 internalError"])
    }

    @Test("A conversation gives the same events, however its bytes are cut")
    func cuts() {
        let bytes =
            preface + frame(1, 4, 1, block(get)) + frame(0, 0, 1, [97, 98]) + frame(0, 1, 1, [99])
            + frame(1, 5, 3, block(get)) + frame(3, 0, 3, [0, 0, 0, 8])
        func events(_ pieces: [[UInt8]]) -> [String] {
            let server = HTTP2Connection(role: .server)
            var seen = EventText()
            for piece in pieces { seen.receive(piece, into: server) }
            return seen.take()
        }
        let whole = events([bytes])
        #expect(whole.count == 4)
        for cut in 1..<bytes.count {
            #expect(events([Array(bytes[..<cut]), Array(bytes[cut...])]) == whole)
        }
        #expect(events(bytes.map { [$0] }) == whole)
    }
}

@Suite("Between HTTP/1 and HTTP/2")
struct BridgeTests {
    /// Takes the first head that a connection delivers.
    private func head(_ bytes: [UInt8], _ connection: some HTTPConnection) -> MessageHead? {
        bytes.withUnsafeBufferPointer {
            connection.receive($0.span)
            guard case .head(_, let head, _) = connection.nextEvent() else { return nil }
            return head
        }
    }

    @Test("A head of HTTP/1 travels over HTTP/2 and comes back as HTTP/1")
    func roundTrip() throws {
        let text =
            "GET /p HTTP/1.1\r\nHost: a.b\r\nX-Case: V\r\nCookie: a=b; c=d\r\n"
            + "Connection: keep-alive\r\n\r\n"
        let first = try #require(head(Array(text.utf8), HTTP1Connection(role: .server)))
        let client = HTTP2Connection(role: .client)
        #expect(client.sendRequest(first, endStream: true) == 1)
        let second = try #require(head(output(client), HTTP2Connection(role: .server)))
        let last = HTTP1Connection(role: .client)
        #expect(last.sendRequest(second, endStream: true) == 1)
        #expect(
            outputText(last)
                == "GET /p HTTP/1.1\r\nhost: a.b\r\nx-case: V\r\ncookie: a=b; c=d\r\n\r\n")
    }
}

@Suite("gRPC framing")
struct GRPCFramingTests {
    private func receive(_ reader: inout GRPCReader, _ bytes: [UInt8]) throws -> [[UInt8]] {
        var messages: [[UInt8]] = []
        try bytes.withUnsafeBufferPointer { try reader.receive($0.span) { messages.append($0) } }
        return messages
    }

    @Test("Messages come out as they went in, however they are cut")
    func roundTrip() throws {
        let messages: [[UInt8]] = [[1, 2, 3], [], Array(repeating: 7, count: 300), []]
        let bytes = messages.flatMap { GRPCWriter.frame($0) }
        for step in [1, 2, 7, bytes.count] {
            var reader = GRPCReader()
            var got: [[UInt8]] = []
            for start in stride(from: 0, to: bytes.count, by: step) {
                got += try receive(&reader, Array(bytes[start..<min(start + step, bytes.count)]))
            }
            #expect(got == messages && !reader.isInsideMessage)
        }
    }

    @Test("Compressed and oversized messages are errors")
    func refused() throws {
        var reader = GRPCReader(maxMessageBytes: 10)
        #expect(throws: GRPCReader.Failure.compressed) { try receive(&reader, [1, 0, 0, 0, 0]) }
        reader = GRPCReader(maxMessageBytes: 10)
        #expect(throws: GRPCReader.Failure.tooLarge(bytes: 11)) {
            try receive(&reader, [0, 0, 0, 0, 11])
        }
        reader = GRPCReader(maxMessageBytes: 10)
        #expect(try receive(&reader, [0, 0, 0, 0, 2, 1]).isEmpty)
        #expect(reader.isInsideMessage)
    }
}

extension [UInt8] {
    fileprivate func contains(sequence text: String) -> Bool {
        String(decoding: self, as: UTF8.self).contains(text)
    }
}
