public import MeshBase

/// `envoy.config.cluster.v3.Cluster` with its endpoints: a service as one name.
public struct Cluster: Sendable, Equatable {
    public enum Discovery: Sendable, Equatable {
        case fixed
        /// Every address of each name is an endpoint; asked again at this interval.
        case strictDNS(refresh: Duration)
        /// One address of the name at a time.
        case logicalDNS(refresh: Duration)
        case eds(serviceName: String)
        /// The connection's original destination.
        case originalDestination(portOverride: UInt16?)
        /// `envoy.clusters.aggregate`: these clusters, the first that can take it; no endpoints of its own.
        case aggregate([String])
    }
    public enum UpstreamProtocol: Sendable, Hashable {
        case http1, http2
        /// What ALPN says; HTTP/1 without TLS.
        case alpn
        /// As the client spoke.
        case downstream
    }

    public var name: String
    public var discovery: Discovery
    public var endpoints: EndpointSet
    public var loadBalancing: LoadBalancing
    public var upstreamProtocol: UpstreamProtocol
    public var connectTimeout: Duration
    /// The first whose criteria an endpoint's metadata meets is its transport; the last resort
    /// is `transport`.
    public var transportMatches: [TransportMatch]
    public var transport: Transport
    public var healthChecks: [ProbeConfig]
    public var outlierDetection: OutlierDetection?
    public var circuitBreakers: CircuitBreakers
    /// Those of requests whose route has priority HIGH.
    public var highPriorityBreakers: CircuitBreakers
    /// Metadata `meshproxy`, `queue_timeout_ms`; goes before `Settings.queueTimeout`.
    public var queueTimeout: Duration?
    /// `max_requests_per_connection`; 0 is unlimited.
    public var maxRequestsPerConnection: Int
    public var maxConcurrentStreams: Int
    public var initialStreamWindow: Int
    /// `nil`: as much as all streams of a connection may leave unread.
    public var initialConnectionWindow: Int?
    /// Close upstream connections without a request for this long; 0 is never. Default 1 h.
    public var idleTimeout: Duration
    /// HTTP/2 PING as configured; `nil`: our own, of `Settings`.
    public var keepAlive: ConnectionKeepAlive?
    public var tcpKeepAlive: Duration?
    public var happyEyeballs = HappyEyeballs()
    public var bufferLimitBytes: Int
    public var source: SocketAddress?
    /// `ignore_health_on_host_removal`: an endpoint taken away goes at once though healthy.
    public var drainOnHostRemoval: Bool
    /// `ignore_new_hosts_until_first_hc`: they do not count in their priority before.
    public var ignoresNewUntilChecked = false
    public var altStatName: String
    public var metadata: Metadata
    public var generation: UInt64
    public var provenance: Provenance

    public init(
        name: String, discovery: Discovery = .fixed, endpoints: EndpointSet = EndpointSet(),
        loadBalancing: LoadBalancing = LoadBalancing(),
        upstreamProtocol: UpstreamProtocol = .http1, connectTimeout: Duration = .seconds(5),
        transportMatches: [TransportMatch] = [], transport: Transport = .plaintext
    ) {
        self.name = name
        self.discovery = discovery
        self.endpoints = endpoints
        self.loadBalancing = loadBalancing
        self.upstreamProtocol = upstreamProtocol
        self.connectTimeout = connectTimeout
        self.transportMatches = transportMatches
        self.transport = transport
        healthChecks = []
        outlierDetection = nil
        circuitBreakers = CircuitBreakers()
        highPriorityBreakers = CircuitBreakers()
        maxRequestsPerConnection = 0
        maxConcurrentStreams = 1024
        initialStreamWindow = 1024 * 1024
        initialConnectionWindow = nil
        idleTimeout = .seconds(3600)
        keepAlive = nil
        tcpKeepAlive = nil
        bufferLimitBytes = 1024 * 1024
        source = nil
        drainOnHostRemoval = false
        altStatName = ""
        metadata = Metadata()
        generation = 0
        provenance = Provenance()
    }
}

/// `envoy.config.core.v3.KeepaliveSettings`: HTTP/2 PING.
public struct ConnectionKeepAlive: Sendable, Equatable {
    /// `nil`: not by a clock.
    public var interval: Duration?
    /// So long nothing at all came after a PING: the connection is dead.
    public var timeout: Duration
    /// Up to this share is added to each interval.
    public var jitterPercent: Double
    /// A request that begins after so long without a byte is preceded by a PING; `nil`: none is.
    public var idleInterval: Duration?

    public init(
        interval: Duration?, timeout: Duration, jitterPercent: Double = 15,
        idleInterval: Duration? = nil
    ) {
        self.interval = interval
        self.timeout = timeout
        self.jitterPercent = jitterPercent
        self.idleInterval = idleInterval
    }
}

extension Cluster {
    /// What it is made of if it is an aggregate.
    public var members: [String]? {
        if case .aggregate(let names) = discovery { names } else { nil }
    }

    /// The clusters with endpoints that an aggregate leads to, the best first. One that is not there is
    /// passed by, and so is one that was passed before.
    public func leaves(_ find: (String) -> Cluster?) -> [Cluster] {
        var passed: Set<String> = [name]
        var leaves: [Cluster] = []
        func follow(_ names: [String]) {
            for name in names where passed.insert(name).inserted {
                guard let cluster = find(name) else { continue }
                if let members = cluster.members {
                    follow(members)
                } else {
                    leaves.append(cluster)
                }
            }
        }
        follow(members ?? [])
        return leaves
    }

    /// Follows aggregates from one cluster to their members.
    /// - Parameter members: of a cluster, if it is an aggregate.
    /// - Returns: names from `start` back to one of them, when they go round; otherwise `nil`.
    public static func circle(
        from start: String, members: (String) -> [String]?
    ) -> [String]? {
        var way: [String] = []
        var done: Set<String> = []
        func follow(_ name: String) -> Bool {
            if way.contains(name) {
                way.append(name)
                return true
            }
            if !done.insert(name).inserted { return false }
            way.append(name)
            if members(name)?.contains(where: follow) == true { return true }
            way.removeLast()
            return false
        }
        return follow(start) ? way : nil
    }
}

/// What carries a connection to an endpoint.
public enum Transport: Sendable, Equatable {
    case plaintext
    case tls(UpstreamTLS)
}

/// `Cluster.TransportSocketMatch`.
public struct TransportMatch: Sendable, Equatable {
    public var name: String
    /// All must be equal in the endpoint's metadata under `envoy.transport_socket_match`.
    public var criteria: [String: MetadataValue]
    public var transport: Transport

    public init(name: String, criteria: [String: MetadataValue], transport: Transport) {
        self.name = name
        self.criteria = criteria
        self.transport = transport
    }
}

extension Cluster {
    public func breakers(_ priority: RequestPriority) -> CircuitBreakers {
        switch priority {
        case .normal: circuitBreakers
        case .high: highPriorityBreakers
        }
    }
}

/// `envoy.config.core.v3.RoutingPriority`: each has limits and connections of its own.
public enum RequestPriority: Int, Sendable, Hashable, CaseIterable {
    /// Envoy's DEFAULT.
    case normal
    case high
}

/// `envoy.config.cluster.v3.CircuitBreakers.Thresholds` of one priority.
public struct CircuitBreakers: Sendable, Equatable {
    public var maxConnections: Int
    public var maxPendingRequests: Int
    public var maxRequests: Int
    /// Concurrent retries as configured. Where it is and no budget is, the budget's minimum says the same,
    /// and its share is nothing.
    public var maxRetries: Int
    /// Retries as a share of active requests; our default is 20 %, at least 3.
    public var retryBudgetPercent: Double
    public var retryBudgetMinimum: Int
    /// Of our own budget only: so many retries in ten seconds, and at a time, may go to another failure domain
    /// beyond it.
    public var retryBurst = 100
    /// Of `per_host_thresholds`, which bound connections alone.
    public var maxConnectionsPerHost = Int.max
    /// What is left of each limit is shown, too.
    public var tracksRemaining = false

    public init(
        maxConnections: Int = 1024, maxPendingRequests: Int = 1024, maxRequests: Int = 1024,
        maxRetries: Int = 3, retryBudgetPercent: Double = 20, retryBudgetMinimum: Int = 3
    ) {
        self.maxConnections = maxConnections
        self.maxPendingRequests = maxPendingRequests
        self.maxRequests = maxRequests
        self.maxRetries = maxRetries
        self.retryBudgetPercent = retryBudgetPercent
        self.retryBudgetMinimum = retryBudgetMinimum
    }
}

/// `envoy.config.cluster.v3.OutlierDetection`; kept in Envoy's terms, with its defaults.
public struct OutlierDetection: Sendable, Equatable {
    public var consecutive5xx = 5
    public var consecutiveGatewayFailure = 5
    public var consecutiveLocalOriginFailure = 5
    public var enforcingConsecutive5xx = 100
    public var enforcingConsecutiveGatewayFailure = 0
    public var enforcingConsecutiveLocalOriginFailure = 100
    public var interval = Duration.seconds(10)
    public var baseEjectionTime = Duration.seconds(30)
    public var maxEjectionTime = Duration.seconds(300)
    public var maxEjectionTimeJitter = Duration.zero
    public var maxEjectionPercent = 10
    public var alwaysEjectOneHost = false
    public var splitExternalLocalOriginErrors = false
    public var successRateMinimumHosts = 5
    public var successRateRequestVolume = 100
    /// In thousandths of a standard deviation.
    public var successRateStdevFactor = 1900
    public var enforcingSuccessRate = 100
    public var enforcingLocalOriginSuccessRate = 100
    public var failurePercentageThreshold = 85
    public var failurePercentageMinimumHosts = 5
    public var failurePercentageRequestVolume = 50
    public var enforcingFailurePercentage = 0
    public var enforcingFailurePercentageLocalOrigin = 0
    public var successfulActiveHealthCheckUnejectHost = true

    public init(maxEjectionPercent: Int = 10) {
        self.maxEjectionPercent = maxEjectionPercent
    }
}
