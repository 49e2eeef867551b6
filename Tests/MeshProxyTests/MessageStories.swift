import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Forms of requests and responses, and what routes make of them.
@Suite struct MessageStories {
    /// Runs `story` with each pair of protocols.
    private func everyPair(
        _ answer: @escaping (ReceivedRequest) -> Answer,
        _ story: (SimulatedMesh, ScriptedClient, ScriptedServer) -> Void
    ) {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 1)
                let a = mesh.upstream("a", speaks, answer)
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                story(mesh, mesh.client(wire, proxy), a)
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("HEAD has the length of a body and no body")
    func head() {
        everyPair({ _ in .reply(200, "twelve bytes") }) { mesh, client, _ in
            let calls = [client.send("HEAD"), client.get()]
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            #expect(calls.allSatisfy { $0.head?.string(.contentLength) == "12" })
            #expect(calls.map(\.body.count) == [0, 12])
        }
    }

    @Test("204 and 304 have no body, and the connection serves on")
    func bodiless() {
        everyPair({ .reply($0.number == 0 ? 204 : 304) }) { mesh, client, _ in
            let calls = [client.get(), client.get()]
            #expect(mesh.run())
            #expect(calls[0].isAnswered(204) && calls[1].isAnswered(304))
            #expect(client.connections == 1)
        }
    }

    @Test("Interim responses pass, in order, before the final one")
    func interims() {
        everyPair({ _ in .reply(200, "ok").interim(103).interim(103) }) { mesh, client, _ in
            let call = client.get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.interims == [103, 103] && call.text == "ok")
        }
    }

    @Test("100 (Continue) reaches the client that waits for it")
    func expectContinue() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 2)
            let a = mesh.upstream("a", speaks) { _ in .echo.interim(100) }
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let client = mesh.rawClient(proxy)
            client.write(
                "POST / HTTP/1.1\r\nhost: svc\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            mesh.run(for: .milliseconds(20))
            #expect(client.text.hasPrefix("HTTP/1.1 100 "))
            client.write("hello")
            mesh.run(for: .milliseconds(20))
            #expect(client.text.contains("HTTP/1.1 200 ") && client.text.contains("hello"))
            client.close()
            #expect(mesh.finish() == [])
        }
    }

    @Test("Chunked bodies and bodies of known length arrive whole, in both directions")
    func chunked() {
        everyPair({ .bytes(70_000).changed(chunked: $0.number % 2 == 0) }) { mesh, client, a in
            let calls = (0..<4).map { client.post("/", bytes: 50_000, chunked: $0 < 2) }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() && $0.body.isWhole(70_000) })
            #expect(a.requests.allSatisfy { $0.body.isWhole(50_000) })
        }
    }

    @Test("Trailers pass in both directions")
    func trailers() {
        everyPair({ _ in .bytes(1000).chunked().trailer("x-sum", "42") }) { mesh, client, a in
            let call = client.send(
                "POST", bytes: 1000, chunked: true, trailers: [("x-up", "yes")])
            #expect(mesh.run())
            #expect(call.isAnswered() && call.trailers?.string("x-sum") == "42")
            #expect(a.requests[0].trailers?.string("x-up") == "yes")
        }
    }

    @Test("A gRPC call has its status in the trailers; our own errors have gRPC's form")
    func gRPC() {
        let mesh = SimulatedMesh(seed: 3)
        let a = mesh.upstream("a", .http2) { _ in
            .bytes(100).chunked().header("content-type", "application/grpc")
                .trailer("grpc-status", "0")
        }
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let client = mesh.client(.http2, proxy)
        let headers = [("content-type", "application/grpc"), ("te", "trailers")]
        let good = client.post("/pkg.Service/Call", bytes: 50, headers, chunked: true)
        #expect(mesh.run())
        #expect(good.isAnswered() && good.trailers?.string("grpc-status") == "0")
        #expect(a.requests[0].head.string("te") == "trailers")
        proxy.push { $0.clusters[0].endpoints.localities = [] }
        let bad = client.post("/pkg.Service/Call", bytes: 50, headers, chunked: true)
        #expect(mesh.run())
        #expect(bad.isAnswered() && bad.head?.string("grpc-status") == "14")
        #expect(mesh.finish() == [])
    }

    @Test("Redirects and direct responses are made here, and no endpoint is asked")
    func direct() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 4)
            let a = mesh.upstream("a")
            let redirect = Route(
                match: RouteMatch(path: .prefix("/old")),
                action: .redirect(RedirectAction(status: 308, host: "new.example")))
            let proxy = mesh.proxy(
                clusters: [.of("svc", a)],
                routes: [redirect, .respond(418, "short and stout", prefix: "/tea")])
            let client = mesh.client(wire, proxy)
            let moved = client.post("/old/place?x=1", bytes: 100)
            let tea = client.get("/tea")
            let head = client.send("HEAD", "/tea")
            let none = client.get("/nothing")
            #expect(mesh.run())
            #expect(moved.isAnswered(308))
            #expect(moved.head?.string(.location) == "http://new.example/old/place?x=1")
            #expect(tea.isAnswered(418) && tea.text == "short and stout")
            #expect(head.isAnswered(418) && head.body.count == 0)
            #expect(none.isAnswered(404) && a.requests.isEmpty)
            #expect(mesh.finish() == [])
        }
    }

    @Test("Weighted clusters share requests by their weights")
    func weighted() {
        let mesh = SimulatedMesh(seed: 5)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        let proxy = mesh.proxy(
            clusters: [.of("one", a), .of("two", b)],
            routes: [
                .forward(to: "") {
                    $0.target = .weighted([
                        WeightedCluster(name: "one", weight: 80),
                        WeightedCluster(name: "two", weight: 20),
                    ])
                }
            ])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<500).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect((370...430).contains(a.requests.count))
        #expect(mesh.finish() == [])
    }

    @Test("Headers are added and taken away as the route says, hop-by-hop ones always taken")
    func headerChanges() {
        everyPair({ _ in .reply(200, "ok").header("x-secret", "1").header("x-keep", "1") }) {
            mesh, client, a in
            let proxy = mesh.proxies[0]
            proxy.push {
                $0.routes["routes"]?.virtualHosts[0].routes[0].requestHeaders = HeaderChanges(
                    add: [.init(name: "x-added", value: "yes")], remove: ["x-private"])
                $0.routes["routes"]?.virtualHosts[0].routes[0].responseHeaders = HeaderChanges(
                    add: [.init(name: "x-also", value: "too")], remove: ["x-secret"])
            }
            let call = client.get("/", [("x-private", "1"), ("x-public", "1")])
            #expect(mesh.run())
            let seen = a.requests[0].head
            #expect(seen.string("x-added") == "yes" && seen.string("x-private") == nil)
            #expect(seen.string("x-public") == "1" && seen.string("x-forwarded-proto") == "http")
            #expect(seen.string("x-request-id")?.utf8.count == 36)
            #expect(call.head?.string("x-also") == "too" && call.head?.string("x-secret") == nil)
            #expect(call.head?.string("x-keep") == "1" && call.head?.string("server") != nil)
        }
    }

    @Test("An upgrade is not made, and the request served without it")
    func upgrade() {
        let mesh = SimulatedMesh(seed: 6)
        let a = mesh.upstream("a")
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let client = mesh.rawClient(proxy)
        client.write(
            "GET / HTTP/1.1\r\nhost: svc\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        mesh.run(for: .milliseconds(20))
        #expect(client.text.hasPrefix("HTTP/1.1 200 "))
        #expect(a.requests[0].head.string("upgrade") == nil)
        #expect(a.requests[0].head.string("connection") == nil)
        client.close()
        #expect(mesh.finish() == [])
    }

    @Test("CONNECT is refused cleanly")
    func connect() {
        let mesh = SimulatedMesh(seed: 7)
        let proxy = mesh.proxy(clusters: [.of("svc", mesh.upstream("a"))])
        let client = mesh.rawClient(proxy)
        client.write("CONNECT svc:443 HTTP/1.1\r\nhost: svc:443\r\n\r\n")
        mesh.run(for: .seconds(1))
        #expect(client.text.hasPrefix("HTTP/1.1 404 ") && client.isOver)
        #expect(mesh.finish() == [])
    }
}

extension Answer {
    fileprivate func changed(chunked: Bool) -> Answer { chunked ? self.chunked() : self }
}
