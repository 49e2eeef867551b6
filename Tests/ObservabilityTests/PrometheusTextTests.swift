import Testing

@testable import Observability

struct PrometheusTextTests {
    @Test("Names, labels, classes and types are Envoy's")
    func golden() {
        let registry = MetricsRegistry()
        let web = registry.clusters.makeBlock("outbound|80||web;")
        web.counters.add(.upstreamRqTotal, 3)
        web.counters.add(.upstreamRq2xx, 2)
        web.counters.add(.upstreamRq5xx)
        web.counters.set(.membershipTotal, 0)
        registry.listeners.makeBlock("127.0.0.1:8080").counters.add(.downstreamCxActive)
        registry.server.set(.live, 1)
        registry.server.set(.ldsUpdateSuccess, 2)
        var reading = registry.read()
        reading.own = [
            OwnMetric("control_plane_in_force", label: "name", value: "a\"b\\", number: 1)
        ]
        #expect(
            PrometheusText().text(reading) == """
                # TYPE envoy_server_live gauge
                envoy_server_live 1
                # TYPE envoy_listener_manager_lds_update_success counter
                envoy_listener_manager_lds_update_success 2
                # TYPE envoy_cluster_upstream_rq_total counter
                envoy_cluster_upstream_rq_total{envoy_cluster_name="outbound|80||web"} 3
                # TYPE envoy_cluster_upstream_rq_xx counter
                envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="outbound|80||web"} 2
                envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|80||web"} 1
                # TYPE envoy_cluster_membership_total gauge
                envoy_cluster_membership_total{envoy_cluster_name="outbound|80||web"} 0
                # TYPE envoy_listener_downstream_cx_active gauge
                envoy_listener_downstream_cx_active{envoy_listener_address="127.0.0.1_8080"} 1
                # TYPE meshproxy_control_plane_in_force gauge
                meshproxy_control_plane_in_force{name="a\\"b\\\\"} 1

                """)
    }

    @Test("Buckets are cumulative, in milliseconds, and end with everything")
    func histogram() {
        let registry = MetricsRegistry()
        let block = registry.http.makeBlock("in")
        block.durations[0].record(microseconds: 400)
        block.durations[0].record(microseconds: 3_700_000_000)
        let lines = PrometheusText().text(registry.read()).split(separator: "\n")
        let name = "envoy_http_downstream_rq_time"
        let label = "envoy_http_conn_manager_prefix=\"in\""
        #expect(lines[0] == "# TYPE \(name) histogram")
        #expect(lines[1] == "\(name)_bucket{\(label),le=\"0.5\"} 1")
        #expect(lines.contains("\(name)_bucket{\(label),le=\"3600000\"} 1"))
        #expect(lines.contains("\(name)_bucket{\(label),le=\"+Inf\"} 2"))
        #expect(lines.contains("\(name)_sum{\(label)} 3700000.4"))
        #expect(lines.last == "\(name)_count{\(label)} 2")
    }

    @Test("Two names that differ behind a semicolon are one series")
    func mergedLabels() {
        let registry = MetricsRegistry()
        registry.tcp.makeBlock("a;1").counters.add(.downstreamCxTotal, 2)
        registry.tcp.makeBlock("a;2").counters.add(.downstreamCxTotal, 3)
        #expect(
            PrometheusText().text(registry.read()).hasSuffix(
                "envoy_tcp_downstream_cx_total{envoy_tcp_prefix=\"a\"} 5\n"))
    }
}
