import EventLoop
import MeshBase
import Testing

@Suite struct TimerQueueTests {
    @Test("Timers that were stopped do not stay in memory until their time comes")
    func sweep() {
        let queue = TimerQueue()
        var isHeld = true
        for _ in 0..<10_000 {
            let guest = Guest()
            let timer = LoopTimer(queue) { [unowned guest] in guest.touch() }
            timer.start(at: Instant.zero + .seconds(3600))
            timer.stop()
            isHeld = queue.count > 512
        }
        #expect(!isHeld)
    }

    @Test("A sweep loses no timer that runs, and keeps their order")
    func order() {
        let queue = TimerQueue()
        var fired: [Int] = []
        let timers = (0..<1000).map { number in LoopTimer(queue) { fired.append(number) } }
        for (number, timer) in timers.enumerated() {
            timer.start(at: Instant(nanoseconds: Int64(1000 - number)))
        }
        for number in stride(from: 1, to: 1000, by: 2) { timers[number].stop() }
        // Enough new ones to bring the next sweep about.
        let more = (0..<2000).map { _ in LoopTimer(queue) {} }
        for timer in more { timer.start(at: Instant(nanoseconds: 5000)) }
        timers[1].start(at: Instant(nanoseconds: 2000))
        queue.fireDue(now: Instant(nanoseconds: 3000))
        #expect(fired == Array(stride(from: 998, through: 0, by: -2)) + [1])
    }
}

private final class Guest {
    private var touches = 0

    func touch() { touches += 1 }
}
