public import MeshBase

/// What the process starts from: Envoy's bootstrap, decoded.
public struct Bootstrap: Sendable {
    public var node: Node
    /// `nil`: no admin server.
    public var admin: Admin?
    /// Static listeners, clusters, secrets and inline routes.
    public var staticResources: Snapshot
    /// `dynamic_resources.ads_config`; `nil`: static only.
    public var ads: AggregatedDiscovery?
    /// Listeners and clusters are asked for over ADS.
    public var wantsLDS: Bool
    public var wantsCDS: Bool
    public var settings: Settings
    /// What was accepted with a remark, as "path: remark".
    public var warnings: [String]

    public init(
        node: Node = Node(), admin: Admin? = nil, staticResources: Snapshot = Snapshot(),
        ads: AggregatedDiscovery? = nil, wantsLDS: Bool = false, wantsCDS: Bool = false,
        settings: Settings = Settings(), warnings: [String] = []
    ) {
        self.node = node
        self.admin = admin
        self.staticResources = staticResources
        self.ads = ads
        self.wantsLDS = wantsLDS
        self.wantsCDS = wantsCDS
        self.settings = settings
        self.warnings = warnings
    }
}

/// `envoy.config.core.v3.Node`.
public struct Node: Sendable, Equatable {
    public var id: String
    public var cluster: String
    public var locality: Locality
    public var metadata: [String: MetadataValue]
    /// The message as it is sent, with our user agent: bytes of `envoy.config.core.v3.Node`.
    public var encoded: [UInt8]

    public init(
        id: String = "", cluster: String = "", locality: Locality = Locality(),
        metadata: [String: MetadataValue] = [:], encoded: [UInt8] = []
    ) {
        self.id = id
        self.cluster = cluster
        self.locality = locality
        self.metadata = metadata
        self.encoded = encoded
    }
}

public struct Admin: Sendable, Equatable {
    public var address: SocketAddress
    public var accessLogs: [AccessLogConfig]

    public init(address: SocketAddress, accessLogs: [AccessLogConfig] = []) {
        self.address = address
        self.accessLogs = accessLogs
    }
}

/// `ads_config`: an ordered list of control planes. One is in force at a time.
public struct AggregatedDiscovery: Sendable, Equatable {
    public struct ControlPlane: Sendable, Equatable {
        /// The static cluster that leads to it; its name is the control plane's.
        public var cluster: String
        /// `:authority` of the stream; empty: the cluster's name.
        public var authority: String
        /// `initial_metadata`.
        public var initialMetadata: [HeaderChanges.Addition]

        public init(
            cluster: String, authority: String = "",
            initialMetadata: [HeaderChanges.Addition] = []
        ) {
            self.cluster = cluster
            self.authority = authority
            self.initialMetadata = initialMetadata
        }
    }

    /// Never empty; the first is preferred.
    public var controlPlanes: [ControlPlane]
    /// `api_type: DELTA_GRPC`.
    public var delta: Bool
    public var setNodeOnFirstMessageOnly: Bool

    public init(
        controlPlanes: [ControlPlane], delta: Bool = false, setNodeOnFirstMessageOnly: Bool = false
    ) {
        self.controlPlanes = controlPlanes
        self.delta = delta
        self.setNodeOnFirstMessageOnly = setNodeOnFirstMessageOnly
    }
}

/// Of which endpoints only a percentage may be ejected at a time.
public enum EjectionCap: Sendable, Hashable {
    /// All of the cluster, as in Envoy: a priority may go whole, or not be allowed to.
    case cluster
    /// Those of the same priority.
    case perPriority
}

/// Our own settings: `meshproxy.config.v1.MeshProxy` in `bootstrap_extensions`. Each default is
/// right for most.
public struct Settings: Sendable, Equatable {
    public enum FailoverMode: Sendable, Hashable {
        /// Envoy's formulas: a priority spills when its health × overprovisioning falls below 100 %.
        case spill
        /// Local while any local endpoint can take it.
        case strict
    }

    public var failoverMode: FailoverMode
    /// Whose share outlier detection's `max_ejection_percent` is.
    public var ejectionCap = EjectionCap.cluster
    /// Where we are ourselves: the node's.
    public var locality = Locality()
    /// `local_cluster_name`: the cluster that we are one of; empty: not known.
    public var localCluster = ""
    /// Consecutive transport failures before the control loop ejects an endpoint.
    public var transportFailuresToEject: Int
    /// First hold of an ejected endpoint or path; doubles up to `maxHold`.
    public var baseHold: Duration
    public var maxHold: Duration
    /// Connect time-out for endpoints of another region.
    public var remoteConnectTimeout: Duration
    /// HTTP/2 PING on upstream connections that have waited for an answer this long; `pingTimeout` is for
    /// two of them, one after the other.
    public var pingInterval: Duration
    public var pingTimeout: Duration
    /// After so long without a connection a second way is tried beside the first (RFC 8305 §5).
    public var secondPathDelay = Duration.milliseconds(250)
    /// A control plane that gave nothing for this long after connecting is passed over.
    public var controlPlaneTimeout: Duration
    /// How long the preferred control plane must have been complete before it is returned to.
    public var controlPlaneReturnHold: Duration
    /// How long a graceful stop waits for requests in flight.
    public var drainTime: Duration
    public var failback = FailbackSettings()
    public var spill = SpillSettings()
    /// How long a request waits for room where a limit of its cluster is reached; zero is not at all.
    public var queueTimeout = Duration.zero
    /// Traffic may be moved through an admin port that is reached over TCP.
    public var allowsAdminChanges = false
    /// How long a graceful stop goes on at least, up to half of `drainTime`, while others learn of it.
    public var drainPropagationDelay: Duration

    public init(
        failoverMode: FailoverMode = .spill, transportFailuresToEject: Int = 3,
        baseHold: Duration = .seconds(1), maxHold: Duration = .seconds(30),
        remoteConnectTimeout: Duration = .seconds(1), pingInterval: Duration = .seconds(1),
        pingTimeout: Duration = .seconds(1), controlPlaneTimeout: Duration = .seconds(2),
        controlPlaneReturnHold: Duration = .seconds(2), drainTime: Duration = .seconds(30),
        drainPropagationDelay: Duration = .seconds(5)
    ) {
        self.failoverMode = failoverMode
        self.transportFailuresToEject = transportFailuresToEject
        self.baseHold = baseHold
        self.maxHold = maxHold
        self.remoteConnectTimeout = remoteConnectTimeout
        self.pingInterval = pingInterval
        self.pingTimeout = pingTimeout
        self.controlPlaneTimeout = controlPlaneTimeout
        self.controlPlaneReturnHold = controlPlaneReturnHold
        self.drainTime = drainTime
        self.drainPropagationDelay = drainPropagationDelay
    }
}
