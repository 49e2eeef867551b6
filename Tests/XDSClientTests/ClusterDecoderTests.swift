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

    private func check(_ fields: String) -> (ProbeConfig?, String) {
        let result = decode(
            "load_assignment: {cluster_name: a}, health_checks: [{timeout: 1s, interval: 5s, "
                + fields + "}]")
        return (result.cluster?.healthChecks.first, result.problem)
    }

    @Test("health_checks with all that a check may say")
    func healthCheck() {
        let sink = "x/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
        let (value, problem) = check(
            """
            unhealthy_threshold: 4, healthy_threshold: 3, unhealthy_interval: 6s,
            unhealthy_edge_interval: 7s, healthy_edge_interval: 8s, no_traffic_interval: 9s,
            no_traffic_healthy_interval: 10s, initial_jitter: 1s, interval_jitter: 2s,
            interval_jitter_percent: 30, alt_port: 81, reuse_connection: false,
            event_log_path: /tmp/a, always_log_health_check_failures: true,
            always_log_health_check_success: true, tls_options: {alpn_protocols: [h2]},
            transport_socket_match_criteria: {tls: "on"},
            event_logger: [{name: f, typed_config: {"@type": \(sink), event_log_path: /tmp/b}}],
            http_health_check: {path: /ready, host: h, method: HEAD, codec_client_type: HTTP2,
              expected_statuses: [{start: 200, end: 300}],
              retriable_statuses: [{start: 500, end: 501}],
              service_name_matcher: {prefix: shop}, receive: [{text: "6f6b"}],
              request_headers_to_add: [{header: {key: a, value: b}}],
              request_headers_to_remove: [user-agent]}
            """)
        var http = HTTPProbeConfig(
            path: "/ready", host: "h", method: "HEAD", expectedStatuses: [200..<300],
            useHTTP2: true)
        http.retriableStatuses = [500..<501]
        http.serviceName = StringMatcher(.prefix("shop"))
        http.receive = [Array("ok".utf8)]
        guard case .http(let given)? = value?.kind else {
            Issue.record("\(problem)")
            return
        }
        http.requestHeaders = given.requestHeaders
        #expect(given == http && given.requestHeaders != HeaderChanges())
        #expect(value?.unhealthyThreshold == 4 && value?.healthyThreshold == 3)
        #expect(value?.unhealthyInterval == .seconds(6))
        #expect(value?.unhealthyEdgeInterval == .seconds(7))
        #expect(value?.healthyEdgeInterval == .seconds(8))
        #expect(value?.noTrafficInterval == .seconds(9))
        #expect(value?.noTrafficHealthyInterval == .seconds(10))
        #expect(value?.initialJitter == .seconds(1) && value?.intervalJitter == .seconds(2))
        #expect(value?.intervalJitterPercent == 30 && value?.altPort == 81)
        #expect(value?.reuseConnection == false && value?.alpn == ["h2"])
        #expect(value?.eventLogPaths == ["/tmp/a", "/tmp/b"])
        #expect(value?.alwaysLogsFailures == true && value?.alwaysLogsSuccesses == true)
        #expect(value?.transportCriteria == ["tls": .string("on")])
    }

    @Test(
        "A check that could not be made as it says is refused",
        arguments: [
            ("http_health_check: {host: a}", "path"),
            ("http_health_check: {path: /, codec_client_type: HTTP3}", "codec_client_type"),
            ("http_health_check: {path: /, method: CONNECT}", "method"),
            ("http_health_check: {path: /, retriable_statuses: [{start: 1, end: 2}]}", "retriable"),
            ("tcp_health_check: {}, unhealthy_edge_interval: 0s", "unhealthy_edge_interval"),
            ("tcp_health_check: {}, event_logger: [{name: x}]", "event_logger"),
            ("custom_health_check: {name: redis}", "health_checks"),
        ])
    func refusedCheck(fields: String, place: String) {
        let (value, problem) = check(fields)
        #expect(value == nil && problem.contains(place), "\(problem)")
    }
}
