internal import COpenSSL
import MeshBase
import MeshConfig

/// Judges a peer's certificate chain: is it signed by whom we trust, is it good now and for this
/// purpose, and is its identity among those asked for.
///
/// One context's trust never changes, so what was found good once stays good until the first
/// certificate of its chain ends; remembering that, by the leaf's SHA-256, saves some 100 µs a
/// handshake on OpenSSL 3.0. Where revocation lists are looked at it ends with the first of them.
/// Refusals are not remembered: anyone may cause them, without bound.
///
/// With bundles for each trust domain the leaf's own domain chooses the bundle, so one domain's CA
/// cannot mint a name in another.
final class PeerVerifier {
    /// What is known of a good peer.
    struct Approval {
        let peer: TLSPeer
        /// When the first certificate of its chain, or list, ends; in seconds since 1970.
        let deadline: Int64
    }

    enum Verdict {
        case approved(Approval)
        /// The configuration does not ask who it is (`ACCEPT_UNTRUSTED`, or no trust given).
        case unverified
        /// With the `X509_V_ERR_` code that makes OpenSSL send the fitting alert.
        case refused(TransportFailure, code: Int32)
    }

    static let maxRemembered = 1024
    static let maxDepth: Int32 = 10

    let policy: PeerPolicy
    private var store: OpaquePointer?
    private var storesByDomain: [String: OpaquePointer] = [:]
    private let acceptUntrusted: Bool
    private let allowExpired: Bool
    private var revocationsEnd = Int64.max
    private var remembered: [[UInt8]: Approval] = [:]
    private(set) var authorities: [TLSPeer] = []
    /// All PEM that trust depends on, for the context's fingerprint.
    private(set) var sources: [[UInt8]] = []
    private let purpose: StaticString

    /// - Parameter isServer: we are the server, so peers are clients.
    init(
        _ material: ValidationMaterial, isServer: Bool, files: [String: [UInt8]]
    ) throws(TLSConfigurationError) {
        policy = try PeerPolicy(material)
        acceptUntrusted = material.acceptUntrusted
        allowExpired = material.allowExpired
        // The name is the peer's role.
        purpose = isServer ? "ssl_client" : "ssl_server"
        var lists: [UInt8]?
        if let crl = material.crl {
            lists = try pemBytes(crl, "revocation lists", files)
        }
        if !material.trustDomains.isEmpty {
            for (domain, source) in material.trustDomains.sorted(by: { $0.key < $1.key }) {
                guard SPIFFEIdentity.isTrustDomain(Array(domain.utf8)) else {
                    throw TLSConfigurationError("\"\(domain)\" is not a trust domain")
                }
                let what = "trust bundle of \(domain)"
                let pem = try pemBytes(source, what, files)
                sources.append(Array(domain.utf8))
                storesByDomain[domain] = try makeStore(pem, lists, what)
            }
        } else if let source = material.trustedCA {
            store = try makeStore(try pemBytes(source, "trusted CA", files), lists, "trusted CA")
        } else if policy.hasMatchers, !acceptUntrusted {
            throw TLSConfigurationError(
                "SAN matchers without a trusted CA: anyone could present those names")
        }
        if let lists { sources.append(lists) }
    }

    deinit {
        X509_STORE_free(store)
        for store in storesByDomain.values { X509_STORE_free(store) }
    }

    /// Whether a peer that passes is known for who it says it is.
    var verifies: Bool {
        !acceptUntrusted && (store != nil || !storesByDomain.isEmpty || policy.hasHashes)
    }

    private func makeStore(
        _ pem: [UInt8], _ lists: [UInt8]?, _ what: String
    ) throws(TLSConfigurationError) -> OpaquePointer {
        sources.append(pem)
        let certificates = try readCertificates(pem, what)
        defer { for certificate in certificates { X509_free(certificate) } }
        guard let store = X509_STORE_new() else {
            throw TLSConfigurationError("\(what): no memory")
        }
        for certificate in certificates {
            authorities.append(TLSPeer(certificate))
            X509_STORE_add_cert(store, certificate)
        }
        var flags = UInt(X509_V_FLAG_TRUSTED_FIRST)
        if allowExpired { flags |= UInt(X509_V_FLAG_NO_CHECK_TIME) }
        if let lists {
            let revocations: [OpaquePointer]
            do {
                revocations = try readRevocations(lists, "revocation lists")
            } catch {
                X509_STORE_free(store)
                throw error
            }
            for list in revocations {
                X509_STORE_add_crl(store, list)
                if let end = X509_CRL_get0_nextUpdate(list) {
                    revocationsEnd = min(revocationsEnd, seconds(of: end))
                }
                X509_CRL_free(list)
            }
            flags |= UInt(X509_V_FLAG_CRL_CHECK) | UInt(X509_V_FLAG_CRL_CHECK_ALL)
        }
        X509_STORE_set_flags(store, flags)
        OpenSSLError.discard()
        return store
    }

    /// - Parameter untrusted: the peer's intermediates, `STACK_OF(X509)`.
    func judge(leaf: OpaquePointer, untrusted: OpaquePointer?) -> Verdict {
        if !verifies { return .unverified }
        let digest = certificateDigest(leaf)
        if let known = remembered[digest] {
            if currentSeconds() <= known.deadline { return .approved(known) }
            remembered[digest] = nil
        }
        let peer = TLSPeer(leaf)
        var deadline = min(peer.notAfter, revocationsEnd)
        if storesByDomain.isEmpty {
            if let store, let refusal = check(leaf, untrusted, store, peer, &deadline) {
                return refusal
            }
        } else {
            guard let identity = peer.identity else {
                return .refused(
                    TransportFailure(
                        .tlsWrongIdentity,
                        detail: "expected one SPIFFE identity, presented \(peer.presented)"),
                    code: X509_V_ERR_HOSTNAME_MISMATCH)
            }
            guard let store = storesByDomain[identity.trustDomain] else {
                let known = storesByDomain.keys.sorted().prefix(8).joined(separator: ", ")
                return .refused(
                    TransportFailure(
                        .tlsUntrusted,
                        detail: "expected an identity in \(known), presented \(identity)"),
                    code: X509_V_ERR_CERT_UNTRUSTED)
            }
            if let refusal = check(leaf, untrusted, store, peer, &deadline) { return refusal }
        }
        if case .refused(let words) = policy.verdict(on: peer) {
            return .refused(
                TransportFailure(.tlsWrongIdentity, detail: words),
                code: X509_V_ERR_HOSTNAME_MISMATCH)
        }
        let approval = Approval(peer: peer, deadline: allowExpired ? .max : deadline)
        if remembered.count >= Self.maxRemembered { remembered.removeAll() }
        remembered[digest] = approval
        return .approved(approval)
    }

    /// A resumed session brings its leaf and no chain. That it was made under this very trust the
    /// session's context id says; what may have changed since is the time.
    func rejudge(leaf: OpaquePointer, deadline: Int64) -> Verdict {
        if !verifies { return .unverified }
        if let known = remembered[certificateDigest(leaf)], currentSeconds() <= known.deadline {
            return .approved(known)
        }
        let peer = TLSPeer(leaf)
        guard currentSeconds() <= deadline else {
            return .refused(
                TransportFailure(
                    .tlsExpired,
                    detail: "the certificate chain behind the session ended, \(peer.presented)"),
                code: X509_V_ERR_CERT_HAS_EXPIRED)
        }
        if case .refused(let words) = policy.verdict(on: peer) {
            return .refused(
                TransportFailure(.tlsWrongIdentity, detail: words),
                code: X509_V_ERR_HOSTNAME_MISMATCH)
        }
        return .approved(Approval(peer: peer, deadline: deadline))
    }

    /// - Returns: `nil` when the chain is good; `deadline` is then lowered to its first end.
    private func check(
        _ leaf: OpaquePointer, _ untrusted: OpaquePointer?, _ store: OpaquePointer,
        _ peer: TLSPeer, _ deadline: inout Int64
    ) -> Verdict? {
        guard let context = X509_STORE_CTX_new() else {
            return .refused(
                TransportFailure(.exhausted, detail: "no memory"), code: X509_V_ERR_OUT_OF_MEM)
        }
        defer { X509_STORE_CTX_free(context) }
        var isGood = X509_STORE_CTX_init(context, store, leaf, untrusted) == 1
        if isGood {
            isGood = purpose.withUTF8Buffer { name in
                name.withMemoryRebound(to: CChar.self) {
                    X509_STORE_CTX_set_default(context, $0.baseAddress) == 1
                }
            }
        }
        if isGood {
            let parameters = X509_STORE_CTX_get0_param(context)
            X509_VERIFY_PARAM_set_depth(parameters, Self.maxDepth)
            // At least 112 bits of security in keys and signatures.
            X509_VERIFY_PARAM_set_auth_level(parameters, 2)
            isGood = X509_verify_cert(context) == 1
        }
        OpenSSLError.discard()
        if isGood {
            let chain = X509_STORE_CTX_get0_chain(context)
            for index in 0..<max(0, mesh_x509_count(chain)) {
                guard let certificate = mesh_x509_at(chain, index) else { continue }
                deadline = min(deadline, seconds(of: X509_get0_notAfter(certificate)))
            }
            return nil
        }
        var code = X509_STORE_CTX_get_error(context)
        if code == X509_V_OK { code = X509_V_ERR_UNSPECIFIED }
        let why = X509_verify_cert_error_string(Int(code)).map { String(cString: $0) } ?? "\(code)"
        var at = ""
        let depth = X509_STORE_CTX_get_error_depth(context)
        if depth > 0, let certificate = X509_STORE_CTX_get_current_cert(context) {
            at = " at \"\(TLSPeer(certificate).subject)\" (depth \(depth))"
        }
        let isExpiry: Bool
        switch code {
        case X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID,
            X509_V_ERR_CRL_HAS_EXPIRED, X509_V_ERR_CRL_NOT_YET_VALID:
            isExpiry = true
        default: isExpiry = false
        }
        return .refused(
            TransportFailure(
                isExpiry ? .tlsExpired : .tlsUntrusted,
                detail: "\(why)\(at); presented \(peer.presented), issued by \"\(peer.issuer)\""),
            code: code)
    }
}
