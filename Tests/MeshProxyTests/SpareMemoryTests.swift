import MeshBase
import Testing

@testable import MeshProxy

@Suite struct SpareMemoryTests {
    private func filled(_ count: Int) -> SpareMemory {
        var memory = SpareMemory()
        for _ in 0..<count { memory.connectionOpened() }
        return memory
    }

    private func reached(_ memory: inout SpareMemory, _ now: Instant) -> Bool {
        memory.deadlineReached(at: now)
    }

    private func closed(_ memory: inout SpareMemory, _ now: Instant) -> Instant? {
        memory.connectionClosed(at: now)
    }

    private let start = Instant.zero + .seconds(100)

    @Test("Memory is given back when half of many connections are gone and it is quiet")
    func burst() {
        var memory = filled(1000)
        for _ in 0..<499 { #expect(closed(&memory, start) == nil) }
        #expect(closed(&memory, start) == start + SpareMemory.quiet)
        let later = start + .milliseconds(100)
        for _ in 0..<400 { _ = memory.connectionClosed(at: later) }
        #expect(memory.nextDeadline == later + SpareMemory.quiet)
        #expect(reached(&memory, start + SpareMemory.quiet) == false)
        #expect(reached(&memory, later + SpareMemory.quiet) == true)
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
        for _ in 0..<SpareMemory.least - 1 { #expect(closed(&memory, start) == nil) }
    }

    @Test("Connections that come back meanwhile keep what is spare")
    func comeBack() {
        var memory = filled(1000)
        for _ in 0..<600 { _ = memory.connectionClosed(at: start) }
        for _ in 0..<600 { memory.connectionOpened() }
        #expect(reached(&memory, start + .seconds(1)) == false)
    }

    @Test("A second burst within ten seconds waits for them to pass")
    func pause() {
        var memory = filled(1000)
        for _ in 0..<1000 { _ = memory.connectionClosed(at: start) }
        let first = start + SpareMemory.quiet
        #expect(reached(&memory, first) == true)
        for _ in 0..<1000 { memory.connectionOpened() }
        for _ in 0..<1000 { _ = memory.connectionClosed(at: first + .seconds(1)) }
        #expect(memory.nextDeadline == first + SpareMemory.pause)
    }
}
