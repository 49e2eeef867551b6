public import MeshBase

/// All endpoints of a cluster: `envoy.config.endpoint.v3.ClusterLoadAssignment`.
public struct EndpointSet: Sendable, Equatable {
    public var localities: [LocalityEndpoints]
    /// `policy.overprovisioning_factor` where given, in percent.
    public var overprovisioningFactor: UInt32?
    public var generation: UInt64

    public init(
        localities: [LocalityEndpoints] = [], overprovisioningFactor: UInt32? = nil,
        generation: UInt64 = 0
    ) {
        self.localities = localities
        self.overprovisioningFactor = overprovisioningFactor
        self.generation = generation
    }

    public var count: Int { localities.reduce(0) { $0 + $1.endpoints.count } }

    /// Of each endpoint the first; names that are to be resolved have none here.
    public var addresses: [SocketAddress] {
        localities.flatMap { $0.endpoints.compactMap(\.address) }
    }
}

public struct Locality: Sendable, Hashable {
    public var region: String
    public var zone: String
    public var subZone: String

    public init(region: String = "", zone: String = "", subZone: String = "") {
        self.region = region
        self.zone = zone
        self.subZone = subZone
    }

    public var isKnown: Bool { !region.isEmpty || !zone.isEmpty || !subZone.isEmpty }
}

extension Locality: Comparable {
    public static func < (left: Locality, right: Locality) -> Bool {
        (left.region, left.zone, left.subZone) < (right.region, right.zone, right.subZone)
    }
}

public struct LocalityEndpoints: Sendable, Equatable {
    public var locality: Locality
    /// 0 is the highest.
    public var priority: Int
    /// `nil`: none given; in weighted mode such a locality gets nothing.
    public var weight: UInt32?
    public var endpoints: [Endpoint]

    public init(
        locality: Locality = Locality(), priority: Int = 0, weight: UInt32? = nil,
        endpoints: [Endpoint]
    ) {
        self.locality = locality
        self.priority = priority
        self.weight = weight
        self.endpoints = endpoints
    }
}

/// One place where a service is answered.
public struct Endpoint: Sendable, Equatable {
    /// EDS's word on it, before anything that we see ourselves.
    public enum Status: Sendable, Hashable {
        case unknown, healthy, unhealthy, draining, timeout, degraded
    }
    public enum Target: Sendable, Hashable {
        case address(SocketAddress)
        /// To be resolved (STRICT_DNS, LOGICAL_DNS).
        case name(String, port: UInt16)
    }

    public var target: Target
    /// `additional_addresses`: the same endpoint under others.
    public var additionalAddresses: [SocketAddress] = []
    public var hostname: String
    public var weight: UInt32
    public var status: Status
    /// Port, address and name of active health checks where they differ.
    public var healthCheckPort: UInt16?
    public var healthCheckAddress: SocketAddress?
    public var healthCheckHostname: String
    /// `disable_active_health_check`.
    public var isNeverProbed = false
    public var metadata: Metadata

    public init(
        target: Target, hostname: String = "", weight: UInt32 = 1, status: Status = .unknown,
        healthCheckPort: UInt16? = nil, healthCheckHostname: String = "",
        metadata: Metadata = Metadata()
    ) {
        self.target = target
        self.hostname = hostname
        self.weight = weight
        self.status = status
        self.healthCheckPort = healthCheckPort
        self.healthCheckHostname = healthCheckHostname
        self.metadata = metadata
    }

    /// `nil` for a name.
    public var address: SocketAddress? {
        if case .address(let address) = target { return address }
        return nil
    }

    public init(address: SocketAddress, weight: UInt32 = 1) {
        self.init(target: .address(address), weight: weight)
    }
}

/// `envoy.config.core.v3.Metadata`: filter name, then key.
public struct Metadata: Sendable, Equatable {
    public var filters: [String: [String: MetadataValue]]

    public init(_ filters: [String: [String: MetadataValue]] = [:]) {
        self.filters = filters
    }

    public subscript(filter: String, key: String) -> MetadataValue? { filters[filter]?[key] }
}

/// `google.protobuf.Value`.
public enum MetadataValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([MetadataValue])
    case object([String: MetadataValue])
}
