import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Everything that can go wrong between the proxy and an endpoint.
@Suite struct UpstreamFaultStories {
    @Test(
        "A connect that fails at once is repeated elsewhere, for POST too, and avoided from then on",
        arguments: [ConnectFault.refuse, .unreachable])
    func connectFails(fault: ConnectFault) {
        let mesh = SimulatedMesh(seed: 1)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        mesh.fault(a, fault)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<10).map { client.post("/\($0)", bytes: 100) }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.took < .milliseconds(10) })
        #expect(b.requests.count == 10 && b.requests.allSatisfy { $0.body.isWhole(100) })
        #expect(proxy.reports.evidence.count < 10)
        #expect(mesh.finish() == [])
    }

    @Test("A black hole at connect costs one connect time-out, once")
    func blackHoleAtConnect() {
        let mesh = SimulatedMesh(seed: 2)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        mesh.fault(a, .blackHole)
        let proxy = mesh.proxy(
            clusters: [.of("svc", a, b) { $0.connectTimeout = .milliseconds(500) }])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<4).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
        let slow = calls.filter { $0.took - .zero >= .milliseconds(500) }
        #expect(slow.allSatisfy { $0.took < .milliseconds(530) })
        let last = client.get()
        #expect(mesh.run())
        #expect(last.isAnswered() && last.took < .milliseconds(5))
        #expect(mesh.finish() == [])
    }

    @Test(
        "A connection that is accepted and ended at once costs no GET",
        arguments: [ConnectFault.closeAtOnce, .resetAtOnce], WireProtocol.allCases)
    func acceptThenEnd(fault: ConnectFault, speaks: WireProtocol) {
        let mesh = SimulatedMesh(seed: 3)
        let (a, b) = (mesh.upstream("a", speaks), mesh.upstream("b", speaks))
        mesh.fault(a, fault)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<10).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.took < .milliseconds(100) })
        #expect(a.requests.isEmpty && b.requests.count == 10)
        #expect(mesh.finish() == [])
    }

    @Test(
        "An answer that breaks off in its body is not repeated, and the client learns that it is short",
        arguments: [Answer.Cut.reset, .close, .resetStream], WireProtocol.allCases)
    func cutBody(how: Answer.Cut, speaks: WireProtocol) {
        for wire in WireProtocol.allCases {
            for declares in [true, false] {
                if speaks == .http1, how == .resetStream { continue }
                let mesh = SimulatedMesh(seed: 4)
                let a = mesh.upstream("a", speaks) { _ in
                    let answer = Answer.bytes(100_000).cut(after: 40_000, by: how)
                    return declares ? answer : answer.chunked()
                }
                let b = mesh.upstream("b", speaks)
                let proxy = mesh.proxy(clusters: [.of("svc", a), .of("other", b)])
                let call = mesh.client(wire, proxy).get()
                #expect(mesh.run())
                #expect(call.status == 200 && !call.isComplete && call.failure != nil)
                #expect(call.body.isIntact && call.body.count <= 40_000)
                #expect(a.requests.count == 1)
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("A body that ends with the connection is whole when it is closed, and short when reset")
    func untilClose() {
        for resets in [false, true] {
            for wire in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 5)
                let raw = mesh.rawServer("raw") {
                    $0.onBytes = { end in
                        end.write("HTTP/1.1 200 OK\r\n\r\nhello")
                        if !resets { end.close() }
                    }
                }
                let proxy = mesh.proxy(
                    clusters: [.of("svc", addresses: [(raw.address, "east", 0)], speaks: .http1)])
                let call = mesh.client(wire, proxy).get()
                mesh.run(for: .milliseconds(50))
                if resets { raw.end.abort() }
                #expect(mesh.run())
                #expect(call.status == 200 && call.text == "hello")
                #expect(call.isComplete == !resets && (call.failure != nil) == resets)
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test(
        "An endpoint that ends its direction after an answer is not asked on that connection again")
    func halfCloseAfterAnswer() {
        let mesh = SimulatedMesh(seed: 6)
        let raw = mesh.rawServer("raw") {
            $0.onBytes = { end in
                end.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                end.finish()
            }
        }
        let proxy = mesh.proxy(
            clusters: [.of("svc", addresses: [(raw.address, "east", 0)], speaks: .http1)])
        let client = mesh.client(.http1, proxy)
        for _ in 0..<3 {
            let call = client.get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.text == "ok")
            mesh.run(for: .milliseconds(5))
        }
        #expect(raw.end.accepted == 3)
        #expect(mesh.finish() == [])
    }

    @Test("An endpoint that stalls is given up at the deadline, and told so")
    func stall() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 7)
            let a = mesh.upstream("a", speaks) { _ in .stall }
            let proxy = mesh.proxy(
                clusters: [.of("svc", a)], routes: [.forward(to: "svc", timeout: .seconds(1))])
            let call = mesh.client(.http1, proxy).get()
            #expect(mesh.run())
            #expect(call.isAnswered(504) && call.text == "upstream request timeout")
            #expect(call.took >= .seconds(1) && call.took < .milliseconds(1005))
            mesh.run(for: .milliseconds(10))
            #expect(a.requests.count == 1 && a.requests[0].wasReset)
            #expect(mesh.finish() == [])
        }
    }

    @Test("An answer that stalls in its body is given up at the deadline")
    func stallInBody() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 8)
            let a = mesh.upstream("a") { _ in .bytes(100_000).cut(after: 1000, by: .stall) }
            let proxy = mesh.proxy(
                clusters: [.of("svc", a)], routes: [.forward(to: "svc", timeout: .seconds(2))])
            let call = mesh.client(wire, proxy).get()
            #expect(mesh.run())
            #expect(call.status == 200 && call.failure != nil && call.body.count == 1000)
            #expect(call.took >= .seconds(2) && call.took < .milliseconds(2005))
            #expect(mesh.finish() == [])
        }
    }

    @Test("Bytes that are no HTTP are a failure of the endpoint: GET goes elsewhere")
    func garbage() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 9)
            let a = mesh.upstream("a", speaks) { _ in .garbage }
            let b = mesh.upstream("b", speaks)
            let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
            let client = mesh.client(.http1, proxy)
            let calls = (0..<4).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
            #expect(mesh.finish() == [])
        }
    }

    @Test("What a partition held back arrives when it heals")
    func partition() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 10)
            let a = mesh.upstream("a") { _ in
                .bytes(200_000).slowly(10_000, every: .milliseconds(5))
            }
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let call = mesh.client(wire, proxy).post("/", bytes: 1000)
            mesh.run(for: .milliseconds(40))
            mesh.network.partition([proxy.host], from: [a.host])
            mesh.run(for: .seconds(3))
            #expect(!call.isDone)
            mesh.network.heal()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.body.isWhole(200_000) && a.requests.count == 1)
            #expect(call.took < .milliseconds(3200))
            #expect(mesh.finish() == [])
        }
    }

    @Test("A connection that becomes a black hole is found out by PING, and GET goes elsewhere")
    func blackHoleHTTP2() {
        let mesh = SimulatedMesh(seed: 11)
        let a = mesh.upstream("a", .http2)
        let b = mesh.remote("b", .http2)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        let first = client.get()
        #expect(mesh.run())
        #expect(first.servedBy == "a")
        mesh.blackHole(a.host, from: proxy.host)
        let second = client.get()
        #expect(mesh.run())
        #expect(second.isAnswered() && second.servedBy == "b")
        #expect(second.took > .seconds(1) && second.took < .milliseconds(2500))
        let third = client.get()
        #expect(mesh.run())
        #expect(third.servedBy == "b" && third.took < .milliseconds(5))
        #expect(mesh.finish() == [])
    }

    @Test(
        "The first PING that is missed turns new requests away, the second ends the connection: exactly"
    )
    func twoMisses() {
        let mesh = SimulatedMesh(seed: 13)
        let a = mesh.upstream("a", .http2)
        let b = mesh.remote("b", .http2)
        let proxy = mesh.controlledProxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        let warm = client.get()
        #expect(mesh.run() && warm.servedBy == "a")
        mesh.blackHole(a.host, from: proxy.host)
        let first = client.get()
        mesh.run(for: .milliseconds(1400))
        let second = client.get()
        mesh.run(for: .milliseconds(200))
        let third = client.get()
        mesh.run(for: .milliseconds(10))
        #expect(third.isAnswered() && third.servedBy == "b" && third.took < .milliseconds(5))
        #expect(!first.isDone && !second.isDone && proxy.deadPaths == [])
        #expect(mesh.run())
        #expect(first.took >= .seconds(2) && first.took < .milliseconds(2005))
        #expect(second.took >= .milliseconds(600) && second.took < .milliseconds(605))
        #expect([first, second].byServer == ["b": 2] && proxy.deadPaths == [a.address])
        #expect(mesh.finish() == [])
    }

    @Test("A stall of 0.7 s costs nobody a connection or a request, and its end is noticed at once")
    func missedOnce() {
        let mesh = SimulatedMesh(seed: 14)
        let a = mesh.upstream("a", .http2)
        let b = mesh.remote("b", .http2)
        let proxy = mesh.controlledProxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        client.get()
        #expect(mesh.run())
        mesh.network.partition([a.host], from: [proxy.host])
        let waiting = client.get()
        mesh.run(for: .milliseconds(1600))
        let elsewhere = client.get()
        mesh.run(for: .milliseconds(100))
        mesh.network.heal()
        mesh.run(for: .milliseconds(5))
        let back = client.get()
        #expect(mesh.run())
        #expect([waiting, elsewhere, back].map(\.servedBy) == ["a", "b", "a"])
        #expect(waiting.isAnswered() && waiting.took < .milliseconds(1705))
        #expect(a.accepted == 1 && proxy.changes == [])
        #expect(mesh.finish() == [])
    }

    @Test("With nowhere else to go what comes after the first miss waits unsent for a connection")
    func waitsUnsent() {
        let mesh = SimulatedMesh(seed: 15)
        let a = mesh.upstream("a", .http2)
        let proxy = mesh.controlledProxy(clusters: [.of("svc", a)])
        let client = mesh.client(.http2, proxy)
        client.get()
        #expect(mesh.run())
        // A middlebox has forgotten the connection, and lets others through.
        mesh.blackHole(a.host, from: proxy.host)
        client.get()
        mesh.run(for: .milliseconds(5))
        mesh.network.heal()
        mesh.run(for: .milliseconds(1595))
        let post = client.post("/", bytes: 10)
        #expect(mesh.run())
        #expect(post.isAnswered() && post.took < .milliseconds(5) && a.accepted == 2)
        #expect(mesh.finish() == [])
    }

    @Test("Requests that give up after 0.4 s do not hide a dead endpoint")
    func shortTimeouts() {
        let mesh = SimulatedMesh(seed: 16)
        let a = mesh.upstream("a", .http2)
        let b = mesh.remote("b", .http2)
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", a, b)],
            routes: [.forward(to: "svc", timeout: .milliseconds(400))])
        let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(450))
        load.run(for: .seconds(1))
        mesh.blackHole(a.host, from: proxy.host)
        let fault = mesh.network.now
        load.run(for: .seconds(4))
        #expect(mesh.run())
        #expect(load.failed.count == 4 && Set(proxy.deadPaths) == [a.address])
        let later = load.calls(from: .milliseconds(1500), to: .seconds(4), after: fault)
        #expect(later.allSatisfy { $0.servedBy == "b" && $0.took < .milliseconds(5) })
        #expect(mesh.finish() == [])
    }

    @Test("connection_keepalive asks an idle connection, too, and ends it after one time-out")
    func keepAlive() {
        let mesh = SimulatedMesh(seed: 17)
        let a = mesh.upstream("a", .http2)
        let proxy = mesh.controlledProxy(
            clusters: [
                .of("svc", a) {
                    $0.keepAlive = ConnectionKeepAlive(
                        interval: .seconds(10), timeout: .seconds(3), jitterPercent: 0)
                }
            ])
        let client = mesh.client(.http2, proxy)
        client.get()
        mesh.run(for: .seconds(35))
        #expect(a.accepted == 1 && proxy.deadPaths == [])
        mesh.blackHole(a.host, from: proxy.host)
        mesh.run(for: .milliseconds(7900))
        #expect(proxy.deadPaths == [])
        mesh.run(for: .milliseconds(200))
        #expect(proxy.deadPaths == [a.address])
    }

    @Test("On HTTP/1 a black hole is found out by unacknowledged bytes, within the deadline")
    func blackHoleHTTP1() {
        let mesh = SimulatedMesh(seed: 12)
        let a = mesh.upstream("a")
        let b = mesh.remote("b")
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        let first = client.get()
        #expect(mesh.run())
        #expect(first.servedBy == "a")
        mesh.blackHole(a.host, from: proxy.host)
        let second = client.get()
        #expect(mesh.run())
        #expect(second.isAnswered() && second.servedBy == "b")
        #expect(second.took >= .seconds(10) && second.took < .milliseconds(10_100))
        #expect(mesh.finish() == [])
    }

    @Test("A host that loses its power in the middle of things is left within the deadline")
    func powerLoss() {
        let mesh = SimulatedMesh(seed: 13)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(500)) }
        let b = mesh.remote("b", .http2)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http1, proxy)
        let call = client.get()
        mesh.run(for: .milliseconds(100))
        a.host.die(kernelAlive: false)
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "b" && call.took < .milliseconds(2600))
    }

    @Test("A process that is killed is left at once")
    func killed() {
        let mesh = SimulatedMesh(seed: 14)
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(500)) }
        let b = mesh.remote("b", .http2)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<3).map { _ in client.get() }
        mesh.run(for: .milliseconds(100))
        a.host.die(kernelAlive: true)
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
        #expect(calls.allSatisfy { $0.took < .milliseconds(105) })
    }

    @Test("A thin line slows a body down and loses nothing of it")
    func bandwidth() {
        let mesh = SimulatedMesh(seed: 15)
        let a = mesh.upstream("a", .http2) { _ in .bytes(2_000_000) }
        let proxy = mesh.proxy(clusters: [.of("svc", a)])
        mesh.network.link(a.host, proxy.host).conditions.bandwidth = 1_000_000
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.body.isWhole(2_000_000))
        #expect(call.took > .milliseconds(1990) && call.took < .milliseconds(2100))
        #expect(mesh.finish() == [])
    }

    @Test("Many resets in a row make an endpoint suspect, and it is asked less")
    func runOfResets() {
        let mesh = SimulatedMesh(seed: 16)
        let a = mesh.upstream("a") { _ in .resetConnection }
        let b = mesh.upstream("b")
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<30).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
        #expect(a.requests.count == 3)
        #expect(mesh.finish() == [])
    }

    @Test("Connections that a box in the middle resets while idle cost nothing")
    func idleReset() {
        for speaks in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 17)
            let a = mesh.upstream("a", speaks)
            let proxy = mesh.proxy(clusters: [.of("svc", a)])
            let client = mesh.client(.http1, proxy)
            let first = client.get()
            #expect(mesh.run())
            mesh.resetConnections(to: a.address)
            mesh.run(for: .milliseconds(10))
            let second = client.post("/", bytes: 10)
            #expect(mesh.run())
            #expect(first.isAnswered() && second.isAnswered() && a.accepted == 2)
            #expect(mesh.finish() == [])
        }
    }
}
