import MeshBase
import MeshConfig

/// Round robin by weights that follow from what hosts report of their load (`LoadReport`):
/// requests per second ÷ (utilization + errors ÷ requests × penalty), so that all are used equally.
///
/// Weights are worked out once in `weight_update_period`, by `Balancer`, and stay between. A host
/// whose reports have not come for long enough, or no longer come, has the median of the others' weights;
/// where nobody's are known all have the same. What EDS says of weights does not count, as in Envoy.
struct ReportedLoadPolicy: Policy {
    /// The heaviest host's; finer than any share that a request could show.
    private static let scale = 65535.0

    private let weighed: [Candidate]
    private var turns: RoundRobinPolicy

    init(_ candidates: [Candidate], random: inout SeededRandom) {
        let known = candidates.compactMap(\.host.reportedLoad.inForce).sorted()
        let heaviest = known.last ?? 1
        let median = known.isEmpty ? 1 : (known[(known.count - 1) / 2] + known[known.count / 2]) / 2
        weighed = candidates.map {
            let weight = $0.host.reportedLoad.inForce ?? median
            return Candidate(
                host: $0.host,
                weight: UInt32(max(1, (weight / heaviest * ReportedLoadPolicy.scale).rounded())),
                localityWeight: $0.localityWeight)
        }
        turns = RoundRobinPolicy(weighed, random: &random)
    }

    mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        turns.choose(among: weighed, key: key, random: &random)
    }
}

/// What a host's reports have come to.
struct ReportedWeight {
    /// As of the last time that weights were worked out; `nil`: it has none of its own.
    private(set) var inForce: Double?
    private var weight = 0.0
    /// Since when reports have come; `nil`: none has, or the last is too old.
    private var since: Instant?
    private var last = Instant.zero

    mutating func record(_ weight: Double, now: Instant) {
        since = since ?? now
        self.weight = weight
        last = now
    }

    mutating func workOut(_ rule: LoadBalancing.ReportedLoad, now: Instant) {
        if now - last >= rule.expiration { since = nil }
        inForce = since.flatMap { now - $0 >= rule.blackout ? weight : nil }
    }
}

extension LoadBalancing.ReportedLoad {
    func observe(_ host: Host, _ report: LoadReport, now: Instant) {
        if let weight = weight(report) { host.reportedLoad.record(weight, now: now) }
    }

    /// - Returns: `nil` where the report says too little.
    func weight(_ report: LoadReport) -> Double? {
        let utilization = report.utilization(metricNames)
        let requests = report.requestsPerSecond
        guard utilization > 0, requests > 0 else { return nil }
        let errors = max(0, report.errorsPerSecond) / requests
        let weight = requests / (utilization + errors * errorPenalty)
        return weight.isFinite && weight > 0 ? weight : nil
    }
}
