public import MeshBase

/// Which endpoints an evacuation or a fault is about. All that is given must match; nothing given
/// matches every endpoint.
public struct EndpointScope: Sendable, Hashable {
    /// The cluster in Envoy's sense: one service.
    public var service: String?
    /// The Kubernetes cluster that the endpoint lives in, as Istio's metadata tell.
    public var cluster: String?
    public var region: String?
    public var zone: String?
    public var address: SocketAddress?

    public init(
        service: String? = nil, cluster: String? = nil, region: String? = nil, zone: String? = nil,
        address: SocketAddress? = nil
    ) {
        self.service = service
        self.cluster = cluster
        self.region = region
        self.zone = zone
        self.address = address
    }

    /// Takes "region" or "region/zone".
    public mutating func setLocality(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1)
        region = parts.first.map(String.init)
        zone = parts.count > 1 ? String(parts[1]) : nil
    }

    public func matches(
        service name: String, _ endpoint: Endpoint, at place: SocketAddress, in locality: Locality
    ) -> Bool {
        if let service, service != name { return false }
        if let address, address != place { return false }
        if let region, region != locality.region { return false }
        if let zone, zone != locality.zone { return false }
        if let cluster, cluster != endpoint.meshCluster { return false }
        return true
    }

    /// As it would be written: "locality=east/1 service=shop".
    public var text: String {
        var words: [String] = []
        if let region { words.append("locality=" + region + (zone.map { "/" + $0 } ?? "")) }
        if let cluster { words.append("cluster=\(cluster)") }
        if let service { words.append("service=\(service)") }
        if let address { words.append("address=\(address)") }
        return words.isEmpty ? "everything" : words.joined(separator: " ")
    }
}

extension Endpoint {
    /// Istio's `workload` metadata read "name;namespace;service;version;cluster".
    public var meshCluster: String? {
        guard case .string(let text)? = metadata["istio", "workload"] else { return nil }
        let parts = text.split(separator: ";", omittingEmptySubsequences: false)
        return parts.count > 4 ? String(parts[4]) : nil
    }
}
