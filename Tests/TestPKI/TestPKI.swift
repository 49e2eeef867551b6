internal import COpenSSL
import Glibc

/// A certificate with its key, as PEM.
public struct TestCertificate: Sendable, Hashable {
    /// The leaf, then intermediates; no root.
    public var certificateChainPEM: String
    public var keyPEM: String
    public var serial: Int

    public var chainBytes: [UInt8] { Array(certificateChainPEM.utf8) }
    public var keyBytes: [UInt8] { Array(keyPEM.utf8) }

    /// The same with its key under a password.
    public func encrypted(password: String) -> TestCertificate {
        let key = keyBytes.withUnsafeBytes { bytes -> OpaquePointer? in
            let bio = BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count))
            defer { BIO_free(bio) }
            return PEM_read_bio_PrivateKey(bio, nil, nil, nil)
        }
        defer { EVP_PKEY_free(key) }
        var secret = Array(password.utf8)
        var copy = self
        copy.keyPEM = text {
            PEM_write_bio_PrivateKey(
                $0, key, EVP_aes_128_cbc(), &secret, Int32(secret.count), nil, nil)
        }
        return copy
    }
}

/// A certificate authority in memory, for tests: ECDSA P-256, made anew in well under a
/// millisecond.
public final class TestPKI {
    public enum Usage: Sendable {
        case both, client, server
        /// An extended key usage that has nothing to do with TLS.
        case codeSigning
    }

    public enum KeyType: Sendable {
        case p256, p384, rsa2048, ed25519
    }

    /// A name with bytes that no well-behaved authority would sign.
    public enum RawName: Sendable {
        case uri([UInt8])
        case dns([UInt8])
    }

    public let trustDomain: String
    public let rootPEM: String
    /// Of intermediates, the issuing one first, as PEM.
    private let chainPEM: String
    private let certificate: OpaquePointer
    private let key: OpaquePointer
    private let epoch: Int?
    private var lastSerial = 1

    /// - Parameters:
    ///   - epoch: seconds since 1970 that all times of this authority count from, those of what it
    ///     issues included; `nil` is the moment in which each certificate is made.
    public convenience init(
        trustDomain: String = "mesh.local", epoch: Int? = nil, notBefore: Int = -3600,
        notAfter: Int = 10 * 365 * 86400
    ) {
        let key = makeKey(.p256)
        let root = makeCertificate(
            subject: "\(trustDomain) root", key: key, issuer: nil, issuerKey: key, serial: 1,
            epoch: epoch, notBefore: notBefore, notAfter: notAfter, isAuthority: true)
        self.init(
            trustDomain: trustDomain, epoch: epoch, rootPEM: pem(root), chainPEM: "",
            certificate: root, key: key)
    }

    private init(
        trustDomain: String, epoch: Int?, rootPEM: String, chainPEM: String,
        certificate: OpaquePointer, key: OpaquePointer
    ) {
        self.trustDomain = trustDomain
        self.epoch = epoch
        self.rootPEM = rootPEM
        self.chainPEM = chainPEM
        self.certificate = certificate
        self.key = key
    }

    deinit {
        X509_free(certificate)
        EVP_PKEY_free(key)
    }

    public var rootBytes: [UInt8] { Array(rootPEM.utf8) }

    /// An authority below this one; its leaves bring its certificate along. Times are seconds from
    /// the epoch.
    public func intermediate(
        _ name: String = "intermediate", notBefore: Int = -3600, notAfter: Int = 365 * 86400
    ) -> TestPKI {
        let key = makeKey(.p256)
        lastSerial += 1
        let made = makeCertificate(
            subject: "\(trustDomain) \(name)", key: key, issuer: certificate, issuerKey: self.key,
            serial: lastSerial, epoch: epoch, notBefore: notBefore, notAfter: notAfter,
            isAuthority: true)
        return TestPKI(
            trustDomain: trustDomain, epoch: epoch, rootPEM: rootPEM,
            chainPEM: pem(made) + chainPEM, certificate: made, key: key)
    }

    /// Times are seconds from the epoch.
    public func leaf(
        uri: String? = nil, uris: [String] = [], dns: [String] = [], ip: [[UInt8]] = [],
        email: [String] = [], raw: [RawName] = [], subject: String = "leaf", notBefore: Int = -3600,
        notAfter: Int = 30 * 86400, usage: Usage = .both, keyType: KeyType = .p256
    ) -> TestCertificate {
        let key = makeKey(keyType)
        defer { EVP_PKEY_free(key) }
        var names: [(Int32, [UInt8])] = []
        if let uri { names.append((Int32(GEN_URI), Array(uri.utf8))) }
        names += uris.map { (Int32(GEN_URI), Array($0.utf8)) }
        names += dns.map { (Int32(GEN_DNS), Array($0.utf8)) }
        names += ip.map { (Int32(GEN_IPADD), $0) }
        names += email.map { (Int32(GEN_EMAIL), Array($0.utf8)) }
        for name in raw {
            switch name {
            case .uri(let bytes): names.append((Int32(GEN_URI), bytes))
            case .dns(let bytes): names.append((Int32(GEN_DNS), bytes))
            }
        }
        lastSerial += 1
        let made = makeCertificate(
            subject: subject, key: key, issuer: certificate, issuerKey: self.key,
            serial: lastSerial, epoch: epoch, notBefore: notBefore, notAfter: notAfter,
            isAuthority: false, usage: usage, names: names)
        defer { X509_free(made) }
        return TestCertificate(
            certificateChainPEM: pem(made) + chainPEM, keyPEM: pem(key: key), serial: lastSerial)
    }

    /// A leaf for `identity(account)`.
    public func workload(_ account: String, notAfter: Int = 30 * 86400) -> TestCertificate {
        leaf(uri: identity(account), notAfter: notAfter)
    }

    /// `spiffe://<trust domain>/ns/default/sa/<account>`.
    public func identity(_ account: String) -> String {
        "spiffe://\(trustDomain)/ns/default/sa/\(account)"
    }

    /// A revocation list of this authority, as PEM.
    public func revocationList(_ revoked: [TestCertificate], nextUpdate: Int = 86400) -> String {
        guard let list = X509_CRL_new() else { preconditionFailure("no memory") }
        defer { X509_CRL_free(list) }
        X509_CRL_set_version(list, 1)
        X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate))
        let now = X509_gmtime_adj(nil, -60)
        let next = X509_gmtime_adj(nil, nextUpdate)
        defer {
            ASN1_TIME_free(now)
            ASN1_TIME_free(next)
        }
        X509_CRL_set1_lastUpdate(list, now)
        X509_CRL_set1_nextUpdate(list, next)
        for entry in revoked {
            let item = X509_REVOKED_new()
            let serial = ASN1_INTEGER_new()
            ASN1_INTEGER_set(serial, entry.serial)
            X509_REVOKED_set_serialNumber(item, serial)
            X509_REVOKED_set_revocationDate(item, now)
            ASN1_INTEGER_free(serial)
            X509_CRL_add0_revoked(list, item)
        }
        X509_CRL_sort(list)
        X509_CRL_sign(list, key, EVP_sha256())
        return text { PEM_write_bio_X509_CRL($0, list) }
    }
}

@available(*, unavailable)
extension TestPKI: Sendable {}

private func makeKey(_ type: TestPKI.KeyType) -> OpaquePointer {
    let key: OpaquePointer?
    switch type {
    case .p256: key = mesh_make_ec_key("P-256")
    case .p384: key = mesh_make_ec_key("P-384")
    case .rsa2048: key = mesh_make_rsa_key(2048)
    case .ed25519: key = mesh_make_ed25519_key()
    }
    guard let key else { preconditionFailure("no key") }
    return key
}

private func makeCertificate(
    subject: String, key: OpaquePointer, issuer: OpaquePointer?, issuerKey: OpaquePointer,
    serial: Int, epoch: Int?, notBefore: Int, notAfter: Int, isAuthority: Bool,
    usage: TestPKI.Usage = .both, names: [(Int32, [UInt8])] = []
) -> OpaquePointer {
    guard let certificate = X509_new() else { preconditionFailure("no memory") }
    X509_set_version(certificate, 2)
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial)
    let epoch = epoch ?? time(nil)
    ASN1_TIME_set(X509_getm_notBefore(certificate), epoch + notBefore)
    ASN1_TIME_set(X509_getm_notAfter(certificate), epoch + notAfter)
    let name = X509_NAME_new()
    let text = Array(subject.utf8)
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, text, Int32(text.count), -1, 0)
    X509_set_subject_name(certificate, name)
    X509_NAME_free(name)
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer ?? certificate))
    X509_set_pubkey(certificate, key)
    func add(_ nid: Int32, _ value: String) {
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, issuer ?? certificate, certificate, nil, nil, 0)
        guard let made = X509V3_EXT_conf_nid(nil, &context, nid, value) else {
            preconditionFailure("\(value) is no extension")
        }
        X509_add_ext(certificate, made, -1)
        X509_EXTENSION_free(made)
    }
    add(NID_basic_constraints, isAuthority ? "critical,CA:TRUE" : "critical,CA:FALSE")
    add(NID_key_usage, isAuthority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature")
    add(NID_subject_key_identifier, "hash")
    if issuer != nil { add(NID_authority_key_identifier, "keyid") }
    if !isAuthority {
        switch usage {
        case .both: add(NID_ext_key_usage, "serverAuth,clientAuth")
        case .client: add(NID_ext_key_usage, "clientAuth")
        case .server: add(NID_ext_key_usage, "serverAuth")
        case .codeSigning: add(NID_ext_key_usage, "codeSigning")
        }
    }
    if !names.isEmpty, let list = GENERAL_NAMES_new() {
        for (type, bytes) in names {
            mesh_names_add(list, type, bytes, Int32(bytes.count))
        }
        X509_add1_ext_i2d(
            certificate, NID_subject_alt_name, UnsafeMutableRawPointer(list), 0,
            UInt(X509V3_ADD_DEFAULT))
        GENERAL_NAMES_free(list)
    }
    let signed = X509_sign(certificate, issuerKey, EVP_sha256())
    precondition(signed > 0, "signing failed")
    return certificate
}

private func pem(_ certificate: OpaquePointer) -> String {
    text { PEM_write_bio_X509($0, certificate) }
}

private func pem(key: OpaquePointer) -> String {
    text { PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
}

private func text(_ write: (OpaquePointer?) -> Int32) -> String {
    guard let bio = BIO_new(BIO_s_mem()) else { preconditionFailure("no memory") }
    defer { BIO_free(bio) }
    let done = write(bio)
    precondition(done == 1, "PEM could not be written")
    var start: UnsafeMutablePointer<CChar>?
    let count = mesh_bio_memory(bio, &start)
    guard let start, count > 0 else { return "" }
    return start.withMemoryRebound(to: UInt8.self, capacity: count) {
        String(decoding: UnsafeBufferPointer(start: $0, count: count), as: UTF8.self)
    }
}
