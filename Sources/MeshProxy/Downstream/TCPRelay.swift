import EventLoop
import HealthProbe
import LoadBalancer
import MeshBase
import MeshConfig
import Observability

/// A TCP proxy's connection: bytes both ways between two streams, each end's close passed on.
///
/// A failed connect is tried again on another endpoint, for nothing has been sent yet; the client's
/// first bytes wait in the stream meanwhile, which is not read until the other side is there.
final class TCPRelay {
    private let worker: Worker
    private let manager: TCPManager
    private var downstream: (any ByteStream)?
    private var upstream: (any ByteStream)?
    private var downstreamEnd: RelayEnd?
    private var upstreamEnd: RelayEnd?
    private var cluster: UpstreamCluster?
    /// The client's address, where it decides the endpoint.
    private let hashKey: UInt64?
    private var subset: SubsetCriteria?
    private var picked: Pick?
    private var attempted: [Host] = []
    private var firstBytes = ByteBuffer()
    private var idleTimer: LoopTimer?
    private var connectTimer: LoopTimer?
    private var isConnected = false
    /// A place among the cluster's connections.
    private var holdsConnection = false
    private var wasAnswered = false
    private var isOver = false
    private var log = AccessLogRecord()
    private let began: Instant
    private var attemptBegan = Instant.zero

    init(
        worker: Worker, manager: TCPManager, stream: any ByteStream, traits: ConnectionTraits,
        firstBytes: Span<UInt8>
    ) {
        self.worker = worker
        self.manager = manager
        downstream = stream
        began = worker.loop.now
        hashKey = manager.config.hashesSource ? traits.source.flatMap(HashKeyRule.source) : nil
        self.firstBytes.append(firstBytes)
        log.bytesReceived = firstBytes.count
        if manager.wantsLog {
            log.connectionNumber = worker.nextConnectionNumber()
            log.describe(traits)
            if let tls = (stream as? TLSStream)?.peerDetails { log.describe(tls) }
        }
        let end = RelayEnd(relay: self, isDownstream: true)
        downstreamEnd = end
        stream.handler = end
        stream.pauseReading(.notReady)
        manager.opened(self)
    }

    /// Chooses a cluster and connects. Over TLS called once the handshake is done.
    func begin() {
        let name: String
        (name, subset) = manager.chooseCluster(&worker.random)
        guard let cluster = worker.clusters[name] else {
            worker.log.debug("no such cluster", ["cluster": name])
            manager.metrics.foundNoRoute()
            log.flags.insert(.noClusterFound)
            end()
            return
        }
        self.cluster = cluster
        guard cluster.limits.admitConnection(.normal, isFirst: false) else {
            log.flags.insert(.upstreamOverflow)
            end("overflow")
            return
        }
        holdsConnection = true
        connect()
    }

    func drain() { end("drained") }

    private func connect() {
        guard let cluster else { return }
        let request = PickContext(
            now: worker.loop.now, key: hashKey, attempted: attempted, subset: subset,
            place: .init(.connections))
        let mayTry = attempted.count < max(3, manager.config.maxConnectAttempts)
        let choice = mayTry ? cluster.pick(request) : nil
        guard case .some(.host(let pick)) = choice else {
            if case .some(.full) = choice {
                log.flags.insert(.upstreamOverflow)
                end("overflow")
                return
            }
            log.flags.formUnion(
                attempted.isEmpty
                    ? .noHealthyUpstream
                    : [.upstreamConnectionFailure, .upstreamRetryLimitExceeded])
            end()
            return
        }
        let host = pick.host
        picked = pick
        attempted.append(host)
        attemptBegan = worker.loop.now
        log.attemptCount += 1
        log.upstreamHost = host.address
        let end = RelayEnd(relay: self, isDownstream: false)
        upstreamEnd = end
        var options = ConnectOptions()
        options.timeout = cluster.connectTimeout(of: host)
        do {
            if let context = try cluster.tlsContext(for: host) {
                let stream = TLSStream(
                    session: cluster.makeSession(context, for: host),
                    clusters: worker.clusters, handler: end)
                upstream = stream
                stream.connect(host.path.address, options: options)
            } else {
                upstream = worker.loop.connect(host.path.address, options: options, handler: end)
            }
        } catch {
            worker.log.warning(
                "no TLS for cluster", ["cluster": cluster.name, "error": "\(error)"])
            self.end()
            return
        }
        if connectTimer == nil {
            connectTimer = LoopTimer(worker.loop.timers) { [unowned self] in
                connectFailed(TransportFailure(.connectTimeout))
            }
        }
        connectTimer?.start(at: worker.loop.now + options.timeout)
    }

    private func connectFailed(_ failure: TransportFailure) {
        connectTimer?.stop()
        upstream?.abort()
        upstream = nil
        noteAttempt(failure.kind.word)
        log.transportFailure = failure.detail
        if let picked { cluster?.release(picked, .failed(failure, wasConnected: false)) }
        picked = nil
        connect()
    }

    // MARK: What the ends say

    fileprivate func connected() {
        guard let upstream, let downstream else { return }
        isConnected = true
        connectTimer?.stop()
        wasAnswered = true
        if let picked, cluster?.detectsOutliers == true {
            cluster?.observed(picked.host, .connected)
        }
        noteAttempt(nil)
        if manager.wantsLog { log.upstreamLocalAddress = upstream.localAddress }
        firstBytes.withBytes { upstream.write($0.span) }
        firstBytes = ByteBuffer()
        downstream.resumeReading(.notReady)
        touch()
    }

    fileprivate func downstreamConnected() {
        begin()
    }

    fileprivate func received(_ bytes: Span<UInt8>, fromDownstream: Bool) {
        touch()
        let (source, sink) = fromDownstream ? (downstream, upstream) : (upstream, downstream)
        manager.metrics.relayed(bytes.count, fromDownstream: fromDownstream)
        guard let sink else { return }
        if fromDownstream { log.bytesReceived += bytes.count } else { log.bytesSent += bytes.count }
        sink.write(bytes)
        if sink.queuedBytes > TCPRelay.writeLimit { source?.pauseReading(.backPressure) }
    }

    fileprivate func receivedEnd(fromDownstream: Bool) {
        if fromDownstream { downstreamHasEnded = true } else { upstreamHasEnded = true }
        if downstreamHasEnded, upstreamHasEnded {
            end()
        } else {
            (fromDownstream ? upstream : downstream)?.finish()
        }
    }

    fileprivate func drained(isDownstream: Bool) {
        (isDownstream ? upstream : downstream)?.resumeReading(.backPressure)
    }

    fileprivate func closed(_ failure: TransportFailure, isDownstream: Bool) {
        if isDownstream {
            downstream = nil
            log.flags.insert(.downstreamConnectionTermination)
            upstream?.abort()
            upstream = nil
            end()
        } else if isConnected {
            upstream = nil
            log.flags.insert(.upstreamConnectionTermination)
            log.transportFailure = failure.detail
            if failure.kind == .reset {
                downstream?.abort()
                downstream = nil
            }
            end()
        } else {
            upstream = nil
            connectFailed(failure)
        }
    }

    private static let writeLimit = 256 * 1024
    private var downstreamHasEnded = false
    private var upstreamHasEnded = false

    private func touch() {
        guard manager.config.idleTimeout > .zero else { return }
        if idleTimer == nil {
            idleTimer = LoopTimer(worker.loop.timers) { [unowned self] in
                manager.metrics.idled()
                log.flags.insert(.streamIdleTimeout)
                end("idle timeout")
            }
        }
        idleTimer?.start(at: worker.loop.now + manager.config.idleTimeout)
    }

    private func noteAttempt(_ failure: String?) {
        guard let host = picked?.host, manager.wantsLog else { return }
        log.attempts.append(
            .init(
                locality: host.locality.region, address: host.address, reason: failure,
                took: worker.loop.now - attemptBegan))
    }

    /// - Parameter reason: why, where it was we who ended it.
    private func end(_ reason: String = "") {
        if isOver { return }
        isOver = true
        if manager.wantsLog {
            log.duration = worker.loop.now - began
            log.startTime = worker.loop.wallClock - log.duration
            log.upstreamCluster = cluster?.name ?? ""
            log.terminationDetails = reason
            manager.record(log)
        }
        idleTimer?.stop()
        connectTimer?.stop()
        downstream?.close()
        downstream = nil
        upstream?.close()
        upstream = nil
        downstreamEnd?.relay = nil
        upstreamEnd?.relay = nil
        if let picked { cluster?.release(picked, wasAnswered ? .responded : .neutral) }
        picked = nil
        if holdsConnection { cluster?.limits.releaseConnection(.normal) }
        holdsConnection = false
        manager.closed(self)
    }
}

/// One side of a relay: a stream has a single handler, so each side needs its own.
private final class RelayEnd: ByteStreamHandler {
    var relay: TCPRelay?
    let isDownstream: Bool

    init(relay: TCPRelay, isDownstream: Bool) {
        self.relay = relay
        self.isDownstream = isDownstream
    }

    func streamConnected() {
        if isDownstream { relay?.downstreamConnected() } else { relay?.connected() }
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        relay?.received(bytes, fromDownstream: isDownstream)
    }

    func streamReceivedEnd() { relay?.receivedEnd(fromDownstream: isDownstream) }
    func streamDrained() { relay?.drained(isDownstream: isDownstream) }
    func streamClosed(_ failure: TransportFailure) {
        relay?.closed(failure, isDownstream: isDownstream)
    }
}
