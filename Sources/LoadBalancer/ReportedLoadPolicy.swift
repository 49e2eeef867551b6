import MeshBase
import MeshConfig

/// Round robin by weights that follow from what hosts report of their load (`LoadReport`):
/// requests per second ÷ (utilization + errors ÷ requests × penalty), so that all are used equally.
///
/// Weights are worked out once in `weight_update_period`, by `Balancer`, and stay between. A host
/// whose reports have not come for long enough, or no longer come, has the median of the weights in its priority,
/// healthy or not; where nobody's are known all have the same. What EDS says of weights does not
/// count, as in Envoy. Unlike there a weight is no whole number, so services with less than one request a second
/// are told apart, too.
struct ReportedLoadPolicy: Policy {
    /// The heaviest host's; finer than any share that a request could show.
    private static let scale = 65535.0

    private let weighed: [Candidate]
    private var turns: RoundRobinPolicy

    init(_ candidates: [Candidate], random: inout SeededRandom) {
        let heaviest = candidates.reduce(0) { max($0, $1.host.reportedLoad.inForce) }
        weighed = candidates.map {
            let share = $0.host.reportedLoad.inForce / heaviest
            return Candidate(
                host: $0.host,
                weight: UInt32(max(1, (share * ReportedLoadPolicy.scale).rounded())),
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
    /// As of the last time that weights were worked out: its own, or what goes for it.
    fileprivate(set) var inForce = 1.0
    private var weight = 0.0
    /// Since when reports have come; `nil`: none has, or the last is too old.
    private var since: Instant?
    private var last = Instant.zero

    mutating func record(_ weight: Double, now: Instant) {
        since = since ?? now
        self.weight = weight
        last = now
    }

    /// - Returns: its own weight, if it has one that counts.
    fileprivate mutating func workOut(
        _ rule: LoadBalancing.ReportedLoad, now: Instant
    ) -> Double? {
        if now - last > rule.expiration { since = nil }
        return since.flatMap { now - $0 >= rule.blackout ? weight : nil }
    }
}

extension LoadBalancing.ReportedLoad {
    /// Takes in what a host reports, where that says enough.
    func observe(_ host: Host, _ report: LoadReport, now: Instant) {
        if let weight = weight(report) { host.reportedLoad.record(weight, now: now) }
    }

    /// Envoy's formula. - Returns: `nil` where the report says too little.
    func weight(_ report: LoadReport) -> Double? {
        guard let requests = report.requestsPerSecond, requests > 0 else { return nil }
        let errors = max(0, report.errorsPerSecond ?? 0) / requests
        let utilization = report.utilization(metricNames) + errors * errorPenalty
        guard utilization > 0 else { return nil }
        let weight = min(requests / utilization, Double(UInt32.max))
        return weight > 0 ? weight : nil
    }

    /// Works out what the hosts of a cluster weigh now.
    func weigh(_ hosts: [Host], now: Instant) {
        for priority in Dictionary(grouping: hosts, by: \.priority).values {
            let own = priority.map { $0.reportedLoad.workOut(self, now: now) }
            let known = own.compactMap(\.self).sorted()
            let median =
                known.isEmpty ? 1 : (known[(known.count - 1) / 2] + known[known.count / 2]) / 2
            for (host, weight) in zip(priority, own) {
                host.reportedLoad.inForce = weight ?? median
            }
        }
    }
}
