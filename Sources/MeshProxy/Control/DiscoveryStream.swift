import EventLoop
import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig

/// One gRPC stream to a control plane: our own HTTP/2 client, over the same connections as all other
/// traffic, to a cluster like any other. It carries messages; what they mean is `XDSSession`'s.
final class DiscoveryStream: UpstreamCaller {
    enum Event {
        /// The server accepted the stream.
        case opened
        case message([UInt8])
        /// The stream is over, in whichever way; nothing follows.
        case ended(String)
    }

    private let cluster: UpstreamCluster
    private let path: String
    private let authority: String
    private let metadata: [HeaderChanges.Addition]
    private let event: (Event) -> Void
    private var picked: Pick?
    private var pool: UpstreamPool?
    private var connection: UpstreamConnection?
    private var id: StreamID = 0
    private var framing = GRPCReader(maxMessageBytes: 256 * 1024 * 1024)
    private var waiting = ByteBuffer()
    private var grpcStatus: String?
    private var isOver = false

    /// - Parameter event: called on the loop, never from inside a call made to the stream.
    init(
        cluster: UpstreamCluster, path: String, authority: String,
        metadata: [HeaderChanges.Addition], event: @escaping (Event) -> Void
    ) {
        self.cluster = cluster
        self.path = path
        self.authority = authority
        self.metadata = metadata
        self.event = event
    }

    /// Begins; what comes of it arrives as an event.
    func open() {
        switch cluster.pick(PickContext(now: cluster.set.loop.now)) {
        case .none(let reason): endLater(reason)
        case .full(let member): endLater("too many requests to \(member.name)")
        case .host(let pick):
            picked = pick
            let pool = cluster.pool(to: pick.host, downstreamIsHTTP2: true)
            self.pool = pool
            if case .connection(let connection) = pool.lease(for: self, .unlimited) {
                leased(connection)
            }
        }
    }

    /// As all other answers come.
    private func endLater(_ reason: String) {
        cluster.set.loop.atTurnEnd(Deferred { [weak self] in self?.end(reason) })
    }

    /// Sends one message, after those before it.
    func send(_ message: [UInt8]) {
        let framed = GRPCWriter.frame(message)
        if let connection {
            _ = connection.sendBody(framed.span, on: id, endStream: false)
        } else {
            waiting.append(framed)
        }
    }

    /// Gives the stream up; no event follows.
    func cancel() {
        isOver = true
        pool?.stopWaiting(self)
        connection?.reset(id, .cancel)
        release(.neutral)
    }

    // MARK: UpstreamCaller

    func leased(_ connection: UpstreamConnection) {
        pool = nil
        var head = MessageHead(
            method: "POST", scheme: "http", authority: authority.isEmpty ? cluster.name : authority,
            path: path)
        head.append(.te, "trailers" as StaticString)
        head.append(.contentType, "application/grpc" as StaticString)
        head.append(.userAgent, "meshproxy" as StaticString)
        for entry in metadata { head.append(entry.name, entry.value) }
        guard let id = connection.send(head, endStream: false, for: self) else {
            end("the connection takes no stream")
            return
        }
        self.connection = connection
        self.id = id
        waiting.withBytes {
            if $0.count > 0 { _ = connection.sendBody($0.span, on: id, endStream: false) }
        }
        waiting = ByteBuffer()
    }

    func leaseFailed(_ failure: UpstreamFailure) {
        pool = nil
        release(.failed(failure.transport, wasConnected: false))
        end("\(failure.transport.kind.word) \(failure.transport.detail)")
    }

    func responseInterim(_ head: MessageHead) {}

    func responseHead(_ head: MessageHead, endStream: Bool) {
        grpcStatus = head.string(.grpcStatus)
        if endStream || head.status != 200 {
            if !endStream { connection?.reset(id, .cancel) }
            end(describe(head))
            return
        }
        event(.opened)
    }

    func responseBody(_ bytes: UnsafeBufferPointer<UInt8>, endStream: Bool) {
        connection?.consumed(bytes.count, on: id)
        var messages: [[UInt8]] = []
        do {
            try framing.receive(bytes.span) { messages.append($0) }
        } catch {
            connection?.reset(id, .cancel)
            end("broken gRPC framing: \(error)")
            return
        }
        for message in messages where !isOver { event(.message(message)) }
        if endStream { end("closed by the server") }
    }

    func responseTrailers(_ trailers: MessageHead) { end(describe(trailers)) }

    func upstreamReset(_ failure: UpstreamFailure) {
        release(.failed(failure.transport, wasConnected: true))
        end("\(failure.transport.kind.word) \(failure.transport.detail)")
    }

    func upstreamDrained() {}

    // MARK: Inside

    private func describe(_ head: MessageHead) -> String {
        let status = head.string(.grpcStatus) ?? "HTTP \(head.status)"
        let message = head.string(.grpcMessage) ?? ""
        return status == "0" ? "closed by the server" : "grpc-status \(status) \(message)"
    }

    private func end(_ reason: String) {
        if isOver { return }
        isOver = true
        connection = nil
        release(.neutral)
        event(.ended(reason))
    }

    private func release(_ outcome: UpstreamCluster.Outcome) {
        guard let picked else { return }
        self.picked = nil
        cluster.release(picked, outcome)
    }
}

/// Something to be done at the end of the turn, where a call may not answer from inside.
final class Deferred: TurnEndTask {
    private let work: () -> Void

    init(_ work: @escaping () -> Void) {
        self.work = work
    }

    func turnEnded() { work() }
}
