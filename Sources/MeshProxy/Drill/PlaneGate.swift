import MeshBase
import MeshConfig

/// What a drill does to one control plane, where its streams and snapshots pass: `DiscoveryClient` asks, and
/// does what it says. The control plane itself notices nothing but a client that is gone.
struct PlaneGate {
    let drill: Drill
    /// Which of the control planes.
    let index: Int

    /// Streams to this one end at once, and new ones don't come about.
    func shuts(_ index: Int) -> Bool { drill.fault == .planeDown && index == self.index }

    /// What is taken for the control plane's word: as it came, or without the endpoints of a cluster.
    func passed(_ snapshot: Snapshot, from index: Int) -> Snapshot {
        guard drill.fault == .planeWrong, index == self.index,
            let place = snapshot.clusters.firstIndex(where: { $0.name == drill.cluster })
        else { return snapshot }
        var snapshot = snapshot
        var left = snapshot.clusters[place].endpoints.count
        left -= (left * drill.percent + 99) / 100
        var localities = snapshot.clusters[place].endpoints.localities
        // The best go first, as they would be missed most.
        for locality in localities.indices.sorted(by: {
            localities[$0].priority > localities[$1].priority
        }) {
            let kept = min(left, localities[locality].endpoints.count)
            localities[locality].endpoints.removeFirst(
                localities[locality].endpoints.count - kept)
            left -= kept
        }
        snapshot.clusters[place].endpoints.localities = localities.filter { !$0.endpoints.isEmpty }
        // Another content wants another number, and its own is taken back with the content.
        snapshot.clusters[place].endpoints.generation = .max - drill.number
        return snapshot
    }
}
