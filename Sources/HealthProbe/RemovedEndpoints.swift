public import MeshBase
public import MeshConfig

/// Endpoints that discovery has taken away although their health checks pass: as in Envoy they stay in
/// their cluster until a check fails, for discovery errs more often than an endpoint that answers.
/// A cluster with `ignore_health_on_host_removal` does without, and so does one without checks.
public struct RemovedEndpoints {
    private var last: [String: [LocalityEndpoints]] = [:]
    private var lingering: [String: Set<SocketAddress>] = [:]

    public init() {}

    /// Puts those back that stay. - Parameter isHealthy: what the checks say of an endpoint.
    public mutating func keep(
        in clusters: inout [Cluster], isHealthy: (String, SocketAddress) -> Bool
    ) {
        var next: [String: [LocalityEndpoints]] = [:]
        lingering = [:]
        for index in clusters.indices
        where !clusters[index].healthChecks.isEmpty && !clusters[index].drainOnHostRemoval {
            let name = clusters[index].name
            if let before = last[name] {
                keep(before, in: &clusters[index]) { isHealthy(name, $0) }
            }
            next[name] = clusters[index].endpoints.localities
        }
        last = next
    }

    private mutating func keep(
        _ before: [LocalityEndpoints], in cluster: inout Cluster,
        isHealthy: (SocketAddress) -> Bool
    ) {
        let present = Set(cluster.endpoints.addresses)
        var hash: UInt64 = 0
        for group in before {
            let kept = group.endpoints.filter { endpoint in
                guard let address = endpoint.address, !endpoint.isNeverProbed else { return false }
                return !present.contains(address) && isHealthy(address)
            }
            if kept.isEmpty { continue }
            for address in kept.compactMap(\.address) {
                lingering[cluster.name, default: []].insert(address)
                for byte in address.description.utf8 {
                    hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
                }
            }
            if let index = cluster.endpoints.localities.firstIndex(where: {
                $0.locality == group.locality && $0.priority == group.priority
            }) {
                cluster.endpoints.localities[index].endpoints += kept
            } else {
                var rest = group
                rest.endpoints = kept
                cluster.endpoints.localities.append(rest)
            }
        }
        // Another set is another generation, to whoever compares no more than that.
        cluster.endpoints.generation ^= hash
    }

    /// Whether it is only there because its checks pass.
    public func isLingering(_ cluster: String, _ address: SocketAddress) -> Bool {
        lingering[cluster]?.contains(address) == true
    }
}
