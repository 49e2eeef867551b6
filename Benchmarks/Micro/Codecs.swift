import HTTPCodec
import MeshBase

private let wireRequest = Array(
    """
    GET /cart/items?id=17 HTTP/1.1\r
    Host: shop.example\r
    User-Agent: curl/8.5.0\r
    Accept: application/json\r
    Accept-Encoding: gzip, br\r
    X-Request-Id: 6f1c2c2e-7f3b-4a51-9d7c-0242ac120002\r
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r
    \r

    """.utf8)

func request() -> MessageHead {
    var head = MessageHead(
        method: "GET", scheme: "http", authority: "shop.example", path: "/cart/items?id=17")
    head.append(.userAgent, "curl/8.5.0")
    head.append("accept", "application/json")
    head.append("accept-encoding", "gzip, br")
    head.append(.xRequestID, "6f1c2c2e-7f3b-4a51-9d7c-0242ac120002")
    head.append("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    return head
}

func response() -> MessageHead {
    var head = MessageHead(status: 200)
    head.append(.contentType, "application/json")
    head.append(.contentLength, "0")
    head.append(.server, "meshproxy")
    return head
}

func codecBenchmarks() -> [Benchmark] {
    [
        Benchmark(name: "HTTP/1 request read, response written", run: serveHTTP1),
        Benchmark(name: "HTTP/1 request written, response read", run: askHTTP1),
        Benchmark(name: "HTTP/2 there and back, the same head each time") { times in
            exchangeHTTP2(times, isNew: false)
        },
        Benchmark(name: "HTTP/2 there and back, a new id each time") { times in
            exchangeHTTP2(times, isNew: true)
        },
        Benchmark(name: "a head of seven fields made") { times in
            for _ in 0..<times { keep(request()) }
        },
        Benchmark(name: "three fields of a head looked up") { times in
            let head = request()
            for _ in 0..<times {
                keep(head.firstIndex(of: .authority))
                keep(head.firstIndex(of: .xRequestID))
                keep(head.firstIndex(of: .contentLength))
            }
        },
    ]
}

private func drain(_ connection: some HTTPConnection, _ body: (StreamID) -> Void) {
    while let event = connection.nextEvent() {
        if case .head(let stream, _, _) = event { body(stream) }
    }
}

private func serveHTTP1(_ times: Int) {
    let server = HTTP1Connection(role: .server)
    let answer = response()
    var output = ByteBuffer()
    for _ in 0..<times {
        wireRequest.withUnsafeBufferPointer { server.receive($0.span) }
        drain(server) { server.sendResponse(answer, on: $0, endStream: true) }
        server.takeOutput(into: &output)
        output.removeAll()
    }
}

private func askHTTP1(_ times: Int) {
    let client = HTTP1Connection(role: .client)
    let question = request()
    let answer = Array(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n".utf8)
    var output = ByteBuffer()
    for _ in 0..<times {
        keep(client.sendRequest(question, endStream: true))
        client.takeOutput(into: &output)
        output.removeAll()
        answer.withUnsafeBufferPointer { client.receive($0.span) }
        drain(client) { _ in }
    }
}

/// Encodes and decodes both heads: HPACK is not seen from outside by itself.
private func exchangeHTTP2(_ times: Int, isNew: Bool) {
    var client = HTTP2Connection(role: .client)
    var server = HTTP2Connection(role: .server)
    var wire = ByteBuffer()
    func pass(_ from: HTTP2Connection, _ to: HTTP2Connection) {
        from.takeOutput(into: &wire)
        wire.withBytes { to.receive($0.span) }
        wire.removeAll()
    }
    pass(server, client)
    let answer = response()
    let question = request()
    for number in 0..<times {
        if client.streamsAvailable == 0 {
            client = HTTP2Connection(role: .client)
            server = HTTP2Connection(role: .server)
        }
        if isNew {
            var head = question
            head.set(.xRequestID, "6f1c2c2e-7f3b-4a51-9d7c-\(100_000_000_000 + number)")
            keep(client.sendRequest(head, endStream: true))
        } else {
            keep(client.sendRequest(question, endStream: true))
        }
        pass(client, server)
        drain(server) { server.sendResponse(answer, on: $0, endStream: true) }
        pass(server, client)
        drain(client) { _ in }
    }
}
