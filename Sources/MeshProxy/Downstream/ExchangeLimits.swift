import LoadBalancer
import MeshBase
import MeshConfig

/// What one exchange holds of its cluster's limits, and what it waits for.
struct ExchangePlaces {
    /// Of its route.
    var priority = RequestPriority.normal
    var holdsRequest = false
    var holdsRetry = false
    var waitsFor: BreakerCells.Resource?
}

/// An exchange among others: it is let in, may have to wait, and gives back what it had.
extension Exchange: PlaceWaiter {
    /// Takes a place among the cluster's requests, or replies.
    func admit(to cluster: UpstreamCluster, _ forward: CompiledForward) -> Bool {
        places.priority = forward.action.highPriority ? .high : .normal
        places.holdsRequest = cluster.limits.admitRequest(places.priority)
        if !places.holdsRequest { reply(.overflow("too many requests to \(cluster.name)")) }
        return places.holdsRequest
    }

    /// Takes a place in the cluster's retry budget, once for all retries of this exchange.
    func admitRetry(to cluster: UpstreamCluster) -> Bool {
        if !places.holdsRetry { places.holdsRetry = cluster.limits.admitRetry(places.priority) }
        return places.holdsRetry
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
        if resource == .retries {
            places.holdsRetry = true
            cluster?.metrics.retried()
        }
        attemptLater()
    }

    func waitedInVain(for resource: BreakerCells.Resource) {
        places.waitsFor = nil
        reply(.overflow("retry budget"))
    }

    /// The exchange is over.
    func releasePlaces(in cluster: UpstreamCluster) {
        let held = places
        places = ExchangePlaces()
        if let resource = held.waitsFor {
            cluster.limits.stopWaiting(self, for: resource, held.priority)
        }
        if held.holdsRetry { cluster.limits.releaseRetry(held.priority) }
        if held.holdsRequest { cluster.limits.releaseRequest(held.priority) }
    }
}
