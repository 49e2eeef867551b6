import LoadBalancer
import MeshBase
import MeshConfig
import Testing

/// Two priorities, of which the first goes and comes back.
private struct Return {
    var ramp: FailbackRamp
    var now = Instant(nanoseconds: 1_000_000_000)
    var events: [FailbackRamp.Event] = []

    init(_ settings: FailbackSettings = FailbackSettings()) {
        ramp = FailbackRamp(settings)
        advance(usable: true)
    }

    @discardableResult
    mutating func advance(usable: Bool) -> [FailbackRamp.Event] {
        defer { ramp.checkInvariants() }
        let changes = ramp.advance(
            usable: [usable, true], load: usable ? [100, 0] : [0, 100], now: now)
        #expect(changes.allSatisfy { $0.priority == 0 })
        events += changes.map(\.event)
        return changes.map(\.event)
    }

    mutating func outage(_ length: Duration) {
        advance(usable: false)
        now = now + length
        advance(usable: true)
    }

    /// Follows the ramp's own deadlines for this long.
    mutating func run(_ length: Duration) {
        let end = now + length
        while ramp.nextDeadline <= end {
            now = ramp.nextDeadline
            advance(usable: true)
        }
        now = end
    }

    mutating func requests(_ count: Int, failing: Int = 0) {
        for index in 0..<count {
            if ramp.ended(priority: 0, failed: index >= count - failing) { advance(usable: true) }
        }
    }
}

@Suite struct FailbackRampTests {
    @Test("After a long outage: 10 s without load, then ten steps in 30 s")
    func longOutage() {
        var back = Return()
        back.outage(.seconds(120))
        #expect(back.events == [.out, .holding(.seconds(10))])
        #expect(back.ramp.percents == [0, 100] && back.ramp.isActive)
        back.run(.milliseconds(9999))
        #expect(back.ramp.percents == [0, 100])
        back.run(.milliseconds(1))
        #expect(back.ramp.percents == [10, 100])
        back.run(.seconds(15))
        #expect(back.ramp.percents == [60, 100])
        back.run(.seconds(15))
        #expect(back.events.last == .finished && back.events.count == 13)
        #expect(!back.ramp.isActive && back.ramp.nextDeadline == .distantFuture)
    }

    @Test("A short outage is over soon: hold and ramp are in proportion", arguments: [1, 2, 5])
    func shortOutage(seconds: Int) {
        var back = Return()
        back.outage(.seconds(seconds))
        #expect(back.events.last == .holding(.seconds(seconds)))
        back.run(.seconds(seconds * 4) - .milliseconds(1))
        #expect(back.ramp.percents == [100, 100] && back.ramp.isActive)
        back.run(.milliseconds(1))
        #expect(back.events.last == .finished)
    }

    @Test("Who is asked for late has lost no time, and may be out again at once")
    func late() {
        var back = Return()
        back.outage(.seconds(120))
        back.now = back.now + .milliseconds(20_500)
        #expect(back.advance(usable: true) == [.forward(percent: 40)])
        #expect(back.ramp.nextDeadline == back.now + .milliseconds(1500))
        back.now = back.now + .milliseconds(19_500)
        #expect(back.advance(usable: true) == [.finished])
        #expect(back.advance(usable: false) == [.out])
        #expect(back.ramp.nextDeadline == .distantFuture)
    }

    @Test("Even a blink is held for a second")
    func blink() {
        var back = Return()
        back.outage(.milliseconds(20))
        #expect(back.events == [.out, .holding(.seconds(1))])
    }

    @Test("Too many failures take a step back, and few do not")
    func stepsBack() {
        var back = Return()
        back.outage(.seconds(120))
        back.run(.seconds(10 + 9))
        #expect(back.ramp.percents[0] == 40)
        back.requests(100, failing: 5)
        #expect(back.ramp.percents[0] == 40)
        back.requests(1, failing: 1)
        #expect(back.ramp.percents[0] == 30 && back.events.last == .back(percent: 30))
        // The step begins anew, with a count of its own.
        back.run(.milliseconds(2999))
        #expect(back.ramp.percents[0] == 30)
        back.run(.milliseconds(1))
        #expect(back.ramp.percents[0] == 40)
    }

    @Test("A bad answer is one failure of one request, and what ends in the hold is none")
    func badAnswers() {
        var back = Return(FailbackSettings(maxErrorPercent: 60))
        back.outage(.seconds(120))
        #expect(back.ramp.ended(priority: 0, failed: true) == false)
        #expect(back.ramp.answeredBadly(priority: 0) == false)
        back.run(.seconds(10 + 9))
        func answer(_ count: Int, badly: Bool) {
            for _ in 0..<count {
                if badly { _ = back.ramp.answeredBadly(priority: 0) }
                #expect(back.ramp.ended(priority: 0, failed: false) == false)
            }
        }
        answer(10, badly: true)
        #expect(back.advance(usable: true) == [.back(percent: 30)])
        answer(4, badly: false)
        answer(6, badly: true)
        #expect(back.advance(usable: true) == [])
        answer(1, badly: true)
        #expect(back.advance(usable: true) == [.back(percent: 20)])
    }

    @Test("Where all may fail nothing is a step back, nor is an answer before its request ends")
    func allMayFail() {
        var back = Return(FailbackSettings(maxErrorPercent: 100))
        back.outage(.seconds(120))
        back.run(.seconds(10 + 9))
        #expect(back.ramp.answeredBadly(priority: 0) == false)
        #expect(back.ramp.ended(priority: 0, failed: true) == false)
    }

    @Test("One failure in three is over 33 percent, and not over 34", arguments: [33, 34])
    func edge(percent: Int) {
        var back = Return(FailbackSettings(maxErrorPercent: percent))
        back.outage(.seconds(120))
        back.run(.seconds(10 + 9))
        back.requests(3, failing: 1)
        #expect(back.ramp.percents[0] == (percent == 33 ? 30 : 40))
    }

    @Test("Failures at the first step begin the hold again")
    func backToHold() {
        var back = Return()
        back.outage(.seconds(4))
        back.run(.seconds(4))
        back.requests(1, failing: 1)
        #expect(back.events.suffix(2) == [.forward(percent: 10), .holding(.seconds(4))])
    }

    @Test("An outage in the middle of the return is the old one, and makes the hold longer")
    func outAgain() {
        var back = Return()
        back.outage(.seconds(2))
        back.run(.seconds(3))
        back.outage(.milliseconds(500))
        #expect(back.events.suffix(2) == [.out, .holding(.milliseconds(5500))])
        back.advance(usable: false)
        #expect(back.ramp.nextDeadline == .distantFuture && !back.ramp.isActive)
    }

    @Test("Who had no load, or has never been there, comes at once")
    func noLoadBefore() {
        var ramp = FailbackRamp()
        #expect(ramp.advance(usable: [false, true], load: [0, 100], now: .zero) == [])
        let later = Instant.zero + .seconds(50)
        #expect(ramp.advance(usable: [true, true], load: [100, 0], now: later) == [])
        // The second priority goes and comes while the first has all the load.
        #expect(ramp.advance(usable: [true, false], load: [100, 0], now: later) == [])
        #expect(ramp.advance(usable: [true, true], load: [100, 0], now: later) == [])
        #expect(!ramp.isActive && ramp.percents == [100, 100])
    }

    @Test("Turned off it does nothing")
    func off() {
        var back = Return(FailbackSettings(isEnabled: false))
        back.outage(.seconds(60))
        #expect(back.events == [] && !back.ramp.isActive)
    }

    @Test("Shares: what one does not get yet goes where it would go if that one were out")
    func shares() {
        var back = Return()
        back.outage(.seconds(120))
        let all = PriorityLoad.Level(hosts: 4, healthy: 4)
        let half = PriorityLoad.Level(hosts: 4, healthy: 2)
        let none = PriorityLoad.Level(hosts: 4, healthy: 0)
        func load(_ levels: [PriorityLoad.Level]) -> [Int] {
            back.ramp.ramped(PriorityLoad(levels: levels), levels) { PriorityLoad(levels: $0) }
                .healthyLoad
        }
        #expect(load([all, all]) == [0, 100])
        back.run(.seconds(10 + 9))
        #expect(load([all, all]) == [40, 60])
        // Of the 70 that the formulas give to a priority of which half is there.
        #expect(load([half, all]) == [28, 72])
        // When nobody else is there it gets everything at once.
        #expect(load([all, none]) == [100, 0])
        let quarter = PriorityLoad.Level(hosts: 4, healthy: 1)
        #expect(load([all, quarter]) == [100, 0])
        let pair = [
            PriorityLoad.Level(hosts: 4, healthy: 2, degraded: 2),
            .init(hosts: 4, healthy: 0, degraded: 4),
        ]
        let ramped = back.ramp.ramped(PriorityLoad(levels: pair), pair) { PriorityLoad(levels: $0) }
        #expect(ramped.healthyLoad == [28, 0] && ramped.degradedLoad == [12, 60])
    }

    @Test("Two that come back share with each other, the worse one laid over first")
    func two() {
        var ramp = FailbackRamp()
        var now = Instant.zero + .seconds(1)
        func advance(_ isBack: Bool) {
            _ = ramp.advance(
                usable: [isBack, isBack, true], load: isBack ? [70, 30, 0] : [0, 0, 100], now: now)
        }
        for (isBack, wait) in [(true, 0), (false, 120), (true, 19), (true, 0)] {
            advance(isBack)
            now = now + .seconds(wait)
        }
        #expect(ramp.percents == [40, 40, 100])
        let levels = [2, 4, 4].map { PriorityLoad.Level(hosts: 4, healthy: $0) }
        let load = ramp.ramped(PriorityLoad(levels: levels), levels) { PriorityLoad(levels: $0) }
        // 70, 30, 0; of the 30 come 12, and of 70, 12, 18 are 40 percent 28, 4, 7; 60 go to the third.
        #expect(load.healthyLoad == [28, 4, 68])
        // A new priority changes nothing for those that were there.
        _ = ramp.advance(usable: [true, true, true, true], load: [70, 30, 0, 0], now: now)
        #expect(ramp.percents == [40, 40, 100, 100])
    }
}
