/// `envoy.config.core.v3.HealthCheck`: active checks of a cluster's endpoints.
public struct ProbeConfig: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case tcp(send: [UInt8], receive: [[UInt8]])
        case http(HTTPProbeConfig)
        /// grpc.health.v1.Health/Check.
        case grpc(service: String, authority: String, metadata: HeaderChanges)
    }

    public var kind: Kind
    public var timeout: Duration
    public var interval: Duration
    /// After a failure; `nil` is `interval`.
    public var unhealthyInterval: Duration?
    /// After a failure that alone does not yet turn the endpoint; `nil` is `unhealthyInterval`.
    public var unhealthyEdgeInterval: Duration?
    /// After a success that alone does not yet turn the endpoint; `nil` is `interval`.
    public var healthyEdgeInterval: Duration?
    /// While no connection was ever made to the cluster. Envoy's default is 60 s.
    public var noTrafficInterval = Duration.seconds(60)
    /// The same after a success; `nil` is `noTrafficInterval`.
    public var noTrafficHealthyInterval: Duration?
    public var initialJitter = Duration.zero
    public var intervalJitter = Duration.zero
    public var intervalJitterPercent = 0
    public var unhealthyThreshold: Int
    public var healthyThreshold: Int
    public var reuseConnection = true
    /// The port to ask; an endpoint's own comes first.
    public var altPort: UInt16?
    /// Chooses among the cluster's `transport_socket_matches` in the place of the endpoint's metadata.
    public var transportCriteria: [String: MetadataValue]?
    /// ALPN protocols to offer; empty: those of the transport.
    public var alpn: [String] = []
    /// Files that its events are appended to.
    public var eventLogPaths: [String] = []
    public var alwaysLogsFailures = false
    public var alwaysLogsSuccesses = false

    public init(
        kind: Kind, timeout: Duration = .seconds(1), interval: Duration = .seconds(5),
        unhealthyThreshold: Int = 3, healthyThreshold: Int = 2
    ) {
        self.kind = kind
        self.timeout = timeout
        self.interval = interval
        self.unhealthyThreshold = unhealthyThreshold
        self.healthyThreshold = healthyThreshold
    }
}

public struct HTTPProbeConfig: Sendable, Equatable {
    public var path: String
    /// Empty: the cluster's name; an endpoint's own comes first.
    public var host: String
    public var method: String
    /// Empty: exactly 200.
    public var expectedStatuses: [Range<Int>]
    /// Failures that have to come in a run of `unhealthyThreshold`; others turn the endpoint at once.
    public var retriableStatuses: [Range<Int>] = []
    public var requestHeaders: HeaderChanges
    public var useHTTP2: Bool
    /// Of `x-envoy-upstream-healthchecked-cluster`: who answers must be this service.
    public var serviceName: StringMatcher?
    /// Pieces that the body has to have in this order, within its first `bodyLimit` bytes.
    public var receive: [[UInt8]] = []
    public var bodyLimit = 1024

    public init(
        path: String, host: String = "", method: String = "GET",
        expectedStatuses: [Range<Int>] = [], requestHeaders: HeaderChanges = HeaderChanges(),
        useHTTP2: Bool = false
    ) {
        self.path = path
        self.host = host
        self.method = method
        self.expectedStatuses = expectedStatuses
        self.requestHeaders = requestHeaders
        self.useHTTP2 = useHTTP2
    }
}
