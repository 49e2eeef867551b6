import EventLoop
import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig
import Observability

/// One request and its response: chosen route, attempts, body bytes both ways, time limits, and in the
/// end the log line.
///
/// `begin` reads as the walk in docs/ARCHITECTURE.md: route, filters, then `attempt`, which picks an
/// endpoint and leases a connection. Until a response head has been passed on everything can be
/// tried again elsewhere; `RetryState` decides. After that it is a relay.
///
/// **Bytes.** What a side delivered is given back to it (`consumed`) only when the other side took
/// it and had room; what is owed is remembered. So a slow reader shuts the window of a fast
/// writer, whatever the protocols.
///
/// **Time.** What it waits for is in `times`, and one timer stands at the earliest of it. An exchange
/// is used again for later requests, and its timer with it: a deadline that moves forward costs one
/// store.
final class Exchange: UpstreamCaller {
    let worker: Worker
    var downstream: DownstreamConnection?
    var id: StreamID = 0

    var request = MessageHead()
    private var requestTrailers: MessageHead?
    var requestIsComplete = false
    /// Body bytes for the attempt that has no connection yet, or for another attempt.
    private var replay = ByteBuffer()
    private(set) var canReplay = true
    private var owedToDownstream = 0
    private var owedToUpstream = 0

    var route: CompiledRoute?
    var virtualHost: CompiledVirtualHost?
    var choice: ClusterChoice?
    private(set) var forward: CompiledForward?
    var cluster: UpstreamCluster?
    var picked: Pick?
    var host: Host? { picked?.host }
    private var pool: UpstreamPool?
    private var upstream: UpstreamConnection?
    private var upstreamID: StreamID = 0
    /// What the request asks for besides its route.
    var asked: RequestWishes?
    /// Made when something has failed.
    private(set) var retry: RetryState?
    /// Attempts that go on beside the one here.
    var hedge = Hedge()
    /// What it holds of its cluster's limits.
    var places = ExchangePlaces()
    private(set) var attempted: [Host] = []
    /// What the hash policies came to, for clusters that ask.
    private(set) var hashKey: UInt64?
    /// Cookies made up for it, which the client is to keep.
    private var setCookies: [String] = []
    var session: RequestSession?

    var grpc = GRPCResponse()
    var responseHasBegun = false
    var responseIsComplete = false
    var isFinished = true
    /// Which of the requests that this object has served in turn.
    private(set) var life: UInt64 = 0

    var log = AccessLogRecord()
    var began = Instant.zero
    var attemptBegan = Instant.zero
    private(set) var times = ExchangeTimes()
    private var timer: LoopTimer?

    /// Bytes of a request body that are kept for another attempt.
    private static let replayLimit = 64 * 1024

    init(worker: Worker) {
        self.worker = worker
    }

    // MARK: The request

    func begin(
        _ head: consuming MessageHead, endStream: Bool, id: StreamID,
        on downstream: DownstreamConnection
    ) {
        self.downstream = downstream
        self.id = id
        request = head
        requestIsComplete = endStream
        isFinished = false
        life &+= 1
        began = worker.loop.now
        let manager = downstream.manager
        manager.metrics.requestBegan()
        times.touch(at: began)
        boundIdle(manager.config.streamIdleTimeout)

        RequestHeaders.prepare(
            &request, config: manager.config, connection: downstream, random: &worker.random)
        guard let routes = manager.routes else {
            reply(.noRoute("no route configuration yet"))
            return
        }
        let isTLS = downstream.tls != nil
        switch routes.match(request, isTLS: isTLS, random: &worker.random) {
        case .none(let miss):
            reply(.noRoute(miss.description))
        case .redirectToTLS:
            redirect(to: RedirectTarget.https(for: request), status: 301)
        case .route(let route, let virtualHost):
            self.route = route
            self.virtualHost = virtualHost
            if let forward = route.forward {
                self.forward = forward
                if let limit = forward.action.idleTimeout { boundIdle(limit) }
                forwardTo(route, forward)
                return
            }
            switch route.configuration.action {
            case .redirect(let action):
                let target = route.redirectTarget(for: request, isTLS: isTLS)
                redirect(to: target ?? "/", status: action.status)
            case .respond(let response):
                respondDirectly(response)
            case .forward:
                break
            }
        }
    }

    func requestBody(_ bytes: UnsafeBufferPointer<UInt8>, endStream: Bool) {
        touch()
        log.bytesReceived += bytes.count
        requestIsComplete = endStream
        guard !isFinished, !responseIsComplete else {
            downstream?.consumed(bytes.count, on: id)
            return
        }
        if canReplay {
            if replay.count + bytes.count <= Exchange.replayLimit || upstream == nil {
                replay.append(bytes)
            } else {
                canReplay = false
                replay = ByteBuffer()
            }
        }
        if let upstream {
            pass(bytes.span, endStream: endStream, to: upstream, owing: bytes.count)
        } else {
            owedToDownstream += bytes.count
        }
        if endStream { requestEnded() }
    }

    func requestTrailers(_ trailers: MessageHead) {
        requestIsComplete = true
        requestTrailers = trailers
        if let upstream { upstream.sendTrailers(trailers, on: upstreamID) }
        requestEnded()
    }

    func downstreamReset(_ code: HTTPErrorCode) {
        log.flags.insert(.downstreamConnectionTermination)
        log.details = "downstream_remote_reset"
        finish()
    }

    func downstreamClosed() {
        log.flags.insert(.downstreamConnectionTermination)
        log.details = "downstream_remote_disconnect"
        finish()
    }

    func downstreamDrained() {
        guard let upstream, owedToUpstream > 0, downstream?.hasRoom(on: id) ?? true else { return }
        upstream.consumed(owedToUpstream, on: upstreamID)
        owedToUpstream = 0
    }

    // MARK: Attempts

    private func forwardTo(_ route: CompiledRoute, _ forward: CompiledForward) {
        choice = route.chooseCluster(for: request, random: &worker.random)
        let name: String
        switch choice {
        case .cluster(let given), .weighted(let given, index: _): name = given
        case .headerMissing, nil: name = ""
        }
        guard let cluster = worker.clusters[name] else {
            reply(.noCluster(name, status: forward.action.clusterNotFoundStatus))
            return
        }
        if let refusal = cluster.drop() { return reply(refusal) }
        self.cluster = cluster
        let admission = admit(to: cluster, forward)
        if admission == .refused { return }
        if cluster.usesKeys, let rule = cluster.hashKey ?? forward.hashKey {
            hashKey = rule.key(
                for: request, remote: downstream?.remoteAddress,
                local: downstream?.localAddress, setCookies: &setCookies)
        }
        if let sessions = downstream?.manager.sessions { joinSession(route, fallback: sessions) }
        route.rewritePath(of: &request)
        if request.containsAny(of: RetryPlan.internalOnly) { takeWishes() }
        if requestIsComplete { requestEnded() }
        if admission == .granted { attempt() }
    }

    /// Sends the request to an endpoint that has not been tried yet.
    private func attempt() {
        guard let cluster, !isFinished else { return }
        attemptBegan = worker.loop.now
        log.attemptCount += 1
        switch chooseHost(in: cluster) {
        case .none(let reason):
            noteAttempt(reason)
            giveUp(cluster.refusal(reason))
        case .full(let member): queue(in: member)
        case .host(let pick):
            picked = pick
            log.upstreamHost = pick.host.address
            if let drill = cluster.drill,
                let suffering = drill.attempted(pick.host, isRetry: !attempted.isEmpty)
            {
                suffer(suffering)
                return
            }
            lease(from: cluster, pick.host)
        }
    }

    private func lease(from cluster: UpstreamCluster, _ host: Host) {
        let pool = cluster.pool(
            to: host, downstreamIsHTTP2: downstream?.isHTTP2 ?? false, priority: places.priority)
        self.pool = pool
        if requestIsComplete { boundAttempt() }
        take(pool.lease(for: self, takePendingPlace()))
    }

    /// - Parameter failed: a connection that could not take the request.
    private func take(_ lease: UpstreamPool.Lease, after failed: UpstreamConnection? = nil) {
        switch lease {
        case .connection(let connection) where connection === failed:
            dropAttempt()
            releaseHost(.neutral)
            giveUp(.overflow("the request has no form on this connection"))
        case .connection(let connection): leased(connection)
        case .waits: break
        case .overflow:
            dropAttempt()
            queueForPending()
        }
    }

    func leased(_ connection: UpstreamConnection) {
        guard let host, !isFinished else { return }
        var head = request
        finishHead(&head, host)
        let body = replay.count
        let endsNow = requestIsComplete && body == 0 && requestTrailers == nil
        guard let stream = connection.send(head, endStream: endsNow, for: self) else {
            // It filled up since it was offered, or the request can't be sent this way at all.
            if let pool { take(pool.lease(for: self), after: connection) }
            return
        }
        upstream = connection
        upstreamID = stream
        pool = nil
        if let limit = forward?.perTryIdleTimeout, limit > .zero {
            times.boundTry(limit, from: worker.loop.now)
            setTimer()
        }
        if downstream?.manager.wantsLog == true {
            log.upstreamLocalAddress = connection.localAddress
        }
        if body > 0 {
            let ends = requestIsComplete && requestTrailers == nil
            let owed = owedToDownstream
            owedToDownstream = 0
            replay.withBytes { pass($0.span, endStream: ends, to: connection, owing: owed) }
        }
        if let requestTrailers { connection.sendTrailers(requestTrailers, on: stream) }
        if replay.count > Exchange.replayLimit {
            canReplay = false
            replay = ByteBuffer()
        }
    }

    // Later attempts might be the last.
    var prefersToMove: Bool { attempted.isEmpty }

    func leaseFailed(_ failure: UpstreamFailure) {
        pool = nil
        failed(failure, .unsent)
    }

    func upstreamReset(_ failure: UpstreamFailure) {
        upstream = nil
        cluster?.metrics.wasReset()
        if responseHasBegun {
            log.flags.insert(.upstreamConnectionTermination)
            log.details = "upstream_reset_after_response_started{\(failure.transport.kind.word)}"
            log.transportFailure = failure.transport.detail
            releaseHost(failure.outcome(wasConnected: true))
            downstream?.reset(id, .internalError)
            finish()
            return
        }
        failed(failure, failure.unprocessed ? .refused : .sent)
    }

    /// An attempt ended before its response: another endpoint, or a reply of our own.
    private func failed(_ event: UpstreamFailure, _ progress: RetryState.Progress) {
        let failure = event.transport
        times.endAttempt()
        noteAttempt(failure.kind.word)
        if let host { attempted.append(host) }
        releaseHost(event.outcome(wasConnected: progress != .unsent))
        log.transportFailure = failure.detail
        if tryAgain(.transport(failure.kind, progress), canReplay: canReplay || progress == .unsent)
        {
            return
        }
        giveUp(.upstreamFailed(failure, connected: progress != .unsent))
    }

    /// Makes the attempt that has waited for its place.
    func attemptLater() {
        // Not from inside the call that gave the place back; by then this one may be over.
        let life = life
        worker.loop.atTurnEnd(
            Deferred { [weak self] in
                if let self, self.life == life, !responseHasBegun { attempt() }
            })
    }

    /// - Returns: whether another attempt has been arranged.
    func tryAgain(_ evidence: RetryState.Evidence, canReplay: Bool) -> Bool {
        guard let cluster else { return false }
        // A transport failure's retry waits for its place in the budget; a response's is given up.
        var mayWait = false
        var mustWait = false
        if case .transport = evidence { mayWait = true }
        var state = retryState
        let decision = state.decide(
            evidence, now: worker.loop.now, canReplay: canReplay, random: &worker.random
        ) {
            if admitRetry(to: cluster) { return true }
            mustWait = mayWait && waitForRetry(in: cluster)
            return mustWait
        }
        retry = state
        switch decision {
        case .retry where mustWait:
            return true
        case .giveUp(let refusal):
            if refusal == .attemptsSpent {
                log.flags.insert(.upstreamRetryLimitExceeded)
                cluster.metrics.retriesSpent()
            }
            if refusal == .budgetSpent { log.flags.insert(.upstreamOverflow) }
            return false
        case .retry(let time):
            cluster.metrics.retried()
            if time <= worker.loop.now {
                attempt()
            } else {
                wait(for: .retry, until: time)
            }
            return true
        }
    }

    // MARK: The response

    func responseInterim(_ head: MessageHead) {
        touch()
        // 101 would change the protocol, which neither side has asked for.
        if head.status != 101 { downstream?.send(head, on: id, endStream: false) }
    }

    func responseHead(_ head: consuming MessageHead, endStream: Bool) {
        touch()
        guard let cluster else { return }
        cluster.metrics.responded(head.status, took: worker.loop.now - attemptBegan)
        if cluster.detectsOutliers { judge(head, endStream: endStream) }
        if forward?.hasRetryPolicy == true || asked != nil {
            if tryAgain(after: head, endStream: endStream) { return }
            if !endStream, holds(head) { return times.stopWaiting() }
        }
        pass(head, endStream: endStream)
    }

    /// Begins the response to the client.
    func pass(_ head: consuming MessageHead, endStream: Bool) {
        guard let downstream else { return }
        if !hedge.attempts.isEmpty { dropHedges() }
        noteAttempt(nil)
        responseHasBegun = true
        // Envoy's rule, too: what the client has begun to see is bound by the deadline alone.
        times.stopWaiting()
        replay.removeAll()
        replay.shrink()
        canReplay = false
        ResponseHeaders.finish(
            &head, manager: downstream.manager, serviceTime: worker.loop.now - attemptBegan,
            date: worker.date)
        applyResponseChanges(&head)
        for cookie in setCookies { head.append("set-cookie", cookie) }
        if let session { nameEndpoint(session, in: &head) }
        log.status = head.status
        if downstream.manager.wantsLog { log.response = head }
        responseIsComplete = endStream
        downstream.send(head, on: id, endStream: endStream)
        if endStream { responseEnded() }
    }

    /// Tries again after a response that the policy does not want, by its head or its trailers.
    /// - Returns: whether this response has been dealt with.
    func tryAgain(after head: MessageHead, endStream: Bool) -> Bool {
        let evidence = retryPlan.evidence(of: head, at: worker.loop.wallClock)
        guard let cluster else { return false }
        var probe = retryState
        // Asked on a copy first: what is ended below can't be taken back.
        let mayRetry = probe.decide(
            evidence, now: worker.loop.now, canReplay: canReplay, random: &worker.random
        ) { hasRoomForRetry(in: cluster) }
        if case .giveUp(let refusal) = mayRetry {
            if refusal == .budgetSpent {
                cluster.metrics.retryOverflowed()
                log.flags.insert(.upstreamOverflow)
            }
            if refusal == .notRetriable || hedge.attempts.isEmpty { return false }
        }
        noteAttempt("\(head.status)")
        let (pick, connection, stream) = (picked, upstream, upstreamID)
        if let pick { attempted.append(pick.host) }
        picked = nil
        upstream = nil
        grpc = GRPCResponse()
        // The old attempt is ended first: the next one may use the same connection.
        if !endStream || !requestIsComplete { connection?.reset(stream, .cancel) }
        if let pick { cluster.release(pick, .responded) }
        if !tryAgain(evidence, canReplay: canReplay) { giveUp(.upstreamStatus(head)) }
        return true
    }

    func responseBody(_ bytes: UnsafeBufferPointer<UInt8>, endStream: Bool) {
        touch()
        if keepsHolding(bytes, endStream: endStream) { return }
        guard let downstream else { return }
        log.bytesSent += bytes.count
        responseIsComplete = endStream
        let hasRoom = downstream.sendBody(bytes.span, on: id, endStream: endStream)
        if hasRoom || endStream {
            upstream?.consumed(bytes.count + owedToUpstream, on: upstreamID)
            owedToUpstream = 0
        } else {
            owedToUpstream += bytes.count
        }
        if endStream { responseEnded() }
    }

    func responseTrailers(_ trailers: MessageHead) {
        if takesStatus(from: trailers) { return }
        responseIsComplete = true
        if let cluster, cluster.readsReports, let host { cluster.reported(host, in: trailers) }
        if downstream?.manager.wantsLog == true { log.trailers = trailers }
        downstream?.sendTrailers(trailers, on: id)
        responseEnded()
    }

    func upstreamDrained() {
        guard let upstream, owedToDownstream > 0, upstream.hasRoom(on: upstreamID) else { return }
        downstream?.consumed(owedToDownstream, on: id)
        owedToDownstream = 0
    }

    private func responseEnded() {
        if grpc.awaitsStatus { judgeWithoutStatus() }
        releaseHost(.responded)
        if !requestIsComplete {
            // The answer came before the question was over; nobody needs the rest.
            upstream?.reset(upstreamID, .noError)
            downstream?.reset(id, .noError)
        }
        upstream = nil
        finish()
    }

    // MARK: The end

    func finish() {
        if isFinished { return }
        isFinished = true
        life &+= 1
        if let drill = cluster?.drill {
            drill.requestEnded(log, began: began, wasHeld: isHeld)
        }
        timer?.stop()
        if let upstream, !responseIsComplete { upstream.reset(upstreamID, .cancel) }
        pool?.stopWaiting(self)
        releaseHost(.neutral)
        if !hedge.attempts.isEmpty { dropHedges() }
        if let cluster { releasePlaces(in: cluster) }
        if let downstream {
            let manager = downstream.manager
            manager.metrics.requestEnded(status: log.status, took: worker.loop.now - began)
            if manager.wantsLog { manager.record(&log, of: self, on: downstream) }
            downstream.finished(id)
        }
        forget()
        worker.recycle(self)
    }

    /// Lets everything go, so that a recycled exchange keeps nothing alive.
    private func forget() {
        downstream = nil
        upstream = nil
        pool = nil
        picked = nil
        cluster = nil
        route = nil
        virtualHost = nil
        choice = nil
        forward = nil
        asked = nil
        retry = nil
        times = ExchangeTimes()
        request = MessageHead()
        requestTrailers = nil
        replay.removeAll()
        replay.shrink()
        canReplay = true
        owedToDownstream = 0
        owedToUpstream = 0
        attempted.removeAll(keepingCapacity: true)
        hashKey = nil
        if !setCookies.isEmpty { setCookies = [] }
        session = nil
        hedge = Hedge()
        responseHasBegun = false
        responseIsComplete = false
        log.clear()
    }

    func releaseHost(_ outcome: UpstreamCluster.Outcome) {
        guard let pick = picked else { return }
        picked = nil
        grpc = GRPCResponse()
        cluster?.release(pick, outcome)
    }

    // MARK: Small parts

    private func pass(
        _ bytes: Span<UInt8>, endStream: Bool, to upstream: UpstreamConnection, owing count: Int
    ) {
        let hasRoom = upstream.sendBody(bytes, on: upstreamID, endStream: endStream)
        if hasRoom || endStream {
            downstream?.consumed(count + owedToDownstream, on: id)
            owedToDownstream = 0
        } else {
            owedToDownstream += count
        }
    }

    // MARK: Time

    private func requestEnded() {
        let timeout = timeLimit
        if isFinished { return }
        if upstream != nil || pool != nil { boundAttempt() }
        guard timeout > .zero else { return }
        times.end = worker.loop.now + timeout
        retry?.deadline = times.end
        setTimer()
    }

    private func boundAttempt() {
        guard let limit = perTryTimeout, !responseHasBegun else { return }
        wait(for: .perTry, until: worker.loop.now + limit)
    }

    func wait(for event: ExchangeTimes.Wait, until time: Instant) {
        times.wait(for: event, until: time)
        setTimer()
    }

    private func boundIdle(_ limit: Duration) {
        times.idleLimit = limit
        if limit > .zero { setTimer() }
    }

    /// Either side gave a sign of life. No timer moves: it looks again when its time comes.
    private func touch() { times.touch(at: worker.loop.now) }

    private func setTimer() {
        let time = times.next
        if time == .distantFuture { return }
        if timer == nil {
            timer = LoopTimer(worker.loop.timers) { [unowned self] in timerFired() }
        }
        timer?.start(at: time)
    }

    private func timerFired() {
        let due = times.takeDue(at: worker.loop.now)
        let life = life
        switch due {
        case nil: break
        case .end: deadlinePassed()
        case .idle: idled()
        case .tryIdle: if responseHasBegun { idled() } else { tryTimedOut("try-idle") }
        case .wait(let wait): waited(for: wait)
        }
        if !isFinished, self.life == life { setTimer() }
    }

    private func waited(for wait: ExchangeTimes.Wait) {
        switch wait {
        case .retry: attempt()
        case .perTry:
            if upstream == nil || !retryPlan.hedgesOnTimeout {
                tryTimedOut("try-timeout")
            } else if let attempt = setAside(), !hedge(beside: attempt) {
                takeBack(attempt)
            }
        case .silence: if let host, let cluster { fail(by: cluster.silenceEnded(host)) }
        case .delay: if let host, let cluster { lease(from: cluster, host) }
        }
    }

    private func tryTimedOut(_ reason: String) {
        cluster?.metrics.perTryTimedOut()
        noteAttempt(reason)
        if let host { attempted.append(host) }
        releaseHost(.timedOut(wasConnected: upstream != nil))
        dropAttempt()
        if !tryAgain(.perTryTimeout, canReplay: canReplay) { giveUp(.timeout) }
    }

    private func deadlinePassed() {
        cluster?.metrics.timedOut()
        if !responseHasBegun {
            noteAttempt("deadline")
            releaseHost(.timedOut(wasConnected: upstream != nil))
        }
        dropAttempt()
        if responseHasBegun {
            log.flags.insert(.upstreamRequestTimeout)
            log.details = "response_timeout"
            downstream?.reset(id, .internalError)
            finish()
        } else {
            reply(.timeout)
        }
    }

    /// Lets the attempt that is under way go on by itself.
    private func setAside() -> HedgedAttempt? {
        guard let picked, let upstream else { return nil }
        let attempt = HedgedAttempt(
            picked, upstream, upstreamID, began: attemptBegan, exchange: self)
        upstream.hand(upstreamID, to: attempt)
        attempted.append(picked.host)
        self.picked = nil
        self.upstream = nil
        times.endAttempt()
        return attempt
    }

    /// Goes on with an attempt that was set aside.
    func takeBack(_ attempt: HedgedAttempt) {
        picked = attempt.pick
        upstream = attempt.connection
        upstreamID = attempt.stream
        attemptBegan = attempt.began
        log.upstreamHost = attempt.pick.host.address
        attempt.connection.hand(upstreamID, to: self)
        // Its copy of the body was sent whole.
        downstream?.consumed(owedToDownstream, on: id)
        owedToDownstream = 0
    }

    func dropAttempt() {
        times.endAttempt()
        upstream?.reset(upstreamID, .cancel)
        upstream = nil
        pool?.stopWaiting(self)
        pool = nil
    }
}
