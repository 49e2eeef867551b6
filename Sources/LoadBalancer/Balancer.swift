public import MeshBase
public import MeshConfig

/// One cluster in one worker: who may be chosen, and who is.
///
/// **Three questions, in this order.** *Which priority?* `PriorityLoad`, Envoy's formulas. *Which
/// locality in it?* Weighted turns on effective weights, where the cluster asks for that. *Which host?*
/// The policy. Candidates and shares are worked out again only when endpoints, verdicts or suspicions
/// change, so a pick between two changes is a draw and a turn, and allocates nothing.
///
/// **Suspects** (`Suspicion`, of the host or of its path) count as unhealthy in the formulas: when all
/// local hosts refuse, all load goes to the next priority at once. After its hold a suspect is given
/// one request, never more than one at a time, and only a request of a priority that is not better
/// than its own. When nothing but suspects is left, the one whose hold ends first is used rather than
/// none: a request that may fail is better than one that does.
///
/// **Panic** (Envoy's threshold) uses all hosts but suspects, and only when no priority can take the
/// traffic. **Draining** hosts are never chosen.
///
/// **Retries** leave the failure domain that failed: another region, else another zone, else another
/// first hop, else another host, even if that lies in a lower priority.
///
/// **Coming back, spilling, leaving.** `FailbackRamp`, `SpillLimiter` and `Evacuation` are laid over the
/// formulas; where none of them acts a pick does not know of them.
///
/// It holds no timer: a hold that ends is noticed by the next pick.
public final class Balancer {
    public struct Update {
        public var added: [Host]
        /// Gone from the cluster: their pools should end when idle.
        public var removed: [Host]
    }

    public private(set) var configuration: LoadBalancing
    /// Whether a pick's key matters.
    public private(set) var usesKeys: Bool
    private var watchesLatency: Bool
    public private(set) var hosts: [Host] = []
    public let paths: PathHealth
    private let settings: Settings
    private var random: SeededRandom

    /// Hosts by priority.
    private var levels: [[Host]] = []
    /// For each priority one tier of each `TierKind`.
    private var tiers: [Tier] = []
    /// How traffic is shared between priorities now.
    public private(set) var load = PriorityLoad(levels: [])
    private var overprovisioningFactor: UInt32
    private var needsRebuild = true
    private var seenPaths = 0
    /// When the next hold ends.
    private var nextTrial = Instant.distantFuture
    /// Suspects that may be tried, or are.
    private var trials: [Host] = []
    /// Hosts in their slow start, and when their factors are to be worked out again.
    private var starting: [Host] = []
    private var nextStep = Instant.distantFuture

    private var failback: FailbackRamp
    private var spill: SpillLimiter?
    private var evacuations: [(service: String, Evacuation)] = []
    /// Percent of the best priority's hosts.
    private var hidden = 0
    /// Told of priorities that go and come back, from inside `pick`.
    public var failbackChanged: (FailbackRamp.Change) -> Void = { _ in }

    private enum TierKind: Int, CaseIterable {
        case healthy, degraded
        /// What panic chooses from.
        case all
    }
    /// The hosts of a priority that are alike in health.
    private struct Tier {
        var groups: [Group] = []
        /// Whose turn it is, and the weights that say so; empty with one group.
        var turns = DeadlineHeap([])
        var weights: [Double] = []

        var isEmpty: Bool { groups.isEmpty }
    }
    private struct Group {
        var candidates: [Candidate]
        var policy: any Policy
    }

    public init(
        configuration: LoadBalancing, paths: PathHealth, settings: Settings = Settings(),
        random: SeededRandom
    ) {
        self.configuration = configuration
        usesKeys = configuration.policy.usesKeys
        watchesLatency = configuration.policy.watchesLatency
        self.paths = paths
        self.settings = settings
        self.random = random
        failback = FailbackRamp(settings.failback)
        spill = SpillLimiter(settings.spill)
        overprovisioningFactor = configuration.overprovisioningFactor
    }

    // MARK: What changes

    /// Takes the cluster's endpoints. A host of the same address and hostname stays the same object.
    public func update(
        endpoints: [ResolvedEndpoint], configuration: LoadBalancing? = nil,
        overprovisioningFactor: UInt32? = nil, now: Instant = .zero
    ) -> Update {
        if let configuration {
            self.configuration = configuration
            usesKeys = configuration.policy.usesKeys
            watchesLatency = configuration.policy.watchesLatency
        }
        self.overprovisioningFactor =
            overprovisioningFactor ?? self.configuration.overprovisioningFactor
        struct Key: Hashable {
            var address: SocketAddress
            var hostname: String
        }
        var known: [Key: Host] = [:]
        for host in hosts { known[Key(address: host.address, hostname: host.hostname)] = host }
        var update = Update(added: [], removed: [])
        var kept: [Host] = []
        var seen: Set<Key> = []
        kept.reserveCapacity(endpoints.count)
        for resolved in endpoints {
            let key = Key(address: resolved.address, hostname: resolved.endpoint.hostname)
            // Of two with one key the first counts, as in Envoy.
            guard seen.insert(key).inserted else { continue }
            let path = paths.path(to: resolved.gateway ?? resolved.address)
            let host: Host
            if let old = known.removeValue(forKey: key) {
                host = old
                host.endpoint = resolved.endpoint
                host.path = path
            } else {
                host = Host(resolved, path: path)
                update.added.append(host)
                startSlowly(host, now)
            }
            host.priority = max(0, resolved.priority)
            host.locality = resolved.locality
            host.localityWeight = resolved.localityWeight
            kept.append(host)
        }
        for host in hosts where known[Key(address: host.address, hostname: host.hostname)] === host
        {
            host.isRemoved = true
            update.removed.append(host)
        }
        hosts = kept
        needsRebuild = true
        if hidden > 0 { _ = hideBest(percent: hidden) }
        return update
    }

    /// Takes the control loop's verdicts. A host that is called healthy is trusted at once.
    public func setVerdicts(
        _ verdicts: [(address: SocketAddress, verdict: Verdict)], now: Instant = .zero
    ) {
        for (address, verdict) in verdicts {
            for host in hosts where host.address == address {
                if verdict == .healthy, host.verdict != .healthy { startSlowly(host, now) }
                host.verdict = verdict
                if verdict == .healthy { _ = host.suspicion.succeeded() }
            }
        }
        needsRebuild = true
    }

    private func startSlowly(_ host: Host, _ now: Instant) {
        guard configuration.slowStart != nil else { return }
        if host.startBegan == nil { starting.append(host) }
        host.startBegan = now
        nextStep = now
    }

    /// Works out what weight hosts in their slow start have now.
    private func stepStarts(_ now: Instant) {
        let slowStart = configuration.slowStart
        let over = starting.count
        starting.removeAll { host in
            guard let slowStart, !host.isRemoved, let began = host.startBegan,
                let factor = slowStart.factor(age: now - began)
            else {
                host.startBegan = nil
                host.startFactor = 1
                return true
            }
            host.startFactor = factor
            return false
        }
        // A set without starting hosts may be chosen from in a cheaper way.
        if starting.count < over { rebuild(now) }
        nextStep = starting.isEmpty ? .distantFuture : now + .milliseconds(1)
    }

    /// Takes in that a connection or request to this host failed in its transport. `release` calls it
    /// for requests; the pool calls it for connections that failed with no request on them.
    public func suspect(_ host: Host, _ failure: TransportFailure, now: Instant) {
        let kind = failure.kind
        if failure.layer == .path || (host.isDirect && kind.concernsFirstHop) {
            host.suspicion.tryAbandoned()
            paths.failed(host.path, kind, now: now)
            return
        }
        if host.suspicion.failed(
            kind, now: now, baseHold: settings.baseHold, maxHold: settings.maxHold)
        {
            needsRebuild = true
        }
        switch kind {
        case .tunnelRefused, .tlsUntrusted, .tlsWrongIdentity, .tlsExpired, .tlsNoCertificate:
            // The other side spoke, so the path carried it that far.
            paths.succeeded(host.path)
        default:
            host.path.suspicion.tryAbandoned()
        }
    }

    /// As `suspect`, but only this cluster's own view of the host suffers: a failure that was made up
    /// for it must not be held against the path, which others go over.
    public func suspectAlone(_ host: Host, _ failure: TransportFailure, now: Instant) {
        if host.suspicion.failed(
            failure.kind, now: now, baseHold: settings.baseHold, maxHold: settings.maxHold)
        {
            needsRebuild = true
        }
    }

    /// Takes so many percent of the best priority's hosts away, as if they had never been, until it is
    /// called with 0. - Returns: those that are hidden now.
    public func hideBest(percent: Int) -> [Host] {
        if percent == 0, hidden == 0 { return [] }
        hidden = percent
        let best = hosts.map(\.priority).min()
        let local = hosts.filter { $0.priority == best }
        let gone = local.prefix((local.count * percent + 99) / 100)
        for host in hosts { host.isHidden = false }
        for host in gone { host.isHidden = true }
        needsRebuild = true
        return Array(gone)
    }

    /// Takes in that this host answered.
    public func succeeded(_ host: Host) {
        if host.suspicion.succeeded() { needsRebuild = true }
        paths.succeeded(host.path)
    }

    public enum Outcome: Sendable {
        /// A response came, of whatever status.
        case answered
        case failed(TransportFailure)
        /// It ended by our or the client's doing.
        case abandoned
    }

    /// Gives a picked host back; once for every pick.
    public func release(_ pick: Pick, _ outcome: Outcome, now: Instant) {
        let host = pick.host
        precondition(host.activeRequests > 0, "released more often than picked")
        host.activeRequests -= 1
        if failback.isActive { followed(host, outcome) }
        switch outcome {
        case .answered: succeeded(host)
        case .failed(let failure):
            suspect(host, failure, now: now)
            if watchesLatency, case .peakEWMA(let rule) = configuration.policy {
                rule.observe(host, took: .zero, failed: true, now: now)
            }
        case .abandoned:
            guard pick.reason == .trial || pick.reason == .lastResort else { return }
            host.suspicion.tryAbandoned()
            host.path.suspicion.tryAbandoned()
        }
    }

    /// Whether a retry of what was meant for this host would find another that is well.
    public func hasAlternative(to host: Host) -> Bool {
        hosts.contains {
            $0 !== host && ($0.standing == .healthy || $0.standing == .degraded)
        }
    }

    /// Whether a healthy host lies in another zone or region than all of these, which failed.
    public func canLeaveDomain(of failed: [Host]) -> Bool {
        hosts.contains { host in
            host.standing == .healthy
                && failed.allSatisfy { Balancer.distance($0, host) >= 2 }
        }
    }

    /// A priority is on its way back.
    public var isFailingBack: Bool { failback.isActive }
    /// Answers matter beyond the transport: `observed` is to be told of them.
    public var judgesAnswers: Bool { failback.isActive || watchesLatency }

    /// A host answered a request, while `judgesAnswers`; before its `release`.
    public func observed(_ host: Host, status: Int, took: Duration, now: Instant) {
        if status >= 500, failback.isActive { answeredBadly(host) }
        guard watchesLatency, case .peakEWMA(let rule) = configuration.policy else { return }
        rule.observe(host, took: took, failed: status >= 500, now: now)
    }

    private func answeredBadly(_ host: Host) {
        if failback.ended(priority: host.priority, failed: true) { needsRebuild = true }
    }

    private func followed(_ host: Host, _ outcome: Outcome) {
        switch outcome {
        case .answered: _ = failback.ended(priority: host.priority, failed: false)
        case .failed: answeredBadly(host)
        case .abandoned: break
        }
    }

    /// Takes the evacuations that there are now, for the service of this name.
    public func setEvacuations(_ evacuations: [Evacuation], service: String) {
        self.evacuations = evacuations.map { (service, $0) }
        needsRebuild = true
    }

    // MARK: Picking

    /// Chooses a host and counts a request on it; give it back with `release`.
    public func pick(_ request: PickContext) -> PickResult {
        if needsRebuild || seenPaths != paths.version || request.now >= nextTrial {
            rebuild(request.now)
        }
        if request.now >= nextStep { stepStarts(request.now) }
        if hosts.isEmpty { return .none(.noEndpoints) }
        if !request.attempted.isEmpty, let host = elsewhere(request) {
            return take(host, .elsewhere, now: request.now)
        }
        if load.isEmpty, !load.isPanicking { return lastResort(request) }
        // Of a key the same remainder decides the priority as in Envoy.
        let key = usesKeys ? request.key ?? random.next() : nil
        let (priority, isDegraded) = load.choose(key ?? random.next())
        if request.attempted.isEmpty, !trials.isEmpty,
            let host = trials.first(where: { $0.priority <= priority && $0.mayTry(request.now) })
        {
            return take(host, .trial, now: request.now)
        }
        if load.isPanicking {
            guard let host = choose(.all, priority, key) else {
                return lastResort(request)
            }
            return take(host, .panic, now: request.now)
        }
        if isDegraded {
            guard let host = choose(.degraded, priority, key) else {
                return lastResort(request)
            }
            return take(host, .degraded, now: request.now)
        }
        guard let host = choose(.healthy, priority, key) else {
            return lastResort(request)
        }
        return take(host, .healthy, now: request.now)
    }

    private func take(_ chosen: Host, _ reason: Pick.Reason, now: Instant) -> PickResult {
        var host = chosen
        if host.evacuated > 0, reason != .trial, reason != .lastResort,
            let other = placeInstead(of: host)
        {
            host = other
        }
        if spill?.admits(host, now: now) == false { return .none(.spillLimited) }
        host.activeRequests += 1
        if reason == .trial || reason == .lastResort {
            if host.suspicion.isSuspected { host.suspicion.tryBegan() }
            if host.path.suspicion.isSuspected { host.path.suspicion.tryBegan() }
        }
        return .host(Pick(host: host, reason: reason))
    }

    private func choose(_ kind: TierKind, _ priority: Int, _ key: UInt64?) -> Host? {
        let tier = priority * TierKind.allCases.count + kind.rawValue
        guard tier < tiers.count, !tiers[tier].isEmpty else { return nil }
        var index = 0
        if !tiers[tier].turns.isEmpty {
            let (deadline, due) = tiers[tier].turns.first
            tiers[tier].turns.postponeFirst(to: deadline + 1 / tiers[tier].weights[due])
            index = due
        }
        return Balancer.choose(in: &tiers[tier].groups[index], key, &random)
    }

    private static func choose(
        in group: inout Group, _ key: UInt64?, _ random: inout SeededRandom
    ) -> Host {
        let index = group.policy.choose(among: group.candidates, key: key, random: &random)
        return group.candidates[index].host
    }

    /// For a retry: a host that is well, was not tried, and lies as far as can be from those that were.
    /// Of equally far ones the best priority, and there by weight.
    private func elsewhere(_ request: PickContext) -> Host? {
        var best: Host?
        var bestRank = (distance: 0, health: 0, priority: 0)
        var weights: UInt64 = 0
        for host in hosts {
            let standing = host.standing
            guard standing == .healthy || standing == .degraded,
                !request.attempted.contains(where: { $0 === host })
            else { continue }
            let rank = (
                distance: request.attempted.reduce(3) { min($0, Balancer.distance($1, host)) },
                health: standing == .healthy ? 1 : 0, priority: -host.priority
            )
            if best == nil || rank > bestRank {
                (best, bestRank, weights) = (host, rank, UInt64(host.weight))
            } else if rank == bestRank {
                // Each host replaces the ones before with the probability of its share.
                weights += UInt64(host.weight)
                if random.next().multipliedFullWidth(by: weights).high < UInt64(host.weight) {
                    best = host
                }
            }
        }
        return best
    }

    /// What two hosts do not share: region 3, zone 2, first hop 1, nothing but themselves 0.
    private static func distance(_ left: Host, _ right: Host) -> Int {
        if left.locality.region != right.locality.region { return 3 }
        if left.locality.zone != right.locality.zone { return 2 }
        return left.path === right.path ? 0 : 1
    }

    /// Another host for a request that an evacuation turns away; `nil` when it may stay.
    private func placeInstead(of host: Host) -> Host? {
        if random.below(100) >= host.evacuated { return nil }
        var best: Host?
        var weights: UInt64 = 0
        for other in hosts where other.evacuated == 0 && other.standing == .healthy {
            if let priority = best?.priority, other.priority > priority { continue }
            if other.priority < best?.priority ?? .max { weights = 0 }
            weights += UInt64(other.weight)
            if random.next().multipliedFullWidth(by: weights).high < UInt64(other.weight) {
                best = other
            }
        }
        return best
    }

    private func evacuate(_ now: Instant) {
        for host in hosts {
            host.evacuated = 0
            for (service, evacuation) in evacuations
            where evacuation.scope.matches(
                service: service, host.endpoint, at: host.address, in: host.locality)
            {
                host.evacuated = max(host.evacuated, evacuation.percent(at: now))
            }
        }
        for (_, evacuation) in evacuations {
            nextTrial = min(nextTrial, evacuation.nextDeadline(after: now))
        }
        let hasOthers = hosts.contains {
            $0.evacuated == 0 && ($0.standing == .healthy || $0.standing == .degraded)
        }
        if !hasOthers { for host in hosts { host.evacuated = 0 } }
    }

    private func lastResort(_ request: PickContext) -> PickResult {
        var best: Host?
        var isBestFresh = false
        for host in hosts where host.standing == .suspect {
            let isFresh = !request.attempted.contains { $0 === host }
            if let best, isBestFresh, !isFresh || best.holdEnds <= host.holdEnds { continue }
            if let best, isBestFresh == isFresh, best.holdEnds <= host.holdEnds { continue }
            best = host
            isBestFresh = isFresh
        }
        if let best, isBestFresh || request.attempted.isEmpty {
            return take(best, .lastResort, now: request.now)
        }
        return .none(whyNone())
    }

    private func whyNone() -> NoHost {
        let standings = hosts.map(\.standing)
        if standings.contains(.suspect) { return .allSuspect }
        if standings.allSatisfy({ $0 == .draining }) { return .allDraining }
        if standings.contains(.ejected) { return .allEjected }
        return .allUnhealthy
    }

    // MARK: Working out the candidates

    private func rebuild(_ now: Instant) {
        needsRebuild = false
        seenPaths = paths.version
        nextTrial = .distantFuture
        trials.removeAll(keepingCapacity: true)
        if !evacuations.isEmpty { evacuate(now) }
        levels = Array(repeating: [], count: (hosts.map(\.priority).max() ?? -1) + 1)
        tiers = Array(repeating: Tier(), count: levels.count * TierKind.allCases.count)
        for host in hosts where !host.isHidden {
            levels[host.priority].append(host)
            guard host.standing == .suspect, host.verdict == .healthy, !host.path.isEjected else {
                continue
            }
            let ends = host.holdEnds
            if ends > now {
                nextTrial = min(nextTrial, ends)
            } else {
                trials.append(host)
            }
        }
        var shares: [PriorityLoad.Level] = []
        for index in levels.indices {
            let all = levels[index]
            let base = index * TierKind.allCases.count
            let healthy = all.filter { $0.standing == .healthy }
            let degraded = all.filter { $0.standing == .degraded }
            shares.append(
                PriorityLoad.Level(
                    hosts: all.count, healthy: healthy.count, degraded: degraded.count))
            tiers[base + TierKind.healthy.rawValue] = tier(of: healthy, in: all)
            tiers[base + TierKind.degraded.rawValue] = tier(of: degraded, in: all)
        }
        load = formula(shares)
        returnGradually(shares, now)
        if load.isPanicking {
            for index in levels.indices {
                let usable = levels[index].filter {
                    !$0.isSuspect && $0.standing != .draining
                }
                tiers[index * TierKind.allCases.count + TierKind.all.rawValue] = tier(
                    of: usable, in: usable, weighted: false)
            }
        }
    }

    private func formula(_ levels: [PriorityLoad.Level]) -> PriorityLoad {
        PriorityLoad(
            levels: levels, overprovisioningFactor: overprovisioningFactor,
            panicThreshold: configuration.panicThreshold,
            strict: settings.failoverMode == .strict)
    }

    /// What is laid over the formulas: `FailbackRamp`, `SpillLimiter`.
    private func returnGradually(_ levels: [PriorityLoad.Level], _ now: Instant) {
        let changes = failback.advance(
            // What an evacuation takes away comes back at its own pace.
            usable: levels.indices.map { index in
                levels[index].healthy + levels[index].degraded > 0
                    || self.levels[index].contains { $0.evacuated > 0 }
            },
            load: levels.indices.map { load.healthyLoad[$0] + load.degradedLoad[$0] }, now: now)
        if failback.isActive { load = failback.ramped(load, levels, by: formula) }
        nextTrial = min(nextTrial, failback.nextDeadline)
        for change in changes { failbackChanged(change) }
        spill?.rebuilt(hosts, load, now: now)
    }

    private func tier(of eligible: [Host], in all: [Host], weighted: Bool = true) -> Tier {
        if eligible.isEmpty { return Tier() }
        if configuration.policy.usesKeys { return Tier(groups: [hashed(eligible, in: all)]) }
        guard configuration.localityMode == .weighted, weighted else {
            return Tier(groups: [group(eligible)])
        }
        var localities: [Locality] = []
        for host in eligible where !localities.contains(host.locality) {
            localities.append(host.locality)
        }
        var result = Tier()
        var deadlines: [(deadline: Double, index: Int)] = []
        for locality in localities {
            let members = eligible.filter { $0.locality == locality }
            let weight = effectiveLocalityWeight(
                members[0].localityWeight ?? 0, available: members.count,
                of: all.reduce(0) { $0 + ($1.locality == locality ? 1 : 0) },
                overprovisioningFactor: overprovisioningFactor,
                strict: settings.failoverMode == .strict)
            if weight <= 0 { continue }
            deadlines.append((random.unit() / weight, result.groups.count))
            result.weights.append(weight)
            result.groups.append(group(members))
        }
        // Where no locality has a weight there is nothing to weigh by.
        if result.groups.isEmpty { return Tier(groups: [group(eligible)]) }
        if result.groups.count > 1 { result.turns = DeadlineHeap(deadlines) }
        return result
    }

    /// One table holds all localities, each with its share: as in Envoy not scaled by how much of it
    /// is available.
    private func hashed(_ eligible: [Host], in all: [Host]) -> Group {
        guard configuration.localityMode == .weighted else { return group(eligible) }
        var sum: UInt64 = 0
        var seen: Set<Locality> = []
        for host in all where seen.insert(host.locality).inserted {
            sum += UInt64(host.localityWeight ?? 0)
        }
        let sorted = seen.sorted(by: <)
        let candidates = sorted.flatMap { locality in
            eligible.filter { $0.locality == locality }
                .map { Candidate(host: $0, weight: $0.weight) }
        }
        return Group(
            candidates: candidates,
            policy: makePolicy(
                configuration.policy, candidates, localityWeightSum: sum, &random))
    }

    private func group(_ hosts: [Host]) -> Group {
        let candidates = hosts.map { Candidate(host: $0, weight: $0.weight) }
        return Group(
            candidates: candidates,
            policy: makePolicy(
                configuration.policy, candidates, home: settings.locality, &random))
    }

    // MARK: Looking

    /// What must always hold; for tests.
    public func checkInvariants() {
        for host in hosts {
            precondition(host.activeRequests >= 0 && !host.isRemoved && host.priority >= 0)
        }
        let shown = hosts.count { !$0.isHidden }
        precondition(needsRebuild || levels.reduce(0) { $0 + $1.count } == shown)
        if !needsRebuild, shown > 0 {
            precondition((load.healthyLoad + load.degradedLoad).reduce(0, +) == 100)
        }
        guard !needsRebuild, seenPaths == paths.version else { return }
        for priority in levels.indices {
            let tier = tiers[priority * TierKind.allCases.count + TierKind.healthy.rawValue]
            for group in tier.groups {
                precondition(group.candidates.allSatisfy { $0.host.standing == .healthy })
            }
        }
    }
}

/// What a pick may depend on.
public struct PickContext {
    public var now: Instant
    /// What the hash policy came to.
    public var key: UInt64?
    /// Hosts that this request was sent to already; not empty makes it a retry.
    public var attempted: [Host]

    public init(now: Instant, key: UInt64? = nil, attempted: [Host] = []) {
        self.now = now
        self.key = key
        self.attempted = attempted
    }
}

public struct Pick {
    /// What made this host a candidate.
    public enum Reason: Equatable, Sendable {
        case healthy, degraded
        /// Too few are healthy in all priorities, so health is disregarded.
        case panic
        /// A retry that left the failure domain that failed.
        case elsewhere
        /// A suspect whose hold is over: this request finds out.
        case trial
        /// A suspect, because there is nothing else.
        case lastResort
    }

    public let host: Host
    public let reason: Reason
}

public enum PickResult {
    case host(Pick)
    case none(NoHost)
}

/// Why there is no host, in the words of the access log.
public enum NoHost: String, Error, Sendable {
    case noEndpoints = "no-endpoints"
    case allSuspect = "all-suspect"
    case allDraining = "all-draining"
    case allEjected = "all-ejected"
    case allUnhealthy = "all-unhealthy"
    /// The survivors of an outage have all that they may get.
    case spillLimited = "spill-limited"
}
