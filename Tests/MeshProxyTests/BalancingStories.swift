import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

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

    /// Proxies are in zones 1 and 2; each zone of the service has a third of the servers.
    @Test("Requests stay in our zone as far as it goes, and others go where no proxy is")
    func zones() {
        let mesh = SimulatedMesh(seed: 14)
        let servers = (0..<6).map { mesh.upstream("s\($0)", zone: "\($0 / 2 + 1)") }
        func members(_ zones: String...) -> Cluster {
            var cluster = Cluster(name: "proxies")
            for (index, zone) in zones.enumerated() {
                cluster.endpoints.localities.append(
                    LocalityEndpoints(
                        locality: Locality(region: "east", zone: zone),
                        endpoints: [Endpoint(address: .loopback(port: 9001 + UInt16(index)))]))
            }
            return cluster
        }
        var settings = Settings()
        settings.locality = Locality(region: "east", zone: "1")
        settings.localCluster = "proxies"
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", servers) { $0.loadBalancing.localityMode = .zoneAware(.init()) },
                members("1", "2"),
            ], settings: settings)
        let client = mesh.client(.http2, proxy)
        func counts(_ calls: Int) -> [Int] {
            let before = servers.map(\.requests.count)
            for _ in 0..<calls {
                _ = client.get("/")
                #expect(mesh.run())
            }
            return zip(servers, before).map { $0.requests.count - $1 }
        }
        let shared = counts(300)
        // 66.66 % stay; zone 2 has a third of the servers, and half of the proxies.
        #expect(abs(shared[0] + shared[1] - 200) < 41)
        #expect(shared[2] + shared[3] == 0 && shared[4] + shared[5] > 59)

        // A verdict on a member counts: all that are healthy are in our zone now.
        let changes = [
            HealthModel.Change.endpoint(
                cluster: "proxies", .loopback(port: 9002), .failedProbe)
        ]
        proxy.worker.received(.health(changes))
        // So of all requests the third stays that there are servers for.
        let alone = counts(300)
        #expect(abs(alone[0] + alone[1] - 100) < 41)
        #expect(abs(alone[2] + alone[3] - 100) < 41)

        proxy.push { $0.clusters.removeAll { $0.name == "proxies" } }
        #expect(counts(60) == [10, 10, 10, 10, 10, 10])
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
