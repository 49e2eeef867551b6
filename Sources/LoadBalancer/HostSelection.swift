import MeshBase
import MeshConfig

/// The hosts that a request may go to: which priority gets it, which locality, which host.
///
/// All of this is worked out in `rebuild`, when endpoints, verdicts or suspicions have changed, so that a
/// choice between two changes is a draw and a turn and allocates nothing.
final class HostSelection {
    /// What it goes by, besides its hosts.
    struct Rules {
        var configuration: LoadBalancing
        /// In percent; the endpoints' own word goes before the configuration's.
        var overprovisioningFactor: UInt32
        /// A priority's health goes by weights.
        var weighsPriorityHealth = false
        var isStrict: Bool
        /// Our own locality.
        var home: Locality
        var localCluster: LocalCluster?

        func load(of levels: [PriorityLoad.Level]) -> PriorityLoad {
            PriorityLoad(
                levels: levels, overprovisioningFactor: overprovisioningFactor,
                panicThreshold: configuration.panicThreshold, strict: isStrict)
        }
    }

    enum Health: Int, CaseIterable {
        case healthy, degraded
        /// What panic chooses from.
        case all

        init(isDegraded: Bool, isPanicking: Bool) {
            self = isPanicking ? .all : isDegraded ? .degraded : .healthy
        }
    }

    struct Place: Hashable {
        var priority: Int
        var locality: Locality
    }

    let hosts: [Host]
    /// Which hosts they are, in words; empty: all.
    let name: String
    /// Its one host is used whatever its priority and health.
    let isSingle: Bool
    /// How many hosts each locality has in the whole cluster, where its weight goes by the share of them
    /// that is here.
    private let places: [Place: Int]?
    /// The state of the cluster that it was worked out for, as its balancer counts them.
    var seen = 0
    /// How traffic is shared between priorities.
    var load = PriorityLoad(levels: [])
    /// Host counts by priority, as `load` was made from.
    private(set) var shares: [PriorityLoad.Level] = []
    /// Suspects that may be tried, or are.
    private(set) var trials: [Host] = []
    /// When the next hold of a suspect ends.
    private(set) var nextTrial = Instant.distantFuture
    /// Of the healthy hosts of priority 0; `nil` where localities are weighed, or keys decide.
    private(set) var zones: ZoneRouting?

    /// Hosts by priority.
    private(set) var levels: [[Host]] = []
    /// For each priority one tier of each `Health`.
    private var tiers: [Tier] = []

    /// The hosts of a priority that are alike in health.
    private struct Tier {
        var groups: [Group] = []
        /// Whose turn it is, and the weights that say so; empty where no localities are weighed.
        var turns = DeadlineHeap([])
        var weights: [Double] = []
        /// The group of each zone; group 0 is all hosts, and stands in for a zone that has none.
        var zoneGroups: [Int] = []
    }
    private struct Group {
        var candidates: [Candidate]
        var policy: any Policy
    }

    init(
        _ hosts: [Host], name: String = "", isSingle: Bool = false,
        outOf places: [Place: Int]? = nil
    ) {
        self.hosts = hosts
        self.name = name
        self.isSingle = isSingle
        self.places = places
    }

    static func places(of hosts: [Host]) -> [Place: Int] {
        hosts.reduce(into: [:]) {
            $0[Place(priority: $1.priority, locality: $1.locality), default: 0] += 1
        }
    }

    // MARK: Choosing

    struct Choice {
        let host: Host
        let zone: ZoneRouting.Choice?
    }

    /// - Returns: `nil` where nobody is like that.
    func choose(
        _ health: Health, _ priority: Int, _ key: UInt64?, _ random: inout SeededRandom
    ) -> Choice? {
        let index = priority * Health.allCases.count + health.rawValue
        guard index < tiers.count, !tiers[index].groups.isEmpty else { return nil }
        var group = 0
        var zone: ZoneRouting.Choice?
        if !tiers[index].turns.isEmpty {
            let (deadline, due) = tiers[index].turns.first
            tiers[index].turns.postponeFirst(to: deadline + 1 / tiers[index].weights[due])
            group = due
        } else if !tiers[index].zoneGroups.isEmpty, let zones {
            let (choice, place) = zones.choose(&random)
            if choice == .refused { return nil }
            if choice != .any { group = tiers[index].zoneGroups[place] }
            zone = group == 0 ? .any : choice
        }
        return Choice(
            host: HostSelection.choose(in: &tiers[index].groups[group], key, &random), zone: zone)
    }

    private static func choose(
        in group: inout Group, _ key: UInt64?, _ random: inout SeededRandom
    ) -> Host {
        let index = group.policy.choose(among: group.candidates, key: key, random: &random)
        return group.candidates[index].host
    }

    // MARK: Working out the candidates

    /// - Parameter levelCount: priorities that the cluster has, whether this selection has hosts in
    ///   them or not.
    func rebuild(
        _ rules: Rules, levelCount: Int, now: Instant, _ random: inout SeededRandom
    ) {
        nextTrial = .distantFuture
        trials.removeAll(keepingCapacity: true)
        levels = Array(repeating: [], count: levelCount)
        tiers = Array(repeating: Tier(), count: levelCount * Health.allCases.count)
        for host in hosts where !host.isHidden {
            levels[host.priority].append(host)
            guard host.standing == .suspect, host.isJudgedWell, !host.path.isEjected else {
                continue
            }
            let ends = host.holdEnds
            if ends > now {
                nextTrial = min(nextTrial, ends)
            } else {
                trials.append(host)
            }
        }
        zones = zoneRouting(rules)
        shares = []
        for (priority, all) in levels.enumerated() {
            let base = priority * Health.allCases.count
            let healthy = all.filter { $0.standing == .healthy }
            let degraded = all.filter { $0.standing == .degraded }
            let counted = all.filter { $0.verdict != .excluded }
            var share = PriorityLoad.Level(
                hosts: counted.count, healthy: healthy.count, degraded: degraded.count)
            if rules.weighsPriorityHealth {
                share.weights = PriorityLoad.Weights(
                    hosts: HostSelection.weight(counted), healthy: HostSelection.weight(healthy),
                    degraded: HostSelection.weight(degraded))
            }
            shares.append(share)
            let zones = priority == 0 ? zones : nil
            tiers[base + Health.healthy.rawValue] = tier(healthy, in: all, zones, rules, &random)
            tiers[base + Health.degraded.rawValue] = tier(degraded, in: all, zones, rules, &random)
        }
        load = rules.load(of: shares)
        guard load.isPanicking else { return }
        for (priority, all) in levels.enumerated() {
            let usable = all.filter { !$0.isSuspect && $0.standing != .draining }
            if usable.isEmpty { continue }
            tiers[priority * Health.allCases.count + Health.all.rawValue] =
                rules.configuration.policy.usesKeys
                ? Tier(groups: [hashed(usable, in: usable, rules, &random)])
                : Tier(groups: [group(usable, rules, &random)])
        }
    }

    private static func weight(_ hosts: [Host]) -> Int {
        hosts.reduce(0) { $0 + Int($1.weight) }
    }

    private func zoneRouting(_ rules: Rules) -> ZoneRouting? {
        guard case .zoneAware(let rule) = rules.configuration.localityMode,
            let first = levels.first,
            !rules.configuration.policy.usesKeys
        else { return nil }
        // Without a local cluster nothing needs to be counted.
        let counts =
            rules.localCluster == nil
            ? [] : ZoneCount.counts(of: first, own: rules.home) { $0.standing }
        return ZoneRouting(
            rule, endpoints: counts, own: rules.home, local: rules.localCluster,
            panicThreshold: rules.configuration.panicThreshold)
    }

    private func tier(
        _ eligible: [Host], in all: [Host], _ zones: ZoneRouting?, _ rules: Rules,
        _ random: inout SeededRandom
    ) -> Tier {
        if eligible.isEmpty { return Tier() }
        if rules.configuration.policy.usesKeys {
            return Tier(groups: [hashed(eligible, in: all, rules, &random)])
        }
        if rules.configuration.localityMode == .weighted {
            let tier = weighted(eligible, in: all, rules, &random)
            // Where no locality has a weight there is nothing to weigh by.
            if !tier.groups.isEmpty { return tier }
        }
        var tier = Tier(groups: [group(eligible, rules, &random)])
        guard let zones else { return tier }
        if case .flat = zones.plan { return tier }
        for zone in zones.zones {
            let members = eligible.filter { $0.locality == zone.locality }
            tier.zoneGroups.append(members.isEmpty ? 0 : tier.groups.count)
            if !members.isEmpty { tier.groups.append(group(members, rules, &random)) }
        }
        return tier
    }

    private func weighted(
        _ eligible: [Host], in all: [Host], _ rules: Rules, _ random: inout SeededRandom
    ) -> Tier {
        var localities: [Locality] = []
        for host in eligible where !localities.contains(host.locality) {
            localities.append(host.locality)
        }
        var result = Tier()
        var deadlines: [(deadline: Double, index: Int)] = []
        for locality in localities {
            let members = eligible.filter { $0.locality == locality }
            let weight = effectiveLocalityWeight(
                self.weight(of: locality, in: all), available: members.count,
                of: all.count { $0.locality == locality && $0.verdict != .excluded },
                overprovisioningFactor: rules.overprovisioningFactor, strict: rules.isStrict)
            if weight <= 0 { continue }
            deadlines.append((random.unit() / weight, result.groups.count))
            result.weights.append(weight)
            result.groups.append(group(members, rules, &random))
        }
        if result.groups.count > 1 { result.turns = DeadlineHeap(deadlines) }
        return result
    }

    /// What a locality weighs in a priority.
    private func weight(of locality: Locality, in all: [Host]) -> UInt32 {
        guard let first = all.first(where: { $0.locality == locality }) else { return 0 }
        let weight = first.localityWeight ?? 0
        guard let whole = places?[Place(priority: first.priority, locality: locality)], whole > 0
        else { return weight }
        // In single precision, as Envoy does.
        let part = UInt64(weight) * UInt64(all.count { $0.locality == locality })
        return UInt32((Float(part) / Float(whole)).rounded())
    }

    /// One table holds all localities, each with its share: as in Envoy not scaled by how much of it
    /// is available.
    private func hashed(
        _ eligible: [Host], in all: [Host], _ rules: Rules, _ random: inout SeededRandom
    ) -> Group {
        guard rules.configuration.localityMode == .weighted else {
            return group(eligible, rules, &random)
        }
        let localities = Set(all.map(\.locality)).sorted()
        let weights = localities.map { weight(of: $0, in: all) }
        let sum = weights.reduce(UInt64(0)) { $0 + UInt64($1) }
        let candidates = zip(localities, weights).flatMap { locality, weight in
            eligible.filter { $0.locality == locality }
                .map { Candidate(host: $0, weight: $0.weight, localityWeight: weight) }
        }
        return Group(
            candidates: candidates,
            policy: makePolicy(
                rules.configuration.policy, candidates, localityWeightSum: sum, &random))
    }

    private func group(
        _ hosts: [Host], _ rules: Rules, _ random: inout SeededRandom
    ) -> Group {
        let candidates = hosts.map { Candidate(host: $0, weight: $0.weight) }
        return Group(
            candidates: candidates,
            policy: makePolicy(rules.configuration.policy, candidates, home: rules.home, &random))
    }

    // MARK: Looking

    /// What must always hold; for tests.
    func checkInvariants() {
        let shown = hosts.count { !$0.isHidden }
        precondition(levels.reduce(0) { $0 + $1.count } == shown)
        if shown > 0 { precondition((load.healthyLoad + load.degradedLoad).reduce(0, +) == 100) }
    }

    func checkHealth() {
        for priority in levels.indices {
            let tier = tiers[priority * Health.allCases.count + Health.healthy.rawValue]
            for group in tier.groups {
                precondition(group.candidates.allSatisfy { $0.host.standing == .healthy })
            }
        }
    }
}
