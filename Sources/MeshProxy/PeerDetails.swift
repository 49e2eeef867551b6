import MTLS

/// Who is at the other end of a TLS connection: what logs, headers and policies may know.
final class PeerDetails {
    /// The peer presented a certificate and it was verified.
    let isVerified: Bool
    /// The first URI SAN, for example "spiffe://mesh.local/ns/default/sa/web".
    let uri: String?
    let subject: String?
    let certificateHash: String?
    let dnsNames: [String]
    let serverName: String?
    let version: String
    let isResumed: Bool

    init(_ session: TLSSession) {
        isVerified = session.peer != nil
        uri = session.peer?.uriSANs.first
        subject = session.peer?.subject
        certificateHash = session.peer?.sha256
        dnsNames = session.peer?.dnsSANs ?? []
        serverName = session.serverName
        version = session.version
        isResumed = session.isResumed
    }
}
