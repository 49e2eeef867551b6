import EventLoop
import HTTPCodec
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
        guard connections.isEmpty, !isClosed else { return }
        if cluster.limits.admitConnection(priority, isFirst: true, host: hostShare) { connect() }
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
    var idleTimeout: Duration { cluster.config.idleTimeout }
    var maxRequestsPerConnection: Int { cluster.config.maxRequestsPerConnection }
    var pingInterval: Duration? {
        cluster.config.keepAliveInterval ?? cluster.set.settings.pingInterval
    }
    var pingTimeout: Duration? {
        cluster.config.keepAliveTimeout ?? cluster.set.settings.pingTimeout
    }

    func openStream(for connection: UpstreamConnection) -> any ByteStream {
        var options = ConnectOptions()
        options.timeout = connectTimeout
        options.keepAlive = cluster.config.tcpKeepAlive ?? .seconds(60)
        options.userTimeout = .seconds(10)
        options.source = cluster.config.source
        do {
            guard let context = try cluster.tlsContext(for: host) else {
                return loop.connect(host.address, options: options, handler: connection)
            }
            let stream = TLSStream(
                session: cluster.makeSession(context, for: host), clusters: cluster.set,
                handler: connection)
            stream.connect(host.address, options: options)
            return stream
        } catch {
            return FailedStream(
                loop: loop,
                failure: TransportFailure(.tlsNoCertificate, detail: "\(error)"),
                handler: connection)
        }
    }

    func makeCodec(negotiated: String?) -> any HTTPConnection {
        var limits = HTTPLimits()
        limits.streamWindow = cluster.config.initialStreamWindow
        limits.connectionWindow = cluster.config.initialConnectionWindow
        let http2: Bool
        switch version {
        case .http2: http2 = true
        case .http1: http2 = false
        case .alpn: http2 = negotiated == "h2"
        }
        let workspace = cluster.set.headWorkspace
        if http2 {
            return HTTP2Connection(role: .client, limits: limits, workspace: workspace)
        }
        return HTTP1Connection(role: .client, limits: limits, workspace: workspace)
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
        list(connection)
        if isClosed { connection.drain() }
        connectIfNeeded()
    }

    func closed(
        _ connection: UpstreamConnection, failure: TransportFailure?, wasConnected: Bool
    ) {
        unlist(connection)
        connections[ObjectIdentifier(connection)] = nil
        if connections.isEmpty { cluster.set.lastConnectionEnded(self) }
        cluster.limits.releaseConnection(priority, host: hostShare)
        cluster.connectionClosed(host, failure: failure, wasConnected: wasConnected)
        guard !wasConnected else {
            connectIfNeeded()
            return
        }
        connecting -= 1
        guard let failure else {
            connectIfNeeded()
            return
        }
        failWaiting(failure)
    }

    /// A connect takes long.
    func isLate(_ failure: TransportFailure, since began: Instant) {
        // An endpoint that answers on other connections is only slow to accept.
        let isAlive = connections.values.contains { $0.isConnected && $0.lastReceived > began }
        guard !isAlive, cluster.hasAlternative(to: host) else { return }
        cluster.connectionIsLate(host, failure)
        failWaiting(failure)
    }

    /// The control loop has called the path dead.
    func pathDied() {
        for connection in inOrder { connection.pathDied() }
        guard connecting == connections.count, cluster.hasAlternative(to: host) else { return }
        failWaiting(TransportFailure(.connectTimeout, detail: "the path was found dead"))
    }

    // MARK: Inside

    private func failWaiting(_ failure: TransportFailure) {
        let failed = waiting
        waiting = []
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
        while waiting.count > connecting * each {
            guard
                cluster.limits.admitConnection(
                    priority, isFirst: connections.isEmpty, host: hostShare)
            else { return }
            connect()
        }
    }

    /// Its place among the cluster's connections has been taken.
    private func connect() {
        connecting += 1
        connectionsMade += 1
        let connection = UpstreamConnection(pool: self, number: connectionsMade)
        if connections.isEmpty { cluster.set.firstConnectionBegan(self) }
        connections[ObjectIdentifier(connection)] = connection
        cluster.connecting(host)
    }
}
