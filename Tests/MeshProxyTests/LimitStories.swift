import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Bounds: of pools, of memory, of time.
@Suite struct LimitStories {
    @Test("More requests at a time than the cluster allows are answered 503, overflow")
    func maxRequests() {
        let mesh = SimulatedMesh(seed: 1)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(50)) }
        let proxy = mesh.proxy(clusters: [.of("svc", a) { $0.circuitBreakers.maxRequests = 2 }])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<5).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.filter { $0.isAnswered() }.count == 2)
        let refused = calls.filter { $0.isAnswered(503) }
        #expect(refused.count == 3 && refused.allSatisfy { $0.text.hasSuffix("overflow") })
        let later = client.get()
        #expect(mesh.run())
        #expect(later.isAnswered())
        #expect(mesh.finish() == [])
    }

    @Test("With one connection allowed requests wait in order; more than may wait are answered 503")
    func maxPending() {
        let mesh = SimulatedMesh(seed: 2)
        let a = mesh.upstream("a") { _ in .reply(200).after(.milliseconds(20)) }
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", a) {
                    $0.circuitBreakers.maxConnections = 1
                    $0.circuitBreakers.maxPendingRequests = 3
                }
            ])
        let client = mesh.client(.http2, proxy)
        client.get()
        #expect(mesh.run())
        let calls = (0..<6).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.map(\.status) == [200, 200, 200, 200, 503, 503])
        #expect(a.accepted == 1)
        #expect(a.requests.map(\.id) == a.requests.map(\.id).sorted())
        #expect(mesh.finish() == [])
    }

    @Test("A client's connection brings no more requests than the listener allows")
    func maxRequestsDownstream() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 31)
            let a = mesh.upstream("a", .http2)
            let proxy = mesh.proxy(clusters: [.of("svc", a)]) { $0.maxRequestsPerConnection = 3 }
            let client = mesh.client(wire, proxy)
            let calls = (0..<7).map { _ in
                let call = client.get()
                mesh.run(for: .milliseconds(20))
                return call
            }
            #expect(calls.allSatisfy { $0.isAnswered() })
            #expect(client.connections == 3, "\(wire)")
            mesh.run(for: .seconds(3))
            #expect(mesh.finish() == [])
        }
    }

    @Test("Connections and waiting requests are bounded for all endpoints of a cluster together")
    func limitsOfAllEndpoints() {
        for (pending, served) in [(100, 8), (3, 3)] {
            let mesh = SimulatedMesh(seed: 32)
            let servers = ["a", "b"].map {
                mesh.upstream($0) { _ in .reply(200).after(.milliseconds(20)) }
            }
            let proxy = mesh.proxy(
                clusters: [
                    .of("svc", servers) {
                        $0.circuitBreakers.maxConnections = 3
                        $0.circuitBreakers.maxPendingRequests = pending
                    }
                ])
            let client = mesh.client(.http2, proxy)
            let calls = (0..<8).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.filter { $0.isAnswered() }.count == served)
            #expect(calls.filter { $0.isAnswered(503) }.count == 8 - served)
            #expect(servers.reduce(0) { $0 + $1.accepted } == 3)
            let later = client.get()
            #expect(mesh.run())
            #expect(later.isAnswered())
            #expect(mesh.finish() == [])
        }
    }

    @Test("A connection serves no more requests than the cluster allows")
    func maxRequestsPerConnection() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 3)
            let a = mesh.upstream("a", speaks)
            let proxy = mesh.proxy(clusters: [.of("svc", a) { $0.maxRequestsPerConnection = 2 }])
            let client = mesh.client(.http1, proxy)
            let calls = (0..<7).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            #expect(a.accepted == 4)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A server's limit of streams is kept, and costs no request")
    func maxStreams() {
        let mesh = SimulatedMesh(seed: 4)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(30)) }
        a.limits.maxConcurrentStreams = 3
        // A new connection takes more until the server's SETTINGS have come; those are refused.
        let proxy = mesh.proxy(
            clusters: [.of("svc", a)],
            routes: [.forward(to: "svc", retry: .on(.refusedStream, times: 9))])
        let client = mesh.client(.http2, proxy)
        client.get()
        #expect(mesh.run())
        let calls = (0..<20).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        for connection in 1...a.accepted {
            let times = a.requests.filter { $0.connection == connection }.map(\.at)
            for (earlier, later) in zip(times, times.dropFirst(3)) {
                #expect(later - earlier >= .milliseconds(30))
            }
        }
        #expect(mesh.finish() == [])
    }

    @Test(
        "A slow reader of a large body is not buffered for beyond the windows, in all combinations")
    func slowReader() {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 5)
                let a = mesh.upstream("a", speaks) { _ in .bytes(6_000_000) }
                let proxy = mesh.proxy(clusters: [.of("svc", a)]) { $0.streamIdleTimeout = .zero }
                let client = mesh.client(wire, proxy)
                client.reading = Pace(bytes: 100_000, every: .milliseconds(50))
                let call = client.get()
                #expect(mesh.run())
                #expect(call.isAnswered() && call.body.isWhole(6_000_000))
                #expect(call.took > .seconds(2))
                #expect(mesh.mostHeld < 1_600_000, "\(wire) \(speaks) held \(mesh.mostHeld)")
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("A slow endpoint that is sent a large body is not buffered for beyond the windows")
    func slowServer() {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 6)
                let a = mesh.upstream("a", speaks)
                a.reading = Pace(bytes: 100_000, every: .milliseconds(50))
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let call = mesh.client(wire, proxy).post("/", bytes: 6_000_000)
                #expect(mesh.run())
                #expect(call.isAnswered() && a.requests[0].body.isWhole(6_000_000))
                #expect(call.took > .seconds(2))
                #expect(mesh.mostHeld < 1_600_000, "\(wire) \(speaks) held \(mesh.mostHeld)")
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test(
        "A slow stream beside a fast one on the same connection is not buffered for without bound")
    func slowBesideFast() {
        let mesh = SimulatedMesh(seed: 7)
        let a = mesh.upstream("a", .http2) {
            $0.path == "/slow" ? .bytes(20_000_000) : .bytes(200_000)
        }
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        let link = mesh.network.link(proxy.host, mesh.clientHost)
        link.conditions.receiveBuffer = 64 * 1024
        link.conditions.bandwidth = 20_000_000
        let client = mesh.client(.http2, proxy)
        client.limits.streamWindow = 300_000
        client.limits.connectionWindow = 4_000_000
        // Bytes of the slow stream are given back late: its window is mostly shut.
        client.readingOf["/slow"] = Pace(bytes: 20_000, every: .milliseconds(100))
        let slow = client.get("/slow")
        for _ in 0..<40 {
            let fast = (0..<8).map { _ in client.get("/fast") }
            mesh.network.run(while: { fast.contains { !$0.isDone } })
            #expect(fast.allSatisfy { $0.isAnswered() && $0.body.isWhole(200_000) })
        }
        #expect(mesh.mostHeld < 3_500_000, "held \(mesh.mostHeld)")
        slow.cancel()
        #expect(mesh.finish() == [])
    }

    @Test("Streams that nobody reads do not hold up another on the same upstream connection")
    func stuckBesideFast() {
        let mesh = SimulatedMesh(seed: 9)
        let a = mesh.upstream("a", .http2) {
            $0.path == "/stuck" ? .bytes(4_000_000) : .bytes(200_000)
        }
        let proxy = mesh.proxy(
            clusters: [.of("svc", a) { $0.maxConcurrentStreams = 40 }])
        // Each leaves as much unread as it may.
        let stuck = mesh.client(.http2, proxy)
        stuck.limits.streamWindow = 65_535
        stuck.readingOf["/stuck"] = Pace(bytes: 1, every: .seconds(1000))
        let calls = (0..<39).map { _ in stuck.get("/stuck") }
        mesh.run(for: .seconds(1))
        #expect(a.accepted == 1 && a.requests.count == 39)
        let other = mesh.client(.http2, proxy)
        for _ in 0..<3 {
            let fast = other.get("/fast")
            mesh.network.run(while: { !fast.isDone })
            #expect(fast.isAnswered() && fast.body.isWhole(200_000))
            #expect(fast.took < .milliseconds(200))
        }
        #expect(a.accepted == 1)
        // One more than the connection's streams needs another connection.
        _ = other.get("/stuck")
        let next = other.get("/fast")
        mesh.network.run(while: { !next.isDone })
        #expect(next.isAnswered() && a.accepted == 2)
        for call in calls { call.cancel() }
        #expect(mesh.finish() == [])
    }

    @Test("An answer that comes before its request has ended is passed on, and the rest not wanted")
    func earlyAnswer() {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 8)
                let a = mesh.upstream("a", speaks) { _ in .reply(413, "too much").early() }
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let call = mesh.client(wire, proxy).post(
                    "/", bytes: 3_000_000, pace: Pace(bytes: 10_000, every: .milliseconds(10)))
                #expect(mesh.run())
                #expect(call.status == 413 && call.text == "too much")
                #expect(call.took < .milliseconds(50))
                mesh.run(for: .milliseconds(100))
                #expect(proxy.openWork == 0)
                #expect(mesh.finish() == [])
            }
        }
    }
}
