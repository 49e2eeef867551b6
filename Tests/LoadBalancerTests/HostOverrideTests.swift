import LoadBalancer
import MeshBase
import MeshConfig
import Testing

@Suite struct HostOverrideTests {
    private func address(_ number: Int) -> SocketAddress {
        .ipv4(0x0A00_0000 + UInt32(number), port: 80)
    }

    private func balancer(
        _ statuses: [Endpoint.Status], allowed: Set<Endpoint.Status>? = nil
    ) -> Balancer {
        var configuration = LoadBalancing()
        if let allowed { configuration.overrideStatuses = allowed }
        let balancer = Balancer(
            configuration: configuration, paths: PathHealth(), random: SeededRandom(seed: 3))
        _ = balancer.update(
            endpoints: statuses.enumerated().map { index, status in
                ResolvedEndpoint(
                    endpoint: Endpoint(target: .address(address(index)), status: status),
                    address: address(index), priority: index == 0 ? 0 : 1)
            })
        return balancer
    }

    private func pick(
        _ balancer: Balancer, _ number: Int?, strict: Bool = false, now: Instant = .zero
    ) -> String {
        let override = HostOverride(address: number.map(address), isStrict: strict)
        switch balancer.pick(PickContext(now: now, override: override)) {
        case .host(let pick):
            balancer.release(pick, .abandoned, now: now)
            return "\(pick.host.address.host) \(pick.reason)"
        case .none(let reason): return reason.rawValue
        }
    }

    @Test("An endpoint that is asked for is given, whatever its priority")
    func given() {
        let balancer = balancer([.unknown, .healthy, .degraded])
        for number in 0..<3 {
            #expect(pick(balancer, number) == "10.0.0.\(number) healthy")
            #expect(pick(balancer, number, strict: true) == "10.0.0.\(number) override")
        }
    }

    @Test("One that is not there leaves the request to the policy, or to nobody")
    func gone() {
        let balancer = balancer([.healthy, .healthy])
        for number in [7, nil] {
            #expect(pick(balancer, number) == "10.0.0.0 healthy")
            #expect(pick(balancer, number, strict: true) == "override-host-gone")
        }
        _ = balancer.update(
            endpoints: [
                ResolvedEndpoint(endpoint: Endpoint(address: address(7)), address: address(7))
            ])
        #expect(pick(balancer, 7, strict: true) == "10.0.0.7 override")
        #expect(pick(balancer, 1, strict: true) == "override-host-gone")
    }

    @Test("Its health must be among those that the cluster allows")
    func statuses() {
        let statuses: [Endpoint.Status] = [.healthy, .draining, .unhealthy, .timeout]
        let usual = balancer(statuses)
        let lenient = balancer(statuses, allowed: [.draining, .timeout])
        for (number, isAllowed) in [(1, true), (2, false), (3, true)] {
            #expect(pick(usual, number) == "10.0.0.0 healthy")
            #expect(pick(usual, number, strict: true) == "override-host-unhealthy")
            let expected = isAllowed ? "10.0.0.\(number) override" : "override-host-unhealthy"
            #expect(pick(lenient, number, strict: true) == expected)
        }
        #expect(pick(lenient, 0, strict: true) == "override-host-unhealthy")
        let odd = balancer([.healthy, .degraded], allowed: [.degraded])
        #expect(pick(odd, 0, strict: true) == "override-host-unhealthy")
        #expect(pick(odd, 1, strict: true) == "10.0.0.1 override")
    }

    @Test("One that a drill has taken away is not there")
    func hidden() {
        let balancer = balancer([.healthy, .healthy])
        _ = balancer.hideBest(percent: 100)
        #expect(pick(balancer, 0, strict: true) == "override-host-gone")
        #expect(pick(balancer, 0) == "10.0.0.1 healthy")
    }

    @Test("An evacuation leads requests away from it, but for those that may have no other")
    func evacuated() {
        let balancer = balancer([.healthy, .healthy])
        let evacuation = Evacuation(
            scope: EndpointScope(address: address(1)), percentPerSecond: 50, since: .zero)
        balancer.setEvacuations([evacuation], service: "svc")
        let now = Instant.zero + .seconds(1)
        let given = (0..<100).count { _ in pick(balancer, 1, now: now) == "10.0.0.1 healthy" }
        #expect((25...75).contains(given))
        let strict = Set((0..<100).map { _ in pick(balancer, 1, strict: true, now: now) })
        #expect(strict == ["10.0.0.1 override"])
    }

    @Test("Of two endpoints with one address the first is meant")
    func twins() {
        let balancer = balancer([])
        _ = balancer.update(
            endpoints: ["a", "b"].map {
                ResolvedEndpoint(
                    endpoint: Endpoint(target: .address(address(1)), hostname: $0),
                    address: address(1))
            })
        let override = HostOverride(address: address(1))
        guard case .host(let pick) = balancer.pick(PickContext(now: .zero, override: override))
        else {
            Issue.record("nobody")
            return
        }
        #expect(pick.host.hostname == "a")
    }

    @Test("Who is ejected counts as unhealthy")
    func ejected() {
        let balancer = balancer([.healthy, .healthy])
        balancer.setVerdicts([
            (address: address(1), verdict: .ejected(until: .distantFuture, .outlier("5xx")))
        ])
        #expect(pick(balancer, 1) == "10.0.0.0 healthy")
        #expect(pick(balancer, 1, strict: true) == "override-host-unhealthy")
        balancer.setVerdicts([(address: address(1), verdict: .healthy)])
        #expect(pick(balancer, 1, strict: true) == "10.0.0.1 override")
    }

    @Test("A suspect is left alone until its hold is over; who may have no other takes it")
    func suspects() {
        let balancer = balancer([.healthy, .healthy])
        let second = balancer.hosts[1]
        balancer.suspect(second, TransportFailure(.connectRefused), now: .zero)
        #expect(pick(balancer, 1) == "10.0.0.0 healthy")
        #expect(pick(balancer, 1, strict: true) == "10.0.0.1 lastResort")
        #expect(pick(balancer, 1, now: .zero + .seconds(600)) == "10.0.0.1 trial")
    }
}
