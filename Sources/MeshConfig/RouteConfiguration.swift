/// `envoy.config.route.v3.RouteConfiguration`. `RouteTable` is its compiled form.
public struct RouteConfiguration: Sendable, Equatable {
    public var name: String
    public var virtualHosts: [VirtualHost]
    public var requestHeaders: HeaderChanges
    public var responseHeaders: HeaderChanges
    public var ignorePortInHostMatching: Bool
    /// `nil` here and below: nothing is said.
    public var session: SessionSetting?
    public var generation: UInt64
    public var provenance: Provenance

    public init(
        name: String, virtualHosts: [VirtualHost] = [],
        requestHeaders: HeaderChanges = HeaderChanges(),
        responseHeaders: HeaderChanges = HeaderChanges(), ignorePortInHostMatching: Bool = false,
        generation: UInt64 = 0, provenance: Provenance = Provenance()
    ) {
        self.name = name
        self.virtualHosts = virtualHosts
        self.requestHeaders = requestHeaders
        self.responseHeaders = responseHeaders
        self.ignorePortInHostMatching = ignorePortInHostMatching
        session = nil
        self.generation = generation
        self.provenance = provenance
    }
}

public struct VirtualHost: Sendable, Equatable {
    public enum TLSRequirement: Sendable, Hashable {
        case none, externalOnly, all
    }

    public var name: String
    /// "a.com", "*.a.com", "a.*" or "*"; matched without regard to case.
    public var domains: [String]
    public var routes: [Route]
    public var retryPolicy: RetryPolicy?
    public var hedgePolicy: HedgePolicy?
    public var requestHeaders: HeaderChanges
    public var responseHeaders: HeaderChanges
    public var requireTLS: TLSRequirement
    public var includeAttemptCount: Bool
    public var session: SessionSetting?

    public init(
        name: String, domains: [String], routes: [Route], retryPolicy: RetryPolicy? = nil,
        requestHeaders: HeaderChanges = HeaderChanges(),
        responseHeaders: HeaderChanges = HeaderChanges(), requireTLS: TLSRequirement = .none,
        includeAttemptCount: Bool = false
    ) {
        self.name = name
        self.domains = domains
        self.routes = routes
        self.retryPolicy = retryPolicy
        hedgePolicy = nil
        self.requestHeaders = requestHeaders
        self.responseHeaders = responseHeaders
        self.requireTLS = requireTLS
        self.includeAttemptCount = includeAttemptCount
        session = nil
    }
}

/// One line of a virtual host: which requests, and what is done with them.
public struct Route: Sendable, Equatable {
    public var name: String
    public var match: RouteMatch
    public var action: RouteAction
    public var requestHeaders: HeaderChanges
    public var responseHeaders: HeaderChanges
    public var session: SessionSetting?

    public init(
        name: String = "", match: RouteMatch, action: RouteAction,
        requestHeaders: HeaderChanges = HeaderChanges(),
        responseHeaders: HeaderChanges = HeaderChanges()
    ) {
        self.name = name
        self.match = match
        self.action = action
        self.requestHeaders = requestHeaders
        self.responseHeaders = responseHeaders
        session = nil
    }
}

public struct RouteMatch: Sendable, Equatable {
    public enum Path: Sendable, Hashable {
        case prefix(String)
        case exact(String)
        /// Whole path segments: "/a" matches "/a" and "/a/b", not "/ab".
        case separatedPrefix(String)
        /// Full match of the path without the query.
        case regex(String)
        /// Requests whose method is CONNECT.
        case connect
    }

    public var path: Path
    public var caseSensitive: Bool
    public var headers: [HeaderMatcher]
    public var queryParameters: [QueryParameterMatcher]
    public var grpcOnly: Bool
    /// `nil`: always. Otherwise a share of the requests that match.
    public var fraction: FractionalPercent?

    public init(
        path: Path, caseSensitive: Bool = true, headers: [HeaderMatcher] = [],
        queryParameters: [QueryParameterMatcher] = [], grpcOnly: Bool = false,
        fraction: FractionalPercent? = nil
    ) {
        self.path = path
        self.caseSensitive = caseSensitive
        self.headers = headers
        self.queryParameters = queryParameters
        self.grpcOnly = grpcOnly
        self.fraction = fraction
    }
}

public struct HeaderMatcher: Sendable, Hashable {
    public enum Test: Sendable, Hashable {
        case string(StringMatcher)
        case range(Range<Int64>)
        case present(Bool)
    }

    /// In lower case; ":method" and its like as well.
    public var name: String
    public var test: Test
    public var inverted: Bool
    public var treatMissingAsEmpty: Bool

    public init(
        name: String, test: Test, inverted: Bool = false, treatMissingAsEmpty: Bool = false
    ) {
        self.name = name
        self.test = test
        self.inverted = inverted
        self.treatMissingAsEmpty = treatMissingAsEmpty
    }
}

public struct QueryParameterMatcher: Sendable, Hashable {
    public var name: String
    /// `nil`: the parameter need only be there.
    public var value: StringMatcher?

    public init(name: String, value: StringMatcher?) {
        self.name = name
        self.value = value
    }
}

public enum RouteAction: Sendable, Equatable {
    case forward(ForwardAction)
    case redirect(RedirectAction)
    case respond(DirectResponse)
}

public struct WeightedCluster: Sendable, Equatable {
    public var name: String
    public var weight: UInt32
    public var requestHeaders: HeaderChanges
    public var responseHeaders: HeaderChanges
    /// `metadata_match` with what the route has besides.
    public var subset: [String: MetadataValue]
    public var session: SessionSetting?

    public init(
        name: String, weight: UInt32 = 1, requestHeaders: HeaderChanges = HeaderChanges(),
        responseHeaders: HeaderChanges = HeaderChanges(), subset: [String: MetadataValue] = [:]
    ) {
        self.name = name
        self.weight = weight
        self.requestHeaders = requestHeaders
        self.responseHeaders = responseHeaders
        self.subset = subset
        session = nil
    }
}

/// `envoy.config.route.v3.RouteAction`.
public struct ForwardAction: Sendable, Equatable {
    public enum Target: Sendable, Equatable {
        case cluster(String)
        /// The cluster's name is the value of this request header.
        case clusterHeader(String)
        /// Never empty; the sum of weights is above 0.
        case weighted([WeightedCluster])
    }
    public enum HostRewrite: Sendable, Equatable {
        case none
        case literal(String)
        /// The chosen endpoint's hostname.
        case endpoint
        case header(String)
    }
    public enum PathRewrite: Sendable, Equatable {
        case none
        /// Replaces what `prefix`, `exact` or `separatedPrefix` matched.
        case prefix(String)
        case regex(pattern: String, substitution: String)
    }

    public var target: Target
    /// From the end of the request to the end of the response, retries included; 0 is never.
    /// Envoy's default is 15 s.
    public var timeout: Duration
    /// `nil`: the connection manager's.
    public var idleTimeout: Duration?
    /// `max_grpc_timeout` / `grpc_timeout_header_max`: honour `grpc-timeout` up to this; 0 is any.
    public var maxGRPCTimeout: Duration?
    public var retryPolicy: RetryPolicy?
    public var hedgePolicy: HedgePolicy?
    public var hostRewrite: HostRewrite
    public var appendXForwardedHost: Bool
    public var pathRewrite: PathRewrite
    public var hashPolicy: [HashPolicy]
    /// `metadata_match`: what endpoints' `envoy.lb` metadata must be, in clusters with subsets;
    /// weighted clusters have their own.
    public var subset: [String: MetadataValue]
    /// 503, or 404 where `cluster_not_found_response_code` says so.
    public var clusterNotFoundStatus: Int
    public var highPriority: Bool

    public init(
        target: Target, timeout: Duration = .seconds(15), idleTimeout: Duration? = nil,
        maxGRPCTimeout: Duration? = nil, retryPolicy: RetryPolicy? = nil,
        hostRewrite: HostRewrite = .none, appendXForwardedHost: Bool = false,
        pathRewrite: PathRewrite = .none, hashPolicy: [HashPolicy] = [],
        clusterNotFoundStatus: Int = 503, highPriority: Bool = false,
        subset: [String: MetadataValue] = [:]
    ) {
        self.target = target
        self.timeout = timeout
        self.idleTimeout = idleTimeout
        self.maxGRPCTimeout = maxGRPCTimeout
        self.retryPolicy = retryPolicy
        hedgePolicy = nil
        self.hostRewrite = hostRewrite
        self.appendXForwardedHost = appendXForwardedHost
        self.pathRewrite = pathRewrite
        self.hashPolicy = hashPolicy
        self.clusterNotFoundStatus = clusterNotFoundStatus
        self.highPriority = highPriority
        self.subset = subset
    }
}

/// One line of `hash_policy`; `HashKeyRule` is the compiled list.
public struct HashPolicy: Sendable, Equatable {
    public enum Source: Sendable, Equatable {
        /// By a name in lower case.
        case header(String, rewrite: Rewrite? = nil)
        case cookie(Cookie)
        case sourceIP
        case queryParameter(String)
    }
    public struct Rewrite: Sendable, Equatable {
        public var pattern: String
        public var substitution: String

        public init(pattern: String, substitution: String) {
            self.pattern = pattern
            self.substitution = substitution
        }
    }
    public struct Cookie: Sendable, Equatable {
        public struct Attribute: Sendable, Equatable {
            public var name: String
            public var value: String

            public init(name: String, value: String) {
                self.name = name
                self.value = value
            }
        }

        public var name: String
        /// `nil`: none is made up for a request without it; 0: one for the client's session.
        public var life: Duration?
        public var path: String
        public var attributes: [Attribute]

        public init(
            name: String, life: Duration? = nil, path: String = "", attributes: [Attribute] = []
        ) {
            self.name = name
            self.life = life
            self.path = path
            self.attributes = attributes
        }
    }

    public var source: Source
    public var terminal: Bool

    public init(source: Source, terminal: Bool) {
        self.source = source
        self.terminal = terminal
    }
}

public struct RedirectAction: Sendable, Equatable {
    public enum Path: Sendable, Equatable {
        case unchanged
        case replace(String)
        case prefix(String)
    }

    public var status: Int
    public var scheme: String?
    public var host: String?
    public var port: UInt16?
    public var path: Path
    public var stripQuery: Bool

    public init(
        status: Int = 301, scheme: String? = nil, host: String? = nil, port: UInt16? = nil,
        path: Path = .unchanged, stripQuery: Bool = false
    ) {
        self.status = status
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.stripQuery = stripQuery
    }
}

public struct DirectResponse: Sendable, Equatable {
    public var status: Int
    public var body: [UInt8]

    public init(status: Int, body: [UInt8] = []) {
        self.status = status
        self.body = body
    }
}

/// Fields to add and to remove. Values may hold Envoy's `%COMMANDS%`; `HeaderFormat` expands them.
public struct HeaderChanges: Sendable, Equatable {
    public enum Append: Sendable, Hashable {
        case appendIfExistsOrAdd, addIfAbsent, overwriteIfExistsOrAdd, overwriteIfExists
    }
    public struct Addition: Sendable, Equatable {
        /// In lower case.
        public var name: String
        public var value: String
        public var append: Append
        public var keepEmpty: Bool

        public init(
            name: String, value: String, append: Append = .appendIfExistsOrAdd,
            keepEmpty: Bool = false
        ) {
            self.name = name
            self.value = value
            self.append = append
            self.keepEmpty = keepEmpty
        }
    }

    public var add: [Addition]
    /// In lower case.
    public var remove: [String]

    public init(add: [Addition] = [], remove: [String] = []) {
        self.add = add
        self.remove = remove
    }

    public var isEmpty: Bool { add.isEmpty && remove.isEmpty }
}

/// `envoy.config.route.v3.RetryPolicy`. Transport failures before a response are retried in any
/// case ("failover is armed by default"); this adds to it.
public struct RetryPolicy: Sendable, Equatable {
    public struct Conditions: OptionSet, Sendable, Hashable {
        public let rawValue: UInt32

        public init(rawValue: UInt32) {
            self.rawValue = rawValue
        }

        public static let serverError = Conditions(rawValue: 1)  // 5xx
        public static let gatewayError = Conditions(rawValue: 2)
        public static let reset = Conditions(rawValue: 4)
        public static let connectFailure = Conditions(rawValue: 8)
        public static let refusedStream = Conditions(rawValue: 16)
        public static let retriable4xx = Conditions(rawValue: 32)
        public static let retriableStatusCodes = Conditions(rawValue: 64)
        public static let retriableHeaders = Conditions(rawValue: 128)
        public static let resetBeforeRequest = Conditions(rawValue: 256)
        public static let envoyRateLimited = Conditions(rawValue: 512)
        public static let grpcCancelled = Conditions(rawValue: 1 << 10)
        public static let grpcDeadlineExceeded = Conditions(rawValue: 1 << 11)
        public static let grpcInternal = Conditions(rawValue: 1 << 12)
        public static let grpcResourceExhausted = Conditions(rawValue: 1 << 13)
        public static let grpcUnavailable = Conditions(rawValue: 1 << 14)
        public static let http3PostConnectFailure = Conditions(rawValue: 1 << 15)

        /// Envoy's word for one condition, as in `retry_on`; `nil` for an unknown word.
        public init?(word: String) {
            switch word {
            case "5xx": self = .serverError
            case "gateway-error": self = .gatewayError
            case "reset": self = .reset
            case "connect-failure": self = .connectFailure
            case "refused-stream": self = .refusedStream
            case "retriable-4xx": self = .retriable4xx
            case "retriable-status-codes": self = .retriableStatusCodes
            case "retriable-headers": self = .retriableHeaders
            case "reset-before-request": self = .resetBeforeRequest
            case "envoy-ratelimited": self = .envoyRateLimited
            case "cancelled": self = .grpcCancelled
            case "deadline-exceeded": self = .grpcDeadlineExceeded
            case "internal": self = .grpcInternal
            case "resource-exhausted": self = .grpcResourceExhausted
            case "unavailable": self = .grpcUnavailable
            case "http3-post-connect-failure": self = .http3PostConnectFailure
            default: return nil
            }
        }
    }

    public var conditions: Conditions
    public var maxRetries: Int
    /// One attempt, from the end of its request until its response begins to go to the client;
    /// `nil`: the rest of the deadline.
    public var perTryTimeout: Duration?
    public var perTryIdleTimeout: Duration?
    public var backoffBase: Duration
    public var backoffCap: Duration
    public var retriableStatusCodes: [Int]
    public var retriableHeaders: [HeaderMatcher]
    public var retriableRequestHeaders: [HeaderMatcher]
    public var rateLimitedBackoff: RateLimitedBackoff?
    /// Choose again, up to `hostSelectionAttempts` times, while the pick was tried already.
    public var avoidsPreviousHosts: Bool
    /// Retries pass by endpoints whose metadata calls them canaries.
    public var omitsCanaryHosts: Bool
    /// Retries pass by endpoints whose metadata holds all of this; empty: none.
    public var omittedHostMetadata: Metadata
    /// After this many attempts leave the priorities that were tried; 0: not asked for.
    public var previousPrioritiesUpdateFrequency: Int
    public var hostSelectionAttempts: Int

    public init(
        conditions: Conditions = [], maxRetries: Int = 1, perTryTimeout: Duration? = nil,
        perTryIdleTimeout: Duration? = nil, backoffBase: Duration = .milliseconds(25),
        backoffCap: Duration = .milliseconds(250), retriableStatusCodes: [Int] = [],
        avoidsPreviousHosts: Bool = true, previousPrioritiesUpdateFrequency: Int = 0,
        hostSelectionAttempts: Int = 1
    ) {
        self.conditions = conditions
        self.maxRetries = maxRetries
        self.perTryTimeout = perTryTimeout
        self.perTryIdleTimeout = perTryIdleTimeout
        self.backoffBase = backoffBase
        self.backoffCap = backoffCap
        self.retriableStatusCodes = retriableStatusCodes
        retriableHeaders = []
        retriableRequestHeaders = []
        rateLimitedBackoff = nil
        self.avoidsPreviousHosts = avoidsPreviousHosts
        omitsCanaryHosts = false
        omittedHostMetadata = Metadata()
        self.previousPrioritiesUpdateFrequency = previousPrioritiesUpdateFrequency
        self.hostSelectionAttempts = hostSelectionAttempts
    }
}

/// `RetryPolicy.RateLimitedRetryBackOff`: when the endpoint itself says how long to wait.
public struct RateLimitedBackoff: Sendable, Equatable {
    public enum Format: Sendable, Hashable {
        case seconds
        /// Seconds since 1970.
        case unixTimestamp
    }
    public struct ResetHeader: Sendable, Equatable {
        /// In lower case.
        public var name: String
        public var format: Format

        public init(name: String, format: Format) {
            self.name = name
            self.format = format
        }
    }

    /// Asked in order; the first that holds a time within `maxInterval` counts.
    public var resetHeaders: [ResetHeader]
    public var maxInterval: Duration

    public init(resetHeaders: [ResetHeader], maxInterval: Duration = .seconds(300)) {
        self.resetHeaders = resetHeaders
        self.maxInterval = maxInterval
    }
}

/// `envoy.config.route.v3.HedgePolicy`: several copies of a request at a time.
public struct HedgePolicy: Sendable, Equatable {
    /// Copies that are sent at once; 1 is no hedging. Not in force, in Envoy neither.
    public var initialRequests: Int
    /// With this chance one copy more is sent at once. Not in force, in Envoy neither.
    public var additionalChance: FractionalPercent?
    /// An attempt that takes longer than the per-try time-out goes on while another is made.
    public var onPerTryTimeout: Bool

    public init(
        initialRequests: Int = 1, additionalChance: FractionalPercent? = nil,
        onPerTryTimeout: Bool = false
    ) {
        self.initialRequests = initialRequests
        self.additionalChance = additionalChance
        self.onPerTryTimeout = onPerTryTimeout
    }
}
