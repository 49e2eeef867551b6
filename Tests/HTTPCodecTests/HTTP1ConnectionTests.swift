import HTTPCodec
import MeshBase
import Testing

private func served(_ text: String) -> [String] {
    let server = HTTP1Connection(role: .server)
    var seen = EventText()
    seen.receive(text, into: server)
    return seen.take()
}

@Suite("HTTP/1 server")
struct HTTP1ServerTests {
    @Test(
        "A request that breaks the grammar is refused with its status",
        arguments: [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\rX: y\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\u{0}c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\u{1}c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\u{7F}\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX{: b\r\n\r\n", 400),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / \r\nHost: a\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
            ("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\u{80} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                400
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                400
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                400
            ),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ])
    func refused(text: String, status: Int) {
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        seen.receive(text, into: server)
        #expect(seen.take() == ["violation \(status)"])
        #expect(outputText(server).hasPrefix("HTTP/1.1 \(status) "))
        #expect(server.isFinished && !server.wantsInput)

        let slow = HTTP1Connection(role: .server)
        for byte in text.utf8 { seen.receive([byte], into: slow) }
        #expect(seen.take() == ["violation \(status)"])
    }

    @Test(
        "A broken chunk ends the connection",
        arguments: [
            "g\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", "1 \r\n", "\r\n", "1\n", ";a\r\n",
            "1\r\nab", "1\r\na\n", "1\r\na\rb", "FFFFFFFFFFFFFFFF1\r\n", "1;\u{0}\r\n",
            "1;\n\r\n", "0\r\nX\r\n\r\n", "0\r\n\n", "0\r\na b: c\r\n\r\n",
        ])
    func brokenChunk(chunk: String) {
        let lines = served(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        #expect(lines.last == "violation 400")
        #expect(!lines.contains { $0.hasSuffix(" end") })
    }

    @Test(
        "A good request gives its events, however it is cut",
        arguments: [
            (
                "GET /x?y HTTP/1.1\r\nHost: a.b:80\r\nX-Case:  v \t\r\nEmpty:\r\n\r\n",
                ["head 1 :method=GET :scheme=http :path=/x?y :authority=a.b:80 X-Case=v Empty= end"]
            ),
            (
                "\r\nGET http://h/p HTTP/1.1\r\nHost: other\r\n\r\n",
                ["head 1 :method=GET :scheme=http :authority=h :path=/p end"]
            ),
            (
                "GET HTTP://h?q HTTP/1.1\r\nHost: h\r\n\r\n",
                ["head 1 :method=GET :scheme=http :authority=h :path=/?q end"]
            ),
            (
                "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
                ["head 1 :method=OPTIONS :scheme=http :path=* end"]
            ),
            ("GET / HTTP/1.0\r\n\r\n", ["head 1 :method=GET :scheme=http :path=/ end"]),
            (
                "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
                ["head 1 :method=CONNECT :authority=a:443 end"]
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
                [
                    "head 1 :method=POST :scheme=http :path=/ :authority=a Content-Length=5",
                    "body 1 hello end",
                ]
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
                    + "3;x=\"y\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n",
                [
                    "head 1 :method=POST :scheme=http :path=/ :authority=a",
                    "body 1 abc0123456789 end",
                ]
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + "1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n",
                [
                    "head 1 :method=POST :scheme=http :path=/ :authority=a", "body 1 a",
                    "trailers 1 X-Sum=1",
                ]
            ),
            (
                "GET / HTTP/1.1\r\nConnection: X-Hop, close, Upgrade\r\nHost: a\r\nX-Hop: 1\r\n"
                    + "Keep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n"
                    + "HTTP2-Settings: AA\r\nTE: gzip, Trailers\r\nX-Stays: 1\r\n\r\n",
                [
                    "head 1 :method=GET :scheme=http :path=/ :authority=a te=trailers X-Stays=1 end"
                ]
            ),
            (
                "GET / HTTP/1.1\r\nConnection: host, content-length\r\nHost: a\r\n"
                    + "Content-Length: 0\r\nTE: gzip\r\n\r\n",
                ["head 1 :method=GET :scheme=http :path=/ :authority=a Content-Length=0 end"]
            ),
        ])
    func good(text: String, events: [String]) {
        #expect(served(text) == events)
        let bytes = Array(text.utf8)
        for cut in 1..<bytes.count {
            let server = HTTP1Connection(role: .server)
            var seen = EventText()
            seen.receive(Array(bytes[..<cut]), into: server)
            seen.receive(Array(bytes[cut...]), into: server)
            #expect(seen.take() == events, "cut at \(cut)")
        }
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        for byte in bytes { seen.receive([byte], into: server) }
        #expect(seen.take() == events)
    }

    @Test("A head past its limits is refused with 431")
    func tooLarge() {
        var limits = HTTPLimits()
        limits.maxHeaderBytes = 200
        limits.maxHeaderCount = 3
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\nE: f\r\n\r\n",
            "GET /\(String(repeating: "x", count: 250)) HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: \(String(repeating: "x", count: 250))",
        ] {
            let server = HTTP1Connection(role: .server, limits: limits)
            var seen = EventText()
            seen.receive(text, into: server)
            #expect(seen.take() == ["violation 431"])
        }
        let server = HTTP1Connection(role: .server, limits: limits)
        var seen = EventText()
        seen.receive(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", into: server)
        seen.receive("A: \(String(repeating: "x", count: 250))", into: server)
        #expect(seen.take().last == "violation 431")
    }

    @Test("A pipelined request waits until its predecessor is answered")
    func pipelining() {
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        seen.receive(get + get + get, into: server)
        let head = "head 1 :method=GET :scheme=http :path=/ :authority=a end"
        #expect(seen.take() == [head])
        #expect(!server.wantsInput && server.openStreams == 1)
        server.sendResponse(response(204), on: 1, endStream: true)
        seen.drain(server)
        #expect(seen.take() == [head.replacing("head 1", with: "head 2")])
        server.sendResponse(response(204), on: 2, endStream: true)
        seen.drain(server)
        #expect(seen.take() == [head.replacing("head 1", with: "head 3")])
        #expect(server.wantsInput)
        server.sendResponse(response(200), on: 3, endStream: true)
        #expect(
            outputText(server)
                == "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
                + "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        #expect(!server.isFinished && server.openStreams == 0)
    }

    /// What a server writes after one request.
    private func answer(
        to text: String, _ head: MessageHead, _ body: String?, trailers: MessageHead? = nil
    ) -> (String, finished: Bool) {
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        seen.receive(text, into: server)
        server.sendResponse(head, on: 1, endStream: body == nil && trailers == nil)
        if let body { server.send(body, on: 1, end: trailers == nil) }
        if let trailers { server.sendTrailers(trailers, on: 1) }
        return (outputText(server), server.isFinished)
    }

    @Test("A response is framed by what the request and its own head allow")
    func framing() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        let old = "GET / HTTP/1.0\r\n\r\n"
        let oldAlive = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        let close = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        let headRequest = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        let sized = response(200, ("Content-Length", "2"))
        #expect(
            answer(to: get, sized, "hi")
                == ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false))
        #expect(
            answer(to: get, response(200), "hi")
                == (
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                    false
                ))
        #expect(
            answer(to: get, response(200), "hi", trailers: response(0, ("X", "y")))
                == (
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"
                        + "0\r\nX: y\r\n\r\n", false
                ))
        #expect(
            answer(to: old, response(200), "hi")
                == ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi", true))
        #expect(
            answer(to: oldAlive, sized, "hi")
                == (
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: keep-alive\r\n\r\nhi",
                    false
                ))
        #expect(
            answer(to: close, sized, "hi")
                == (
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nhi", true
                ))
        #expect(
            answer(to: headRequest, sized, nil)
                == ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false))
        #expect(
            answer(to: headRequest, sized, "hi")
                == ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false))
        #expect(
            answer(to: get, response(304, ("Content-Length", "2")), nil)
                == ("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", false))
        #expect(
            answer(to: get, response(204, ("Content-Length", "0")), nil)
                == ("HTTP/1.1 204 No Content\r\n\r\n", false))
        #expect(
            answer(to: get, response(299, ("Connection", "x"), ("Upgrade", "y")), nil)
                == ("HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n", false))
    }

    @Test("Too much, too little and what would split a response ends the exchange")
    func brokenByUs() {
        let cases: [(MessageHead, String?)] = [
            (response(200, ("content-length", "2")), "abc"),
            (response(200, ("content-length", "2")), "a"),
            (response(200, ("content-length", "2")), nil),
            (response(200, ("content-length", "2"), ("content-length", "2")), "ab"),
            (response(200, ("content-length", "x")), "ab"),
            (response(200, ("x", "a\r\nSet-Cookie: b")), nil),
            (response(200, ("x", "a\u{0}")), nil),
            (response(200, ("x\r\ny", "a")), nil),
            (response(200, ("", "a")), nil),
            (response(101), nil),
            (response(700), nil),
        ]
        for (head, body) in cases {
            let server = HTTP1Connection(role: .server)
            var seen = EventText()
            seen.receive("GET / HTTP/1.1\r\nHost: a\r\n\r\n", into: server)
            _ = seen.take()
            server.sendResponse(head, on: 1, endStream: body == nil)
            if let body { server.send(body, on: 1, end: true) }
            seen.drain(server)
            #expect(seen.take() == ["reset 1 internalError"], "\(head)")
            #expect(server.isFinished)
            #expect(!outputText(server).contains("Set-Cookie"))
        }
    }

    @Test("Interim responses come before the final one, and never to HTTP/1.0")
    func interim() {
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        seen.receive(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            into: server)
        server.sendResponse(response(100), on: 1, endStream: false)
        #expect(outputText(server) == "HTTP/1.1 100 Continue\r\n\r\n")
        seen.receive("ab", into: server)
        server.sendResponse(response(200), on: 1, endStream: true)
        #expect(!server.isFinished)
        #expect(
            seen.take() == [
                "head 1 :method=POST :scheme=http :path=/ :authority=a Expect=100-continue "
                    + "Content-Length=2", "body 1 ab end",
            ])
        #expect(answer(to: "GET / HTTP/1.0\r\n\r\n", response(100), nil).0.isEmpty)
    }

    @Test("A request that was answered early is read to its end, or the connection is over")
    func earlyAnswer() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: "
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        seen.receive(post + "4\r\n\r\nab", into: server)
        _ = seen.take()
        server.sendResponse(response(413), on: 1, endStream: true)
        #expect(!server.isFinished && server.openStreams == 0)
        seen.receive("cdGET / HTTP/1.1\r\nHost: a\r\n\r\n", into: server)
        #expect(seen.take() == ["head 2 :method=GET :scheme=http :path=/ :authority=a end"])

        let large = HTTP1Connection(role: .server)
        seen.receive(post + "1000000\r\n\r\n", into: large)
        large.sendResponse(response(413), on: 1, endStream: true)
        #expect(large.isFinished && outputText(large).contains("connection: close"))

        let flooded = HTTP1Connection(role: .server)
        seen.receive(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
            into: flooded)
        flooded.sendResponse(response(413), on: 1, endStream: true)
        #expect(!flooded.isFinished && !outputText(flooded).contains("connection: close"))
        _ = seen.take()
        seen.receive(Array(repeating: 1, count: 65_537), into: flooded)
        #expect(flooded.isFinished && seen.take().isEmpty)

        let expecting = HTTP1Connection(role: .server)
        seen.receive(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            into: expecting)
        expecting.sendResponse(response(413), on: 1, endStream: true)
        #expect(expecting.isFinished && outputText(expecting).contains("connection: close"))
    }

    @Test("Body bytes that nobody consumed stop the reading")
    func backPressureIn() {
        var limits = HTTPLimits()
        limits.bodyWindow = 4
        let server = HTTP1Connection(role: .server, limits: limits)
        var seen = EventText()
        seen.consumes = false
        seen.receive("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", into: server)
        #expect(server.wantsInput)
        seen.receive("d", into: server)
        #expect(!server.wantsInput)
        server.consumed(1, on: 1)
        #expect(server.wantsInput)
    }

    @Test("Output beyond the limit is reported, and its departure too")
    func backPressureOut() {
        var limits = HTTPLimits()
        limits.sendLimit = 100
        let server = HTTP1Connection(role: .server, limits: limits)
        var seen = EventText()
        seen.receive("GET / HTTP/1.1\r\nHost: a\r\n\r\n", into: server)
        _ = seen.take()
        server.sendResponse(response(200), on: 1, endStream: false)
        #expect(!server.send(String(repeating: "x", count: 200), on: 1))
        #expect(server.queuedBytes(on: 1) > 100)
        _ = output(server)
        seen.drain(server)
        #expect(seen.take() == ["drained 1"])
        #expect(server.send("x", on: 1, end: true))
    }

    @Test("The end of input cuts a request short, but not one that is complete")
    func endOfInput() {
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        seen.receive("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na", into: server)
        server.receiveEnd()
        seen.drain(server)
        #expect(seen.take().last == "reset 1 cancel")
        #expect(server.isFinished)

        let complete = HTTP1Connection(role: .server)
        seen.receive("GET / HTTP/1.1\r\nHost: a\r\n\r\n", into: complete)
        complete.receiveEnd()
        seen.drain(complete)
        #expect(!complete.isFinished)
        complete.sendResponse(response(200), on: 1, endStream: true)
        #expect(complete.isFinished && outputText(complete).hasPrefix("HTTP/1.1 200"))
    }

    @Test("Shutting down closes after the response, and at once when idle")
    func shutDown() {
        let server = HTTP1Connection(role: .server)
        var seen = EventText()
        seen.receive("GET / HTTP/1.1\r\nHost: a\r\n\r\n", into: server)
        server.shutDown()
        #expect(!server.isFinished)
        server.sendResponse(response(200), on: 1, endStream: true)
        #expect(server.isFinished && outputText(server).contains("connection: close\r\n"))

        let idle = HTTP1Connection(role: .server)
        idle.shutDown()
        #expect(idle.isFinished)
    }
}

@Suite("HTTP/1 client")
struct HTTP1ClientTests {
    private func client(_ method: StaticString = "GET") -> HTTP1Connection {
        let client = HTTP1Connection(role: .client)
        #expect(client.sendRequest(request(method), endStream: true) == 1)
        _ = output(client)
        return client
    }

    @Test("A request is written with host first and its names as they are")
    func writes() {
        let client = HTTP1Connection(role: .client)
        let head = request("POST", "/x", ("X-Case", "v"), ("te", "trailers"), ("upgrade", "h2c"))
        #expect(client.sendRequest(head, endStream: false) == 1)
        #expect(client.streamsAvailable == 0)
        client.send("hi", on: 1, end: true)
        #expect(
            outputText(client)
                == "POST /x HTTP/1.1\r\nhost: a.b\r\nX-Case: v\r\nte: trailers\r\n"
                + "connection: te\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        for (method, expected): (StaticString, String) in [
            ("POST", "POST / HTTP/1.1\r\nhost: a.b\r\ncontent-length: 0\r\n\r\n"),
            ("GET", "GET / HTTP/1.1\r\nhost: a.b\r\n\r\n"),
        ] {
            let client = HTTP1Connection(role: .client)
            #expect(client.sendRequest(request(method), endStream: true) == 1)
            #expect(outputText(client) == expected)
        }
    }

    @Test("A request that would split is not written")
    func splitting() {
        for head in [
            request("GET", "/a b"), request("GET", "/\r\n"), request("G T"),
            request("GET", authority: "a\r\nb"), request("GET", "/", ("x", "a\nb")),
        ] {
            let client = HTTP1Connection(role: .client)
            var seen = EventText()
            #expect(client.sendRequest(head, endStream: true) == 1)
            seen.drain(client)
            #expect(seen.take() == ["reset 1 internalError"])
            #expect(!client.hasOutput && client.isFinished)
        }
    }

    @Test(
        "A response gives its events, however it is cut",
        arguments: [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                ["head 1 200 Content-Length=2", "body 1 hi end"], true
            ),
            (
                "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ["head 1 200 Content-Length=0 end"],
                true
            ),
            ("HTTP/1.1 204 No\r\n\r\n", ["head 1 204 end"], true),
            (
                "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n",
                ["head 1 304 Content-Length=5 end"], true
            ),
            (
                "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"
                    + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n",
                [
                    "interim 1 100", "interim 1 103 Link=x", "head 1 200", "body 1 hi",
                    "trailers 1 A=b",
                ], true
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                ["head 1 200 Content-Length=2", "body 1 hi end"], false
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                ["head 1 200 Content-Length=0 end"], false
            ),
        ])
    func good(text: String, events: [String], reusable: Bool) {
        let bytes = Array(text.utf8)
        for cut in 0..<bytes.count {
            let client = client()
            var seen = EventText()
            seen.receive(Array(bytes[..<cut]), into: client)
            seen.receive(Array(bytes[cut...]), into: client)
            #expect(seen.take() == events, "cut at \(cut)")
            #expect(client.streamsAvailable == (reusable ? 1 : 0))
            #expect(client.isFinished == !reusable)
        }
    }

    @Test("HEAD has no body, whatever the response says")
    func headRequest() {
        let client = client("HEAD")
        var seen = EventText()
        seen.receive("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", into: client)
        #expect(seen.take() == ["head 1 200 Content-Length=10 end"])
        #expect(client.streamsAvailable == 1)
    }

    @Test("A body without length ends with the connection")
    func untilClose() {
        let client = client()
        var seen = EventText()
        seen.receive("HTTP/1.1 200 OK\r\n\r\nab", into: client)
        seen.receive("cd", into: client)
        client.receiveEnd()
        seen.drain(client)
        #expect(seen.take() == ["head 1 200", "body 1 abcd end"])
        #expect(client.isFinished)
    }

    @Test("A response that is cut short is reported")
    func cutShort() {
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"] {
            let client = client()
            var seen = EventText()
            seen.receive(text, into: client)
            client.receiveEnd()
            seen.drain(client)
            #expect(seen.take().last == "reset 1 cancel")
            #expect(client.isFinished)
        }
    }

    @Test(
        "What no request asked for, and what is malformed, is a violation",
        arguments: [
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx",
            "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 100 C\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 099 C\r\n\r\n", "HTTP/1.1 20x C\r\n\r\n", "HTTP/1.1  200 C\r\n\r\n",
            "HTTP/2.0 200 C\r\n\r\n", "HTTP/1.1 200 a\u{0}b\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n",
            "ICY 200 OK\r\n\r\n",
            String(repeating: "HTTP/1.1 100 C\r\n\r\n", count: 17),
        ])
    func violations(text: String) {
        let client = client()
        var seen = EventText()
        seen.receive(text, into: client)
        #expect(seen.take().last?.hasPrefix("violation") == true)
        #expect(client.isFinished && client.sendRequest(request(), endStream: true) == nil)
    }

    @Test("Bytes on an idle connection are a violation")
    func unasked() {
        let client = HTTP1Connection(role: .client)
        var seen = EventText()
        seen.receive("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", into: client)
        #expect(seen.take() == ["violation 502"])
    }

    @Test("A response that overtakes its request does not free the connection")
    func overtaking() {
        let client = HTTP1Connection(role: .client)
        var seen = EventText()
        #expect(client.sendRequest(request("POST"), endStream: false) == 1)
        seen.receive("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", into: client)
        #expect(seen.take() == ["head 1 200 Content-Length=0 end"])
        #expect(client.openStreams == 1 && client.streamsAvailable == 0)
        client.send("x", on: 1, end: true)
        #expect(client.openStreams == 0 && client.streamsAvailable == 1)
    }

    @Test("Many exchanges follow each other between client and server")
    func exchanges() {
        var pair = Pair(
            client: HTTP1Connection(role: .client), server: HTTP1Connection(role: .server))
        for number in 1...20 {
            let id = StreamID(number)
            #expect(pair.client.sendRequest(request("POST"), endStream: false) == id)
            pair.client.send("ping", on: id, end: true)
            pair.run()
            pair.server.sendResponse(response(200), on: id, endStream: false)
            pair.server.send("pong", on: id, end: true)
            pair.run()
            #expect(pair.serverSaw.take().last == "body \(id) ping end")
            #expect(pair.clientSaw.take() == ["head \(id) 200", "body \(id) pong end"])
        }
    }
}
