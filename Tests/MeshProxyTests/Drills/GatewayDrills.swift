import HTTPCodec
import LoadBalancer
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

    /// Envoy: outlier detection is of a cluster's endpoint, so here the same; but of two gateways Istio's
    /// 10 % let none be ejected. Kuma and Consul have ejected gateways for all services.
    @Test("A gateway is well and one service behind it has no pods: only that service leaves it")
    func serviceEmpty() {
        let mesh = SimulatedMesh(seed: 1)
        let full = mesh.upstream("full", .http2)
        let gone = mesh.upstream("gone", .http2)
        let names = ["full", "gone"]
        let gateways = (1...2).map { number in
            mesh.proxy(
                "gateway\(number)", clusters: [.of("full", full), .of("gone", gone)],
                routes: names.map { .forward(to: $0, prefix: "/\($0)") })
        }
        let sidecar = mesh.controlledProxy(
            clusters: names.map { name in
                .of(
                    name,
                    addresses: [
                        (gateways[0].address, "west", 0), (gateways[1].address, "north", 1),
                    ]
                ) { $0.outlierDetection = OutlierDetection(maxEjectionPercent: 100) }
            }, routes: names.map { .forward(to: $0, prefix: "/\($0)", retry: .ofIstio) })
        let client = mesh.client(.http2, sidecar)
        gateways[0].push { snapshot in
            let index = snapshot.clusters.firstIndex { $0.name == "gone" } ?? 0
            snapshot.clusters[index].endpoints.localities = []
        }
        let load = SteadyLoad(mesh, every: .milliseconds(10)) { client.get("/\(names[$0 % 2])") }
        load.run(for: .seconds(2))
        #expect(mesh.run())
        #expect(load.failed.isEmpty)
        #expect(load.calls.byServer == ["full": 100, "gone": 100])
        // Four errors are not yet enough, and the fifth is.
        let slow = load.calls.filter { $0.took > .milliseconds(5) }
        #expect(slow.count <= 5 && slow.allSatisfy { $0.servedBy == "gone" })
        let first = gateways[0].address
        let ejected = sidecar.changes.filter { $0 != .path(first, usable: true) }
        #expect(ejected.count == 1 && sidecar.deadPaths.isEmpty)
        #expect(mesh.finish() == [])
    }

    /// Kuma's egress is one address for all other zones: Envoy in front of it ejects that address when
    /// two zones of three fail, and with it the zone that is well.
    @Test(
        "Two of three clusters behind one egress gateway fail: the third has it all, nobody notices"
    )
    func twoOfThreeBehindEgress() {
        let mesh = SimulatedMesh(seed: 2)
        let zones = ["north", "south", "west"].map { mesh.upstream($0, .http2, region: $0) }
        let egress = mesh.controlledProxy(clusters: [.of("svc", zones)])
        let sidecar = mesh.controlledProxy(
            clusters: [
                .of("svc", addresses: [(egress.address, "east", 0)]) {
                    $0.outlierDetection = OutlierDetection(maxEjectionPercent: 100)
                }
            ])
        let load = SteadyLoad(mesh, mesh.client(.http2, sidecar), every: .milliseconds(10))
        load.run(for: .seconds(1))
        zones[0].kill()
        mesh.blackHole(zones[1].host, from: egress.host)
        let fault = mesh.network.now
        load.run(for: .seconds(4))
        #expect(mesh.run())
        // A retry waits for 25 ms at the most.
        #expect(load.failed.isEmpty && load.worst < .milliseconds(2030))
        let later = load.calls(from: .milliseconds(2100), to: .seconds(4), after: fault)
        #expect(later.count == 190 && later.byServer == ["west": 190])
        #expect(later.allSatisfy { $0.took < .milliseconds(5) })
        #expect(sidecar.changes == [])
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
