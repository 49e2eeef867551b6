internal import COpenSSL
public import MeshBase

/// TLS for one connection: ciphertext goes in and plaintext comes out, and the reverse.
///
/// No socket and no handler is known here. Every call does all that can be done with what it is
/// given and appends what must be sent to `output`, alerts included; the caller sends that whatever
/// the outcome. It never calls out, so it may be dropped at any time but from within a call.
///
/// Plaintext given before the handshake is done waits here, up to `maxQueuedBytes`. There is no early
/// data and no renegotiation. Whether an end of the bytes below was the peer's intention is for the
/// caller to judge, by `receivedCloseNotify`.
public final class TLSSession {
    public enum Outcome: Equatable, Sendable {
        case progress
        /// The peer ended its direction with close_notify; ours stays open.
        case closed
        /// Nothing more will come of it; each later call says the same.
        case failed(TransportFailure)
    }

    /// The handshake is done and the peer is whom the context asks for.
    public private(set) var isEstablished = false
    public private(set) var receivedCloseNotify = false
    public private(set) var isResumed = false
    /// `nil` when the peer presented no certificate, or none that was verified.
    public private(set) var peer: TLSPeer?

    public static let maxQueuedBytes = 256 * 1024

    let context: TLSContext
    private let pipe: TLSPipe
    private let ssl: OpaquePointer?
    private let name: String
    private let cache: TLSSessionCache?
    private let cacheKey: String
    private var failure: TransportFailure?
    private var queued = ByteBuffer()
    private var sentClose = false

    private static let recordBytes = 16384

    init(
        context: TLSContext, pipe: TLSPipe, serverName: String, cache: TLSSessionCache?, key: String
    ) {
        self.context = context
        self.pipe = pipe
        self.cache = cache
        name = serverName
        cacheKey = key
        ssl = SSL_new(context.handle)
        guard let ssl, let method = pipeMethod, let bio = BIO_new(method) else {
            failure = TransportFailure(.exhausted, detail: "OpenSSL has no memory for a session")
            return
        }
        BIO_set_data(bio, pipe.state)
        SSL_set_bio(ssl, bio, bio)
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        if context.isServer {
            SSL_set_accept_state(ssl)
            return
        }
        SSL_set_connect_state(ssl)
        if !serverName.isEmpty, SocketAddress(ip: serverName, port: 0) == nil,
            mesh_ssl_hostname(ssl, serverName) != 1
        {
            failure = TransportFailure(
                .tlsHandshake, detail: "\(OpenSSLError().words): the server name is too long")
        }
        if let session = cache?.take(key: key) {
            SSL_set_session(ssl, session)
            SSL_SESSION_free(session)
        }
    }

    deinit {
        guard let ssl else { return }
        // OpenSSL throws the session of a connection away that was not shut down.
        if isEstablished, failure == nil {
            SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        }
        SSL_free(ssl)
    }

    /// Begins a client's handshake; nothing on a server.
    public func start(output: inout ByteBuffer) {
        guard let ssl, failure == nil, !context.isServer else { return }
        pipe.connect(input: UnsafeBufferPointer(start: nil, count: 0), output: &output) {
            _ = handshake(ssl)
        }
    }

    /// Takes ciphertext, all of it, in pieces of any size.
    public func receive(
        _ ciphertext: Span<UInt8>, plaintext: inout ByteBuffer, output: inout ByteBuffer
    ) -> Outcome {
        guard let ssl, failure == nil else { return outcome }
        if receivedCloseNotify { return .closed }
        let wasEstablished = isEstablished
        ciphertext.withUnsafeBufferPointer { input in
            pipe.connect(input: input, output: &output) {
                if isEstablished || handshake(ssl) { read(ssl, &plaintext) }
            }
        }
        if !wasEstablished, isEstablished, failure == nil, !queued.isEmpty {
            var waiting = ByteBuffer()
            swap(&waiting, &queued)
            waiting.withBytes { _ = send($0.span, output: &output) }
        }
        return outcome
    }

    /// Encrypts, in records of at most 16 KiB.
    /// - Returns: `false` when the bytes were dropped: after a failure or `sendClose`, or when too
    ///   many wait for the handshake, which fails the session.
    @discardableResult
    public func send(_ plaintext: Span<UInt8>, output: inout ByteBuffer) -> Bool {
        guard let ssl, failure == nil, !sentClose else { return false }
        guard plaintext.count > 0 else { return true }
        guard isEstablished else {
            guard queued.count + plaintext.count <= Self.maxQueuedBytes else {
                failure = TransportFailure(
                    .tlsHandshake, detail: "too much was sent before the handshake was done")
                return false
            }
            queued.append(plaintext)
            return true
        }
        let records = plaintext.count / Self.recordBytes + 1
        output.reserve(plaintext.count + records * 32)
        return plaintext.withUnsafeBufferPointer { bytes in
            pipe.connect(input: UnsafeBufferPointer(start: nil, count: 0), output: &output) {
                write(ssl, bytes)
            }
        }
    }

    /// Ends our direction with close_notify. Before the handshake is done there is nothing to end.
    public func sendClose(output: inout ByteBuffer) {
        guard let ssl, failure == nil, isEstablished, !sentClose else { return }
        sentClose = true
        pipe.connect(input: UnsafeBufferPointer(start: nil, count: 0), output: &output) {
            OpenSSLError.discard()
            SSL_shutdown(ssl)
            OpenSSLError.discard()
        }
    }

    /// New keys for both directions (RFC 8446 §4.6.3).
    /// - Returns: `false` where that cannot be: in TLS 1.2, or before the handshake is done.
    public func updateKeys(output: inout ByteBuffer) -> Bool {
        guard let ssl, failure == nil, isEstablished, !sentClose else { return false }
        return pipe.connect(input: UnsafeBufferPointer(start: nil, count: 0), output: &output) {
            OpenSSLError.discard()
            let done =
                SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1
            OpenSSLError.discard()
            return done
        }
    }

    // MARK: What was negotiated

    public var negotiatedProtocol: String? {
        guard let ssl else { return nil }
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &start, &count)
        guard let start, count > 0 else { return nil }
        return String(
            decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
    }

    /// SNI: what was received, or sent.
    public var serverName: String? {
        guard context.isServer else { return name.isEmpty ? nil : name }
        return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) }
    }

    /// "TLSv1.3".
    public var version: String {
        guard let ssl, let text = SSL_get_version(ssl) else { return "" }
        return String(cString: text)
    }

    /// OpenSSL's name of the cipher suite.
    public var cipher: String {
        guard let ssl, let text = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)) else {
            return ""
        }
        return String(cString: text)
    }

    // MARK: Inside OpenSSL

    private var outcome: Outcome {
        if let failure { return .failed(failure) }
        return receivedCloseNotify ? .closed : .progress
    }

    /// - Returns: whether the handshake is done.
    private func handshake(_ ssl: OpaquePointer) -> Bool {
        OpenSSLError.discard()
        // For what has no library of its own: a ticket's session reads the peer's certificate again.
        let usual = OSSL_LIB_CTX_set0_default(tlsLibrary)
        let result = SSL_do_handshake(ssl)
        OSSL_LIB_CTX_set0_default(usual)
        if result == 1 {
            established(ssl)
            return failure == nil
        }
        let error = SSL_get_error(ssl, result)
        if error != SSL_ERROR_WANT_READ { failed() }
        return false
    }

    private func read(_ ssl: OpaquePointer, _ plaintext: inout ByteBuffer) {
        OpenSSLError.discard()
        while pipe.hasInput || SSL_has_pending(ssl) == 1 {
            var result: Int32 = 0
            plaintext.write(atLeast: Self.recordBytes) { free in
                var count = 0
                result = SSL_read_ex(ssl, free.baseAddress, free.count, &count)
                return result == 1 ? count : 0
            }
            if result == 1 { continue }
            switch SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ: return
            case SSL_ERROR_ZERO_RETURN:
                receivedCloseNotify = true
                return
            default:
                failed()
                return
            }
        }
    }

    private func write(_ ssl: OpaquePointer, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        OpenSSLError.discard()
        var offset = 0
        while offset < bytes.count, let base = bytes.baseAddress {
            var count = 0
            guard SSL_write_ex(ssl, base + offset, bytes.count - offset, &count) == 1 else {
                failed()
                return false
            }
            offset += count
        }
        return true
    }

    private func failed() {
        let error = OpenSSLError()
        if failure == nil { failure = error.failure(duringHandshake: !isEstablished) }
        queued = ByteBuffer()
    }

    private func established(_ ssl: OpaquePointer) {
        isResumed = SSL_session_reused(ssl) == 1
        if isResumed, let verifier = context.verifier,
            let leaf = SSL_get0_peer_certificate(ssl)
        {
            switch verifier.rejudge(leaf: leaf, deadline: Self.deadline(of: SSL_get_session(ssl))) {
            case .approved(let approval): peer = approval.peer
            case .unverified: break
            case .refused(let failure, code: _): refuse(failure)
            }
        }
        if context.requiresPeerCertificate, context.verifier?.verifies == true, peer == nil {
            refuse(
                TransportFailure(
                    .tlsNoCertificate, detail: "expected a certificate, presented none"))
        }
        if failure == nil { isEstablished = true } else { peer = nil }
    }

    // MARK: What OpenSSL asks

    static func of(_ ssl: OpaquePointer?) -> TLSSession? {
        guard let ssl, let data = SSL_get_ex_data(ssl, 0) else { return nil }
        return Unmanaged<TLSSession>.fromOpaque(data).takeUnretainedValue()
    }

    func refuse(_ failure: TransportFailure) {
        if self.failure == nil { self.failure = failure }
    }

    /// - Returns: an `X509_V_` code.
    func judgePeer(leaf: OpaquePointer?, untrusted: OpaquePointer?) -> Int32 {
        guard let verifier = context.verifier else { return X509_V_OK }
        guard let leaf else {
            refuse(TransportFailure(.tlsNoCertificate, detail: "presented no certificate"))
            return X509_V_ERR_UNSPECIFIED
        }
        switch verifier.judge(leaf: leaf, untrusted: untrusted) {
        case .approved(let approval):
            peer = approval.peer
            Self.setDeadline(approval.deadline, of: SSL_get_session(ssl))
            return X509_V_OK
        case .unverified:
            return X509_V_OK
        case .refused(let failure, let code):
            refuse(failure)
            return code
        }
    }

    /// Whether a ticket's session still holds up; if not, a full handshake follows.
    func mayResume(_ session: OpaquePointer?) -> Bool {
        guard let session else { return false }
        guard let verifier = context.verifier, let leaf = SSL_SESSION_get0_peer(session) else {
            return true
        }
        if case .refused = verifier.rejudge(leaf: leaf, deadline: Self.deadline(of: session)) {
            return false
        }
        return true
    }

    func chooseCertificate() -> Int32 {
        guard let ssl else { return 0 }
        SSL_certs_clear(ssl)
        for credential in context.credentials(for: serverName) {
            guard
                SSL_use_cert_and_key(
                    ssl, credential.leaf, credential.key, credential.chain, 1) == 1
            else { return 0 }
        }
        return 1
    }

    /// Takes the reference if it answers `true`.
    func keep(_ session: OpaquePointer) -> Bool {
        guard let cache, failure == nil else { return false }
        var deadline = Self.deadline(of: session)
        if context.verifier?.verifies != true { deadline = .max }
        cache.add(session, key: cacheKey, deadline: deadline, limit: context.maxSessionsPerKey)
        return true
    }

    /// The application data of a session, which tickets carry: when its chain ends.
    private static func deadline(of session: OpaquePointer?) -> Int64 {
        var data: UnsafeMutableRawPointer?
        var count = 0
        guard let session, SSL_SESSION_get0_ticket_appdata(session, &data, &count) == 1, let data,
            count == MemoryLayout<Int64>.size
        else { return 0 }
        return data.loadUnaligned(as: Int64.self)
    }

    private static func setDeadline(_ deadline: Int64, of session: OpaquePointer?) {
        guard let session else { return }
        withUnsafeBytes(of: deadline) {
            _ = SSL_SESSION_set1_ticket_appdata(session, $0.baseAddress, $0.count)
        }
    }
}

@available(*, unavailable)
extension TLSSession: Sendable {}
