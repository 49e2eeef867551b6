public import MeshBase

/// A route's hash policies, compiled: what of a request decides its endpoint under consistent hashing.
///
/// Envoy's rule. Each policy gives a hash or none; what they give is combined, the sum so far
/// rotated left by one bit and then xored, and a terminal policy ends it as soon as there is
/// anything. A cookie with a time to live is made up when the request has none, from the two ends of
/// the connection, so that requests which race on it get the same.
public struct HashKeyRule {
    private enum Source {
        case header(name: String, rewrite: (regex: LinearRegex, substitution: [UInt8])?)
        case cookie(HashPolicy.Cookie)
        case sourceIP
        case queryParameter([UInt8])
    }
    private let parts: [(source: Source, isTerminal: Bool)]

    /// - Returns: `nil` without policies.
    public init?(_ policies: [HashPolicy]) throws(LinearRegex.SyntaxError) {
        if policies.isEmpty { return nil }
        var parts: [(Source, Bool)] = []
        for policy in policies {
            let source: Source
            switch policy.source {
            case .header(let name, let rewrite):
                if let rewrite {
                    let regex = try LinearRegex(rewrite.pattern)
                    source = .header(name: name, rewrite: (regex, Array(rewrite.substitution.utf8)))
                } else {
                    source = .header(name: name, rewrite: nil)
                }
            case .cookie(let cookie): source = .cookie(cookie)
            case .sourceIP: source = .sourceIP
            case .queryParameter(let name): source = .queryParameter(Array(name.utf8))
            }
            parts.append((source, policy.terminal))
        }
        self.parts = parts
    }

    /// The key of a request, `nil` when it has nothing that a policy looks at.
    /// - Parameters:
    ///   - remote: the client's end of the connection; `local` is ours.
    ///   - setCookies: gets the values of `set-cookie` that the response must bear.
    public func key(
        for head: borrowing MessageHead, remote: SocketAddress?, local: SocketAddress?,
        setCookies: inout [String]
    ) -> UInt64? {
        var key: UInt64?
        for part in parts {
            let hash: UInt64?
            switch part.source {
            case .header(let name, let rewrite):
                hash = HashKeyRule.header(head, name, rewrite)
            case .cookie(let cookie):
                hash = HashKeyRule.cookie(head, cookie, remote, local, &setCookies)
            case .sourceIP:
                hash = remote.flatMap(HashKeyRule.source)
            case .queryParameter(let name):
                hash = HashKeyRule.parameter(head, name)
            }
            if let hash { key = key.map { ($0 << 1 | $0 >> 63) ^ hash } ?? hash }
            if part.isTerminal, key != nil { break }
        }
        return key
    }

    /// The hash of an address without its port.
    public static func source(_ address: SocketAddress) -> UInt64? {
        if case .pipe = address { return nil }
        return StableHash.xxHash64(address.host)
    }

    /// Several fields of one name count in the order of their values, not in that of their coming.
    private static func header(
        _ head: borrowing MessageHead, _ name: String,
        _ rewrite: (regex: LinearRegex, substitution: [UInt8])?
    ) -> UInt64? {
        let values = head.strings(name)
        if values.isEmpty { return nil }
        var bytes = values.map { Array($0.utf8) }
        if let rewrite {
            bytes = bytes.map { value in
                value.withUnsafeBufferPointer {
                    rewrite.regex.replacingAll(in: $0, with: rewrite.substitution) ?? value
                }
            }
        }
        if bytes.count > 1 { bytes.sort { $0.lexicographicallyPrecedes($1) } }
        return bytes.reduce(UInt64(0)) { seed, value in
            value.withUnsafeBufferPointer { StableHash.xxHash64($0, seed: seed) }
        }
    }

    private static func cookie(
        _ head: borrowing MessageHead, _ cookie: HashPolicy.Cookie, _ remote: SocketAddress?,
        _ local: SocketAddress?, _ setCookies: inout [String]
    ) -> UInt64? {
        if let value = HashKeyRule.cookie(named: cookie.name, in: head), !value.isEmpty {
            return StableHash.xxHash64(value)
        }
        guard cookie.life != nil, let remote, let local else { return nil }
        let digits = String(
            StableHash.xxHash64(remote.description + local.description), radix: 16)
        let value = String(repeating: "0", count: 16 - digits.count) + digits
        setCookies.append(cookie.field(value: value))
        return StableHash.xxHash64(value)
    }

    /// The value of a cookie (RFC 6265 §5.4) without quotes around it; the first of several.
    public static func cookie(named name: String, in head: borrowing MessageHead) -> String? {
        for field in head.strings("cookie") {
            for pair in field.split(separator: ";") {
                let parts = pair.split(
                    separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, trimmed(parts[0]) == name else { continue }
                let value = trimmed(parts[1])
                let isQuoted =
                    value.utf8.count >= 2 && value.hasPrefix("\"") && value.hasSuffix("\"")
                return String(isQuoted ? value.dropFirst().dropLast() : value)
            }
        }
        return nil
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while text.first == " " || text.first == "\t" { text.removeFirst() }
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return text
    }

    /// The first parameter of that name, as it is written.
    private static func parameter(_ head: borrowing MessageHead, _ name: [UInt8]) -> UInt64? {
        head.withValue(.path) { target -> UInt64? in
            guard let mark = target.firstIndex(of: UInt8(ascii: "?")) else { return nil }
            var query = target[(mark + 1)...]
            if let hash = query.firstIndex(of: UInt8(ascii: "#")) { query = query[..<hash] }
            for pair in query.split(separator: UInt8(ascii: "&")) {
                let equals = pair.firstIndex(of: UInt8(ascii: "="))
                guard pair[..<(equals ?? pair.endIndex)].elementsEqual(name) else { continue }
                let value = equals.map { pair[($0 + 1)...] } ?? pair[pair.endIndex...]
                return StableHash.xxHash64(UnsafeBufferPointer(rebasing: value))
            }
            return nil
        } ?? nil
    }
}
