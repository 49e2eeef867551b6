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
