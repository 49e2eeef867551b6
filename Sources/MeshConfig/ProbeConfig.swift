/// `envoy.config.core.v3.HealthCheck`: active checks of a cluster's endpoints.
public struct ProbeConfig: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case tcp(send: [UInt8], receive: [[UInt8]])
        case http(HTTPProbeConfig)
        /// grpc.health.v1.Health/Check.
        case grpc(service: String, authority: String)
    }

    public var kind: Kind
    public var timeout: Duration
    public var interval: Duration
    public var unhealthyInterval: Duration?
    /// Before a cluster's endpoints have seen traffic. Envoy's default is 60 s.
    public var noTrafficInterval: Duration?
    public var initialJitter: Duration
    public var intervalJitter: Duration
    public var intervalJitterPercent: Int
    public var unhealthyThreshold: Int
    public var healthyThreshold: Int
    public var reuseConnection: Bool
    public var alwaysLogFailures: Bool

    public init(
        kind: Kind, timeout: Duration = .seconds(1), interval: Duration = .seconds(5),
        unhealthyThreshold: Int = 3, healthyThreshold: Int = 2
    ) {
        self.kind = kind
        self.timeout = timeout
        self.interval = interval
        self.unhealthyThreshold = unhealthyThreshold
        self.healthyThreshold = healthyThreshold
        unhealthyInterval = nil
        noTrafficInterval = nil
        initialJitter = .zero
        intervalJitter = .zero
        intervalJitterPercent = 0
        reuseConnection = true
        alwaysLogFailures = false
    }
}

public struct HTTPProbeConfig: Sendable, Equatable {
    public var path: String
    /// Empty: the cluster's name.
    public var host: String
    public var method: String
    /// Empty: exactly 200.
    public var expectedStatuses: [Range<Int>]
    public var requestHeaders: HeaderChanges
    public var useHTTP2: Bool

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
