import HealthProbe
import MeshBase
import MeshConfig
import Testing

@Suite struct RemovedEndpointsTests {
    private let a = SocketAddress.loopback(port: 1)
    private let b = SocketAddress.loopback(port: 2)

    private func cluster(_ addresses: [SocketAddress], _ change: (inout Cluster) -> Void = { _ in })
        -> Cluster
    {
        var cluster = Cluster(name: "c", discovery: .eds(serviceName: "c"))
        cluster.endpoints = EndpointSet(
            localities: [LocalityEndpoints(endpoints: addresses.map { Endpoint(address: $0) })],
            generation: 7)
        cluster.healthChecks = [ProbeConfig(kind: .tcp(send: [], receive: []))]
        change(&cluster)
        return cluster
    }

    /// The addresses that are left of two after one is taken away.
    private func left(
        healthy: Bool = true, _ change: @escaping (inout Cluster) -> Void = { _ in }
    ) -> [SocketAddress] {
        var removed = RemovedEndpoints()
        var clusters = [cluster([a, b], change)]
        removed.keep(in: &clusters) { _, _ in healthy }
        clusters = [cluster([b], change)]
        removed.keep(in: &clusters) { _, _ in healthy }
        #expect(removed.isLingering("c", a) == (clusters[0].endpoints.count == 2))
        return clusters[0].endpoints.addresses
    }

    @Test("It stays while its checks pass, and only where they are asked about")
    func stays() {
        #expect(left() == [b, a])
        #expect(left(healthy: false) == [b])
        #expect(left { $0.drainOnHostRemoval = true } == [b])
        #expect(left { $0.healthChecks = [] } == [b])
    }

    @Test("It stays in its locality, and who is there is another generation")
    func locality() {
        var removed = RemovedEndpoints()
        let far = LocalityEndpoints(
            locality: Locality(region: "far"), priority: 1, endpoints: [Endpoint(address: a)])
        var clusters = [cluster([b]) { $0.endpoints.localities.append(far) }]
        removed.keep(in: &clusters) { _, _ in true }
        #expect(clusters[0].endpoints.generation == 7)
        for _ in 0..<2 {
            clusters = [cluster([b])]
            removed.keep(in: &clusters) { _, _ in true }
            #expect(clusters[0].endpoints.localities.last == far)
            #expect(clusters[0].endpoints.generation != 7)
        }
        clusters = [cluster([b])]
        removed.keep(in: &clusters) { _, _ in false }
        #expect(clusters[0].endpoints.localities.count == 1 && !removed.isLingering("c", a))
        #expect(clusters[0].endpoints.generation == 7)
    }
}
