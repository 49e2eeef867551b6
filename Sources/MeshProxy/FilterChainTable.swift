import MeshBase
import MeshConfig

/// What is known of a connection when its filter chain is chosen.
struct ConnectionTraits {
    var destination: SocketAddress?
    var source: SocketAddress?
    /// From the ClientHello; empty without TLS or SNI.
    var serverName = ""
    var isTLS = false
    /// From the ClientHello, or "http/1.1", "h2c" as the HTTP inspector saw it.
    var applicationProtocols: [String] = []
}

/// Chooses the filter chain of a connection as Envoy does: criterion by criterion in a fixed
/// order, at each keeping only the chains that match it most specifically. There is no going
/// back: a chain that loses at the server name is out even if the winner fails later on.
struct FilterChainTable<Chain> {
    private let entries: [(match: FilterChainMatch, chain: Chain)]
    private let fallback: Chain?
    /// One chain without any criterion: nothing to look at.
    private let only: Chain?

    init(_ entries: [(match: FilterChainMatch, chain: Chain)], fallback: Chain?) {
        self.entries = entries
        self.fallback = fallback
        only = entries.count == 1 && entries[0].match == FilterChainMatch() ? entries[0].chain : nil
    }

    /// Whether any chain asks for what only the first bytes can tell.
    var needsInspection: Bool {
        entries.contains {
            !$0.match.serverNames.isEmpty || !$0.match.transportProtocol.isEmpty
                || !$0.match.applicationProtocols.isEmpty
        }
    }

    func choose(_ traits: ConnectionTraits) -> Chain? {
        if let only { return only }
        var left = Array(entries.indices)
        narrow(&left) { specificity(port: $0.destinationPort, traits.destination) }
        narrow(&left) { specificity(prefixes: $0.destinationPrefixes, traits.destination) }
        narrow(&left) { specificity(serverNames: $0.serverNames, traits.serverName) }
        narrow(&left) { match in
            if match.transportProtocol.isEmpty { return 0 }
            return match.transportProtocol == (traits.isTLS ? "tls" : "raw_buffer") ? 1 : nil
        }
        narrow(&left) { match in
            if match.applicationProtocols.isEmpty { return 0 }
            return match.applicationProtocols.contains { traits.applicationProtocols.contains($0) }
                ? 1 : nil
        }
        narrow(&left) { specificity(prefixes: $0.directSourcePrefixes, traits.source) }
        narrow(&left) { match in
            switch match.sourceType {
            case .any: 0
            case .sameIPOrLoopback: isLocal(traits) ? 1 : nil
            case .external: isLocal(traits) ? nil : 1
            }
        }
        narrow(&left) { specificity(prefixes: $0.sourcePrefixes, traits.source) }
        narrow(&left) { match in
            if match.sourcePorts.isEmpty { return 0 }
            return match.sourcePorts.contains(traits.source?.port ?? 0) ? 1 : nil
        }
        return left.first.map { entries[$0].chain } ?? fallback
    }

    /// Keeps the chains with the highest specificity; `nil` is no match, 0 is no criterion.
    private func narrow(_ left: inout [Int], by specificity: (FilterChainMatch) -> Int?) {
        let best = left.compactMap { specificity(entries[$0].match) }.max()
        left.removeAll { best == nil || specificity(entries[$0].match) != best }
    }

    private func specificity(port: UInt16?, _ destination: SocketAddress?) -> Int? {
        guard let port else { return 0 }
        return destination?.port == port ? 1 : nil
    }

    private func specificity(prefixes: [AddressPrefix], _ address: SocketAddress?) -> Int? {
        if prefixes.isEmpty { return 0 }
        guard let address else { return nil }
        return prefixes.filter { $0.contains(address) }.map { $0.bits + 1 }.max()
    }

    private func specificity(serverNames: [String], _ name: String) -> Int? {
        if serverNames.isEmpty { return 0 }
        if name.isEmpty { return nil }
        return serverNames.compactMap { pattern -> Int? in
            if pattern == name { return .max }
            guard pattern.hasPrefix("*.") else { return nil }
            let suffix = pattern.dropFirst()
            return name.utf8.count > suffix.utf8.count && name.hasSuffix(suffix)
                ? suffix.utf8.count : nil
        }.max()
    }

    private func isLocal(_ traits: ConnectionTraits) -> Bool {
        switch traits.source {
        case .ipv4(let address, _):
            if address >> 24 == 127 { return true }
        case .ipv6(0, 1, _), .pipe:
            return true
        default:
            break
        }
        return traits.source?.with(port: 0) == traits.destination?.with(port: 0)
    }
}
