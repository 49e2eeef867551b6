public import MeshBase
public import MeshConfig

/// An endpoint of which the address is known, as the shell hands it to a balancer.
public struct ResolvedEndpoint: Sendable {
    public var endpoint: Endpoint
    public var address: SocketAddress
    /// The first hop when it is a gateway; `nil`: the endpoint is reached directly.
    public var gateway: SocketAddress?
    /// All addresses of an endpoint that has several, best first.
    public var addresses: [SocketAddress] = []
    public var priority: Int
    public var locality: Locality
    public var localityWeight: UInt32?

    public init(
        endpoint: Endpoint, address: SocketAddress, gateway: SocketAddress? = nil,
        priority: Int = 0, locality: Locality = Locality(), localityWeight: UInt32? = nil
    ) {
        self.endpoint = endpoint
        self.address = address
        self.gateway = gateway
        self.priority = priority
        self.locality = locality
        self.localityWeight = localityWeight
    }
}

extension EndpointSet {
    /// Those of which the address is known.
    /// - Parameter order: of the addresses of an endpoint that has several.
    public func resolved(_ order: HappyEyeballs = HappyEyeballs()) -> [ResolvedEndpoint] {
        var result: [ResolvedEndpoint] = []
        result.reserveCapacity(count)
        for group in localities {
            for endpoint in group.endpoints {
                guard case .address(let address) = endpoint.target else { continue }
                var one = ResolvedEndpoint(
                    endpoint: endpoint, address: address, priority: group.priority,
                    locality: group.locality, localityWeight: group.weight)
                if !endpoint.additionalAddresses.isEmpty {
                    one.addresses = order.order([address] + endpoint.additionalAddresses)
                }
                result.append(one)
            }
        }
        return result
    }
}

/// The control loop's word on an endpoint.
public enum Verdict: Equatable, Sendable {
    public enum Reason: Equatable, Sendable {
        case transport(TransportFailure.Kind)
        case outlier(String)
    }
    case healthy
    /// Its health checks pass, and it says that it is degraded.
    case degraded
    case ejected(until: Instant, Reason)
    case failedProbe
    /// As `failedProbe`, and its priority is reckoned without it.
    case excluded
}

/// One endpoint in one worker. It outlives updates that keep its address and hostname, and with it
/// the connections that the shell hangs on it.
public final class Host {
    public internal(set) var endpoint: Endpoint
    public let address: SocketAddress
    public let hostname: String
    public internal(set) var priority = 0
    public internal(set) var locality = Locality()
    public internal(set) var localityWeight: UInt32?
    /// The way to it that is taken: of several the one that won last, while it is usable.
    public internal(set) var path: PathHealth.Path
    /// All ways to it, the best first; empty where there is but one.
    public internal(set) var paths: [PathHealth.Path] = []
    public internal(set) var activeRequests = 0
    public internal(set) var verdict = Verdict.healthy
    public internal(set) var suspicion = Suspicion()
    /// For `PeakEWMAPolicy`; nothing is known under other policies.
    var latency = PeakLatency()
    /// For `ReportedLoadPolicy`; it has none under other policies.
    var reportedLoad = ReportedWeight()
    /// When its slow start began; `nil` when it is over, or there is none.
    var startBegan: Instant?
    /// The share of its weight that it has during its slow start.
    var startFactor = 1.0
    var isStarting: Bool { startBegan != nil }
    /// It is no longer in the cluster; what runs on it may end.
    public internal(set) var isRemoved = false
    /// Percent of its requests that an evacuation sends elsewhere.
    public internal(set) var evacuated = 0
    /// A drill has taken it away, as if the control plane had.
    public internal(set) var isHidden = false
    /// Its place among `SpillLimiter`'s meters.
    var meter = -1
    /// The shell's: its pool of connections.
    public var attachment: AnyObject?
    /// The shell's: its cluster, where that is a member of an aggregate.
    public weak var owner: AnyObject?
    /// The shell's: where answers are counted, once there was one, for outlier detection.
    public var tally: OutlierTally?

    init(_ resolved: ResolvedEndpoint, path: PathHealth.Path) {
        endpoint = resolved.endpoint
        address = resolved.address
        hostname = resolved.endpoint.hostname
        self.path = path
        isDirect = resolved.gateway == nil
    }

    public var weight: UInt32 { max(1, endpoint.weight) }
    public internal(set) var isDirect: Bool

    /// Leaves a path that is not usable for one that is.
    func choosePath() {
        if paths.isEmpty || path.isUsable { return }
        if let usable = paths.first(where: \.isUsable) { path = usable }
    }

    enum Standing {
        case healthy, degraded
        /// Nothing but our own suspicion, or the control loop's on transport failures, is against it.
        case suspect
        case draining, ejected, unhealthy
    }

    var standing: Standing {
        let reported = reported
        guard reported == .healthy || reported == .degraded, isSuspect else { return reported }
        return .suspect
    }

    /// As discovery and the control loop say, without what this worker alone has seen.
    var reported: Standing {
        if evacuated >= 100 || isHidden { return .draining }
        switch endpoint.status {
        case .draining: return .draining
        case .unhealthy, .timeout: return .unhealthy
        case .unknown, .healthy, .degraded: break
        }
        switch verdict {
        case .ejected(_, .transport): return .suspect
        case .ejected(_, .outlier): return .ejected
        case .failedProbe, .excluded: return .unhealthy
        case .healthy, .degraded: break
        }
        return endpoint.status == .degraded || verdict == .degraded ? .degraded : .healthy
    }

    /// Transport failures speak against it or its path, whatever else does.
    var isSuspect: Bool {
        if case .ejected(_, .transport) = verdict { return true }
        return suspicion.isSuspected || path.suspicion.isSuspected || path.isEjected
    }

    /// Nothing but a late PING speaks against it.
    var isOnlyDoubted: Bool {
        path.suspicion.reason == .pingLate && !path.isEjected && !suspicion.isSuspected
            && standing == .suspect && isJudgedWell
    }

    /// The control loop has nothing against it.
    var isJudgedWell: Bool { verdict == .healthy || verdict == .degraded }

    /// When its hold and its path's are both over.
    var holdEnds: Instant {
        max(
            suspicion.isSuspected ? suspicion.until : .zero,
            path.suspicion.isSuspected ? path.suspicion.until : .zero)
    }

    func mayTry(_ now: Instant) -> Bool {
        guard standing == .suspect, isJudgedWell, !path.isEjected else { return false }
        return (!suspicion.isSuspected || suspicion.mayTry(now))
            && (!path.suspicion.isSuspected || path.suspicion.mayTry(now))
    }
}
