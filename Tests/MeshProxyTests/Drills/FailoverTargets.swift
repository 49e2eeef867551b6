import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// What failover promises, over many seeds: networks near and far, few pods and many, all methods that may
/// be retried. `MESH_SEED=n` runs one seed, `MESH_SEEDS=n` so many. 200 are the promise and take half an
/// hour; what runs every time are as many as are cheap.
@Suite struct FailoverTargets {
    // What Envoy does in each of these, with Istio's defaults, is said at the drills of the same faults, and
    // here where there is none.

    @Test("All local pods refuse: no idempotent request fails, and all have moved within 200 ms")
    func refused() {
        Seeds.each(20) { seed in
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
        Seeds.each(20) { seed in
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
        Seeds.each(20) { seed in
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

    /// Envoy: each cluster ejects the gateway for itself, after five requests that hung for their time-out.
    @Test("A gateway with 100 services behind it is a black hole: one event moves all within 2.6 s")
    func gatewayOfHundred() {
        Seeds.each(5) { seed in
            let run = ManyServices(seed: seed) { mesh, _ in [mesh.upstream("near", .http2)] }
            let near = run.mesh.servers[0]
            var problems = run.blackHole(near.host, movedWithin: .milliseconds(2600))
            if run.load.worst >= .milliseconds(2010) {
                problems.append("one took \(run.load.worst)")
            }
            if run.proxy.deadPaths != [near.address] {
                problems.append("events: \(run.proxy.deadPaths)")
            }
            if !run.proxy.doubts.isEmpty { problems.append("doubts \(run.proxy.doubts)") }
            return problems
        }
    }

    /// Envoy: the same for each pod; Istio's 10 % of three endpoints let none be ejected.
    @Test("A cluster of 100 services is a black hole: one event finds all, who move within 2.6 s")
    func clusterBlackHole() {
        Seeds.each(5) { seed in
            let run = ManyServices(seed: seed) { mesh, count in
                mesh.upstreams("east", count: count)
            }
            let pods = run.mesh.servers.prefix(100)
            var problems = run.blackHole(pods[0].host, movedWithin: .milliseconds(2600))
            if run.proxy.doubts != [pods[0].locality] {
                problems.append("doubts \(run.proxy.doubts)")
            }
            let paths = run.proxy.deadPaths
            if paths.count != 100 || Set(paths) != Set(pods.map(\.address)) {
                problems.append("\(paths.count) verdicts for \(Set(paths).count) first hops")
            }
            return problems
        }
    }

    /// Envoy limits what is in flight (`max_requests`), and no rate.
    @Test("A cluster is a black hole and the other may get 10 a second of each service: never more")
    func survivorCap() {
        Seeds.each(20) { seed in
            var settings = Settings()
            settings.spill = SpillSettings(maxPerSecond: 10)
            let run = ManyServices(seed: seed, count: 10, settings: settings) { mesh, count in
                mesh.upstreams("east", count: count)
            }
            // What is too much is told so at once, and nothing else fails.
            var problems = run.blackHole(
                run.mesh.servers[0].host, movedWithin: .seconds(3), after: .seconds(3),
                isShed: { $0.isAnswered(503) && $0.head?.string("retry-after") == "1" })
            if run.mostInOneSecond > 10 {
                problems.append("\(run.mostInOneSecond) requests within a second")
            }
            if run.mostInOneSecond < 6 { problems.append("hardly anything was let through") }
            return problems
        }
    }

    /// Envoy: pods get their whole share with the first health check that passes, or when their ejection
    /// is over.
    @Test(
        "The local pods come back: nothing fails, the ramp has its steps, and no share falls again")
    func comesBack() {
        Seeds.each(5) { seed in
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
            return problems + run.flaps(since: back) + run.rampProblems()
        }
    }

    /// Envoy: in `spill`, its only mode, the same; where users want `strict` they set the factor to a large
    /// number.
    @Test("Nine of ten pods are unhealthy: shares are exact, by Envoy's formula and in strict mode")
    func mostUnhealthy() {
        Seeds.each(20) { seed in
            var random = SeededRandom(seed: seed)
            let tens = 1 + random.below(3)
            let isStrict = random.below(2) == 0
            let mesh = SimulatedMesh(seed: seed)
            let east = mesh.upstreams("east", count: 10 * tens)
            for pod in east.dropFirst(tens) { pod.status = .unhealthy }
            let west = (0..<2).map { mesh.remote("west\($0)", .http2) }
            var settings = Settings()
            settings.failoverMode = isStrict ? .strict : .spill
            let proxy = mesh.proxy(clusters: [.of("svc", east + west)], settings: settings)
            let client = mesh.client(.http2, proxy)
            let calls = (0..<400).map { _ in client.get() }
            guard mesh.run() else { return ["some requests never ended"] }
            var problems: [String] = []
            if calls.contains(where: { !$0.isAnswered() }) { problems.append("some failed") }
            let shares = proxy.cluster().flatMap { proxy.balancer($0) }?.load.healthyLoad
            if shares != (isStrict ? [100, 0] : [14, 86]) {
                problems.append("shares \(shares ?? [])")
            }
            let asked = east.map(\.requests.count)
            if asked.dropFirst(tens).contains(where: { $0 > 0 }) {
                problems.append("unhealthy pods were asked")
            }
            // 400 draws of 14 %: 56, and five times their deviation.
            let stayed = asked.reduce(0, +)
            if isStrict ? stayed != 400 : abs(stayed - 56) > 35 {
                problems.append("\(stayed) stayed")
            }
            // Who is well has an equal share.
            let well = asked.prefix(tens)
            if (well.max() ?? 0) - (well.min() ?? 0) > 1 { problems.append("unequal: \(well)") }
            return problems
        }
    }

    @Test(
        "Hundreds of requests fail at once: retries stay within 20 % of them, and the budget is used"
    )
    func retryStorm() {
        Seeds.each(20) { seed in
            var random = SeededRandom(seed: seed)
            let count = 100 + random.below(900)
            var conditions = LinkConditions()
            conditions.latency = .microseconds(20 << random.below(9))
            conditions.jitter = .microseconds(random.below(1000))
            let mesh = SimulatedMesh(seed: seed, conditions: conditions)
            mesh.network.onStep = nil
            let servers = [mesh.upstream("near", .http2), mesh.remote("far", .http2)]
            for server in servers {
                server.limits.maxConcurrentStreams = 2000
                server.answer = { _ in .reply(503, "no").after(.milliseconds(200)) }
            }
            let proxy = mesh.proxy(
                clusters: [
                    .of("svc", servers) {
                        $0.circuitBreakers.maxRequests = 2000
                        // As a configured budget of 20 % is.
                        $0.circuitBreakers.retryBurst = 0
                    }
                ],
                routes: [.forward(to: "svc", retry: .on(.serverError))])
            let clients = (0..<10).map { _ in mesh.client(.http2, proxy) }
            let calls = (0..<count).map { clients[$0 % 10].get() }
            guard mesh.run() else { return ["some requests never ended"] }
            let retries = servers.reduce(0) { $0 + $1.requests.count } - count
            var problems: [String] = []
            if calls.contains(where: { !$0.isAnswered(503) }) { problems.append("no 503") }
            if retries > (count + 4) / 5 { problems.append("\(retries) retries of \(count)") }
            if retries < count / 10 { problems.append("only \(retries) of \(count)") }
            return problems
        }
    }
}
