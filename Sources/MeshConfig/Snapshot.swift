public import MeshBase

/// One complete configuration: every secret, route table and endpoint set that its listeners and
/// clusters need is in it. An incomplete one does not exist; until the last piece is there the
/// snapshot before it stays in force.
///
/// It is plain values, published whole to each worker, which compiles its own objects from it.
/// Each resource carries a `generation` so that a worker finds what changed without comparing
/// contents: equal generations mean equal resources.
public struct Snapshot: Sendable {
    /// Counts up with each snapshot that is published.
    public var number: UInt64
    /// The control plane in force: its name in `AggregatedDiscovery`, or "static".
    public var source: String
    public var listeners: [Listener]
    /// Sorted by name.
    public var clusters: [Cluster]
    public var routes: [String: RouteConfiguration]
    public var secrets: [String: Secret]
    /// What the files named by certificates held when the control loop last read them.
    public var files: [String: [UInt8]]

    public init(
        number: UInt64 = 0, source: String = "static", listeners: [Listener] = [],
        clusters: [Cluster] = [], routes: [String: RouteConfiguration] = [:],
        secrets: [String: Secret] = [:], files: [String: [UInt8]] = [:]
    ) {
        self.number = number
        self.source = source
        self.listeners = listeners
        self.clusters = clusters
        self.routes = routes
        self.secrets = secrets
        self.files = files
    }
}

/// Where a resource came from and which version it is.
public struct Provenance: Sendable, Hashable {
    /// The xDS version, or a content hash where the server gave none.
    public var version: String
    /// "static", or the control plane's name.
    public var source: String
    public var updated: UnixTime

    public init(
        version: String = "", source: String = "static", updated: UnixTime = .init(microseconds: 0)
    ) {
        self.version = version
        self.source = source
        self.updated = updated
    }
}
