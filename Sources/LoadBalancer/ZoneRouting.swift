public import MeshBase
public import MeshConfig

/// The hosts of one locality in a set, as zone-aware routing counts them.
public struct ZoneCount: Equatable, Sendable {
    public var locality: Locality
    public var hosts: Int
    public var healthy: Int
    /// Of the healthy ones together.
    public var weight: UInt64

    public init(_ locality: Locality, hosts: Int, healthy: Int, weight: UInt64? = nil) {
        self.locality = locality
        self.hosts = hosts
        self.healthy = healthy
        self.weight = weight ?? UInt64(healthy)
    }

    /// Every locality that has hosts: our own first where it has any, then in order.
    static func counts(
        of hosts: [Host], own: Locality, _ standing: (Host) -> Host.Standing
    ) -> [ZoneCount] {
        var counts: [Locality: ZoneCount] = [:]
        for host in hosts {
            var count =
                counts[host.locality] ?? ZoneCount(host.locality, hosts: 0, healthy: 0)
            count.hosts += 1
            if standing(host) == .healthy {
                count.healthy += 1
                count.weight += UInt64(host.weight)
            }
            counts[host.locality] = count
        }
        return counts.values.sorted {
            ($0.locality == own ? 0 : 1, $0.locality) < ($1.locality == own ? 0 : 1, $1.locality)
        }
    }
}

/// The cluster that we are one of (`local_cluster_name`): where its members are, requests come from.
public struct LocalCluster: Equatable, Sendable {
    /// Of its priority 0. What a worker alone has seen of them does not count.
    public var zones: [ZoneCount]
    /// Percent of its members that are healthy or degraded.
    public var available: Double

    public init(zones: [ZoneCount], available: Double = 100) {
        self.zones = zones
        self.available = available
    }

    /// - Parameter own: our own locality.
    public init(members: [Host], own: Locality) {
        let first = members.filter { $0.priority == 0 }
        zones = ZoneCount.counts(of: first, own: own) { $0.reported }
        let usable = first.count { $0.reported == .healthy || $0.reported == .degraded }
        available = first.isEmpty ? 0 : 100 * Double(usable) / Double(first.count)
    }
}

/// How many of our requests stay in our own locality, and where the others go: Envoy's zone-aware
/// routing, in its integer arithmetic.
///
/// Requests come from the members of our own cluster, and go to the endpoints of another; of both each
/// locality has a share, in hundredths of a percent. Where our locality has no smaller share of the
/// endpoints than of the members, all our requests stay in it. Otherwise only as many stay as there
/// are endpoints for, and the others go where there is room: to localities with a greater share of
/// the endpoints than of the members, each by the difference. So every endpoint gets the same as long
/// as every member does likewise.
///
/// It is for priority 0 alone, and says nothing on how much load that priority has.
public struct ZoneRouting: Equatable, Sendable {
    public enum Plan: Equatable, Sendable {
        case flat(Flat)
        case own
        /// - Parameters:
        ///   - own: of 10 000 requests so many stay.
        ///   - room: for each zone the sum of what it and those before it have room for.
        case shared(own: Int, room: [Int])
        /// Too few members of our own cluster are well, and the configuration wants no traffic then.
        case refused
    }
    /// Why localities are disregarded.
    public enum Flat: String, Sendable {
        case turnedOff = "routing_enabled is 0"
        case noLocalCluster = "no local cluster"
        case oneZone = "all endpoints in one locality"
        case localInOneZone = "local cluster in one locality"
        case notMember = "nobody of the local cluster in our locality"
        case tooSmall = "fewer healthy endpoints than min_cluster_size"
        case localPanics = "too few of the local cluster are well"
    }
    /// What it came to for one request.
    public enum Choice: String, Sendable {
        case own = "zone-own"
        /// Our locality has its share already.
        case other = "zone-other"
        /// `routing_enabled` left this request out, or the locality has no such endpoint.
        case any = "zone-any"
        case refused = "zone-refused"
    }

    public let plan: Plan
    /// Of the endpoints, in the order of `Plan`'s sums.
    public let zones: [ZoneCount]
    /// Percent of requests that the plan is for.
    private let enabled: Int

    /// - Parameters:
    ///   - endpoints: those of priority 0, our own locality first if it has any.
    ///   - own: our own locality.
    public init(
        _ rule: LoadBalancing.ZoneAware, endpoints: [ZoneCount], own: Locality,
        local: LocalCluster?, panicThreshold: Double
    ) {
        zones = endpoints
        enabled = rule.routingEnabled
        plan = ZoneRouting.plan(rule, endpoints, own, local, panicThreshold)
    }

    private static func plan(
        _ rule: LoadBalancing.ZoneAware, _ endpoints: [ZoneCount], _ own: Locality,
        _ local: LocalCluster?, _ panicThreshold: Double
    ) -> Plan {
        guard rule.routingEnabled > 0 else { return .flat(.turnedOff) }
        guard let local else { return .flat(.noLocalCluster) }
        if endpoints.count < 2 { return .flat(.oneZone) }
        if local.zones.count < 2, rule.forcedLocalMinimum == nil { return .flat(.localInOneZone) }
        guard local.zones.contains(where: { $0.locality == own }) else { return .flat(.notMember) }
        if endpoints.reduce(0, { $0 + $1.healthy }) < rule.minClusterSize {
            return .flat(.tooSmall)
        }
        if local.available < min(100, panicThreshold) {
            return rule.failsOnPanic ? .refused : .flat(.localPanics)
        }
        let shares = shares(rule, endpoints, local)
        let hasOwn = endpoints[0].locality == own
        if hasOwn {
            if shares[0].upstream > 0, shares[0].upstream >= shares[0].local { return .own }
            if let least = rule.forcedLocalMinimum, endpoints[0].healthy >= least { return .own }
        }
        var sum = 0
        let room = shares.enumerated().map { index, share in
            if index > 0 || !hasOwn { sum += max(0, share.upstream - share.local) }
            return sum
        }
        let stay = hasOwn && shares[0].local > 0 ? shares[0].upstream * 10_000 / shares[0].local : 0
        return .shared(own: stay, room: room)
    }

    /// In hundredths of a percent, for each locality of the endpoints.
    private static func shares(
        _ rule: LoadBalancing.ZoneAware, _ endpoints: [ZoneCount], _ local: LocalCluster
    ) -> [(local: Int, upstream: Int)] {
        func size(_ zone: ZoneCount) -> UInt64 {
            rule.countsWeights ? zone.weight : UInt64(zone.healthy)
        }
        func share(_ part: UInt64, _ whole: UInt64) -> Int {
            whole == 0 ? 0 : Int(10_000 * part / whole)
        }
        let members = local.zones.reduce(0) { $0 + size($1) }
        let all = endpoints.reduce(0) { $0 + size($1) }
        return endpoints.map { zone in
            if zone.healthy == 0 { return (0, 0) }
            let here = local.zones.first { $0.locality == zone.locality }
            return (share(here.map(size) ?? 0, members), share(size(zone), all))
        }
    }

    /// Where one request goes.
    /// - Returns: the zone's index; without meaning unless the choice is `own` or `other`.
    public func choose(_ random: inout SeededRandom) -> (choice: Choice, zone: Int) {
        if enabled < 100, random.below(100) >= enabled { return (.any, 0) }
        switch plan {
        case .flat: return (.any, 0)
        case .refused: return (.refused, 0)
        case .own: return (.own, 0)
        case .shared(let own, let room):
            if own > 0, random.below(10_000) < own { return (.own, 0) }
            guard let total = room.last, total > 0 else {
                // Rounding left nobody any room.
                return (.other, random.below(zones.count))
            }
            let draw = random.below(total)
            return (.other, room.firstIndex { draw < $0 } ?? 0)
        }
    }

    /// The plan in words: "flat (no local cluster)", "east/a 50.00 %, east/b 50.00 %".
    public var words: String {
        switch plan {
        case .flat(let why): return "flat (\(why.rawValue))"
        case .refused: return "refused (\(Flat.localPanics.rawValue))"
        case .own: return "\(zones[0].locality.path) 100.00 %"
        case .shared(let own, let room):
            let total = room.last ?? 0
            return zones.indices.map { index in
                let here = index == 0 ? room[0] : room[index] - room[index - 1]
                var part = total > 0 ? (10_000 - own) * here / total : 0
                if index == 0, here == 0 { part = own }
                let cents = part % 100
                return "\(zones[index].locality.path) \(part / 100).\(cents < 10 ? "0" : "")"
                    + "\(cents) %"
            }.joined(separator: ", ")
        }
    }
}

extension Locality {
    /// "region/zone/sub_zone" as far as it is known.
    var path: String {
        [region, zone, subZone].filter { !$0.isEmpty }.joined(separator: "/")
    }
}
