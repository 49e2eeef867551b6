import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

/// What makes a cluster an aggregate, in one loop: the clusters that have its endpoints, and who of
/// them gets a request.
///
/// A request, or a relayed connection, counts in the member that has it for as long as the attempt. Where none is free
/// a request waits in that member's line (`queue_timeout`), and is chosen for anew when it has its place: if it is
/// to go to another member by then, the place is given back.
///
/// An aggregate among the members is taken apart: its members stand in its place. One that is not there
/// is passed by until it comes. Connections, transport, requests under way and verdicts are the members' own;
/// the aggregate counts what a route sees of it (its requests, retries and their answers).
final class ClusterStack {
    private unowned let set: ClusterSet
    private(set) var clusters: [UpstreamCluster] = []
    /// Members with requests under way, which must outlive their removal.
    private var busy: [ObjectIdentifier: (cluster: UpstreamCluster, requests: Int)] = [:]
    private let balancers: BalancerStack

    init(_ config: Cluster, set: ClusterSet) {
        self.set = set
        balancers = BalancerStack(
            configuration: config.loadBalancing, settings: set.settings,
            random: set.loop.random.split())
        balancers.failbackChanged = { [unowned self] change in
            set.failback(config.name, change)
            // What is to get load again is connected to before it does.
            if case .holding = change.event { warm(change.priority) }
        }
        update(config)
    }

    /// Looks the members up anew: any may have come, gone or changed.
    func update(_ config: Cluster) {
        clusters = set.leaves(of: config)
        for cluster in clusters { cluster.joinAggregate() }
        balancers.update(clusters.map(\.balancer), configuration: config.loadBalancing)
    }

    var usesKeys: Bool { clusters.contains(where: \.usesKeys) }
    var hosts: [Host] { clusters.flatMap(\.hosts) }

    /// That of a member; of all clusters one has one at most.
    var drill: ClusterDrill? {
        for cluster in clusters { if let drill = cluster.drill { return drill } }
        return nil
    }

    func owner(of host: Host) -> UpstreamCluster? { host.owner as? UpstreamCluster }

    /// The place of a host's priority among those of all members.
    func priority(of host: Host) -> Int {
        guard let owner = owner(of: host), let index = index(of: owner) else { return .max }
        return balancers.priority(host.priority, of: index)
    }

    private func index(of cluster: UpstreamCluster) -> Int? {
        clusters.firstIndex { $0 === cluster }
    }

    /// Chooses a host, and takes a place in its member.
    /// - Parameter held: the member that a place was taken in already; the pick has it then.
    func pick(
        _ request: PickContext, holding held: inout UpstreamCluster?
    ) -> UpstreamCluster.Choice {
        let (member, result) = balancers.pick(request)
        switch result {
        case .none(let reason): return .none(reason.rawValue)
        case .host(var pick):
            let cluster = clusters[member]
            if held === cluster {
                held = nil
            } else if !cluster.limits.admitAttempt(request.place) {
                cluster.balancer.release(pick, .abandoned, now: request.now)
                return .full(cluster)
            }
            pick.place = request.place
            busy[ObjectIdentifier(cluster), default: (cluster, 0)].requests += 1
            return .host(pick)
        }
    }

    /// Gives a picked host and its place among the requests back to the member.
    func release(_ pick: Pick, _ outcome: UpstreamCluster.Outcome, to owner: UpstreamCluster) {
        if balancers.isFailingBack, let index = index(of: owner) {
            switch outcome {
            case .responded: balancers.ended(pick.host, of: index, failed: false)
            case .failed, .failedTogether: balancers.ended(pick.host, of: index, failed: true)
            case .timedOut, .neutral: break
            }
        }
        owner.release(pick, outcome)
        if let place = pick.place { owner.limits.releaseAttempt(place) }
        let id = ObjectIdentifier(owner)
        busy[id]?.requests -= 1
        if busy[id]?.requests == 0 { busy[id] = nil }
    }

    /// An answer that the ramp counts as a failure.
    func answeredBadly(_ host: Host, of owner: UpstreamCluster) {
        guard balancers.isFailingBack, let index = index(of: owner) else { return }
        balancers.answeredBadly(host, of: index)
    }

    func hasAlternative(to host: Host) -> Bool { balancers.hasAlternative(to: host) }

    func canLeaveDomain(of failed: [Host]) -> Bool { balancers.canLeaveDomain(of: failed) }

    private func warm(_ priority: Int) {
        for cluster in clusters {
            cluster.warm { self.priority(of: $0) == priority }
        }
    }

    func checkInvariants() { balancers.checkInvariants() }
}
