import MeshConfig
import MeshSimulation
import Testing
import XDSClient

@testable import MeshProxy

@Suite struct HealthCheckJSONTests {
    @Test("What /config_dump prints of health checks is read as the checks that they are")
    func roundTrip() throws {
        var http = HTTPProbeConfig(
            path: "/ready", host: "h", method: "HEAD", expectedStatuses: [200..<300],
            useHTTP2: true)
        http.retriableStatuses = [500..<501]
        http.serviceName = StringMatcher(.prefix("shop"))
        http.receive = [[1, 254]]
        http.bodyLimit = 99
        var full = ProbeConfig(kind: .http(http), unhealthyThreshold: 4)
        full.unhealthyInterval = .seconds(6)
        full.unhealthyEdgeInterval = .seconds(7)
        full.healthyEdgeInterval = .seconds(8)
        full.noTrafficInterval = .seconds(9)
        full.noTrafficHealthyInterval = .seconds(10)
        full.initialJitter = .seconds(1)
        full.intervalJitter = .seconds(2)
        full.intervalJitterPercent = 30
        full.altPort = 81
        full.reuseConnection = false
        full.transportCriteria = ["tls": .string("on")]
        full.alpn = ["h2"]
        full.eventLogPaths = ["/tmp/a", "/tmp/b"]
        full.alwaysLogsFailures = true
        full.alwaysLogsSuccesses = true
        let mesh = SimulatedMesh(seed: 1)
        var cluster = Cluster.of("svc", mesh.upstream("a"))
        cluster.healthChecks = [
            full, ProbeConfig(kind: .tcp(send: [], receive: [])),
            ProbeConfig(kind: .tcp(send: [1], receive: [[2], [3]])),
            ProbeConfig(kind: .grpc(service: "", authority: "", metadata: HeaderChanges())),
        ]
        cluster.drainOnHostRemoval = true
        cluster.ignoresNewUntilChecked = true
        let proxy = mesh.controlledProxy(clusters: [cluster])
        let dump = proxy.page("/config_dump", (key: "include_eds", value: ""))
        let read = try #require(try ConfigDumpReader.load(text: Array(dump.utf8)))
        let found = try #require(
            read.staticResources.clusters.first { $0.name == "svc" })
        #expect(found.healthChecks == cluster.healthChecks)
        #expect(found.drainOnHostRemoval && found.ignoresNewUntilChecked)
    }
}
