import EventLoop
import HTTPCodec
import HealthProbe
import LoadBalancer
import MTLS
import MeshBase
import MeshConfig

/// The connections of one loop to one endpoint of one cluster, and the callers that wait for one.
///
/// HTTP/2: one connection carries all until its streams are used up; HTTP/1: one for each request
/// in flight, the one used last first, so that the rest grow idle and go. A connect that fails
/// fails all who wait: they have other endpoints to try, and this one has just said no. One that takes
/// as long as would do to call a connection dead, or that goes over a path which was found dead,
/// lets them go elsewhere as well, if there is anywhere, and goes on by itself: `connect_timeout`
/// is often 10 s, and requests should not be what waits for it.
///
/// Much sooner, after `secondPathDelay`, a second way is tried beside the first, and who waits takes what is
/// connected first: the endpoint's next address (`ConnectRace`), else another endpoint over another
/// first hop, where a request may still move.
final class UpstreamPool {
    let cluster: UpstreamCluster
    let host: Host
    let version: HTTPVersion
    let priority: RequestPriority
    private let hostShare: BreakerShare?
    let loop: any IOLoop
    /// Those with room for another request; the last is taken first.
    private var listed: [UpstreamConnection] = []
    private var connections: [ObjectIdentifier: UpstreamConnection] = [:]
    private var connecting = 0
    /// Of those that are connecting, they are raced by another of ours and not needed beside it.
    private var surplus = 0
    /// No connect of late was fast: those who come now need not wait to find that out.
    private var hasSlowConnects = false
    /// Where those who wait might go instead, while it connects; and who would come here.
    private var overtaker: UpstreamPool?
    private var followers: [UpstreamPool] = []
    private var connectionsMade = 0
    private var waiting: [any UpstreamCaller] = []
    private(set) var isClosed = false

    enum HTTPVersion: Hashable {
        case http1, http2, alpn
    }

    /// What comes of asking for a connection.
    enum Lease {
        case connection(UpstreamConnection)
        /// The caller hears `leased` or `leaseFailed` in a later call.
        case waits
        /// As many wait as the cluster allows.
        case overflow
    }

    init(
        cluster: UpstreamCluster, host: Host, version: HTTPVersion, priority: RequestPriority
    ) {
        self.cluster = cluster
        self.host = host
        self.version = version
        self.priority = priority
        hostShare = cluster.limits.share(ofHost: host.address)
        loop = cluster.set.loop
    }

    var connectionCount: Int { connections.count }
    var waitingCount: Int { waiting.count }

    /// A caller's place among those who wait for a connection.
    enum PendingPlace {
        case wanted
        /// It has one, which it hands over.
        case held
        /// The cluster's limit does not hold for this caller.
        case unlimited
    }

    /// Asks for a connection with room.
    func lease(for caller: any UpstreamCaller, _ place: PendingPlace = .wanted) -> Lease {
        while let connection = listed.last {
            if connection.available > 0 {
                if place == .held { cluster.limits.releasePending(priority) }
                return .connection(connection)
            }
            unlist(connection)
        }
        switch place {
        case .wanted: if !cluster.limits.admitPending(priority) { return .overflow }
        case .held: break
        case .unlimited: cluster.limits.forcePending(priority)
        }
        waiting.append(caller)
        connectIfNeeded()
        if hasSlowConnects { loop.atTurnEnd(Deferred { [weak self] in self?.raceElsewhere() }) }
        return .waits
    }

    func stopWaiting(_ caller: any UpstreamCaller) {
        let before = waiting.count
        waiting.removeAll { $0 === caller }
        for _ in waiting.count..<before { cluster.limits.releasePending(priority) }
    }

    /// Lets exchanges finish, those that wait for a connection too, and keeps no connection after.
    func drain() {
        isClosed = true
        for connection in inOrder { connection.drain() }
    }

    /// Closes connections without an exchange; an unhealthy endpoint keeps none warm.
    func closeIdle() {
        for connection in inOrder where connection.isConnected {
            if connection.openStreams == 0 { connection.drain() }
        }
    }

    /// Makes a connection, if there is none, for requests to come.
    func warm() {
        guard connections.isEmpty, !isClosed, admitConnection() else { return }
        connect(to: host.path.address)
    }

    /// Takes a place among the cluster's connections for one that is then made.
    private func admitConnection() -> Bool {
        cluster.limits.admitConnection(priority, isFirst: connections.isEmpty, host: hostShare)
    }

    /// All first hops of its connections.
    var addresses: [SocketAddress] {
        host.paths.isEmpty ? [host.address] : host.paths.map(\.address)
    }

    /// In the order of making, so that a simulated run replays.
    private var inOrder: [UpstreamConnection] {
        connections.values.sorted { $0.number < $1.number }
    }

    // MARK: What a connection asks

    var connectTimeout: Duration { cluster.connectTimeout(of: host) }
    /// How long requests wait for a connection while there are other endpoints.
    var connectPatience: Duration {
        cluster.set.settings.pingInterval + cluster.set.settings.pingTimeout
    }
    var secondPathDelay: Duration { cluster.set.settings.secondPathDelay }
    var idleTimeout: Duration { cluster.config.idleTimeout }
    var maxRequestsPerConnection: Int { cluster.config.maxRequestsPerConnection }
    func makePingWatch() -> PingWatch {
        let settings = cluster.set.settings
        guard let keepAlive = cluster.config.keepAlive else {
            return PingWatch(
                interval: settings.pingInterval, timeout: settings.pingTimeout, now: loop.now)
        }
        return PingWatch(
            interval: settings.pingInterval, timeout: settings.pingTimeout, keepAlive: keepAlive,
            random: loop.random.split(), now: loop.now)
    }

    func openStream(for connection: UpstreamConnection) -> any ByteStream {
        var options = ConnectOptions()
        options.timeout = connectTimeout
        options.keepAlive = cluster.config.tcpKeepAlive ?? .seconds(60)
        options.userTimeout = .seconds(10)
        options.source = cluster.config.source
        do {
            guard let context = try cluster.tlsContext(for: host) else {
                return loop.connect(connection.address, options: options, handler: connection)
            }
            let stream = TLSStream(
                session: cluster.makeSession(context, for: host), clusters: cluster.set,
                handler: connection)
            stream.connect(connection.address, options: options)
            return stream
        } catch {
            return FailedStream(
                loop: loop,
                failure: TransportFailure(.tlsNoCertificate, detail: "\(error)"),
                handler: connection)
        }
    }

    func makeCodec(negotiated: String?) -> any HTTPConnection {
        let http2: Bool
        switch version {
        case .http2: http2 = true
        case .http1: http2 = false
        case .alpn: http2 = negotiated == "h2"
        }
        if http2 { return HTTP2Connection(role: .client, context: cluster.codecContext) }
        return HTTP1Connection(role: .client, context: cluster.codecContext)
    }

    func flush(_ codec: any HTTPConnection, to stream: any ByteStream) {
        cluster.set.flush(codec, to: stream) { cluster.sent($0) }
    }

    func sendBody(
        _ bytes: Span<UInt8>, on id: StreamID, endStream: Bool, through codec: any HTTPConnection,
        to stream: any ByteStream, unflushed: inout Int
    ) -> Bool {
        cluster.set.sendBody(
            bytes, on: id, endStream: endStream, through: codec, to: stream, unflushed: &unflushed
        ) { cluster.sent($0) }
    }

    func received(_ count: Int) { cluster.received(count) }

    func list(_ connection: UpstreamConnection) {
        if !serveWaiting(on: connection) || isClosed { return }
        if !connection.isListed {
            connection.isListed = true
            listed.append(connection)
        }
    }

    func unlist(_ connection: UpstreamConnection) {
        guard connection.isListed else { return }
        connection.isListed = false
        if let index = listed.lastIndex(where: { $0 === connection }) { listed.remove(at: index) }
    }

    func connected(_ connection: UpstreamConnection) {
        connecting -= 1
        cluster.connected(host)
        hasSlowConnects = false
        list(connection)
        if let race = connection.race { won(race, connection) }
        overtaker?.forget(self)
        overtaker = nil
        if isClosed { connection.drain() }
        serveFollowers(connection)
        connectIfNeeded()
    }

    private func won(_ race: ConnectRace, _ winner: UpstreamConnection) {
        var others: [UpstreamConnection] = []
        change(race) { others = $0.won(by: winner) }
        let late = others.filter { $0.began < winner.began }.map(\.address)
        cluster.raceWon(host, over: winner.address, late: late)
        for other in others { other.loseRace() }
    }

    func closed(
        _ connection: UpstreamConnection, failure: TransportFailure?, wasConnected: Bool
    ) {
        unlist(connection)
        connections[ObjectIdentifier(connection)] = nil
        if connections.isEmpty {
            cluster.set.lastConnectionEnded(self)
            for follower in followers { follower.overtaker = nil }
            followers = []
        }
        cluster.limits.releaseConnection(priority, host: hostShare)
        cluster.connectionClosed(
            host, over: connection.address, failure: failure, wasConnected: wasConnected)
        guard !wasConnected else {
            connectIfNeeded()
            return
        }
        connecting -= 1
        if connecting == 0 { hasSlowConnects = false }
        let race = connection.race
        if let race { change(race) { $0.leave(connection) } }
        guard let failure else {
            connectIfNeeded()
            return
        }
        if race?.contenders.isEmpty == false { return }
        if !waiting.isEmpty, connectOtherwise(than: connection, in: race) { return }
        failWaiting(failure)
    }

    /// A PING on this connection is late: what comes now waits for its answer, or goes elsewhere.
    func isSilent(_ connection: UpstreamConnection, _ failure: TransportFailure) {
        unlist(connection)
        cluster.connectionIsLate(host, over: connection.address, failure)
    }

    /// The late PING is answered.
    func answered(_ connection: UpstreamConnection) {
        cluster.connectionAnswered(over: connection.address)
        if connection.available > 0 { list(connection) }
    }

    /// A connect takes so long that a second way is tried beside it.
    func connectIsSlow(_ connection: UpstreamConnection) {
        if waiting.isEmpty || connectOtherwise(than: connection, in: connection.race) { return }
        hasSlowConnects = true
        raceElsewhere()
    }

    /// A connect takes as long as would do to call a connection dead.
    func connectIsLate(_ connection: UpstreamConnection, _ failure: TransportFailure) {
        // An endpoint that answers on other connections is only slow to accept.
        let isAlive = connections.values.contains {
            $0.isConnected && $0.lastReceived > connection.began
        }
        guard !isAlive, cluster.hasAlternative(to: host) else { return }
        cluster.connectionIsLate(host, over: connection.address, failure)
        failWaiting(failure)
    }

    /// The control loop has called a path dead.
    func pathDied(_ address: SocketAddress) {
        for connection in inOrder where connection.address == address { connection.pathDied() }
        guard connecting == connections.count, cluster.hasAlternative(to: host) else { return }
        failWaiting(TransportFailure(.connectTimeout, detail: "the path was found dead"))
    }

    // MARK: A second way

    /// Tries the endpoint's next address, if there is one that is well.
    /// - Parameter connection: that takes long, or has failed.
    private func connectOtherwise(
        than connection: UpstreamConnection, in known: ConnectRace?
    ) -> Bool {
        if host.paths.isEmpty { return false }
        let race = known ?? ConnectRace(of: connection)
        guard let next = host.paths.first(where: { $0.isUsable && !race.hasTried($0.address) }),
            admitConnection()
        else { return false }
        let other = connect(to: next.address)
        change(race) {
            if known == nil, connections[ObjectIdentifier(connection)] != nil {
                $0.enter(connection)
            }
            $0.enter(other)
        }
        return true
    }

    private func change(_ race: ConnectRace, _ body: (ConnectRace) -> Void) {
        surplus -= race.surplus
        body(race)
        surplus += race.surplus
    }

    /// Connects to another endpoint for those who wait here, unless it is connected already.
    private func raceElsewhere() {
        guard overtaker == nil, waiting.contains(where: \.prefersToMove),
            let other = cluster.alternative(to: host)
        else { return }
        let pool = cluster.pool(
            to: other, downstreamIsHTTP2: version == .http2, priority: priority)
        if pool.hasRoom {
            overtaken(by: pool)
            return
        }
        if pool.isClosed { return }
        overtaker = pool
        pool.followers.append(self)
        pool.warm()
    }

    private var hasRoom: Bool { listed.contains { $0.available > 0 } }

    private func overtaken(by other: UpstreamPool) {
        overtaker = nil
        failWaiting(
            TransportFailure(.connectLate, detail: "\(other.host.address) was connected sooner")
        ) { $0.prefersToMove }
    }

    /// Nobody waits for this pool there any more.
    private func forget(_ follower: UpstreamPool) {
        followers.removeAll { $0 === follower }
        guard followers.isEmpty, waiting.isEmpty else { return }
        for connection in inOrder where !connection.isConnected { connection.drain() }
    }

    private func serveFollowers(_ connection: UpstreamConnection) {
        if followers.isEmpty { return }
        let all = followers
        followers = []
        for follower in all { follower.overtaken(by: self) }
        // They may have gone elsewhere meanwhile.
        if connection.openStreams == 0, waiting.isEmpty { connection.drain() }
    }

    // MARK: Inside

    private func failWaiting(
        _ failure: TransportFailure, where isMeant: (any UpstreamCaller) -> Bool = { _ in true }
    ) {
        let failed = waiting.filter(isMeant)
        waiting.removeAll(where: isMeant)
        for _ in failed { cluster.limits.releasePending(priority) }
        for caller in failed {
            caller.leaseFailed(
                UpstreamFailure(transport: failure, unprocessed: true, isOfConnection: true))
        }
    }

    /// - Returns: whether the connection still has room.
    private func serveWaiting(on connection: UpstreamConnection) -> Bool {
        while connection.available > 0 {
            if waiting.isEmpty { return true }
            cluster.limits.releasePending(priority)
            waiting.removeFirst().leased(connection)
        }
        unlist(connection)
        return false
    }

    private func connectIfNeeded() {
        let each = version == .http1 ? 1 : 100
        while waiting.count > (connecting - surplus) * each {
            guard admitConnection() else { return }
            connect(to: host.path.address)
        }
    }

    /// Its place among the cluster's connections has been taken.
    @discardableResult
    private func connect(to address: SocketAddress) -> UpstreamConnection {
        connecting += 1
        connectionsMade += 1
        let connection = UpstreamConnection(
            pool: self, number: connectionsMade, address: address)
        if connections.isEmpty { cluster.set.firstConnectionBegan(self) }
        connections[ObjectIdentifier(connection)] = connection
        cluster.connecting(host)
        return connection
    }
}
