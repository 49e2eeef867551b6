import EventLoop
import MeshBase
import MeshConfig
import Testing
import XDSClient

@testable import MeshProxy

@Suite struct SimulateTests {
    private static var root: String {
        #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }
            + "/Examples/simulate/"
    }

    private func example(
        _ bootstrap: String = "shop.yaml", timeline: String = "east-dies.txt"
    ) throws -> SimulationReport {
        let loaded = try LoadedBootstrap(
            path: Self.root + bootstrap, overlay: nil, isStrict: true, nodeID: nil,
            nodeCluster: nil)
        return try MeshSimulator.run(loaded, timeline: Self.root + timeline, seed: 1)
    }

    private func shop(_ text: String) throws -> SimulationReport.Service {
        let loaded = try LoadedBootstrap(
            path: Self.root + "shop.yaml", overlay: nil, isStrict: true, nodeID: nil,
            nodeCluster: nil)
        let report = try MeshSimulator(loaded.bootstrap, FaultTimeline(text)).run()
        return try #require(report.services.first)
    }

    @Test("The example prints what docs/DRILLS.md shows")
    func text() throws {
        let text = try example().text
        let lines = text.split(separator: "\n").map(String.init)
        #expect(
            lines.first?.hasPrefix("shop: 12000 requests, 100 for each second: 12000 answered")
                == true,
            "\(text)")
        #expect(
            lines.contains { $0.hasPrefix("  10 s to 40 s          0 %     100 %   0 ") }, "\(text)"
        )
        #expect(
            lines.contains {
                $0.contains("at 10 s refuse locality=east: over for clients after 23 ms")
            }, "\(text)")
        #expect(lines.contains { $0.hasSuffix("priority 0: whole") }, "\(text)")
    }

    @Test(
        "An aggregate is simulated over its members: when the first refuses, the next answers all")
    func aggregate() throws {
        func cluster(_ name: String, _ number: Int) -> String {
            """
            {name: \(name), connect_timeout: 1s, load_assignment: {cluster_name: \(name), endpoints:
             [{locality: {region: \(name)}, lb_endpoints: [{endpoint: {address: {socket_address:
             {address: 10.1.0.\(number), port_value: 80}}}}]}]}}
            """
        }
        let type = "x/envoy.extensions.clusters.aggregate.v3.ClusterConfig"
        let bootstrap = try BootstrapLoader.load(
            text: Array(
                """
                static_resources: {clusters: [\(cluster("east", 1)), \(cluster("west", 2)),
                 {name: all, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: envoy.clusters.aggregate,
                  typed_config: {"@type": \(type), clusters: [east, west]}}}]}
                """.utf8))
        let timeline = try FaultTimeline("run 60s\ntraffic all 50\n10s-20s refuse service=east")
        let report = try MeshSimulator(bootstrap, timeline).run()
        let service = try #require(report.services.first)
        #expect(report.services.count == 1 && service.failed == 0)
        #expect(service.phases.map { $0.answered.keys.sorted() }.dropFirst().first == ["west"])
        #expect(service.phases.first?.answered.keys.sorted() == ["east"])
        #expect(service.phases.last?.answered.keys.contains("east") == true)
    }

    @Test("Zones are simulated by the same code: where there is a local cluster, requests stay")
    func zones() throws {
        func endpoints(_ name: String, _ zones: [(String, Range<Int>)]) -> String {
            let groups = zones.map { zone, numbers in
                let hosts = numbers.map {
                    "{endpoint: {address: {socket_address: {address: 10.1.0.\($0), port_value: 80}}}}"
                }
                return "{locality: {region: \(zone)}, lb_endpoints: ["
                    + hosts.joined(separator: ", ") + "]}"
            }
            return "{name: \(name), connect_timeout: 1s, load_assignment: {cluster_name: \(name), "
                + "endpoints: [\(groups.joined(separator: ", "))]}}"
        }
        let shop = endpoints("shop", [("east", 1..<4), ("west", 4..<7)])
        let us = endpoints("us", [("east", 10..<11), ("west", 11..<12)])
        func answered(_ extra: String) throws -> [String: Int] {
            let text = """
                node: {locality: {region: east}}
                static_resources: {clusters: [\(shop), \(us)]}
                \(extra)
                """
            let bootstrap = try BootstrapLoader.load(text: Array(text.utf8))
            let report = try MeshSimulator(bootstrap, FaultTimeline("run 10s\ntraffic shop 100"))
                .run()
            return try #require(report.services.first?.phases.first).answered
        }
        #expect(try answered("cluster_manager: {local_cluster_name: us}") == ["east": 1000])
        #expect(try answered("") == ["east": 500, "west": 500])
    }

    @Test("A route's subset is simulated: its endpoints alone answer")
    func subset() throws {
        let hosts = (1..<5).map { number in
            "{endpoint: {address: {socket_address: {address: 10.1.0.\(number), port_value: 80}}}, "
                + "metadata: {filter_metadata: {envoy.lb: {v: '\(number % 2)'}}}}"
        }
        let localities = zip(["east", "west"], [hosts.prefix(1), hosts.dropFirst()]).map {
            "{locality: {region: \($0)}, lb_endpoints: [\($1.joined(separator: ", "))]}"
        }
        let manager = "envoy.extensions.filters.network.http_connection_manager.v3"
        let route =
            "{match: {prefix: /}, route: {cluster: shop, metadata_match: "
            + "{filter_metadata: {envoy.lb: {v: '0'}}}}}"
        let text = """
            static_resources:
              clusters: [{name: shop, connect_timeout: 1s,
                lb_subset_config: {subset_selectors: [{keys: [v]}]},
                load_assignment: {cluster_name: shop, endpoints: [\(localities.joined(separator: ", "))]}}]
              listeners:
              - name: in
                address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
                filter_chains: [{filters: [{name: h, typed_config: {
                  "@type": type.googleapis.com/\(manager).HttpConnectionManager, stat_prefix: h,
                  http_filters: [{name: r, typed_config: {"@type":
                    type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
                  route_config: {name: r, virtual_hosts: [{name: a, domains: ["*"],
                    routes: [\(route)]}]}}}]}]
            """
        let bootstrap = try BootstrapLoader.load(text: Array(text.utf8))
        let report = try MeshSimulator(bootstrap, FaultTimeline("run 10s\ntraffic shop 100")).run()
        #expect(report.services.first?.phases.first?.answered == ["west": 1000])
    }

    @Test("A run of the same seed says the same, and its JSON has the same numbers")
    func replay() throws {
        let report = try example()
        #expect(try report.text == example().text)
        #expect(report.json.contains("\"answered\": 12000"))
    }

    @Test("A cap on the survivor sheds what is too much, and the comparison says so")
    func compared() throws {
        let (free, capped) = (try example(), try example("shop-capped.yaml"))
        let service = try #require(capped.services.first)
        #expect(service.failed == 0 && service.shed > 1000)
        #expect((service.peaks["west"] ?? .max) <= 50)
        #expect(free.worse(in: free) == [])
        #expect(free.worse(in: capped).contains { $0.contains("shed requests") })
        #expect(capped.worse(in: free).contains { $0.contains("in west") })
    }

    @Test("A black hole of one pod costs those that met it the connect time-out, and no request")
    func blackHole() throws {
        let service = try shop(
            "run 20s\ntraffic shop 50\n5s-10s blackhole address=10.1.0.1:80")
        #expect(service.failed == 0 && service.answered == 1000)
        #expect(service.slowest >= .seconds(1) && service.slowest < .milliseconds(1100))
    }

    @Test("An evacuation moves all traffic and loses nothing; so do endpoints that are taken away")
    func moved() throws {
        for fault in ["evacuate 20 locality=east", "empty locality=east"] {
            let service = try shop("run 30s\n10s \(fault)\n16s slow 1ms locality=west")
            #expect(service.failed == 0 && service.retries == 0)
            #expect(service.phases.last?.answered.keys.sorted() == ["west"])
        }
    }

    @Test("Shares, drops, times, bytes and loads are exact where they can be worked out by hand")
    func exact() throws {
        // Two clusters with two pods each. East refuses for 10 s of 20, and then nobody answers for 2 s.
        let service = try shop(
            "run 24s\ntraffic shop 100 2kB\n4s-14s refuse locality=east\n22s refuse")
        #expect(service.phases.map(\.from) == [0, 4, 14, 22].map { .zero + .seconds($0) })
        #expect(service.phases[0].answered == ["east": 400] && service.phases[0].failed == 0)
        #expect(service.phases[1].answered == ["west": 1000] && service.phases[1].failed == 0)
        #expect(service.phases[3].answered == [:] && service.phases[3].failed == 200)
        #expect(service.answered == 2200 && service.failed == 200 && service.shed == 0)
        // East was away for the 10 s, so it is watched for as long and has nothing before 22 s but the two
        // requests that found out.
        #expect(service.phases[2].answered == ["east": 2, "west": 798])
        #expect(service.remoteBytes == 1798 * 2000)
        #expect(service.peaks == ["east": 100, "west": 100])
        // The first request meets both pods, a refusal each takes 1 ms, and then retries wait a little.
        let failover = try #require(service.failover(0))
        #expect(failover > .milliseconds(2) && failover < .milliseconds(60))
        // The last request that fails begins 1.99 s after it.
        let outage = try #require(service.failover(1))
        #expect(outage > .milliseconds(1990) && outage < .milliseconds(2050))
    }

    @Test("A cap on the survivor is the most that it gets in any second, and the rest are drops")
    func capped() throws {
        let loaded = try LoadedBootstrap(
            path: Self.root + "shop-capped.yaml", overlay: nil, isStrict: true, nodeID: nil,
            nodeCluster: nil)
        let report = try MeshSimulator(
            loaded.bootstrap, FaultTimeline("run 12s\ntraffic shop 100\n2s refuse locality=east")
        ).run()
        let service = try #require(report.services.first)
        let (answered, shed) = (service.phases[1].answered["west"] ?? 0, service.phases[1].shed)
        #expect(answered + shed == 1000 && service.failed == 0)
        #expect((470...500).contains(answered) && service.peaks["west"].map { $0 <= 50 } == true)
    }

    @Test("A route's retry policy counts, also of a table that is written in its listener")
    func inlineRoutes() throws {
        func retries(_ policy: String) throws -> SimulationReport.Service {
            let manager =
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
            let overlay = """
                static_resources:
                  listeners:
                  - name: out
                    address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
                    filter_chains:
                    - filters:
                      - name: http
                        typed_config:
                          "@type": \(manager).HttpConnectionManager
                          stat_prefix: out
                          route_config:
                            name: out
                            virtual_hosts:
                            - {name: all, domains: ["*"], routes: [{match: {prefix: /},
                                route: {cluster: shop\(policy)}}]}
                          http_filters:
                          - name: router
                            typed_config: {"@type":
                              type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                """
            let loaded = try LoadedBootstrap(
                path: Self.root + "shop.yaml", overlay: overlay, isStrict: true, nodeID: nil,
                nodeCluster: nil)
            let timeline = try FaultTimeline("run 2s\ntraffic shop 50\n1s status 503")
            let report = try MeshSimulator(loaded.bootstrap, timeline).run()
            return try #require(report.services.first)
        }
        #expect(try retries("").retries == 0)
        let service = try retries(", retry_policy: {retry_on: 5xx, num_retries: 1}")
        #expect(service.retries > 40 && service.failed == 50)
    }

    @Test("What /config_dump prints is simulated as the bootstrap that it was made of")
    func ownDump() throws {
        let mesh = SimulatedMesh(seed: 1)
        for name in ["shop.yaml", "shop-capped.yaml"] {
            let loaded = try LoadedBootstrap(
                path: Self.root + name, overlay: nil, isStrict: true, nodeID: nil,
                nodeCluster: nil)
            let proxy = ControlledProxy(
                name, host: mesh.makeHost(name), bootstrap: loaded.bootstrap)
            mesh.controlled.append(proxy)
            mesh.run(for: .milliseconds(10))
            let dump = proxy.page("/config_dump", (key: "include_eds", value: ""))
            let read = try #require(try ConfigDumpReader.load(text: Array(dump.utf8)))
            #expect(read.warnings == [] && read.settings == loaded.bootstrap.settings)
            #expect(read.node.locality == loaded.bootstrap.node.locality)
            let text = String(
                decoding: try Files.read(Self.root + "east-dies.txt"), as: UTF8.self)
            let timeline = try FaultTimeline(text)
            let reports = try [read, loaded.bootstrap].map {
                try MeshSimulator($0, timeline).run().text
            }
            #expect(reports[0] == reports[1])
        }
        #expect(mesh.finish() == [])
    }

    @Test(
        "A line that makes no sense is refused with its number",
        arguments: [
            ("run", "a time"), ("traffic shop 0", "traffic SERVICE"), ("5s-4s refuse", "an end"),
            ("5s explode", "refuse, blackhole"), ("5s refuse pod=1", "service="),
            ("5s status 99", "status 200"), ("5s slow", "a time"),
        ])
    func badLines(line: String, expected: String) {
        do {
            _ = try FaultTimeline("\n" + line)
            Issue.record("taken: \(line)")
        } catch {
            #expect(error.line == 2 && error.expected.hasPrefix(expected))
        }
    }

    @Test("A service that is not there is named with those that are")
    func unknownService() throws {
        #expect(throws: SimulationError.self) { try shop("traffic shpo 10") }
    }
}
