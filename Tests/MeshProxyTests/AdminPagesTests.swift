import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Observability
import TestPKI
import Testing

@testable import MeshProxy

private final class NoFiles: FileSource {
    func read(_ path: String) throws(SocketError) -> [UInt8] { [] }
    func watch(_ directory: String, changed: @escaping () -> Void) {}
}

/// A control loop with the admin pages before it; its workers only note what they are told.
private final class AdminFixture {
    let network = SimulatedNetwork(seed: 1)
    let loop: SimulatedLoop
    let hub = MetricsHub()
    let control: ControlLoop
    let pages: AdminPages
    private let told = Told()

    private final class Told {
        var orders: [WorkerOrder] = []
    }

    init(_ bootstrap: Bootstrap, workers: Int = 1) {
        loop = network.makeLoop("proxy", addresses: ["10.0.0.1"])
        control = ControlLoop(
            loop: loop, bootstrap: bootstrap, files: NoFiles(), log: ProxyLog(),
            metrics: hub.makeWorker(),
            workers: (0..<workers).map { [told] _ in { told.orders.append($0) } })
        pages = AdminPages(control: control, registry: hub, log: ProxyLog())
        control.start()
    }

    var orders: [WorkerOrder] { told.orders }

    func adopted() {
        control.received(.adopted(worker: 0, number: control.published.number, problems: []))
    }

    func get(_ target: String, method: String = "GET") -> AdminServer.Reply {
        let parts = target.split(separator: "?", maxSplits: 1).map(String.init)
        let query = (parts.count > 1 ? parts[1] : "").split(separator: "&").map { pair in
            let halves = pair.split(separator: "=", maxSplits: 1).map(String.init)
            return (key: halves[0], value: halves.count > 1 ? halves[1] : "")
        }
        return pages.answer(AdminServer.Request(method: method, path: parts[0], query: query))
    }
}

private func bootstrap(_ change: (inout Bootstrap) -> Void = { _ in }) -> Bootstrap {
    var web = Cluster(name: "web")
    web.endpoints = EndpointSet(localities: [
        LocalityEndpoints(
            locality: Locality(region: "east", zone: "a"),
            endpoints: [
                Endpoint(address: .ipv4(0x0A00_0002, port: 80)),
                Endpoint(
                    target: .address(.ipv4(0x0A00_0003, port: 80)), weight: 3, status: .unhealthy),
            ])
    ])
    let routes = RouteConfiguration(
        name: "local",
        virtualHosts: [
            VirtualHost(
                name: "all", domains: ["*"],
                routes: [
                    Route(
                        match: RouteMatch(path: .prefix("/")),
                        action: .forward(ForwardAction(target: .cluster("web"))))
                ])
        ])
    let manager = HTTPConnectionManager(statPrefix: "ingress", routes: .inline(routes))
    let listener = Listener(
        name: "in", address: .loopback(port: 8080),
        filterChains: [FilterChain(filter: .http(manager))], direction: .inbound)
    var bootstrap = Bootstrap(
        node: Node(id: "sidecar~1", cluster: "c"),
        staticResources: Snapshot(listeners: [listener], clusters: [web]))
    change(&bootstrap)
    return bootstrap
}

@Suite struct AdminPagesTests {
    @Test("An evacuation is begun and undone by POST, shown, and told to the workers")
    func evacuate() {
        let fixture = AdminFixture(bootstrap())
        #expect(fixture.get("/evacuate").text == "nothing is evacuated\n")
        let reply = fixture.get("/evacuate?locality=east&percent_per_second=20", method: "POST")
        #expect(reply.text == "locality=east: 2 endpoints leave at 20 %/s\n")
        fixture.network.run(for: .seconds(2))
        #expect(
            fixture.get("/evacuate").text
                == "locality=east: evacuating: 40 % of 100 %, 2 endpoints\n")
        #expect(
            fixture.get("/clusters").text.contains(
                "web::10.0.0.2:80::evacuation::evacuating: 40 % of 100 %"))
        #expect(
            fixture.get("/health").text.contains(
                "leaving: an operator's word (evacuating: 40 % of 100 %), until it is undone"))
        #expect(fixture.get("/evacuate/undo").status == 405)
        #expect(fixture.get("/evacuate/undo", method: "POST").text.contains("returning: 40 %"))
        fixture.network.run(for: .seconds(3))
        #expect(fixture.get("/evacuate").text == "nothing is evacuated\n")
        #expect(fixture.get("/evacuate/undo", method: "POST").status == 404)
        let told = fixture.orders.compactMap { order in
            if case .evacuate(let all) = order { all.map(\.target) } else { nil }
        }
        #expect(told == [[100], [0]])
    }

    @Test(
        "An evacuation of nothing, or with numbers that can't be, is refused",
        arguments: ["", "?locality=east&percent=0", "?service=web&percent_per_second=x"])
    func badEvacuation(query: String) {
        let fixture = AdminFixture(bootstrap())
        #expect(fixture.get("/evacuate" + query, method: "POST").status == 400)
    }

    @Test("Over TCP traffic is moved only where the bootstrap allows it", arguments: [false, true])
    func evacuateOverTCP(isAllowed: Bool) {
        let fixture = AdminFixture(
            bootstrap {
                $0.admin = Admin(address: .loopback(port: 15000))
                $0.settings.allowsAdminChanges = isAllowed
            })
        let status = isAllowed ? 200 : 403
        #expect(fixture.get("/evacuate?locality=east", method: "POST").status == status)
        #expect(fixture.get("/evacuate").status == 200)
        #expect(fixture.get("/evacuate/undo", method: "POST").status == status)
        #expect(
            fixture.orders.count { if case .evacuate = $0 { true } else { false } }
                == (isAllowed ? 2 : 0))
    }

    @Test("Over TCP a drill wants the bootstrap's leave", arguments: [false, true])
    func drillOverTCP(isAllowed: Bool) {
        let fixture = AdminFixture(
            bootstrap {
                $0.admin = Admin(address: .loopback(port: 15000))
                $0.settings.allowsAdminChanges = isAllowed
            })
        #expect(fixture.get("/drill").text == "there was no drill\n")
        let status = isAllowed ? 200 : 403
        #expect(fixture.get("/drill?cluster=web&seconds=5", method: "POST").status == status)
        #expect(fixture.get("/drill/stop", method: "POST").status == status)
        #expect(
            fixture.orders.count { if case .drill = $0 { true } else { false } }
                == (isAllowed ? 2 : 0))
    }

    @Test("An aggregate is shown with its members, and a drill is referred to them")
    func aggregate() {
        let fixture = AdminFixture(
            bootstrap {
                $0.staticResources.clusters.append(
                    Cluster(name: "all", discovery: .aggregate(["web", "later"])))
            })
        #expect(fixture.get("/clusters").text.contains("all::aggregate::web,later\n"))
        let dump = fixture.get("/config_dump").text.filter { !$0.isWhitespace }
        #expect(dump.contains(#""clusters":["web","later"]"#))
        #expect(dump.contains("envoy.clusters.aggregate"))
        let reply = fixture.get("/drill?cluster=all", method: "POST")
        #expect(reply.status == 400 && reply.text.contains("a member of the aggregate, web,"))
    }

    @Test(
        "A drill with numbers that can't be is refused",
        arguments: ["cluster=web&seconds=121", "cluster=web&percent=0", "cluster=web&fault=flood"])
    func badDrill(query: String) {
        let fixture = AdminFixture(bootstrap())
        #expect(fixture.get("/drill?" + query, method: "POST").status == 400)
    }

    @Test("A priority on its way back is shown where it has come least far")
    func failback() {
        let fixture = AdminFixture(bootstrap(), workers: 2)
        func report(_ worker: Int, _ event: FailbackRamp.Event) {
            fixture.control.received(
                .failback(
                    worker: worker, cluster: "web", FailbackRamp.Change(priority: 0, event: event)))
        }
        report(0, .forward(percent: 60))
        report(1, .back(percent: 40))
        #expect(
            fixture.get("/clusters").text.contains(
                "web::priority::0::failback 40 % after failures\n"))
        report(1, .finished)
        #expect(fixture.get("/clusters").text.contains("web::priority::0::failback 60 %\n"))
        report(0, .finished)
        #expect(!fixture.get("/clusters").text.contains("::failback"))
    }

    @Test("Ready only once every worker has the configuration, and not when told to fail")
    func ready() {
        let admin = AdminFixture(bootstrap())
        #expect(admin.get("/ready").status == 503)
        #expect(
            admin.get("/ready").text == "INITIALIZING: 0 of 1 workers have the configuration\n")
        admin.adopted()
        #expect(admin.get("/ready").status == 200 && admin.get("/ready").text == "LIVE\n")
        #expect(admin.get("/healthcheck/fail", method: "POST").status == 200)
        #expect(admin.get("/ready").text.hasPrefix("DRAINING: "))
        #expect(admin.get("/healthcheck/ok", method: "POST").status == 200)
        #expect(admin.get("/ready").status == 200)
    }

    @Test("A proxy whose control planes have given nothing says that it is not initialised")
    func preInitializing() {
        let admin = AdminFixture(
            bootstrap {
                $0.ads = AggregatedDiscovery(controlPlanes: [.init(cluster: "xds")])
                $0.wantsCDS = true
            })
        admin.adopted()
        #expect(admin.get("/ready").text.hasPrefix("PRE_INITIALIZING: no control plane"))
        #expect(admin.get("/stats?filter=^server\\.state$").text == "server.state: 2\n")
        #expect(
            admin.get("/stats?filter=workers_started").text
                == "listener_manager.workers_started: 0\n")
        let text = admin.get("/stats/prometheus").text
        #expect(text.contains("meshproxy_control_plane_in_force{name=\"xds\"} 0\n"))
    }

    @Test("What changes something wants POST, and an unknown page gets the list")
    func methods() {
        let admin = AdminFixture(bootstrap())
        for path in ["/quitquitquit", "/drain_listeners", "/healthcheck/fail", "/healthcheck/ok"] {
            #expect(admin.get(path).status == 405)
            #expect(admin.get(path, method: "HEAD").status == 405)
        }
        #expect(admin.orders.count == 1)
        #expect(admin.get("/nonsense").status == 404)
        #expect(admin.get("/nonsense").text.contains("/stats/prometheus: "))
        #expect(admin.get("/help").text == admin.get("/").text)
    }

    @Test("A query value that makes no sense is answered with what was expected and what came")
    func badQueries() {
        let admin = AdminFixture(bootstrap())
        let bad = [
            "/stats?format=xml": "expected text or json or prometheus, got \"xml\"",
            "/stats?usedonly=maybe": "expected nothing, true or false, got \"maybe\"",
            "/stats?filter=(": "expected a regular expression",
            "/config_dump?mask=nonsense": "got \"nonsense\"",
            "/config_dump?name_regex=(": "got \"(\"",
            "/clusters?format=html": "got \"html\"",
        ]
        for (target, words) in bad {
            #expect(admin.get(target).status == 400)
            #expect(admin.get(target).text.contains(words), "\(admin.get(target).text)")
        }
        #expect(admin.get("/drain_listeners?skip_exit", method: "POST").status == 400)
    }

    @Test(
        "Draining takes inbound listeners only where asked, and ends the process unless told not to"
    )
    func drainListeners() {
        let admin = AdminFixture(bootstrap())
        var isStopped = false
        admin.control.stopped = { isStopped = true }
        _ = admin.get("/drain_listeners?inboundonly&graceful&skip_exit", method: "POST")
        guard case .drainListeners(inboundOnly: true) = admin.orders.last else {
            Issue.record("got \(admin.orders)")
            return
        }
        admin.network.run(for: .seconds(100))
        guard case .drainListeners = admin.orders.last else {
            Issue.record("skip_exit: got \(admin.orders.count) orders")
            return
        }
        _ = admin.get("/drain_listeners?graceful", method: "POST")
        admin.network.run(for: .seconds(100))
        guard case .close = admin.orders.last else {
            Issue.record("got \(admin.orders.count) orders")
            return
        }
        admin.control.received(.closed(worker: 0))
        #expect(isStopped)
    }

    @Test("Endpoints are listed with what stands against them")
    func clusters() {
        let admin = AdminFixture(bootstrap())
        let text = admin.get("/clusters").text
        #expect(text.contains("web::default_priority::max_connections::1024\n"))
        #expect(text.contains("web::high_priority::max_retries::3\n"))
        #expect(text.contains("web::added_via_api::false\n"))
        #expect(text.contains("web::10.0.0.2:80::health_flags::healthy\n"))
        #expect(text.contains("web::10.0.0.3:80::health_flags::/failed_eds_health\n"))
        #expect(text.contains("web::10.0.0.3:80::weight::3\n"))
        #expect(text.contains("web::10.0.0.2:80::region::east\n"))
        let failure = TransportFailure(.connectRefused)
        for _ in 0..<3 {
            admin.control.received(
                .evidence(
                    .failed(
                        cluster: "web", address: .ipv4(0x0A00_0002, port: 80), failure)))
        }
        let after = admin.get("/clusters").text
        #expect(after.contains("web::10.0.0.2:80::health_flags::/failed_outlier_check\n"))
        #expect(after.contains("web::10.0.0.2:80::health_reason::ejected: connect-refused"))
        let json = admin.get("/clusters?format=json").text
        #expect(json.contains("\"failed_outlier_check\": true"))
        #expect(json.contains("\"eds_health_status\": \"UNHEALTHY\""))
        let stats = admin.get("/stats?filter=^cluster\\.web\\.membership_(total|healthy)").text
        #expect(stats == "cluster.web.membership_healthy: 0\ncluster.web.membership_total: 2\n")
    }

    @Test(
        "A configuration dump has Envoy's sections in Envoy's order, and keys of secrets are not in it"
    )
    func configDump() {
        let pki = TestPKI(trustDomain: "td")
        let leaf = pki.workload("ns/web")
        let admin = AdminFixture(
            bootstrap {
                $0.staticResources.secrets["own"] = Secret(
                    name: "own",
                    content: .certificate(
                        CertificateMaterial(
                            chain: .inline(leaf.chainBytes), key: .inline(leaf.keyBytes))))
                $0.staticResources.clusters.append(
                    Cluster(name: "remote", discovery: .eds(serviceName: "svc")))
                $0.staticResources.clusters[1].provenance = Provenance(
                    version: "7", source: "xds", updated: UnixTime(microseconds: 1_000_001_000))
            })
        let dump = admin.get("/config_dump?include_eds").text
        let types = [
            "Bootstrap", "Clusters", "Endpoints", "Listeners", "ScopedRoutes", "Routes", "Secrets",
        ].map { "\"type.googleapis.com/envoy.admin.v3.\($0)ConfigDump\"" }
        let places = types.compactMap { dump.position(of: $0) }
        #expect(places.count == types.count && places == places.sorted())
        #expect(!dump.contains(Base64.encode(leaf.keyBytes)))
        #expect(dump.contains("\"inline_bytes\": \"\(Base64.encode("[redacted]".utf8))\""))
        #expect(dump.contains("\"version_info\": \"7\""))
        #expect(dump.contains("\"last_updated\": \"1970-01-01T00:16:40.001Z\""))
        #expect(!admin.get("/config_dump").text.contains("EndpointsConfigDump"))

        let one = admin.get("/config_dump?resource=dynamic_active_clusters").text
        #expect(one.contains("\"name\": \"remote\"") && !one.contains("\"name\": \"web\""))
        #expect(!one.contains("ClustersConfigDump"))
        let masked = admin.get("/config_dump?mask=static_listeners").text
        #expect(masked.contains("\"name\": \"in\"") && !masked.contains("BootstrapConfigDump"))
        let named = admin.get("/config_dump?mask=static_clusters&name_regex=^we").text
        #expect(named.contains("\"name\": \"web\""))
        #expect(
            !admin.get("/config_dump?mask=static_clusters&name_regex=eb$x").text.contains("web"))

        let certs = admin.get("/certs").text
        #expect(certs.contains("\"uri\": \"\(pki.identity("ns/web"))\""))
        #expect(certs.contains("\"days_until_expiration\": \""))
        #expect(
            admin.get("/stats?usedonly&filter=days_until").text.hasPrefix(
                "server.days_until_first_cert_expiring: "))
    }

    @Test("Listeners are listed in both forms, and the process describes itself")
    func listeners() {
        let admin = AdminFixture(bootstrap())
        admin.adopted()
        #expect(admin.get("/listeners").text == "in::127.0.0.1:8080\n")
        #expect(admin.get("/listeners?format=json").text.contains("\"port_value\": 8080"))
        let info = admin.get("/server_info").text
        #expect(info.contains("\"state\": \"LIVE\"") && info.contains("\"id\": \"sidecar~1\""))
        #expect(info.contains("\"uptime_current_epoch\": \"0s\""))
        #expect(admin.get("/server_info").contentType == "application/json")
    }

    @Test("Statistics come as lines and as JSON, and what a worker counts is among them")
    func stats() {
        let admin = AdminFixture(bootstrap())
        admin.adopted()
        let manager = HTTPConnectionManager(
            statPrefix: "ingress", routes: .named("x"))
        let worker = admin.hub.makeWorker().http(manager)
        worker.requestBegan()
        worker.requestEnded(status: 503, took: .milliseconds(3))
        worker.requestBegan()
        worker.requestEnded(status: 0, took: .zero)
        #expect(
            admin.get("/stats?usedonly&filter=^http.*rq_(total|5xx|active)").text == """
                http.ingress.downstream_rq_5xx: 1
                http.ingress.downstream_rq_active: 0
                http.ingress.downstream_rq_total: 2

                """)
        #expect(
            admin.get("/stats?format=json&filter=^http.*rq_5xx").text == """
                {
                 "stats": [
                  {
                   "name": "http.ingress.downstream_rq_5xx",
                   "value": 1
                  }
                 ]
                }

                """)
        #expect(
            admin.get("/stats?usedonly&filter=^(server\\.state|listener_manager\\.workers_started)")
                .text == "listener_manager.workers_started: 1\nserver.state: 0\n")
        #expect(
            admin.get("/stats?format=prometheus").text.contains(
                "envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix=\"ingress\"} 2\n"
            ))
    }

    @Test("A cluster that is gone leaves the statistics when its last user lets go of it")
    func unregistering() {
        let admin = AdminFixture(bootstrap())
        var metrics: ClusterMetrics? = admin.hub.makeWorker().cluster(Cluster(name: "gone:80"))
        metrics?.requestBegan()
        #expect(
            admin.get("/stats?filter=gone.*rq_total").text
                == "cluster.gone_80.upstream_rq_total: 1\n")
        metrics = nil
        #expect(admin.get("/stats?filter=gone").text == "")
    }
}

@Suite struct JSONValueTests {
    @Test("Strings are escaped, order is kept, and fields that say nothing are left out")
    func writing() {
        let value = JSONValue.message(
            ("b", .string("a\"\\\n\u{1}é")), ("gone", ""), ("list", []), ("a", [1, true, .null]),
            ("empty", [:]), ("none", .message(("x", .null))))
        #expect(
            value.text == """
                {
                 "b": "a\\"\\\\\\n\\u0001é",
                 "a": [
                  1,
                  true,
                  null
                 ],
                 "empty": {}
                }

                """)
    }

    @Test("Durations have three, six or nine decimals, as protobuf writes them")
    func durations() {
        func text(_ duration: Duration) -> String { ConfigJSON.duration(duration).text }
        #expect(text(.seconds(5)) == "\"5s\"\n")
        #expect(text(.milliseconds(250)) == "\"0.250s\"\n")
        #expect(text(.microseconds(1_000_001)) == "\"1.000001s\"\n")
        #expect(text(.zero - .milliseconds(1500)) == "\"-1.500s\"\n")
        #expect(Base64.encode("ab".utf8) == "YWI=" && Base64.encode("abc".utf8) == "YWJj")
    }
}

extension String {
    fileprivate func position(of part: String) -> Int? {
        let all = Array(utf8)
        let wanted = Array(part.utf8)
        guard all.count >= wanted.count else { return nil }
        return (0...(all.count - wanted.count)).first { all[$0...].starts(with: wanted) }
    }
}
