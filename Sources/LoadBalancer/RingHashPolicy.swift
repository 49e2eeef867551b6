import MeshBase
import MeshConfig

/// Ketama: each host has places on a ring of 64-bit numbers, as many as its share; a request goes to
/// the next place at or after its key. When a host leaves, only its own keys move.
///
/// The ring is made when the first request comes: most sets of candidates see none.
struct RingHashPolicy: Policy {
    private let settings: LoadBalancing.RingHash
    private let localityWeightSum: UInt64?
    private var ring: [(hash: UInt64, index: Int32)] = []
    private var bound: LoadBound?

    init(_ settings: LoadBalancing.RingHash, localityWeightSum: UInt64?) {
        self.settings = settings
        self.localityWeightSum = localityWeightSum
    }

    mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        if ring.isEmpty { build(candidates) }
        let key = key ?? random.next()
        var low = 0
        var high = ring.count
        while low < high {
            let middle = (low + high) / 2
            if ring[middle].hash < key { low = middle + 1 } else { high = middle }
        }
        if ring.isEmpty { return random.below(candidates.count) }
        let index = Int(ring[low < ring.count ? low : 0].index)
        return bound?.choose(index, among: candidates, key: key) ?? index
    }

    private mutating func build(_ candidates: [Candidate]) {
        let weights = NormalizedWeights(candidates, localityWeightSum: localityWeightSum)
        bound = LoadBound(settings.hashing, weights)
        // As many places that the lightest host gets a whole number of them.
        let scale = min(
            (weights.smallest * Double(settings.minimumSize)).rounded(.up) / weights.smallest,
            Double(settings.maximumSize))
        ring.reserveCapacity(Int(scale.rounded(.up)))
        // Running sums, so that what is not whole is spread evenly.
        var made = 0.0
        var wanted = 0.0
        for (index, share) in weights.shares {
            let text = Array((hashText(of: candidates[index].host, settings.hashing) + "_").utf8)
            wanted += scale * share
            var number = 0
            while made < wanted {
                let bytes = text + Array("\(number)".utf8)
                let hash = bytes.withUnsafeBufferPointer {
                    settings.function == .xxHash
                        ? StableHash.xxHash64($0) : StableHash.murmurHash2($0)
                }
                ring.append((hash, Int32(index)))
                number += 1
                made += 1
            }
        }
        ring.sort { $0.hash < $1.hash }
    }
}
