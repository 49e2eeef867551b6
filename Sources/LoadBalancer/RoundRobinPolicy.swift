public import MeshBase

/// Each host in turn, as often as its weight says.
///
/// With unequal weights host *i* is due at (phase + k) / weight for k = 0, 1, 2…, each from a random
/// phase. So any run of picks as long as the sum of weights holds each host exactly `weight` times,
/// evenly spread, and deadlines are computed anew rather than added up, so nothing drifts.
public struct RoundRobinPolicy: Policy {
    private var position: Int
    private var heap = DeadlineHeap([])
    private var phases: [Double] = []
    private var turns: [Double] = []
    /// Weights grow while hosts start slowly, so deadlines must be added up.
    private var isStarting = false

    public init(_ candidates: [Candidate], random: inout SeededRandom) {
        position = candidates.isEmpty ? 0 : random.below(candidates.count)
        isStarting = candidates.contains { $0.host.isStarting }
        guard isStarting || candidates.contains(where: { $0.weight != candidates[0].weight })
        else { return }
        phases = candidates.map { _ in random.unit() }
        turns = Array(repeating: 0, count: candidates.count)
        heap = DeadlineHeap(
            candidates.indices.map { (phases[$0] / Double(candidates[$0].weight), $0) })
    }

    public mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        if heap.isEmpty {
            position = position + 1 < candidates.count ? position + 1 : 0
            return position
        }
        let (deadline, index) = heap.first
        if isStarting {
            let weight = Double(candidates[index].weight) * candidates[index].host.startFactor
            heap.postponeFirst(to: deadline + 1 / weight)
            return index
        }
        turns[index] += 1
        heap.postponeFirst(to: (phases[index] + turns[index]) / Double(candidates[index].weight))
        return index
    }
}
