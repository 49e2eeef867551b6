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
///
/// A cluster is made when somebody asks for it first. A mesh names thousands that a sidecar never calls, and
/// each would cost a balancer with its hosts in every loop.
final class ClusterSet {
    let loop: any IOLoop
    let settings: Settings
    let log: ProxyLog
    /// Health of the first hops, shared by every cluster that goes over them.
    let paths: PathHealth
    let pipe = TLSPipe()
    let headWorkspace = HeadWorkspace()
    /// Those that somebody asked for.
    private var clusters: [String: UpstreamCluster] = [:]
    /// All that are in force, sorted by name.
    private var configs: [Cluster] = []
    /// What the control loop said of endpoints whose cluster is not made yet.
    private var verdicts: [String: [SocketAddress: Verdict]] = [:]
    private(set) var secrets: [String: Secret] = [:]
    private(set) var files: [String: [UInt8]] = [:]
    /// Pools with connections, by their first hop.
    private var pools: [SocketAddress: [UpstreamPool]] = [:]
    /// Localities that may have fallen silent, and until when that is thought of them.
    private var doubts: [Locality: Instant] = [:]
    private let metrics: WorkerMetrics
    let breakers: BreakerTable
    /// Which of the workers that share `breakers` this is; `nil` is the control loop, where nobody waits.
    let worker: Int?
    /// Tells one of them that a place may be free for who waits there.
    var tell: (_ worker: Int, PlaceNews) -> Void = { _, _ in }
    /// Where evidence about endpoints goes.
    var report: (HealthEvidence) -> Void = { _ in }
    let outliers: OutlierReporter
    /// Where news of priorities that go and come back goes.
    var failback: (_ cluster: String, FailbackRamp.Change) -> Void = { _, _ in }
    private(set) var evacuations: [Evacuation] = []
    /// The members of the cluster that we are one of; `nil` when it is not known.
    private(set) var localCluster: LocalCluster?
    /// The one that runs, or ran last.
    private(set) var drill: Drill?
    /// Where the news of it goes.
    var drillProgress: (DrillCounts, DrillRun.Phase) -> Void = { _, _ in }

    private var plaintext = ByteBuffer()
    private var ciphertext = ByteBuffer()
    private var plain = ByteBuffer()

    init(
        loop: any IOLoop, settings: Settings, log: ProxyLog, metrics: WorkerMetrics,
        breakers: BreakerTable = BreakerTable(), worker: Int? = nil
    ) {
        self.loop = loop
        self.settings = settings
        self.log = log
        self.metrics = metrics
        self.breakers = breakers
        self.worker = worker
        paths = PathHealth(baseHold: settings.baseHold, maxHold: settings.maxHold)
        outliers = OutlierReporter(loop: loop)
    }

    /// Costs a dictionary's look-up, the first time the making of the cluster.
    subscript(name: String) -> UpstreamCluster? {
        if let cluster = clusters[name] { return cluster }
        return config(named: name).map(make)
    }

    /// Every cluster, made for it. By name, so that a simulated run replays.
    var all: [UpstreamCluster] { configs.map { clusters[$0.name] ?? make($0) } }

    /// Those that somebody asked for.
    var made: [UpstreamCluster] { clusters.values.sorted { $0.name < $1.name } }

    /// Takes over what changed. Clusters that went drain: their open exchanges finish.
    func adopt(_ snapshot: Snapshot) {
        let trustChanged =
            files != snapshot.files
            || secrets.mapValues(\.generation) != snapshot.secrets.mapValues(\.generation)
        secrets = snapshot.secrets
        files = snapshot.files
        configs = snapshot.clusters
        if !zip(configs, configs.dropFirst()).allSatisfy({ $0.name < $1.name }) {
            configs.sort { $0.name < $1.name }
        }
        for old in made {
            guard let config = config(named: old.name),
                (config.members == nil) == (old.config.members == nil)
            else {
                clusters[old.name] = nil
                old.drain()
                continue
            }
            old.update(config)
            if trustChanged { old.forgetTLS() }
        }
        for cluster in made { cluster.followMembers() }
        followLocalCluster()
        if verdicts.isEmpty { return }
        for name in verdicts.keys {
            // An address that comes back later is as good as new.
            let present = Set(config(named: name)?.endpoints.addresses ?? [])
            verdicts[name] = verdicts[name]?.filter { present.contains($0.key) }
            if verdicts[name]?.isEmpty == true { verdicts[name] = nil }
        }
    }

    /// Tells all clusters where members of our own are now.
    private func followLocalCluster() {
        if settings.localCluster.isEmpty { return }
        let members = self[settings.localCluster].map {
            LocalCluster(members: $0.hosts, own: settings.locality)
        }
        if members == localCluster { return }
        localCluster = members
        for cluster in clusters.values { cluster.adopt(members) }
    }

    private func make(_ config: Cluster) -> UpstreamCluster {
        let cluster = UpstreamCluster(config, set: self, metrics: metrics.cluster(config))
        clusters[config.name] = cluster
        if let known = verdicts.removeValue(forKey: config.name) {
            cluster.adopt(known.map { (address: $0.key, verdict: $0.value) })
        }
        return cluster
    }

    func makeBreakerMetrics(_ config: Cluster) -> BreakerMetrics { metrics.breakers(config) }

    /// The clusters with endpoints that an aggregate leads to, the best first.
    func leaves(of aggregate: Cluster) -> [UpstreamCluster] {
        aggregate.leaves(config).compactMap { self[$0.name] }
    }

    /// Whether a request that waits for this host could go to another member of an aggregate.
    func aggregatesHaveAlternative(to host: Host) -> Bool {
        clusters.values.contains { $0.stack?.hasAlternative(to: host) == true }
    }

    private func config(named name: String) -> Cluster? {
        var low = 0
        var high = configs.count
        while low < high {
            let middle = (low + high) / 2
            if configs[middle].name < name { low = middle + 1 } else { high = middle }
        }
        return low < configs.count && configs[low].name == name ? configs[low] : nil
    }

    /// Takes the control loop's verdicts.
    func adopt(_ changes: [HealthModel.Change]) {
        var byCluster: [String: [(address: SocketAddress, verdict: Verdict)]] = [:]
        for change in changes {
            switch change {
            case .path(let address, let usable):
                paths.setVerdict(address, usable: usable)
                if !usable { for pool in pools[address] ?? [] { pool.pathDied(address) } }
            case .endpoint(let cluster, let address, let verdict):
                byCluster[cluster, default: []].append((address, verdict))
            }
        }
        // By name: connections are closed in this order, and a simulated run must replay.
        for (name, news) in byCluster.sorted(by: { $0.key < $1.key }) {
            if let cluster = clusters[name] {
                cluster.adopt(news)
            } else if config(named: name) != nil {
                for (address, verdict) in news {
                    verdicts[name, default: [:]][address] = verdict == .healthy ? nil : verdict
                }
            }
        }
        if byCluster[settings.localCluster] != nil { followLocalCluster() }
    }

    /// First hops of this locality have fallen silent together: all that are open to it have to show that
    /// somebody is there, and connects that come soon are not waited for as long as others.
    func doubt(_ locality: Locality) {
        doubts = doubts.filter { $0.value > loop.now }
        doubts[locality] = loop.now + SilenceWatch.window
        let doubted = pools.values.joined().filter { $0.host.locality == locality }
            .map { (address: "\($0.host.address)", cluster: $0.cluster.name, pool: $0) }
        // By name: a simulated run must replay.
        let inOrder = doubted.sorted { ($0.address, $0.cluster) < ($1.address, $1.cluster) }
        for entry in inOrder { entry.pool.placeDoubted() }
    }

    func doubts(_ locality: Locality) -> Bool {
        doubts.isEmpty ? false : doubts[locality].map { $0 > loop.now } ?? false
    }

    /// Where an endpoint of a cluster lives, by the configuration.
    func locality(of address: SocketAddress, in cluster: String) -> Locality? {
        config(named: cluster)?.endpoints.localities.first { locality in
            locality.endpoints.contains {
                $0.target == .address(address) || $0.additionalAddresses.contains(address)
            }
        }?.locality
    }

    func firstConnectionBegan(_ pool: UpstreamPool) {
        for address in pool.addresses { pools[address, default: []].append(pool) }
    }

    func lastConnectionEnded(_ pool: UpstreamPool) {
        for address in pool.addresses {
            pools[address]?.removeAll { $0 === pool }
            if pools[address]?.isEmpty == true { pools[address] = nil }
        }
    }

    func adopt(_ evacuations: [Evacuation]) {
        self.evacuations = evacuations
        for cluster in clusters.values { cluster.adopt(evacuations) }
    }

    /// Another worker gave a place back, and who waits here is first.
    func received(_ news: PlaceNews) {
        clusters[news.cluster]?.limits.passOn(news.resource, news.priority)
    }

    /// Begins a drill, or with `nil` stops it.
    func adopt(_ drill: Drill?) {
        let name = drill?.cluster ?? self.drill?.cluster ?? ""
        self.drill = drill
        clusters[name]?.adopt(drill)
    }

    func drain() {
        for cluster in made { cluster.drain() }
        clusters = [:]
        configs = []
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

    /// Sends part of a body. A long part that goes out as it is skips the codec's buffer, and a burst is
    /// written before the turn's end.
    /// - Parameter unflushed: bytes of bodies since the connection's output was last written.
    /// - Returns: `false` when the codec holds as much as it should.
    func sendBody(
        _ bytes: Span<UInt8>, on id: StreamID, endStream: Bool, through codec: any HTTPConnection,
        to stream: any ByteStream, unflushed: inout Int, sent: (Int) -> Void
    ) -> Bool {
        if bytes.count >= ClusterSet.longPart,
            codec.passBody(bytes.count, on: id, endStream: endStream)
        {
            if codec.hasOutput { flush(codec, to: stream, sent: sent) }
            sent(bytes.count)
            stream.write(bytes)
            return true
        }
        let hasRoom = codec.sendBody(bytes, on: id, endStream: endStream)
        unflushed += bytes.count
        if unflushed >= ClusterSet.burstBytes, codec.hasOutput {
            unflushed = 0
            flush(codec, to: stream, sent: sent)
        }
        return hasRoom
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

    /// Below, a copy costs less than a write of its own.
    private static let longPart = 16 * 1024
    /// So much of bodies is written before the turn's end: what is encoded, encrypted and sent in
    /// one go is in the processor's cache all the way.
    private static let burstBytes = 64 * 1024
    /// Between turns the buffers keep what a busy turn needs.
    private static let keptBytes = 1024 * 1024
}
