import MeshBase

/// What a worker saw of an endpoint, for the control loop to judge.
enum HealthEvidence: Sendable {
    case failed(cluster: String, address: SocketAddress, TransportFailure)
    /// An endpoint that had failed answered a request.
    case recovered(cluster: String, address: SocketAddress, path: SocketAddress)
    /// An endpoint's answer said that it fails its health checks, which its cluster has.
    case saidUnhealthy(cluster: String, address: SocketAddress)
    /// The first connection to a cluster begins.
    case used(cluster: String)
    /// A PING that was late, and was reported so, is answered.
    case answered(path: SocketAddress)
}
