/// Where a socket can be bound or connected: an IP address and port, or a unix socket's path.
public enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// Address in host byte order.
    case ipv4(UInt32, port: UInt16)
    /// Address as two big-endian halves.
    case ipv6(UInt64, UInt64, port: UInt16)
    /// A filesystem path, or an abstract name that begins with "@".
    case pipe(String)

    /// Takes "1.2.3.4:80", "[::1]:80" or, with a slash in it, a unix socket's path.
    public init?(_ text: String) {
        if text.contains("/") {
            self = .pipe(text)
            return
        }
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        self.init(ip: String(host), port: port)
    }

    /// - Returns: `nil` unless `ip` is a literal IPv4 or IPv6 address (no names, no brackets).
    public init?(ip: String, port: UInt16) {
        if let address = SocketAddress.parseIPv4(ip) {
            self = .ipv4(address, port: port)
        } else if let (high, low) = SocketAddress.parseIPv6(ip) {
            self = .ipv6(high, low, port: port)
        } else {
            return nil
        }
    }

    public static func loopback(port: UInt16) -> SocketAddress { .ipv4(0x7F00_0001, port: port) }

    /// 0.0.0.0 or ::, which stand for every address of the machine.
    public var isWildcard: Bool {
        switch self {
        case .ipv4(let ip, _): ip == 0
        case .ipv6(let high, let low, _): high == 0 && low == 0
        case .pipe: false
        }
    }

    /// 0 for a pipe.
    public var port: UInt16 {
        switch self {
        case .ipv4(_, let port), .ipv6(_, _, let port): port
        case .pipe: 0
        }
    }

    public func with(port: UInt16) -> SocketAddress {
        switch self {
        case .ipv4(let address, _): .ipv4(address, port: port)
        case .ipv6(let high, let low, _): .ipv6(high, low, port: port)
        case .pipe: self
        }
    }

    /// The address without the port; a pipe's path.
    public var host: String {
        switch self {
        case .ipv4(let a, _):
            return "\(a >> 24).\((a >> 16) & 255).\((a >> 8) & 255).\(a & 255)"
        case .ipv6(let high, let low, _):
            return SocketAddress.formatIPv6(high, low)
        case .pipe(let path):
            return path
        }
    }

    /// "10.0.0.1:80", "[::1]:80" or the path.
    public var description: String {
        switch self {
        case .ipv4(_, let port): "\(host):\(port)"
        case .ipv6(_, _, let port): "[\(host)]:\(port)"
        case .pipe(let path): path
        }
    }

    private static func parseIPv4(_ text: String) -> UInt32? {
        var address: UInt32 = 0
        var octet: UInt32 = 0
        var digits = 0
        var dots = 0
        for byte in text.utf8 {
            if byte == 46 {
                guard digits > 0, dots < 3 else { return nil }
                address = address << 8 | octet
                dots += 1
                octet = 0
                digits = 0
            } else {
                guard (48...57).contains(byte), digits == 0 || octet != 0 else { return nil }
                octet = octet * 10 + UInt32(byte - 48)
                digits += 1
                guard octet < 256 else { return nil }
            }
        }
        return dots == 3 && digits > 0 ? address << 8 | octet : nil
    }

    /// RFC 4291 §2.2, with an embedded IPv4 tail; no zone.
    private static func parseIPv6(_ text: String) -> (UInt64, UInt64)? {
        guard text.utf8.count >= 2, text.utf8.contains(58) else { return nil }
        var text = text
        if let lastColon = text.lastIndex(of: ":"), text[lastColon...].contains(".") {
            guard let tail = parseIPv4(String(text[text.index(after: lastColon)...])) else {
                return nil
            }
            text =
                text[...lastColon] + String(tail >> 16, radix: 16) + ":"
                + String(tail & 0xFFFF, radix: 16)
        }
        func groups(_ part: Substring) -> [UInt16]? {
            if part.isEmpty { return [] }
            var result: [UInt16] = []
            for group in part.split(separator: ":", omittingEmptySubsequences: false) {
                guard (1...4).contains(group.utf8.count), group.first != "+", group.first != "-",
                    let value = UInt16(group, radix: 16)
                else { return nil }
                result.append(value)
            }
            return result
        }
        var all: [UInt16]
        let gap = text.firstDoubleColon
        if let gap {
            let after = text.index(gap, offsetBy: 2)
            guard let front = groups(text[..<gap]), let back = groups(text[after...]),
                front.count + back.count <= 7
            else { return nil }
            all = front + Array(repeating: 0, count: 8 - front.count - back.count) + back
        } else {
            guard let whole = groups(text[...]), whole.count == 8 else { return nil }
            all = whole
        }
        let halves = all.map(UInt64.init)
        return (
            halves[0] << 48 | halves[1] << 32 | halves[2] << 16 | halves[3],
            halves[4] << 48 | halves[5] << 32 | halves[6] << 16 | halves[7]
        )
    }

    /// RFC 5952: the longest run of zero groups becomes "::".
    private static func formatIPv6(_ high: UInt64, _ low: UInt64) -> String {
        let groups = (0..<8).map {
            UInt16(truncatingIfNeeded: ($0 < 4 ? high : low) >> (48 - 16 * ($0 & 3)))
        }
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(best.count, 1) { best = start..<end }
            start = max(end, start + 1)
        }
        func join(_ range: Range<Int>) -> String {
            range.map { String(groups[$0], radix: 16) }.joined(separator: ":")
        }
        if best.isEmpty { return join(0..<8) }
        return join(0..<best.lowerBound) + "::" + join(best.upperBound..<8)
    }
}

extension String {
    fileprivate var firstDoubleColon: String.Index? {
        var index = startIndex
        while index < endIndex {
            let next = self.index(after: index)
            if next < endIndex, self[index] == ":", self[next] == ":" { return index }
            index = next
        }
        return nil
    }
}
