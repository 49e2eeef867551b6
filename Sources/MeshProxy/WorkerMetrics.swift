import HealthProbe
import MeshBase
import MeshConfig
import Observability

// What the shell counts, by the names of what happened. Each object below belongs to one worker (or
// to the control loop) and holds the block that its increments go to; it gives the block back when
// the last who counted with it is gone, so a cluster that was removed leaves with its last exchange.

/// The metrics of all workers.
final class MetricsHub: Sendable {
    let registry: MetricsRegistry

    init(seriesBudget: Int = 20_000) {
        registry = MetricsRegistry(seriesBudget: seriesBudget)
    }

    func makeWorker() -> WorkerMetrics { WorkerMetrics(registry: registry) }
}

/// Where one worker gets its counters from.
final class WorkerMetrics: Sendable {
    private let registry: MetricsRegistry

    init(registry: MetricsRegistry = MetricsRegistry()) {
        self.registry = registry
    }

    func cluster(_ config: Cluster) -> ClusterMetrics {
        ClusterMetrics(
            config.altStatName.isEmpty ? config.name : config.altStatName, registry.clusters)
    }

    func outliers(_ config: Cluster) -> OutlierMetrics {
        OutlierMetrics(
            config.altStatName.isEmpty ? config.name : config.altStatName, registry.outliers)
    }

    func breakers(_ config: Cluster) -> BreakerMetrics {
        BreakerMetrics(
            config.altStatName.isEmpty ? config.name : config.altStatName, registry.breakers)
    }

    func http(_ config: HTTPConnectionManager) -> HTTPMetrics {
        HTTPMetrics(config.statPrefix, registry.http)
    }

    func listener(_ config: Listener) -> ListenerMetrics {
        ListenerMetrics(
            config.statPrefix.isEmpty ? config.address.description : config.statPrefix,
            registry.listeners)
    }

    func tcp(_ config: TCPProxy) -> TCPMetrics { TCPMetrics(config.statPrefix, registry.tcp) }
}

/// `cluster.<name>.*` of one worker.
final class ClusterMetrics {
    private let block: SubjectBlock<ClusterMetric>
    let counters: CounterBlock<ClusterMetric>
    private let requestTime: HistogramBlock
    private let table: SubjectTable<ClusterMetric>

    init(_ name: String, _ table: SubjectTable<ClusterMetric>) {
        block = table.makeBlock(name)
        counters = block.counters
        requestTime = block.durations[0]
        self.table = table
    }

    deinit { table.retire(block) }

    func requestBegan() {
        counters.add(.upstreamRqTotal)
        counters.add(.upstreamRqActive)
    }

    func requestEnded() { counters.subtract(.upstreamRqActive) }

    func responded(_ status: Int, took: Duration) {
        if let metric = ClusterMetrics.classes[safely: status / 100 - 1] { counters.add(metric) }
        requestTime.record(microseconds: took.wholeMicroseconds)
    }

    /// Another attempt of a request: it counts as a request upstream.
    func retried() {
        counters.add(.upstreamRqTotal)
        counters.add(.upstreamRqRetry)
    }

    func retryOverflowed() { counters.add(.upstreamRqRetryOverflow) }
    func retriesSpent() { counters.add(.upstreamRqRetryLimitExceeded) }
    func perTryTimedOut() { counters.add(.upstreamRqPerTryTimeout) }
    func timedOut() { counters.add(.upstreamRqTimeout) }
    func wasReset() { counters.add(.upstreamRqRxReset) }
    func overflowed() { counters.add(.upstreamRqPendingOverflow) }
    func connectionsOverflowed() { counters.add(.upstreamCxOverflow) }

    func pendingBegan() {
        counters.add(.upstreamRqPendingTotal)
        counters.add(.upstreamRqPendingActive)
    }

    func pendingEnded() { counters.subtract(.upstreamRqPendingActive) }
    func foundNoneHealthy() { counters.add(.upstreamCxNoneHealthy) }

    func membership(total: Int) {
        counters.set(.membershipTotal, UInt64(total))
        counters.add(.updateSuccess)
    }

    /// What the control loop thinks of the members; set when somebody looks.
    func standing(healthy: Int, degraded: Int, excluded: Int, ejected: Int) {
        counters.set(.membershipHealthy, UInt64(healthy))
        counters.set(.membershipDegraded, UInt64(degraded))
        counters.set(.membershipExcluded, UInt64(excluded))
        counters.set(.outlierDetectionEjectionsActive, UInt64(ejected))
    }

    func connecting() {
        counters.add(.upstreamCxTotal)
        counters.add(.upstreamCxActive)
    }

    func connectionClosed(_ failure: TransportFailure.Kind?, wasConnected: Bool) {
        counters.subtract(.upstreamCxActive)
        counters.add(.upstreamCxDestroy)
        if failure == nil || wasConnected { return }
        counters.add(.upstreamCxConnectFail)
        if failure == .connectTimeout { counters.add(.upstreamCxConnectTimeout) }
    }

    func received(_ count: Int) {
        counters.add(.upstreamCxRxBytesTotal, UInt64(truncatingIfNeeded: count))
    }

    func sent(_ count: Int) {
        counters.add(.upstreamCxTxBytesTotal, UInt64(truncatingIfNeeded: count))
    }

    private static let classes: [ClusterMetric] = [
        .upstreamRq1xx, .upstreamRq2xx, .upstreamRq3xx, .upstreamRq4xx, .upstreamRq5xx,
    ]
}

/// `cluster.<name>.circuit_breakers.*`, set by the control loop when somebody looks.
final class BreakerMetrics {
    private let block: SubjectBlock<BreakerMetric>
    private let table: SubjectTable<BreakerMetric>

    init(_ name: String, _ table: SubjectTable<BreakerMetric>) {
        block = table.makeBlock(name)
        self.table = table
    }

    deinit { table.retire(block) }

    /// - Parameter left: how many places are free, in the order of connections, pending requests, requests, retries.
    func standing(_ priority: RequestPriority, left: [Int], showsLeft: Bool) {
        let first = priority == .normal ? BreakerMetric.defaultCxOpen : .highCxOpen
        for (index, count) in left.enumerated() {
            set(first.rawValue + index, count > 0 ? 0 : 1)
            if showsLeft { set(first.rawValue + left.count + index, max(0, count)) }
        }
    }

    private func set(_ rawValue: Int, _ value: Int) {
        guard let metric = BreakerMetric(rawValue: rawValue) else { return }
        block.counters.set(metric, UInt64(value))
    }
}

/// `cluster.<name>.outlier_detection.*`, counted by the control loop.
final class OutlierMetrics {
    private let block: SubjectBlock<OutlierMetric>
    private let table: SubjectTable<OutlierMetric>
    private var counters: CounterBlock<OutlierMetric> { block.counters }

    init(_ name: String, _ table: SubjectTable<OutlierMetric>) {
        block = table.makeBlock(name)
        self.table = table
    }

    deinit { table.retire(block) }

    func found(_ finding: OutlierDetector.Finding) {
        let (detected, enforced) = OutlierMetrics.metrics(finding.kind)
        counters.add(detected)
        if finding.kind == .consecutive5xx { counters.add(.ejectionsConsecutive5xx) }
        if finding.kind == .successRate { counters.add(.ejectionsSuccessRate) }
        if finding.fate == .overCap {
            counters.add(.ejectionsOverflow)
            return
        }
        // The old total knows two kinds only, and counts what is not enforced.
        if finding.kind == .consecutive5xx || finding.kind == .successRate {
            counters.add(.ejectionsTotal)
        }
        if finding.fate == .notEnforced { return }
        counters.add(.ejectionsEnforcedTotal)
        counters.add(enforced)
    }

    private static func metrics(
        _ kind: OutlierDetector.Kind
    ) -> (detected: OutlierMetric, enforced: OutlierMetric) {
        switch kind {
        case .consecutive5xx:
            (.ejectionsDetectedConsecutive5xx, .ejectionsEnforcedConsecutive5xx)
        case .consecutiveGatewayFailure:
            (
                .ejectionsDetectedConsecutiveGatewayFailure,
                .ejectionsEnforcedConsecutiveGatewayFailure
            )
        case .consecutiveLocalOriginFailure:
            (
                .ejectionsDetectedConsecutiveLocalOriginFailure,
                .ejectionsEnforcedConsecutiveLocalOriginFailure
            )
        case .successRate: (.ejectionsDetectedSuccessRate, .ejectionsEnforcedSuccessRate)
        case .localOriginSuccessRate:
            (.ejectionsDetectedLocalOriginSuccessRate, .ejectionsEnforcedLocalOriginSuccessRate)
        case .failurePercentage:
            (.ejectionsDetectedFailurePercentage, .ejectionsEnforcedFailurePercentage)
        case .localOriginFailurePercentage:
            (
                .ejectionsDetectedLocalOriginFailurePercentage,
                .ejectionsEnforcedLocalOriginFailurePercentage
            )
        }
    }
}

/// `http.<prefix>.*` of one worker.
final class HTTPMetrics {
    private let block: SubjectBlock<HTTPMetric>
    private let counters: CounterBlock<HTTPMetric>
    private let requestTime: HistogramBlock
    private let table: SubjectTable<HTTPMetric>

    init(_ prefix: String, _ table: SubjectTable<HTTPMetric>) {
        block = table.makeBlock(prefix)
        counters = block.counters
        requestTime = block.durations[0]
        self.table = table
    }

    deinit { table.retire(block) }

    func connectionOpened() {
        counters.add(.downstreamCxTotal)
        counters.add(.downstreamCxActive)
    }

    func connectionClosed() {
        counters.subtract(.downstreamCxActive)
        counters.add(.downstreamCxDestroy)
    }

    func requestBegan() {
        counters.add(.downstreamRqTotal)
        counters.add(.downstreamRqActive)
    }

    /// - Parameter status: 0 when no response was sent.
    func requestEnded(status: Int, took: Duration) {
        counters.subtract(.downstreamRqActive)
        if let metric = HTTPMetrics.classes[safely: status / 100 - 1] { counters.add(metric) }
        requestTime.record(microseconds: took.wholeMicroseconds)
    }

    func protocolError() { counters.add(.downstreamCxProtocolError) }

    func received(_ count: Int) {
        counters.add(.downstreamCxRxBytesTotal, UInt64(truncatingIfNeeded: count))
    }

    func sent(_ count: Int) {
        counters.add(.downstreamCxTxBytesTotal, UInt64(truncatingIfNeeded: count))
    }

    private static let classes: [HTTPMetric] = [
        .downstreamRq1xx, .downstreamRq2xx, .downstreamRq3xx, .downstreamRq4xx, .downstreamRq5xx,
    ]
}

/// `listener.<address>.*` of one worker.
final class ListenerMetrics {
    /// Of all the worker's listeners.
    var openConnections: OpenConnections?
    private let block: SubjectBlock<ListenerMetric>
    private let table: SubjectTable<ListenerMetric>
    private var counters: CounterBlock<ListenerMetric> { block.counters }

    init(_ address: String, _ table: SubjectTable<ListenerMetric>) {
        block = table.makeBlock(address)
        self.table = table
    }

    deinit { table.retire(block) }

    func connectionOpened() {
        counters.add(.downstreamCxTotal)
        counters.add(.downstreamCxActive)
        openConnections?.opened()
    }

    func connectionClosed() {
        counters.subtract(.downstreamCxActive)
        counters.add(.downstreamCxDestroy)
        openConnections?.closed()
    }

    func noFilterChainMatched() { counters.add(.noFilterChainMatch) }

    func handshakeDone(resumed: Bool) {
        counters.add(.sslHandshake)
        if resumed { counters.add(.sslSessionReused) }
    }

    func handshakeFailed(_ kind: TransportFailure.Kind) {
        switch kind {
        case .tlsNoCertificate: counters.add(.sslFailVerifyNoCert)
        case .tlsUntrusted, .tlsExpired: counters.add(.sslFailVerifyError)
        case .tlsWrongIdentity: counters.add(.sslFailVerifySan)
        default: counters.add(.sslConnectionError)
        }
    }
}

/// `tcp.<prefix>.*` of one worker.
final class TCPMetrics {
    private let block: SubjectBlock<TCPMetric>
    private let table: SubjectTable<TCPMetric>
    private var counters: CounterBlock<TCPMetric> { block.counters }

    init(_ prefix: String, _ table: SubjectTable<TCPMetric>) {
        block = table.makeBlock(prefix)
        self.table = table
    }

    deinit { table.retire(block) }

    func connectionOpened() {
        counters.add(.downstreamCxTotal)
        counters.add(.downstreamCxActive)
    }

    func connectionClosed() { counters.subtract(.downstreamCxActive) }
    func foundNoRoute() { counters.add(.downstreamCxNoRoute) }
    func idled() { counters.add(.idleTimeout) }

    func relayed(_ count: Int, fromDownstream: Bool) {
        counters.add(
            fromDownstream ? .downstreamCxRxBytesTotal : .downstreamCxTxBytesTotal,
            UInt64(truncatingIfNeeded: count))
    }
}

extension Array {
    fileprivate subscript(safely index: Int) -> Element? {
        indices.contains(index) ? self[index] : nil
    }
}

extension Duration {
    fileprivate var wholeMicroseconds: UInt64 { UInt64(max(0, nanoseconds / 1000)) }
}
