import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// Clusters are made when they are asked for; nobody may notice.
@Suite struct ClusterSetTests {
    private let address = SocketAddress.ipv4(0x0A00_0001, port: 80)
    private let set = ClusterSet(
        loop: SimulatedNetwork(seed: 1).makeLoop("proxy", addresses: ["10.0.0.9"]),
        settings: Settings(), log: ProxyLog(), metrics: WorkerMetrics())

    private func snapshot(_ names: String...) -> Snapshot {
        var snapshot = Snapshot()
        for name in names {
            let endpoints = LocalityEndpoints(endpoints: [Endpoint(address: address)])
            snapshot.clusters.append(
                Cluster(name: name, endpoints: EndpointSet(localities: [endpoints])))
        }
        return snapshot
    }

    @Test("A cluster is made when it is asked for, whatever the order of the snapshot")
    func made() {
        set.adopt(snapshot("c", "a", "b"))
        #expect(set.made.isEmpty)
        #expect(set["b"]?.name == "b" && set["d"] == nil)
        #expect(set["b"] === set["b"])
        #expect(set.made.map(\.name) == ["b"] && set.all.map(\.name) == ["a", "b", "c"])
    }

    @Test("What was said of an endpoint before its cluster was made holds")
    func verdict() throws {
        set.adopt(snapshot("a", "b"))
        set.adopt([.endpoint(cluster: "b", address, .failedProbe)])
        let hosts = try #require(set["b"]?.hosts)
        #expect(hosts.map(\.verdict) == [.failedProbe])
        #expect(set["a"]?.hosts.map(\.verdict) == [.healthy])
    }

    @Test("An endpoint that went and came back, or was well again, is as good as new")
    func forgotten() {
        set.adopt(snapshot("a", "b"))
        set.adopt([
            .endpoint(cluster: "a", address, .failedProbe),
            .endpoint(cluster: "b", address, .failedProbe),
        ])
        set.adopt([.endpoint(cluster: "a", address, .healthy)])
        set.adopt(snapshot("a"))
        set.adopt(snapshot("a", "b"))
        #expect(set["a"]?.hosts.map(\.verdict) == [.healthy])
        #expect(set["b"]?.hosts.map(\.verdict) == [.healthy])
    }
}
