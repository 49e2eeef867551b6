import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// What failover promises, over many seeds: networks near and far, few pods and many, all methods that may
/// be retried. `MESH_SEED=n` runs one seed, `MESH_SEEDS=n` so many; 200 are the promise, and some stories are
/// too dear to have that many every time.
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

    @Test("A gateway with 100 services behind it is a black hole: one event moves all within 2.6 s")
    func gatewayOfHundred() {
        Seeds.each(30) { seed in
            let mesh = SimulatedMesh(seed: seed)
            mesh.network.onStep = nil
            let gateways = [mesh.upstream("near", .http2), mesh.remote("far", .http2)]
            let proxy = mesh.controlledProxy(
                clusters: (0..<100).map { .of("svc\($0)", gateways) },
                routes: (0..<100).map { .forward(to: "svc\($0)", prefix: "/\($0)/") })
            let client = mesh.client(.http2, proxy)
            let load = SteadyLoad(mesh, every: .milliseconds(5)) { client.get("/\($0 % 100)/") }
            load.run(for: .milliseconds(500))
            let fault = mesh.network.now
            mesh.blackHole(gateways[0].host, from: proxy.host)
            load.run(for: .milliseconds(600))
            guard mesh.run() else { return ["some requests never ended"] }
            let settled = mesh.network.now
            load.run(for: .milliseconds(500))
            guard mesh.run() else { return ["some requests never ended"] }
            var problems: [String] = []
            if !load.failed.isEmpty { problems.append("\(load.failed.count) failed") }
            let moved = load.moved(since: fault)
            if moved >= .milliseconds(2600) { problems.append("moved after \(moved)") }
            if load.worst >= .milliseconds(2010) { problems.append("one took \(load.worst)") }
            let late = load.calls(from: .zero, to: .seconds(1), after: settled)
                .filter { $0.took > .milliseconds(10) || $0.servedBy != "far" }
            if !late.isEmpty { problems.append("after it \(late)") }
            if proxy.deadPaths != [gateways[0].address] {
                problems.append("events: \(proxy.deadPaths)")
            }
            return problems
        }
    }

    @Test("The local pods come back: no request fails, and traffic that has begun to return stays")
    func comesBack() {
        Seeds.each(15) { seed in
            let run = TargetRun(seed: seed)
            run.load.run(for: .milliseconds(200))
            for pod in run.local { pod.kill() }
            run.load.run(for: .milliseconds(700))
            let back = run.mesh.network.now
            for pod in run.local { pod.listen() }
            run.load.run(for: .seconds(13))
            guard run.mesh.run() else { return ["some requests never ended"] }
            var problems: [String] = []
            if !run.load.failed.isEmpty { problems.append("\(run.load.failed.count) failed") }
            if run.load.worst >= .milliseconds(100) { problems.append("took \(run.load.worst)") }
            let shares = stride(from: 0, to: 13000, by: 500).map { start in
                let calls = run.load.calls(
                    from: .milliseconds(start), to: .milliseconds(start + 500), after: back)
                let local = calls.count { $0.servedBy.hasPrefix("local") }
                return 100 * local / max(1, calls.count)
            }
            var highest = 0
            for share in shares {
                if share < highest - 30 { problems.append("went away again: \(shares)") }
                highest = max(highest, share)
            }
            if shares.last != 100 { problems.append("not all back: \(shares)") }
            return problems
        }
    }

    @Test("A whole cluster of 100 services is a black hole: all move within 3 s, by an event a pod")
    func clusterBlackHole() {
        Seeds.each(30) { seed in
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
