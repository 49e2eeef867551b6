import EventLoop
import MeshBase
import MeshConfig

/// Resolves the host names of STRICT_DNS and LOGICAL_DNS clusters and keeps them fresh.
///
/// Each name is asked for once, however many clusters use it. An answer that fails leaves the
/// addresses of the last good one in force.
final class NameWatch {
    private let loop: any IOLoop
    private let changed: () -> Void
    private var names: [String: Name] = [:]
    /// How often addresses have changed. Endpoints made of names are of another generation each time.
    private var changes: UInt64 = 0

    private struct Name {
        var addresses: [SocketAddress] = []
        var wasAnswered = false
        var refresh: Duration
        var timer: LoopTimer
        var isWanted = true
    }

    init(loop: any IOLoop, changed: @escaping () -> Void) {
        self.loop = loop
        self.changed = changed
    }

    /// The names that clusters use now; new ones are asked for, others forgotten.
    func watch(_ clusters: [Cluster]) {
        for name in names.keys { names[name]?.isWanted = false }
        for cluster in clusters {
            guard let refresh = cluster.discovery.refresh else { continue }
            for locality in cluster.endpoints.localities {
                for case .name(let host, port: _) in locality.endpoints.map(\.target) {
                    want(host, refresh)
                }
            }
        }
        for (name, entry) in names where !entry.isWanted {
            entry.timer.stop()
            names[name] = nil
        }
    }

    /// No cluster has a name that is to be resolved.
    var isEmpty: Bool { names.isEmpty }

    /// Whether every name has been answered once, well or badly.
    var isComplete: Bool { names.values.allSatisfy(\.wasAnswered) }

    /// A cluster with its names replaced by the addresses that are known.
    func resolved(_ cluster: Cluster) -> Cluster {
        guard cluster.discovery.refresh != nil else { return cluster }
        var cluster = cluster
        for index in cluster.endpoints.localities.indices {
            cluster.endpoints.localities[index].endpoints = cluster.endpoints.localities[index]
                .endpoints.flatMap { resolved($0, onlyFirst: cluster.discovery.isLogical) }
        }
        // Their own generation may be a hash, so a step is made that no hash will meet.
        cluster.endpoints.generation ^= changes &* 0x9E37_79B9_7F4A_7C15
        return cluster
    }

    private func resolved(_ endpoint: Endpoint, onlyFirst: Bool) -> [Endpoint] {
        guard case .name(let host, let port) = endpoint.target else { return [endpoint] }
        let addresses = names[host]?.addresses ?? []
        return (onlyFirst ? Array(addresses.prefix(1)) : addresses).map { address in
            var endpoint = endpoint
            endpoint.target = .address(address.with(port: port))
            if endpoint.hostname.isEmpty { endpoint.hostname = host }
            return endpoint
        }
    }

    private func want(_ host: String, _ refresh: Duration) {
        if names[host] != nil {
            names[host]?.isWanted = true
            return
        }
        let timer = LoopTimer(loop.timers) { [unowned self] in ask(host) }
        names[host] = Name(refresh: refresh, timer: timer)
        ask(host)
    }

    private func ask(_ host: String) {
        loop.resolve(host) { [weak self] addresses in self?.answered(host, addresses) }
    }

    private func answered(_ host: String, _ addresses: [SocketAddress]) {
        guard let name = names[host] else { return }
        let sorted = addresses.sorted { $0.description < $1.description }
        let isNews = !name.wasAnswered || (!sorted.isEmpty && sorted != name.addresses)
        names[host]?.wasAnswered = true
        if !sorted.isEmpty { names[host]?.addresses = sorted }
        name.timer.start(at: loop.now + max(name.refresh, .milliseconds(100)))
        if isNews {
            changes += 1
            changed()
        }
    }
}

extension Cluster.Discovery {
    fileprivate var refresh: Duration? {
        switch self {
        case .strictDNS(let refresh), .logicalDNS(let refresh): refresh
        case .fixed, .eds, .originalDestination, .aggregate: nil
        }
    }

    fileprivate var isLogical: Bool {
        if case .logicalDNS = self { return true }
        return false
    }
}
