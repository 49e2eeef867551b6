public import MeshBase

/// `envoy.config.listener.v3.Listener`.
public struct Listener: Sendable, Equatable {
    public enum Direction: Sendable, Hashable {
        case unspecified, inbound, outbound
    }

    public var name: String
    public var address: SocketAddress
    public var additionalAddresses: [SocketAddress]
    /// `false`: reached only by hand-over from a listener with `useOriginalDestination`.
    public var bindToPort: Bool
    public var filterChains: [FilterChain]
    /// Taken when no chain matches.
    public var defaultFilterChain: FilterChain?
    public var inspectsTLS: Bool
    public var inspectsHTTP: Bool
    public var usesOriginalDestination: Bool
    /// `listener_filters_timeout`: how long inspection may take; 0 is for ever.
    public var inspectionTimeout: Duration
    public var continueOnInspectionTimeout: Bool
    /// `per_connection_buffer_limit_bytes`.
    public var bufferLimitBytes: Int
    public var direction: Direction
    public var accessLogs: [AccessLogConfig]
    public var statPrefix: String
    public var transparent: Bool
    public var generation: UInt64
    public var provenance: Provenance

    public init(
        name: String, address: SocketAddress, additionalAddresses: [SocketAddress] = [],
        bindToPort: Bool = true, filterChains: [FilterChain] = [],
        defaultFilterChain: FilterChain? = nil, inspectsTLS: Bool = false,
        inspectsHTTP: Bool = false, usesOriginalDestination: Bool = false,
        inspectionTimeout: Duration = .seconds(15), continueOnInspectionTimeout: Bool = false,
        bufferLimitBytes: Int = 1024 * 1024, direction: Direction = .unspecified,
        accessLogs: [AccessLogConfig] = [], statPrefix: String = "", transparent: Bool = false,
        generation: UInt64 = 0, provenance: Provenance = Provenance()
    ) {
        self.name = name
        self.address = address
        self.additionalAddresses = additionalAddresses
        self.bindToPort = bindToPort
        self.filterChains = filterChains
        self.defaultFilterChain = defaultFilterChain
        self.inspectsTLS = inspectsTLS
        self.inspectsHTTP = inspectsHTTP
        self.usesOriginalDestination = usesOriginalDestination
        self.inspectionTimeout = inspectionTimeout
        self.continueOnInspectionTimeout = continueOnInspectionTimeout
        self.bufferLimitBytes = bufferLimitBytes
        self.direction = direction
        self.accessLogs = accessLogs
        self.statPrefix = statPrefix
        self.transparent = transparent
        self.generation = generation
        self.provenance = provenance
    }
}

/// `envoy.config.listener.v3.FilterChain`: what is done with the connections that it matches.
public struct FilterChain: Sendable, Equatable {
    public var name: String
    public var match: FilterChainMatch
    /// `nil`: plaintext.
    public var tls: DownstreamTLS?
    public var filter: NetworkFilter
    /// Time for TLS to be established; 0 is for ever.
    public var connectTimeout: Duration

    public init(
        name: String = "", match: FilterChainMatch = FilterChainMatch(),
        tls: DownstreamTLS? = nil, filter: NetworkFilter, connectTimeout: Duration = .seconds(15)
    ) {
        self.name = name
        self.match = match
        self.tls = tls
        self.filter = filter
        self.connectTimeout = connectTimeout
    }
}

/// The one terminal network filter of a chain.
public enum NetworkFilter: Sendable, Equatable {
    case http(HTTPConnectionManager)
    case tcpProxy(TCPProxy)
}

/// `envoy.config.listener.v3.FilterChainMatch`. Criteria are tried in Envoy's order: destination port,
/// destination address, server name, transport protocol, application protocols, directly
/// connected source, source type, source address, source port; at each the most specific wins.
public struct FilterChainMatch: Sendable, Hashable {
    public enum SourceType: Sendable, Hashable {
        case any, sameIPOrLoopback, external
    }

    public var destinationPort: UInt16?
    public var destinationPrefixes: [AddressPrefix]
    /// Exact names, or "*.example.com".
    public var serverNames: [String]
    /// "tls", "raw_buffer", or empty for any.
    public var transportProtocol: String
    public var applicationProtocols: [String]
    public var directSourcePrefixes: [AddressPrefix]
    public var sourceType: SourceType
    public var sourcePrefixes: [AddressPrefix]
    public var sourcePorts: [UInt16]

    public init(
        destinationPort: UInt16? = nil, destinationPrefixes: [AddressPrefix] = [],
        serverNames: [String] = [], transportProtocol: String = "",
        applicationProtocols: [String] = [], directSourcePrefixes: [AddressPrefix] = [],
        sourceType: SourceType = .any, sourcePrefixes: [AddressPrefix] = [],
        sourcePorts: [UInt16] = []
    ) {
        self.destinationPort = destinationPort
        self.destinationPrefixes = destinationPrefixes
        self.serverNames = serverNames
        self.transportProtocol = transportProtocol
        self.applicationProtocols = applicationProtocols
        self.directSourcePrefixes = directSourcePrefixes
        self.sourceType = sourceType
        self.sourcePrefixes = sourcePrefixes
        self.sourcePorts = sourcePorts
    }
}

/// `envoy.config.core.v3.CidrRange`.
public struct AddressPrefix: Sendable, Hashable {
    /// Its port is 0.
    public let address: SocketAddress
    public let bits: Int

    /// - Returns: `nil` unless `ip` is a literal address and `bits` fits it.
    public init?(ip: String, bits: Int) {
        guard let address = SocketAddress(ip: ip, port: 0) else { return nil }
        switch address {
        case .ipv4: guard (0...32).contains(bits) else { return nil }
        case .ipv6: guard (0...128).contains(bits) else { return nil }
        case .pipe: return nil
        }
        self.address = address
        self.bits = bits
    }

    public func contains(_ other: SocketAddress) -> Bool {
        func agree<T: FixedWidthInteger>(_ a: T, _ b: T, _ bits: Int) -> Bool {
            bits == 0 || (a ^ b) >> T(T.bitWidth - bits) == 0
        }
        switch (address, other) {
        case (.ipv4(let a, _), .ipv4(let b, _)):
            return agree(a, b, bits)
        case (.ipv6(let ah, let al, _), .ipv6(let bh, let bl, _)):
            return bits <= 64 ? agree(ah, bh, bits) : ah == bh && agree(al, bl, bits - 64)
        default:
            return false
        }
    }
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
public struct HTTPConnectionManager: Sendable, Equatable {
    public enum Codec: Sendable, Hashable {
        /// By ALPN, else by the first bytes.
        case auto
        case http1, http2
    }
    public enum ForwardClientCert: Sendable, Hashable {
        case sanitize, forwardOnly, appendForward, sanitizeSet, alwaysForwardOnly
    }
    public enum Routes: Sendable, Equatable {
        case inline(RouteConfiguration)
        /// By name in `Snapshot.routes`.
        case named(String)
    }

    public var statPrefix: String
    public var codec: Codec
    public var routes: Routes
    public var filters: [HTTPFilterConfig]
    public var accessLogs: [AccessLogConfig]
    /// Empty: "envoy".
    public var serverName: String
    public var serverHeaderPassThrough: Bool
    public var useRemoteAddress: Bool
    /// Whose clients' x-envoy headers count: `internal_address_config`; the default is private,
    /// unique-local and loopback addresses.
    public var internalAddresses: [AddressPrefix]
    public var trustsUnixSockets: Bool
    /// `respect_expected_rq_timeout` of the router: the deadline that the last proxy left counts.
    public var respectsExpectedTimeout: Bool
    public var trustedHops: Int
    public var skipXFFAppend: Bool
    public var generateRequestID: Bool
    public var preserveExternalRequestID: Bool
    public var forwardClientCert: ForwardClientCert
    /// Details that `sanitizeSet` and `appendForward` add besides By and Hash.
    public var xfccSubject: Bool
    public var xfccURI: Bool
    public var xfccDNS: Bool
    /// No request on the connection for this long ends it; 0 is never. Envoy's default is 1 h.
    public var idleTimeout: Duration
    /// Neither direction of a stream moved for this long; 0 is never. Envoy's default is 5 min.
    public var streamIdleTimeout: Duration
    /// From the first byte of a request to its last; 0 is never.
    public var requestTimeout: Duration
    public var requestHeadersTimeout: Duration
    public var maxConnectionDuration: Duration?
    /// Requests that one connection may bring; 0 is unlimited.
    public var maxRequestsPerConnection: Int
    /// Between the two GOAWAYs. Envoy's default is 5 s.
    public var drainTimeout: Duration
    public var maxRequestHeadersBytes: Int
    public var maxRequestHeaders: Int
    public var maxConcurrentStreams: Int
    public var initialStreamWindow: Int
    /// `nil`: as much as all streams of a connection may leave unread.
    public var initialConnectionWindow: Int?
    public var acceptHTTP10: Bool
    public var normalizePath: Bool
    public var mergeSlashes: Bool
    public var suppressEnvoyHeaders: Bool
    public var stripMatchingHostPort: Bool

    public init(
        statPrefix: String, codec: Codec = .auto, routes: Routes,
        filters: [HTTPFilterConfig] = [.router]
    ) {
        self.statPrefix = statPrefix
        self.codec = codec
        self.routes = routes
        self.filters = filters
        accessLogs = []
        serverName = ""
        serverHeaderPassThrough = false
        useRemoteAddress = false
        internalAddresses = HTTPConnectionManager.privateAddresses
        trustsUnixSockets = true
        respectsExpectedTimeout = false
        trustedHops = 0
        skipXFFAppend = false
        generateRequestID = true
        preserveExternalRequestID = false
        forwardClientCert = .sanitize
        xfccSubject = false
        xfccURI = false
        xfccDNS = false
        idleTimeout = .seconds(3600)
        streamIdleTimeout = .seconds(300)
        requestTimeout = .zero
        requestHeadersTimeout = .zero
        maxConnectionDuration = nil
        maxRequestsPerConnection = 0
        drainTimeout = .seconds(5)
        maxRequestHeadersBytes = 60 * 1024
        maxRequestHeaders = 100
        maxConcurrentStreams = 1024
        initialStreamWindow = 1024 * 1024
        initialConnectionWindow = nil
        acceptHTTP10 = true
        normalizePath = false
        mergeSlashes = false
        suppressEnvoyHeaders = false
        stripMatchingHostPort = false
    }

    /// RFC 1918, RFC 4193 and loopback.
    public static let privateAddresses: [AddressPrefix] = [
        ("10.0.0.0", 8), ("172.16.0.0", 12), ("192.168.0.0", 16), ("127.0.0.0", 8), ("::1", 128),
        ("fc00::", 7),
    ].compactMap { AddressPrefix(ip: $0.0, bits: $0.1) }
}

/// The HTTP filters that act. The last one is always `router`.
public enum HTTPFilterConfig: Sendable, Equatable {
    /// With what counts where a route says nothing.
    case statefulSession(SessionSetting)
    case router
}

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
public struct TCPProxy: Sendable, Equatable {
    public var statPrefix: String
    /// One of them is chosen for each connection by weight.
    public var clusters: [WeightedCluster]
    /// No byte in either direction for this long; 0 is never. Envoy's default is 1 h.
    public var idleTimeout: Duration
    public var maxConnectAttempts: Int
    /// `hash_policy`: the client's address is the key for consistent hashing.
    public var hashesSource: Bool
    public var accessLogs: [AccessLogConfig]

    public init(
        statPrefix: String, clusters: [WeightedCluster], idleTimeout: Duration = .seconds(3600),
        maxConnectAttempts: Int = 1, hashesSource: Bool = false,
        accessLogs: [AccessLogConfig] = []
    ) {
        self.statPrefix = statPrefix
        self.clusters = clusters
        self.idleTimeout = idleTimeout
        self.maxConnectAttempts = maxConnectAttempts
        self.hashesSource = hashesSource
        self.accessLogs = accessLogs
    }
}

/// An access logger of type file, stdout or stderr.
public struct AccessLogConfig: Sendable, Equatable {
    public enum Format: Sendable, Equatable {
        /// Envoy's default text.
        case standard
        /// Envoy's format string.
        case text(String)
        /// Keys and format strings, in order; printed as one JSON object a line.
        case json([(String, String)])

        public static func == (left: Format, right: Format) -> Bool {
            switch (left, right) {
            case (.standard, .standard): true
            case (.text(let a), .text(let b)): a == b
            case (.json(let a), .json(let b)):
                a.count == b.count && zip(a, b).allSatisfy { $0.0 == $1.0 && $0.1 == $1.1 }
            default: false
            }
        }
    }

    /// "/dev/stdout" and "/dev/stderr" as well.
    public var path: String
    public var format: Format

    public init(path: String, format: Format = .standard) {
        self.path = path
        self.format = format
    }
}
