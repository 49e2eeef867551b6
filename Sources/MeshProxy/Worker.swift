import EventLoop
import HTTPCodec
import LoadBalancer
import MTLS
import MeshBase
import MeshConfig
import Observability

/// One event loop's share of the proxy: listeners, connections, clusters, balancers and pools.
///
/// Everything that it owns is made on its own thread from the values that the control loop
/// publishes; nothing of it is reachable from another thread.
final class Worker {
    let loop: any IOLoop
    let index: Int
    let log: ProxyLog
    let clusters: ClusterSet
    let metrics: WorkerMetrics
    /// Several workers listen on the same ports.
    let sharesPorts: Bool
    private var listeners: [String: ListenerPort] = [:]
    /// Listeners that were removed and still have connections.
    private var leaving: [ListenerPort] = []
    private var routes: [String: RouteSlot] = [:]
    private var logs: [String: AccessLogFile] = [:]
    private var snapshot = Snapshot()
    private var isDraining = false
    private var idleExchanges: [Exchange] = []
    private var connectionCount: UInt64 = 0
    private var httpDate = HTTPDate()
    private var dateExpires = Instant.zero
    private var isClosed = false
    let openConnections: OpenConnections
    /// For text of a few bytes that is made and copied at once.
    var scratch = ByteBuffer()
    /// Tells the control loop what happened here.
    private let send: (WorkerReport) -> Void

    /// Shared by all workers, so that a session made with one can be resumed with another.
    private let ticketKey: [UInt8]

    /// - Parameters:
    ///   - index: below the number of workers that `breakers` was made for.
    ///   - tell: brings news of places to the worker of that index.
    init(
        loop: any IOLoop, index: Int, settings: Settings, log: ProxyLog, metrics: WorkerMetrics,
        sharesPorts: Bool, ticketKey: [UInt8] = [], breakers: BreakerTable = BreakerTable(),
        tell: @escaping (_ worker: Int, PlaceNews) -> Void = { _, _ in },
        send: @escaping (WorkerReport) -> Void
    ) {
        self.ticketKey = ticketKey
        self.loop = loop
        self.index = index
        self.log = log
        self.metrics = metrics
        self.sharesPorts = sharesPorts
        openConnections = OpenConnections(loop: loop)
        self.send = send
        clusters = ClusterSet(
            loop: loop, settings: settings, log: log, metrics: metrics, breakers: breakers,
            worker: index)
        clusters.tell = tell
        clusters.report = { send(.evidence($0)) }
        clusters.outliers.send = { send(.outliers(worker: index, $0)) }
        clusters.failback = { send(.failback(worker: index, cluster: $0, $1)) }
        clusters.drillProgress = { send(.drill(worker: index, $0, $1)) }
    }

    /// What the control loop said.
    func received(_ order: WorkerOrder) {
        switch order {
        case .adopt(let snapshot): adopt(snapshot)
        case .health(let changes): clusters.adopt(changes)
        case .doubt(let locality): clusters.doubt(locality)
        case .evacuate(let evacuations): clusters.adopt(evacuations)
        case .drill(let drill): clusters.adopt(drill)
        case .placeIsFree(let news): clusters.received(news)
        case .drain: drain()
        case .reportOpenWork: reportOpenWork()
        case .stopListening: stopListening()
        case .drainListeners(let inboundOnly):
            for port in listeners.values where !inboundOnly || port.isInbound { port.drain() }
        case .stopListeners(let inboundOnly):
            for port in listeners.values where !inboundOnly || port.isInbound {
                port.stopListening()
            }
        case .close: close()
        case .reopenLogs: for file in logs.values { file.reopen() }
        }
    }

    // MARK: Configuration

    /// Takes a snapshot on: clusters before routes, routes before listeners, and what is gone
    /// last, so that nothing ever names what is not there.
    func adopt(_ snapshot: Snapshot) {
        clusters.adopt(snapshot)
        var problems: [String] = []
        let trustChanged =
            self.snapshot.files != snapshot.files
            || self.snapshot.secrets.mapValues(\.generation)
                != snapshot.secrets.mapValues(\.generation)
        for (name, configuration) in snapshot.routes {
            let slot = routes[name] ?? RouteSlot()
            routes[name] = slot
            if slot.table != nil, slot.generation == configuration.generation { continue }
            do {
                slot.table = try RouteTable(configuration)
                slot.generation = configuration.generation
            } catch {
                problems.append("route configuration \(name): \(error)")
            }
        }
        self.snapshot = snapshot
        for listener in snapshot.listeners {
            do {
                try adopt(listener, trustChanged: trustChanged)
            } catch {
                problems.append("\(error)")
            }
        }
        let wanted = Set(snapshot.listeners.map(\.name))
        for (name, port) in listeners where !wanted.contains(name) {
            listeners[name] = nil
            remove(port)
        }
        for name in routes.keys where snapshot.routes[name] == nil { routes[name] = nil }
        send(.adopted(worker: index, number: snapshot.number, problems: problems))
    }

    private func adopt(_ listener: Listener, trustChanged: Bool) throws(ListenerError) {
        if let port = listeners[listener.name] {
            if port.config.generation != listener.generation || trustChanged {
                try port.update(listener)
            }
            return
        }
        let port = try ListenerPort(listener, worker: self)
        try port.open()
        listeners[listener.name] = port
    }

    private func remove(_ port: ListenerPort) {
        port.stopListening()
        port.drain()
        port.closeAll()
        leaving.append(port)
        leaving.removeAll { $0.connectionCount == 0 }
    }

    // MARK: What listeners are made with

    func makeManager(
        _ config: HTTPConnectionManager, listener: ListenerMetrics
    ) throws -> HTTPManager {
        let slot: RouteSlot
        switch config.routes {
        case .inline(let configuration):
            slot = RouteSlot(table: try RouteTable(configuration))
        case .named(let name):
            slot = routes[name] ?? RouteSlot()
            routes[name] = slot
        }
        return HTTPManager(
            config: config, slot: slot, logs: try config.accessLogs.map(makeLog),
            metrics: metrics.http(config), listener: listener)
    }

    func makeTLSContext(_ config: DownstreamTLS) throws -> TLSContext {
        try TLSContext(
            downstream: config, secrets: snapshot.secrets, files: snapshot.files,
            ticketKey: ticketKey)
    }

    /// - Parameter logs: the listener's own; one that both name gets one line.
    func makeTCPManager(
        _ config: TCPProxy, logs: [AccessLogConfig], listener: ListenerMetrics
    ) throws -> TCPManager {
        let all = config.accessLogs + logs.filter { !config.accessLogs.contains($0) }
        return TCPManager(
            config: config, metrics: metrics.tcp(config), listener: listener,
            logs: try all.map(makeLog))
    }

    func makeLog(_ config: AccessLogConfig) throws -> AccessLogWriter {
        let file: AccessLogFile
        if let known = logs[config.path] {
            file = known
        } else {
            file = try AccessLogFile(path: config.path, loop: loop)
            logs[config.path] = file
        }
        return AccessLogWriter(
            format: try AccessLogFormat(config.format, hostname: Machine.hostName), file: file)
    }

    // MARK: What exchanges ask

    var random: SeededRandom {
        get { loop.random }
        set { loop.random = newValue }
    }

    /// The wall clock is read once a second.
    var date: HTTPDate {
        if loop.now >= dateExpires {
            let time = loop.wallClock
            httpDate.advance(to: time)
            dateExpires = loop.now + .microseconds(1_000_000 - time.microseconds % 1_000_000)
        }
        return httpDate
    }

    func nextConnectionNumber() -> UInt64 {
        connectionCount += 1
        return connectionCount
    }

    func makeExchange() -> Exchange {
        idleExchanges.popLast() ?? Exchange(worker: self)
    }

    func recycle(_ exchange: Exchange) {
        // Exchanges hold their worker, so a closed one lets the last of them go.
        if isClosed || idleExchanges.count >= Worker.keptExchanges { return }
        idleExchanges.append(exchange)
    }

    private static let keptExchanges = 256

    // MARK: Stopping

    /// Lame duck: connections end gracefully and new ones are still answered. Outbound listeners
    /// go on as they are: the application calls out while it winds down.
    private func drain() {
        isDraining = true
        for port in listeners.values where !port.isOutbound { port.drain() }
        reportOpenWork()
    }

    private func stopListening() {
        for port in listeners.values { port.stopListening() }
    }

    /// How many exchanges and relayed connections are open.
    var openWork: Int {
        (Array(listeners.values) + leaving).reduce(0) { $0 + $1.openExchanges }
    }

    private func reportOpenWork() {
        var byListener: [String: Int] = [:]
        for port in Array(listeners.values) + leaving where port.openExchanges > 0 {
            byListener[port.config.name, default: 0] += port.openExchanges
        }
        send(.openWork(worker: index, byListener))
    }

    private func close() {
        isClosed = true
        for port in listeners.values {
            port.stopListening()
            port.closeAll()
        }
        listeners = [:]
        leaving = []
        clusters.drain()
        idleExchanges = []
        openConnections.stop()
        for file in logs.values { file.flush() }
        send(.closed(worker: index))
    }
}

/// From the control loop to a worker.
enum WorkerOrder: Sendable {
    case adopt(Snapshot)
    case health([HealthModel.Change])
    /// First hops of this locality have fallen silent together; the others are to be asked.
    case doubt(Locality)
    /// All that there are now.
    case evacuate([Evacuation])
    /// Begins; `nil` ends what there is.
    case drill(Drill?)
    /// From another worker.
    case placeIsFree(PlaceNews)
    case reportOpenWork
    case drain
    case stopListening
    case drainListeners(inboundOnly: Bool)
    case stopListeners(inboundOnly: Bool)
    case close
    case reopenLogs
}

/// From a worker to the control loop.
enum WorkerReport: Sendable {
    case adopted(worker: Int, number: UInt64, problems: [String])
    case evidence(HealthEvidence)
    case outliers(worker: Int, OutlierReport)
    case failback(worker: Int, cluster: String, FailbackRamp.Change)
    case drill(worker: Int, DrillCounts, DrillRun.Phase)
    /// Exchanges and relayed connections, for each listener that has any.
    case openWork(worker: Int, [String: Int])
    case closed(worker: Int)
}
