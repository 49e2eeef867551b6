import Glibc
import MeshBase
import MeshConfig

/// Of two hosts drawn at random the one of the lower latency × (active requests + 1) × price ÷ weight.
///
/// **Latency** is a host's own: a slower answer counts at once, a faster one by and by, and what is
/// not measured again fades, so a host that was slow is asked again. A failure counts as a slow
/// answer, or a host that fails fast would draw all traffic to itself. A host of which nothing is
/// known is given one request at a time until it has answered.
///
/// **All in logarithms.** All latencies fade by the same factor, so which of two is lower does not
/// depend on the time: ln(latency) + (time measured ÷ decay time) is compared, and a pick asks no clock.
struct PeakEWMAPolicy: Policy {
    /// ln(price ÷ weight) for each candidate.
    private let offsets: [Double]

    init(_ settings: LoadBalancing.PeakEWMA, _ candidates: [Candidate], home: Locality) {
        offsets = candidates.map {
            log(settings.price(from: home, to: $0.host.locality) / Double($0.weight))
        }
    }

    mutating func choose(
        among candidates: [Candidate], key: UInt64?, random: inout SeededRandom
    ) -> Int {
        if candidates.count == 1 { return 0 }
        let first = random.below(candidates.count)
        var second = random.below(candidates.count - 1)
        if second >= first { second += 1 }
        return cost(candidates, second) < cost(candidates, first) ? second : first
    }

    private func cost(_ candidates: [Candidate], _ index: Int) -> Double {
        let host = candidates[index].host
        if !host.latency.isKnown {
            return host.activeRequests == 0 ? -.infinity : 1e12 + Double(host.activeRequests)
        }
        return host.latency.level + log(Double(host.activeRequests + 1)) + offsets[index]
    }
}

/// How long a host takes to answer: a mean with exponential decay that rises to each peak.
struct PeakLatency {
    private(set) var isKnown = false
    /// ln(nanoseconds) at the time 0, as if it had decayed ever since: comparable between hosts.
    private(set) var level = 0.0
    private var measured = Instant.zero

    mutating func record(_ latency: Duration, now: Instant, decayTime: Duration) {
        let decay = Double(decayTime.nanoseconds)
        let sample = Double(max(1, latency.nanoseconds))
        let age = Double(now.nanoseconds) / decay
        var value = sample
        if isKnown {
            let old = exp(level - age)
            if sample < old {
                let kept = exp(-Double((now - measured).nanoseconds) / decay)
                value = old + sample * (1 - kept)
            }
        }
        (isKnown, level, measured) = (true, log(value) + age, now)
    }

    /// What it counts as at this time.
    func value(now: Instant, decayTime: Duration) -> Duration {
        let age = Double(now.nanoseconds) / Double(decayTime.nanoseconds)
        return isKnown ? .nanoseconds(Int64(exp(level - age))) : .zero
    }
}

extension LoadBalancing.PeakEWMA {
    /// - Parameter failed: the answer was a server's error, or there was none.
    func observe(_ host: Host, took: Duration, failed: Bool, now: Instant) {
        host.latency.record(
            failed ? max(took, failurePenalty) : took, now: now, decayTime: decayTime)
    }
}
