public import MeshBase
public import MeshConfig

/// When to ask an HTTP/2 peer with PING whether it is still there, and what its silence means.
///
/// **Ours.** A black-holed peer sends no reset, so one that is silent while requests wait is asked:
///
///     request ──interval──▸ PING ──half of the time-out──▸ suspect, PING ──the other half──▸ dead
///
/// The first miss may be one lost packet or a peer that collects garbage: new requests keep away, and
/// those that are open go on. Any byte that comes ends it. A request that is given up without
/// an answer leaves the silence standing, so that short time-outs of clients do not hide a dead peer.
///
/// gRPC servers end connections with more than three PINGs between two of their own messages, unless
/// five minutes lie between them. So a PING soon is for new requests; after an answer a stream that
/// stays silent is asked about once more and then rarely, which leaves one for a request that
/// comes later. Where none is left the first PING has both halves of the time to be answered.
///
/// **As configured.** With `connection_keepalive` the peer is asked at its interval, whatever is open,
/// and when a request begins after `connection_idle_interval`; one time-out in which nothing at all
/// came is the end.
public struct PingWatch {
    public enum Step: Equatable, Sendable {
        case wait
        /// Send a PING.
        case ping
        /// Nothing new should be given to the peer before it has spoken.
        case suspect(asksAgain: Bool)
        case dead
    }

    private let interval: Duration
    private let timeout: Duration
    private let keepAlive: ConnectionKeepAlive?
    private var random: SeededRandom
    private var hasOpen = false
    private var lastReceived: Instant
    /// Since when something is waited for; `nil` while nothing is.
    private var silentSince: Instant?
    private var answerDue: Instant?
    private var misses = 0
    /// By the configured interval.
    private var nextKeepAlive = Instant.distantFuture
    private var lastPing = Instant.zero
    /// PINGs since the peer last sent a message that came too soon for a gRPC server's liking.
    private var hastyPings = 0
    private var hasNewRequest = false

    private static let mostHastyPings = 2
    private static let rarely = Duration.seconds(310)

    /// - Parameter interval: of silence until the peer is asked; `timeout` is for both answers together.
    /// - Parameter keepAlive: takes the place of these two.
    /// - Parameter random: for the configured jitter.
    public init(
        interval: Duration, timeout: Duration, keepAlive: ConnectionKeepAlive? = nil,
        random: SeededRandom = SeededRandom(seed: 0), now: Instant
    ) {
        self.interval = interval
        self.timeout = keepAlive?.timeout ?? timeout
        self.keepAlive = keepAlive
        self.random = random
        lastReceived = now
        scheduleKeepAlive(now)
    }

    /// A PING was not answered in time, and nothing came since.
    public var isSuspect: Bool { misses > 0 }

    /// `requestBegan` has something to note: it was not called since the last PING.
    public var awaitsRequest: Bool { !hasNewRequest }

    /// The first request on an idle connection began, or another one while `awaitsRequest`.
    /// - Returns: whether to send a PING with it.
    public mutating func requestBegan(now: Instant) -> Bool {
        hasOpen = true
        hasNewRequest = true
        if silentSince == nil { silentSince = now }
        guard let idle = keepAlive?.idleInterval, now - lastReceived > idle, answerDue == nil
        else { return false }
        asked(now)
        return true
    }

    /// No request is open any more. - Parameter answered: the peer ended the last one, not we.
    public mutating func becameIdle(answered: Bool) {
        hasOpen = false
        if answered { silentSince = nil }
    }

    /// Bytes came. - Returns: whether that ended a suspicion.
    public mutating func received(now: Instant) -> Bool {
        lastReceived = now
        silentSince = hasOpen ? now : nil
        let wasSuspect = isSuspect
        misses = 0
        if keepAlive == nil {
            answerDue = nil
        } else if answerDue != nil {
            // Its answer may stand behind others' bytes.
            answerDue = now + timeout
        }
        return wasSuspect
    }

    /// The answer to a PING came; after `received`.
    public mutating func pong(now: Instant) {
        answerDue = nil
        scheduleKeepAlive(now)
    }

    /// The peer sent a message, which pleases gRPC servers.
    public mutating func messageReceived() { hastyPings = 0 }

    /// The path was found dead from elsewhere. This connection may be well, so it is asked, and has
    /// half of the time to answer. - Returns: whether to send a PING.
    public mutating func pathDied(now: Instant) -> Bool {
        let asks = answerDue == nil
        if asks, keepAlive == nil, hastyPings >= PingWatch.mostHastyPings { return false }
        let due = min(answerDue ?? .distantFuture, now + timeout / 2)
        if asks { asked(now) }
        answerDue = due
        misses = 1
        return asks
    }

    public var nextDeadline: Instant? {
        if let answerDue { return answerDue }
        if keepAlive != nil { return nextKeepAlive == .distantFuture ? nil : nextKeepAlive }
        return nextPing
    }

    /// `nextDeadline` has come, or may have.
    public mutating func deadlineReached(at now: Instant) -> Step {
        guard let deadline = nextDeadline, deadline <= now else { return .wait }
        if answerDue == nil {
            asked(now)
            return .ping
        }
        if keepAlive != nil || misses > 0 { return .dead }
        misses = 1
        let asksAgain = hastyPings < PingWatch.mostHastyPings
        if asksAgain { asked(now) } else { answerDue = now + timeout / 2 }
        return .suspect(asksAgain: asksAgain)
    }

    private var nextPing: Instant? {
        guard hasOpen, let silentSince else { return nil }
        let soon = silentSince + interval
        if hasNewRequest, hastyPings < PingWatch.mostHastyPings { return soon }
        if hastyPings == 0 { return silentSince + interval * 5 }
        return max(soon, lastPing + PingWatch.rarely)
    }

    private mutating func asked(_ now: Instant) {
        if lastPing > .zero, now - lastPing < PingWatch.rarely { hastyPings += 1 }
        lastPing = now
        hasNewRequest = false
        nextKeepAlive = .distantFuture
        answerDue = now + (keepAlive == nil ? timeout / 2 : timeout)
    }

    private mutating func scheduleKeepAlive(_ now: Instant) {
        guard let keepAlive, let interval = keepAlive.interval else { return }
        let most = Int(Double(interval.nanoseconds) * keepAlive.jitterPercent / 100)
        nextKeepAlive = now + interval + .nanoseconds(most > 0 ? random.below(most) : 0)
    }

    /// What must always hold; for tests.
    public func checkInvariants() {
        precondition(misses == 0 || answerDue != nil)
        precondition(misses < 2 && hastyPings >= 0)
        precondition(
            keepAlive == nil || answerDue != nil || keepAlive?.interval == nil
                || nextKeepAlive < .distantFuture)
    }
}
