import MeshBase
import MeshConfig
import Testing

@testable import MeshProxy

private func at(_ milliseconds: Int) -> Instant { .zero + .milliseconds(milliseconds) }

private func drill(
    _ fault: Drill.Fault = .refuse, percent: Int = 100, abortAtErrors: Int = 5
) -> Drill {
    Drill(
        number: 1, cluster: "svc", fault: fault, percent: percent, abortAtErrors: abortAtErrors,
        began: at(0), ends: at(30_000))
}

@Suite struct DrillRunTests {
    @Test("Of the attempts on local endpoints the given share is hit, and none of the others")
    func share() {
        var run = DrillRun(drill(percent: 30), random: SeededRandom(seed: 1))
        var hit = 0
        for index in 0..<1000 {
            if run.attempted(isLocal: true, isRetry: false, now: at(index)) { hit += 1 }
            let isHit = run.attempted(isLocal: false, isRetry: true, now: at(index))
            #expect(!isHit)
        }
        #expect((250...350).contains(hit) && run.counts.hit == hit)
    }

    @Test("It ends by its own clock, with nobody to stop it")
    func ends() {
        var run = DrillRun(drill(), random: SeededRandom(seed: 1))
        let before = run.attempted(isLocal: true, isRetry: false, now: at(29_999))
        let after = run.attempted(isLocal: true, isRetry: false, now: at(30_000))
        #expect(before && !after)
        #expect(run.phase == .returning && run.stopped == at(30_000))
    }

    @Test("Stopped, it hits nothing any more")
    func stops() {
        var run = DrillRun(drill(), random: SeededRandom(seed: 1))
        run.stop(at: at(100))
        let isHit = run.attempted(isLocal: true, isRetry: false, now: at(101))
        #expect(!isHit)
    }

    @Test("Detection is the first request that goes elsewhere by itself; a retry is none")
    func detection() {
        var run = DrillRun(drill(), random: SeededRandom(seed: 1))
        // Before anything was hit the other priority may have had its share.
        _ = run.attempted(isLocal: false, isRetry: false, now: at(1))
        _ = run.attempted(isLocal: true, isRetry: false, now: at(10))
        _ = run.attempted(isLocal: false, isRetry: true, now: at(11))
        #expect(run.counts.moved == nil)
        _ = run.attempted(isLocal: false, isRetry: false, now: at(15))
        #expect(run.counts.moved == at(15) && run.counts.firstHit == at(10))
    }

    @Test("It is over when the priority is whole again and answers, and not before")
    func returns() {
        var run = DrillRun(drill(), random: SeededRandom(seed: 1))
        func answered(_ run: inout DrillRun, _ time: Int) {
            run.requestEnded(
                failed: false, isLocal: true, attempts: 1, began: at(time - 1), now: at(time))
        }
        answered(&run, 10)
        run.turned(isOut: true)
        answered(&run, 40_000)
        #expect(run.counts.returned == nil && run.phase == .returning)
        run.turned(isOut: false)
        answered(&run, 50_000)
        #expect(run.counts.returned == at(50_000) && run.phase == .over)
        #expect(run.counts.requests == 1)
    }

    @Test("A return that never comes is not waited for without end")
    func neverReturns() {
        var run = DrillRun(drill(), random: SeededRandom(seed: 1))
        run.requestEnded(failed: true, isLocal: true, attempts: 3, began: at(1), now: at(2))
        #expect(run.counts.retries == 2)
        run.advance(to: at(209_999))
        #expect(run.phase == .returning)
        run.advance(to: at(210_000))
        #expect(run.phase == .over && run.counts.returned == nil)
    }
}

@Suite struct PlaneGateTests {
    private func wrong(_ percent: Int) -> PlaneGate {
        var drill = drill(.planeWrong, percent: percent)
        drill.plane = "first"
        return PlaneGate(drill: drill, index: 0)
    }

    private var snapshot: Snapshot {
        func place(_ region: String, _ priority: Int, _ ports: ClosedRange<UInt16>)
            -> LocalityEndpoints
        {
            LocalityEndpoints(
                locality: Locality(region: region), priority: priority,
                endpoints: ports.map { Endpoint(address: .loopback(port: $0)) })
        }
        let endpoints = EndpointSet(
            localities: [place("west", 1, 11...12), place("east", 0, 1...3)])
        return Snapshot(clusters: [
            Cluster(name: "other", endpoints: endpoints),
            Cluster(name: "svc", endpoints: endpoints),
        ])
    }

    private func left(_ percent: Int) -> [UInt16] {
        wrong(percent).passed(snapshot, from: 0).clusters[1].endpoints.addresses.map(\.port)
    }

    @Test("The best endpoints go first, of one cluster and one control plane")
    func wiped() {
        #expect(left(100) == [])
        #expect(left(60) == [11, 12])
        #expect(left(1) == [11, 12, 2, 3])
        let passed = wrong(100).passed(snapshot, from: 0)
        #expect(passed.clusters[0] == snapshot.clusters[0])
        #expect(
            passed.clusters[1].endpoints.generation != snapshot.clusters[1].endpoints.generation)
        #expect(wrong(100).passed(snapshot, from: 1).clusters == snapshot.clusters)
    }

    @Test("Only the one that it is about is cut off")
    func shut() {
        let gate = PlaneGate(drill: drill(.planeDown), index: 1)
        #expect(gate.shuts(1) && !gate.shuts(0) && !wrong(100).shuts(0))
        #expect(gate.passed(snapshot, from: 1).clusters == snapshot.clusters)
    }
}

@Suite struct DrillWatchTests {
    private func counts(_ requests: Int, failed: Int) -> DrillCounts {
        var counts = DrillCounts()
        counts.requests = requests
        counts.failed = failed
        return counts
    }

    @Test("What all workers together lost calls it off, beyond the limit and not at it")
    func abort() {
        var watch = DrillWatch(drill())
        let atLimit = watch.received(
            counts(100, failed: 5), .running, worker: 0, now: at(50))
        let beyond = watch.received(
            counts(100, failed: 6), .running, worker: 1, now: at(90))
        #expect(!atLimit && beyond)
        #expect(watch.reason == "11 of 200 requests had failed, and the limit is 5 %")
        // Once is enough.
        let again = watch.received(counts(100, failed: 9), .running, worker: 1, now: at(95))
        #expect(!again)
        #expect(watch.phase(at: at(95)) == .returning)
    }

    @Test("One failure among the first few does not end it, unless none is allowed")
    func fewRequests() {
        var watch = DrillWatch(drill())
        let ends = watch.received(counts(2, failed: 1), .running, worker: 0, now: at(1))
        var strict = DrillWatch(drill(abortAtErrors: 0))
        let endsStrict = strict.received(
            counts(2, failed: 1), .running, worker: 0, now: at(1))
        #expect(!ends && endsStrict)
    }

    @Test("It is over when every worker that took part says so, and if none did, at its end")
    func phases() {
        var watch = DrillWatch(drill())
        #expect(watch.phase(at: at(29_999)) == .running && watch.phase(at: at(30_000)) == .over)
        _ = watch.received(counts(1, failed: 0), .running, worker: 0, now: at(10))
        #expect(watch.phase(at: at(30_000)) == .returning)
        _ = watch.received(counts(1, failed: 0), .over, worker: 0, now: at(40_000))
        #expect(watch.phase(at: at(40_000)) == .over)
    }

    @Test("Times are from the start, from the first hit and from the end")
    func status() {
        var watch = DrillWatch(drill())
        var one = counts(10, failed: 0)
        one.firstHit = at(100)
        one.moved = at(104)
        one.firstRemote = at(110)
        one.returned = at(42_000)
        var other = counts(10, failed: 0)
        other.firstHit = at(102)
        other.moved = at(120)
        _ = watch.received(one, .over, worker: 0, now: at(50_000))
        _ = watch.received(other, .returning, worker: 1, now: at(50_000))
        let status = watch.status(at: at(50_000))
        #expect(status.firstRemote == .milliseconds(110) && status.detection == .milliseconds(20))
        #expect(status.failback == nil && status.state == .returning)
        other.returned = at(43_000)
        _ = watch.received(other, .over, worker: 1, now: at(50_000))
        #expect(watch.status(at: at(50_000)).failback == .seconds(13))
    }
}

@Suite struct DrillStatusTests {
    private func status(_ change: (inout DrillStatus) -> Void = { _ in }) -> DrillStatus {
        var status = DrillStatus()
        status.number = 3
        status.cluster = "shop"
        status.fault = "refuse"
        status.percent = 100
        status.planned = .seconds(30)
        status.elapsed = .seconds(30)
        status.requests = 3000
        status.hit = 7
        status.retries = 1
        status.firstRemote = .milliseconds(12)
        status.detection = .zero
        status.failback = .milliseconds(43_200)
        change(&status)
        return status
    }

    @Test("What the page says is read back as it was")
    func roundTrip() {
        let plain = status()
        #expect(DrillStatus(plain.text) == plain)
        let early = status {
            $0.reason = "7 of 20: too many"
            $0.state = .returning
            $0.failback = nil
        }
        #expect(DrillStatus(early.text) == early)
        #expect(DrillStatus("there was no drill\n") == nil)
    }

    @Test("The report of a drill that went well")
    func passed() {
        #expect(
            status().report == """
                drill of shop: refuse for 100 % of attempts
                  ended by itself after 30 s
                  3000 requests: none failed
                  7 attempts met the fault, 1 retry
                  first answer from elsewhere 12 ms after the start
                  new requests went elsewhere less than 1 ms after the first hit
                  all traffic was back 43.2 s after the end
                  passed

                """)
        #expect(status().isPassed)
    }

    @Test("The report of one that was called off")
    func calledOff() {
        let early = status {
            $0.fault = "empty"
            $0.reason = "11 of 200 requests had failed, and the limit is 5 %"
            $0.elapsed = .milliseconds(1200)
            $0.requests = 1
            $0.failed = 1
            $0.hit = 0
            $0.retries = 0
            $0.firstRemote = nil
            $0.detection = nil
            $0.failback = nil
        }
        #expect(
            early.report == """
                drill of shop: empty for 100 % of the endpoints
                  called off after 1.2 s: 11 of 200 requests had failed, and the limit is 5 %
                  1 request: 1 failed
                  0 attempts met the fault, 0 retries
                  nothing was answered from elsewhere
                  new requests were never sent elsewhere
                  the traffic has not come back
                  not passed

                """)
        #expect(!early.isPassed)
    }

    @Test("Without traffic it says that it shows nothing")
    func silent() {
        #expect(status { $0.requests = 0 }.report.contains("no request came"))
    }

    @Test("Command-line words become a request")
    func options() {
        #expect(DrillOptions.seconds("30s") == 30 && DrillOptions.seconds("2m") == 120)
        #expect(DrillOptions.seconds("121s") == nil && DrillOptions.seconds("3m") == nil)
        #expect(DrillOptions.seconds("0s") == nil && DrillOptions.seconds("soon") == nil)
        #expect(DrillOptions(cluster: "a|80 b").target.hasPrefix("/drill?cluster=a%7C80%20b&"))
        #expect(DrillProcess.address("unix:/run/admin") == .pipe("/run/admin"))
        #expect(DrillProcess.address("localhost:15000") == SocketAddress("127.0.0.1:15000"))
        #expect(DrillProcess.address("nowhere") == nil)
    }
}
