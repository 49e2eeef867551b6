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
    private var clusters: [String: UpstreamCluster] = [:]
    private(set) var secrets: [String: Secret] = [:]
    private(set) var files: [String: [UInt8]] = [:]
    private let metrics: WorkerMetrics
    /// Where evidence about endpoints goes.
    var report: (HealthEvidence) -> Void = { _ in }
    let outliers: OutlierReporter

    private var plaintext = ByteBuffer()
    private var ciphertext = ByteBuffer()
    private var plain = ByteBuffer()

    init(loop: any IOLoop, settings: Settings, log: ProxyLog, metrics: WorkerMetrics) {
        self.loop = loop
        self.settings = settings
        self.log = log
        self.metrics = metrics
        paths = PathHealth(baseHold: settings.baseHold, maxHold: settings.maxHold)
        outliers = OutlierReporter(loop: loop)
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
            case .path(let address, let usable): paths.setVerdict(address, usable: usable)
            case .endpoint(let cluster, let address, let verdict):
                byCluster[cluster, default: []].append((address, verdict))
            }
        }
        for (name, verdicts) in byCluster { clusters[name]?.adopt(verdicts) }
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
}
