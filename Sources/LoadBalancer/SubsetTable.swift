import MeshConfig

/// The subsets of a cluster, and which of them a request may go to.
///
/// Subsets are made when endpoints change; their candidates are worked out when the first request
/// comes for them. What a route's criteria come to is remembered by the object that holds them,
/// until endpoints change again, so that a pick looks up one reference.
///
/// As in Envoy only a subset without endpoints leads to a fallback: one in which all are unhealthy is
/// in force, with its own priorities, panic and last resort.
final class SubsetTable {
    enum Origin: String {
        case match = "subset"
        case fallback = "subset-fallback"
        /// `panic_mode_any`.
        case panic = "subset-panic"
    }
    struct Step {
        let selection: HostSelection
        let origin: Origin

        var words: String { "\(origin.rawValue)=\(selection.name)" }
    }

    private let rules: LoadBalancing.Subsets
    private var subsets: [[String: MetadataValue]: HostSelection] = [:]
    private let any: HostSelection
    private let byDefault: HostSelection
    /// Endpoints that a selector for single ones has left out, for another had the same values.
    private(set) var duplicates = 0

    private var plans: [ObjectIdentifier: (criteria: SubsetCriteria, steps: [Step])] = [:]
    private var planWithoutCriteria: [Step] = []
    /// Route tables come and go while endpoints stay.
    private static let keptPlans = 1024

    /// - Parameter hosts: all of the cluster.
    init(_ rules: LoadBalancing.Subsets, _ hosts: [Host]) {
        self.rules = rules
        let places = rules.localityWeights == .scaled ? HostSelection.places(of: hosts) : nil
        any = HostSelection(hosts, name: "any", outOf: places)
        byDefault = HostSelection(
            hosts.filter { host in
                rules.defaultSubset.allSatisfy { key, value in
                    rules.values(of: host, key).contains(value)
                }
            }, name: "default", outOf: places)
        var members: [[String: MetadataValue]: (hosts: [Host], isSingle: Bool)] = [:]
        for host in hosts {
            for selector in rules.selectors {
                for values in rules.combinations(of: host, selector.keys) {
                    // A list may have a value twice, and two selectors the same keys.
                    if members[values]?.hosts.last === host { continue }
                    members[values, default: ([], selector.isSingle)].hosts.append(host)
                }
            }
        }
        for (values, member) in members {
            let name = MetadataValue.text(of: values)
            guard member.isSingle else {
                subsets[values] = HostSelection(member.hosts, name: name, outOf: places)
                continue
            }
            guard let best = member.hosts.min(by: { $0.priority < $1.priority }) else { continue }
            duplicates += member.hosts.count - 1
            subsets[values] = HostSelection([best], name: name, isSingle: true)
        }
        planWithoutCriteria = fallback()
    }

    /// Where a request goes: to the first of these that has a host for it.
    func steps(for criteria: SubsetCriteria?) -> [Step] {
        guard let criteria else { return planWithoutCriteria }
        if let known = plans[ObjectIdentifier(criteria)] { return known.steps }
        if plans.count >= SubsetTable.keptPlans { plans = [:] }
        let steps = plan(criteria.values)
        // The criteria are kept with it, so that no other object can take their place in memory.
        plans[ObjectIdentifier(criteria)] = (criteria, steps)
        return steps
    }

    private func plan(_ values: [String: MetadataValue]) -> [Step] {
        guard rules.readsFallbackList, let list = values["fallback_list"] else {
            return lookUp(values)
        }
        let others = values.filter { $0.key != "fallback_list" }
        guard case .list(let changes) = list, !changes.isEmpty else { return lookUp(others) }
        return changes.flatMap { change -> [Step] in
            guard case .object(let changed) = change else { return lookUp(others) }
            return lookUp(others.merging(changed) { $1 })
        }
    }

    private func lookUp(_ values: [String: MetadataValue], _ origin: Origin = .match) -> [Step] {
        var asked = values
        if rules.allowsMoreKeys,
            let selector = rules.selectors.first(where: { $0.keys.isSubset(of: values.keys) })
        {
            asked = values.filter { selector.keys.contains($0.key) }
        }
        if let subset = subsets[asked] { return [Step(selection: subset, origin: origin)] }
        let selector = rules.selectors.first { $0.keys == Set(asked.keys) }
        guard let own = selector?.fallback else { return fallback() }
        switch own {
        case .refuse: return []
        case .anyEndpoint: return [Step(selection: any, origin: .fallback)]
        case .defaultSubset: return [Step(selection: byDefault, origin: .fallback)]
        // Always fewer than before.
        case .keys(let keys): return lookUp(asked.filter { keys.contains($0.key) }, .fallback)
        }
    }

    /// The cluster's own.
    private func fallback() -> [Step] {
        let first: HostSelection
        switch rules.fallback {
        case .refuse, .keys: return []
        case .anyEndpoint: first = any
        case .defaultSubset: first = byDefault
        }
        let step = Step(selection: first, origin: .fallback)
        return rules.panicsToAny ? [step, Step(selection: any, origin: .panic)] : [step]
    }

    // MARK: Looking

    /// Those that routes can name, by name.
    var named: [HostSelection] { subsets.values.sorted { $0.name < $1.name } }

    /// Whether every set that this host is in has another host for which the condition holds.
    func hasAnother(than host: Host, where condition: ([Host]) -> Bool) -> Bool {
        for subset in subsets.values
        where subset.hosts.contains(where: { $0 === host }) && !condition(subset.hosts) {
            return false
        }
        return condition(any.hosts)
    }
}

extension LoadBalancing.Subsets {
    /// The values by which an endpoint is found under this key.
    fileprivate func values(of host: Host, _ key: String) -> [MetadataValue] {
        guard let value = host.endpoint.metadata["envoy.lb", key] else { return [] }
        guard listsMatchAny, case .list(let elements) = value else { return [value] }
        return elements
    }

    /// The subsets that an endpoint is in: with these keys, and no other.
    fileprivate func combinations(
        of host: Host, _ keys: Set<String>
    ) -> [[String: MetadataValue]] {
        var result: [[String: MetadataValue]] = [[:]]
        for key in keys {
            let values = values(of: host, key)
            result = result.flatMap { made in values.map { made.merging([key: $0]) { $1 } } }
        }
        return result
    }
}
