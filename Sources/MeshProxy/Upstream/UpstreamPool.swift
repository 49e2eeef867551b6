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

    init(cluster: UpstreamCluster, host: Host, version: HTTPVersion) {
        self.cluster = cluster
        self.host = host
        self.version = version
        loop = cluster.set.loop
    }

    var connectionCount: Int { connections.count }
    var waitingCount: Int { waiting.count }

    /// Whether a caller would have to wait, and as many as the cluster allows wait already.
    var refusesCallers: Bool {
        if cluster.pendingCount < cluster.config.circuitBreakers.maxPendingRequests { return false }
        return !listed.contains { $0.available > 0 }
    }

    /// A connection with room, or `nil`: the caller then waits, and hears `leased` or `leaseFailed`
    /// in a later call.
    func lease(for caller: any UpstreamCaller) -> UpstreamConnection? {
        while let connection = listed.last {
            if connection.available > 0 { return connection }
            unlist(connection)
        }
        waiting.append(caller)
        cluster.pendingCount += 1
        connectIfNeeded()
        return nil
    }

    func stopWaiting(_ caller: any UpstreamCaller) {
        let before = waiting.count
        waiting.removeAll { $0 === caller }
        cluster.pendingCount -= before - waiting.count
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
        if connections.isEmpty, !isClosed { connect() }
    }

    /// In the order of making, so that a simulated run replays.
    private var inOrder: [UpstreamConnection] {
        connections.values.sorted { $0.number < $1.number }
    }

    // MARK: What a connection asks

    var connectTimeout: Duration { cluster.connectTimeout(of: host) }
    /// How long requests wait for a connection while there are other endpoints.
    var connectPatience: Duration {
        if cluster.set.doubts(host.locality) { return doubtPatience }
        return cluster.set.settings.pingInterval + cluster.set.settings.pingTimeout
    }
    /// How long a connection has to show that it is there, if it is in doubt.
    var doubtPatience: Duration {
        (cluster.config.keepAliveTimeout ?? cluster.set.settings.pingTimeout) / 2
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

    /// Others where the endpoint lives have fallen silent.
    func placeDoubted() {
        for connection in inOrder { connection.placeDoubted() }
    }

    // MARK: Inside

    private func failWaiting(_ failure: TransportFailure) {
        let failed = waiting
        waiting = []
        cluster.pendingCount -= failed.count
        for caller in failed {
            caller.leaseFailed(
                UpstreamFailure(transport: failure, unprocessed: true, isOfConnection: true))
        }
    }

    /// - Returns: whether the connection still has room.
    private func serveWaiting(on connection: UpstreamConnection) -> Bool {
        while connection.available > 0 {
            if waiting.isEmpty { return true }
            cluster.pendingCount -= 1
            waiting.removeFirst().leased(connection)
        }
        unlist(connection)
        return false
    }

    private func connectIfNeeded() {
        let each = version == .http1 ? 1 : 100
        while waiting.count > connecting * each {
            // Envoy's rule: every endpoint may have one, so that nobody waits for ever.
            if cluster.connectionCount >= cluster.config.circuitBreakers.maxConnections,
                !connections.isEmpty
            {
                return
            }
            connect()
        }
    }

    private func connect() {
        connecting += 1
        connectionsMade += 1
        let connection = UpstreamConnection(pool: self, number: connectionsMade)
        if connections.isEmpty { cluster.set.firstConnectionBegan(self) }
        connections[ObjectIdentifier(connection)] = connection
        cluster.connecting(host)
    }
}
