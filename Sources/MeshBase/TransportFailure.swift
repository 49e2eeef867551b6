/// Why bytes could not be carried to or from the other side: the typed evidence that health,
/// retries, logs and `explain` are all made of.
///
/// Every layer of a connection reports in these words, and says with `layer` whether it was the
/// outermost one that failed (the path) or one inside (the endpoint).
public struct TransportFailure: Error, Hashable, Sendable {
    public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case connectRefused
        case connectTimeout
        /// Another way to the same was connected sooner; this one may be well yet.
        case connectLate
        case unreachable
        /// The peer reset the connection, or the kernel gave it up.
        case reset
        /// The peer closed in the middle of something.
        case closed
        case tlsUntrusted
        case tlsWrongIdentity
        case tlsExpired
        case tlsNoCertificate
        /// Any other failed handshake, among them no common ALPN protocol.
        case tlsHandshake
        /// A PING is unanswered for so long that another is sent; the connection may be well yet.
        case pingLate
        case pingTimeout
        /// The peer answered a CONNECT with something other than 2xx.
        case tunnelRefused
        case protocolError
        /// Descriptors, memory or ports are used up on our side; says nothing about the peer.
        case exhausted
        case nameNotResolved

        /// The reason word of the access log.
        public var word: String {
            switch self {
            case .connectRefused: "connect-refused"
            case .connectTimeout: "connect-timeout"
            case .connectLate: "connect-late"
            case .unreachable: "unreachable"
            case .reset: "reset"
            case .closed: "closed"
            case .tlsUntrusted: "tls-untrusted"
            case .tlsWrongIdentity: "tls-wrong-identity"
            case .tlsExpired: "tls-expired"
            case .tlsNoCertificate: "tls-no-cert"
            case .tlsHandshake: "tls-handshake"
            case .pingLate: "ping-late"
            case .pingTimeout: "ping-timeout"
            case .tunnelRefused: "tunnel-refused"
            case .protocolError: "protocol-error"
            case .exhausted: "exhausted"
            case .nameNotResolved: "name-not-resolved"
            }
        }
    }

    /// Where in the stack of a connection it happened.
    public enum Layer: UInt8, Hashable, Sendable {
        /// The way to the endpoint: a gateway's socket or its TLS. Judges the path.
        case path
        /// The endpoint itself: its socket when reached directly, else what runs inside the tunnel.
        case endpoint
    }

    public var kind: Kind
    public var layer: Layer
    /// For people: expected against presented, an errno's name, an OpenSSL reason. Never parsed.
    public var detail: String

    public init(_ kind: Kind, layer: Layer = .endpoint, detail: String = "") {
        self.kind = kind
        self.layer = layer
        self.detail = detail
    }
}
