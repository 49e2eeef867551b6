import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation

/// A cluster with pods near and two gateways to the far one, and requests to it, as a seed has it.
final class TargetRun {
    let mesh: SimulatedMesh
    let local: [ScriptedServer]
    let remote: [ScriptedServer]
    let proxy: ControlledProxy
    let load: SteadyLoad

    init(
        seed: UInt64, retry: RetryPolicy? = nil, _ change: (inout Cluster) -> Void = { _ in }
    ) {
        var random = SeededRandom(seed: seed &+ 0xFA11)
        var conditions = LinkConditions()
        conditions.latency = .microseconds(20 << random.below(9))
        conditions.jitter = .microseconds(random.below(1000))
        conditions.splitsAnywhere = random.below(4) == 0
        let mesh = SimulatedMesh(seed: seed, conditions: conditions)
        // What is looked at after every step would take most of the time here.
        mesh.network.onStep = nil
        self.mesh = mesh
        let local = (0...random.below(4)).map { mesh.upstream("local\($0)", .http2) }
        let remote = (0..<2).map { mesh.remote("remote\($0)", .http2) }
        (self.local, self.remote) = (local, remote)
        let proxy = mesh.controlledProxy(
            clusters: [.of("svc", local + remote, change)],
            routes: [.forward(to: "svc", retry: retry)])
        self.proxy = proxy
        let clients = (0...random.below(3)).map { _ in mesh.client(.http2, proxy) }
        let methods = ["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
        load = SteadyLoad(mesh, every: .milliseconds(10 + random.below(11))) { number in
            clients[number % clients.count].send(
                methods[random.below(methods.count)], bytes: random.below(8) == 0 ? 500 : nil)
        }
    }

    func problems(
        failed: Int, moved: Duration, worst: Duration, _ fault: Instant
    ) -> [String] {
        var problems: [String] = []
        if load.failed.count > failed { problems.append("\(load.failed.count) failed") }
        let took = load.moved(since: fault)
        if took >= moved { problems.append("moved after \(took)") }
        if load.worst >= worst { problems.append("one took \(load.worst)") }
        return problems
    }

    /// Requests that were still sent to the local pods first, or answered by them, after they had to be gone.
    func staying(after time: Duration, _ fault: Instant) -> [String] {
        load.calls(from: time, to: .seconds(60), after: fault)
            .filter { !$0.servedBy.hasPrefix("remote") }.map { "\($0.id) by \($0.servedBy)" }
    }

    /// The share of local pods in each half second falls by less than 30 % once it has risen, and ends whole.
    func flaps(since back: Instant) -> [String] {
        let shares = stride(from: 0, to: 13000, by: 500).map { start in
            let calls = load.calls(
                from: .milliseconds(start), to: .milliseconds(start + 500), after: back)
            return 100 * calls.count { isLocal($0) } / max(1, calls.count)
        }
        var problems: [String] = []
        var highest = 0
        for share in shares {
            if share < highest - 30 { problems.append("went away again: \(shares)") }
            highest = max(highest, share)
        }
        if shares.last != 100 { problems.append("not all back: \(shares)") }
        return problems
    }

    /// The return as it is configured: one hold, ten steps of a tenth, each as long as the hold's part of
    /// the longest demands, and in none do local pods get more than it grants.
    func rampProblems() -> [String] {
        let events = proxy.failbacks
        guard case .holding(let hold)? = events.dropFirst().first?.change.event else {
            return ["no hold: \(events.map(\.change))"]
        }
        let ramp = (1...10).map { FailbackRamp.Event.forward(percent: 10 * $0) }
        var problems: [String] = []
        if events.map(\.change.event) != [.out, .holding(hold)] + ramp + [.finished] {
            problems.append("steps \(events.map(\.change.event))")
            return problems
        }
        if hold < .seconds(1) || hold > .seconds(10) { problems.append("held for \(hold)") }
        // 30 s for a hold of 10 s, in ten steps.
        let step = hold * 3 / 10
        // A step begins with the first request after its time.
        let slack = Duration.milliseconds(60)
        for (number, event) in events.enumerated().dropFirst(2) {
            let due = events[1].at + hold + step * (number - 2)
            if event.at < due - slack || event.at > due + slack {
                problems.append("\(event.change.event) at \(event.at - due) from its time")
            }
        }
        for (event, next) in zip(events.dropFirst(), events.dropFirst(2)) {
            let calls = load.calls.filter { $0.begunAt >= event.at && $0.begunAt + slack < next.at }
            var percent = 0
            if case .forward(let granted) = event.change.event { percent = granted }
            // Besides, one request finds out how each pod is.
            let allowed = TargetRun.most(calls.count, percent) + self.local.count
            let got = calls.count { isLocal($0) }
            if got > allowed { problems.append("\(got) of \(calls.count) at \(percent) %") }
        }
        return problems
    }

    /// So many of `count` draws are too many for a chance of `percent`: five times the deviation.
    private static func most(_ count: Int, _ percent: Int) -> Int {
        let mean = Double(count * percent) / 100
        let deviation = (mean * Double(100 - percent) / 100).squareRoot()
        return Int(mean + 5 * deviation + 1)
    }

    private func isLocal(_ call: Call) -> Bool { call.servedBy.hasPrefix("local") }
}
