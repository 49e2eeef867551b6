import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// The other cluster is reached through gateways, which hide what is behind them.
@Suite struct GatewayDrills {
    /// Envoy: the same for STRICT_DNS. Linkerd's gateway mirror once never asked again.
    @Test("A gateway's name that gets another address is followed at the next refresh")
    func addressChanges() {
        let mesh = SimulatedMesh(seed: 3)
        let old = mesh.remote("old", .http2)
        let new = mesh.remote("new", .http2)
        mesh.network.names["gateway.west"] = [old.address.with(port: 0)]
        var cluster = Cluster.of("svc", old)
        cluster.discovery = .strictDNS(refresh: .seconds(1))
        cluster.endpoints.localities[0].endpoints = [
            Endpoint(target: .name("gateway.west", port: 80))
        ]
        let proxy = mesh.controlledProxy(clusters: [cluster])
        let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(10))
        load.run(for: .seconds(2))
        #expect(mesh.run())
        #expect(load.calls.byServer == ["old": 200])
        mesh.network.names["gateway.west"] = [new.address.with(port: 0)]
        let change = mesh.network.now
        load.run(for: .seconds(2))
        #expect(mesh.run())
        #expect(load.failed.isEmpty)
        let later = load.calls(from: .milliseconds(1010), to: .seconds(2), after: change)
        #expect(later.allSatisfy { $0.servedBy == "new" })
        #expect(mesh.finish() == [])
    }

    /// Envoy behind an SNI passthrough gateway, as Istio configures it: each client's one connection ends at
    /// one pod, so of ten pods as a rule three or four get nothing.
    @Test("Ten clients with a connection each, through a gateway: every pod gets the same share")
    func spread() {
        let mesh = SimulatedMesh(seed: 4)
        let pods = (0..<10).map { mesh.upstream("pod\($0)", .http2) }
        let gateway = mesh.proxy("gateway", clusters: [.of("pods", pods)])
        let sidecar = mesh.proxy(
            "sidecar", clusters: [.of("svc", addresses: [(gateway.address, "west", 0)])])
        let clients = (0..<10).map { _ in mesh.client(.http2, sidecar) }
        let calls = (0..<500).map { clients[$0 % 10].get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(pods.map { $0.requests.count } == Array(repeating: 50, count: 10))
        #expect(mesh.finish() == [])
    }
}
