import MeshBase
import Testing

@testable import MeshProxy

/// What is due when, for one exchange.
@Suite struct ExchangeTimesTests {
    private func at(_ milliseconds: Int64) -> Instant {
        Instant.zero + .milliseconds(milliseconds)
    }

    @Test("Nothing is waited for at first")
    func nothing() {
        var times = ExchangeTimes()
        times.touch(at: at(5))
        #expect(times.next == .distantFuture)
        #expect(times.takeDue(at: at(1_000_000)) == nil)
    }

    @Test("A sign of life moves the idle limit, and what was due no longer is")
    func idle() {
        var times = ExchangeTimes()
        times.idleLimit = .milliseconds(100)
        times.touch(at: at(0))
        #expect(times.next == at(100))
        times.touch(at: at(60))
        #expect(times.takeDue(at: at(100)) == nil)
        #expect(times.next == at(160))
        #expect(times.takeDue(at: at(160)) == .idle)
        #expect(times.takeDue(at: at(160)) == nil)
    }

    @Test("An attempt's silence counts from its beginning, then from the last sign of life")
    func tryIdle() {
        var times = ExchangeTimes()
        times.touch(at: at(0))
        times.boundTry(.milliseconds(50), from: at(30))
        #expect(times.next == at(80))
        times.touch(at: at(70))
        #expect(times.next == at(120))
        times.endAttempt()
        #expect(times.next == .distantFuture)
        times.boundTry(.milliseconds(50), from: at(200))
        #expect(times.takeDue(at: at(249)) == nil)
        #expect(times.takeDue(at: at(250)) == .tryIdle)
        #expect(times.next == .distantFuture)
    }

    @Test("One wait at a time; it goes with its attempt, and the end of all stays")
    func waits() {
        var times = ExchangeTimes()
        times.end = at(500)
        times.wait(for: .perTry, until: at(100))
        times.wait(for: .retry, until: at(40))
        #expect(times.waitsFor(.retry) && !times.waitsFor(.perTry))
        #expect(times.takeDue(at: at(40)) == .wait(.retry))
        #expect(!times.waitsFor(.retry))
        times.wait(for: .silence, until: at(90))
        times.endAttempt()
        #expect(times.next == at(500))
        #expect(times.takeDue(at: at(499)) == nil)
        #expect(times.takeDue(at: at(700)) == .end)
        #expect(times.next == .distantFuture)
    }

    @Test("What is due first comes first; at the same instant an attempt ends before the whole")
    func order() {
        var times = ExchangeTimes()
        times.idleLimit = .milliseconds(300)
        times.touch(at: at(0))
        times.end = at(200)
        times.wait(for: .perTry, until: at(200))
        #expect(times.takeDue(at: at(1_000)) == .wait(.perTry))
        #expect(times.takeDue(at: at(1_000)) == .end)
        #expect(times.takeDue(at: at(1_000)) == .idle)
        #expect(times.takeDue(at: at(1_000)) == nil)
    }
}
