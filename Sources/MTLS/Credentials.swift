internal import COpenSSL
import MeshConfig

/// A certificate chain with its key, loaded and checked against each other.
final class Credentials {
    let leaf: OpaquePointer
    /// `STACK_OF(X509)` without the leaf.
    let chain: OpaquePointer
    let key: OpaquePointer
    let details: TLSPeer
    let chainPEM: [UInt8]

    init(
        _ material: CertificateMaterial, name: String, files: [String: [UInt8]]
    ) throws(TLSConfigurationError) {
        chainPEM = try pemBytes(material.chain, "certificate chain of \(name)", files)
        let certificates = try readCertificates(chainPEM, "certificate chain of \(name)")
        // Own from here on: a throw below must not leak.
        let chain = mesh_x509_stack()
        for certificate in certificates.dropFirst() {
            if let chain, mesh_x509_push(chain, certificate) > 0 { continue }
            X509_free(certificate)
        }
        guard let chain else {
            X509_free(certificates[0])
            throw TLSConfigurationError("certificate chain of \(name): no memory")
        }
        do {
            let keyPEM = try pemBytes(material.key, "private key of \(name)", files)
            var password: [UInt8]?
            if let source = material.password {
                password = try pemBytes(source, "password of \(name)", files)
                while let last = password?.last, last == 10 || last == 13 { password?.removeLast() }
            }
            key = try readKey(keyPEM, password, "private key of \(name)")
        } catch {
            X509_free(certificates[0])
            mesh_x509_stack_free(chain)
            throw error
        }
        leaf = certificates[0]
        self.chain = chain
        details = TLSPeer(leaf)
        guard X509_check_private_key(leaf, key) == 1 else {
            OpenSSLError.discard()
            throw TLSConfigurationError(
                "private key of \(name) does not belong to its certificate (\(details.presented))")
        }
    }

    deinit {
        X509_free(leaf)
        mesh_x509_stack_free(chain)
        EVP_PKEY_free(key)
    }

    var keyType: Int32 { mesh_key_type(key) }

    func names(_ host: String) -> Bool {
        details.dnsSANs.contains { $0.lowercased() == host }
    }

    func covers(_ host: String) -> Bool {
        details.dnsSANs.contains { hostMatches(host, pattern: $0) }
    }
}

func pemBytes(
    _ source: DataSource, _ what: String, _ files: [String: [UInt8]]
) throws(TLSConfigurationError) -> [UInt8] {
    switch source {
    case .inline(let bytes): return bytes
    case .file(let path):
        guard let bytes = files[path] else {
            throw TLSConfigurationError("\(what): the file \(path) could not be read")
        }
        return bytes
    }
}

/// All certificates of a PEM file, at least one; the caller frees them.
func readCertificates(
    _ pem: [UInt8], _ what: String
) throws(TLSConfigurationError) -> [OpaquePointer] {
    var found: [OpaquePointer] = []
    let problem = withPEM(pem) { bio -> String? in
        while let certificate = PEM_read_bio_X509(bio, nil, refusePassword, nil) {
            found.append(certificate)
        }
        let error = OpenSSLError()
        if error.reason != PEM_R_NO_START_LINE { return error.words }
        return found.isEmpty ? "found no PEM certificate in \(pem.count) bytes" : nil
    }
    if let problem {
        for certificate in found { X509_free(certificate) }
        throw TLSConfigurationError("\(what): expected PEM certificates, \(problem)")
    }
    return found
}

func readRevocations(
    _ pem: [UInt8], _ what: String
) throws(TLSConfigurationError) -> [OpaquePointer] {
    var found: [OpaquePointer] = []
    let problem = withPEM(pem) { bio -> String? in
        while let list = PEM_read_bio_X509_CRL(bio, nil, refusePassword, nil) {
            found.append(list)
        }
        let error = OpenSSLError()
        if error.reason != PEM_R_NO_START_LINE { return error.words }
        return found.isEmpty ? "found no PEM revocation list in \(pem.count) bytes" : nil
    }
    if let problem {
        for list in found { X509_CRL_free(list) }
        throw TLSConfigurationError("\(what): expected PEM revocation lists, \(problem)")
    }
    return found
}

private func readKey(
    _ pem: [UInt8], _ password: [UInt8]?, _ what: String
) throws(TLSConfigurationError) -> OpaquePointer {
    var key: OpaquePointer?
    var wantedPassword = false
    let problem = withPEM(pem) { bio -> String? in
        if let password {
            var text = password + [0]
            key = text.withUnsafeMutableBytes {
                PEM_read_bio_PrivateKey(bio, nil, nil, $0.baseAddress)
            }
            for index in text.indices { text[index] = 0 }
        } else {
            key = PEM_read_bio_PrivateKey(bio, nil, refusePassword, &wantedPassword)
        }
        if key != nil { return nil }
        let error = OpenSSLError()
        if wantedPassword {
            return "found an encrypted one and no password"
        }
        if error.reason == PEM_R_NO_START_LINE || error.words.isEmpty
            || error.words == "unsupported"
        {
            return "found none in \(pem.count) bytes"
        }
        return password == nil ? error.words : "\(error.words) (is the password right?)"
    }
    guard let key else {
        throw TLSConfigurationError(
            "\(what): expected a PEM private key, \(problem ?? "found none")")
    }
    return key
}

private func withPEM<R>(_ pem: [UInt8], _ body: (OpaquePointer?) -> R) -> R {
    OpenSSLError.discard()
    return pem.withUnsafeBytes { bytes in
        let bio = BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count))
        defer { BIO_free(bio) }
        return body(bio)
    }
}

/// Without it OpenSSL would ask at the terminal. Notes in `data`, a `Bool`, that it was called.
private func refusePassword(
    _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int32, _ isWriting: Int32,
    _ data: UnsafeMutableRawPointer?
) -> Int32 {
    data?.assumingMemoryBound(to: Bool.self).pointee = true
    return -1
}
