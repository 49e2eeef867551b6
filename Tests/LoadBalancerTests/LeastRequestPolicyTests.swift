import Glibc
import MeshBase
import MeshConfig
import Testing

@testable import LoadBalancer

@Suite struct LeastRequestPolicyTests {
    /// Candidates that have these requests in flight, and keep them whatever is chosen.
    private func candidates(active: [Int], weights: [UInt32]) -> [Candidate] {
        let paths = PathHealth()
        return active.indices.map { number in
            let address = SocketAddress.ipv4(0x0A00_0001 + UInt32(number), port: 80)
            let host = Host(
                ResolvedEndpoint(endpoint: Endpoint(target: .address(address)), address: address),
                path: paths.path(to: address))
            host.activeRequests = active[number]
            return Candidate(host: host, weight: weights[number])
        }
    }

    private func counts(
        _ candidates: [Candidate], _ policy: LoadBalancing.Policy, draws: Int = 20000
    ) -> [Int] {
        var random = SeededRandom(seed: 5)
        var policy = makePolicy(policy, candidates, &random)
        var counts = Array(repeating: 0, count: candidates.count)
        for _ in 0..<draws {
            counts[policy.choose(among: candidates, key: nil, random: &random)] += 1
        }
        return counts
    }

    /// Within four standard deviations.
    private func isDrawn(_ count: Int, from draws: Int, by share: Double) -> Bool {
        let expected = Double(draws) * share
        return abs(Double(count) - expected) <= 4 * (expected * (1 - share)).squareRoot()
    }

    @Test("The best of k draws with replacement", arguments: [2, 3, 5])
    func choices(number: Int) {
        let hosts = 8
        let candidates = candidates(
            active: Array(0..<hosts), weights: Array(repeating: 1, count: hosts))
        let counts = counts(candidates, .leastRequest(choices: number))
        func none(better rank: Int) -> Double {
            pow(Double(hosts - rank) / Double(hosts), Double(number))
        }
        for rank in 0..<hosts {
            let share = none(better: rank) - none(better: rank + 1)
            #expect(isDrawn(counts[rank], from: 20000, by: share), "\(rank): \(counts)")
        }
    }

    @Test("A full scan finds the least of all, and equally busy ones by the same chance")
    func fullScan() {
        let candidates = candidates(active: [2, 1, 3, 1, 1, 2], weights: [1, 1, 1, 1, 1, 1])
        let counts = counts(candidates, .leastRequest(choices: 2, scansAll: true))
        #expect(counts[0] + counts[2] + counts[5] == 0)
        for index in [1, 3, 4] { #expect(isDrawn(counts[index], from: 20000, by: 1.0 / 3)) }
    }

    @Test(
        "With unequal weights a share is weight ÷ (active + 1)^bias",
        arguments: [
            (0, [1, 2, 4]), (0.5, [1, 1, 2.0.squareRoot() * 2]), (1, [1, 0.5, 2]),
            (2, [1, 0.125, 1]),
        ] as [(Double, [Double])])
    func bias(bias: Double, expected: [Double]) {
        let candidates = candidates(active: [0, 3, 1], weights: [1, 2, 4])
        let counts = counts(candidates, .leastRequest(choices: 2, bias: bias))
        let sum = expected.reduce(0, +)
        for index in expected.indices {
            let share = 20000 * expected[index] / sum
            #expect(abs(Double(counts[index]) - share) <= 2, "\(counts)")
        }
    }

    @Test("Weighted shares: exact by turns, within chance by draw")
    func weights() {
        let weights: [UInt32] = [1, 2, 3, 5, 8, 13]
        let idle = candidates(active: [0, 0, 0, 0, 0, 0], weights: weights)
        for policy in [LoadBalancing.Policy.roundRobin, .leastRequest(choices: 2), .random] {
            let counts = counts(idle, policy)
            for (index, weight) in weights.enumerated() {
                let share = Double(weight) / 32
                if policy == .random {
                    #expect(isDrawn(counts[index], from: 20000, by: share), "\(counts)")
                } else {
                    #expect(abs(Double(counts[index]) - 20000 * share) <= 2, "\(counts)")
                }
            }
        }
    }

    @Test("Of a thousand requests that stay no host gets far more than its tenth by two choices")
    func depth() {
        func deepest(choices: Int) -> Int {
            let candidates = candidates(
                active: Array(repeating: 0, count: 100), weights: Array(repeating: 1, count: 100))
            var random = SeededRandom(seed: 5)
            var policy = LeastRequestPolicy(candidates, choices: choices, random: &random)
            for _ in 0..<1000 {
                let index = policy.choose(among: candidates, key: nil, random: &random)
                candidates[index].host.activeRequests += 1
            }
            return candidates.map(\.host.activeRequests).max() ?? 0
        }
        #expect(deepest(choices: 1) >= 16)
        #expect((11...13).contains(deepest(choices: 2)))
        #expect((11...12).contains(deepest(choices: 5)))
    }
}
