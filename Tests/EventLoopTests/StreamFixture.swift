import EventLoop
import MeshBase
import MeshSimulation

/// One pair of loops to tell the same story on: real sockets, or the simulated network.
///
/// On real sockets both ends live on one loop.
protocol StreamFixture {
    var loop: any IOLoop { get }
    /// An address that nothing listens on.
    var unused: SocketAddress { get }
    var anyPort: SocketAddress { get }
    /// Lets things happen until `condition` is false; false when it takes far too long.
    func run(while condition: () -> Bool) -> Bool
}

struct RealFixture: StreamFixture {
    let libev = LibevLoop(seed: 1)
    var loop: any IOLoop { libev }
    // Port 1 of loopback: nobody serves it.
    var unused: SocketAddress { .loopback(port: 1) }
    var anyPort: SocketAddress { .loopback(port: 0) }

    func run(while condition: () -> Bool) -> Bool {
        withoutActuallyEscaping(condition) { condition in
            let watch = Watch(libev, condition)
            libev.atTurnEnd(watch)
            libev.run()
            watch.timer?.stop()
            return !condition()
        }
    }

    /// Looks at the condition after each turn in which something happened.
    private final class Watch: TurnEndTask {
        let loop: LibevLoop
        let condition: () -> Bool
        var timer: LoopTimer?
        let end: Instant

        init(_ loop: LibevLoop, _ condition: @escaping () -> Bool) {
            self.loop = loop
            self.condition = condition
            end = loop.now + .seconds(20)
            timer = LoopTimer(loop.timers) { [unowned self] in turnEnded() }
        }

        func turnEnded() {
            if !condition() || loop.now > end { return loop.stop() }
            timer?.start(at: loop.now + .milliseconds(1))
        }
    }
}

struct SimulatedFixture: StreamFixture {
    let network: SimulatedNetwork
    let simulated: SimulatedLoop
    var loop: any IOLoop { simulated }
    var unused: SocketAddress { .ipv4(0x0A00_0001, port: 1) }
    var anyPort: SocketAddress { .ipv4(0x0A00_0001, port: 0) }

    init(seed: UInt64) {
        network = SimulatedNetwork(seed: seed)
        network.conditions = .weather(&network.random)
        simulated = network.makeLoop("host", addresses: ["10.0.0.1"])
    }

    func run(while condition: () -> Bool) -> Bool {
        network.run(while: condition)
    }
}

/// One end of a connection that writes down what it hears.
final class Recorder: ByteStreamHandler, StreamAcceptor {
    var stream: (any ByteStream)?
    var connected = 0
    var bytes: [UInt8] = []
    var ends = 0
    var drained = 0
    var failure: TransportFailure?
    var closes = 0
    var isInCall = false
    var heardInsideACall = false
    var onBytes: ((Recorder) -> Void)?
    var onEnd: ((Recorder) -> Void)?

    var text: String { String(decoding: bytes, as: UTF8.self) }

    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?) {
        self.stream = stream
        stream.handler = self
    }

    /// Calls the stream, and notices when it calls back from inside.
    func call(_ body: (any ByteStream) -> Void) {
        guard let stream else { return }
        isInCall = true
        body(stream)
        isInCall = false
    }

    func write(_ bytes: [UInt8]) {
        call { $0.write(bytes.span) }
    }

    func write(_ text: String) {
        write(Array(text.utf8))
    }

    private func heard() {
        if isInCall { heardInsideACall = true }
    }

    func streamConnected() {
        heard()
        connected += 1
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        heard()
        bytes.withUnsafeBufferPointer { self.bytes.append(contentsOf: $0) }
        onBytes?(self)
    }

    func streamReceivedEnd() {
        heard()
        ends += 1
        onEnd?(self)
    }

    func streamDrained() {
        heard()
        drained += 1
    }

    func streamClosed(_ failure: TransportFailure) {
        heard()
        closes += 1
        self.failure = failure
    }
}
