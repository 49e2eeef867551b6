public import MeshBase
public import MeshConfig

/// One cluster in one worker: who may be chosen, and who is.
///
/// **Three questions, in this order.** *Which priority?* `PriorityLoad`, Envoy's formulas. *Which
/// locality in it?* Weighted turns on effective weights, or `ZoneRouting`, where the cluster asks for
/// that. *Which host?* The policy. `HostSelection` has the answers ready: they are worked out again only
/// when endpoints, verdicts or suspicions change.
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
    /// What hosts say of their load matters: `reported` is to be told of it.
    public private(set) var readsReports: Bool
    public var hosts: [Host] { whole.hosts }
    public let paths: PathHealth
    private let settings: Settings
    private var random: SeededRandom

    private(set) var whole = HostSelection([])
    private var rules: HostSelection.Rules
    /// `nil` for clusters without, which pay nothing for them.
    private var subsets: SubsetTable?
    private var subsetRules: HostSelection.Rules
    /// Counts how often things were worked out; a subset that is behind is worked out when it is used.
    private(set) var rebuilds = 0
    /// For `HostOverride`, from the first request with one to the next change of hosts.
    var addressBook: [SocketAddress: Host]?
    private var needsRebuild = true
    private var seenPaths = 0
    /// When something changes by itself.
    private var nextChange = Instant.distantFuture
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

    /// How traffic is shared between priorities now.
    public var load: PriorityLoad { whole.load }

    public init(
        configuration: LoadBalancing, paths: PathHealth, settings: Settings = Settings(),
        random: SeededRandom
    ) {
        self.configuration = configuration
        usesKeys = configuration.policy.usesKeys
        watchesLatency = configuration.policy.watchesLatency
        readsReports = configuration.policy.readsReports
        self.paths = paths
        self.settings = settings
        self.random = random
        failback = FailbackRamp(settings.failback)
        spill = SpillLimiter(settings.spill)
        rules = HostSelection.Rules(
            configuration: configuration,
            overprovisioningFactor: configuration.overprovisioningFactor,
            isStrict: settings.failoverMode == .strict, home: settings.locality)
        subsetRules = rules
    }

    // MARK: What changes

    /// Takes the cluster's endpoints. A host of the same address and hostname stays the same object.
    public func update(
        endpoints: [ResolvedEndpoint], configuration: LoadBalancing? = nil,
        overprovisioningFactor: UInt32? = nil, weighsPriorityHealth: Bool = false,
        now: Instant = .zero
    ) -> Update {
        if let configuration {
            self.configuration = configuration
            usesKeys = configuration.policy.usesKeys
            watchesLatency = configuration.policy.watchesLatency
            readsReports = configuration.policy.readsReports
        }
        rules.configuration = self.configuration
        rules.weighsPriorityHealth = weighsPriorityHealth
        rules.overprovisioningFactor =
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
            let ways = resolved.addresses.map(paths.path)
            let path = ways.first ?? paths.path(to: resolved.gateway ?? resolved.address)
            let host: Host
            if let old = known.removeValue(forKey: key) {
                host = old
                host.endpoint = resolved.endpoint
                if !ways.contains(where: { $0 === host.path }) { host.path = path }
            } else {
                host = Host(resolved, path: path)
                update.added.append(host)
                startSlowly(host, now)
            }
            host.paths = ways
            host.isDirect = resolved.gateway == nil
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
        whole = HostSelection(kept)
        subsets = self.configuration.subsets.map { SubsetTable($0, kept) }
        addressBook = nil
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
                let wasWell = host.isJudgedWell
                host.verdict = verdict
                if host.isJudgedWell, !wasWell { startSlowly(host, now) }
                if host.isJudgedWell { _ = host.suspicion.succeeded() }
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
    /// for requests; the pool for connections with no request on them, `over` one of many addresses.
    public func suspect(
        _ host: Host, _ failure: TransportFailure, over address: SocketAddress? = nil, now: Instant
    ) {
        let kind = failure.kind
        if failure.layer == .path || (host.isDirect && kind.concernsFirstHop) {
            host.suspicion.tryAbandoned()
            paths.failed(address.map(paths.path) ?? host.path, kind, now: now)
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
        switch outcome {
        case .answered:
            followed(host, failed: false)
            succeeded(host)
        case .failed(let failure):
            followed(host, failed: true)
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

    /// This way to a host was connected sooner than another.
    public func prefer(_ address: SocketAddress, for host: Host) {
        if let path = host.paths.first(where: { $0.address == address }) { host.path = path }
    }

    /// A host that is well, as a retry of what was meant for this one would find it, over another
    /// first hop. Who waits is not known here, so in a cluster with subsets there is none.
    public func alternative(to host: Host, now: Instant) -> Host? {
        if subsets != nil { return nil }
        let other = elsewhere(PickContext(now: now, attempted: [host]), in: whole)?.host
        return other?.path === host.path ? nil : other
    }

    /// Whether a retry of what was meant for this host would find another that is well, in each subset
    /// that it may have been chosen from.
    public func hasAlternative(to host: Host) -> Bool {
        func hasOther(_ hosts: [Host]) -> Bool {
            hosts.contains {
                $0 !== host && ($0.standing == .healthy || $0.standing == .degraded)
            }
        }
        return subsets?.hasAnother(than: host, where: hasOther) ?? hasOther(hosts)
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
    public var judgesAnswers: Bool { failback.isActive || watchesLatency || readsReports }

    /// A host answered a request, while `judgesAnswers`; before its `release`.
    public func observed(_ host: Host, status: Int, took: Duration, now: Instant) {
        if status >= 500, failback.answeredBadly(priority: host.priority) { needsRebuild = true }
        guard watchesLatency, case .peakEWMA(let rule) = configuration.policy else { return }
        rule.observe(host, took: took, failed: status >= 500, now: now)
    }

    /// A host said how loaded it is, while `readsReports`.
    public func reported(_ host: Host, _ report: LoadReport, now: Instant) {
        guard case .reportedLoad(let rule) = configuration.policy else { return }
        rule.observe(host, report, now: now)
    }

    private func followed(_ host: Host, failed: Bool) {
        if failback.ended(priority: host.priority, failed: failed) { needsRebuild = true }
    }

    /// Takes the evacuations that there are now, for the service of this name.
    public func setEvacuations(_ evacuations: [Evacuation], service: String) {
        self.evacuations = evacuations.map { (service, $0) }
        needsRebuild = true
    }

    /// Takes the members of our own cluster, which zone-aware routing looks at; `nil`: there is none.
    public func setLocalCluster(_ members: LocalCluster?) {
        rules.localCluster = members
        if case .zoneAware = configuration.localityMode { needsRebuild = true }
    }

    /// What zone-aware routing does here, in words; `nil` where localities are weighed, or keys decide.
    public func zoneWords(now: Instant) -> String? {
        refresh(now)
        return whole.zones?.words
    }

    /// The subsets that routes can name, each with the number of its hosts.
    public var subsetWords: [String] {
        guard let subsets else { return [] }
        return subsets.named.map { "\($0.name) \($0.hosts.count)" }
            + (subsets.duplicates > 0 ? ["left out as duplicates \(subsets.duplicates)"] : [])
    }

    // MARK: Picking

    /// Chooses a host and counts a request on it; give it back with `release`.
    public func pick(_ request: PickContext) -> PickResult {
        refresh(request.now)
        if let override = request.override, !hosts.isEmpty,
            let result = pick(override, now: request.now)
        {
            return result
        }
        if let subsets { return pick(request, from: subsets) }
        return pick(request, in: whole)
    }

    /// Takes in what time and others have changed.
    func refresh(_ now: Instant) {
        if needsRebuild || seenPaths != paths.version || now >= nextChange { rebuild(now) }
        if now >= nextStep { stepStarts(now) }
    }

    private func pick(_ request: PickContext, from subsets: SubsetTable) -> PickResult {
        var refusal = hosts.isEmpty ? NoHost.noEndpoints : .noSubset
        for step in subsets.steps(for: request.subset) where !step.selection.hosts.isEmpty {
            workOut(step.selection, request.now)
            switch pick(request, in: step.selection) {
            case .host(var pick):
                pick.step = step
                return .host(pick)
            case .none(.spillLimited): return .none(.spillLimited)
            case .none(let why): refusal = why
            }
        }
        return .none(refusal)
    }

    private func pick(_ request: PickContext, in selection: HostSelection) -> PickResult {
        if selection.hosts.isEmpty { return .none(.noEndpoints) }
        if selection.isSingle { return takeSingle(selection.hosts[0], request.now) }
        if !request.attempted.isEmpty, let other = elsewhere(request, in: selection) {
            return take(other.host, .elsewhere, in: selection, now: request.now)
        }
        let isPanicking = selection.load.isPanicking
        if selection.load.isEmpty, !isPanicking { return lastResort(request, in: selection) }
        // Of a key the same remainder decides the priority as in Envoy.
        let key = usesKeys ? request.key ?? random.next() : nil
        let (priority, isDegraded) = selection.load.choose(key ?? random.next())
        let health = HostSelection.Health(isDegraded: isDegraded, isPanicking: isPanicking)
        return pick(request, in: selection, priority, health, key)
    }

    private func pick(
        _ request: PickContext, in selection: HostSelection, _ priority: Int,
        _ health: HostSelection.Health, _ key: UInt64?
    ) -> PickResult {
        if request.attempted.isEmpty, !selection.trials.isEmpty,
            let host = selection.trials.first(where: {
                $0.priority <= priority && $0.mayTry(request.now)
            })
        {
            return take(host, .trial, in: selection, now: request.now)
        }
        if health == .all, failsOnPanic {
            return lastResort(request, in: selection, .failsOnPanic)
        }
        guard let choice = selection.choose(health, priority, key, &random) else {
            let isRefused = selection.zones?.plan == .refused
            return lastResort(request, in: selection, isRefused ? .failsOnPanic : nil)
        }
        return take(
            choice.host, Pick.Reason(health), zone: choice.zone, in: selection, now: request.now)
    }

    private func takeSingle(_ host: Host, _ now: Instant) -> PickResult {
        let reason: Pick.Reason
        switch host.standing {
        case .healthy: reason = .healthy
        case .degraded: reason = .degraded
        case .suspect: reason = host.mayTry(now) ? .trial : .lastResort
        case .draining, .ejected, .unhealthy: reason = .panic
        }
        return take(host, reason, in: nil, now: now)
    }

    private var failsOnPanic: Bool {
        if case .zoneAware(let rule) = configuration.localityMode {
            rule.failsOnPanic
        } else {
            false
        }
    }

    /// - Parameter selection: where another is looked for when an evacuation turns the request away;
    ///   `nil`: nowhere.
    func take(
        _ chosen: Host, _ reason: Pick.Reason, zone: ZoneRouting.Choice? = nil,
        in selection: HostSelection?, now: Instant
    ) -> PickResult {
        var host = chosen
        var zone = zone
        if host.evacuated > 0, reason != .trial, reason != .lastResort, let selection,
            let other = placeInstead(of: host, in: selection)
        {
            host = other
            zone = nil
        }
        if spill?.admits(host, now: now) == false { return .none(.spillLimited) }
        host.activeRequests += 1
        if reason == .trial || reason == .lastResort {
            if host.suspicion.isSuspected { host.suspicion.tryBegan() }
            if host.path.suspicion.isSuspected { host.path.suspicion.tryBegan() }
        }
        return .host(Pick(host: host, reason: reason, zone: zone))
    }

    /// For a retry: a host that is well, was not tried, and lies as far as can be from those that were.
    /// Of equally far ones the best priority, and there by weight.
    private func elsewhere(
        _ request: PickContext, in selection: HostSelection
    ) -> Elsewhere? {
        var best: Host?
        var bestRank = (distance: 0, health: 0, priority: 0)
        var weights: UInt64 = 0
        for host in selection.hosts {
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
        return best.map { Elsewhere($0, distance: bestRank.distance, health: bestRank.health) }
    }

    /// What two hosts do not share: region 3, zone 2, first hop 1, nothing but themselves 0.
    private static func distance(_ left: Host, _ right: Host) -> Int {
        if left.locality.region != right.locality.region { return 3 }
        if left.locality.zone != right.locality.zone { return 2 }
        return left.path === right.path ? 0 : 1
    }

    /// Another host for a request that an evacuation turns away; `nil` when it may stay.
    private func placeInstead(of host: Host, in selection: HostSelection) -> Host? {
        if random.below(100) >= host.evacuated { return nil }
        var best: Host?
        var weights: UInt64 = 0
        for other in selection.hosts where other.evacuated == 0 && other.standing == .healthy {
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
            nextChange = min(nextChange, evacuation.nextDeadline(after: now))
        }
        let hasOthers = hosts.contains {
            $0.evacuated == 0 && ($0.standing == .healthy || $0.standing == .degraded)
        }
        if !hasOthers { for host in hosts { host.evacuated = 0 } }
    }

    /// - Parameter refusal: what is said when not even a suspect is left.
    private func lastResort(
        _ request: PickContext, in selection: HostSelection, _ refusal: NoHost? = nil
    ) -> PickResult {
        var best: Host?
        var isBestFresh = false
        for host in selection.hosts where host.standing == .suspect {
            let isFresh = !request.attempted.contains { $0 === host }
            if let best, isBestFresh, !isFresh || best.holdEnds <= host.holdEnds { continue }
            if let best, isBestFresh == isFresh, best.holdEnds <= host.holdEnds { continue }
            best = host
            isBestFresh = isFresh
        }
        if let best, isBestFresh || request.attempted.isEmpty {
            return take(best, .lastResort, in: selection, now: request.now)
        }
        return .none(refusal ?? Balancer.whyNone(selection.hosts.map(\.standing)))
    }

    private static func whyNone(_ standings: [Host.Standing]) -> NoHost {
        if standings.contains(.suspect) { return .allSuspect }
        if standings.allSatisfy({ $0 == .draining }) { return .allDraining }
        if standings.contains(.ejected) { return .allEjected }
        return .allUnhealthy
    }

    // MARK: Working out the candidates

    private func rebuild(_ now: Instant) {
        needsRebuild = false
        seenPaths = paths.version
        nextChange = .distantFuture
        for host in hosts { host.choosePath() }
        if !evacuations.isEmpty { evacuate(now) }
        let nextWeighing = readsReports ? weigh(now) : .distantFuture
        whole.rebuild(
            rules, levelCount: (hosts.map(\.priority).max() ?? -1) + 1, now: now, &random)
        nextChange = min(nextChange, whole.nextTrial, nextWeighing)
        returnGradually(now)
        rebuilds += 1
        guard let rule = configuration.subsets else { return }
        subsetRules = rules
        // Without weights Envoy falls back to its default way with localities.
        if configuration.localityMode == .weighted, rule.localityWeights == .ignored {
            subsetRules.configuration.localityMode = .zoneAware(.init())
        }
    }

    /// Works out what the hosts' reports come to. - Returns: when to do so again.
    private func weigh(_ now: Instant) -> Instant {
        guard case .reportedLoad(let rule) = configuration.policy else { return .distantFuture }
        rule.weigh(hosts, now: now)
        return now + rule.update
    }

    /// Works a subset out, unless nothing has changed since it was.
    private func workOut(_ subset: HostSelection, _ now: Instant) {
        if subset.seen == rebuilds { return }
        subset.seen = rebuilds
        subset.rebuild(subsetRules, levelCount: whole.levels.count, now: now, &random)
        guard failback.isActive else { return }
        subset.load = failback.ramped(subset.load, subset.shares, by: subsetRules.load)
    }

    /// What is laid over the formulas: `FailbackRamp`, `SpillLimiter`.
    private func returnGradually(_ now: Instant) {
        let (shares, load) = (whole.shares, whole.load)
        let changes = failback.advance(
            usable: shares.indices.map(isUsable),
            load: shares.indices.map { load.healthyLoad[$0] + load.degradedLoad[$0] }, now: now)
        if failback.isActive { whole.load = failback.ramped(load, shares, by: rules.load) }
        nextChange = min(nextChange, failback.nextDeadline)
        for change in changes { failbackChanged(change) }
        spill?.rebuilt(hosts, whole.load, now: now)
    }

    /// Whether a priority is not out. What an evacuation takes away comes back at its own pace, and a
    /// doubt is no outage.
    func isUsable(_ priority: Int) -> Bool {
        guard priority < whole.shares.count else { return false }
        return whole.shares[priority].healthy + whole.shares[priority].degraded > 0
            || whole.levels[priority].contains { $0.evacuated > 0 || $0.isOnlyDoubted }
    }

    // MARK: Inside a stack

    var shares: [PriorityLoad.Level] { whole.shares }
    var overprovisioningFactor: UInt32 { rules.overprovisioningFactor }

    /// Chooses in a priority that somebody else has settled on; among subsets it is settled anew.
    /// - Parameter isPanicking: health is disregarded, if it is as bad here.
    func pick(
        _ request: PickContext, in priority: Int, isDegraded: Bool, isPanicking: Bool
    ) -> PickResult {
        if let subsets { return pick(request, from: subsets) }
        let health = HostSelection.Health(
            isDegraded: isDegraded, isPanicking: isPanicking && load.isPanicking)
        let key = usesKeys ? request.key ?? random.next() : nil
        return pick(request, in: whole, priority, health, key)
    }

    /// A suspect whose hold is over, if there is one.
    func tryOne(_ now: Instant) -> PickResult? {
        if subsets != nil { return nil }
        return whole.trials.first { $0.mayTry(now) }
            .map { take($0, .trial, in: whole, now: now) }
    }

    /// For a retry: where it could go. Among subsets that is for `pick` to say.
    func elsewhere(_ request: PickContext) -> Elsewhere? {
        subsets == nil ? elsewhere(request, in: whole) : nil
    }

    func take(_ other: Elsewhere, now: Instant) -> PickResult {
        take(other.host, .elsewhere, in: whole, now: now)
    }

    func lastResort(_ request: PickContext) -> PickResult {
        if let subsets { return pick(request, from: subsets) }
        return lastResort(request, in: whole)
    }

    // MARK: Looking

    /// What must always hold; for tests.
    public func checkInvariants() {
        for host in hosts {
            precondition(host.activeRequests >= 0 && !host.isRemoved && host.priority >= 0)
        }
        if needsRebuild { return }
        whole.checkInvariants()
        if seenPaths == paths.version { whole.checkHealth() }
    }
}
