import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// What failover promises, each over 200 seeds: networks near and far, few pods and many, HTTP/1 and
/// HTTP/2 clients, all methods that may be retried. `MESH_SEED=n` runs one seed, `MESH_SEEDS=n` another number of them.
@Suite struct FailoverTargets {
    @Test("All local pods refuse: no idempotent request fails, and all have moved within 200 ms")
    func refused() {
        Seeds.each { seed in
            let run = TargetRun(seed: seed)
            run.load.run(for: .milliseconds(200))
            let fault = run.mesh.network.now
            for pod in run.local { pod.kill() }
            run.load.run(for: .milliseconds(300))
            guard run.mesh.run() else { return ["some requests never ended"] }
            return run.problems(
                failed: 0, moved: .milliseconds(200), worst: .milliseconds(100), fault)
                + run.staying(after: .milliseconds(200), fault)
        }
    }

    @Test("All local pods answer 503: all have moved within 500 ms, and Istio's retries hide it")
    func serverErrors() {
        Seeds.each { seed in
            let run = TargetRun(seed: seed, retry: .ofIstio) {
                $0.outlierDetection = OutlierDetection(maxEjectionPercent: 100)
                $0.circuitBreakers.retryBudgetMinimum = 100
            }
            run.load.run(for: .milliseconds(200))
            let fault = run.mesh.network.now
            for pod in run.local { pod.answer = { _ in .reply(503, "no") } }
            run.load.run(for: .milliseconds(800))
            guard run.mesh.run() else { return ["some requests never ended"] }
            let asked = run.local.map { pod in pod.requests.count { $0.at > fault } }
            return run.problems(
                failed: 0, moved: .milliseconds(500), worst: .milliseconds(300), fault)
                + run.staying(after: .milliseconds(500), fault)
                + asked.filter { $0 > 8 }.map { "a failing pod was asked \($0) times" }
        }
    }

    @Test("One of two gateways is a black hole: nothing fails, and nothing waits for 2.5 s")
    func gatewayBlackHole() {
        Seeds.each { seed in
            let run = TargetRun(seed: seed)
            for pod in run.local { pod.kill() }
            run.load.run(for: .milliseconds(200))
            let fault = run.mesh.network.now
            run.mesh.blackHole(run.remote[0].host, from: run.proxy.host)
            run.load.run(for: .milliseconds(600))
            run.mesh.run(for: .milliseconds(2500))
            run.load.run(for: .milliseconds(100))
            guard run.mesh.run() else { return ["some requests never ended"] }
            return run.problems(
                failed: 0, moved: .milliseconds(3100), worst: .milliseconds(2500), fault)
        }
    }

    @Test("A whole cluster of 100 services is a black hole: all move within 3 s, by an event a pod")
    func clusterBlackHole() {
        // Dearer than the others; `MESH_SEEDS=200` runs as many.
        Seeds.each(60) { seed in
            let mesh = SimulatedMesh(seed: seed)
            mesh.network.onStep = nil
            let pods = mesh.upstreams("east", count: 100)
            let gateways = (0..<2).map { mesh.remote("gateway\($0)", .http2) }
            let clusters = pods.indices.map { Cluster.of("svc\($0)", [pods[$0]] + gateways) }
            let proxy = mesh.controlledProxy(
                clusters: clusters,
                routes: pods.indices.map { .forward(to: "svc\($0)", prefix: "/\($0)/") })
            let client = mesh.client(.http2, proxy)
            let load = SteadyLoad(mesh, every: .milliseconds(5)) { client.get("/\($0 % 100)/") }
            load.run(for: .milliseconds(500))
            let fault = mesh.network.now
            mesh.blackHole(pods[0].host, from: proxy.host)
            load.run(for: .milliseconds(600))
            guard mesh.run() else { return ["some requests never ended"] }
            let settled = mesh.network.now
            load.run(for: .milliseconds(500))
            guard mesh.run() else { return ["some requests never ended"] }
            var problems: [String] = []
            if !load.failed.isEmpty { problems.append("\(load.failed.count) failed") }
            let moved = load.moved(since: fault)
            if moved >= .seconds(3) { problems.append("moved after \(moved)") }
            let late = load.calls(from: .zero, to: .seconds(1), after: settled)
                .filter { $0.took > .milliseconds(10) || !$0.servedBy.hasPrefix("gateway") }
            if !late.isEmpty { problems.append("after it \(late)") }
            let events = proxy.deadPaths
            if events.count != 100 || Set(events) != Set(pods.map(\.address)) {
                problems.append("\(events.count) events for \(Set(events).count) first hops")
            }
            return problems
        }
    }
}
