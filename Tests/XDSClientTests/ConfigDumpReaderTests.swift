import MeshBase
import MeshConfig
import Testing

@testable import XDSClient

@Suite struct ConfigDumpReaderTests {
    /// As Envoy prints it for a proxy of Istio's, cut short.
    private static let envoy = """
        {"configs": [
         {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
          "bootstrap": {"node": {"id": "sidecar~10.0.0.1~web.default~default.svc.cluster.local",
             "cluster": "web.default", "locality": {"region": "east", "zone": "a"},
             "user_agent_build_version": {"version": {"major_number": 1}}},
            "static_resources": {"clusters": [{"name": "no-cluster", "type": "ODD"}]}},
          "last_updated": "2026-08-01T10:00:00.123Z"},
         {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
          "version_info": "2026-08-01T10:00:00Z/7",
          "static_clusters": [{"cluster": {
             "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "agent",
             "type": "STATIC", "connect_timeout": "0.250s", "load_assignment": {
               "cluster_name": "agent", "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
                 {"socket_address": {"address": "127.0.0.1", "port_value": 15020}}}}]}]}},
             "last_updated": "2026-08-01T10:00:00.123Z"}],
          "dynamic_active_clusters": [
            {"version_info": "2026-08-01T10:00:00Z/7", "cluster": {
              "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
              "name": "outbound|80||shop.default.svc.cluster.local", "type": "EDS",
              "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"},
                "service_name": "outbound|80||shop.default.svc.cluster.local"},
              "connect_timeout": "10s", "lb_policy": "LEAST_REQUEST",
              "outlier_detection": {"consecutive_5xx": 5, "max_ejection_percent": 100},
              "common_lb_config": {"healthy_panic_threshold": {},
                "locality_weighted_lb_config": {}},
              "some_field_of_tomorrow": {"x": 1}},
             "last_updated": "2026-08-01T10:00:01Z"},
            {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
              "name": "odd", "type": "EDS"}}]},
         {"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
          "dynamic_endpoint_configs": [{"endpoint_config": {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "outbound|80||shop.default.svc.cluster.local",
            "endpoints": [
              {"locality": {"region": "east", "zone": "a"}, "load_balancing_weight": 1,
               "lb_endpoints": [{"endpoint": {"address": {"socket_address":
                 {"address": "10.1.0.1", "port_value": 80}}}, "health_status": "HEALTHY",
                 "load_balancing_weight": 1}]},
              {"locality": {"region": "west"}, "priority": 1, "load_balancing_weight": 1,
               "lb_endpoints": [{"endpoint": {"address": {"socket_address":
                 {"address": "10.2.0.1", "port_value": 15443}}}, "health_status": "UNHEALTHY"}]}],
            "policy": {"overprovisioning_factor": 200}}}]},
         {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
          "dynamic_route_configs": [{"version_info": "7", "route_config": {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "80",
            "virtual_hosts": [{"name": "shop", "domains": ["shop"], "routes": [{
              "match": {"prefix": "/"},
              "route": {"cluster": "outbound|80||shop.default.svc.cluster.local", "timeout": "3s",
                "retry_policy": {"retry_on": "connect-failure", "num_retries": 2}}}]}]}}]},
         {"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump"}
        ]}
        """

    @Test("Envoy's dump gives node, clusters with endpoints, and routes; the rest is passed by")
    func ofEnvoy() throws {
        let read = try #require(try ConfigDumpReader.load(text: Array(Self.envoy.utf8)))
        #expect(read.node.cluster == "web.default")
        #expect(read.settings.locality == Locality(region: "east", zone: "a"))
        let snapshot = read.staticResources
        #expect(snapshot.clusters.map(\.name).count == 2)
        let shop = try #require(snapshot.clusters.last)
        #expect(shop.name.hasPrefix("outbound") && shop.connectTimeout == .seconds(10))
        #expect(shop.loadBalancing.overprovisioningFactor == 200)
        #expect(shop.endpoints.localities.map(\.priority) == [0, 1])
        #expect(shop.endpoints.localities[1].endpoints[0].status == .unhealthy)
        #expect(shop.outlierDetection != nil)
        #expect(snapshot.clusters[0].endpoints.addresses.map(\.port) == [15020])
        #expect(snapshot.routes.keys.sorted() == ["80"])
        // Only what can't be read is named, with the reason.
        #expect(read.warnings.count == 1)
        #expect(read.warnings.first?.hasPrefix("cluster odd is left out: ") == true)
    }

    @Test("A bootstrap is no dump, and a dump without endpoints says what is missing")
    func others() throws {
        #expect(try ConfigDumpReader.load(text: Array("node: {id: a}".utf8)) == nil)
        let text = Self.envoy.replacing("dynamic_endpoint_configs", with: "other")
        #expect(throws: ConfigurationError.self) {
            try ConfigDumpReader.load(text: Array(text.utf8))
        }
    }
}
