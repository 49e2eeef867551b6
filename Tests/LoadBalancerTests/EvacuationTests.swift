import LoadBalancer
import MeshBase
import MeshConfig
import Testing

private func host(_ number: Int, region: String, priority: Int = 0) -> ResolvedEndpoint {
    let address = SocketAddress.ipv4(0x0A00_0000 + UInt32(number), port: 80)
    return ResolvedEndpoint(
        endpoint: Endpoint(address: address), address: address, priority: priority,
        locality: Locality(region: region, zone: "1"))
}

@Suite struct EvacuationTests {
    private let start = Instant(nanoseconds: 5_000_000_000)

    private func balancer(
        _ hosts: [ResolvedEndpoint], settings: Settings = Settings()
    ) -> Balancer {
        let balancer = Balancer(
            configuration: LoadBalancing(), paths: PathHealth(), settings: settings,
            random: SeededRandom(seed: 11))
        _ = balancer.update(endpoints: hosts)
        return balancer
    }

    /// How many of a thousand requests go to each region.
    private func shares(_ balancer: Balancer, _ now: Instant) -> [String: Int] {
        var shares: [String: Int] = [:]
        for _ in 0..<1000 {
            guard case .host(let pick) = balancer.pick(PickContext(now: now)) else {
                shares["none", default: 0] += 1
                continue
            }
            shares[pick.host.locality.region, default: 0] += 1
            balancer.release(pick, .answered, now: now)
            balancer.checkInvariants()
        }
        return shares
    }

    @Test("It goes at its rate, stops at its target, and comes back the same way")
    func percents() {
        var evacuation = Evacuation(
            scope: EndpointScope(region: "east"), target: 60, percentPerSecond: 20, since: start)
        #expect(evacuation.percent(at: start) == 0)
        #expect(evacuation.nextDeadline(after: start) == start + .milliseconds(50))
        #expect(evacuation.percent(at: start + .seconds(2)) == 40)
        #expect(evacuation.percent(at: start + .seconds(9)) == 60)
        #expect(evacuation.nextDeadline(after: start + .seconds(9)) == .distantFuture)
        evacuation = evacuation.undone(at: start + .seconds(2))
        #expect(evacuation.percent(at: start + .seconds(3)) == 20)
        #expect(!evacuation.isOver(at: start + .seconds(3)))
        #expect(evacuation.isOver(at: start + .seconds(4)))
    }

    @Test("Traffic leaves a region by percent, and comes back without a failback ramp")
    func leaves() {
        let balancer = balancer([
            host(1, region: "east"), host(2, region: "east"), host(3, region: "west", priority: 1),
        ])
        #expect(shares(balancer, start) == ["east": 1000])
        let evacuation = Evacuation(
            scope: EndpointScope(region: "east"), percentPerSecond: 10, since: start)
        balancer.setEvacuations([evacuation], service: "svc")
        let some = shares(balancer, start + .seconds(3))
        #expect((230...370).contains(some["west"] ?? 0) && some["none"] == nil)
        #expect(shares(balancer, start + .seconds(10)) == ["west": 1000])
        let undo = start + .seconds(60)
        balancer.setEvacuations([evacuation.undone(at: undo)], service: "svc")
        let half = shares(balancer, undo + .seconds(5))
        #expect((420...580).contains(half["east"] ?? 0))
        #expect(shares(balancer, undo + .seconds(10)) == ["east": 1000])
    }

    @Test("Where nothing else is usable nothing leaves")
    func yields() {
        let balancer = balancer([host(1, region: "east"), host(2, region: "west", priority: 1)])
        let evacuation = Evacuation(
            scope: EndpointScope(region: "east"), percentPerSecond: 100, since: start)
        balancer.setEvacuations([evacuation], service: "svc")
        let later = start + .seconds(5)
        #expect(shares(balancer, later) == ["west": 1000])
        for host in balancer.hosts where host.locality.region == "west" {
            balancer.suspect(host, TransportFailure(.connectRefused), now: later)
        }
        #expect(shares(balancer, later) == ["east": 1000])
    }

    @Test("A scope of another service, zone or address leaves an endpoint alone")
    func scopes() {
        let endpoint = host(1, region: "east")
        func matches(_ scope: EndpointScope) -> Bool {
            scope.matches(
                service: "svc", endpoint.endpoint, at: endpoint.address, in: endpoint.locality)
        }
        #expect(matches(EndpointScope()))
        #expect(matches(EndpointScope(service: "svc", region: "east", zone: "1")))
        #expect(!matches(EndpointScope(service: "other", region: "east")))
        #expect(!matches(EndpointScope(region: "east", zone: "2")))
        #expect(!matches(EndpointScope(cluster: "west")))
        #expect(matches(EndpointScope(address: endpoint.address)))
        #expect(!matches(EndpointScope(address: .ipv4(1, port: 80))))
    }

    @Test("A region that was out comes back by the ramp; one host of several comes at once")
    func failback() {
        let balancer = balancer([
            host(1, region: "east"), host(2, region: "east"), host(3, region: "west", priority: 1),
        ])
        var changes: [FailbackRamp.Change] = []
        balancer.failbackChanged = { changes.append($0) }
        #expect(shares(balancer, start) == ["east": 1000])
        let east = balancer.hosts.filter { $0.priority == 0 }
        balancer.suspect(east[0], TransportFailure(.connectRefused), now: start)
        _ = shares(balancer, start)
        balancer.succeeded(east[0])
        #expect(shares(balancer, start) == ["east": 1000] && changes.isEmpty)
        for host in east { balancer.suspect(host, TransportFailure(.connectRefused), now: start) }
        #expect(shares(balancer, start) == ["west": 1000])
        let back = start + .seconds(20)
        for host in east { balancer.succeeded(host) }
        #expect(shares(balancer, back) == ["west": 1000])
        #expect(changes.map(\.event) == [.out, .holding(.seconds(10))])
        let some = shares(balancer, back + .seconds(10 + 6))
        #expect((220...380).contains(some["east"] ?? 0) && balancer.isFailingBack)
        #expect(shares(balancer, back + .seconds(41)) == ["east": 1000])
        #expect(!balancer.isFailingBack)
    }

    @Test("A failed request takes a step of the ramp back, and answered ones speak against that")
    func stepsBack() {
        let balancer = balancer([
            host(1, region: "east"), host(2, region: "east"), host(3, region: "west", priority: 1),
        ])
        let east = balancer.hosts.prefix(2)
        _ = shares(balancer, start)
        for host in east { balancer.suspect(host, TransportFailure(.connectRefused), now: start) }
        _ = shares(balancer, start)
        for host in east { balancer.succeeded(host) }
        let back = start + .seconds(20)
        _ = balancer.pick(PickContext(now: back))
        let now = back + .seconds(10 + 9)
        /// Ends so many requests to the east.
        func end(_ count: Int, _ outcome: Balancer.Outcome) {
            var left = count
            while left > 0 {
                guard case .host(let pick) = balancer.pick(PickContext(now: now)) else { return }
                let isEast = pick.host.priority == 0
                balancer.release(pick, isEast ? outcome : .abandoned, now: now)
                if isEast { left -= 1 }
            }
        }
        func load() -> [Int] {
            _ = balancer.pick(PickContext(now: now))
            return balancer.load.healthyLoad
        }
        #expect(load() == [40, 60])
        end(19, .answered)
        end(1, .failed(TransportFailure(.reset)))
        // 5 %, which may be.
        #expect(load() == [40, 60])
        end(1, .failed(TransportFailure(.reset)))
        #expect(load() == [30, 70])
    }

    @Test("A survivor gets its limit and the rest is shed; without an outage nothing is")
    func spill() {
        var settings = Settings()
        settings.spill = SpillSettings(maxPerSecond: 100)
        let balancer = balancer(
            [host(1, region: "east"), host(2, region: "west", priority: 1)], settings: settings)
        #expect(shares(balancer, start) == ["east": 1000])
        balancer.suspect(balancer.hosts[0], TransportFailure(.connectRefused), now: start)
        #expect(shares(balancer, start) == ["west": 5, "none": 995])
        guard case .none(let reason) = balancer.pick(PickContext(now: start)) else {
            Issue.record("it was given a host")
            return
        }
        #expect(reason == .spillLimited)
    }
}
