import HTTPCodec
import MeshBase

/// Who has an exchange open on an upstream connection: a proxied request, a control-plane stream.
///
/// After `responseEnded`, or `upstreamReset`, the connection has forgotten the caller.
protocol UpstreamCaller: AnyObject {
    /// A connection is there; the caller sends its request on it now.
    func leased(_ connection: UpstreamConnection)
    /// While it waits: it would rather have another endpoint's connection than wait any longer.
    var prefersToMove: Bool { get }
    /// No connection could be had; nothing was sent.
    func leaseFailed(_ failure: UpstreamFailure)

    func responseInterim(_ head: MessageHead)
    func responseHead(_ head: consuming MessageHead, endStream: Bool)
    /// Valid during the call. Give it back with `UpstreamConnection.consumed`.
    func responseBody(_ bytes: UnsafeBufferPointer<UInt8>, endStream: Bool)
    func responseTrailers(_ trailers: MessageHead)
    func upstreamReset(_ failure: UpstreamFailure)
    /// More of the request body is welcome.
    func upstreamDrained()
}

extension UpstreamCaller {
    var prefersToMove: Bool { false }
}

/// Why an upstream exchange ended without its response.
struct UpstreamFailure {
    var transport: TransportFailure
    /// The endpoint provably did not begin to process the request (RFC 9113 §8.7): it may be
    /// repeated whatever its method.
    var unprocessed: Bool
    /// The whole connection failed, and the cluster has judged that already, once.
    var isOfConnection = false

    /// What it says of the endpoint. A connection is judged once, whatever was on it, and an
    /// endpoint that refuses a stream, or is going away, is busy and not dead.
    func outcome(wasConnected: Bool) -> UpstreamCluster.Outcome {
        isOfConnection || unprocessed
            ? .failedTogether(transport, wasConnected: wasConnected)
            : .failed(transport, wasConnected: wasConnected)
    }
}
