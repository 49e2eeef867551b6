import MeshBase

/// What a worker saw of an endpoint, for the control loop to judge.
enum HealthEvidence: Sendable {
    case failed(cluster: String, address: SocketAddress, TransportFailure)
    /// An endpoint that had failed answered a request.
    case recovered(cluster: String, address: SocketAddress, path: SocketAddress)
    /// A PING that was late, and was reported so, is answered.
    case answered(path: SocketAddress)
}
