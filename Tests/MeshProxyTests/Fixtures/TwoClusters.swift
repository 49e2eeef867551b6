import MeshBase
import MeshConfig
import MeshSimulation

/// The mesh that most drills happen in: east has three pods, west two at priority 1, and one GET
/// begins every 10 ms, for a second before anything fails. Outlier detection is that of Istio's
/// examples: five errors in a row, and all may be ejected.
struct TwoClusters {
    let mesh: SimulatedMesh
    let east: [ScriptedServer]
    let west: [ScriptedServer]
    let proxy: ControlledProxy
    let load: SteadyLoad

    init(
        seed: UInt64, retry: RetryPolicy? = nil,
        _ change: (inout Cluster) -> Void = { _ in }
    ) {
        let mesh = SimulatedMesh(seed: seed)
        let east = (1...3).map { mesh.upstream("east\($0)", .http2) }
        let west = (1...2).map { mesh.remote("west\($0)", .http2) }
        let cluster = Cluster.of("svc", east + west) {
            $0.outlierDetection = OutlierDetection(maxEjectionPercent: 100)
            change(&$0)
        }
        proxy = mesh.controlledProxy(
            clusters: [cluster], routes: [.forward(to: "svc", retry: retry)])
        load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(10))
        (self.mesh, self.east, self.west) = (mesh, east, west)
        load.run(for: .seconds(1))
    }

    var asked: [Int] { east.map { $0.requests.count } }
}
