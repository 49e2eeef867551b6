import MeshBase
import MeshSimulation

/// Requests that begin on time, whatever became of those before.
final class SteadyLoad {
    private let mesh: SimulatedMesh
    private let begin: (Int) -> Call
    private let interval: Duration
    private(set) var calls: [Call] = []

    /// - Parameter begin: sends a request, given how many were sent before.
    init(_ mesh: SimulatedMesh, every interval: Duration, _ begin: @escaping (Int) -> Call) {
        self.mesh = mesh
        self.interval = interval
        self.begin = begin
    }

    convenience init(
        _ mesh: SimulatedMesh, _ client: ScriptedClient, every interval: Duration,
        to path: String = "/"
    ) {
        self.init(mesh, every: interval) { _ in client.get(path) }
    }

    /// Begins requests for so long; the last ones may still be under way then.
    func run(for duration: Duration) {
        let end = mesh.network.now + duration
        while mesh.network.now < end {
            calls.append(begin(calls.count))
            mesh.run(for: interval)
        }
    }

    /// Those that got no answer of 200.
    var failed: [Call] { calls.filter { !$0.isAnswered() } }
    var worst: Duration { calls.map(\.took).max() ?? .zero }

    /// From a fault to the end of the last request that failed or took more than 100 ms; zero
    /// when there was none.
    func moved(since fault: Instant) -> Duration {
        let bad = calls.filter { !$0.isAnswered() || $0.took > .milliseconds(100) }
        return bad.map { ($0.endedAt ?? .distantFuture) - fault }.max() ?? .zero
    }

    /// Those begun in a span of time after a moment.
    func calls(from start: Duration, to end: Duration, after moment: Instant) -> [Call] {
        calls.filter { $0.begunAt >= moment + start && $0.begunAt < moment + end }
    }
}

extension [Call] {
    /// How many each server answered, by name.
    var byServer: [String: Int] {
        reduce(into: [:]) { counts, call in counts[call.servedBy, default: 0] += 1 }
    }
}

// A failed expectation shows the values in it; these would show the whole network, objects that are
// gone included.

extension Call: CustomReflectable, CustomStringConvertible {
    var description: String { "\(method) \(path): \(status) \(failure ?? "") by \(servedBy)" }
    var customMirror: Mirror { Mirror(self, children: []) }
}
extension SimulatedMesh: CustomReflectable {
    var customMirror: Mirror { Mirror(self, children: []) }
}
extension ScriptedServer: CustomReflectable {
    var customMirror: Mirror { Mirror(self, children: []) }
}
extension ControlledProxy: CustomReflectable {
    var customMirror: Mirror { Mirror(self, children: []) }
}
extension SteadyLoad: CustomReflectable {
    var customMirror: Mirror { Mirror(self, children: []) }
}
