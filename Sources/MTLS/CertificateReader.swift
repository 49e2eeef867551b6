internal import COpenSSL
public import MeshConfig

/// What certificates say of themselves, for those who list them; nothing is verified.
public enum CertificateReader {
    /// All certificates of a PEM file in its order, at least one.
    /// - Parameter files: contents of files, as in `Snapshot.files`.
    public static func read(
        _ source: DataSource, files: [String: [UInt8]]
    ) throws(TLSConfigurationError) -> [TLSPeer] {
        let pem = try pemBytes(source, "certificates", files)
        let certificates = try readCertificates(pem, "certificates")
        defer { for certificate in certificates { X509_free(certificate) } }
        return certificates.map { TLSPeer($0) }
    }
}
