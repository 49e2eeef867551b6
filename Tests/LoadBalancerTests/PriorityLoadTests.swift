import LoadBalancer
import Testing

@Suite struct PriorityLoadTests {
    private static func loads(_ percent: [Int], degraded: [Int] = []) -> PriorityLoad {
        PriorityLoad(
            levels: percent.enumerated().map { index, share in
                PriorityLoad.Level(
                    hosts: 100, healthy: share,
                    degraded: index < degraded.count ? degraded[index] : 0)
            }, panicThreshold: 0)
    }

    @Test(
        "Healthy shares give Envoy's loads",
        arguments: [
            ([100, 100], [100, 0]), ([72, 100], [100, 0]), ([71, 100], [99, 1]),
            ([50, 100], [70, 30]), ([25, 100], [35, 65]), ([0, 100], [0, 100]),
            ([25, 25, 100], [35, 35, 30]), ([25, 25, 20], [37, 35, 28]), ([20, 30], [40, 60]),
        ])
    func vectors(healthy: [Int], expected: [Int]) {
        #expect(Self.loads(healthy).healthyLoad == expected)
    }

    @Test(
        "The overprovisioning factor is what a priority's health is multiplied by",
        arguments: [
            (100, [99, 100], [99, 1]), (100, [50, 100], [50, 50]), (140, [70, 100], [98, 2]),
            (120, [83, 100], [99, 1]), (120, [84, 100], [100, 0]), (200, [50, 100], [100, 0]),
            (200, [49, 100], [98, 2]), (100_000, [1, 100], [100, 0]),
            (100_000, [0, 100], [0, 100]),
        ] as [(UInt32, [Int], [Int])])
    func overprovisioning(factor: UInt32, healthy: [Int], expected: [Int]) {
        let load = PriorityLoad(
            levels: healthy.map { .init(hosts: 100, healthy: $0) },
            overprovisioningFactor: factor, panicThreshold: 0)
        #expect(load.healthyLoad == expected)
    }

    /// Shares are cut to whole percents before they are multiplied and divided again, so small
    /// priorities round otherwise than large ones of the same share.
    @Test(
        "Every division is of integers",
        arguments: [
            // 140 · 1 / 3 = 46; 140 · 2 / 3 = 93; 140 · 5 / 7 is 100 and 140 · 4 / 7 is 80.
            ([(1, 3), (3, 3)], [46, 54]), ([(2, 3), (1, 1)], [93, 7]),
            ([(5, 7), (1, 1)], [100, 0]), ([(4, 7), (1, 1)], [80, 20]),
            // 46 and 28 of 74: 62 and 37, and the one that is left.
            ([(1, 3), (1, 5)], [63, 37]), ([(0, 0), (1, 5)], [0, 100]),
            ([(0, 4), (1, 3), (1, 5)], [0, 63, 37]),
        ] as [([(Int, Int)], [Int])])
    func integers(hosts: [(Int, Int)], expected: [Int]) {
        let load = PriorityLoad(
            levels: hosts.map { healthy, all in .init(hosts: all, healthy: healthy) },
            panicThreshold: 0)
        #expect(load.healthyLoad == expected)
    }

    @Test(
        "Degraded hosts come after the healthy of every priority",
        arguments: [
            ([71, 0], [29, 0], [99, 0], [1, 0]), ([25, 0], [65, 0], [35, 0], [65, 0]),
            ([5, 0], [0, 0], [100, 0], [0, 0]), ([0, 0], [5, 0], [0, 0], [100, 0]),
            ([50, 20], [50, 80], [70, 28], [2, 0]), ([0, 50], [10, 10], [0, 72], [14, 14]),
            ([0, 0], [10, 20], [0, 0], [34, 66]),
        ] as [([Int], [Int], [Int], [Int])])
    func degradedVectors(
        healthy: [Int], degraded: [Int], expected: [Int], expectedDegraded: [Int]
    ) {
        let load = Self.loads(healthy, degraded: degraded)
        #expect(load.healthyLoad == expected && load.degradedLoad == expectedDegraded)
    }

    /// Envoy's table. In the row of 5 and 65 percent its first priority panics and ours does not,
    /// because the second can take the traffic; the shares are the same.
    @Test(
        "Panic begins where the healths together are below 100",
        arguments: [
            ([72, 72], [100, 0], false), ([71, 71], [99, 1], false), ([50, 60], [70, 30], false),
            ([25, 100], [35, 65], false), ([25, 25], [50, 50], true), ([5, 65], [8, 92], false),
            ([49], [100], true), ([50], [100], false), ([0, 0, 0], [34, 33, 33], true),
            ([40, 40], [56, 44], false),
        ] as [([Int], [Int], Bool)])
    func panicVectors(healthy: [Int], expected: [Int], panics: Bool) {
        let load = PriorityLoad(levels: healthy.map { .init(hosts: 100, healthy: $0) })
        #expect(load.healthyLoad == expected && load.isPanicking == panics)
    }

    @Test("Degraded hosts count against panic, and a threshold is compared without rounding")
    func panicThreshold() {
        func panics(_ healthy: Int, _ degraded: Int, of hosts: Int, _ threshold: Double) -> Bool {
            PriorityLoad(
                levels: [.init(hosts: hosts, healthy: healthy, degraded: degraded)],
                panicThreshold: threshold
            ).isPanicking
        }
        #expect(panics(1, 0, of: 3, 34) && !panics(1, 0, of: 3, 33))
        #expect(!panics(1, 1, of: 4, 50) && panics(1, 0, of: 4, 50))
        #expect(!panics(0, 0, of: 4, 0) && panics(0, 0, of: 4, 1))
        // 140 · 3 / 4 is more than 100, so even a threshold of 100 does not matter.
        #expect(!panics(3, 0, of: 4, 100) && panics(2, 0, of: 4, 100))
    }

    @Test("Degraded hosts take what the healthy leave")
    func degraded() {
        let load = PriorityLoad(
            levels: [.init(hosts: 4, healthy: 2, degraded: 2), .init(hosts: 4, healthy: 0)])
        #expect(load.healthyLoad == [70, 0] && load.degradedLoad == [30, 0])
        #expect(load.choose(69) == (0, false) && load.choose(70) == (0, true))
        #expect(load.choose(99) == (0, true) && load.choose(100) == (0, false))
    }

    @Test("A strict balancer keeps everything while one local host lives")
    func strict() {
        let levels = [
            PriorityLoad.Level(hosts: 10, healthy: 1), .init(hosts: 2, healthy: 2),
        ]
        #expect(PriorityLoad(levels: levels, strict: true).healthyLoad == [100, 0])
        #expect(PriorityLoad(levels: levels).healthyLoad == [14, 86])
    }

    @Test(
        "Health by weights: a heavy host out is most of the priority, and panic counts hosts still")
    func weights() {
        let level = PriorityLoad.Level(
            hosts: 10, healthy: 9, weights: .init(hosts: 100, healthy: 10))
        let whole = PriorityLoad.Level(hosts: 2, healthy: 2, weights: .init(hosts: 2, healthy: 2))
        #expect(PriorityLoad(levels: [level, whole]).healthyLoad == [14, 86])
        var byCount = level
        byCount.weights = nil
        #expect(PriorityLoad(levels: [byCount, whole]).healthyLoad == [100, 0])
        let alone = PriorityLoad(levels: [level])
        #expect(alone.healthyLoad == [100] && !alone.isPanicking)
        let degraded = PriorityLoad.Level(
            hosts: 2, healthy: 1, degraded: 1, weights: .init(hosts: 10, healthy: 5, degraded: 5))
        #expect(PriorityLoad(levels: [degraded]).degradedLoad == [30])
    }

    @Test("No priority panics while another can take the traffic")
    func noPanicWithOthers() {
        let load = PriorityLoad(levels: [
            .init(hosts: 10, healthy: 2), .init(hosts: 100, healthy: 51),
        ])
        #expect(!load.isPanicking && load.healthyLoad == [29, 71])
    }

    @Test("When all panic, shares follow the number of hosts")
    func totalPanic() {
        let load = PriorityLoad(levels: [
            .init(hosts: 6, healthy: 1), .init(hosts: 3, healthy: 1),
        ])
        #expect(load.isPanicking && load.healthyLoad == [67, 33])
        let thirds = PriorityLoad(
            levels: [0, 1, 1, 1].map { .init(hosts: $0, healthy: 0, degraded: 0) })
        #expect(thirds.isPanicking && thirds.healthyLoad == [0, 34, 33, 33])
        let degraded = PriorityLoad(levels: [.init(hosts: 6, healthy: 1, degraded: 1)])
        #expect(degraded.healthyLoad == [100] && degraded.degradedLoad == [0])
        #expect(
            !PriorityLoad(levels: [.init(hosts: 6, healthy: 1)], panicThreshold: 0).isPanicking)
    }

    @Test("A half available locality of weight 1 beside one of weight 2 gets 26 percent")
    func localities() {
        let x = effectiveLocalityWeight(1, available: 1, of: 2, overprovisioningFactor: 140)
        let y = effectiveLocalityWeight(2, available: 2, of: 2, overprovisioningFactor: 140)
        #expect(x == 0.7 && y == 2 && (100 * x / (x + y)).rounded() == 26)
    }

    @Test(
        "A locality keeps its weight until overprovisioning is used up",
        arguments: [
            (140, 72, 3.0), (140, 71, 3 * (1.4 * 0.71)), (140, 10, 3 * (1.4 * 0.1)), (140, 0, 0),
            (100, 99, 3 * 0.99), (200, 50, 3), (100_000, 1, 3),
        ] as [(UInt32, Int, Double)])
    func effectiveWeights(factor: UInt32, available: Int, expected: Double) {
        let weight = effectiveLocalityWeight(
            3, available: available, of: 100, overprovisioningFactor: factor)
        #expect(weight == expected)
        let strict = effectiveLocalityWeight(
            3, available: available, of: 100, overprovisioningFactor: factor, strict: true)
        #expect(strict == (available > 0 ? 3 : 0))
    }
}
