/// A workload's name: `spiffe://trust-domain/path`.
///
/// Parsed strictly (SPIFFE-ID §2), so that two spellings of one identity cannot exist: comparing is
/// comparing bytes.
public struct SPIFFEIdentity: Hashable, Sendable, CustomStringConvertible {
    public let trustDomain: String
    /// With its leading slash; empty for the trust domain itself.
    public let path: String

    public static let maxBytes = 2048
    public static let maxTrustDomainBytes = 255

    /// `nil` for anything but a well-formed identity: other scheme, upper case in the trust domain,
    /// user, port, query, fragment, percent encoding, empty or dot segments.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        let scheme = Array("spiffe://".utf8)
        guard bytes.count <= Self.maxBytes, bytes.starts(with: scheme) else { return nil }
        let rest = bytes[scheme.count...]
        let end = rest.firstIndex(of: UInt8(ascii: "/")) ?? rest.endIndex
        let domain = rest[..<end]
        guard Self.isTrustDomain(domain) else { return nil }
        let path = rest[end...]
        if !path.isEmpty {
            for segment in path.dropFirst().split(
                separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            {
                if segment.isEmpty || segment.elementsEqual([0x2E])
                    || segment.elementsEqual([0x2E, 0x2E])
                    || !segment.allSatisfy(Self.isPathByte)
                {
                    return nil
                }
            }
        }
        trustDomain = String(decoding: domain, as: UTF8.self)
        self.path = String(decoding: path, as: UTF8.self)
    }

    public var description: String { "spiffe://\(trustDomain)\(path)" }

    static func isTrustDomain(_ bytes: some Collection<UInt8>) -> Bool {
        !bytes.isEmpty && bytes.count <= maxTrustDomainBytes
            && bytes.allSatisfy { isPathByte($0) && !(0x41...0x5A).contains($0) }
    }

    private static func isPathByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
        default: false
        }
    }
}
