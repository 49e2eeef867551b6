import EventLoop
import HTTPCodec
import MTLS
import MeshBase
import MeshConfig
import Observability

/// One client's HTTP connection, and the exchanges that are open on it.
///
/// It lives from the moment its filter chain is chosen. The layers below are a `ByteStream` and an
/// `HTTPConnection`; it turns their events into calls on its exchanges, and writes all output of a
/// turn at once. It keeps the listener's configuration that it began with; routes are looked up
/// anew for each request.
final class DownstreamConnection: ByteStreamHandler, TurnEndTask {
    let worker: Worker
    let manager: HTTPManager
    let number: UInt64
    private(set) var stream: (any ByteStream)?
    private(set) var codec: (any HTTPConnection)?
    private var exchanges = StreamTable<Exchange>()
    /// The first bytes, while they may yet become either protocol's.
    private var undecided = ByteBuffer()
    private var isDirty = false
    /// Bytes of bodies since output was last written, at least.
    private var unflushed = 0
    private var idleTimer: LoopTimer?
    private var drainTimer: LoopTimer?
    private var isDraining = false
    private var requestCount = 0
    private var hasEnded = false

    /// Who is at the other end, once TLS is up.
    private(set) var tls: PeerDetails?
    let remoteAddress: SocketAddress?
    let localAddress: SocketAddress?

    init(worker: Worker, manager: HTTPManager, stream: any ByteStream, traits: ConnectionTraits) {
        self.worker = worker
        self.manager = manager
        self.stream = stream
        remoteAddress = traits.source
        localAddress = traits.destination
        number = worker.nextConnectionNumber()
        stream.handler = self
        manager.opened(self)
    }

    /// Plaintext: begins at once. Over TLS it begins with `streamConnected`.
    func begin(with firstBytes: Span<UInt8>) {
        if manager.config.codec != .auto { makeCodec(http2: manager.config.codec == .http2) }
        if manager.isDraining { drain() }
        restIdle()
        if firstBytes.count > 0 { streamReceived(firstBytes) }
    }

    // MARK: What the stream says

    func streamConnected() {
        guard let tlsStream = stream as? TLSStream else { return }
        tls = tlsStream.peerDetails
        switch manager.config.codec {
        case .http1: makeCodec(http2: false)
        case .http2: makeCodec(http2: true)
        case .auto:
            if let name = tlsStream.negotiatedProtocol { makeCodec(http2: name == "h2") }
        }
        if manager.isDraining { drain() }
        restIdle()
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        manager.metrics.received(bytes.count)
        guard codec == nil else {
            take(bytes)
            return
        }
        undecided.append(bytes)
        let verdict = undecided.withBytes { DownstreamConnection.beginsLikeHTTP2($0.span) }
        guard let isHTTP2 = verdict else { return }
        makeCodec(http2: isHTTP2)
        var first = ByteBuffer()
        swap(&first, &undecided)
        first.withBytes { take($0.span) }
    }

    private func take(_ bytes: Span<UInt8>) {
        codec?.receive(bytes)
        takeEvents()
        if codec?.isAtRest != true { markDirty() }
    }

    func streamReceivedEnd() {
        hasEnded = true
        codec?.receiveEnd()
        takeEvents()
        markDirty()
    }

    func streamDrained() {
        for exchange in exchanges.all() { exchange.downstreamDrained() }
    }

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        end()
    }

    // MARK: What exchanges do

    func send(_ head: MessageHead, on id: StreamID, endStream: Bool) {
        codec?.sendResponse(head, on: id, endStream: endStream)
        markDirty()
    }

    /// - Returns: `false` when the exchange should wait for `downstreamDrained`.
    func sendBody(_ bytes: Span<UInt8>, on id: StreamID, endStream: Bool) -> Bool {
        guard let codec, let stream else { return true }
        let roomInside = worker.clusters.sendBody(
            bytes, on: id, endStream: endStream, through: codec, to: stream, unflushed: &unflushed
        ) { manager.metrics.sent($0) }
        markDirty()
        return roomInside && stream.queuedBytes <= DownstreamConnection.writeLimit
    }

    /// Whether what waits for this exchange's client is within bounds.
    func hasRoom(on id: StreamID) -> Bool {
        guard let codec, let stream else { return true }
        return codec.queuedBytes(on: id) <= DownstreamConnection.writeLimit
            && stream.queuedBytes <= DownstreamConnection.writeLimit
    }

    func sendTrailers(_ trailers: MessageHead, on id: StreamID) {
        codec?.sendTrailers(trailers, on: id)
        markDirty()
    }

    func consumed(_ count: Int, on id: StreamID) {
        if let codec, codec.giveBack(count, on: id) { markDirty() }
    }

    func reset(_ id: StreamID, _ code: HTTPErrorCode) {
        codec?.reset(id, code)
        markDirty()
    }

    /// The exchange is over, in whichever way.
    func finished(_ id: StreamID) {
        exchanges.remove(id)
        if exchanges.isEmpty, stream != nil { restIdle() }
        markDirty()
    }

    /// This hop's element of `x-forwarded-client-cert`; `nil` without a verified client certificate.
    var forwardedElement: String? {
        guard let tls, tls.isVerified else { return nil }
        var parts: [String] = []
        if let hash = tls.certificateHash { parts.append("Hash=\(hash)") }
        if manager.config.xfccSubject, let subject = tls.subject {
            parts.append("Subject=\"\(subject)\"")
        }
        if manager.config.xfccURI, let uri = tls.uri { parts.append("URI=\(uri)") }
        if manager.config.xfccDNS { parts += tls.dnsNames.map { "DNS=\($0)" } }
        return parts.joined(separator: ";")
    }

    var isHTTP2: Bool { codec is HTTP2Connection }
    var openExchanges: Int { exchanges.count }

    // MARK: Draining

    /// Ends the connection gracefully: HTTP/2 in two steps with `drainTimeout` between them, so
    /// that requests on their way are not lost; HTTP/1 with the next response, or after the same
    /// time without a request.
    func drain() {
        if isDraining { return }
        isDraining = true
        if isHTTP2 || !exchanges.isEmpty { codec?.shutDown() }
        markDirty()
        let timer = LoopTimer(worker.loop.timers) { [unowned self] in drainTimePassed() }
        timer.start(at: worker.loop.now + min(manager.config.drainTimeout, .seconds(1)))
        drainTimer = timer
    }

    private func drainTimePassed() {
        if isHTTP2 {
            codec?.shutDown()
            markDirty()
        } else if exchanges.isEmpty {
            close()
        }
    }

    func turnEnded() {
        isDirty = false
        unflushed = 0
        // A response that ended may have let the next pipelined request in.
        takeEvents()
        guard let codec, let stream else {
            if hasEnded, self.stream != nil { close() }
            return
        }
        if codec.hasOutput {
            worker.clusters.flush(codec, to: stream) { manager.metrics.sent($0) }
            // That the codec has room again is news which only comes now.
            takeEvents()
            guard self.codec != nil, self.stream != nil else { return }
        }
        if stream.queuedBytes > DownstreamConnection.mostQueued {
            close()
            return
        }
        if codec.wantsInput {
            stream.resumeReading(.codecFull)
        } else {
            stream.pauseReading(.codecFull)
        }
        if exchanges.isEmpty, codec.isFinished || hasEnded { close() }
    }

    // MARK: Inside

    private static let writeLimit = 256 * 1024
    /// Bodies stop long before; only who asks for answers (PING, SETTINGS) and never reads them comes here.
    private static let mostQueued = 64 * 1024 * 1024

    private func markDirty() {
        if isDirty || stream == nil { return }
        isDirty = true
        worker.loop.atTurnEnd(self)
    }

    private func makeCodec(http2: Bool) {
        let context = manager.codecContext(isTLS: tls != nil, worker.clusters.headWorkspace)
        codec =
            http2
            ? HTTP2Connection(role: .server, context: context)
            : HTTP1Connection(role: .server, context: context)
        if isDraining, http2 { codec?.shutDown() }
        markDirty()
    }

    /// RFC 9113 §3.4: the client's connection preface begins like this and no HTTP/1 request does.
    /// - Returns: `nil` while there are too few bytes to tell.
    private static func beginsLikeHTTP2(_ bytes: Span<UInt8>) -> Bool? {
        let preface: StaticString = "PRI * HTTP/2.0"
        let count = min(bytes.count, preface.utf8CodeUnitCount)
        for index in 0..<count where bytes[index] != preface.utf8Start[index] { return false }
        return count >= 3 ? true : nil
    }

    private func takeEvents() {
        while var event = codec?.nextEvent() {
            switch event {
            case .head(let id, let head, let end):
                requestCount += 1
                if requestCount == manager.config.maxRequestsPerConnection { drain() }
                if isDraining, !isHTTP2 { codec?.shutDown() }
                let exchange = worker.makeExchange()
                exchanges.insert(exchange, at: id)
                idleTimer?.stop()
                // The head is the exchange's alone, which then changes it in place.
                event = .pong
                exchange.begin(consume head, endStream: end, id: id, on: self)
            case .body(let id, let bytes, let end):
                if let exchange = exchanges[id] {
                    exchange.requestBody(bytes, endStream: end)
                } else {
                    codec?.consumed(bytes.count, on: id)
                }
            case .trailers(let id, let trailers):
                exchanges[id]?.requestTrailers(trailers)
            case .reset(let id, let code):
                exchanges[id]?.downstreamReset(code)
            case .drained(let id):
                exchanges[id]?.downstreamDrained()
            case .violation(let violation):
                violated(violation)
                return
            case .interim, .goAway, .pong:
                break
            }
        }
    }

    private func violated(_ violation: ProtocolViolation) {
        manager.metrics.protocolError()
        worker.log.debug(
            "downstream protocol error", ["connection": "\(number)", "reason": violation.reason])
        if let codec, let stream, codec.hasOutput {
            worker.clusters.flush(codec, to: stream) { manager.metrics.sent($0) }
        }
        close()
    }

    private func restIdle() {
        let idle = manager.config.idleTimeout
        guard idle > .zero else { return }
        if idleTimer == nil {
            idleTimer = LoopTimer(worker.loop.timers) { [unowned self] in idled() }
        }
        idleTimer?.start(at: worker.loop.now + idle)
    }

    private func idled() {
        if exchanges.isEmpty { drain() }
        if exchanges.isEmpty { close() }
    }

    private func close() {
        if let codec, let stream, codec.hasOutput {
            worker.clusters.flush(codec, to: stream) { manager.metrics.sent($0) }
        }
        stream?.close()
        stream = nil
        end()
    }

    private func end() {
        codec = nil
        idleTimer?.stop()
        idleTimer = nil
        drainTimer?.stop()
        drainTimer = nil
        for exchange in exchanges.all() { exchange.downstreamClosed() }
        exchanges.removeAll()
        manager.closed(self)
    }
}
