import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// A locality whose pods fall silent one after the other, as they are asked. Envoy knows nothing like it: each
/// cluster ejects each of its endpoints for itself, after five errors.
@Suite struct SilenceDrills {
    @Test("Two pods of six are gone: the others are asked and answer, and nobody leaves them")
    func neighbours() {
        let mesh = SimulatedMesh(seed: 1)
        let pods = (0..<6).map { mesh.upstream("east\($0)", .http2) }
        let west = mesh.remote("west", .http2)
        let proxy = mesh.controlledProxy(clusters: [.of("svc", pods + [west])])
        let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(10))
        load.run(for: .seconds(1))
        let before = pods.map(\.accepted)
        for pod in pods.prefix(2) { mesh.blackHole(pod.host, from: proxy.host) }
        load.run(for: .seconds(4))
        #expect(mesh.run())
        #expect(load.failed.isEmpty && load.worst < .milliseconds(2010))
        #expect(proxy.doubts == [pods[0].locality])
        #expect(Set(proxy.deadPaths) == Set(pods.prefix(2).map(\.address)))
        #expect(Array(pods.map(\.accepted).dropFirst(2)) == Array(before.dropFirst(2)))
        #expect(mesh.finish() == [])
    }

    @Test("A service that is asked again after five seconds need not find out for itself")
    func idle() {
        let mesh = SimulatedMesh(seed: 2)
        let pods = mesh.upstreams("east", count: 3)
        let west = mesh.remote("west", .http2)
        let proxy = mesh.controlledProxy(
            clusters: pods.indices.map { .of("svc\($0)", pods[$0], west) },
            routes: pods.indices.map { .forward(to: "svc\($0)", prefix: "/\($0)/") })
        let client = mesh.client(.http2, proxy)
        let warm = pods.indices.map { client.get("/\($0)/") }
        #expect(mesh.run())
        #expect(warm.allSatisfy { $0.servedBy.hasPrefix("east") })
        mesh.blackHole(pods[0].host, from: proxy.host)
        let load = SteadyLoad(mesh, every: .milliseconds(10)) { client.get("/\($0 % 2)/") }
        load.run(for: .seconds(5))
        let third = client.get("/2/")
        #expect(mesh.run())
        #expect(load.failed.isEmpty && third.servedBy == "west" && third.took < .milliseconds(5))
        #expect(Set(proxy.deadPaths) == Set(pods.map(\.address)) && proxy.doubts.count == 1)
    }

    @Test("Idle connections of pods that are well stay open when they are asked")
    func idleAndWell() {
        let mesh = SimulatedMesh(seed: 3)
        let pods = (0..<3).map { mesh.upstream("east\($0)", .http2) }
        let west = mesh.remote("west", .http2)
        let proxy = mesh.controlledProxy(
            clusters: pods.indices.map { .of("svc\($0)", pods[$0], west) },
            routes: pods.indices.map { .forward(to: "svc\($0)", prefix: "/\($0)/") })
        let client = mesh.client(.http2, proxy)
        for number in pods.indices { client.get("/\(number)/") }
        #expect(mesh.run())
        for pod in pods.prefix(2) { mesh.blackHole(pod.host, from: proxy.host) }
        let load = SteadyLoad(mesh, every: .milliseconds(10)) { client.get("/\($0 % 2)/") }
        load.run(for: .seconds(5))
        let third = client.get("/2/")
        #expect(mesh.run())
        #expect(proxy.doubts.count == 1)
        #expect(third.servedBy == "east2" && pods[2].accepted == 1)
        #expect(mesh.finish() == [])
    }

    @Test(
        "A worker that has no connections there waits half a second, not two, and not where all know"
    )
    func otherWorker() {
        let mesh = SimulatedMesh(seed: 4)
        let pods = mesh.upstreams("east", count: 3)
        let west = mesh.remote("west", .http2)
        let proxy = mesh.controlledProxy(
            clusters: pods.indices.map { number in
                .of("svc\(number)", pods[number], west) { $0.connectTimeout = .seconds(10) }
            }, routes: pods.indices.map { .forward(to: "svc\($0)", prefix: "/\($0)/") },
            workers: 2)
        let client = mesh.client(.http2, proxy)
        let other = mesh.client(.http2, proxy, worker: 1)
        for number in 0..<2 { client.get("/\(number)/") }
        #expect(mesh.run())
        mesh.blackHole(pods[0].host, from: proxy.host)
        let load = SteadyLoad(mesh, every: .milliseconds(10)) { client.get("/\($0 % 2)/") }
        load.run(for: .milliseconds(2500))
        let known = other.get("/0/")
        let unknown = other.get("/2/")
        #expect(mesh.run())
        #expect(load.failed.isEmpty)
        #expect(known.servedBy == "west" && known.took < .milliseconds(10))
        #expect(unknown.servedBy == "west")
        #expect(unknown.took >= .milliseconds(250) && unknown.took < .milliseconds(260))
    }
}
