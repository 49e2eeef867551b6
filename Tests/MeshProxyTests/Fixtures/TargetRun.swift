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
}
