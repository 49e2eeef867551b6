import EventLoop
import MeshBase
import Testing

@Suite("The real loop")
struct LibevLoopTests {
    @Test("Messages from another thread arrive in order")
    func mailbox() throws {
        let loop = LibevLoop(seed: 1)
        let here = Mailbox<Int>()
        let there = Mailbox<Mailbox<Int>>()
        var got: [Int] = []
        here.receive(on: loop) { number in
            got.append(number)
            if number == 999 { loop.stop() }
        }
        let thread = try LoopThread(name: "poster", seed: 2) { loop in
            there.receive(on: loop) { answers in
                for number in 0..<1000 { answers.post(number) }
                loop.stop()
            }
            loop.run()
        }
        there.post(here)
        loop.run()
        thread.join()
        #expect(got == Array(0..<1000))
        #expect(!there.post(here), "the receiving loop is gone")
    }

    @Test("Timers fire in order of their deadlines, moved and stopped ones as last told")
    func timers() {
        let loop = LibevLoop(seed: 1)
        var fired: [String] = []
        let start = loop.now
        let late = LoopTimer(loop.timers) {
            fired.append("late")
            loop.stop()
        }
        let moved = LoopTimer(loop.timers) { fired.append("moved") }
        let stopped = LoopTimer(loop.timers) { fired.append("stopped") }
        let early = LoopTimer(loop.timers) { fired.append("early") }
        moved.start(at: start + .milliseconds(1))
        moved.start(at: start + .milliseconds(6))
        stopped.start(at: start + .milliseconds(3))
        stopped.stop()
        late.start(at: start + .milliseconds(9))
        early.start(at: start + .milliseconds(4))
        loop.run()
        #expect(fired == ["early", "moved", "late"])
        #expect(loop.now >= start + .milliseconds(9))
        #expect(loop.timers.nextDeadline() == nil)
    }

    @Test("A timer that is stopped and started again and again keeps one place in the queue")
    func stoppedTimerKeepsItsPlace() {
        let queue = TimerQueue()
        var fired = 0
        let timer = LoopTimer(queue) { fired += 1 }
        for millisecond in 0..<5 {
            timer.start(at: .zero + .milliseconds(100 + millisecond))
            timer.stop()
            queue.fireDue(now: .zero + .milliseconds(millisecond))
            #expect(queue.count == 1 && queue.nextLook == .zero + .milliseconds(100))
        }
        queue.fireDue(now: .zero + .milliseconds(100))
        #expect(fired == 0 && queue.count == 0 && queue.nextLook == nil)
    }

    @Test("A timer that starts itself for now does not hold the loop")
    func restlessTimer() {
        let queue = TimerQueue()
        var fired = 0
        var timer: LoopTimer?
        timer = LoopTimer(queue) {
            fired += 1
            timer?.start(at: .zero)
        }
        timer?.start(at: .zero)
        queue.fireDue(now: .zero)
        #expect(fired == 1)
        queue.fireDue(now: .zero)
        #expect(fired == 2)
        timer = nil
    }

    @Test("An idle loop makes no turns")
    func idle() {
        let loop = LibevLoop(seed: 1)
        var turns = 0
        let counter = TurnCounter { turns += 1 }
        let first = LoopTimer(loop.timers) { loop.atTurnEnd(counter) }
        let last = LoopTimer(loop.timers) { loop.stop() }
        first.start(at: loop.now + .milliseconds(1))
        last.start(at: loop.now + .milliseconds(60))
        loop.run()
        #expect(turns == 1)
        #expect(loop.turns <= 4)
    }

    private final class TurnCounter: TurnEndTask {
        let count: () -> Void
        init(_ count: @escaping () -> Void) { self.count = count }
        func turnEnded() { count() }
    }

    @Test("A name is looked up without blocking the loop")
    func resolve() {
        let loop = LibevLoop(seed: 1)
        var answer: [SocketAddress] = []
        loop.resolve("localhost") { found in
            answer = found
            loop.stop()
        }
        loop.run()
        #expect(answer.contains(.loopback(port: 0)) || answer.contains(.ipv6(0, 1, port: 0)))
    }

    @Test(
        "Unix sockets connect by path and by abstract name",
        arguments: ["/tmp/meshproxy-test-\(UInt64.random(in: 0 ... .max)).sock", "@meshproxy-test"])
    func unixSockets(_ path: String) throws {
        let fixture = RealFixture()
        let server = Recorder()
        let client = Recorder()
        let listener = try fixture.libev.listen(
            .pipe(path), options: ListenOptions(), acceptor: server)
        defer { listener.close() }
        #expect(throws: SocketError.self) {
            try fixture.libev.listen(.pipe(path), options: ListenOptions(), acceptor: server)
        }
        client.stream = fixture.libev.connect(
            .pipe(path), options: ConnectOptions(), handler: client)
        client.write("hello")
        #expect(fixture.run { server.bytes.count < 5 })
        #expect(server.text == "hello" && client.connected == 1)
        client.stream?.abort()
        server.stream?.abort()
    }

    @Test("A taken address is refused with the operation and its errno")
    func taken() throws {
        let loop = LibevLoop(seed: 1)
        let acceptor = Recorder()
        let first = try loop.listen(
            .loopback(port: 0), options: ListenOptions(), acceptor: acceptor)
        defer { first.close() }
        let error = #expect(throws: SocketError.self) {
            try loop.listen(first.address, options: ListenOptions(), acceptor: acceptor)
        }
        #expect(error?.description.contains("EADDRINUSE") == true)
    }
}
