internal import COpenSSL
import MeshBase

/// A certificate as a value: who a peer is, or what `/certs` shows of our own.
public struct TLSPeer: Equatable, Sendable {
    public var uriSANs: [String] = []
    public var dnsSANs: [String] = []
    public var ipSANs: [String] = []
    public var emailSANs: [String] = []
    /// RFC 2253: most specific part first.
    public var subject = ""
    public var issuer = ""
    /// Hexadecimal, lower case.
    public var serial = ""
    /// Seconds since 1970.
    public var notBefore: Int64 = 0
    public var notAfter: Int64 = 0
    /// Of the DER certificate, hexadecimal, lower case.
    public var sha256 = ""
    /// Of the public key (SPKI), base64.
    public var spkiSHA256 = ""
    /// A name held bytes that no name may hold (NUL, control, non-ASCII) and was left out.
    public var hasMalformedName = false
    private var der: [UInt8] = []

    public init() {}

    /// The only URI SAN, if it is a well-formed SPIFFE identity.
    public var identity: SPIFFEIdentity? {
        uriSANs.count == 1 ? SPIFFEIdentity(uriSANs[0]) : nil
    }

    /// Built on each call: for `x-forwarded-client-cert` and the like.
    public var pem: String {
        if der.isEmpty { return "" }
        var text = "-----BEGIN CERTIFICATE-----\n"
        let encoded = Array(base64(der).utf8)
        var offset = 0
        while offset < encoded.count {
            let end = min(offset + 64, encoded.count)
            text += String(decoding: encoded[offset..<end], as: UTF8.self)
            text += "\n"
            offset = end
        }
        return text + "-----END CERTIFICATE-----\n"
    }

    /// All SANs in words, for messages; the subject where there are none.
    public var presented: String {
        let names =
            uriSANs.map { "URI \($0)" } + dnsSANs.map { "DNS \($0)" } + ipSANs.map { "IP \($0)" }
            + emailSANs.map { "email \($0)" }
        if names.isEmpty { return "no names (subject \"\(subject)\")" }
        let shown = names.prefix(8).joined(separator: ", ")
        return names.count > 8 ? "\(shown) and \(names.count - 8) more" : shown
    }

    init(_ certificate: OpaquePointer) {
        readNames(certificate)
        subject = Self.text(of: X509_get_subject_name(certificate))
        issuer = Self.text(of: X509_get_issuer_name(certificate))
        serial = Self.hexadecimalSerial(certificate)
        notBefore = seconds(of: X509_get0_notBefore(certificate))
        notAfter = seconds(of: X509_get0_notAfter(certificate))
        sha256 = hexadecimal(certificateDigest(certificate))
        der = Self.encoded { i2d_X509(certificate, $0) }
        let key = X509_get_X509_PUBKEY(certificate)
        spkiSHA256 = base64(MTLS.sha256(Self.encoded { i2d_X509_PUBKEY(key, $0) }))
    }

    private mutating func readNames(_ certificate: OpaquePointer) {
        var critical: Int32 = 0
        guard
            let raw = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nil)
        else {
            // -1: there is none. Else it is there and cannot be read, or is there twice.
            hasMalformedName = critical != -1
            OpenSSLError.discard()
            return
        }
        let names = OpaquePointer(raw)
        defer { GENERAL_NAMES_free(names) }
        for index in 0..<mesh_names_count(names) {
            guard let value = mesh_name_value(names, index) else { continue }
            let bytes = UnsafeBufferPointer(
                start: ASN1_STRING_get0_data(value), count: Int(ASN1_STRING_length(value)))
            let type = mesh_name_type(names, index)
            if type == GEN_IPADD {
                if let text = Self.address(bytes) {
                    ipSANs.append(text)
                } else {
                    hasMalformedName = true
                }
                continue
            }
            guard bytes.count > 0, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                hasMalformedName = true
                continue
            }
            let text = String(decoding: bytes, as: UTF8.self)
            switch type {
            case GEN_URI: uriSANs.append(text)
            case GEN_DNS: dnsSANs.append(text)
            default: emailSANs.append(text)
            }
        }
    }

    private static func address(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        func integer(_ range: Range<Int>) -> UInt64 {
            range.reduce(0) { $0 << 8 | UInt64(bytes[$1]) }
        }
        switch bytes.count {
        case 4: return SocketAddress.ipv4(UInt32(integer(0..<4)), port: 0).host
        case 16: return SocketAddress.ipv6(integer(0..<8), integer(8..<16), port: 0).host
        default: return nil
        }
    }

    private static func text(of name: OpaquePointer?) -> String {
        guard let name, let bio = BIO_new(BIO_s_mem()) else { return "" }
        defer { BIO_free(bio) }
        // Escapes control and multi-byte characters, so the text is printable ASCII.
        mesh_print_name(bio, name)
        var start: UnsafeMutablePointer<CChar>?
        let count = mesh_bio_memory(bio, &start)
        guard let start, count > 0 else { return "" }
        return start.withMemoryRebound(to: UInt8.self, capacity: count) {
            String(decoding: UnsafeBufferPointer(start: $0, count: count), as: UTF8.self)
        }
    }

    private static func hexadecimalSerial(_ certificate: OpaquePointer) -> String {
        guard let serial = X509_get0_serialNumber(certificate) else { return "" }
        return hexadecimal(
            Array(
                UnsafeBufferPointer(
                    start: ASN1_STRING_get0_data(serial), count: Int(ASN1_STRING_length(serial)))))
    }

    private static func encoded(
        _ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32
    ) -> [UInt8] {
        let length = encode(nil)
        guard length > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: Int(length)) { buffer, count in
            var cursor = buffer.baseAddress
            count = Int(max(0, encode(&cursor)))
        }
    }
}
