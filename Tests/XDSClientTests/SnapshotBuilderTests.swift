import MeshBase
import MeshConfig
import Testing
import XDSClient

private let now = UnixTime(microseconds: 1)

private func resources(_ text: String) throws -> [RawResource] {
    try ResourceFiles.parse(files: [(name: "test", text: Array(text.utf8))])
}

private func cluster(_ name: String, timeout: String = "1s") throws -> [RawResource] {
    try resources(
        """
        - {"@type": x/envoy.config.cluster.v3.Cluster, name: \(name), type: EDS,
           connect_timeout: \(timeout), eds_cluster_config: {eds_config: {ads: {}}}}
        """)
}

private func endpoints(_ name: String, port: Int) throws -> [RawResource] {
    try resources(
        """
        - {"@type": x/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: \(name), endpoints:
            [{lb_endpoints: [{endpoint: {address: {socket_address:
              {address: 10.0.0.1, port_value: \(port)}}}}]}]}
        """)
}

private func listener(_ name: String, routes: String) throws -> [RawResource] {
    let filters = "type.googleapis.com/envoy.extensions.filters"
    return try resources(
        """
        - "@type": x/envoy.config.listener.v3.Listener
          name: \(name)
          address: {socket_address: {address: 127.0.0.1, port_value: 80}}
          filter_chains:
          - filters:
            - typed_config:
                "@type": \(filters).network.http_connection_manager.v3.HttpConnectionManager
                rds: {route_config_name: \(routes), config_source: {ads: {}}}
                http_filters:
                - typed_config: {"@type": \(filters).http.router.v3.Router}
        """)
}

private func routes(_ name: String, to cluster: String) throws -> [RawResource] {
    try resources(
        """
        - {"@type": x/envoy.config.route.v3.RouteConfiguration, name: \(name), virtual_hosts:
            [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: \(cluster)}}]}]}
        """)
}

@Suite("SnapshotBuilder")
struct SnapshotBuilderTests {
    @Test("A cluster waits for its endpoints")
    func clusterWarms() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot(), source: "cp")
        _ = builder.apply(type: .cluster, resources: try cluster("a"), isFullSet: true, now: now)
        #expect(builder.takeSnapshot()?.clusters.isEmpty == true)
        #expect(builder.warming == ["cluster a waits for endpoints a"])
        #expect(builder.subscriptions(.endpoint) == ["a"] && !builder.isComplete)
        _ = builder.apply(type: .endpoint, resources: try endpoints("a", port: 1), now: now)
        let snapshot = builder.takeSnapshot()
        #expect(snapshot?.clusters.first?.endpoints.count == 1 && snapshot?.source == "cp")
        #expect(builder.isComplete && builder.takeSnapshot() == nil)
    }

    @Test("A listener whose new version waits for routes stays as it was")
    func listenerStays() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot())
        _ = builder.apply(type: .listener, resources: try listener("in", routes: "r1"), now: now)
        _ = builder.apply(type: .route, resources: try routes("r1", to: "a"), now: now)
        let first = builder.takeSnapshot()
        #expect(first?.listeners.count == 1 && first?.routes.keys.sorted() == ["r1"])
        _ = builder.apply(
            type: .listener, resources: try listener("in", routes: "r2"), isFullSet: true, now: now)
        #expect(builder.takeSnapshot() == nil && builder.subscriptions(.route) == ["r2"])
        _ = builder.apply(type: .route, resources: try routes("r2", to: "a"), now: now)
        #expect(builder.takeSnapshot()?.routes.keys.sorted() == ["r2"])
    }

    @Test("A cluster that was taken away stays while a route in force names it")
    func makeBeforeBreak() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot())
        _ = builder.apply(
            type: .cluster, resources: try cluster("a") + cluster("b"), isFullSet: true, now: now)
        _ = builder.apply(
            type: .endpoint, resources: try endpoints("a", port: 1) + endpoints("b", port: 2),
            now: now)
        _ = builder.apply(type: .listener, resources: try listener("in", routes: "r"), now: now)
        _ = builder.apply(type: .route, resources: try routes("r", to: "a"), now: now)
        #expect(builder.takeSnapshot()?.clusters.map(\.name) == ["a", "b"])
        _ = builder.apply(type: .cluster, resources: try cluster("b"), isFullSet: true, now: now)
        #expect(builder.takeSnapshot() == nil)
        _ = builder.apply(type: .route, resources: try routes("r", to: "b"), now: now)
        #expect(builder.takeSnapshot()?.clusters.map(\.name) == ["b"])
    }

    @Test("The good resources of a response are taken, the bad ones keep their old version")
    func partial() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot())
        let both = try cluster("a") + cluster("b")
        let eds = try endpoints("a", port: 1) + endpoints("b", port: 2)
        _ = builder.apply(type: .cluster, resources: both, isFullSet: true, now: now)
        _ = builder.apply(type: .endpoint, resources: eds, now: now)
        _ = builder.takeSnapshot()
        var bad = try cluster("a", timeout: "9s")
        // connect_timeout again, as minus one second: the last one counts.
        bad[0].value += [0x22, 11, 0x08] + [UInt8](repeating: 0xFF, count: 9) + [1]
        let rejections = builder.apply(
            type: .cluster, resources: try bad + cluster("b", timeout: "3s"), isFullSet: true,
            now: now)
        #expect(rejections.map(\.name) == ["a"] && rejections[0].path == "connect_timeout")
        let timeouts = builder.takeSnapshot()?.clusters.map(\.connectTimeout)
        #expect(timeouts == [.seconds(1), .seconds(3)])
    }

    @Test("The same bytes again change nothing")
    func unchanged() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot())
        _ = builder.apply(type: .cluster, resources: try cluster("a"), isFullSet: true, now: now)
        _ = builder.apply(type: .endpoint, resources: try endpoints("a", port: 1), now: now)
        _ = builder.takeSnapshot()
        _ = builder.apply(
            type: .cluster, resources: try cluster("a"), isFullSet: true, version: "2", now: now)
        #expect(builder.takeSnapshot() == nil)
    }

    @Test("An unknown field in a message that restricts is refused")
    func unknownRestriction() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot())
        // A RouteConfiguration whose one route's match holds field 2000.
        let match: [UInt8] = [0x0A, 1, 0x2F, 0x80, 0x7D, 1]
        let route = [0x0A, UInt8(match.count)] + match + [0x12, 3, 0x0A, 1, 0x61]
        let host: [UInt8] = [0x0A, 1, 0x76, 0x12, 1, 0x2A, 0x1A, UInt8(route.count)] + route
        let table: [UInt8] = [0x0A, 1, 0x72, 0x12, UInt8(host.count)] + host
        let raw = RawResource(
            name: "r", version: "", typeURL: ResourceType.route.typeURL, value: table)
        let rejections = builder.apply(type: .route, resources: [raw], now: now)
        #expect(rejections.map(\.path) == ["virtual_hosts[0].routes[0].match"])
        #expect(rejections.first?.got == "field number 2000")
    }
}
