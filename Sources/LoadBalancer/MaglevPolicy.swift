import MeshBase
import MeshConfig

/// Maglev: a table of a prime size in which every host claims places in an order of its own, by turns
/// and as often as its weight says. One look-up a request; a host that leaves moves few other keys.
///
/// The table is made when the first request comes: most sets of candidates see none.
struct MaglevPolicy: Policy {
    private let settings: LoadBalancing.Maglev
    private let localityWeightSum: UInt64?
    private var table: [Int32] = []
    private var bound: LoadBound?

    private struct Claim {
        var index: Int
        var weight: Double
        var offset: UInt64
        var skip: UInt64
        var next: UInt64 = 0
        var target = 0.0
    }

    init(_ settings: LoadBalancing.Maglev, localityWeightSum: UInt64?) {
        self.settings = settings
        self.localityWeightSum = localityWeightSum
    }

    mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        if table.isEmpty { build(candidates) }
        let key = key ?? random.next()
        let index = Int(table[Int(key % UInt64(table.count))])
        return bound?.choose(index, among: candidates, key: key) ?? index
    }

    private mutating func build(_ candidates: [Candidate]) {
        let weights = NormalizedWeights(candidates, localityWeightSum: localityWeightSum)
        bound = LoadBound(settings.hashing, weights)
        let size = UInt64(settings.tableSize)
        table = Array(repeating: weights.shares.isEmpty ? 0 : -1, count: settings.tableSize)
        if weights.shares.isEmpty { return }
        // By name: the order in which hosts are listed must not matter.
        var claims = weights.shares.map { entry in
            (name: hashText(of: candidates[entry.index].host, settings.hashing), entry: entry)
        }.sorted { Array($0.name.utf8).lexicographicallyPrecedes(Array($1.name.utf8)) }
            .map { name, entry in
                Claim(
                    index: entry.index, weight: entry.share,
                    offset: StableHash.xxHash64(name) % size,
                    skip: StableHash.xxHash64(name, seed: 1) % (size - 1) + 1)
            }
        var taken: UInt64 = 0
        var round = 1.0
        while taken < size {
            for number in claims.indices where taken < size {
                // The heaviest claims a place in each round, one of a third of its weight in each third.
                if round * claims[number].weight < claims[number].target { continue }
                claims[number].target += weights.largest
                var place: Int
                repeat {
                    let claim = claims[number]
                    place = Int((claim.offset + claim.skip * claim.next) % size)
                    claims[number].next += 1
                } while table[place] >= 0
                table[place] = Int32(claims[number].index)
                taken += 1
            }
            round += 1
        }
    }
}
