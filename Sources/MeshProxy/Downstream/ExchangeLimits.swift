import LoadBalancer
import MeshBase
import MeshConfig
import Observability

/// What one exchange holds of its cluster's limits, and what it waits for.
struct ExchangePlaces {
    /// Of its route.
    var priority = RequestPriority.normal
    var holdsRequest = false
    /// Among those who wait for a connection, until the pool takes it over.
    var holdsPending = false
    var holdsRetry = false
    var waitsFor: BreakerCells.Resource?
    /// Of an aggregate: in whose limits it waits for places of requests and of those who wait for a connection, or
    /// has waited.
    var member: UpstreamCluster?
    /// That one, while it has a place among its requests which no pick has yet.
    var heldMember: UpstreamCluster?
}

/// An exchange among others: it is let in, may have to wait, and gives back what it had.
extension Exchange: PlaceWaiter {
    /// Takes a place among the cluster's requests, or waits for one, or replies that there is none.
    func admit(
        to cluster: UpstreamCluster, _ forward: CompiledForward
    ) -> ClusterLimits.Admission {
        places.priority = forward.action.highPriority ? .high : .normal
        places.waitsFor = .requests
        let admission = cluster.limits.admitRequest(places.priority, self)
        if admission == .waits { return admission }
        places.waitsFor = nil
        places.holdsRequest = admission == .granted
        if admission == .refused { reply(.overflow("too many requests to \(cluster.name)")) }
        return admission
    }

    /// As many wait for a connection as may: it gives its endpoint back and waits to be one of them, or replies.
    func queueForPending() {
        guard let cluster else { return }
        if let place = picked?.place, let member = host.flatMap({ cluster.stack?.owner(of: $0) }) {
            // It comes back for an endpoint of this member, and keeps its place among the requests.
            assert(place.resource == .requests)
            places.member = member
            places.heldMember = member
            picked?.place = nil
        }
        releaseHost(.neutral)
        queue(for: .pending, in: places.member ?? cluster, orSay: "too many pending requests")
    }

    /// The member that was chosen has as many requests as it may: it waits to be one of them, or replies.
    func queue(in member: UpstreamCluster) {
        places.member = member
        queue(for: .requests, in: member, orSay: "too many requests to \(member.name)")
    }

    private func queue(
        for resource: BreakerCells.Resource, in cluster: UpstreamCluster, orSay refusal: String
    ) {
        // That was no attempt yet.
        log.attemptCount -= 1
        places.waitsFor = resource
        if cluster.limits.queue(self, for: resource, places.priority) { return }
        places.waitsFor = nil
        leaveMember()
        giveUp(.overflow(refusal))
    }

    /// What it has waited for in one member of an aggregate is of no use in another.
    func settle(on choice: UpstreamCluster.Choice) {
        if case .host(let pick) = choice, pick.host.owner === places.member { return }
        leaveMember()
    }

    private func leaveMember() {
        guard let member = places.member else { return }
        places.member = nil
        if places.holdsPending {
            places.holdsPending = false
            member.limits.releasePending(places.priority)
        }
        if places.heldMember != nil {
            places.heldMember = nil
            member.limits.releaseRequest(places.priority)
        }
    }

    func takePendingPlace() -> UpstreamPool.PendingPlace {
        defer { places.holdsPending = false }
        return places.holdsPending ? .held : .wanted
    }

    /// Takes a place in the cluster's retry budget, once for all retries of this exchange.
    func admitRetry(to cluster: UpstreamCluster) -> Bool {
        if !places.holdsRetry {
            places.holdsRetry = cluster.limits.admitRetry(places.priority) {
                leavesDomain(in: cluster)
            }
        }
        return places.holdsRetry
    }

    /// Whether it has a place in the retry budget, or could have one now.
    func hasRoomForRetry(in cluster: UpstreamCluster) -> Bool {
        places.holdsRetry
            || cluster.limits.hasRoomForRetry(places.priority) { leavesDomain(in: cluster) }
    }

    private func leavesDomain(in cluster: UpstreamCluster) -> Bool {
        cluster.canLeaveDomain(of: host.map { attempted + [$0] } ?? attempted)
    }

    /// - Returns: whether it may wait until others give their places in the budget back.
    func waitForRetry(in cluster: UpstreamCluster) -> Bool {
        places.waitsFor = .retries
        if cluster.limits.waitForRetry(self, places.priority) { return true }
        places.waitsFor = nil
        return false
    }

    func placeFound(_ resource: BreakerCells.Resource) {
        places.waitsFor = nil
        switch resource {
        case .requests where places.member != nil: places.heldMember = places.member
        case .requests: places.holdsRequest = true
        case .pending: places.holdsPending = true
        case .retries: places.holdsRetry = true
        case .connections: break
        }
        attemptLater()
    }

    func waitedInVain(for resource: BreakerCells.Resource) {
        places.waitsFor = nil
        leaveMember()
        switch resource {
        case .requests: giveUp(.overflow("queue timeout, too many requests"))
        case .pending: giveUp(.overflow("queue timeout, too many pending requests"))
        case .retries: giveUp(.overflow("retry budget"))
        case .connections: break
        }
    }

    /// What it waits for is not needed any more.
    func stopWaiting() {
        if let resource = places.waitsFor {
            places.waitsFor = nil
            let place = resource == .retries ? cluster : places.member ?? cluster
            place?.limits.stopWaiting(self, for: resource, places.priority)
        }
        leaveMember()
    }

    /// The exchange is over.
    func releasePlaces(in cluster: UpstreamCluster) {
        stopWaiting()
        let held = places
        places = ExchangePlaces()
        if held.holdsPending { cluster.limits.releasePending(held.priority) }
        if held.holdsRetry { cluster.limits.releaseRetry(held.priority) }
        if held.holdsRequest { cluster.limits.releaseRequest(held.priority) }
    }
}
