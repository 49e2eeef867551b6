import LoadBalancer
import MeshBase
import MeshConfig

/// Who answers a simulated service: the endpoints of its cluster, or those of an aggregate's members.
final class SimulatedHosts {
    private struct Part {
        let cluster: Cluster
        let balancer: Balancer
    }
    struct Chosen {
        let pick: Pick
        /// Whose endpoint it is.
        let cluster: Cluster
        fileprivate let part: Int
    }
    enum Choice {
        case chosen(Chosen)
        case none(NoHost)
    }

    private let name: String
    private let parts: [Part]
    private let stack: BalancerStack?

    init(
        _ cluster: Cluster, among clusters: [Cluster], settings: Settings, paths: PathHealth,
        localCluster: LocalCluster?, random: inout SeededRandom
    ) {
        name = cluster.name
        let leaves =
            cluster.members == nil
            ? [cluster] : cluster.leaves { name in clusters.first { $0.name == name } }
        var parts: [Part] = []
        for leaf in leaves {
            let balancer = Balancer(
                configuration: leaf.loadBalancing, paths: paths, settings: settings,
                random: random.split())
            balancer.setLocalCluster(localCluster)
            parts.append(Part(cluster: leaf, balancer: balancer))
        }
        self.parts = parts
        if cluster.members == nil {
            stack = nil
        } else {
            let stack = BalancerStack(
                configuration: cluster.loadBalancing, settings: settings, random: random.split())
            stack.update(parts.map(\.balancer), configuration: cluster.loadBalancing)
            self.stack = stack
        }
    }

    func onFailback(_ note: @escaping (FailbackRamp.Change) -> Void) {
        if let stack {
            stack.failbackChanged = note
        } else {
            parts[0].balancer.failbackChanged = note
        }
    }

    /// Whether a scope that names a service may mean this one, or a member.
    func isMeant(_ scope: EndpointScope) -> Bool {
        scope.service == nil || scope.service == name
            || parts.contains { $0.cluster.name == scope.service }
    }

    func pick(_ request: PickContext) -> Choice {
        let (part, result) = stack?.pick(request) ?? (0, parts[0].balancer.pick(request))
        switch result {
        case .none(let reason): return .none(reason)
        case .host(let pick):
            return .chosen(Chosen(pick: pick, cluster: parts[part].cluster, part: part))
        }
    }

    /// Whether what is said of a scope is said of this host.
    func matches(_ scope: EndpointScope, _ chosen: Chosen) -> Bool {
        let host = chosen.pick.host
        return matches(scope, host.endpoint, host.address, host.locality, chosen.cluster)
    }

    private func matches(
        _ scope: EndpointScope, _ endpoint: Endpoint, _ address: SocketAddress,
        _ locality: Locality, _ cluster: Cluster
    ) -> Bool {
        [name, cluster.name].contains {
            scope.matches(service: $0, endpoint, at: address, in: locality)
        }
    }

    /// The place of a host's priority among all.
    func priority(of chosen: Chosen) -> Int {
        let own = chosen.pick.host.priority
        return stack?.priority(own, of: chosen.part) ?? own
    }

    func canLeaveDomain(of failed: [Host]) -> Bool {
        stack?.canLeaveDomain(of: failed) ?? parts[0].balancer.canLeaveDomain(of: failed)
    }

    func observed(_ chosen: Chosen, status: Int, took: Duration, now: Instant) {
        let balancer = parts[chosen.part].balancer
        if balancer.judgesAnswers {
            balancer.observed(chosen.pick.host, status: status, took: took, now: now)
        }
        if status >= 500, let stack, stack.isFailingBack {
            stack.ended(chosen.pick.host, of: chosen.part, failed: true)
        }
    }

    func release(_ chosen: Chosen, _ outcome: Balancer.Outcome, now: Instant) {
        if let stack, stack.isFailingBack {
            switch outcome {
            case .answered: stack.ended(chosen.pick.host, of: chosen.part, failed: false)
            case .failed: stack.ended(chosen.pick.host, of: chosen.part, failed: true)
            case .abandoned: break
            }
        }
        parts[chosen.part].balancer.release(chosen.pick, outcome, now: now)
    }

    /// Takes the endpoints that no scope of these takes away.
    func adoptEndpoints(without scopes: [EndpointScope]) {
        for part in parts {
            let left = part.cluster.endpoints.resolved().filter { resolved in
                !scopes.contains {
                    matches(
                        $0, resolved.endpoint, resolved.address, resolved.locality, part.cluster)
                }
            }
            let set = part.cluster.endpoints
            _ = part.balancer.update(
                endpoints: left, overprovisioningFactor: set.overprovisioningFactor,
                weighsPriorityHealth: set.weighsPriorityHealth)
        }
    }

    func adopt(_ evacuations: [Evacuation]) {
        for part in parts { part.balancer.setEvacuations(evacuations, service: part.cluster.name) }
    }
}
