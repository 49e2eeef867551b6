import MeshBase
import MeshConfig
import Testing

@testable import HealthProbe

@Suite struct PingWatchTests {
    private func at(_ milliseconds: Int) -> Instant {
        Instant(nanoseconds: 1_000_000_000) + .milliseconds(milliseconds)
    }

    private func watch(_ keepAlive: ConnectionKeepAlive? = nil) -> PingWatch {
        PingWatch(
            interval: .seconds(1), timeout: .seconds(1), keepAlive: keepAlive,
            random: SeededRandom(seed: 1), now: at(0))
    }

    private struct Event: Equatable {
        var at: Instant
        var step: PingWatch.Step

        init(_ at: Instant, _ step: PingWatch.Step) {
            self.at = at
            self.step = step
        }
    }

    /// Lets time pass to the watch's own deadline.
    private func next(_ watch: inout PingWatch) -> Event {
        let deadline = watch.nextDeadline ?? .distantFuture
        let step = watch.deadlineReached(at: deadline)
        watch.checkInvariants()
        return Event(deadline, step)
    }

    @Test("Silence: asked after 1 s, suspect and asked again after 1.5 s, dead after 2 s")
    func twoMisses() {
        var watch = watch()
        #expect(watch.nextDeadline == nil)
        #expect(watch.requestBegan(now: at(0)) == false)
        #expect(next(&watch) == Event(at(1000), .ping))
        #expect(!watch.isSuspect)
        #expect(next(&watch) == Event(at(1500), .suspect(asksAgain: true)))
        #expect(watch.isSuspect)
        #expect(next(&watch) == Event(at(2000), .dead))
    }

    @Test("A byte after the first miss ends the suspicion, and the watch begins anew")
    func lateAnswer() {
        var watch = watch()
        _ = watch.requestBegan(now: at(0))
        _ = next(&watch)
        _ = next(&watch)
        #expect(watch.received(now: at(1700)) == true)
        #expect(!watch.isSuspect)
        watch.messageReceived()
        _ = watch.requestBegan(now: at(1800))
        #expect(watch.received(now: at(1900)) == false)
        #expect(next(&watch) == Event(at(2900), .ping))
    }

    @Test("Requests that are given up leave the silence standing, answered ones end it")
    func givenUp() {
        var watch = watch()
        for start in [0, 500] {
            _ = watch.requestBegan(now: at(start))
            watch.becameIdle(answered: false)
            #expect(watch.nextDeadline == nil)
        }
        _ = watch.requestBegan(now: at(900))
        #expect(next(&watch) == Event(at(1000), .ping))
        watch.becameIdle(answered: false)
        // What was asked has to be answered, whoever is still there to hear it.
        #expect(next(&watch) == Event(at(1500), .suspect(asksAgain: true)))
        #expect(watch.received(now: at(1600)) == true)
        #expect(watch.nextDeadline == nil)
        _ = watch.requestBegan(now: at(5000))
        watch.becameIdle(answered: true)
        _ = watch.requestBegan(now: at(9000))
        #expect(watch.nextDeadline == at(10_000))
    }

    @Test("A gRPC server is sent no more than three PINGs without a message of its own")
    func modest() {
        var watch = watch()
        var pings = 0
        var now = at(0)
        for second in 0..<100 {
            now = at(second * 1000)
            _ = watch.requestBegan(now: now)
            while let deadline = watch.nextDeadline, deadline < now + .seconds(1) {
                switch watch.deadlineReached(at: deadline) {
                case .ping: pings += 1
                case .suspect(let asksAgain): pings += asksAgain ? 1 : 0
                case .wait, .dead: Issue.record("at \(deadline)")
                }
                // Late each time, but it comes.
                _ = watch.received(now: deadline + .milliseconds(600))
            }
        }
        #expect(pings == 3)
        #expect(watch.nextDeadline == nil || watch.nextDeadline ?? now > now + .seconds(200))
    }

    @Test("After an answer a stream that stays silent is asked about after five intervals")
    func silentStream() {
        var watch = watch()
        _ = watch.requestBegan(now: at(0))
        #expect(next(&watch) == Event(at(1000), .ping))
        _ = watch.received(now: at(1200))
        #expect(watch.nextDeadline == at(6200))
    }

    @Test("PINGs less than five minutes apart are too many, until the peer has sent a message")
    func minutes() {
        var watch = watch()
        for start in [0, 299_000, 598_000] {
            _ = watch.requestBegan(now: at(start))
            #expect(next(&watch) == Event(at(start + 1000), .ping))
            _ = watch.received(now: at(start + 1100))
            watch.becameIdle(answered: true)
        }
        _ = watch.requestBegan(now: at(700_000))
        #expect(watch.nextDeadline == at(599_000 + 310_000))
        // None is left to ask whether the path is dead for this connection, too.
        #expect(!watch.pathDied(now: at(700_500)) && !watch.isSuspect)
        var heard = watch
        heard.messageReceived()
        #expect(heard.nextDeadline == at(701_000))
        _ = watch.received(now: at(1_000_000))
        #expect(watch.nextDeadline == at(1_001_000))
    }

    @Test("What came while nothing was open says nothing on the silence of the next request")
    func idleBytes() {
        var watch = watch()
        _ = watch.received(now: at(100))
        _ = watch.requestBegan(now: at(5000))
        #expect(watch.nextDeadline == at(6000))
    }

    @Test("Where no PING is left the first has both halves of the time")
    func noneLeft() {
        var watch = watch()
        var steps: [PingWatch.Step] = []
        for start in [0, 1000, 2000] {
            _ = watch.requestBegan(now: at(start))
            steps.append(next(&watch).step)
            if start < 2000 { _ = watch.received(now: at(start + 1000)) }
        }
        #expect(steps == [.ping, .ping, .ping])
        #expect(next(&watch) == Event(at(3500), .suspect(asksAgain: false)))
        #expect(next(&watch) == Event(at(4000), .dead))
    }

    @Test("A dead path: half of the time is left, and one miss is the end")
    func pathDied() {
        var watch = watch()
        _ = watch.requestBegan(now: at(0))
        #expect(watch.pathDied(now: at(100)) == true && watch.isSuspect)
        #expect(watch.pathDied(now: at(200)) == false)
        #expect(next(&watch) == Event(at(600), .dead))
    }

    @Test("connection_keepalive: asked at its interval whatever is open, one time-out is the end")
    func configured() {
        var watch = watch(
            ConnectionKeepAlive(interval: .seconds(10), timeout: .seconds(3), jitterPercent: 0))
        #expect(next(&watch) == Event(at(10_000), .ping))
        _ = watch.received(now: at(10_100))
        watch.pong(now: at(10_100))
        _ = watch.requestBegan(now: at(10_200))
        #expect(next(&watch) == Event(at(20_100), .ping))
        // The answer may stand behind other frames.
        _ = watch.received(now: at(22_000))
        #expect(next(&watch) == Event(at(25_000), .dead))
    }

    @Test("interval_jitter adds up to its share, anew for each interval")
    func jitter() {
        var watch = watch(
            ConnectionKeepAlive(interval: .seconds(10), timeout: .seconds(3), jitterPercent: 20))
        var gaps: Set<Int64> = []
        var last = at(0)
        for _ in 0..<20 {
            let due = watch.nextDeadline ?? .zero
            #expect((Duration.seconds(10)..<Duration.seconds(12)).contains(due - last))
            gaps.insert((due - last).milliseconds)
            _ = watch.deadlineReached(at: due)
            watch.pong(now: due)
            last = due
        }
        #expect(gaps.count > 10)
    }

    @Test("connection_idle_interval: a request after so long without a byte brings a PING along")
    func afterIdleness() {
        var watch = watch(
            ConnectionKeepAlive(
                interval: nil, timeout: .seconds(3), idleInterval: .seconds(30)))
        #expect(watch.requestBegan(now: at(30_000)) == false && watch.nextDeadline == nil)
        _ = watch.received(now: at(30_100))
        watch.becameIdle(answered: true)
        // Not from its beginning, from the last byte.
        #expect(watch.requestBegan(now: at(60_100)) == false)
        watch.becameIdle(answered: true)
        #expect(watch.requestBegan(now: at(60_101)) == true)
        // One is under way.
        #expect(watch.requestBegan(now: at(60_200)) == false)
        #expect(next(&watch) == Event(at(63_101), .dead))
    }
}
