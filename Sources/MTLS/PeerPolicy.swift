public import MeshConfig
import MeshBase

/// Which identities may be on the other end, given that the certificate chain is good.
///
/// Where matchers are given one must match a name of its own type; where hashes are given one must
/// match. A certificate whose names cannot be relied on is refused before any matcher sees it: one
/// with a malformed name, or with a SPIFFE identity that is not its only URI (X509-SVID §2).
public struct PeerPolicy {
    public enum Verdict: Equatable, Sendable {
        case accepted
        /// In words, expected against presented.
        case refused(String)
    }

    private struct Matcher {
        let type: SANMatcher.NameType
        let test: TextTest
        /// Exact DNS matchers also accept a certificate's wildcard.
        let host: String?
        let words: String
    }

    private var matchers: [Matcher] = []
    private let certificateHashes: [String]
    private let spkiHashes: [String]

    public init(_ material: ValidationMaterial) throws(TLSConfigurationError) {
        certificateHashes = material.certificateHashes
        spkiHashes = material.spkiHashes
        for hash in certificateHashes
        where hash.utf8.count != 64
            || !hash.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        {
            throw TLSConfigurationError(
                "certificate hash: expected 64 hexadecimal digits, found \"\(hash)\"")
        }
        for hash in spkiHashes where hash.utf8.count != 44 {
            throw TLSConfigurationError(
                "SPKI hash: expected base64 of 32 bytes, found \"\(hash)\"")
        }
        for matcher in material.sanMatchers {
            matchers.append(try Self.compile(matcher))
        }
    }

    private static func compile(_ matcher: SANMatcher) throws(TLSConfigurationError) -> Matcher {
        var matcher = matcher
        var host: String?
        var words: String
        switch matcher.matcher.pattern {
        case .exact(let text):
            words = text
            if matcher.type == .dns || matcher.type == .any { host = text }
            if matcher.type == .ipAddress, let address = SocketAddress(ip: text, port: 0) {
                // One spelling for each address.
                matcher.matcher.pattern = .exact(address.host)
            }
        case .prefix(let text): words = "\(text)*"
        case .suffix(let text): words = "*\(text)"
        case .contains(let text): words = "*\(text)*"
        case .regex(let text): words = "/\(text)/"
        }
        switch matcher.type {
        case .uri: words = "URI \(words)"
        case .dns: words = "DNS \(words)"
        case .ipAddress: words = "IP \(words)"
        case .email: words = "email \(words)"
        case .otherName:
            throw TLSConfigurationError(
                "SAN matcher \"\(words)\": names of type OTHER_NAME are not supported")
        case .any: break
        }
        do {
            return Matcher(
                type: matcher.type, test: try TextTest(matcher.matcher), host: host, words: words)
        } catch {
            throw TLSConfigurationError("SAN matcher \(words): \(error.reason)")
        }
    }

    /// Whether anything at all is asked of the identity.
    public var isEmpty: Bool {
        matchers.isEmpty && !hasHashes
    }

    public var hasMatchers: Bool { !matchers.isEmpty }
    public var hasHashes: Bool { !certificateHashes.isEmpty || !spkiHashes.isEmpty }

    public func verdict(on peer: TLSPeer) -> Verdict {
        if peer.hasMalformedName {
            return .refused("presented a certificate with a malformed name, \(peer.presented)")
        }
        if peer.uriSANs.contains(where: { $0.lowercased().hasPrefix("spiffe:") }),
            peer.identity == nil
        {
            return .refused(
                peer.uriSANs.count > 1
                    ? "expected one URI, presented several: \(peer.presented)"
                    : "presented a malformed SPIFFE identity: \(peer.presented)")
        }
        if hasHashes, !certificateHashes.contains(peer.sha256),
            !spkiHashes.contains(peer.spkiSHA256)
        {
            return .refused(
                "expected another certificate, presented SHA-256 \(peer.sha256), "
                    + "public key \(peer.spkiSHA256)")
        }
        if matchers.isEmpty || matchers.contains(where: { Self.matches($0, peer) }) {
            return .accepted
        }
        return .refused("expected \(expected), presented \(peer.presented)")
    }

    private var expected: String {
        let shown = matchers.prefix(8).map(\.words).joined(separator: " or ")
        return matchers.count > 8 ? "\(shown) or \(matchers.count - 8) more" : shown
    }

    private static func matches(_ matcher: Matcher, _ peer: TLSPeer) -> Bool {
        switch matcher.type {
        case .uri: any(peer.uriSANs, matcher)
        case .dns: anyHost(peer.dnsSANs, matcher)
        case .ipAddress: any(peer.ipSANs, matcher)
        case .email: any(peer.emailSANs, matcher)
        case .any:
            any(peer.uriSANs, matcher) || anyHost(peer.dnsSANs, matcher)
                || any(peer.ipSANs, matcher) || any(peer.emailSANs, matcher)
        case .otherName: false
        }
    }

    private static func any(_ names: [String], _ matcher: Matcher) -> Bool {
        for name in names {
            var name = name
            if name.withUTF8({ matcher.test.matches($0) }) { return true }
        }
        return false
    }

    private static func anyHost(_ names: [String], _ matcher: Matcher) -> Bool {
        if let host = matcher.host, names.contains(where: { hostMatches(host, pattern: $0) }) {
            return true
        }
        return any(names, matcher)
    }
}

/// Whether a certificate's DNS name covers `host`: without regard to case, and "*" standing for
/// exactly one whole leftmost label of at least three (RFC 6125 §6.4.3).
func hostMatches(_ host: String, pattern: String) -> Bool {
    let host = Array(host.lowercased().utf8)
    let pattern = Array(pattern.lowercased().utf8)
    guard pattern.starts(with: [0x2A, 0x2E]) else { return host == pattern }
    let suffix = pattern.dropFirst()
    guard suffix.dropFirst().contains(0x2E), !suffix.contains(0x2A),
        let dot = host.firstIndex(of: 0x2E), dot > 0
    else { return false }
    return host[dot...].elementsEqual(suffix)
}
