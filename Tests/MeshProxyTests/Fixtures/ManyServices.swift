import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation

/// Many services behind one proxy, asked in turn at an even pace, of which all lose what is near at once.
///
/// `svcN` is asked for as `/N/`, and has what is near at priority 0 and two gateways to another cluster.
final class ManyServices {
    let mesh: SimulatedMesh
    let proxy: ControlledProxy
    let load: SteadyLoad
    let gateways: [ScriptedServer]
    private let count: Int

    /// - Parameters:
    ///   - interval: between two requests, of whichever services.
    ///   - near: makes the servers of priority 0; a service has the one of its number, or the only one.
    init(
        seed: UInt64, count: Int = 100, every interval: Duration = .milliseconds(5),
        settings: Settings = Settings(), near: (SimulatedMesh, Int) -> [ScriptedServer]
    ) {
        let mesh = SimulatedMesh(seed: seed)
        // What is looked at after every step would take most of the time here.
        mesh.network.onStep = nil
        let near = near(mesh, count)
        let gateways = (0..<2).map { mesh.remote("gateway\($0)", .http2) }
        let proxy = mesh.controlledProxy(
            clusters: (0..<count).map { .of("svc\($0)", [near[$0 % near.count]] + gateways) },
            routes: (0..<count).map { .forward(to: "svc\($0)", prefix: "/\($0)/") },
            settings: settings)
        let client = mesh.client(.http2, proxy)
        load = SteadyLoad(mesh, every: interval) { client.get("/\($0 % count)/") }
        (self.mesh, self.proxy, self.gateways, self.count) = (mesh, proxy, gateways, count)
    }

    /// Lets half a second of requests go well, then loses everything to and from a host, and when all that
    /// met it have ended, goes on for some time.
    /// - Parameter isShed: says of an answer that it is as it should be, although it is no 200.
    /// - Returns: what was wrong by the promise that all have moved within a time, to the gateways.
    func blackHole(
        _ host: SimulatedHost, movedWithin limit: Duration, after: Duration = .milliseconds(500),
        isShed: (Call) -> Bool = { _ in false }
    ) -> [String] {
        load.run(for: .milliseconds(500))
        let fault = mesh.network.now
        mesh.blackHole(host, from: proxy.host)
        load.run(for: .milliseconds(600))
        guard mesh.run() else { return ["some requests never ended"] }
        let settled = mesh.network.now
        load.run(for: after)
        guard mesh.run() else { return ["some requests never ended"] }
        var problems: [String] = []
        let failed = load.failed.filter { !isShed($0) }
        if !failed.isEmpty { problems.append("\(failed.count) failed, the first \(failed[0])") }
        let bad = load.calls.filter { !$0.isAnswered() || $0.took > .milliseconds(100) }
        let waited = bad.filter { $0.begunAt < settled }.map {
            ($0.endedAt ?? .distantFuture) - fault
        }
        let moved = waited.max() ?? .zero
        if moved >= limit { problems.append("moved after \(moved)") }
        let late = load.calls(from: .zero, to: after, after: settled).filter {
            !isShed($0) && ($0.took > .milliseconds(10) || !$0.servedBy.hasPrefix("gateway"))
        }
        if !late.isEmpty { problems.append("after it \(late)") }
        return problems
    }

    /// The most requests of one service that the gateways got within a second.
    var mostInOneSecond: Int {
        var times: [String: [Instant]] = [:]
        for request in gateways.flatMap(\.requests) {
            times[request.path, default: []].append(request.at)
        }
        return times.values.map { unsorted in
            let times = unsorted.sorted()
            var most = 0
            var first = 0
            for last in times.indices {
                while times[last] - times[first] >= .seconds(1) { first += 1 }
                most = max(most, last - first + 1)
            }
            return most
        }.max() ?? 0
    }
}
