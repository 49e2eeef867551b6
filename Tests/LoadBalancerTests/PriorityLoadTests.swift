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

    @Test("Degraded hosts take what the healthy leave")
    func degraded() {
        let load = PriorityLoad(
            levels: [.init(hosts: 4, healthy: 2, degraded: 2), .init(hosts: 4, healthy: 0)])
        #expect(load.healthyLoad == [70, 0] && load.degradedLoad == [30, 0])
        #expect(load.choose(69) == (0, false) && load.choose(70) == (0, true))
    }

    @Test("A strict balancer keeps everything while one local host lives")
    func strict() {
        let levels = [
            PriorityLoad.Level(hosts: 10, healthy: 1), .init(hosts: 2, healthy: 2),
        ]
        #expect(PriorityLoad(levels: levels, strict: true).healthyLoad == [100, 0])
        #expect(PriorityLoad(levels: levels).healthyLoad == [14, 86])
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
        #expect(
            !PriorityLoad(levels: [.init(hosts: 6, healthy: 1)], panicThreshold: 0).isPanicking)
    }

    @Test("A half available locality of weight 1 beside one of weight 2 gets 26 percent")
    func localities() {
        let x = effectiveLocalityWeight(1, available: 1, of: 2, overprovisioningFactor: 140)
        let y = effectiveLocalityWeight(2, available: 2, of: 2, overprovisioningFactor: 140)
        #expect(x == 0.7 && y == 2 && (100 * x / (x + y)).rounded() == 26)
    }
}
