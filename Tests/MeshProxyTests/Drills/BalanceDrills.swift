import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Who gets the requests, where a wrong answer to that is an outage.
@Suite struct BalanceDrills {
    /// Envoy: the same with `consecutive_5xx`; without it the endpoint that fails draws most of the load, since
    /// it is never busy.
    @Test(
        "An endpoint that fails in a millisecond beside busy ones gets five requests, and no more")
    func fastFailure() {
        let mesh = SimulatedMesh(seed: 1)
        let pods = (1...4).map { number in
            mesh.upstream("pod\(number)", .http2) { _ in .reply().after(.milliseconds(100)) }
        }
        let proxy = mesh.controlledProxy(
            clusters: [
                .of("svc", pods) {
                    $0.loadBalancing.policy = .leastRequest(choices: 2)
                    $0.outlierDetection = OutlierDetection(maxEjectionPercent: 25)
                }
            ])
        pods[0].answer = { _ in .reply(503, "no").after(.milliseconds(1)) }
        let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(5))
        load.run(for: .seconds(3))
        #expect(mesh.run())
        #expect(pods[0].requests.count == 5)
        #expect(load.failed.count == 5 && load.failed.allSatisfy { $0.isAnswered(503) })
        for pod in pods.dropFirst() { #expect((180...217).contains(pod.requests.count)) }
        #expect(mesh.finish() == [])
    }

    /// Envoy has no such policy. ingress-nginx's gave the endpoint that failed soonest all of the load.
    @Test("Peak EWMA: an endpoint that fails in a millisecond counts as slow, and is asked once")
    func fastFailureAndLatency() {
        let mesh = SimulatedMesh(seed: 2)
        let pods = (1...4).map { number in
            mesh.upstream("pod\(number)", .http2) { _ in .reply().after(.milliseconds(100)) }
        }
        let proxy = mesh.controlledProxy(
            clusters: [
                .of("svc", pods) {
                    $0.loadBalancing.policy = .peakEWMA(LoadBalancing.PeakEWMA())
                }
            ])
        let load = SteadyLoad(mesh, mesh.client(.http2, proxy), every: .milliseconds(20))
        load.run(for: .seconds(1))
        let before = pods[0].requests.count
        pods[0].answer = { _ in .reply(503, "no").after(.milliseconds(1)) }
        load.run(for: .seconds(5))
        #expect(mesh.run())
        #expect(pods[0].requests.count - before == 1 && load.failed.count == 1)
        for pod in pods.dropFirst() { #expect((75...115).contains(pod.requests.count)) }
        #expect(mesh.finish() == [])
    }
}
