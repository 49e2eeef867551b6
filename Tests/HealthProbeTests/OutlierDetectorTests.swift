import MeshBase
import MeshConfig
import Testing

@testable import HealthProbe

@Suite struct OutlierDetectorTests {
    typealias Finding = OutlierDetector.Finding
    typealias Volume = OutlierDetector.Volume

    private func at(_ seconds: Int) -> Instant { .zero + .seconds(seconds) }
    private func address(_ port: Int) -> SocketAddress { .loopback(port: UInt16(port)) }

    /// A detector of ten endpoints, of two priorities, all of whom may go.
    private func detector(
        _ cap: EjectionCap = .cluster, _ change: (inout OutlierDetection) -> Void = { _ in }
    ) -> OutlierDetector {
        var config = OutlierDetection()
        config.maxEjectionPercent = 100
        change(&config)
        var detector = OutlierDetector(config, cap: cap, random: SeededRandom(seed: 1))
        detector.update((1...10).map { (address($0), $0 <= 5 ? 0 : 1) })
        return detector
    }

    private func record(
        _ detector: inout OutlierDetector, _ port: Int, _ outcomes: [OutlierDetector.Outcome],
        _ now: Instant = .zero
    ) -> [OutlierDetector.Kind] {
        outcomes.flatMap { detector.record(address(port), $0, now: now) }.map(\.kind)
    }

    private func statuses(_ numbers: Int...) -> [OutlierDetector.Outcome] {
        numbers.map { .status($0) }
    }

    @Test("The fifth 5xx in a row ejects, and a good answer or a 4xx ends the run")
    func consecutive5xx() {
        var detector = detector()
        #expect(record(&detector, 1, statuses(500, 500, 500, 500, 404)) == [])
        #expect(record(&detector, 1, statuses(500, 501, 500, 599)) == [])
        #expect(
            detector.record(address(1), .status(500), now: .zero) == [
                Finding(address: address(1), kind: .consecutive5xx, fate: .ejected(until: at(30)))
            ])
        // Whoever is out is found no more.
        #expect(record(&detector, 1, statuses(500, 500, 500, 500, 500)) == [])
        #expect(record(&detector, 99, statuses(500, 500, 500, 500, 500)) == [])
    }

    @Test("Gateway errors have a run of their own, which other 5xx end")
    func gateway() {
        var detector = detector {
            $0.consecutive5xx = 100
            $0.consecutiveGatewayFailure = 3
            $0.enforcingConsecutiveGatewayFailure = 100
        }
        #expect(record(&detector, 1, statuses(502, 503, 500, 504, 502)) == [])
        #expect(record(&detector, 1, statuses(503)) == [.consecutiveGatewayFailure])
        // By default it is found and not enforced, and the same answer completes the other run.
        var other = self.detector()
        let findings = (0..<5).flatMap { _ in
            other.record(address(1), .status(503), now: .zero)
        }
        #expect(findings.map(\.kind) == [.consecutiveGatewayFailure, .consecutive5xx])
        #expect(findings.map(\.fate) == [.notEnforced, .ejected(until: at(30))])
    }

    @Test("A failure of our own side counts as a gateway error unless it is split off")
    func localOrigin() {
        let failed = OutlierDetector.Outcome.localFailure(wasConnected: false)
        var together = detector()
        #expect(
            record(&together, 1, Array(repeating: failed, count: 5))
                == [.consecutiveGatewayFailure, .consecutive5xx])
        var split = detector { $0.splitExternalLocalOriginErrors = true }
        #expect(record(&split, 1, [failed, failed, failed, failed] + statuses(500)) == [])
        #expect(record(&split, 1, [failed, failed, failed, failed, .connected]) == [])
        // What fails after it was connected ends the run before it counts.
        #expect(record(&split, 1, [failed, failed, failed, failed]) == [])
        #expect(record(&split, 1, [.localFailure(wasConnected: true)]) == [])
        #expect(
            record(&split, 1, [failed, failed, failed, failed]) == [.consecutiveLocalOriginFailure])
        // Only one 5xx is in the other run by now.
        #expect(record(&split, 2, statuses(500, 500, 500, 500) + [failed, .connected]) == [])
        #expect(record(&split, 2, statuses(500)) == [.consecutive5xx])
    }

    @Test(
        "The cap counts the one that would go",
        arguments: [
            (10, false, 1), (19, false, 1), (20, false, 2), (9, false, 0), (9, true, 1),
            (0, true, 1), (30, true, 3), (100, false, 10),
        ])
    func cap(percent: Int, always: Bool, out: Int) {
        var detector = detector {
            $0.consecutive5xx = 1
            $0.maxEjectionPercent = percent
            $0.alwaysEjectOneHost = always
        }
        var fates: [OutlierDetector.Fate] = []
        for port in 1...10 {
            fates += detector.record(address(port), .status(500), now: .zero).map(\.fate)
        }
        #expect(detector.ejected.count == out)
        #expect(fates.count { $0 == .overCap } == 10 - out)
    }

    @Test("Where we are told so the cap is that of each priority")
    func capPerPriority() {
        for (cap, expected) in [(EjectionCap.cluster, [1, 2, 3]), (.perPriority, [1, 6])] {
            var detector = detector(cap) {
                $0.consecutive5xx = 1
                $0.maxEjectionPercent = 30
            }
            for port in [1, 2, 3, 6, 7] {
                _ = detector.record(address(port), .status(500), now: .zero)
            }
            #expect(detector.ejected == expected.map(address))
        }
    }

    @Test("What is not enforced, or over the cap, begins its run anew")
    func runBeginsAnew() {
        var detector = detector { $0.maxEjectionPercent = 0 }
        let five = Array(repeating: OutlierDetector.Outcome.status(500), count: 5)
        #expect(record(&detector, 1, five) == [.consecutive5xx])
        #expect(record(&detector, 1, Array(five.dropLast())) == [])
        #expect(record(&detector, 1, statuses(500)) == [.consecutive5xx])
    }

    @Test("An ejection ends at an interval, lasts longer each time up to a bound, and decays")
    func duration() {
        var detector = detector {
            $0.consecutive5xx = 1
            $0.maxEjectionTime = .seconds(70)
        }
        func end(_ now: Int) -> [SocketAddress] {
            detector.intervalEnded(at: at(now)) { _ in Volume() }.returned
        }
        #expect(detector.nextDeadline == nil)
        var now = 3
        var lengths: [Int] = []
        for _ in 0..<5 {
            _ = detector.record(address(1), .status(500), now: at(now))
            let out = now
            repeat {
                now = Int((detector.nextDeadline ?? .zero).nanoseconds / 1_000_000_000)
            } while end(now).isEmpty && now < 1000
            lengths.append(now - out)
        }
        // Out at 3 s, then at the interval's end at which it came back; 30, 60, 70 and 70 s.
        // The interval of the return takes one off before the next is added.
        #expect(lengths == [37, 30, 30, 30, 30])
        // Ten seconds without ejection for each that is to be forgotten.
        #expect(detector.nextDeadline == nil)
    }

    @Test("Ejections that follow each other within an interval add up to the bound")
    func backoff() {
        var detector = detector {
            $0.consecutive5xx = 1
            $0.maxEjectionTime = .seconds(70)
        }
        var untils: [OutlierDetector.Fate] = []
        for _ in 0..<6 {
            untils += detector.record(address(1), .status(500), now: .zero).map(\.fate)
            #expect(detector.healthCheckPassed(address(1)) == true)
        }
        #expect(untils == [30, 60, 70, 70, 70, 70].map { .ejected(until: at($0)) })
        #expect(detector.healthCheckPassed(address(1)) == false)
        var deadlines = 0
        while let deadline = detector.nextDeadline, deadlines < 100 {
            deadlines += 1
            _ = detector.intervalEnded(at: deadline) { _ in Volume() }
        }
        // The count stops to grow once it stands for the longest time.
        #expect(deadlines == 4)
    }

    @Test("A health check that passes returns nobody where it is not to")
    func unejectOff() {
        var detector = detector {
            $0.consecutive5xx = 1
            $0.successfulActiveHealthCheckUnejectHost = false
        }
        _ = detector.record(address(1), .status(500), now: .zero)
        #expect(detector.healthCheckPassed(address(1)) == false)
        #expect(detector.ejected == [address(1)])
    }

    @Test("Jitter lengthens an ejection by up to its bound")
    func jitter() {
        var detector = detector {
            $0.consecutive5xx = 1
            $0.maxEjectionTimeJitter = .seconds(10)
        }
        for port in 1...10 { _ = detector.record(address(port), .status(500), now: .zero) }
        let ends = (1...10).compactMap { detector.ejectedUntil(address($0)) }
        #expect(ends.allSatisfy { $0 >= at(30) && $0 <= at(40) } && Set(ends).count > 3)
    }

    /// The findings of an interval in which endpoint *n* answered so many of 200 well; the one failure
    /// that makes it look is of endpoint 10.
    private func shares(
        _ good: [Int], total: Int = 200, local: Bool = false,
        _ change: (inout OutlierDetection) -> Void = { _ in }
    ) -> [Finding] {
        var detector = detector(.cluster, change)
        _ = detector.record(address(10), .status(500), now: at(1))
        return detector.intervalEnded(at: at(10)) { address in
            let index = Int(address.port) - 1
            guard index < good.count else { return Volume() }
            return local
                ? Volume(localTotal: total, localGood: good[index])
                : Volume(total: total, good: good[index])
        }.findings
    }

    @Test("A success rate below the mean minus 1.9 deviations is an outlier")
    func successRate() {
        // Envoy's own example: of 50, 100, 100, 100, 100 the threshold is 52.
        #expect(OutlierDetector.threshold([50, 100, 100, 100, 100], factor: 1.9) == 52)
        let good = [100, 200, 200, 200, 200]
        #expect(shares(good).map(\.kind) == [.successRate])
        #expect(shares(good).map(\.address) == [address(1)])
        #expect(shares(good, local: true).map(\.kind) == [.localOriginSuccessRate])
        #expect(shares(good) { $0.successRateStdevFactor = 2000 }.isEmpty)
        // Of four, one that stands apart is never more than 1.74 deviations away.
        let four = Array(good.dropLast())
        #expect(shares(four) { $0.successRateStdevFactor = 1500 }.isEmpty)
        let fewer = shares(four) {
            $0.successRateStdevFactor = 1500
            $0.successRateMinimumHosts = 4
        }
        #expect(fewer.map(\.address) == [address(1)])
        #expect(shares(good) { $0.successRateRequestVolume = 201 }.isEmpty)
        #expect(shares(good) { $0.enforcingSuccessRate = 0 }.map(\.fate) == [.notEnforced])
        #expect(shares([200, 200, 200, 200, 200]).isEmpty)
    }

    @Test("A failure percentage is found from its threshold on, and enforced when asked for")
    func failurePercentage() {
        func change(_ config: inout OutlierDetection) {
            config.successRateMinimumHosts = 100
            config.enforcingFailurePercentage = 100
        }
        let good = [30, 31, 200, 200, 200]
        #expect(shares(good, change).map(\.address) == [address(1)])
        #expect(shares(good, change).map(\.kind) == [.failurePercentage])
        #expect(shares(good, local: true) { change(&$0) }.map(\.fate) == [.notEnforced])
        let local = shares(good, local: true) {
            change(&$0)
            $0.enforcingFailurePercentageLocalOrigin = 100
        }
        #expect(local.map(\.kind) == [.localOriginFailurePercentage])
        #expect(local.map(\.fate) == [.ejected(until: at(40))])
        #expect(shares(Array(good.dropLast()), change).isEmpty)
        #expect(shares([7, 49, 49, 49, 49], total: 49, change).isEmpty)
        #expect(shares([7, 50, 50, 50, 50], total: 50, change).count == 1)
    }

    @Test("One that the success rate ejected is not ejected for its percentage again")
    func once() {
        let findings = shares([0, 200, 200, 200, 200]) { $0.enforcingFailurePercentage = 100 }
        #expect(findings.map(\.kind) == [.successRate])
    }

    @Test("Without a failure there is no deadline, and volumes are not asked for")
    func quiet() {
        var detector = detector()
        _ = record(&detector, 1, statuses(200, 404, 200))
        #expect(detector.nextDeadline == nil)
        _ = record(&detector, 1, statuses(500))
        #expect(detector.nextDeadline == at(10))
        _ = detector.intervalEnded(at: at(10)) { _ in Volume() }
        #expect(detector.nextDeadline == nil)
    }

    @Test("Endpoints that went are forgotten, with their ejections")
    func update() {
        var detector = detector {
            $0.consecutive5xx = 1
            $0.maxEjectionPercent = 10
        }
        _ = detector.record(address(1), .status(500), now: .zero)
        detector.update((2...11).map { (address($0), 0) })
        #expect(detector.ejected.isEmpty)
        #expect(
            detector.record(address(2), .status(500), now: .zero).first?.fate
                == .ejected(until: at(30)))
    }
}
