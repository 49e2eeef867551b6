import EventLoop
import MTLS
import MeshBase
import MeshConfig
import Observability

/// One listener in one worker: its sockets, its filter chains, and what becomes of a new connection.
///
/// A connection's chain is chosen when enough is known: at once, or after the ClientHello where a
/// chain asks for a server name or ALPN. Updates replace the chains; connections that exist live on with
/// what they began with.
final class ListenerPort: StreamAcceptor {
    private let worker: Worker
    private(set) var config: Listener
    private var table: FilterChainTable<ChainPort>
    /// Chains of earlier versions that still serve connections.
    private var former: [ChainPort] = []
    private var chains: [ChainPort]
    private var sockets: [any StreamListener] = []
    /// For connections that no chain takes.
    private var logs: [AccessLogWriter] = []
    let metrics: ListenerMetrics

    init(_ config: Listener, worker: Worker) throws(ListenerError) {
        self.config = config
        self.worker = worker
        metrics = worker.metrics.listener(config)
        metrics.openConnections = worker.openConnections
        chains = []
        table = FilterChainTable([], fallback: nil)
        try build(config)
    }

    func open() throws(ListenerError) {
        guard config.bindToPort else { return }
        var options = ListenOptions()
        options.reusePort = worker.sharesPorts
        options.transparent = config.transparent
        options.originalDestination = config.usesOriginalDestination
        do {
            for address in [config.address] + config.additionalAddresses {
                sockets.append(try worker.loop.listen(address, options: options, acceptor: self))
            }
        } catch {
            stopListening()
            throw ListenerError(listener: config.name, reason: "\(error)")
        }
    }

    var addresses: [SocketAddress] { sockets.map(\.address) }
    var isInbound: Bool { config.direction == .inbound }
    var isOutbound: Bool { config.direction == .outbound }

    /// Takes a new version on. The sockets stay when the addresses do.
    func update(_ config: Listener) throws(ListenerError) {
        let old = self.config
        let oldChains = chains
        try build(config)
        self.config = config
        for old in oldChains {
            // Routes are for the next request to find, on whichever connection it comes; a chain that is gone,
            // or wants other peers, gives its connections up.
            if let heir = chains.first(where: { $0.continues(old) }) {
                old.followRoutes(of: heir)
            } else {
                old.drain()
            }
        }
        former.append(contentsOf: oldChains)
        former.removeAll { $0.connectionCount == 0 }
        if config.address != old.address || config.additionalAddresses != old.additionalAddresses
            || config.bindToPort != old.bindToPort
            || config.usesOriginalDestination != old.usesOriginalDestination
        {
            stopListening()
            try open()
        }
    }

    func stopListening() {
        for socket in sockets { socket.close() }
        sockets = []
    }

    /// Lets connections end gracefully; new ones are still taken until `stopListening`.
    func drain() {
        for chain in chains + former { chain.drain() }
    }

    func closeAll() {
        for chain in chains + former { chain.closeAll() }
    }

    var connectionCount: Int { (chains + former).reduce(0) { $0 + $1.connectionCount } }
    var openExchanges: Int { (chains + former).reduce(0) { $0 + $1.openExchanges } }

    // MARK: A connection comes

    func accepted(_ stream: any ByteStream, originalDestination: SocketAddress?) {
        metrics.connectionOpened()
        var traits = ConnectionTraits()
        traits.source = stream.remoteAddress
        traits.destination =
            config.usesOriginalDestination
            ? originalDestination ?? stream.localAddress : stream.localAddress
        if table.needsInspection, config.inspectsTLS || config.inspectsHTTP {
            Inspection(port: self, stream: stream, traits: traits, loop: worker.loop).begin()
        } else {
            serve(stream, traits, firstBytes: Span())
        }
    }

    /// Hands the stream to the chain that matches; `firstBytes` were read from it already.
    func serve(_ stream: any ByteStream, _ traits: ConnectionTraits, firstBytes: Span<UInt8>) {
        guard let chain = table.choose(traits) else {
            metrics.noFilterChainMatched()
            metrics.connectionClosed()
            logUnmatched(traits)
            stream.close()
            return
        }
        chain.serve(stream, traits, firstBytes: firstBytes)
    }

    private func logUnmatched(_ traits: ConnectionTraits) {
        if logs.isEmpty { return }
        var record = AccessLogRecord()
        record.startTime = worker.loop.wallClock
        record.connectionNumber = worker.nextConnectionNumber()
        record.describe(traits)
        record.flags = .noRouteFound
        record.details = "filter_chain_not_found"
        for log in logs { log.write(record) }
    }

    private func build(_ config: Listener) throws(ListenerError) {
        do {
            logs = try config.accessLogs.map(worker.makeLog)
        } catch {
            throw ListenerError(listener: config.name, reason: "\(error)")
        }
        var fresh: [ChainPort] = []
        for chain in config.filterChains {
            fresh.append(try ChainPort(chain, listener: config, metrics: metrics, worker: worker))
        }
        var fallback: ChainPort?
        if let chain = config.defaultFilterChain {
            fallback = try ChainPort(chain, listener: config, metrics: metrics, worker: worker)
        }
        table = FilterChainTable(
            zip(config.filterChains, fresh).map { ($0.match, $1) }, fallback: fallback)
        chains = fresh + (fallback.map { [$0] } ?? [])
    }
}

/// Why a listener could not be opened or built.
struct ListenerError: Error, CustomStringConvertible {
    let listener: String
    let reason: String

    var description: String { "listener \(listener): \(reason)" }
}

/// One filter chain in one worker: TLS, then HTTP or a TCP relay.
final class ChainPort {
    private let worker: Worker
    private let listenerName: String
    private let metrics: ListenerMetrics
    private let config: FilterChain
    private let tls: TLSContext?
    private let terminal: Terminal

    private enum Terminal {
        case http(HTTPManager)
        case tcp(TCPManager)
    }

    init(
        _ config: FilterChain, listener: Listener, metrics: ListenerMetrics, worker: Worker
    ) throws(ListenerError) {
        self.config = config
        self.worker = worker
        self.metrics = metrics
        listenerName = listener.name
        do {
            tls = try config.tls.map { try worker.makeTLSContext($0) }
            switch config.filter {
            case .http(let manager):
                terminal = .http(try worker.makeManager(manager, listener: metrics))
            case .tcpProxy(let proxy):
                terminal = .tcp(
                    try worker.makeTCPManager(
                        proxy, logs: listener.accessLogs, listener: metrics))
            }
        } catch {
            throw ListenerError(
                listener: listener.name, reason: "filter chain \"\(config.name)\": \(error)")
        }
    }

    /// Whether the connections of a former chain may live on as this one's.
    func continues(_ former: ChainPort) -> Bool {
        config.name == former.config.name && config.match == former.config.match
            && config.tls == former.config.tls
    }

    func followRoutes(of heir: ChainPort) {
        if case (.http(let manager), .http(let other)) = (terminal, heir.terminal) {
            manager.followRoutes(of: other)
        }
    }

    var connectionCount: Int {
        switch terminal {
        case .http(let manager): manager.connectionCount
        case .tcp(let manager): manager.connectionCount
        }
    }

    var openExchanges: Int {
        switch terminal {
        case .http(let manager): manager.openExchanges
        case .tcp(let manager): manager.connectionCount
        }
    }

    func drain() {
        if case .http(let manager) = terminal { manager.drain() }
    }

    func closeAll() {
        if case .tcp(let manager) = terminal { manager.endAll() }
    }

    func serve(_ stream: any ByteStream, _ traits: ConnectionTraits, firstBytes: Span<UInt8>) {
        guard let tls else {
            switch terminal {
            case .http(let manager):
                DownstreamConnection(
                    worker: worker, manager: manager, stream: stream, traits: traits
                ).begin(with: firstBytes)
            case .tcp(let manager):
                TCPRelay(
                    worker: worker, manager: manager, stream: stream, traits: traits,
                    firstBytes: firstBytes
                ).begin()
            }
            return
        }
        let secure = TLSStream(
            session: tls.makeServerSession(worker.clusters.pipe), clusters: worker.clusters,
            handler: nil)
        secure.handler = Handshake(
            chain: self, stream: secure, traits: traits, loop: worker.loop,
            timeout: config.connectTimeout)
        secure.accept(stream, firstBytes: firstBytes)
    }

    fileprivate func established(_ stream: TLSStream, _ traits: ConnectionTraits) {
        metrics.handshakeDone(resumed: stream.isResumed)
        switch terminal {
        case .http(let manager):
            DownstreamConnection(
                worker: worker, manager: manager, stream: stream, traits: traits
            ).streamConnected()
        case .tcp(let manager):
            TCPRelay(
                worker: worker, manager: manager, stream: stream, traits: traits,
                firstBytes: Span()
            ).begin()
        }
    }

    fileprivate func handshakeFailed(_ failure: TransportFailure) {
        metrics.handshakeFailed(failure.kind)
        metrics.connectionClosed()
        worker.log.debug(
            "TLS handshake failed",
            ["listener": listenerName, "reason": failure.kind.word, "detail": failure.detail])
    }
}

/// A TLS handshake on an accepted connection, bounded in time.
private final class Handshake: ByteStreamHandler {
    private let chain: ChainPort
    private let stream: TLSStream
    private let traits: ConnectionTraits
    private var timer: LoopTimer?

    init(
        chain: ChainPort, stream: TLSStream, traits: ConnectionTraits, loop: any IOLoop,
        timeout: Duration
    ) {
        self.chain = chain
        self.stream = stream
        self.traits = traits
        guard timeout > .zero else { return }
        let timer = LoopTimer(loop.timers) { [unowned self] in timedOut() }
        timer.start(at: loop.now + timeout)
        self.timer = timer
    }

    func streamConnected() {
        timer?.stop()
        timer = nil
        chain.established(stream, traits)
    }

    func streamClosed(_ failure: TransportFailure) {
        timer?.stop()
        timer = nil
        chain.handshakeFailed(failure)
    }

    private func timedOut() {
        stream.abort()
        chain.handshakeFailed(TransportFailure(.tlsHandshake, detail: "timed out"))
    }

    func streamReceived(_ bytes: Span<UInt8>) {}
    func streamReceivedEnd() {}
    func streamDrained() {}
}

/// Looks at the first bytes of a connection until its filter chain can be chosen.
private final class Inspection: ByteStreamHandler {
    private let port: ListenerPort
    private let stream: any ByteStream
    private var traits: ConnectionTraits
    private let loop: any IOLoop
    private var bytes = ByteBuffer()
    private var timer: LoopTimer?

    init(
        port: ListenerPort, stream: any ByteStream, traits: ConnectionTraits, loop: any IOLoop
    ) {
        self.port = port
        self.stream = stream
        self.traits = traits
        self.loop = loop
    }

    func begin() {
        stream.handler = self
        let timeout = port.config.inspectionTimeout
        guard timeout > .zero else { return }
        let timer = LoopTimer(loop.timers) { [unowned self] in timedOut() }
        timer.start(at: loop.now + timeout)
        self.timer = timer
    }

    func streamReceived(_ chunk: Span<UInt8>) {
        bytes.append(chunk)
        let hello = bytes.withBytes { ClientHello.parse($0.span) }
        switch hello {
        case .needMore:
            if bytes.count > 64 * 1024 { stop() }
        case .notTLS:
            if port.config.inspectsHTTP {
                guard let protocols = sniffHTTP() else { return }
                traits.applicationProtocols = protocols
            }
            handOver()
        case .hello(let hello):
            traits.isTLS = true
            traits.serverName = hello.serverName ?? ""
            traits.applicationProtocols = hello.alpn
            handOver()
        }
    }

    func streamReceivedEnd() { stop() }

    func streamClosed(_ failure: TransportFailure) {
        timer?.stop()
        port.metrics.connectionClosed()
    }

    func streamConnected() {}
    func streamDrained() {}

    /// - Returns: `nil` while it may yet become HTTP/2's preface.
    private func sniffHTTP() -> [String]? {
        bytes.withBytes { bytes in
            let preface = "PRI * HTTP/2".utf8
            if bytes.starts(with: preface) { return ["h2c"] }
            if preface.starts(with: bytes) { return nil }
            guard let first = bytes.first, (65...90).contains(first) else { return [] }
            return ["http/1.1", "http/1.0"]
        }
    }

    private func handOver() {
        timer?.stop()
        timer = nil
        bytes.withBytes { port.serve(stream, traits, firstBytes: $0.span) }
    }

    private func timedOut() {
        if port.config.continueOnInspectionTimeout {
            handOver()
        } else {
            stop()
        }
    }

    private func stop() {
        timer?.stop()
        stream.close()
        port.metrics.connectionClosed()
    }
}
