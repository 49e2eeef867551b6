import Glibc
public import MeshBase

/// The least busy of a few hosts drawn at random, or of all. Where weights differ, as in Envoy, turns
/// are given by weight ÷ (active requests + 1)^bias instead.
public struct LeastRequestPolicy: Policy {
    private let choices: Int
    private let bias: Double
    private let scansAll: Bool
    private var heap = DeadlineHeap([])

    public init(
        _ candidates: [Candidate], choices: Int, bias: Double = 1, scansAll: Bool = false,
        random: inout SeededRandom
    ) {
        self.choices = max(1, choices)
        self.bias = bias
        self.scansAll = scansAll
        guard
            candidates.contains(where: {
                $0.weight != candidates[0].weight || $0.host.isStarting
            })
        else { return }
        heap = DeadlineHeap(
            candidates.indices.map { (random.unit() / Double(candidates[$0].weight), $0) })
    }

    public mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        if !heap.isEmpty {
            let (deadline, index) = heap.first
            let host = candidates[index].host
            var busy = Double(host.activeRequests + 1)
            if bias != 1 { busy = bias == 0 ? 1 : pow(busy, bias) }
            heap.postponeFirst(
                to: deadline + busy / (Double(candidates[index].weight) * host.startFactor))
            return index
        }
        if scansAll { return leastOfAll(candidates, &random) }
        var best = random.below(candidates.count)
        for _ in 1..<max(2, choices) where choices > 1 {
            let other = random.below(candidates.count)
            if candidates[other].host.activeRequests < candidates[best].host.activeRequests {
                best = other
            }
        }
        return best
    }

    /// Of equally busy ones any, with the same probability.
    private func leastOfAll(_ candidates: [Candidate], _ random: inout SeededRandom) -> Int {
        var best = 0
        var ties = 1
        for index in 1..<candidates.count {
            let active = candidates[index].host.activeRequests
            let least = candidates[best].host.activeRequests
            if active > least { continue }
            ties = active < least ? 1 : ties + 1
            if ties == 1 || random.below(ties) == 0 { best = index }
        }
        return best
    }
}
