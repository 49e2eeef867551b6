import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

@Suite struct HealthPageTests {
    private let a = SocketAddress.ipv4(0x0A00_0001, port: 80)

    private func lines(_ text: String, _ word: String) -> [String] {
        text.split(separator: "\n").map(String.init).filter { $0.contains(word) }
    }

    @Test("What refuses is ejected, with reason and the next probe; what is shared is one path")
    func paths() {
        let mesh = SimulatedMesh(seed: 1)
        let gateway = mesh.upstream("gateway")
        let other = mesh.remote("other")
        let names = ["cart", "shop"]
        let proxy = mesh.controlledProxy(
            clusters: names.map { .of($0, gateway, other) },
            routes: names.map { .forward(to: $0, prefix: "/\($0)") })
        let before = proxy.page("/health")
        #expect(lines(before, "cart:") == ["cart: 2 of 2 endpoints are well"])
        #expect(
            lines(before, "services") == [
                "  \(gateway.address)  2 services, 2 endpoints  well",
                "  \(other.address)  2 services, 2 endpoints  well",
            ])
        gateway.kill()
        let client = mesh.client(.http1, proxy)
        for _ in 0..<3 {
            _ = client.get("/shop")
            mesh.run(for: .milliseconds(1100))
        }
        mesh.run(for: .milliseconds(10))
        let after = proxy.page("/health")
        #expect(lines(after, "cart:") == ["cart: 1 of 2 endpoints are well"])
        let path = lines(after, "2 services").first { $0.contains("\(gateway.address)") } ?? ""
        #expect(path.contains(": connect-refused ×") && path.contains(", probe in "), "\(after)")
        let only = proxy.page("/health", (key: "cluster", value: "shop"))
        #expect(lines(only, "cart").isEmpty && lines(only, "2 services").count == 2)
    }

    @Test("Checks, the control plane and what it thinks: state, reason and next step as JSON")
    func json() {
        let mesh = SimulatedMesh(seed: 2)
        let bad = mesh.upstream("bad") { _ in .reply(503) }
        let good = mesh.upstream("good")
        let leaving = mesh.upstream("leaving")
        leaving.status = .draining
        var cluster = Cluster.of("svc", bad, good, leaving)
        var check = ProbeConfig(
            kind: .http(HTTPProbeConfig(path: "/")), interval: .seconds(2))
        check.noTrafficInterval = .seconds(2)
        cluster.healthChecks = [check]
        let proxy = mesh.controlledProxy(clusters: [cluster])
        mesh.run(for: .seconds(6))
        let text = proxy.page("/health")
        let unhealthy = lines(text, "\(bad.address)  priority").first ?? ""
        #expect(unhealthy.contains("unhealthy: health check (HTTP): status 503 ×"), "\(text)")
        #expect(unhealthy.contains(", asked in "))
        #expect(
            lines(text, "\(leaving.address)  priority").first?.hasSuffix(
                "draining: the control plane says DRAINING, until it says otherwise") == true)
        let json = proxy.page("/health", (key: "format", value: "json"))
        for part in [
            "\"state\": \"unhealthy\"", "\"health_flags\": \"/failed_active_hc\"",
            "\"reason\": \"the control plane says DRAINING\"", "\"state\": \"well\"",
        ] {
            #expect(json.contains(part), "\(json)")
        }
        #expect(proxy.page("/clusters").contains("health_reason::unhealthy: health check (HTTP)"))
    }

    @Test("Every state has its words")
    func words() {
        var model = HealthModel()
        let now = Instant.zero + .seconds(1)
        func text() -> String { model.describe(.endpoint(cluster: "c", a), now: now) }
        #expect(text() == "well")
        _ = model.outlierTurned(
            cluster: "c", a, ejectedUntil: now + .seconds(28), reason: "consecutive-5xx")
        #expect(text() == "ejected: consecutive-5xx, back in 28.0 s")
        _ = model.outlierTurned(cluster: "c", a, ejectedUntil: nil, reason: "")
        _ = model.probesTurned(cluster: "c", a, .degraded)
        #expect(text() == "degraded: its health check says so")
        _ = model.probesTurned(cluster: "c", a, .passed)
        _ = model.failed(
            cluster: "c", a, gateway: nil, TransportFailure(.reset), now: now)
        #expect(text() == "suspect: reset ×1, probe in 1.0 s")
    }
}
