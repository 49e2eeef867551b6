import LoadBalancer
import MeshBase

/// What a worker saw of an endpoint, for the control loop to judge.
enum HealthEvidence: Sendable {
    case failed(cluster: String, address: SocketAddress, TransportFailure)
}

/// The control loop's verdicts, for every worker to act on.
struct HealthUpdate: Sendable {
    struct EndpointVerdict: Sendable {
        var cluster: String
        var address: SocketAddress
        var verdict: Verdict
    }
    struct PathVerdict: Sendable {
        var address: SocketAddress
        var isUsable: Bool
    }

    var endpoints: [EndpointVerdict] = []
    var paths: [PathVerdict] = []

    var isEmpty: Bool { endpoints.isEmpty && paths.isEmpty }
}
