import EventLoop
import HTTPCodec
import MeshBase

/// One request to an admin port, for the commands that speak to a running proxy.
final class AdminCall: ByteStreamHandler {
    private var stream: (any ByteStream)?
    private let codec = HTTP1Connection(role: .client, limits: HTTPLimits())
    private let request: MessageHead
    private var status = 0
    private var body: [UInt8] = []
    private var done: ((Int, String) -> Void)?
    private var output = ByteBuffer()

    /// - Parameter done: called once with status and body; status 0 says that there was no answer,
    ///   and the body why.
    init(
        _ method: String, _ target: String, to address: SocketAddress, on loop: any IOLoop,
        done: @escaping (Int, String) -> Void
    ) {
        var head = MessageHead()
        head.append(.method, method)
        head.append(.path, target)
        head.append(.scheme, "http")
        head.append(.authority, "localhost")
        if method == "POST" { head.append(.contentLength, "0") }
        request = head
        self.done = done
        stream = loop.connect(address, options: ConnectOptions(), handler: self)
    }

    func streamConnected() {
        _ = codec.sendRequest(request, endStream: true)
        flush()
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        codec.receive(bytes)
        takeEvents()
    }

    func streamReceivedEnd() {
        codec.receiveEnd()
        takeEvents()
        finish(0, "the connection ended without an answer")
    }

    func streamDrained() {}

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        finish(0, "\(failure.kind.word) \(failure.detail)")
    }

    private func takeEvents() {
        while let event = codec.nextEvent() {
            switch event {
            case .head(_, let head, let end):
                status = head.status
                if end { finish(status, "") }
            case .body(let id, let bytes, let end):
                body += bytes
                codec.consumed(bytes.count, on: id)
                if end { finish(status, String(decoding: body, as: UTF8.self)) }
            case .violation(let violation):
                finish(0, violation.reason)
            default: break
            }
        }
    }

    private func flush() {
        codec.takeOutput(into: &output)
        output.withBytes { stream?.write($0.span) }
        output.removeAll()
    }

    private func finish(_ status: Int, _ text: String) {
        guard let done else { return }
        self.done = nil
        stream?.close()
        stream = nil
        done(status, text)
    }
}
