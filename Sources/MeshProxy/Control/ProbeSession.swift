import EventLoop
import HealthProbe
import MeshBase

/// A connection for probes, and the conversations that are had on it one after the other. Between two it
/// stays open where that is wanted and possible; each has its own deadline.
final class ProbeSession: ByteStreamHandler {
    typealias Done = (ProbeSession, ProbeResult, TransportFailure.Kind?) -> Void

    let options: ConnectOptions
    private let loop: any IOLoop
    private let probe: any Probe
    private let timeout: Duration
    private let keepsConnection: Bool
    private var stream: (any ByteStream)?
    private var timer: LoopTimer?
    private var done: Done?

    /// - Parameter timeout: of one conversation, connecting included.
    init(loop: any IOLoop, probe: any Probe, timeout: Duration, keepsConnection: Bool = false) {
        self.loop = loop
        self.probe = probe
        self.timeout = timeout
        self.keepsConnection = keepsConnection
        var options = ConnectOptions()
        options.timeout = timeout
        self.options = options
        timer = LoopTimer(loop.timers) { [unowned self] in
            finish(.failed(.timeout, "timed out after \(timeout)"), .connectTimeout)
        }
    }

    deinit { timer?.stop() }

    /// It is between two conversations and may have another.
    var isIdle: Bool { stream != nil && done == nil }

    /// Has a conversation on a new connection. - Parameter done: hears its result once, later.
    func run(
        connect: (ProbeSession) throws -> any ByteStream,
        done: @escaping Done
    ) {
        self.done = done
        timer?.start(at: loop.now + timeout)
        do {
            stream = try connect(self)
        } catch {
            stream = FailedStream(
                loop: loop, failure: TransportFailure(.tlsNoCertificate, detail: "\(error)"),
                handler: self)
        }
    }

    /// Has another conversation; only while `isIdle`.
    func runAgain(done: @escaping Done) {
        self.done = done
        timer?.start(at: loop.now + timeout)
        converse { probe.start(&$0) }
    }

    /// Ends it, whatever it is at; nobody hears of it.
    func close() {
        done = nil
        timer?.stop()
        stream?.close()
        stream = nil
    }

    func streamConnected() { converse { probe.start(&$0) } }
    func streamReceived(_ bytes: Span<UInt8>) {
        var output = ByteBuffer()
        conclude(probe.received(bytes, &output), output)
    }
    func streamReceivedEnd() {
        if done == nil { close() } else { finish(probe.closed(), .closed) }
    }
    func streamDrained() {}

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        finish(.failed(.network, "\(failure.kind.word) \(failure.detail)"), failure.kind)
    }

    private func converse(_ body: (inout ByteBuffer) -> ProbeResult?) {
        var output = ByteBuffer()
        let result = body(&output)
        conclude(result, output)
    }

    private func conclude(_ result: ProbeResult?, _ output: borrowing ByteBuffer) {
        output.withBytes { if $0.count > 0 { stream?.write($0.span) } }
        if done == nil {
            // Something came between two conversations: the peer may be about to go.
            if !probe.canContinue { close() }
        } else if let result {
            finish(result, nil)
        }
    }

    private func finish(_ result: ProbeResult, _ failure: TransportFailure.Kind?) {
        guard let done else { return }
        self.done = nil
        timer?.stop()
        let isLost = failure != nil || !keepsConnection || !probe.canContinue
        if isLost {
            stream?.close()
            stream = nil
        }
        var kind = failure
        if case .failed = result { kind = failure ?? .protocolError } else { kind = nil }
        done(self, result, kind)
    }
}
