public import MeshBase
public import MeshConfig

/// What a pick may depend on.
public struct PickContext {
    public var now: Instant
    /// What the hash policy came to.
    public var key: UInt64?
    /// Hosts that this request was sent to already; not empty makes it a retry.
    public var attempted: [Host]
    /// What goes before the policy.
    public var override: HostOverride?
    /// What the route wants of an endpoint's metadata, for clusters with subsets.
    public var subset: SubsetCriteria?
    /// What it takes of the limits of an aggregate's member; whom it gets does not depend on it.
    public var place: BreakerCells.Place

    public init(
        now: Instant, key: UInt64? = nil, attempted: [Host] = [], override: HostOverride? = nil,
        subset: SubsetCriteria? = nil, place: BreakerCells.Place = .init()
    ) {
        self.now = now
        self.key = key
        self.attempted = attempted
        self.override = override
        self.subset = subset
        self.place = place
    }
}

public struct Pick {
    /// What made this host a candidate.
    public enum Reason: String, Sendable {
        case healthy, degraded
        /// Too few are healthy in all priorities, so health is disregarded.
        case panic
        /// A retry that left the failure domain that failed.
        case elsewhere
        /// A suspect whose hold is over: this request finds out.
        case trial
        /// A suspect, because there is nothing else.
        case lastResort = "last-resort"
        /// The request may have no other.
        case override
    }

    public let host: Host
    public let reason: Reason
    /// What zone-aware routing made of it; `nil` where it had no say.
    public let zone: ZoneRouting.Choice?
    /// Which subset it came from; `nil` in a cluster without.
    var step: SubsetTable.Step?
    /// The shell's: what it holds of the limits of an aggregate's member; `nil` is nothing.
    public var place: BreakerCells.Place?

    /// What was decided besides health, in the access log's words; `nil`: nothing was.
    public var decision: String? {
        guard let step else { return zone?.rawValue }
        return zone.map { "\(step.words) \($0.rawValue)" } ?? step.words
    }
}

extension Pick.Reason {
    init(_ health: HostSelection.Health) {
        switch health {
        case .healthy: self = .healthy
        case .degraded: self = .degraded
        case .all: self = .panic
        }
    }
}

public enum PickResult {
    case host(Pick)
    case none(NoHost)
}

/// Why there is no host, in the words of the access log.
public enum NoHost: String, Error, Sendable {
    case noEndpoints = "no-endpoints"
    /// None of the cluster's subsets is what the route wants, and there is no fallback.
    case noSubset = "no-subset"
    case allSuspect = "all-suspect"
    case allDraining = "all-draining"
    case allEjected = "all-ejected"
    case allUnhealthy = "all-unhealthy"
    /// Too few are healthy, and the configuration wants no traffic then (`fail_traffic_on_panic`).
    case failsOnPanic = "fails-on-panic"
    /// The survivors of an outage have all that they may get.
    case spillLimited = "spill-limited"
    /// A request may have one endpoint alone, and it is not there, or not well.
    case overrideGone = "override-host-gone"
    case overrideUnhealthy = "override-host-unhealthy"
}
