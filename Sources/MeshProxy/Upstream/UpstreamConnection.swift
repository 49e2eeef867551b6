import EventLoop
import HTTPCodec
import HealthProbe
import MTLS
import MeshBase
import MeshConfig

/// One connection to one endpoint, and the exchanges that are open on it.
///
/// Its layers are a `ByteStream` (a socket, or TLS over one) and an `HTTPConnection`. Output is
/// collected and written once at the end of the loop's turn. `PingWatch` says when an HTTP/2 peer is
/// asked whether it is still there; after a PING without an answer the connection takes no more
/// requests, until one comes or it is dead.
final class UpstreamConnection: ByteStreamHandler, TurnEndTask {
    private(set) var pool: UpstreamPool?
    let number: Int
    /// Where it goes: one of its host's.
    let address: SocketAddress
    private let loop: any IOLoop
    private(set) var stream: (any ByteStream)?
    private(set) var codec: (any HTTPConnection)?
    private var callers = StreamTable<any UpstreamCaller>()
    private var isDirty = false
    /// Bytes of bodies since output was last written, at least.
    private var unflushed = 0
    private var isDraining = false
    private var requestCount = 0
    /// An HTTP/1 exchange was given up: only a reset tells the endpoint that nobody reads on.
    private var isCutShort = false

    /// Guards connecting first, then idleness and PINGs.
    private var timer: LoopTimer?
    private(set) var lastReceived: Instant
    let began: Instant
    private var isSlow = false
    private var isLate = false
    /// Of several ways to its endpoint, while connecting.
    var race: ConnectRace?
    /// HTTP/2's.
    private var pings: PingWatch?
    /// While no exchange is open.
    private var idleEnds = Instant.distantFuture

    /// Whether the pool counts it among those that can take a request.
    var isListed = false

    /// - Parameter number: counts the pool's connections.
    init(pool: UpstreamPool, number: Int, address: SocketAddress) {
        self.pool = pool
        self.number = number
        self.address = address
        loop = pool.loop
        began = loop.now
        lastReceived = began
        timer = LoopTimer(loop.timers) { [unowned self] in timerFired() }
        timer?.start(at: began + min(pool.secondPathDelay, pool.connectTimeout))
        stream = pool.openStream(for: self)
    }

    var isConnected: Bool { codec != nil }
    var localAddress: SocketAddress? { stream?.localAddress }
    var isHTTP2: Bool { codec is HTTP2Connection }

    /// How many more requests may be begun now.
    var available: Int {
        guard let codec, !isDraining, pings?.isSuspect != true else { return 0 }
        return codec.streamsAvailable
    }

    var openStreams: Int { callers.count }

    // MARK: What callers do

    /// Begins an exchange. - Returns: `nil` if the connection can take none after all.
    func send(_ head: MessageHead, endStream: Bool, for caller: any UpstreamCaller) -> StreamID? {
        guard let codec, let id = codec.sendRequest(head, endStream: endStream) else { return nil }
        if callers.isEmpty || pings?.awaitsRequest == true {
            idleEnds = .distantFuture
            if pings?.requestBegan(now: loop.now) == true { codec.ping() }
            startTimer()
        }
        callers.insert(caller, at: id)
        requestCount += 1
        if let limit = pool?.maxRequestsPerConnection, limit > 0, requestCount >= limit {
            isDraining = true
        }
        if available == 0 { pool?.unlist(self) }
        markDirty()
        return id
    }

    /// - Returns: `false` when the caller should wait for `upstreamDrained`.
    func sendBody(_ bytes: Span<UInt8>, on id: StreamID, endStream: Bool) -> Bool {
        guard let codec, let stream, let pool else { return true }
        let roomInside = pool.sendBody(
            bytes, on: id, endStream: endStream, through: codec, to: stream, unflushed: &unflushed)
        markDirty()
        return roomInside && stream.queuedBytes <= UpstreamConnection.writeLimit
    }

    /// Whether what waits for this exchange's endpoint is within bounds.
    func hasRoom(on id: StreamID) -> Bool {
        guard let codec, let stream else { return true }
        return codec.queuedBytes(on: id) <= UpstreamConnection.writeLimit
            && stream.queuedBytes <= UpstreamConnection.writeLimit
    }

    func sendTrailers(_ trailers: MessageHead, on id: StreamID) {
        codec?.sendTrailers(trailers, on: id)
        markDirty()
    }

    /// Another hears of this exchange from now on.
    func hand(_ id: StreamID, to caller: any UpstreamCaller) {
        if callers.remove(id) != nil { callers.insert(caller, at: id) }
    }

    func consumed(_ count: Int, on id: StreamID) {
        if let codec, codec.giveBack(count, on: id) { markDirty() }
    }

    /// Gives an exchange up; the caller hears nothing more of it.
    func reset(_ id: StreamID, _ code: HTTPErrorCode) {
        callers.remove(id)
        if !isHTTP2 { isCutShort = true }
        codec?.reset(id, code)
        markDirty()
        settle(answered: false)
    }

    /// The path was found dead from elsewhere. This connection may be well, so it is asked, and at once.
    func pathDied() {
        if !callers.isEmpty { ask() }
    }

    /// Others where the endpoint lives have fallen silent. An idle connection is asked as well, since
    /// the next request will be sent over it.
    func placeDoubted() {
        guard let pool else { return }
        if isConnected {
            if loop.now - lastReceived >= pool.doubtPatience { ask() }
        } else if isSlow, !isLate {
            timer?.start(at: began + min(pool.connectPatience, pool.connectTimeout))
        }
    }

    private func ask() {
        if pings == nil { return }
        if pings?.pathDied(now: loop.now) == true { ping() }
        if pings?.isSuspect == true { pool?.unlist(self) }
        startTimer()
    }

    /// Gives up connecting, for another was faster.
    func loseRace() { close() }

    /// Takes no further request and closes when the open ones are done.
    func drain() {
        guard codec != nil else {
            // Those who wait for it are served first; the pool asks again then.
            if pool?.waitingCount == 0 { close() }
            return
        }
        isDraining = true
        pool?.unlist(self)
        if callers.isEmpty { close() }
    }

    // MARK: What the stream says

    func streamConnected() {
        guard let pool else { return }
        let protocolName = (stream as? TLSStream)?.negotiatedProtocol
        codec = pool.makeCodec(negotiated: protocolName)
        lastReceived = loop.now
        if isHTTP2 { pings = pool.makePingWatch() }
        timer?.stop()
        markDirty()
        pool.connected(self)
        if callers.isEmpty { becameIdle(answered: true) }
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        guard let codec else { return }
        lastReceived = loop.now
        if pings?.received(now: loop.now) == true { pool?.answered(self) }
        pool?.received(bytes.count)
        codec.receive(bytes)
        takeEvents()
        if !codec.isAtRest { markDirty() }
    }

    func streamReceivedEnd() {
        codec?.receiveEnd()
        takeEvents()
        fail(TransportFailure(.closed, detail: "the endpoint closed the connection"))
    }

    func streamDrained() {
        for caller in callers.all() { caller.upstreamDrained() }
    }

    func streamClosed(_ failure: TransportFailure) {
        stream = nil
        fail(failure)
    }

    func turnEnded() {
        isDirty = false
        unflushed = 0
        takeEvents()
        guard let codec, let stream else { return }
        if codec.hasOutput {
            pool?.flush(codec, to: stream)
            // That the codec has room again is news which only comes now.
            takeEvents()
            guard self.codec != nil, self.stream != nil else { return }
        }
        if codec.wantsInput {
            stream.resumeReading(.codecFull)
        } else {
            stream.pauseReading(.codecFull)
        }
        if codec.isFinished, callers.isEmpty { close() }
    }

    // MARK: Inside

    private static let writeLimit = 256 * 1024

    private func markDirty() {
        if isDirty || stream == nil { return }
        isDirty = true
        loop.atTurnEnd(self)
    }

    private func takeEvents() {
        var isNews = false
        while var event = codec?.nextEvent() {
            isNews = true
            switch event {
            case .head(let id, let head, let end):
                // The head is the caller's alone, who then changes it in place.
                event = .pong
                pings?.messageReceived()
                let caller = ended(id, end)
                caller?.responseHead(consume head, endStream: end)
            case .interim(let id, let head):
                callers[id]?.responseInterim(head)
            case .body(let id, let bytes, let end):
                pings?.messageReceived()
                let caller = ended(id, end)
                if let caller {
                    caller.responseBody(bytes, endStream: end)
                } else {
                    codec?.consumed(bytes.count, on: id)
                }
            case .trailers(let id, let trailers):
                ended(id, true)?.responseTrailers(trailers)
            case .reset(let id, let code):
                callers.remove(id)?.upstreamReset(
                    UpstreamFailure(
                        transport: TransportFailure(.reset, detail: "stream reset: \(code)"),
                        unprocessed: code == .refusedStream || code == .http11Required))
            case .drained(let id):
                callers[id]?.upstreamDrained()
            case .goAway:
                isDraining = true
                pool?.unlist(self)
            case .pong:
                pings?.pong(now: loop.now)
                startTimer()
            case .violation(let violation):
                fail(TransportFailure(.protocolError, detail: violation.reason))
                return
            }
        }
        if isNews { settle(answered: true) }
    }

    /// The caller of a stream, which is forgotten if its response ends here.
    private func ended(_ id: StreamID, _ end: Bool) -> (any UpstreamCaller)? {
        end ? callers.remove(id) : callers[id]
    }

    /// Offers itself to the pool again, or closes, after an exchange ended.
    /// - Parameter answered: by the peer, and not by us.
    private func settle(answered: Bool) {
        guard let pool, codec != nil else { return }
        if available > 0 {
            pool.list(self)
        } else if callers.isEmpty, isDraining {
            close()
            return
        }
        if callers.isEmpty { becameIdle(answered: answered) }
    }

    private func becameIdle(answered: Bool) {
        // Once for each time: the answer to a PING does not make it idle anew.
        guard let idle = pool?.idleTimeout, idleEnds == .distantFuture else { return }
        pings?.becameIdle(answered: answered)
        if idle > .zero { idleEnds = loop.now + idle }
        startTimer()
    }

    /// For what comes first: the end of idleness, or a PING.
    private func startTimer() {
        let time = min(idleEnds, pings?.nextDeadline ?? .distantFuture)
        if time < .distantFuture { timer?.start(at: time) } else { timer?.stop() }
    }

    private func ping() {
        codec?.ping()
        markDirty()
    }

    private func timerFired() {
        guard let pool else { return }
        if codec == nil {
            notConnected(pool)
            return
        }
        if idleEnds <= loop.now {
            close()
            return
        }
        switch pings?.deadlineReached(at: loop.now) ?? .wait {
        case .wait: break
        case .ping: ping()
        case .suspect(let asksAgain):
            if asksAgain { ping() }
            pool.isSilent(self, TransportFailure(.pingLate, detail: "no answer to PING yet"))
        case .dead:
            fail(TransportFailure(.pingTimeout, detail: "no answer to PING"))
            return
        }
        startTimer()
    }

    private func notConnected(_ pool: UpstreamPool) {
        let waited = loop.now - began
        let failure = TransportFailure(.connectTimeout, detail: "not connected within \(waited)")
        let patience = min(pool.connectPatience, pool.connectTimeout)
        if isLate || waited >= pool.connectTimeout {
            fail(failure)
        } else if !isSlow, waited < patience {
            isSlow = true
            timer?.start(at: began + patience)
            pool.connectIsSlow(self)
        } else {
            isLate = true
            timer?.start(at: began + pool.connectTimeout)
            pool.connectIsLate(self, failure)
        }
    }

    /// In order: nobody waits for anything.
    private func close() {
        guard let pool else { return }
        let wasConnected = codec != nil
        self.pool = nil
        timer?.stop()
        timer = nil
        if isCutShort {
            stream?.abort()
        } else {
            if let codec, let stream, codec.hasOutput { pool.flush(codec, to: stream) }
            stream?.close()
        }
        stream = nil
        codec = nil
        pool.closed(self, failure: nil, wasConnected: wasConnected)
    }

    private func fail(_ failure: TransportFailure) {
        guard let pool else { return }
        let wasConnected = codec != nil
        self.pool = nil
        timer?.stop()
        timer = nil
        if let codec, let stream, codec.hasOutput { pool.flush(codec, to: stream) }
        if failure.kind == .pingTimeout || failure.kind == .connectTimeout {
            stream?.abort()
        } else {
            stream?.close()
        }
        stream = nil
        codec = nil
        let open = callers.all()
        callers.removeAll()
        // An idle connection may be ended by whoever likes to, but has to answer.
        let isEvidence = !wasConnected || !open.isEmpty || failure.kind == .pingTimeout
        // The pool learns first: a retry made by a caller must not find this endpoint unmarked.
        pool.closed(
            self, failure: isEvidence ? failure : nil, wasConnected: wasConnected)
        for caller in open {
            caller.upstreamReset(
                UpstreamFailure(transport: failure, unprocessed: false, isOfConnection: true))
        }
    }
}
