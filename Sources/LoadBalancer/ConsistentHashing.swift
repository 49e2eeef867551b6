import MeshBase
import MeshConfig

// What ring hash and Maglev have in common: the text that stands for a host, its share of the
// table, and the bound on its load. All of it as in Envoy, so that both choose the same host for
// the same key.

/// The text that a host is hashed by: `hash_key` in its metadata, else its hostname or address.
func hashText(of host: Host, _ hashing: LoadBalancing.ConsistentHashing) -> String {
    if case .string(let key)? = host.endpoint.metadata["envoy.lb", "hash_key"], !key.isEmpty {
        return key
    }
    return hashing.usesHostname ? host.hostname : host.address.description
}

/// How much of a table each host gets, as shares of 1.
struct NormalizedWeights {
    /// Hosts of localities without weight are left out.
    private(set) var shares: [(index: Int, share: Double)] = []
    private(set) var smallest = 1.0
    private(set) var largest = 0.0

    /// - Parameter localityWeightSum: of all localities of the priority, those without healthy hosts
    ///   too; `nil` when localities are not weighed.
    init(_ candidates: [Candidate], localityWeightSum: UInt64?) {
        guard let localityWeightSum, localityWeightSum > 0 else {
            add(candidates, 0..<candidates.count, localityShare: 1)
            return
        }
        var start = 0
        while start < candidates.count {
            let host = candidates[start].host
            var end = start + 1
            while end < candidates.count, candidates[end].host.locality == host.locality {
                end += 1
            }
            let weight = candidates[start].localityWeight
            if weight > 0 {
                add(
                    candidates, start..<end,
                    localityShare: Double(weight) / Double(localityWeightSum))
            }
            start = end
        }
    }

    private mutating func add(
        _ candidates: [Candidate], _ range: Range<Int>, localityShare: Double
    ) {
        let sum = candidates[range].reduce(UInt64(0)) { $0 + UInt64($1.weight) }
        for index in range {
            let share = Double(candidates[index].weight) * localityShare / Double(sum)
            shares.append((index, share))
            smallest = min(smallest, share)
            largest = max(largest, share)
        }
    }
}

/// Consistent hashing with bounded loads: a host that has more than `factor` percent of its share of
/// the requests in flight is passed by for others, in an order that the key alone decides.
struct LoadBound {
    private let factor: Int
    private let shares: [(index: Int, share: Double)]

    /// - Returns: `nil` where loads are not bounded.
    init?(_ hashing: LoadBalancing.ConsistentHashing, _ weights: NormalizedWeights) {
        guard hashing.balanceFactor > 0 else { return nil }
        factor = hashing.balanceFactor
        shares = weights.shares
    }

    func choose(_ chosen: Int, among candidates: [Candidate], key: UInt64) -> Int {
        let active = candidates.reduce(0) { $0 + $1.host.activeRequests }
        let slots = Double(((active + 1) * factor + 99) / 100)
        func overload(_ index: Int, _ share: Double) -> Double {
            Double(candidates[index].host.activeRequests) / max(1, (slots * share).rounded(.up))
        }
        let own = shares.first { $0.index == chosen }?.share ?? 1
        var least = (index: chosen, overload: overload(chosen, own))
        if least.overload <= 1 { return chosen }
        var order = Array(shares.indices)
        var random = SeededRandom(seed: key)
        for place in order.indices {
            order.swapAt(place, place + random.below(order.count - place))
            let (index, share) = shares[order[place]]
            if index == chosen { continue }
            let load = overload(index, share)
            if load <= 1 { return index }
            if load < least.overload { least = (index, load) }
        }
        return least.index
    }
}
