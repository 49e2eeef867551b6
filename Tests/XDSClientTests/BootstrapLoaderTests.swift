import MeshBase
import MeshConfig
import Testing
import XDSClient

private func load(_ text: String, isStrict: Bool = true) throws(ConfigurationError) -> Bootstrap {
    try BootstrapLoader.load(text: Array(text.utf8), isStrict: isStrict)
}

/// The problems of a text, as lines.
private func problems(_ text: String) -> [String] {
    do throws(ConfigurationError) {
        _ = try load(text)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

private let listener = """
    static_resources:
      listeners:
      - name: in
        address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
        filter_chains:
        - filters:
          - name: tcp
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
              stat_prefix: in
              cluster: up
    """

@Suite("BootstrapLoader")
struct BootstrapLoaderTests {
    @Test("max_retries is a budget of its own where none is given and it bounds anything")
    func maxRetries() throws {
        for (threshold, percent, minimum, burst) in [
            ("max_retries: 7", 0.0, 7, 0), ("max_retries: 4294967295", 20, 3, 100),
            ("max_requests: 7", 20, 3, 100),
            ("max_retries: 7, retry_budget: {budget_percent: {value: 30}}", 30, 3, 0),
        ] {
            let loaded = try load(
                "static_resources: {clusters: [{name: a, type: STATIC, connect_timeout: 1s, "
                    + "circuit_breakers: {thresholds: [{\(threshold)}]}}]}")
            let breakers = loaded.staticResources.clusters[0].circuitBreakers
            #expect(breakers.retryBudgetPercent == percent)
            #expect(breakers.retryBudgetMinimum == minimum)
            #expect(breakers.retryBurst == burst)
        }
    }

    @Test("Each priority has thresholds of its own; of several for one the first counts")
    func priorities() throws {
        let loaded = try load(
            "static_resources: {clusters: [{name: a, type: STATIC, connect_timeout: 1s, "
                + "circuit_breakers: {thresholds: [{max_requests: 5}, {max_requests: 6}, "
                + "{priority: HIGH, max_requests: 7, track_remaining: true}], "
                + "per_host_thresholds: [{max_connections: 4, max_requests: 3}]}}]}")
        let cluster = loaded.staticResources.clusters[0]
        #expect(cluster.breakers(.normal).maxRequests == 5)
        #expect(cluster.breakers(.high).maxRequests == 7)
        #expect(cluster.breakers(.high).maxConnections == 1024)
        #expect(cluster.breakers(.high).tracksRemaining)
        #expect(!cluster.breakers(.normal).tracksRemaining)
        #expect(cluster.breakers(.normal).maxConnectionsPerHost == 4)
        #expect(cluster.breakers(.high).maxConnectionsPerHost == .max)
        let warnings = loaded.warnings.joined()
        #expect(warnings.contains("per_host_thresholds: bounds max_connections alone"))
    }

    @Test("How long requests queue is said by the bootstrap, and by a cluster for its own")
    func queueTimeout() throws {
        func cluster(_ value: String) -> String {
            "static_resources: {clusters: [{name: a, type: STATIC, connect_timeout: 1s, metadata: "
                + "{filter_metadata: {meshproxy: {queue_timeout_ms: \(value)}}}}]}\n"
                + "bootstrap_extensions: [{name: meshproxy, typed_config: {queue_timeout: 0.25s, "
                + "'@type': type.googleapis.com/meshproxy.config.v1.MeshProxy}}]"
        }
        let loaded = try load(cluster("40"))
        #expect(loaded.settings.queueTimeout == .milliseconds(250))
        #expect(loaded.staticResources.clusters[0].queueTimeout == .milliseconds(40))
        #expect(loaded.warnings == [])
        for wrong in ["-1", "soon", "86400001"] {
            #expect(throws: (any Error).self, "\(wrong)") { try load(cluster(wrong)) }
        }
    }

    @Test("The local cluster is named with our locality, and missed where it is not static")
    func localCluster() throws {
        let text = """
            node: {locality: {region: r, zone: a}}
            cluster_manager: {local_cluster_name: us}
            static_resources: {clusters: [{name: us, type: STATIC, connect_timeout: 1s}]}
            """
        let loaded = try load(text)
        #expect(loaded.settings.localCluster == "us" && loaded.warnings == [])
        #expect(loaded.settings.locality == Locality(region: "r", zone: "a"))
        let missing = try load(text.replacing("name: us, type", with: "name: others, type"))
        #expect(
            missing.warnings.first?.hasPrefix(
                "cluster_manager.local_cluster_name: no static cluster is called us") == true)
    }

    @Test("A listener with a tcp_proxy is read")
    func tcpProxy() throws {
        let bootstrap = try load(listener)
        #expect(
            bootstrap.staticResources.listeners[0].filterChains[0].filter
                == .tcpProxy(TCPProxy(statPrefix: "in", clusters: [WeightedCluster(name: "up")])))
        #expect(bootstrap.staticResources.listeners[0].address == .loopback(port: 8080))
    }

    @Test("A misspelt field is refused with its path, its place and the name that was meant")
    func misspelt() {
        let text = listener.replacing("stat_prefix", with: "stat_prefx")
        #expect(
            problems(text) == [
                "10:11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config"
                    + ".stat_prefx: expected a field of TcpProxy, got unknown field stat_prefx"
                    + " (did you mean stat_prefix?)"
            ])
    }

    @Test("Without strictness an unknown field is a warning")
    func lenient() throws {
        let bootstrap = try load("no_such_thing: 1", isStrict: false)
        #expect(bootstrap.warnings.count == 1 && bootstrap.warnings[0].contains("no_such_thing"))
    }

    @Test("All problems of a text are found at once")
    func several() {
        let found = problems(
            """
            static_resources:
              clusters:
              - name: a
                connect_timeout: soon
                type: STATICAL
                lb_policy: 99
            """)
        #expect(found.count == 3)
        #expect(
            found.first
                == "4:22: static_resources.clusters[0].connect_timeout: expected a duration such as "
                + "0.25s, got \"soon\"")
        #expect(found.contains { $0.contains("did you mean STATIC?") })
    }

    @Test("Names in both spellings, numbers as text, single values for lists, trailing commas")
    func tolerance() throws {
        let bootstrap = try load(
            """
            {"staticResources": {"clusters": {"name": "a", "connectTimeout": "0.25s", "type": "static",
              "maxRequestsPerConnection": "7", "lb_policy": 3,
              "circuit_breakers": {"thresholds": {"max_requests": 5,},},},},}
            """)
        let cluster = bootstrap.staticResources.clusters[0]
        #expect(cluster.connectTimeout == .milliseconds(250))
        #expect(cluster.maxRequestsPerConnection == 7 && cluster.circuitBreakers.maxRequests == 5)
        #expect(cluster.loadBalancing.policy == .random)
    }

    @Test("Two fields of one oneof are refused")
    func oneof() {
        let text = listener.replacing(
            "cluster: up", with: "cluster: up\n          weighted_clusters: {}")
        #expect(problems(text).contains { $0.contains("only one of cluster, weighted_clusters") })
    }

    @Test("Anchors and merge keys are read, and what is given itself wins")
    func merge() throws {
        let bootstrap = try load(
            """
            static_resources:
              clusters:
              - &base {name: a, connect_timeout: 2s, lb_policy: RANDOM}
              - {<<: *base, name: b, connect_timeout: 3s}
            """)
        let clusters = bootstrap.staticResources.clusters
        #expect(clusters.map(\.name) == ["a", "b"])
        #expect(clusters[1].connectTimeout == .seconds(3))
        #expect(clusters[1].loadBalancing.policy == .random)
    }

    @Test("Aliases that multiply end in an error, not in memory")
    func bomb() {
        var text = "node:\n  metadata:\n    l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...12 {
            let item = "*l\(level - 1)"
            text +=
                "    l\(level): &l\(level) ["
                + Array(repeating: item, count: 10).joined(separator: ", ") + "]\n"
        }
        #expect(problems(text).first?.contains("aliases that multiply") == true)
    }

    @Test("The same key twice is refused")
    func duplicate() {
        #expect(problems("node: {id: a, id: b}").contains { $0.contains("id is given twice") })
    }

    @Test("What is no YAML is said with its place")
    func syntax() {
        #expect(problems("a: [1, 2")[0].contains("expected YAML or JSON"))
        #expect(problems("").isEmpty)
    }

    @Test("A filter that could restrict is never passed by")
    func unknownFilter() {
        let text = listener.replacing(
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            with: "envoy.extensions.filters.network.rbac.v3.RBAC")
        #expect(
            problems(text).first
                == "static_resources.listeners[0].filter_chains[0].filters[0].typed_config: expected "
                + "http_connection_manager or tcp_proxy, got "
                + "envoy.extensions.filters.network.rbac.v3.RBAC")
    }

    @Test("A static route to an unknown cluster is refused")
    func staticRoute() {
        let text = """
            static_resources:
              listeners:
              - name: in
                address: {socket_address: {address: 127.0.0.1, port_value: 80}}
                filter_chains:
                - filters:
                  - typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                      route_config:
                        virtual_hosts:
                        - {name: a, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: gone}}]}
                      http_filters:
                      - typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
            """
        #expect(
            problems(text) == [
                "static_resources.listeners[\"in\"]: expected routes to clusters that exist, got "
                    + "\"gone\""
            ])
    }

    @Test("Control planes keep their order, and must be static clusters")
    func controlPlanes() throws {
        let text = """
            dynamic_resources:
              ads_config:
                api_type: DELTA_GRPC
                grpc_services:
                - envoy_grpc: {cluster_name: one}
                - envoy_grpc: {cluster_name: two}
              cds_config: {ads: {}}
            static_resources:
              clusters: [{name: one}, {name: two}]
            """
        let bootstrap = try load(text)
        #expect(bootstrap.ads?.controlPlanes.map(\.cluster) == ["one", "two"])
        #expect(bootstrap.ads?.delta == true && bootstrap.wantsCDS && !bootstrap.wantsLDS)
        #expect(problems(text.replacing("{name: two}", with: "{name: three}")).count == 1)
    }

    @Test("Our own settings come in bootstrap_extensions, also inside a TypedStruct")
    func settings() throws {
        let plain = """
            bootstrap_extensions:
            - name: meshproxy
              typed_config:
                "@type": type.googleapis.com/meshproxy.config.v1.MeshProxy
                failover_mode: strict
                max_hold: 5s
            """
        let wrapped = """
            bootstrap_extensions:
            - name: meshproxy
              typed_config:
                "@type": type.googleapis.com/udpa.type.v1.TypedStruct
                type_url: type.googleapis.com/meshproxy.config.v1.MeshProxy
                value: {failover_mode: STRICT, maxHold: 5s}
            """
        for text in [plain, wrapped] {
            let settings = try load(text).settings
            #expect(settings.failoverMode == .strict && settings.maxHold == .seconds(5))
        }
    }

    @Test("An overlay is merged over the file")
    func overlay() throws {
        let bootstrap = try BootstrapLoader.load(
            text: Array("node: {id: a, cluster: c}".utf8), overlay: "{\"node\": {\"id\": \"b\"}}")
        #expect(bootstrap.node.id == "b" && bootstrap.node.cluster == "c")
    }
}
