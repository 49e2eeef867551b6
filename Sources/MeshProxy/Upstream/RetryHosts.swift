import LoadBalancer
import MeshConfig

/// Which endpoint a retry goes to.
///
/// Without a word in the policy: one in another failure domain than those that failed, which is
/// `Balancer`'s own rule. What the policy says comes before it. *Predicates* pass by endpoints: the
/// pick is made again, as often as `host_selection_retry_max_attempts` says, and then the last one is
/// taken, as in Envoy. *Previous priorities* let so many attempts go where the balancer would send
/// any request, and then leave the priorities that those went to.
extension UpstreamCluster {
    /// - Parameter request: has been somewhere already.
    func pickAgain(
        _ request: PickContext, _ policy: RetryPolicy?, holding held: inout UpstreamCluster?
    ) -> Choice {
        guard let policy, policy.choosesHosts else { return pick(request, holding: &held) }
        let attempted = request.attempted
        var avoided = request
        let frequency = policy.previousPrioritiesUpdateFrequency
        if frequency > attempted.count {
            if let choice = pickAsUsual(request, policy, holding: &held) { return choice }
        } else if frequency > 0 {
            let counted = attempted.prefix(attempted.count / frequency * frequency)
            let left = Set(counted.map(priority))
            // When every priority was tried the round begins anew.
            let all = stack?.hosts ?? hosts
            if all.contains(where: { !left.contains(priority($0)) }) {
                avoided.attempted += all.filter { left.contains(priority($0)) }
            }
        }
        var attemptsLeft = policy.hostSelectionAttempts
        while true {
            let choice = pick(avoided, holding: &held)
            guard case .host(let pick) = choice, policy.omits(pick.host), attemptsLeft > 1 else {
                return choice
            }
            attemptsLeft -= 1
            release(pick, .neutral)
            avoided.attempted.append(pick.host)
        }
    }

    /// Of an aggregate: among the priorities of all its members.
    private func priority(_ host: Host) -> Int { stack?.priority(of: host) ?? host.priority }

    /// As for a first attempt, but not to where it was already; `nil` when that can't be.
    private func pickAsUsual(
        _ request: PickContext, _ policy: RetryPolicy, holding held: inout UpstreamCluster?
    ) -> Choice? {
        var first = request
        first.attempted = []
        for _ in 0..<policy.hostSelectionAttempts {
            guard case .host(let pick) = pick(first, holding: &held) else { return nil }
            let isFresh = !request.attempted.contains { $0 === pick.host }
            if isFresh, !policy.omits(pick.host) { return .host(pick) }
            release(pick, .neutral)
        }
        return nil
    }
}

extension RetryPolicy {
    fileprivate var choosesHosts: Bool {
        omitsCanaryHosts || !omittedHostMetadata.filters.isEmpty
            || previousPrioritiesUpdateFrequency > 0
    }

    fileprivate func omits(_ host: Host) -> Bool {
        let metadata = host.endpoint.metadata
        if omitsCanaryHosts, metadata["envoy.lb", "canary"] == .bool(true) { return true }
        if omittedHostMetadata.filters.isEmpty { return false }
        return omittedHostMetadata.filters.allSatisfy { filter, values in
            values.allSatisfy { metadata[filter, $0.key] == $0.value }
        }
    }
}
