import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@Suite struct RequestStories {
    @Test("A request is answered by the cluster's endpoint, in all four combinations of protocols")
    func requestIsAnswered() {
        for client in WireProtocol.allCases {
            for server in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 1)
                let a = mesh.upstream("a", server) { _ in .reply(200, "hello") }
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let call = mesh.client(client, proxy).get("/")
                #expect(mesh.run())
                #expect(call.isAnswered() && call.text == "hello" && call.servedBy == "a")
                #expect(a.requests.count == 1 && call.took < .milliseconds(5))
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("A request that meets a refused connection is answered by another endpoint")
    func refusedConnection() {
        let mesh = SimulatedMesh(seed: 2)
        let a = mesh.upstream("a")
        let b = mesh.upstream("b")
        mesh.fault(a, .refuse)
        mesh.fault(b, .refuse)
        let c = mesh.remote("c")
        let proxy = mesh.proxy(clusters: [.of("svc", a, b, c)])
        let calls = (0..<20).map { _ in mesh.client(.http1, proxy).get("/") }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "c" })
        #expect(c.requests.count == 20)
        #expect(mesh.finish() == [])
    }

    @Test("A reset after the request is retried elsewhere for GET, and never for POST")
    func resetAfterRequest() {
        let mesh = SimulatedMesh(seed: 3)
        let a = mesh.upstream("a") { $0.number == 0 ? .resetConnection : .reply(200, "a") }
        let b = mesh.upstream("b") { $0.number == 0 ? .resetConnection : .reply(200, "b") }
        let c = mesh.upstream("c")
        let proxy = mesh.proxy(
            clusters: [.of("get", a, c), .of("post", b, c)],
            routes: [
                .forward(to: "get", prefix: "/get"), .forward(to: "post", prefix: "/post"),
            ])
        let client = mesh.client(.http1, proxy)
        let gets = (0..<2).map { _ in client.get("/get") }
        let posts = (0..<2).map { _ in client.post("/post", bytes: 10) }
        #expect(mesh.run())
        #expect(gets.allSatisfy { $0.isAnswered() })
        #expect(posts.filter { $0.isAnswered(503) }.count == 1)
        #expect(posts.filter { $0.isAnswered() }.count == 1)
        #expect(a.requests.count == 1 && b.requests.count == 1 && c.requests.count == 3)
        #expect(mesh.finish() == [])
    }

    @Test("A body of any length arrives whole on both sides, in all four combinations")
    func bodies() {
        for client in WireProtocol.allCases {
            for server in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 4)
                let a = mesh.upstream("a", server) { _ in .bytes(3_000_000) }
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let call = mesh.client(client, proxy).post("/", bytes: 2_500_000)
                #expect(mesh.run())
                #expect(call.isAnswered() && call.body.isWhole(3_000_000))
                #expect(a.requests.first?.body.isWhole(2_500_000) == true)
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("Every byte may arrive alone, and nothing changes")
    func splitAnywhere() {
        for client in WireProtocol.allCases {
            for server in WireProtocol.allCases {
                var conditions = LinkConditions()
                conditions.segmentBytes = 1
                let mesh = SimulatedMesh(seed: 5, conditions: conditions)
                let a = mesh.upstream("a", server) { _ in .bytes(500) }
                let proxy = mesh.proxy(clusters: [.of("svc", a)])
                let client = mesh.client(client, proxy)
                let calls = [client.get("/"), client.post("/", bytes: 700)]
                #expect(mesh.run())
                #expect(calls.allSatisfy { $0.isAnswered() && $0.body.isWhole(500) })
                #expect(a.requests.last?.body.isWhole(700) == true)
                #expect(mesh.finish() == [])
            }
        }
    }
}
