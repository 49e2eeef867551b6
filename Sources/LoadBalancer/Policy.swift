public import MeshBase
import MeshConfig

/// One of the hosts that a policy may choose.
public struct Candidate {
    public let host: Host
    public let weight: UInt32
    /// Of its locality, where several localities share one table.
    let localityWeight: UInt32

    public init(host: Host, weight: UInt32, localityWeight: UInt32? = nil) {
        self.host = host
        self.weight = weight
        self.localityWeight = localityWeight ?? host.localityWeight ?? 0
    }
}

/// Chooses among hosts that are all eligible. One instance serves one set of candidates; when the
/// set changes a new one is made.
public protocol Policy {
    /// - Parameters:
    ///   - candidates: never empty, and the same in every call.
    ///   - key: what the request's hash policy came to.
    /// - Returns: an index into `candidates`.
    mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int
}

/// - Parameters:
///   - localityWeightSum: of the priority, where localities are weighed inside one table.
///   - home: our own locality.
func makePolicy(
    _ policy: LoadBalancing.Policy, _ candidates: [Candidate], localityWeightSum: UInt64? = nil,
    home: Locality = Locality(), _ random: inout SeededRandom
) -> any Policy {
    switch policy {
    case .roundRobin: RoundRobinPolicy(candidates, random: &random)
    case .leastRequest(let choices, let bias, let scansAll):
        LeastRequestPolicy(
            candidates, choices: choices, bias: bias, scansAll: scansAll, random: &random)
    case .random: RandomPolicy(candidates)
    case .ringHash(let settings):
        RingHashPolicy(settings, localityWeightSum: localityWeightSum)
    case .maglev(let settings):
        MaglevPolicy(settings, localityWeightSum: localityWeightSum)
    case .peakEWMA(let settings): PeakEWMAPolicy(settings, candidates, home: home)
    case .reportedLoad: ReportedLoadPolicy(candidates, random: &random)
    }
}

/// Earliest deadline first: who is due comes out and goes back in later, the sooner the heavier.
struct DeadlineHeap {
    private var heap: [(deadline: Double, index: Int)] = []

    var isEmpty: Bool { heap.isEmpty }

    init(_ deadlines: [(deadline: Double, index: Int)]) {
        heap = deadlines.sorted { ($0.deadline, $0.index) < ($1.deadline, $1.index) }
    }

    /// The index that is due, and when.
    var first: (deadline: Double, index: Int) { heap[0] }

    /// Puts the first back with a later deadline.
    mutating func postponeFirst(to deadline: Double) {
        let entry = (deadline: deadline, index: heap[0].index)
        var place = 0
        while true {
            var child = 2 * place + 1
            if child >= heap.count { break }
            if child + 1 < heap.count, precedes(heap[child + 1], heap[child]) { child += 1 }
            if !precedes(heap[child], entry) { break }
            heap[place] = heap[child]
            place = child
        }
        heap[place] = entry
    }

    private func precedes(
        _ left: (deadline: Double, index: Int), _ right: (deadline: Double, index: Int)
    ) -> Bool {
        left.deadline < right.deadline
            || (left.deadline == right.deadline && left.index < right.index)
    }
}
