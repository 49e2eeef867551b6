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
    /// - Parameter attempted: never empty.
    func pickAgain(
        attempted: [Host], key: UInt64?, subset: SubsetCriteria?, policy: RetryPolicy?
    ) -> Choice {
        guard let policy, policy.choosesHosts else {
            return pick(attempted: attempted, key: key, subset: subset)
        }
        var avoided = attempted
        let frequency = policy.previousPrioritiesUpdateFrequency
        if frequency > attempted.count {
            if let choice = pickAsUsual(attempted: attempted, key: key, subset, policy) {
                return choice
            }
        } else if frequency > 0 {
            let counted = attempted.prefix(attempted.count / frequency * frequency)
            let left = Set(counted.map(\.priority))
            // When every priority was tried the round begins anew.
            if hosts.contains(where: { !left.contains($0.priority) }) {
                avoided += hosts.filter { left.contains($0.priority) }
            }
        }
        var attemptsLeft = policy.hostSelectionAttempts
        while true {
            let choice = pick(attempted: avoided, key: key, subset: subset)
            guard case .host(let pick) = choice, policy.omits(pick.host), attemptsLeft > 1 else {
                return choice
            }
            attemptsLeft -= 1
            release(pick, .neutral)
            avoided.append(pick.host)
        }
    }

    /// As for a first attempt, but not to where it was already; `nil` when that can't be.
    private func pickAsUsual(
        attempted: [Host], key: UInt64?, _ subset: SubsetCriteria?, _ policy: RetryPolicy
    ) -> Choice? {
        for _ in 0..<policy.hostSelectionAttempts {
            guard case .host(let pick) = pick(attempted: [], key: key, subset: subset) else {
                return nil
            }
            let isFresh = !attempted.contains { $0 === pick.host }
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
