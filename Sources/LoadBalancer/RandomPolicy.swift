public import MeshBase

/// Any host, with the probability of its weight.
public struct RandomPolicy: Policy {
    /// Sums of weights up to and with each host; empty when all are equal.
    private var sums: [UInt64] = []

    public init(_ candidates: [Candidate]) {
        guard candidates.contains(where: { $0.weight != candidates[0].weight }) else { return }
        var sum: UInt64 = 0
        sums = candidates.map {
            sum += UInt64($0.weight)
            return sum
        }
    }

    public mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        guard let total = sums.last else { return random.below(candidates.count) }
        let draw = random.next().multipliedFullWidth(by: total).high
        var low = 0
        var high = sums.count - 1
        while low < high {
            let middle = (low + high) / 2
            if draw < sums[middle] { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
