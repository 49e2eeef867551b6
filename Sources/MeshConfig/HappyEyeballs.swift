public import MeshBase

/// `envoy.config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig`: in which order the
/// addresses of one endpoint are tried.
public struct HappyEyeballs: Sendable, Equatable {
    public enum Family: Sendable, Hashable {
        /// That of the first address.
        case ofFirst
        case ipv4, ipv6
    }

    public var firstFamily: Family
    /// So many of the first family come before one of the other.
    public var firstCount: Int

    public init(firstFamily: Family = .ofFirst, firstCount: Int = 1) {
        self.firstFamily = firstFamily
        self.firstCount = max(1, firstCount)
    }

    /// The addresses with their families in turns (RFC 8305 §4), else in the order given.
    public func order(_ addresses: [SocketAddress]) -> [SocketAddress] {
        guard let first = addresses.first else { return [] }
        let startsWithIPv6 =
            switch firstFamily {
            case .ofFirst: HappyEyeballs.isIPv6(first)
            case .ipv4: false
            case .ipv6: true
            }
        var ours = addresses.filter { HappyEyeballs.isIPv6($0) == startsWithIPv6 }[...]
        var others = addresses.filter { HappyEyeballs.isIPv6($0) != startsWithIPv6 }[...]
        var result: [SocketAddress] = []
        var turn = firstCount
        while !ours.isEmpty || !others.isEmpty {
            result += ours.prefix(turn)
            ours = ours.dropFirst(turn)
            turn = 1
            if let other = others.popFirst() { result.append(other) }
        }
        return result
    }

    private static func isIPv6(_ address: SocketAddress) -> Bool {
        if case .ipv6 = address { return true }
        return false
    }
}
