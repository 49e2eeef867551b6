import EventLoop
import Glibc
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

@Suite struct HealthEventLogTests {
    private func line(_ what: HealthEvent.What) -> String {
        HealthEvent(
            checker: .http(HTTPProbeConfig(path: "/")),
            address: SocketAddress.loopback(port: 80), cluster: "svc",
            endpoint: Endpoint(address: .loopback(port: 80)),
            locality: Locality(region: "east"), what: what
        ).json(at: UnixTime(microseconds: 1_234_567_891_234_000))
    }

    @Test("An event is one line of JSON, with the names that Envoy has")
    func format() {
        #expect(
            line(.ejected(.active))
                == #"{"health_checker_type":"HTTP","host":{"socket_address":{"#
                + #""address":"127.0.0.1","port_value":80}},"cluster_name":"svc","#
                + #""eject_unhealthy_event":{"failure_type":"ACTIVE"},"#
                + #""timestamp":"2009-02-13T23:31:31.234Z","locality":{"region":"east"}}"#)
        for (what, text) in [
            (.added(isFirst: true), #""add_healthy_event":{"first_check":true}"#),
            (
                .failed(.networkTimeout, isFirst: false),
                #""health_check_failure_event":{"failure_type":"NETWORK_TIMEOUT","first_check":false}"#
            ),
            (.succeeded, #""successful_health_check_event":{}"#),
            (.degraded, #""degraded_healthy_host":{}"#),
            (.noLongerDegraded, #""no_longer_degraded_host":{}"#),
        ] as [(HealthEvent.What, String)] {
            #expect(line(what).contains(text), "\(line(what))")
        }
    }

    /// The kinds of event that a file has, in order.
    private func kinds(always: Bool) throws -> [String] {
        let path = "/tmp/health-events-\(always)-\(getpid()).log"
        defer { unlink(path) }
        let mesh = SimulatedMesh(seed: 1)
        var answer = Answer.reply(200)
        let a = mesh.upstream("a") { _ in answer }
        var cluster = Cluster.of("svc", a)
        var check = ProbeConfig(
            kind: .http(HTTPProbeConfig(path: "/")), interval: .seconds(1), healthyThreshold: 1)
        check.noTrafficInterval = .seconds(1)
        check.eventLogPaths = [path]
        check.alwaysLogsFailures = always
        check.alwaysLogsSuccesses = always
        cluster.healthChecks = [check]
        let proxy = mesh.controlledProxy(clusters: [cluster])
        mesh.run(for: .milliseconds(1500))
        answer = .reply(500)
        mesh.run(for: .milliseconds(2000))
        answer = .reply(200).header("x-envoy-degraded", "1")
        mesh.run(for: .milliseconds(1000))
        proxy.control.reopenLogs()
        let text = String(decoding: try Files.read(path), as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            [
                "add_healthy_event", "eject_unhealthy_event", "health_check_failure_event",
                "successful_health_check_event", "degraded_healthy_host",
            ].first { line.contains("\"\($0)\"") }
        }
    }

    @Test("What turns is logged, and with always_log… every check")
    func story() throws {
        let turns = ["add_healthy_event", "eject_unhealthy_event", "add_healthy_event"]
        #expect(try kinds(always: false) == turns + ["degraded_healthy_host"])
        let all = try kinds(always: true)
        #expect(all.contains("successful_health_check_event"))
        #expect(all.count { $0 == "health_check_failure_event" } >= 2)
    }
}
