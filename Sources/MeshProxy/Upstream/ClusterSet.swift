import EventLoop
import HTTPCodec
import LoadBalancer
import MTLS
import MeshBase
import MeshConfig
import Observability

/// The clusters of one loop, and what their connections share: buffers, trust, health of paths.
///
/// A worker has one for its traffic; the control loop has one for its control planes and probes.
final class ClusterSet {
    let loop: any IOLoop
    let settings: Settings
    let log: ProxyLog
    /// Health of the first hops, shared by every cluster that goes over them.
    let paths: PathHealth
    let pipe = TLSPipe()
    let headWorkspace = HeadWorkspace()
    private var clusters: [String: UpstreamCluster] = [:]
    private(set) var secrets: [String: Secret] = [:]
    private(set) var files: [String: [UInt8]] = [:]
    /// Pools with connections, by their first hop.
    private var pools: [SocketAddress: [UpstreamPool]] = [:]
    private let metrics: WorkerMetrics
    /// Where evidence about endpoints goes.
    var report: (HealthEvidence) -> Void = { _ in }

    private var plaintext = ByteBuffer()
    private var ciphertext = ByteBuffer()
    private var plain = ByteBuffer()

    init(loop: any IOLoop, settings: Settings, log: ProxyLog, metrics: WorkerMetrics) {
        self.loop = loop
        self.settings = settings
        self.log = log
        self.metrics = metrics
        paths = PathHealth(baseHold: settings.baseHold, maxHold: settings.maxHold)
    }

    subscript(name: String) -> UpstreamCluster? { clusters[name] }
    /// By name, so that a simulated run replays.
    var all: [UpstreamCluster] { clusters.values.sorted { $0.name < $1.name } }

    /// Takes over what changed. Clusters that went drain: their open exchanges finish.
    func adopt(_ snapshot: Snapshot) {
        let trustChanged =
            files != snapshot.files
            || secrets.mapValues(\.generation) != snapshot.secrets.mapValues(\.generation)
        secrets = snapshot.secrets
        files = snapshot.files
        var next: [String: UpstreamCluster] = [:]
        next.reserveCapacity(snapshot.clusters.count)
        for config in snapshot.clusters {
            if let old = clusters[config.name] {
                old.update(config)
                if trustChanged { old.forgetTLS() }
                next[config.name] = old
            } else {
                next[config.name] = UpstreamCluster(
                    config, set: self, metrics: metrics.cluster(config))
            }
        }
        for old in all where next[old.name] == nil { old.drain() }
        clusters = next
    }

    /// Takes the control loop's verdicts.
    func adopt(_ changes: [HealthModel.Change]) {
        var byCluster: [String: [(address: SocketAddress, verdict: Verdict)]] = [:]
        for change in changes {
            switch change {
            case .path(let address, let usable):
                paths.setVerdict(address, usable: usable)
                if !usable { for pool in pools[address] ?? [] { pool.pathDied() } }
            case .endpoint(let cluster, let address, let verdict):
                byCluster[cluster, default: []].append((address, verdict))
            }
        }
        for (name, verdicts) in byCluster { clusters[name]?.adopt(verdicts) }
    }

    func firstConnectionBegan(_ pool: UpstreamPool) {
        pools[pool.host.address, default: []].append(pool)
    }

    func lastConnectionEnded(_ pool: UpstreamPool) {
        pools[pool.host.address]?.removeAll { $0 === pool }
        if pools[pool.host.address]?.isEmpty == true { pools[pool.host.address] = nil }
    }

    func drain() {
        for cluster in all { cluster.drain() }
        clusters = [:]
    }

    // MARK: Shared buffers

    /// Moves a codec's output to a stream through a buffer that all connections share.
    func flush(
        _ codec: any HTTPConnection, to stream: any ByteStream, sent: (Int) -> Void
    ) {
        codec.takeOutput(into: &plain)
        sent(plain.count)
        plain.withBytes { stream.write($0.span) }
        plain.removeAll()
        plain.shrink(keeping: ClusterSet.keptBytes)
    }

    /// Sends a long part of a body past the codec's buffer, where it goes out as it is.
    /// - Returns: whether it was sent.
    func pass(
        _ bytes: Span<UInt8>, on id: StreamID, endStream: Bool, through codec: any HTTPConnection,
        to stream: any ByteStream, sent: (Int) -> Void
    ) -> Bool {
        guard bytes.count >= ClusterSet.longPart,
            codec.passBody(bytes.count, on: id, endStream: endStream)
        else { return false }
        if codec.hasOutput { flush(codec, to: stream, sent: sent) }
        sent(bytes.count)
        stream.write(bytes)
        return true
    }

    /// A cleared buffer for ciphertext on its way out. Calls may nest; inner ones get a fresh one.
    func withCiphertext<R>(_ body: (inout ByteBuffer) -> R) -> R {
        var buffer = ByteBuffer()
        swap(&buffer, &ciphertext)
        let result = body(&buffer)
        buffer.removeAll()
        buffer.shrink(keeping: ClusterSet.keptBytes)
        swap(&buffer, &ciphertext)
        return result
    }

    /// A cleared buffer for plaintext on its way in. Calls may nest; inner ones get a fresh one.
    func withPlaintext<R>(_ body: (inout ByteBuffer) -> R) -> R {
        var buffer = ByteBuffer()
        swap(&buffer, &plaintext)
        let result = body(&buffer)
        buffer.removeAll()
        buffer.shrink(keeping: ClusterSet.keptBytes)
        swap(&buffer, &plaintext)
        return result
    }

    private static let keptBytes = 256 * 1024
    /// Below, a copy costs less than a write of its own.
    private static let longPart = 16 * 1024
}
