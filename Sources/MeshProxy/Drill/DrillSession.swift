import EventLoop
import MeshBase

/// What `meshproxy drill` asks for.
public struct DrillOptions: Sendable {
    public var cluster: String
    public var fault = "refuse"
    /// With faults of control planes: which one, by its cluster; `nil` is the one in force.
    public var controlPlane: String?
    public var percent = 100
    public var seconds = 30
    public var delayMilliseconds = 1000
    public var abortAtErrors = 5

    public init(cluster: String) {
        self.cluster = cluster
    }

    /// "30s", "2m" or a bare number, within what a proxy takes.
    public static func seconds(_ text: String) -> Int? {
        var digits = text[...]
        var factor = 1
        if text.hasSuffix("s") { digits = text.dropLast() }
        if text.hasSuffix("m") { (digits, factor) = (text.dropLast(), 60) }
        guard let count = Int(digits), count > 0, count <= 120, count * factor <= 120 else {
            return nil
        }
        return count * factor
    }

    var target: String {
        let plane = controlPlane.map { "&control_plane=" + DrillOptions.escaped($0) } ?? ""
        return "/drill?cluster=\(DrillOptions.escaped(cluster))&fault=\(fault)&percent=\(percent)"
            + "&seconds=\(seconds)&delay_ms=\(delayMilliseconds)"
            + "&abort_at_errors=\(abortAtErrors)" + plane
    }

    private static func escaped(_ text: String) -> String {
        text.utf8.map { byte -> String in
            let isPlain =
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                || byte == 45 || byte == 46 || byte == 95
            if isPlain { return String(UnicodeScalar(byte)) }
            let digits = String(byte, radix: 16, uppercase: true)
            return "%" + (digits.utf8.count < 2 ? "0" : "") + digits
        }
        .joined()
    }
}

/// A drill as its caller follows it: starts it, asks how it goes until the traffic is back, and reports.
///
/// The proxy needs none of this: it ends the drill by itself when nobody asks any more.
final class DrillSession {
    private let loop: any IOLoop
    private let admin: SocketAddress
    private let options: DrillOptions
    private let print: (String) -> Void
    private let finished: (Int32) -> Void
    private var call: AdminCall?
    private var timer: LoopTimer?
    private var number: UInt64 = 0
    private var state: DrillStatus.State?
    private var failures = 0

    private static let pollInterval = Duration.milliseconds(500)
    /// So many polls in a row may go without an answer.
    private static let patience = 10

    /// - Parameter finished: called once with the exit status.
    init(
        _ options: DrillOptions, admin: SocketAddress, loop: any IOLoop,
        print: @escaping (String) -> Void, finished: @escaping (Int32) -> Void
    ) {
        self.options = options
        self.admin = admin
        self.loop = loop
        self.print = print
        self.finished = finished
        timer = LoopTimer(loop.timers) { [weak self] in self?.poll() }
    }

    func start() {
        call = AdminCall("POST", options.target, to: admin, on: loop) { [weak self] status, text in
            guard let self else { return }
            guard status == 200, let begun = DrillStatus(text) else {
                end(status == 0 ? "no answer from \(admin): \(text)\n" : text, status: 1)
                return
            }
            number = begun.number
            told(begun)
        }
    }

    /// Ends it before its time; the report comes all the same.
    func stop() {
        timer?.stop()
        call = AdminCall("POST", "/drill/stop", to: admin, on: loop) { [weak self] _, _ in
            self?.poll()
        }
    }

    private func poll() {
        call = AdminCall("GET", "/drill", to: admin, on: loop) { [weak self] status, text in
            guard let self else { return }
            guard status == 200, let news = DrillStatus(text), news.number == number else {
                failures += 1
                if failures > DrillSession.patience {
                    end("the proxy does not know of the drill any more: \(text)\n", status: 1)
                } else {
                    timer?.start(at: loop.now + DrillSession.pollInterval)
                }
                return
            }
            failures = 0
            told(news)
        }
    }

    private func told(_ news: DrillStatus) {
        if news.state == .over {
            end(news.report, status: news.isPassed ? 0 : 1)
            return
        }
        if news.state != state {
            state = news.state
            switch news.state {
            case .running:
                print(
                    "\(news.title) on \(news.cluster), for "
                        + "\(SimulationReport.words(news.planned))\n")
            case .returning: print("the fault is gone; waiting for the traffic to come back\n")
            case .over: break
            }
        }
        timer?.start(at: loop.now + DrillSession.pollInterval)
    }

    private func end(_ text: String, status: Int32) {
        timer?.stop()
        print(text)
        finished(status)
    }
}

/// `meshproxy drill`.
public enum DrillProcess {
    /// - Parameter admin: `host:port`, or `unix:` and a path.
    /// - Returns: the exit status: 1 when it was called off or a request failed.
    public static func run(_ options: DrillOptions, admin: String) throws -> Int32 {
        guard let address = DrillProcess.address(admin) else {
            throw LoadError(
                path: "--admin", problems: "expected host:port or unix:path, got \"\(admin)\"")
        }
        let loop = LibevLoop(seed: Machine.seed())
        var result: Int32 = 1
        let session = DrillSession(
            options, admin: address, loop: loop, print: { Swift.print($0, terminator: "") },
            finished: { status in
                result = status
                loop.stop()
            })
        var isStopping = false
        loop.onSignal(Machine.interrupt) {
            if isStopping { loop.stop() }
            isStopping = true
            session.stop()
        }
        session.start()
        withExtendedLifetime(session) { loop.run() }
        loop.close()
        return result
    }

    static func address(_ text: String) -> SocketAddress? {
        if text.hasPrefix("unix:") {
            let path = text.dropFirst(5)
            return path.isEmpty ? nil : .pipe(String(path))
        }
        if text.hasPrefix("localhost:") { return SocketAddress("127.0.0.1:" + text.dropFirst(10)) }
        return SocketAddress(text)
    }
}
