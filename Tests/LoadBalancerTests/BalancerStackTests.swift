import LoadBalancer
import MeshBase
import MeshConfig
import Testing

private func address(_ member: Int, _ number: Int) -> SocketAddress {
    .ipv4(0x0A00_0000 + UInt32(member) << 8 + UInt32(number), port: 80)
}

/// A stack of balancers with virtual time.
private struct Bench {
    let members: [Balancer]
    let stack: BalancerStack
    var now = Instant(nanoseconds: 1_000_000_000)

    /// - Parameter counts: for each member its hosts by priority.
    init(
        _ counts: [[Int]], factors: [UInt32?] = [], panicThreshold: Double = 50,
        settings: Settings = Settings()
    ) {
        let paths = PathHealth()
        members = counts.enumerated().map { member, levels in
            let balancer = Balancer(
                configuration: LoadBalancing(panicThreshold: panicThreshold), paths: paths,
                settings: settings, random: SeededRandom(seed: UInt64(member)))
            var number = 0
            let endpoints = levels.enumerated().flatMap { priority, count in
                (0..<count).map { _ in
                    number += 1
                    let place = address(member, number)
                    return ResolvedEndpoint(
                        endpoint: Endpoint(address: place), address: place, priority: priority,
                        locality: Locality(region: "r\(member)"))
                }
            }
            _ = balancer.update(
                endpoints: endpoints,
                overprovisioningFactor: member < factors.count ? factors[member] : nil)
            return balancer
        }
        stack = BalancerStack(
            configuration: LoadBalancing(panicThreshold: panicThreshold), settings: settings,
            random: SeededRandom(seed: 9))
        stack.update(members, configuration: LoadBalancing(panicThreshold: panicThreshold))
    }

    func pick(
        attempted: [Host] = [], override: HostOverride? = nil
    ) -> (member: Int, pick: Pick)? {
        let (member, result) = stack.pick(
            PickContext(now: now, attempted: attempted, override: override))
        stack.checkInvariants()
        guard case .host(let pick) = result else { return nil }
        return (member, pick)
    }

    func release(_ chosen: (member: Int, pick: Pick), _ outcome: Balancer.Outcome = .answered) {
        members[chosen.member].release(chosen.pick, outcome, now: now)
    }

    /// How many of a thousand requests each member gets.
    func shares() -> [Int] {
        var shares = members.map { _ in 0 }
        for _ in 0..<1000 {
            guard let chosen = pick() else { continue }
            shares[chosen.member] += 1
            release(chosen)
        }
        return shares
    }

    func fail(_ member: Int, _ count: Int) {
        members[member].setVerdicts(
            members[member].hosts.prefix(count).map {
                (address: $0.address, verdict: Verdict.failedProbe)
            }, now: now)
    }

    /// What the control plane says of a member's hosts.
    func setHealth(_ member: Int, _ health: [Endpoint.Status]) {
        let balancer = members[member]
        let endpoints = zip(balancer.hosts, health).map { host, health in
            var endpoint = host.endpoint
            endpoint.status = health
            return ResolvedEndpoint(
                endpoint: endpoint, address: host.address, priority: host.priority,
                locality: host.locality)
        }
        _ = balancer.update(endpoints: endpoints)
    }

    func heal(_ member: Int) {
        members[member].setVerdicts(
            members[member].hosts.map { (address: $0.address, verdict: Verdict.healthy) }, now: now)
    }
}

@Suite struct BalancerStackTests {
    private var noRamp: Settings {
        var settings = Settings()
        settings.failback.isEnabled = false
        return settings
    }

    @Test("Priorities of all members make one list, with the formulas over all of them")
    func stacked() {
        let bench = Bench([[4, 2], [5]])
        _ = bench.pick()
        #expect(bench.stack.load.healthyLoad == [100, 0, 0])
        bench.fail(0, 2)
        _ = bench.pick()
        // 140 × 2 ÷ 4 = 70
        #expect(bench.stack.load.healthyLoad == [70, 30, 0])
        bench.fail(0, 6)
        _ = bench.pick()
        #expect(bench.stack.load.healthyLoad == [0, 0, 100])
        #expect(bench.shares() == [0, 1000])
        #expect(bench.stack.priority(0, of: 1) == 2)
    }

    @Test("Degraded hosts of all members get what the healthy ones can't take, to the request")
    func degraded() {
        let bench = Bench([[4], [4]])
        for member in [0, 1] {
            bench.setHealth(member, [.healthy, .degraded, .unhealthy, .unhealthy])
        }
        var counts: [String: Int] = [:]
        for key: UInt64 in 0..<100 {
            let (member, result) = bench.stack.pick(PickContext(now: bench.now, key: key))
            guard case .host(let pick) = result else { continue }
            counts["\(member) \(pick.reason)", default: 0] += 1
        }
        // 140 ÷ 4 = 35 for the healthy of each and the degraded of each, until there are 100.
        #expect(counts == ["0 healthy": 35, "1 healthy": 35, "0 degraded": 30])
    }

    @Test("Each member has its own overprovisioning")
    func factors() {
        let bench = Bench([[10], [10], [10]], factors: [100, 200])
        bench.fail(0, 5)
        bench.fail(1, 8)
        _ = bench.pick()
        #expect(bench.stack.load.healthyLoad == [50, 40, 10])
    }

    @Test(
        "While some member can take the traffic nobody panics; when none can, all do by their hosts"
    )
    func panic() {
        let bench = Bench([[2], [6]])
        bench.fail(0, 2)
        #expect(bench.shares() == [0, 1000])
        bench.fail(1, 6)
        let shares = bench.shares()
        #expect(bench.stack.load.isPanicking && bench.stack.load.healthyLoad == [25, 75])
        #expect((200...300).contains(shares[0]) && shares[0] + shares[1] == 1000)
        let calm = Bench([[2], [6]], panicThreshold: 0)
        calm.fail(0, 2)
        calm.fail(1, 6)
        #expect(calm.pick() == nil)
        // What the configuration says anew counts at once.
        bench.stack.update(bench.members, configuration: LoadBalancing(panicThreshold: 0))
        #expect(bench.pick() == nil)
    }

    @Test("Whether there is somewhere else to go is asked of all members")
    func alternatives() {
        let bench = Bench([[1], [1]])
        let hosts = bench.members.map { $0.hosts[0] }
        #expect(hosts.allSatisfy { bench.stack.hasAlternative(to: $0) })
        #expect(bench.stack.canLeaveDomain(of: [hosts[0]]))
        #expect(!bench.stack.canLeaveDomain(of: hosts))
        bench.fail(1, 1)
        #expect(!bench.stack.hasAlternative(to: hosts[0]))
        #expect(!bench.stack.canLeaveDomain(of: [hosts[0]]))
    }

    @Test("A retry leaves the failure domain, over the members' bounds")
    func retries() throws {
        let bench = Bench([[3], [3]])
        let first = try #require(bench.pick())
        let second = try #require(bench.pick(attempted: [first.pick.host]))
        #expect(first.member == 0 && second.member == 1 && second.pick.reason == .elsewhere)
        bench.fail(1, 3)
        let third = try #require(bench.pick(attempted: [first.pick.host]))
        #expect(third.member == 0 && third.pick.host !== first.pick.host)
        // Of regions that are equally far the earlier member's.
        let equal = Bench([[1], [2], [2]])
        let tried = equal.members[0].hosts
        #expect((0..<20).allSatisfy { _ in equal.pick(attempted: tried)?.member == 1 })
    }

    @Test("A suspect of an earlier member is tried when its hold is over, once")
    func trials() throws {
        var bench = Bench([[1], [1]], settings: noRamp)
        let chosen = try #require(bench.pick())
        bench.release(chosen, .failed(TransportFailure(.connectRefused)))
        #expect(bench.shares() == [0, 1000])
        bench.now = bench.now + .seconds(2)
        let trial = try #require(bench.pick())
        #expect(trial.member == 0 && trial.pick.reason == .trial)
        let other = try #require(bench.pick())
        #expect(other.member == 1)
        bench.release(trial)
        bench.release(other)
        #expect(bench.shares() == [1000, 0])
    }

    @Test("A retry tries nobody, and a request nobody of a worse priority than its own")
    func noTrials() {
        var bench = Bench([[1], [1, 1]], settings: noRamp)
        func refuse(_ host: Host) {
            for member in bench.members where member.hosts.contains(where: { $0 === host }) {
                member.suspect(host, TransportFailure(.connectRefused), now: bench.now)
            }
        }
        let (first, second) = (bench.members[0].hosts[0], bench.members[1].hosts[0])
        refuse(first)
        refuse(bench.members[1].hosts[1])
        bench.now = bench.now + .seconds(2)
        #expect(bench.pick(attempted: [second])?.pick.host === second)
        #expect(bench.pick()?.pick.host === first)
        #expect(bench.pick()?.pick.host === second)
    }

    @Test("When all are suspect one of them is better than none")
    func lastResort() throws {
        let bench = Bench([[0], [1], [1]])
        for _ in 0..<2 {
            let chosen = try #require(bench.pick())
            bench.release(chosen, .failed(TransportFailure(.connectRefused)))
        }
        let chosen = try #require(bench.pick())
        #expect(chosen.pick.reason == .lastResort)
        #expect(Bench([[], []]).pick() == nil)
        let none = Bench([[0], [1], [1]], panicThreshold: 0)
        none.setHealth(1, [.draining])
        none.setHealth(2, [.unhealthy])
        guard case .none(.allDraining) = none.stack.pick(PickContext(now: none.now)).result else {
            Issue.record("not the first refusal")
            return
        }
    }

    @Test("A member that was wholly out comes back by the ramp")
    func failback() {
        var bench = Bench([[2], [2]])
        var changes: [FailbackRamp.Change] = []
        bench.stack.failbackChanged = { changes.append($0) }
        #expect(bench.shares() == [1000, 0])
        bench.fail(0, 2)
        #expect(bench.shares() == [0, 1000])
        bench.now = bench.now + .seconds(30)
        bench.heal(0)
        #expect(bench.shares() == [0, 1000])
        #expect(bench.stack.isFailingBack)
        var steps: [Int] = []
        for _ in 0..<600 {
            bench.now = bench.now + .seconds(1)
            _ = bench.shares()
            let share = bench.stack.load.healthyLoad[0]
            if steps.last != share { steps.append(share) }
        }
        #expect(steps.count > 5 && steps.last == 100 && steps == steps.sorted())
        #expect(!bench.stack.isFailingBack)
        #expect(changes.first == FailbackRamp.Change(priority: 0, event: .out))
        #expect(changes.last == FailbackRamp.Change(priority: 0, event: .finished))
    }

    /// A bench whose second member has been away for 20 s and has 40 % of its share; the first has no hosts.
    private var returning: Bench {
        var bench = Bench([[0], [2], [2]])
        _ = bench.pick()
        bench.fail(1, 2)
        _ = bench.pick()
        bench.now = bench.now + .seconds(20)
        bench.heal(1)
        _ = bench.pick()
        bench.now = bench.now + .seconds(19)
        _ = bench.pick()
        return bench
    }

    @Test("Failures of a member that comes back take a step back at once, and its steps their time")
    func stepsBack() {
        for isEnd in [true, false] {
            var bench = returning
            func share() -> Int {
                _ = bench.pick()
                return bench.stack.load.healthyLoad[1]
            }
            #expect(bench.stack.priority(0, of: 1) == 1 && share() == 40)
            bench.now = bench.now + .seconds(1)
            let host = bench.members[1].hosts[0]
            bench.stack.ended(host, of: 1, failed: false)
            #expect(share() == 40)
            if isEnd {
                bench.stack.ended(host, of: 1, failed: true)
            } else {
                bench.stack.answeredBadly(host, of: 1)
            }
            #expect(share() == 30)
            bench.now = bench.now + .milliseconds(2999)
            #expect(share() == 30)
            bench.now = bench.now + .milliseconds(1)
            #expect(share() == 40)
        }
    }

    @Test("A member of which all are degraded is not out, and comes back without a ramp")
    func degradedIsNotOut() {
        var bench = Bench([[2], [2]])
        var changes: [FailbackRamp.Change] = []
        bench.stack.failbackChanged = { changes.append($0) }
        var loads: [[Int]] = []
        for health in [Endpoint.Status.healthy, .degraded, .healthy] {
            bench.setHealth(0, [health, health])
            _ = bench.pick()
            loads.append(bench.stack.load.healthyLoad)
            bench.now = bench.now + .seconds(20)
        }
        #expect(loads == [[100, 0], [0, 100], [100, 0]] && changes == [])
    }

    @Test("Other members in other places: of their past nothing is known")
    func reordered() {
        let bench = Bench([[2], [2]])
        _ = bench.pick()
        bench.fail(0, 2)
        _ = bench.pick()
        bench.stack.update(bench.members.reversed(), configuration: LoadBalancing())
        _ = bench.pick()
        #expect(bench.stack.load.healthyLoad == [100, 0] && !bench.stack.isFailingBack)
    }

    @Test("Who asks for an endpoint by its address gets it from whichever member has it")
    func overrides() throws {
        let bench = Bench([[2], [2]])
        let given = try #require(bench.pick(override: HostOverride(address: address(1, 2))))
        #expect(given.member == 1 && given.pick.host.address == address(1, 2))
        let other = bench.pick(override: HostOverride(address: address(3, 1)))
        #expect(other?.member == 0)
        #expect(bench.pick(override: HostOverride(address: address(3, 1), isStrict: true)) == nil)
        let strict = bench.pick(override: HostOverride(address: address(1, 2), isStrict: true))
        #expect(strict?.member == 1)
    }

    @Test("Members come and go")
    func members() {
        let bench = Bench([[1], [1], [1]], settings: noRamp)
        let configuration = LoadBalancing()
        bench.stack.update(Array(bench.members[1...]), configuration: configuration)
        let (member, result) = bench.stack.pick(PickContext(now: bench.now))
        guard case .host(let pick) = result else {
            Issue.record("nobody")
            return
        }
        #expect(member == 0 && pick.host.address == address(1, 1))
        bench.members[1].release(pick, .answered, now: bench.now)
        bench.stack.update([], configuration: configuration)
        guard case .none(.noEndpoints) = bench.stack.pick(PickContext(now: bench.now)).result else {
            Issue.record("somebody")
            return
        }
    }
}
