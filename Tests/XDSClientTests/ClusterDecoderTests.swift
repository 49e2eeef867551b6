import MeshBase
import MeshConfig
import Testing
import XDSClient

@Suite struct ClusterDecoderTests {
    /// A static cluster with these fields, or the problem with its path.
    private func decode(_ fields: String) -> (cluster: Cluster?, problem: String) {
        let text = """
            - {"@type": x/envoy.config.cluster.v3.Cluster, name: a, type: STATIC, \(fields)}
            """
        do {
            let raw = try ResourceFiles.parse(files: [(name: "test", text: Array(text.utf8))])
            var builder = SnapshotBuilder(staticResources: Snapshot(), source: "cp")
            let rejections = builder.apply(
                type: .cluster, resources: raw, isFullSet: true, now: UnixTime(microseconds: 1))
            let cluster = builder.takeSnapshot()?.clusters.first
            return (cluster, rejections.map { "\($0)" }.joined())
        } catch {
            return (nil, "\(error)")
        }
    }

    private func keepAlive(_ fields: String) -> (ConnectionKeepAlive?, String) {
        let result = decode(
            """
            load_assignment: {cluster_name: a},
            typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
            {"@type": x/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
            explicit_http_config: {http2_protocol_options: {connection_keepalive: {\(fields)}}}}}
            """)
        return (result.cluster?.keepAlive, result.problem)
    }

    @Test("connection_keepalive with all its fields, and with Envoy's defaults")
    func connectionKeepAlive() {
        let all = keepAlive(
            """
            interval: 20s, timeout: 5s, interval_jitter: {value: 30}, connection_idle_interval: 60s
            """)
        #expect(
            all.0
                == ConnectionKeepAlive(
                    interval: .seconds(20), timeout: .seconds(5), jitterPercent: 30,
                    idleInterval: .seconds(60)))
        let least = keepAlive("timeout: 5s")
        #expect(least.0 == ConnectionKeepAlive(interval: nil, timeout: .seconds(5)))
        #expect(least.0?.jitterPercent == 15)
        for bad in ["interval: 20s", "timeout: 0s", "timeout: 5s, interval: 0s"] {
            let (value, problem) = keepAlive(bad)
            #expect(value == nil && problem.contains("connection_keepalive"), "\(problem)")
        }
    }

    @Test("additional_addresses of an endpoint and happy_eyeballs_config of its cluster")
    func secondAddresses() {
        let address = "socket_address: {address: %, port_value: 80}"
        func at(_ ip: String) -> String { address.replacing("%", with: ip) }
        let good = decode(
            """
            upstream_connection_options: {happy_eyeballs_config:
            {first_address_family_version: V6, first_address_family_count: 2}},
            load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {
            address: {\(at("10.0.0.1"))},
            additional_addresses: [{address: {\(at("'::1'"))}}]}}]}]}
            """)
        #expect(good.cluster?.happyEyeballs == HappyEyeballs(firstFamily: .ipv6, firstCount: 2))
        let endpoint = good.cluster?.endpoints.localities.first?.endpoints.first
        #expect(endpoint?.additionalAddresses == [.ipv6(0, 1, port: 80)], "\(good.problem)")
        let bad = decode(
            """
            load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {
            address: {\(at("10.0.0.1"))},
            additional_addresses: [{address: {\(at("name"))}}]}}]}]}
            """)
        #expect(bad.cluster == nil && bad.problem.contains("additional_addresses"))
    }
}
