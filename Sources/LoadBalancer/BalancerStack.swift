public import MeshBase
public import MeshConfig

/// The priorities of several balancers, stacked into one list: how an aggregate cluster chooses.
///
/// Envoy's rule. The priorities of the first member come first, in their order, then those of the second,
/// and so on; `PriorityLoad` shares the traffic among all of them, each with the overprovisioning of
/// its member. Who gets a request inside a priority is its member's own business.
///
/// What a balancer does across its priorities is done here across members: a retry leaves the failure
/// domain that failed, a suspect whose hold is over is tried by a request of no better priority, the
/// last resort is a suspect, and a priority that was wholly out comes back by `FailbackRamp`. What members
/// do for themselves (evacuations, the spill limiter) stays theirs.
///
/// A member that has no endpoints keeps its place, so that what is known of the others' priorities stays.
public final class BalancerStack {
    /// The priorities in their order.
    private struct Level {
        var member: Int
        var priority: Int
    }

    public private(set) var members: [Balancer] = []
    private var levels: [Level] = []
    /// How traffic is shared between the priorities of all members now.
    public private(set) var load = PriorityLoad(levels: [])
    private var seen: [Int] = []
    private let settings: Settings
    private var configuration: LoadBalancing
    private var failback: FailbackRamp
    private var random: SeededRandom
    /// Told of priorities that go and come back, from inside `pick`.
    public var failbackChanged: (FailbackRamp.Change) -> Void = { _ in }

    public init(
        configuration: LoadBalancing, settings: Settings = Settings(), random: SeededRandom
    ) {
        self.configuration = configuration
        self.settings = settings
        self.random = random
        failback = FailbackRamp(settings.failback)
    }

    /// Takes the members in the order of preference. Of the others' past nothing is known when they change.
    public func update(_ members: [Balancer], configuration: LoadBalancing) {
        self.configuration = configuration
        seen = []
        if members.elementsEqual(self.members, by: ===) { return }
        self.members = members
        failback = FailbackRamp(settings.failback)
    }

    /// The place of a member's priority in the list.
    public func priority(_ priority: Int, of member: Int) -> Int {
        levels.firstIndex { $0.member == member && $0.priority == priority } ?? levels.count
    }

    // MARK: Picking

    /// Chooses a host as `Balancer.pick` does; it is given back to its member.
    /// - Returns: the member's place, and what it chose.
    public func pick(_ request: PickContext) -> (member: Int, result: PickResult) {
        refresh(request.now)
        guard members.contains(where: { !$0.hosts.isEmpty }) else {
            return (0, .none(.noEndpoints))
        }
        if let override = request.override, let given = wanted(override, request.now) {
            return given
        }
        if !request.attempted.isEmpty, let other = elsewhere(request) { return other }
        if load.isEmpty, !load.isPanicking { return lastResort(request) }
        let (level, isDegraded) = load.choose(request.key ?? random.next())
        let place = levels[level]
        if request.attempted.isEmpty {
            for index in 0..<place.member {
                if let result = members[index].tryOne(request.now) { return (index, result) }
            }
        }
        let member = members[place.member]
        let result = member.pick(
            request, in: place.priority, isDegraded: isDegraded, isPanicking: load.isPanicking)
        return (place.member, result)
    }

    private func wanted(
        _ override: HostOverride, _ now: Instant
    ) -> (member: Int, result: PickResult)? {
        for (index, member) in members.enumerated() {
            guard let result = member.pick(override, now: now) else { continue }
            if case .none(.overrideGone) = result { continue }
            return (index, result)
        }
        return override.isStrict ? (0, .none(.overrideGone)) : nil
    }

    private func elsewhere(_ request: PickContext) -> (member: Int, result: PickResult)? {
        var best: (member: Int, found: Balancer.Elsewhere)?
        for (index, member) in members.enumerated() {
            guard let found = member.elsewhere(request) else { continue }
            // Of equally good ones that of the earlier member.
            if let best, best.found.isAtLeast(as: found) { continue }
            best = (index, found)
        }
        return best.map { member, found in
            (member, members[member].take(found, now: request.now))
        }
    }

    /// - Returns: of refusals the first.
    private func lastResort(_ request: PickContext) -> (member: Int, result: PickResult) {
        var refusal: (member: Int, result: PickResult)?
        for index in members.indices where !members[index].hosts.isEmpty {
            let result = members[index].lastResort(request)
            if case .host = result { return (index, result) }
            refusal = refusal ?? (index, result)
        }
        return refusal ?? (0, .none(.noEndpoints))
    }

    // MARK: What came of it

    /// Answers and failures are of interest: `ended` is to be told of them.
    public var isFailingBack: Bool { failback.isActive }

    /// An attempt at a host of a member has ended, while `isFailingBack`.
    public func ended(_ host: Host, of member: Int, failed: Bool) {
        if failback.ended(priority: priority(host.priority, of: member), failed: failed) {
            seen = []
        }
    }

    /// An attempt that has not ended yet was answered badly, while `isFailingBack`.
    public func answeredBadly(_ host: Host, of member: Int) {
        if failback.answeredBadly(priority: priority(host.priority, of: member)) { seen = [] }
    }

    /// Whether a retry of what was meant for this host would find another that is well.
    public func hasAlternative(to host: Host) -> Bool {
        members.contains { $0.hasAlternative(to: host) }
    }

    /// Whether a retry of what failed at these hosts would go to another zone or region.
    public func canLeaveDomain(of failed: [Host]) -> Bool {
        members.contains { $0.canLeaveDomain(of: failed) }
    }

    // MARK: Working out the shares

    private func refresh(_ now: Instant) {
        for member in members { member.refresh(now) }
        let isStale =
            now >= failback.nextDeadline || seen.count != members.count
            || zip(members, seen).contains { $0.rebuilds != $1 }
        if isStale { restack(now) }
    }

    private func restack(_ now: Instant) {
        seen = members.map(\.rebuilds)
        levels = []
        var shares: [PriorityLoad.Level] = []
        for (index, member) in members.enumerated() {
            let own =
                member.shares.isEmpty ? [PriorityLoad.Level(hosts: 0, healthy: 0)] : member.shares
            for (priority, share) in own.enumerated() {
                levels.append(Level(member: index, priority: priority))
                var share = share
                share.overprovisioningFactor = member.overprovisioningFactor
                shares.append(share)
            }
        }
        load = formula(shares)
        let changes = failback.advance(
            usable: levels.map { members[$0.member].isUsable($0.priority) },
            load: shares.indices.map { load.healthyLoad[$0] + load.degradedLoad[$0] }, now: now)
        if failback.isActive { load = failback.ramped(load, shares, by: formula) }
        for change in changes { failbackChanged(change) }
    }

    private func formula(_ shares: [PriorityLoad.Level]) -> PriorityLoad {
        PriorityLoad(
            levels: shares, overprovisioningFactor: configuration.overprovisioningFactor,
            panicThreshold: configuration.panicThreshold,
            strict: settings.failoverMode == .strict)
    }

    /// What must always hold; for tests.
    public func checkInvariants() {
        for member in members { member.checkInvariants() }
        precondition(levels.isEmpty || load.healthyLoad.count == levels.count)
        guard levels.contains(where: { !members[$0.member].hosts.isEmpty }) else { return }
        precondition((load.healthyLoad + load.degradedLoad).reduce(0, +) == 100)
    }
}

extension Balancer {
    /// Where a retry could go, and how good a place that is.
    struct Elsewhere {
        let host: Host
        private let rank: (distance: Int, health: Int)

        init(_ host: Host, distance: Int, health: Int) {
            self.host = host
            rank = (distance, health)
        }

        func isAtLeast(as other: Elsewhere) -> Bool { rank >= other.rank }
    }
}
