import MeshBase
import MeshConfig
import Testing

@testable import LoadBalancer

/// A balancer in virtual time whose hosts report what the test says.
private struct Bench {
    let balancer: Balancer
    var now = Instant.zero + .seconds(1000)

    typealias Place = (locality: String, priority: Int, status: Endpoint.Status)

    init(
        _ rule: LoadBalancing.ReportedLoad = .init(),
        localities: LoadBalancing.LocalityMode = .flat,
        _ places: [Place]
    ) {
        balancer = Balancer(
            configuration: LoadBalancing(policy: .reportedLoad(rule), localityMode: localities),
            paths: PathHealth(), random: SeededRandom(seed: 5))
        _ = balancer.update(
            endpoints: places.enumerated().map { number, place in
                let address = SocketAddress.ipv4(0x0A00_0000 + UInt32(number), port: 80)
                // What EDS says does not count.
                return ResolvedEndpoint(
                    endpoint: Endpoint(
                        target: .address(address), weight: UInt32(1 + number * 10),
                        status: place.status),
                    address: address, priority: place.priority,
                    locality: Locality(region: place.locality), localityWeight: 1)
            })
    }

    init(_ rule: LoadBalancing.ReportedLoad = .init(), hosts: Int) {
        self.init(
            rule, Array(repeating: (locality: "", priority: 0, status: .healthy), count: hosts))
    }

    /// - Parameter weights: with full utilization, so a request a second is a weight of 1; 0: no report.
    func report(_ weights: [Double]) {
        for (host, weight) in zip(balancer.hosts, weights) where weight > 0 {
            var report = LoadReport()
            (report.cpu, report.requestsPerSecond) = (1, weight)
            balancer.reported(host, report, now: now)
        }
    }

    /// Reports every second for so long.
    mutating func report(_ weights: [Double], for seconds: Int) {
        for _ in 0..<seconds {
            report(weights)
            now = now + .seconds(1)
        }
    }

    /// How many of so many requests each host gets.
    func shares(of requests: Int) -> [Int] {
        var shares = balancer.hosts.map { _ in 0 }
        for _ in 0..<requests {
            guard case .host(let pick) = balancer.pick(PickContext(now: now)),
                let index = balancer.hosts.firstIndex(where: { $0 === pick.host })
            else { continue }
            shares[index] += 1
            balancer.release(pick, .answered, now: now)
        }
        return shares
    }
}

@Suite struct ReportedLoadPolicyTests {
    private func isClose(_ shares: [Int], _ expected: [Int]) -> Bool {
        zip(shares, expected).allSatisfy { abs($0 - $1) <= 1 }
    }

    @Test(
        "A weight is requests ÷ (utilization + errors ÷ requests × penalty)",
        arguments: [
            (cpu: 0.5, requests: 100, errors: 0, penalty: 1, weight: 200),
            (cpu: 0.5, requests: 100, errors: 50, penalty: 1, weight: 100),
            (cpu: 0.5, requests: 100, errors: 50, penalty: 3, weight: 50),
            (cpu: 0.5, requests: 100, errors: 50, penalty: 0, weight: 200),
            (cpu: 0.5, requests: 100, errors: -50, penalty: 1, weight: 200),
            (cpu: 0, requests: 100, errors: 0, penalty: 1, weight: nil),
            (cpu: 0, requests: 100, errors: 50, penalty: 1, weight: 200),
            (cpu: 0, requests: 100, errors: 50, penalty: 0, weight: nil),
            (cpu: 1e-200, requests: 1e200, errors: 0, penalty: 1, weight: 4_294_967_295),
            (cpu: 2, requests: .leastNonzeroMagnitude, errors: 0, penalty: 1, weight: nil),
            (cpu: 0.5, requests: 0.25, errors: 0, penalty: 1, weight: 0.5),
            (cpu: 0.5, requests: 0, errors: 0, penalty: 1, weight: nil),
        ] as [(cpu: Double, requests: Double, errors: Double, penalty: Double, weight: Double?)])
    func formula(
        cpu: Double, requests: Double, errors: Double, penalty: Double, weight: Double?
    ) {
        var report = LoadReport()
        report.cpu = cpu
        report.requestsPerSecond = requests
        report.errorsPerSecond = errors
        let rule = LoadBalancing.ReportedLoad(errorPenalty: penalty)
        #expect(rule.weight(report) == weight)
    }

    @Test(
        "Utilization is the highest that is asked for, else the application's, else the processor's"
    )
    func utilization() {
        var report = LoadReport()
        (report.cpu, report.memory, report.requestsPerSecond) = (0.25, 0.5, 1)
        report.others["named_metrics.queue"] = 0.8
        func weight(_ names: [String]) -> Double? {
            LoadBalancing.ReportedLoad(metricNames: names).weight(report)
        }
        #expect(weight([]) == 4 && weight(["mem_utilization"]) == 2)
        #expect(weight(["mem_utilization", "named_metrics.queue"]) == 1.25)
        #expect(weight(["named_metrics.gone"]) == 4)
        report.others["named_metrics.low"] = 0.125
        #expect(weight(["named_metrics.low"]) == 8)
        #expect(weight(["named_metrics.low", "cpu_utilization"]) == 4)
        report.application = 1
        #expect(weight(["named_metrics.queue"]) == 1.25 && weight([]) == 1)
        #expect(weight(["named_metrics.gone"]) == 1)
        // All of a part, and the figures that are no utilization, too.
        report.others["utilization.disk"] = 0.9
        report.errorsPerSecond = 0
        #expect(weight(["named_metrics.*"]) == 1.25 && weight(["request_cost.*"]) == 1)
        #expect(weight(["rps_fractional"]) == 1 && weight(["eps", "utilization.*"]) == 1 / 0.9)
        report.application = 0.125
        #expect(weight([]) == 8)
    }

    @Test("Reports count when they have come for the blackout period, and until they are too old")
    func periods() {
        var bench = Bench(hosts: 2)
        #expect(bench.shares(of: 100) == [50, 50])
        bench.report([3, 1], for: 9)
        #expect(bench.shares(of: 100) == [50, 50])
        bench.report([3, 1], for: 1)
        #expect(isClose(bench.shares(of: 400), [300, 100]))
        // The last came a second ago, and counts for 180.
        bench.now = bench.now + .seconds(179)
        #expect(isClose(bench.shares(of: 400), [300, 100]))
        bench.now = bench.now + .seconds(1)
        #expect(bench.shares(of: 100) == [50, 50])
        // Then the blackout begins anew.
        bench.report([3, 1], for: 9)
        #expect(bench.shares(of: 100) == [50, 50])
        bench.report([3, 1], for: 2)
        #expect(isClose(bench.shares(of: 400), [300, 100]))
    }

    @Test("New weights are taken once in the update period")
    func updates() {
        var bench = Bench(.init(blackout: .zero, update: .seconds(5)), hosts: 2)
        bench.report([1, 1])
        _ = bench.shares(of: 1)
        bench.report([1, 4])
        bench.now = bench.now + .milliseconds(4999)
        #expect(isClose(bench.shares(of: 100), [50, 50]))
        bench.now = bench.now + .milliseconds(1)
        #expect(isClose(bench.shares(of: 100), [20, 80]))
    }

    @Test("Who does not report has the median of the others' weights")
    func median() {
        let bench = Bench(.init(blackout: .zero), hosts: 4)
        bench.report([1, 0, 2, 6])
        #expect(isClose(bench.shares(of: 110), [10, 20, 20, 60]))
        // Of an even number the mean of the two in the middle.
        let even = Bench(.init(blackout: .zero), hosts: 3)
        even.report([1, 0, 3])
        #expect(isClose(even.shares(of: 60), [10, 20, 30]))
    }

    @Test("The median is of a priority's hosts, in whatever localities and health they are")
    func medianOfPriority() {
        let bench = Bench(
            .init(blackout: .zero), localities: .weighted,
            [
                (locality: "a", priority: 0, status: .healthy),
                (locality: "a", priority: 0, .healthy),
                (locality: "b", priority: 0, .healthy), (locality: "b", priority: 0, .unhealthy),
                (locality: "a", priority: 1, .healthy),
            ])
        bench.report([1, 0, 4, 8, 100])
        // Of b one in two is well, so it has 0.7 of a's load; in a it is 1 to 4, which the second is taken for.
        #expect(isClose(bench.shares(of: 100), [12, 47, 41, 0, 0]))
    }

    @Test("However little a host can take, it is asked")
    func leastWeight() {
        let bench = Bench(.init(blackout: .zero), hosts: 2)
        bench.report([1, 1_000_000])
        _ = bench.shares(of: 1)
        var random = SeededRandom(seed: 1)
        let candidates = bench.balancer.hosts.map { Candidate(host: $0, weight: 1) }
        var policy = ReportedLoadPolicy(candidates, random: &random)
        let first = (0..<65_600).count { _ in
            policy.choose(among: candidates, key: nil, random: &random) == 0
        }
        #expect((1...2).contains(first))
    }

    @Test("Under other policies reports are not read")
    func off() {
        let bench = Bench(hosts: 2)
        #expect(bench.balancer.readsReports)
        _ = bench.balancer.update(endpoints: [], configuration: LoadBalancing())
        #expect(!bench.balancer.readsReports)
    }
}
