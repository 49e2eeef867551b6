import EventLoop
import HTTPCodec
import MeshBase
import MeshConfig
import Observability

/// An HTTP connection manager of one listener in one worker: its settings, its current routes, its
/// logs and counters, and the connections that it serves.
final class HTTPManager {
    let config: HTTPConnectionManager
    let metrics: HTTPMetrics
    private let listener: ListenerMetrics
    private var slot: RouteSlot
    private let logs: [AccessLogWriter]
    private var connections: [ObjectIdentifier: DownstreamConnection] = [:]
    private(set) var isDraining = false
    let serverName: HeaderText
    /// `nil` without a filter for sessions.
    let sessions: SessionSetting?
    private var plainContext: HTTPCodecContext?
    private var tlsContext: HTTPCodecContext?

    init(
        config: HTTPConnectionManager, slot: RouteSlot, logs: [AccessLogWriter],
        metrics: HTTPMetrics, listener: ListenerMetrics
    ) {
        self.config = config
        self.slot = slot
        self.logs = logs
        self.metrics = metrics
        self.listener = listener
        sessions =
            config.filters.lazy.compactMap {
                if case .statefulSession(let setting) = $0 { setting } else { nil }
            }.first
        serverName = HeaderText(config.serverName.isEmpty ? "meshproxy" : config.serverName)
    }

    /// `nil` until the named route configuration has come.
    var routes: RouteTable? { slot.table }
    /// Connections of a former version look their routes up where the present one does.
    func followRoutes(of heir: HTTPManager) {
        slot = heir.slot
    }

    var wantsLog: Bool { !logs.isEmpty }
    var connectionCount: Int { connections.count }
    var openExchanges: Int { connections.values.reduce(0) { $0 + $1.openExchanges } }

    /// What the codecs of its connections share.
    func codecContext(isTLS: Bool, _ workspace: HeadWorkspace) -> HTTPCodecContext {
        if let made = isTLS ? tlsContext : plainContext { return made }
        var limits = HTTPLimits()
        limits.maxHeaderBytes = config.maxRequestHeadersBytes
        limits.maxHeaderCount = config.maxRequestHeaders
        limits.maxConcurrentStreams = config.maxConcurrentStreams
        limits.streamWindow = config.initialStreamWindow
        limits.connectionWindow = config.initialConnectionWindow
        let context = HTTPCodecContext(
            limits: limits, scheme: isTLS ? "https" : "http", workspace: workspace)
        if isTLS { tlsContext = context } else { plainContext = context }
        return context
    }

    func opened(_ connection: DownstreamConnection) {
        connections[ObjectIdentifier(connection)] = connection
        metrics.connectionOpened()
    }

    func closed(_ connection: DownstreamConnection) {
        if connections.removeValue(forKey: ObjectIdentifier(connection)) != nil {
            metrics.connectionClosed()
            listener.connectionClosed()
        }
    }

    func drain() {
        isDraining = true
        // In the order of coming, so that a simulated run replays.
        for connection in connections.values.sorted(by: { $0.number < $1.number }) {
            connection.drain()
        }
    }

    func record(
        _ record: inout AccessLogRecord, of exchange: Exchange, on connection: DownstreamConnection
    ) {
        exchange.complete(&record, on: connection)
        for log in logs { log.write(record) }
    }
}

/// Where a route configuration of a name is found at the moment; managers of all listeners that name
/// it share one, so a push replaces the table in one place.
final class RouteSlot {
    var table: RouteTable?
    var generation: UInt64 = 0

    init(table: RouteTable? = nil) {
        self.table = table
    }
}

/// Bytes of a header value that never change.
struct HeaderText {
    private let bytes: [UInt8]

    init(_ text: String) {
        bytes = Array(text.utf8)
    }

    func withBytes(_ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        bytes.withUnsafeBufferPointer(body)
    }
}

/// A TCP proxy of one listener in one worker.
final class TCPManager {
    let config: TCPProxy
    let metrics: TCPMetrics
    private let listener: ListenerMetrics
    private let logs: [AccessLogWriter]
    private var relays: [ObjectIdentifier: TCPRelay] = [:]

    init(
        config: TCPProxy, metrics: TCPMetrics, listener: ListenerMetrics, logs: [AccessLogWriter]
    ) {
        self.config = config
        self.listener = listener
        self.metrics = metrics
        self.logs = logs
    }

    var wantsLog: Bool { !logs.isEmpty }

    func record(_ record: borrowing AccessLogRecord) {
        for log in logs { log.write(record) }
    }

    var connectionCount: Int { relays.count }

    func opened(_ relay: TCPRelay) {
        relays[ObjectIdentifier(relay)] = relay
        metrics.connectionOpened()
    }

    func closed(_ relay: TCPRelay) {
        if relays.removeValue(forKey: ObjectIdentifier(relay)) != nil {
            metrics.connectionClosed()
            listener.connectionClosed()
        }
    }

    func chooseCluster(_ random: inout SeededRandom) -> String {
        let total = config.clusters.reduce(0) { $0 + Int($1.weight) }
        guard config.clusters.count > 1, total > 0 else { return config.clusters.first?.name ?? "" }
        var draw = random.below(total)
        for cluster in config.clusters {
            draw -= Int(cluster.weight)
            if draw < 0 { return cluster.name }
        }
        return ""
    }

    func endAll() {
        for relay in relays.values { relay.drain() }
    }
}
