import MeshBase
import MeshConfig

final class MetricsHub { func makeWorker() -> WorkerMetrics { WorkerMetrics() } }
final class WorkerMetrics: Sendable {
    func cluster(_ config: Cluster) -> ClusterMetrics { ClusterMetrics() }
    func http(_ config: HTTPConnectionManager) -> HTTPMetrics { HTTPMetrics() }
    func listener(_ config: Listener) -> ListenerMetrics { ListenerMetrics() }
    func tcp(_ config: TCPProxy) -> TCPMetrics { TCPMetrics() }
}
final class ClusterMetrics {
    func retried() {}
    func responded(_ status: Int, took: Duration) {}
    func perTryTimedOut() {}
    func timedOut() {}
    func membership(total: Int) {}
    func overflowed() {}
    func requestBegan() {}
    func requestEnded() {}
    func retryOverflowed() {}
    func connecting() {}
    func connected() {}
    func connectionClosed(failed: Bool, wasConnected: Bool) {}
    func received(_ count: Int) {}
    func sent(_ count: Int) {}
}
final class HTTPMetrics {
    func received(_ count: Int) {}
    func sent(_ count: Int) {}
    func protocolError() {}
    func connectionOpened() {}
    func connectionClosed() {}
    func requestBegan() {}
    func requestEnded(status: Int, took: Duration) {}
}
final class ListenerMetrics {
    func connectionOpened() {}
    func connectionClosed() {}
    func noFilterChainMatched() {}
    func handshakeDone(resumed: Bool) {}
    func handshakeFailed(_ kind: TransportFailure.Kind) {}
}
final class TCPMetrics {
    func connectionOpened() {}
    func connectionClosed() {}
    func relayed(_ count: Int, fromDownstream: Bool) {}
}
struct ProxyLog: Sendable {
    init() {}
    init(level: String, components: String) throws {}
    func debug(_ message: String, _ fields: [String: String] = [:]) {}
    func info(_ message: String, _ fields: [String: String] = [:]) {}
    func warning(_ message: String, _ fields: [String: String] = [:]) {}
}
struct ResponseFlags: OptionSet {
    let rawValue: Int
    static let noRouteFound = Self(rawValue: 1)
    static let noClusterFound = Self(rawValue: 2)
    static let noHealthyUpstream = Self(rawValue: 4)
    static let upstreamOverflow = Self(rawValue: 8)
    static let upstreamRemoteReset = Self(rawValue: 16)
    static let upstreamConnectionTermination = Self(rawValue: 32)
    static let upstreamConnectionFailure = Self(rawValue: 64)
    static let upstreamRetryLimitExceeded = Self(rawValue: 128)
    static let upstreamRequestTimeout = Self(rawValue: 256)
    static let streamIdleTimeout = Self(rawValue: 512)
    static let downstreamConnectionTermination = Self(rawValue: 1024)
}
struct AccessLogRecord {
    struct Attempt {
        var locality: String; var address: SocketAddress; var reason: String?; var took: Duration
    }
    var bytesReceived = 0
    var bytesSent = 0
    var flags: ResponseFlags = []
    var details = ""
    var status = 0
    var upstreamCluster = ""
    var attemptCount = 0
    var transportFailure = ""
    var response: MessageHead?
    var trailers: MessageHead?
    var upstreamHost: SocketAddress?
    var attempts: [Attempt] = []
}
final class AccessLogFile {
    init(path: String, loop: AnyObject) throws {}
    func reopen() {}
    func flush() {}
}
struct AccessLogFormat { init(_ format: AccessLogConfig.Format) throws {} }
final class AccessLogWriter {
    init(format: AccessLogFormat, file: AccessLogFile) {}
    func write(_ record: AccessLogRecord) {}
}
