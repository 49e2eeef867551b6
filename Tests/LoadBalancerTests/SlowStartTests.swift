import MeshBase
import MeshConfig
import Testing

@testable import LoadBalancer

@Suite struct SlowStartTests {
    @Test(
        "The curve: max(minimum, (age ÷ window)^(1 ÷ aggression)), in whole milliseconds",
        arguments: [
            // Window of 10 s: aggression, minimum, age in milliseconds, share.
            (1, 0.1, 0, 0.1), (1, 0.1, 1000, 0.1), (1, 0.1, 2500, 0.25), (1, 0.1, 9999, 0.9999),
            (1, 0.1, 10000, nil), (1, 0, 0, 0.0001), (2, 0, 0, 0.01), (2, 0, 100, 0.1),
            (2, 0, 2500, 0.5), (2, 0.6, 2500, 0.6), (0.5, 0, 5000, 0.25), (0.5, 0.1, 1000, 0.1),
            (2, 0, 10001, nil),
        ] as [(Double, Double, Int, Double?)])
    func curve(aggression: Double, minimum: Double, age: Int, share: Double?) {
        let start = LoadBalancing.SlowStart(
            window: .seconds(10), aggression: aggression, minimum: minimum)
        let factor = start.factor(age: .milliseconds(age))
        guard let share, let factor else {
            #expect(share == nil && factor == nil)
            return
        }
        #expect(abs(factor - share) < 1e-12)
    }

    @Test(
        "A new host's share follows its age",
        arguments: [
            LoadBalancing.Policy.roundRobin, .leastRequest(choices: 2), .reportedLoad(.init()),
        ])
    func share(policy: LoadBalancing.Policy) {
        func endpoint(_ number: UInt32) -> ResolvedEndpoint {
            let address = SocketAddress.ipv4(0x0A00_0000 + number, port: 80)
            return ResolvedEndpoint(
                endpoint: Endpoint(target: .address(address)), address: address)
        }
        let balancer = Balancer(
            configuration: LoadBalancing(
                policy: policy, slowStart: .init(window: .seconds(10), minimum: 0.1)),
            paths: PathHealth(), random: SeededRandom(seed: 3))
        _ = balancer.update(endpoints: [endpoint(1)], now: .zero)
        let added = Instant.zero + .seconds(60)
        _ = balancer.update(endpoints: [endpoint(1), endpoint(2)], now: added)
        func picks(after milliseconds: Int) -> Int {
            let now = added + .milliseconds(milliseconds)
            return (0..<1100).count { _ in
                guard case .host(let pick) = balancer.pick(PickContext(now: now)) else {
                    return false
                }
                balancer.release(pick, .abandoned, now: now)
                return pick.host === balancer.hosts[1]
            }
        }
        // Of 1100: 0.1 of 1.1, 0.25 of 1.25, 0.75 of 1.75, and half.
        #expect(abs(picks(after: 1) - 100) <= 2)
        #expect(abs(picks(after: 2500) - 220) <= 4)
        #expect(abs(picks(after: 7500) - 471) <= 4)
        #expect(abs(picks(after: 10000) - 550) <= 60)
    }
}
