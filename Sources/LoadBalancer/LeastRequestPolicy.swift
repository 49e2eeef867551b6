public import MeshBase

/// The least busy of a few hosts drawn at random. Where weights differ, as in Envoy, turns are given by
/// weight ÷ (active requests + 1) instead.
public struct LeastRequestPolicy: Policy {
    private let choices: Int
    private var heap = DeadlineHeap([])

    public init(_ candidates: [Candidate], choices: Int, random: inout SeededRandom) {
        self.choices = max(1, choices)
        guard candidates.contains(where: { $0.weight != candidates[0].weight }) else { return }
        heap = DeadlineHeap(
            candidates.indices.map { (random.unit() / Double(candidates[$0].weight), $0) })
    }

    public mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        if !heap.isEmpty {
            let (deadline, index) = heap.first
            let busy = Double(candidates[index].host.activeRequests + 1)
            heap.postponeFirst(to: deadline + busy / Double(candidates[index].weight))
            return index
        }
        var best = random.below(candidates.count)
        for _ in 1..<max(2, choices) where choices > 1 {
            let other = random.below(candidates.count)
            if candidates[other].host.activeRequests < candidates[best].host.activeRequests {
                best = other
            }
        }
        return best
    }
}
