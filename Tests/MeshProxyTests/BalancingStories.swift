import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@Suite struct BalancingStories {
    @Test("Requests of one key go to one endpoint, and a retry leaves it")
    func hashing() {
        let mesh = SimulatedMesh(seed: 11)
        let servers = (0..<4).map { mesh.upstream("s\($0)") }
        let proxy = mesh.proxy(
            clusters: [.of("svc", servers) { $0.loadBalancing.policy = .ringHash(.init()) }],
            routes: [
                .forward(to: "svc") {
                    $0.hashPolicy = [HashPolicy(source: .header("x-user"), terminal: false)]
                }
            ])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<60).map { client.get("/", [("x-user", "u\($0 % 12)")]) }
        #expect(mesh.run())
        for user in 0..<12 {
            let served = Set((0..<5).map { calls[user + 12 * $0].servedBy })
            #expect(served.count == 1)
        }
        #expect(servers.allSatisfy { !$0.requests.isEmpty })
        guard let owner = servers.first(where: { $0.name == calls[0].servedBy }) else {
            Issue.record("nobody served")
            return
        }

        owner.kill()
        let moved = client.get("/", [("x-user", "u0")])
        #expect(mesh.run())
        #expect(moved.isAnswered() && moved.servedBy != owner.name)
        #expect(mesh.finish() == [])
    }

    @Test("A client without the cookie is given one, once, and it leads back")
    func cookie() {
        let mesh = SimulatedMesh(seed: 12)
        let servers = (0..<4).map { mesh.upstream("s\($0)") }
        let cookie = HashPolicy.Cookie(name: "sid", life: .seconds(60), path: "/")
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", servers) { $0.loadBalancing.policy = .maglev(.init(tableSize: 251)) }
            ],
            routes: [
                .forward(to: "svc") {
                    $0.hashPolicy = [HashPolicy(source: .cookie(cookie), terminal: false)]
                }
            ])
        let first = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        let given = first.head?.strings("set-cookie") ?? []
        #expect(given.count == 1 && given[0].hasPrefix("sid=\""))
        let kept = String(given.first?.prefix { $0 != ";" } ?? "")
        let later = (0..<8).map { _ in mesh.client(.http1, proxy).get("/", [("cookie", kept)]) }
        #expect(mesh.run())
        #expect(later.allSatisfy { $0.servedBy == first.servedBy })
        #expect(later.allSatisfy { $0.head?.strings("set-cookie") == [] })
        #expect(mesh.finish() == [])
    }
}
