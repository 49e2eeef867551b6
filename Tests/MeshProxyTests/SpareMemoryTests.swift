import MeshBase
import Testing

@testable import MeshProxy

@Suite struct SpareMemoryTests {
    private func filled(_ count: Int) -> SpareMemory {
        var memory = SpareMemory()
        for _ in 0..<count { memory.connectionOpened() }
        return memory
    }

    private let start = Instant.zero + .seconds(100)

    @Test("Memory is given back when half of many connections are gone and it is quiet")
    func burst() {
        var memory = filled(1000)
        for _ in 0..<499 { _ = memory.connectionClosed(at: start) }
        #expect(memory.nextDeadline == nil)
        let half = memory.connectionClosed(at: start)
        #expect(half == start + SpareMemory.quiet)
        let later = start + .milliseconds(100)
        for _ in 0..<400 { _ = memory.connectionClosed(at: later) }
        #expect(memory.nextDeadline == later + SpareMemory.quiet)
        let early = memory.deadlineReached(at: start + SpareMemory.quiet)
        let due = memory.deadlineReached(at: later + SpareMemory.quiet)
        #expect(!early && due)
        #expect(memory.nextDeadline == nil && memory.open == 100)
    }

    @Test("It waits no longer than two seconds for quiet")
    func longFall() {
        var memory = filled(10_000)
        var now = start
        for _ in 0..<9000 {
            _ = memory.connectionClosed(at: now)
            now = now + .milliseconds(1)
        }
        let begun = start + .milliseconds(4999)
        #expect(memory.nextDeadline == begun + SpareMemory.longestWait)
    }

    @Test("Few connections are not worth it")
    func few() {
        var memory = filled(SpareMemory.least - 1)
        for _ in 0..<SpareMemory.least - 1 { _ = memory.connectionClosed(at: start) }
        #expect(memory.nextDeadline == nil)
    }

    @Test("Connections that come back meanwhile keep what is spare")
    func comeBack() {
        var memory = filled(1000)
        for _ in 0..<600 { _ = memory.connectionClosed(at: start) }
        for _ in 0..<600 { memory.connectionOpened() }
        let given = memory.deadlineReached(at: start + .seconds(1))
        #expect(!given)
    }

    @Test("A second burst within ten seconds waits for them to pass")
    func pause() {
        var memory = filled(1000)
        for _ in 0..<1000 { _ = memory.connectionClosed(at: start) }
        let first = start + SpareMemory.quiet
        let given = memory.deadlineReached(at: first)
        #expect(given)
        for _ in 0..<1000 { memory.connectionOpened() }
        for _ in 0..<1000 { _ = memory.connectionClosed(at: first + .seconds(1)) }
        #expect(memory.nextDeadline == first + SpareMemory.pause)
    }
}
