import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Everything that can go wrong between the client and the proxy.
@Suite struct ClientFaultStories {
    @Test("A client that gives up frees the endpoint at once")
    func clientAborts() {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 1)
                let a = mesh.upstream("a", speaks) { _ in .stall }
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let call = mesh.client(wire, proxy).get()
                mesh.run(for: .milliseconds(50))
                #expect(a.requests.count == 1)
                call.cancel()
                mesh.run(for: .milliseconds(5))
                #expect(a.requests[0].wasReset && proxy.openWork == 0)
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("A client that resets in the middle of its body ends the request everywhere")
    func resetInBody() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 2)
            let a = mesh.upstream("a", .http2)
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let client = mesh.client(wire, proxy)
            let call = client.send("POST", bytes: 100_000, stopsAt: 50_000)
            mesh.run(for: .milliseconds(50))
            #expect(a.requests.count == 1 && a.requests[0].body.count == 50_000)
            client.abort()
            mesh.run(for: .milliseconds(5))
            #expect(call.isDone && !a.requests[0].isComplete && a.requests[0].wasReset)
            #expect(proxy.openWork == 0)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A client that ends its direction after the request still gets the answer")
    func halfClose() {
        let mesh = SimulatedMesh(seed: 3)
        let a = mesh.upstream("a") { _ in .reply(200, "late").after(.milliseconds(100)) }
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let client = mesh.rawClient(proxy)
        client.write("GET / HTTP/1.1\r\nhost: svc\r\n\r\n")
        client.finish()
        mesh.run(for: .seconds(1))
        #expect(client.text.hasPrefix("HTTP/1.1 200 OK\r\n") && client.text.hasSuffix("late"))
        #expect(client.sawEnd)
        #expect(mesh.finish() == [])
    }

    @Test("A request cut short by the client's end is given up, at every byte")
    func cutRequest() {
        let request = "POST / HTTP/1.1\r\nhost: svc\r\ncontent-length: 5\r\n\r\nhello"
        let mesh = SimulatedMesh(seed: 4)
        let a = mesh.upstream("a")
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        for count in 0..<request.utf8.count {
            let client = mesh.rawClient(proxy)
            client.write(Array(request.utf8.prefix(count)))
            client.finish()
            mesh.run(for: .milliseconds(20))
            #expect(client.isOver, "after \(count) bytes")
        }
        #expect(a.requests.allSatisfy { !$0.isComplete })
        #expect(proxy.openWork == 0)
        #expect(mesh.finish() == [])
    }

    @Test("Bytes that are no HTTP are answered with 400 and an end")
    func garbage() {
        let mesh = SimulatedMesh(seed: 5)
        let proxy = mesh.proxy(clusters: [.of("svc", mesh.upstream("a"))])
        for text in ["\u{16}\u{3}\u{1}nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET\r\n\r\n"] {
            let client = mesh.rawClient(proxy)
            client.write(text)
            mesh.run(for: .milliseconds(20))
            #expect(client.text.hasPrefix("HTTP/1.1 400 ") && client.sawEnd)
        }
        #expect(mesh.finish() == [])
    }

    @Test("A client that stops in the middle of its request hears 408 after the idle time")
    func stall() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 6)
            let a = mesh.upstream("a")
            let proxy = mesh.proxy(clusters: [.of("svc", a)]) {
                $0.streamIdleTimeout = .seconds(2)
            }
            let call = mesh.client(wire, proxy).send("POST", bytes: 1000, stopsAt: 500)
            #expect(mesh.run())
            #expect(call.status == 408)
            #expect(call.took >= .seconds(2) && call.took < .milliseconds(2010))
            mesh.run(for: .milliseconds(10))
            #expect(a.requests.count == 1 && a.requests[0].wasReset)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A client that falls silent for ever is let go, with all that it held")
    func silentClient() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 7)
            let a = mesh.upstream("a") { _ in .bytes(4_000_000) }
            let proxy = mesh.proxy(clusters: [.of("svc", a)]) {
                $0.streamIdleTimeout = .seconds(3)
                $0.idleTimeout = .seconds(5)
            }
            mesh.client(wire, proxy).get()
            mesh.run(for: .milliseconds(3))
            mesh.blackHole(mesh.clientHost, from: proxy.host)
            mesh.run(for: .seconds(30))
            #expect(proxy.openWork == 0 && mesh.network.queuedBytes == 0)
        }
    }

    @Test("A partition between client and proxy that heals loses nothing")
    func partition() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 8)
            let a = mesh.upstream("a", .http2) { _ in .bytes(1_000_000) }
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let call = mesh.client(wire, proxy).post("/", bytes: 500_000)
            mesh.run(for: .milliseconds(2))
            mesh.network.partition([mesh.clientHost], from: [proxy.host])
            mesh.run(for: .seconds(5))
            mesh.network.heal()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.body.isWhole(1_000_000))
            #expect(a.requests.count == 1 && a.requests[0].body.isWhole(500_000))
            #expect(mesh.finish() == [])
        }
    }

    @Test("Pipelined requests are answered in order, each once")
    func pipelining() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 9)
            let a = mesh.upstream("a", speaks) {
                .reply(200, "<\($0.path)>").after(.milliseconds($0.number % 2 == 0 ? 20 : 0))
            }
            let b = mesh.upstream("b", speaks) { .reply(200, "<\($0.path)>") }
            let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
            let client = mesh.rawClient(proxy)
            client.write(
                (0..<8).map { "GET /\($0) HTTP/1.1\r\nhost: svc\r\n\r\n" }.joined())
            mesh.run(for: .seconds(1))
            let bodies = client.text.split(separator: "<").dropFirst().map { $0.prefix(2) }
            #expect(bodies == (0..<8).map { "/\($0)" })
            #expect(a.requests.count + b.requests.count == 8)
            client.close()
            #expect(mesh.finish() == [])
        }
    }

    @Test("A connection that nothing comes over is closed after the idle time")
    func idleConnection() {
        let mesh = SimulatedMesh(seed: 10)
        let proxy = mesh.proxy(clusters: [.of("svc", mesh.upstream("a"))]) {
            $0.idleTimeout = .seconds(10)
        }
        let client = mesh.rawClient(proxy)
        mesh.run(for: .milliseconds(9900))
        #expect(!client.isOver)
        mesh.run(for: .milliseconds(300))
        #expect(client.isOver)
        #expect(mesh.finish() == [])
    }

    @Test("A client that ends before its first byte leaves nothing behind")
    func silentEnd() {
        let mesh = SimulatedMesh(seed: 11)
        let proxy = mesh.proxy(clusters: [.of("svc", mesh.upstream("a"))])
        let clients = (0..<5).map { _ in mesh.rawClient(proxy) }
        mesh.run(for: .milliseconds(10))
        for (index, client) in clients.enumerated() {
            if index % 2 == 0 { client.finish() } else { client.abort() }
        }
        mesh.run(for: .milliseconds(10))
        #expect(clients.filter { $0.sawEnd }.count == 3)
        #expect(mesh.finish() == [])
    }

    @Test("Too large a head is answered with 431")
    func largeHead() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 12)
            let a = mesh.upstream("a")
            let proxy = mesh.proxy(clusters: [.of("svc", a)]) {
                $0.maxRequestHeadersBytes = 4096
            }
            let call = mesh.client(wire, proxy).get(
                "/", [("x-large", String(repeating: "a", count: 5000))])
            #expect(mesh.run())
            #expect(call.status == 431 && a.requests.isEmpty)
            #expect(mesh.finish() == [])
        }
    }
}
