import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Observability
import Testing

@testable import MeshProxy

/// One cluster's limits in two workers, to the last place. What one worker tells the other is held back until
/// the test delivers it.
@Suite struct ClusterLimitsTests {
    private final class Waiter: PlaceWaiter {
        private(set) var found: [BreakerCells.Resource] = []
        private(set) var inVain: [BreakerCells.Resource] = []

        func placeFound(_ resource: BreakerCells.Resource) { found.append(resource) }
        func waitedInVain(for resource: BreakerCells.Resource) { inVain.append(resource) }
    }

    private final class Bench {
        let network = SimulatedNetwork(seed: 1)
        let hub = MetricsHub()
        let breakers = BreakerTable(workers: 2)
        var config = Cluster(name: "svc")
        private(set) var limits: [ClusterLimits] = []
        private var sets: [ClusterSet] = []
        private let metrics: ClusterMetrics
        private let share: BreakerShare
        private var news: [(worker: Int, news: PlaceNews)] = []

        /// Requests wait for a second, and retries have no burst.
        init(_ change: (inout Cluster) -> Void = { _ in }) {
            config.queueTimeout = .seconds(1)
            config.circuitBreakers.retryBurst = 0
            change(&config)
            let worker = hub.makeWorker()
            metrics = worker.cluster(config)
            share = breakers.share("svc")
            let loop = network.makeLoop("proxy", addresses: ["10.0.0.9"])
            for index in 0..<2 {
                let set = ClusterSet(
                    loop: loop, settings: Settings(), log: ProxyLog(), metrics: worker,
                    breakers: breakers, worker: index)
                set.tell = { [unowned self] in news.append((worker: $0, news: $1)) }
                sets.append(set)
                limits.append(ClusterLimits(config, set: set, metrics: metrics))
            }
        }

        /// A worker's cluster goes, and another comes by its name.
        /// - Returns: the limits of the one that is gone.
        func replace(in worker: Int) -> ClusterLimits {
            let old = limits[worker]
            old.drain()
            limits[worker] = ClusterLimits(config, set: sets[worker], metrics: metrics)
            return old
        }

        /// Workers that were told that a place may be free, in order.
        var told: [Int] { news.map(\.worker) }

        func deliver(to worker: Int) {
            for entry in news where entry.worker == worker {
                limits[worker].passOn(entry.news.resource, entry.news.priority)
            }
        }

        func taken(
            _ resource: BreakerCells.Resource, _ priority: RequestPriority = .normal
        ) -> Int { share.cells.count(resource, priority) }

        func waiting(_ resource: BreakerCells.Resource) -> Int {
            share.cells.waitingCount(resource, .normal)
        }

        func count(_ metric: ClusterMetric) -> UInt64 { metrics.counters.value(metric) }
    }

    /// The address of an endpoint.
    private func address(_ number: UInt32) -> SocketAddress {
        .ipv4(0x0A00_0000 + number, port: 80)
    }

    // MARK: Who comes first

    @Test(
        "A place that was given back is for who waits in another worker, and for nobody before him")
    func order() {
        let bench = Bench { $0.circuitBreakers.maxRequests = 1 }
        let (first, second) = (Waiter(), Waiter())
        #expect(bench.limits[0].admitRequest(.normal, Waiter()) == .granted)
        #expect(bench.limits[1].admitRequest(.normal, first) == .waits)
        bench.limits[0].releaseRequest(.normal)
        #expect(bench.told == [1] && bench.taken(.requests) == 0)
        #expect(bench.limits[0].admitRequest(.normal, second) == .waits)
        bench.deliver(to: 1)
        #expect(first.found == [.requests] && second.found == [])
        bench.limits[1].releaseRequest(.normal)
        bench.deliver(to: 0)
        #expect(second.found == [.requests] && bench.waiting(.requests) == 0)
    }

    @Test("No more does a retry take a place for which another waits")
    func orderOfRetries() {
        let bench = Bench {
            $0.circuitBreakers.retryBudgetPercent = 0
            $0.circuitBreakers.retryBudgetMinimum = 1
        }
        func hasRoom() -> Bool { bench.limits[0].hasRoomForRetry(.normal) { true } }
        let waiter = Waiter()
        #expect(hasRoom() && bench.limits[0].admitRetry(.normal) { true })
        #expect(!hasRoom() && bench.limits[1].waitForRetry(waiter, .normal))
        bench.limits[0].releaseRetry(.normal)
        #expect(!hasRoom() && !bench.limits[0].admitRetry(.normal) { true })
        bench.deliver(to: 1)
        #expect(waiter.found == [.retries])
        bench.limits[1].releaseRetry(.normal)
        #expect(hasRoom())
    }

    @Test("What is given back between asking for a place and waiting for one is taken at once")
    func between() {
        let bench = Bench { $0.circuitBreakers.maxPendingRequests = 1 }
        let waiter = Waiter()
        #expect(bench.limits[0].admitPending(.normal) && !bench.limits[0].admitPending(.normal))
        bench.limits[0].releasePending(.normal)
        #expect(bench.limits[0].queue(waiter, for: .pending, .normal))
        #expect(waiter.found == [.pending] && bench.taken(.pending) == 1)
        #expect(bench.count(.upstreamRqPendingTotal) == 2)
        #expect(bench.count(.upstreamRqPendingActive) == 1)
    }

    @Test("The place that was meant for one who has gone, or whose time is over, goes to the next")
    func passedOn() {
        for leaves in [true, false] {
            let bench = Bench { $0.circuitBreakers.maxRequests = 1 }
            let (first, second) = (Waiter(), Waiter())
            #expect(bench.limits[0].admitRequest(.normal, Waiter()) == .granted)
            #expect(bench.limits[1].admitRequest(.normal, first) == .waits)
            bench.network.run(for: .milliseconds(10))
            #expect(bench.limits[0].admitRequest(.normal, second) == .waits)
            bench.limits[0].releaseRequest(.normal)
            #expect(bench.told == [1])
            if leaves {
                bench.limits[1].stopWaiting(first, for: .requests, .normal)
            } else {
                bench.network.run(for: .milliseconds(990))
                #expect(first.inVain == [.requests])
            }
            #expect(bench.told == [1, 0])
            bench.deliver(to: 0)
            #expect(second.found == [.requests] && first.found == [])
        }
    }

    @Test("All whose time is over at one moment leave the line then")
    func timesOver() {
        let bench = Bench {
            $0.circuitBreakers.maxRequests = 1
            $0.circuitBreakers.maxPendingRequests = 2
        }
        let waiters = [Waiter(), Waiter()]
        #expect(bench.limits[0].admitRequest(.normal, Waiter()) == .granted)
        for waiter in waiters { #expect(bench.limits[0].admitRequest(.normal, waiter) == .waits) }
        #expect(bench.limits[0].admitRequest(.normal, Waiter()) == .refused)
        bench.network.run(for: .milliseconds(999))
        #expect(bench.waiting(.requests) == 2 && waiters.allSatisfy { $0.inVain == [] })
        bench.network.run(for: .milliseconds(1))
        #expect(bench.waiting(.requests) == 0 && waiters.allSatisfy { $0.inVain == [.requests] })
        #expect(bench.count(.upstreamRqPendingOverflow) == 3)
    }

    // MARK: What is configured

    @Test("HIGH has its own limits, and its own line")
    func highPriority() {
        let bench = Bench {
            $0.circuitBreakers.maxRequests = 0
            $0.circuitBreakers.maxPendingRequests = 0
            $0.highPriorityBreakers.maxRequests = 1
            $0.highPriorityBreakers.maxPendingRequests = 1
        }
        func admit(_ priority: RequestPriority) -> ClusterLimits.Admission {
            bench.limits[0].admitRequest(priority, Waiter())
        }
        #expect(admit(.normal) == .refused)
        #expect((0..<3).map { _ in admit(.high) } == [.granted, .waits, .refused])
        #expect(bench.taken(.requests) == 0 && bench.taken(.requests, .high) == 1)
    }

    @Test("A new configuration counts at once: its limits for both priorities, and its patience")
    func adopted() {
        let bench = Bench()
        bench.config.circuitBreakers.maxRequests = 0
        bench.config.highPriorityBreakers.maxRequests = 0
        bench.config.queueTimeout = .zero
        for limits in bench.limits { limits.adopt(bench.config) }
        for priority in RequestPriority.allCases {
            #expect(bench.limits[0].admitRequest(priority, Waiter()) == .refused)
        }
    }

    @Test("Who waits has the places of a higher limit at once, in order and over all workers")
    func raised() {
        let bench = Bench { $0.circuitBreakers.maxRequests = 0 }
        let waiters = [Waiter(), Waiter(), Waiter()]
        for (index, waiter) in waiters.enumerated() {
            #expect(bench.limits[index % 2].admitRequest(.normal, waiter) == .waits)
        }
        bench.config.circuitBreakers.maxRequests = 2
        for limits in bench.limits { limits.adopt(bench.config) }
        #expect(waiters.map(\.found) == [[.requests], [.requests], []])
        #expect(bench.taken(.requests) == 2 && bench.waiting(.requests) == 1)
    }

    @Test(
        "When a cluster goes who waits goes on, apart from those who wait for the next of its name")
    func replaced() {
        let bench = Bench { $0.circuitBreakers.maxRequests = 1 }
        let (early, late) = (Waiter(), Waiter())
        #expect(bench.limits[0].admitRequest(.normal, Waiter()) == .granted)
        #expect(bench.limits[0].admitRequest(.normal, early) == .waits)
        bench.config.circuitBreakers.maxRequests = 2
        let old = bench.replace(in: 0)
        #expect(early.found == [.requests] && bench.taken(.requests) == 2)
        #expect(old.admitRequest(.normal, Waiter()) == .refused)
        #expect(bench.limits[0].admitRequest(.normal, late) == .waits)
        // Whoever is in line now is told, by his own limits.
        old.releaseRequest(.normal)
        #expect(bench.told == [0] && late.found == [])
        bench.deliver(to: 0)
        #expect(late.found == [.requests] && bench.taken(.requests) == 2)
        #expect(bench.waiting(.requests) == 0)
    }

    @Test("Gauges of HIGH are there once it has limits of its own")
    func gauges() {
        for hasOwn in [false, true] {
            let bench = Bench { if hasOwn { $0.highPriorityBreakers.maxRequests = 0 } }
            bench.limits[0].showStanding(of: bench.config)
            let text = StatsText(usedOnly: true).text(bench.hub.registry.read())
            #expect(text.contains("cluster.svc.circuit_breakers.default.rq_open: 0"))
            #expect(text.contains("cluster.svc.circuit_breakers.high.rq_open: 1") == hasOwn)
            #expect(text.contains("circuit_breakers.high.") == hasOwn)
        }
    }

    // MARK: Connections

    @Test("A connection that is refused for one limit has no place of the other")
    func connections() throws {
        let bench = Bench {
            $0.circuitBreakers.maxConnections = 2
            $0.circuitBreakers.maxConnectionsPerHost = 1
        }
        let limits = bench.limits[0]
        let shares = try (0..<3).map { try #require(limits.share(ofHost: address($0))) }
        func admit(_ host: Int, isFirst: Bool) -> Bool {
            limits.admitConnection(.normal, isFirst: isFirst, host: shares[host])
        }
        func taken() -> [Int] {
            [bench.taken(.connections)] + shares.map { $0.cells.count(.connections, .normal) }
        }
        #expect(admit(0, isFirst: true) && taken() == [1, 1, 0, 0])
        #expect(!admit(0, isFirst: false) && taken() == [1, 1, 0, 0])
        #expect(admit(1, isFirst: true) && taken() == [2, 1, 1, 0])
        #expect(!admit(2, isFirst: false) && taken() == [2, 1, 1, 0])
        #expect(bench.count(.upstreamCxOverflow) == 2)
        // The first to its endpoint is made in any case, and counted beyond the limits.
        #expect(admit(2, isFirst: true) && taken() == [3, 1, 1, 1])
        #expect(admit(2, isFirst: true) && taken() == [4, 1, 1, 2])
        #expect(bench.count(.upstreamCxOverflow) == 4)
        for host in [0, 1, 2, 2] { limits.releaseConnection(.normal, host: shares[host]) }
        #expect(taken() == [0, 0, 0, 0])
    }

    @Test("Connections to one endpoint are counted where either priority bounds them")
    func perHost() throws {
        #expect(Bench().limits[0].share(ofHost: address(1)) == nil)
        let bench = Bench { $0.highPriorityBreakers.maxConnectionsPerHost = 1 }
        let limits = bench.limits[0]
        let share = try #require(limits.share(ofHost: address(1)))
        func admit(_ priority: RequestPriority) -> Bool {
            limits.admitConnection(priority, isFirst: false, host: share)
        }
        #expect(admit(.high) && !admit(.high))
        #expect(admit(.normal) && share.cells.count(.connections, .normal) == 2)
    }

    // MARK: Attempts and retries

    @Test(
        "An attempt at a member of an aggregate is a request of it; one that finds no place may wait"
    )
    func attempts() {
        let bench = Bench { $0.circuitBreakers.maxRequests = 1 }
        let limits = bench.limits[0]
        #expect(limits.admitAttempt(.init(.requests)) && !limits.admitAttempt(.init(.requests)))
        #expect(bench.count(.upstreamRqTotal) == 1 && bench.count(.upstreamRqActive) == 1)
        #expect(bench.count(.upstreamRqPendingOverflow) == 0 && bench.taken(.requests) == 1)
        let waiter = Waiter()
        #expect(limits.queue(waiter, for: .requests, .normal) && waiter.found.isEmpty)
        limits.releaseAttempt(.init(.requests))
        #expect(waiter.found == [.requests] && bench.taken(.requests) == 1)
        limits.releaseAttempt(.init(.requests))
        #expect(bench.count(.upstreamRqActive) == 0 && bench.taken(.requests) == 0)
        // A relayed connection has a place of its own kind.
        #expect(limits.admitAttempt(.init(.connections)) && bench.taken(.connections) == 1)
        limits.releaseAttempt(.init(.connections))
        #expect(bench.taken(.connections) == 0 && bench.count(.upstreamRqTotal) == 2)
    }

    @Test("The retry budget is a share of the requests that are under way")
    func budget() {
        let bench = Bench {
            $0.circuitBreakers.retryBudgetPercent = 20
            $0.circuitBreakers.retryBudgetMinimum = 0
        }
        let limits = bench.limits[0]
        #expect(!limits.admitRetry(.normal) { true })
        for _ in 0..<10 { #expect(limits.admitRequest(.normal, Waiter()) == .granted) }
        #expect((0..<3).map { _ in limits.admitRetry(.normal) { true } } == [true, true, false])
        #expect(bench.count(.upstreamRqRetryOverflow) == 2)
    }

    @Test("The burst beyond the budget is for a retry that leaves the failure domain")
    func burst() {
        let bench = Bench {
            $0.circuitBreakers.retryBudgetPercent = 0
            $0.circuitBreakers.retryBudgetMinimum = 0
            $0.circuitBreakers.retryBurst = 1
        }
        let limits = bench.limits[0]
        #expect(!limits.hasRoomForRetry(.normal) { false } && !limits.admitRetry(.normal) { false })
        #expect(limits.hasRoomForRetry(.normal) { true } && limits.admitRetry(.normal) { true })
        limits.releaseRetry(.normal)
        // One in ten seconds.
        #expect(!limits.hasRoomForRetry(.normal) { true } && !limits.admitRetry(.normal) { true })
        #expect(bench.count(.upstreamRqRetryOverflow) == 2 && bench.taken(.retries) == 0)
    }

    @Test("A retry waits for its place in the budget for two seconds, and counts when it has one")
    func waitingRetries() {
        let bench = Bench {
            $0.circuitBreakers.retryBudgetPercent = 0
            $0.circuitBreakers.retryBudgetMinimum = 1
        }
        let limits = bench.limits[0]
        let (late, lucky) = (Waiter(), Waiter())
        #expect(limits.admitRetry(.normal) { true } && limits.waitForRetry(late, .normal))
        bench.network.run(for: .milliseconds(1999))
        #expect(late.inVain == [])
        bench.network.run(for: .milliseconds(1))
        #expect(late.inVain == [.retries] && bench.waiting(.retries) == 0)
        // It was no request that found no place.
        #expect(bench.count(.upstreamRqPendingOverflow) == 0)
        #expect(limits.waitForRetry(lucky, .normal) && bench.count(.upstreamRqRetry) == 0)
        limits.releaseRetry(.normal)
        #expect(lucky.found == [.retries] && bench.taken(.retries) == 1)
        #expect(bench.count(.upstreamRqRetry) == 1 && bench.count(.upstreamRqTotal) == 1)
    }

    @Test("Where the retry budget is nothing nobody waits for it")
    func noBudget() {
        let bench = Bench {
            $0.circuitBreakers.retryBudgetPercent = 0
            $0.circuitBreakers.retryBudgetMinimum = 0
        }
        #expect(!bench.limits[0].waitForRetry(Waiter(), .normal) && bench.waiting(.retries) == 0)
    }
}
