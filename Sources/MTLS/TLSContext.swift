internal import COpenSSL
import MeshBase
public import MeshConfig

/// Our certificates and our trust of one moment, compiled for one worker. Replaced, never edited:
/// sessions keep the context that they began with, so a rotation touches no live connection.
///
/// **Resumption.** What a session was verified under is hashed into the context's fingerprint, which
/// is OpenSSL's session id context on the server and part of the cache key on the client. A session
/// is therefore only found under the trust, the matchers and the certificates that it was made
/// under. It carries the peer's certificate and the moment at which the first certificate of the
/// chain ends; both are judged again before it is used, and a ticket that no longer holds up leads to
/// a full handshake, which then says why.
///
/// A server issues one ticket for each handshake. With a ticket key they are stateless, and every
/// worker of the process can resume what another began; keys for use are derived from it and from
/// the fingerprint. Without one they are stateful, in a bounded cache of this context: on OpenSSL 3.0
/// that is 125 µs a ticket cheaper, but only the worker that issued it knows it, so it is right for a
/// process with one worker alone.
///
/// Tickets need not match SNI or ALPN: neither decides who the peer is.
public final class TLSContext {
    /// What is wrong and yet no reason to refuse: expired certificates of ours or in the bundle.
    public private(set) var warnings: [String] = []
    /// Our own certificates, leaves only.
    public var certificates: [TLSPeer] { credentials.map(\.details) }
    /// Those that we trust.
    public var authorities: [TLSPeer] { verifier?.authorities ?? [] }
    /// Of all that decides who may resume, hexadecimal.
    public var fingerprint: String { hexadecimal(fingerprintBytes) }

    let handle: OpaquePointer
    let verifier: PeerVerifier?
    let isServer: Bool
    let requiresPeerCertificate: Bool
    let requiresServerName: Bool
    let maxSessionsPerKey: Int
    private let credentials: [Credentials]
    private let alpn: [[UInt8]]
    private let fingerprintBytes: [UInt8]

    static let statefulSessions = 1024
    static let defaultSessionSeconds: Int64 = 7200

    /// - Parameters:
    ///   - files: contents of each file that the configuration names.
    ///   - ticketKey: at least 32 secret bytes, the same in all workers (`makeTicketKey`); empty for
    ///     sessions that only this context can resume.
    public convenience init(
        downstream config: DownstreamTLS, secrets: [String: Secret], files: [String: [UInt8]],
        ticketKey: [UInt8]
    ) throws(TLSConfigurationError) {
        try self.init(
            server: config, config.common, secrets: secrets, files: files, maxSessions: 0,
            ticketKey: ticketKey)
        if credentials.isEmpty {
            throw TLSConfigurationError("a TLS server without a certificate")
        }
        if config.requireClientCertificate, verifier?.verifies != true,
            !acceptsUntrusted(config.common, secrets)
        {
            throw TLSConfigurationError(
                "a client certificate is required but there is no trust to verify it with")
        }
    }

    public convenience init(
        upstream config: UpstreamTLS, secrets: [String: Secret], files: [String: [UInt8]]
    ) throws(TLSConfigurationError) {
        try self.init(
            server: nil, config.common, secrets: secrets, files: files,
            maxSessions: config.maxSessionKeys, ticketKey: [])
    }

    private init(
        server: DownstreamTLS?, _ common: CommonTLS, secrets: [String: Secret],
        files: [String: [UInt8]], maxSessions: Int, ticketKey: [UInt8]
    ) throws(TLSConfigurationError) {
        isServer = server != nil
        requiresServerName = server?.requireSNI ?? false
        maxSessionsPerKey = maxSessions
        let validation = try resolve(common.validation, secrets)
        verifier = try validation.map { material throws(TLSConfigurationError) in
            try PeerVerifier(material, isServer: server != nil, files: files)
        }
        requiresPeerCertificate = server?.requireClientCertificate ?? (verifier != nil)
        var credentials: [Credentials] = []
        for reference in common.certificates {
            let (material, name) = try resolve(reference, secrets)
            credentials.append(try Credentials(material, name: name, files: files))
        }
        self.credentials = credentials
        alpn = common.alpn.map { Array($0.utf8) }
        for name in alpn where name.isEmpty || name.count > 255 {
            throw TLSConfigurationError("an ALPN name must have 1 to 255 bytes")
        }

        var identity: [UInt8] = []
        func add(_ bytes: [UInt8]) {
            withUnsafeBytes(of: UInt64(bytes.count).bigEndian) { identity.append(contentsOf: $0) }
            identity.append(contentsOf: bytes)
        }
        add(Array((server == nil ? "client" : "server").utf8))
        add([requiresPeerCertificate ? 1 : 0])
        for source in verifier?.sources ?? [] { add(source) }
        if let validation {
            add(
                Array(
                    """
                    \(validation.sanMatchers) \(validation.certificateHashes) \
                    \(validation.spkiHashes) \(validation.allowExpired) \
                    \(validation.acceptUntrusted)
                    """.utf8))
        }
        for credential in credentials { add(credential.chainPEM) }
        fingerprintBytes = sha256(identity)

        let method = server == nil ? TLS_client_method() : TLS_server_method()
        guard let handle = SSL_CTX_new_ex(tlsLibrary, nil, method) else {
            throw TLSConfigurationError("OpenSSL has no memory for a context")
        }
        self.handle = handle

        mesh_ctx_basics(handle)
        try setVersionsAndCiphers(common)
        try setCredentials()
        setVerification()
        if let server { setServerSessions(server, ticketKey) } else { setClientSessions() }
        try setProtocols()
        warn()
        OpenSSLError.discard()
    }

    deinit {
        SSL_CTX_free(handle)
    }

    /// A fresh key for `init(downstream:)`, to be shared by all workers of a process and no longer
    /// kept than that: who has it can read recorded sessions of TLS 1.2 that tickets resumed.
    public static func makeTicketKey() -> [UInt8] {
        var key = [UInt8](repeating: 0, count: 32)
        let done = RAND_bytes(&key, Int32(key.count))
        precondition(done == 1, "no randomness")
        return key
    }

    public func makeServerSession(_ pipe: TLSPipe) -> TLSSession {
        precondition(isServer)
        return TLSSession(context: self, pipe: pipe, serverName: "", cache: nil, key: "")
    }

    /// - Parameters:
    ///   - serverName: for SNI; empty or an IP address: none is sent.
    ///   - key: names the endpoint in `cache`.
    public func makeClientSession(
        pipe: TLSPipe, serverName: String, cache: TLSSessionCache?, key: String
    ) -> TLSSession {
        precondition(!isServer)
        return TLSSession(
            context: self, pipe: pipe, serverName: serverName,
            cache: maxSessionsPerKey > 0 ? cache : nil,
            key: "\(fingerprint) \(serverName) \(key)")
    }

    // MARK: Settings

    private func setVersionsAndCiphers(_ common: CommonTLS) throws(TLSConfigurationError) {
        guard common.minimumVersion <= common.maximumVersion,
            mesh_ctx_versions(
                handle, common.minimumVersion.openSSL, common.maximumVersion.openSSL) == 1
        else {
            throw TLSConfigurationError(
                "TLS versions: \(common.minimumVersion) to \(common.maximumVersion)")
        }
        // Envoy writes alternatives of equal rank as "[A|B]".
        let names = common.cipherSuites.flatMap {
            $0.split(whereSeparator: { "[|]".contains($0) }).map(String.init)
        }
        var old: [String] = []
        var new: [String] = []
        for name in names {
            let isNew = name.hasPrefix("TLS_")
            let known =
                isNew
                ? SSL_CTX_set_ciphersuites(handle, name) : SSL_CTX_set_cipher_list(handle, name)
            guard known == 1 else {
                OpenSSLError.discard()
                throw TLSConfigurationError("unknown cipher suite \"\(name)\"")
            }
            if isNew { new.append(name) } else { old.append(name) }
        }
        if !old.isEmpty { SSL_CTX_set_cipher_list(handle, old.joined(separator: ":")) }
        if !new.isEmpty { SSL_CTX_set_ciphersuites(handle, new.joined(separator: ":")) }
        for curve in common.ecdhCurves where mesh_ctx_groups(handle, curve) != 1 {
            OpenSSLError.discard()
            throw TLSConfigurationError("unknown curve \"\(curve)\"")
        }
        if !common.ecdhCurves.isEmpty {
            _ = mesh_ctx_groups(handle, common.ecdhCurves.joined(separator: ":"))
        }
    }

    private func setCredentials() throws(TLSConfigurationError) {
        for credential in firstOfEachKeyType(credentials) {
            guard
                SSL_CTX_use_cert_and_key(
                    handle, credential.leaf, credential.key, credential.chain, 1) == 1
            else {
                throw TLSConfigurationError(
                    "certificate (\(credential.details.presented)): \(OpenSSLError().words)")
            }
        }
        guard isServer, credentials.count > 1 else { return }
        SSL_CTX_set_cert_cb(
            handle, { ssl, _ in TLSSession.of(ssl)?.chooseCertificate() ?? 0 }, nil)
    }

    private func setVerification() {
        var mode = SSL_VERIFY_NONE
        if let verifier, isServer || verifier.verifies { mode = SSL_VERIFY_PEER }
        if isServer, requiresPeerCertificate {
            mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        }
        SSL_CTX_set_verify(handle, mode, nil)
        SSL_CTX_set_cert_verify_callback(
            handle,
            { store, _ in
                guard let store,
                    let ssl = X509_STORE_CTX_get_ex_data(
                        store, SSL_get_ex_data_X509_STORE_CTX_idx()),
                    let session = TLSSession.of(OpaquePointer(ssl))
                else { return 0 }
                let code = session.judgePeer(
                    leaf: X509_STORE_CTX_get0_cert(store),
                    untrusted: X509_STORE_CTX_get0_untrusted(store))
                X509_STORE_CTX_set_error(store, code)
                return code == X509_V_OK ? 1 : 0
            }, nil)
        SSL_CTX_set_session_id_context(
            handle, fingerprintBytes, UInt32(fingerprintBytes.count))
    }

    private func setServerSessions(_ config: DownstreamTLS, _ ticketKey: [UInt8]) {
        mesh_ctx_servername(handle) { ssl, alert, _ in
            guard let session = TLSSession.of(ssl), session.context.requiresServerName,
                SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == nil
            else { return SSL_TLSEXT_ERR_OK }
            alert?.pointee = SSL_AD_MISSING_EXTENSION
            session.refuse(TransportFailure(.tlsHandshake, detail: "expected SNI, presented none"))
            return SSL_TLSEXT_ERR_ALERT_FATAL
        }
        if config.disableResumption {
            mesh_ctx_no_stateless_tickets(handle)
            mesh_ctx_cache(handle, Int(SSL_SESS_CACHE_OFF), 1)
            SSL_CTX_set_num_tickets(handle, 0)
            return
        }
        SSL_CTX_set_num_tickets(handle, 1)
        let timeout = config.sessionTimeout.map { max(1, $0.components.seconds) }
        SSL_CTX_set_timeout(handle, Int(timeout ?? Self.defaultSessionSeconds))
        if ticketKey.isEmpty {
            mesh_ctx_no_stateless_tickets(handle)
            mesh_ctx_cache(handle, Int(SSL_SESS_CACHE_SERVER), Self.statefulSessions)
            return
        }
        precondition(ticketKey.count >= 32, "a ticket key has at least 32 bytes")
        mesh_ctx_cache(handle, Int(SSL_SESS_CACHE_OFF), 1)
        // 16 bytes of name, 32 for HMAC and 32 for AES.
        let keys =
            sha256(ticketKey + fingerprintBytes + [1]).prefix(16)
            + sha256(ticketKey + fingerprintBytes + [2])
            + sha256(ticketKey + fingerprintBytes + [3])
        let taken = mesh_ctx_ticket_keys(handle, Array(keys), keys.count)
        precondition(taken == 1, "OpenSSL wants ticket keys of another size")
        SSL_CTX_set_session_ticket_cb(
            handle, nil,
            { ssl, session, _, _, status, _ in
                switch status {
                case SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW:
                    guard let owner = TLSSession.of(ssl), owner.mayResume(session) else {
                        return SSL_TICKET_RETURN_IGNORE_RENEW
                    }
                    return status == SSL_TICKET_SUCCESS
                        ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW
                default:
                    return SSL_TICKET_RETURN_IGNORE_RENEW
                }
            }, nil)
    }

    private func setClientSessions() {
        mesh_ctx_cache(
            handle, Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE), 1)
        SSL_CTX_sess_set_new_cb(handle) { ssl, session in
            guard let session, let owner = TLSSession.of(ssl) else { return 0 }
            return owner.keep(session) ? 1 : 0
        }
    }

    private func setProtocols() throws(TLSConfigurationError) {
        guard !alpn.isEmpty else { return }
        if isServer {
            SSL_CTX_set_alpn_select_cb(
                handle,
                { ssl, chosen, length, offered, count, _ in
                    guard let context = TLSSession.of(ssl)?.context, let chosen, let length,
                        let offered
                    else { return SSL_TLSEXT_ERR_NOACK }
                    let list = UnsafeBufferPointer(start: offered, count: Int(count))
                    guard let range = context.chooseProtocol(among: list) else {
                        return SSL_TLSEXT_ERR_NOACK
                    }
                    chosen.pointee = offered + range.lowerBound
                    length.pointee = UInt8(range.count)
                    return SSL_TLSEXT_ERR_OK
                }, nil)
        } else {
            let list = alpn.flatMap { [UInt8($0.count)] + $0 }
            // This function alone returns 0 for success.
            guard SSL_CTX_set_alpn_protos(handle, list, UInt32(list.count)) == 0 else {
                throw TLSConfigurationError("ALPN: the list is too long")
            }
        }
    }

    private func warn() {
        let now = currentSeconds()
        for (what, list) in [("certificate", certificates), ("trusted CA", authorities)] {
            for peer in list {
                if peer.notAfter < now {
                    warnings.append("\(what) has expired: \(peer.presented)")
                } else if peer.notBefore > now {
                    warnings.append("\(what) is not valid yet: \(peer.presented)")
                }
            }
        }
    }

    // MARK: Choices made in a handshake

    /// Our first protocol that the client offers too, as a range of `list`.
    private func chooseProtocol(among list: UnsafeBufferPointer<UInt8>) -> Range<Int>? {
        for wanted in alpn {
            var offset = 0
            while offset < list.count {
                let start = offset + 1
                let end = start + Int(list[offset])
                guard end <= list.count else { return nil }
                if list[start..<end].elementsEqual(wanted) { return start..<end }
                offset = end
            }
        }
        return nil
    }

    /// Those that name the host, else those whose wildcard covers it, else the first; one for each
    /// kind of key, among which OpenSSL chooses by what the client can verify.
    func credentials(for host: String?) -> [Credentials] {
        if let host = host?.lowercased() {
            let exact = credentials.filter { $0.names(host) }
            if !exact.isEmpty { return firstOfEachKeyType(exact) }
            let covering = credentials.filter { $0.covers(host) }
            if !covering.isEmpty { return firstOfEachKeyType(covering) }
        }
        return firstOfEachKeyType(credentials)
    }
}

@available(*, unavailable)
extension TLSContext: Sendable {}

private func firstOfEachKeyType(_ credentials: [Credentials]) -> [Credentials] {
    var seen: Set<Int32> = []
    return credentials.filter { seen.insert($0.keyType).inserted }
}

private func resolve(
    _ reference: CertificateReference, _ secrets: [String: Secret]
) throws(TLSConfigurationError) -> (CertificateMaterial, String) {
    switch reference {
    case .inline(let material): return (material, "the inline certificate")
    case .secret(let name):
        guard let secret = secrets[name] else {
            throw TLSConfigurationError("the secret \"\(name)\" is not there")
        }
        guard case .certificate(let material) = secret.content else {
            throw TLSConfigurationError("the secret \"\(name)\" is no certificate")
        }
        return (material, "secret \"\(name)\"")
    }
}

private func resolve(
    _ reference: ValidationReference, _ secrets: [String: Secret]
) throws(TLSConfigurationError) -> ValidationMaterial? {
    func find(_ name: String) throws(TLSConfigurationError) -> ValidationMaterial {
        guard let secret = secrets[name] else {
            throw TLSConfigurationError("the secret \"\(name)\" is not there")
        }
        guard case .validation(let material) = secret.content else {
            throw TLSConfigurationError("the secret \"\(name)\" is no validation context")
        }
        return material
    }
    switch reference {
    case .none: return nil
    case .inline(let material): return material
    case .secret(let name): return try find(name)
    case .combined(let given, secret: let name):
        // As protobuf merges: lists are joined, and what the secret sets wins.
        var merged = try find(name)
        merged.trustedCA = merged.trustedCA ?? given.trustedCA
        merged.trustDomains.merge(given.trustDomains) { secret, _ in secret }
        merged.sanMatchers = given.sanMatchers + merged.sanMatchers
        merged.certificateHashes = given.certificateHashes + merged.certificateHashes
        merged.spkiHashes = given.spkiHashes + merged.spkiHashes
        merged.crl = merged.crl ?? given.crl
        merged.allowExpired = merged.allowExpired || given.allowExpired
        merged.acceptUntrusted = merged.acceptUntrusted || given.acceptUntrusted
        return merged
    }
}

private func acceptsUntrusted(_ common: CommonTLS, _ secrets: [String: Secret]) -> Bool {
    (try? resolve(common.validation, secrets))?.acceptUntrusted ?? false
}

extension CommonTLS.Version {
    fileprivate var openSSL: Int32 {
        switch self {
        case .tls10: TLS1_VERSION
        case .tls11: TLS1_1_VERSION
        case .tls12: TLS1_2_VERSION
        case .tls13: TLS1_3_VERSION
        }
    }
}

/// Made once, and never written after that.
nonisolated(unsafe) let tlsLibrary: OpaquePointer? = mesh_tls_library()
