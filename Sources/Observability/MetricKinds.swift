/// The fixed set of metrics that a kind of subject has; the raw values count up from zero.
public protocol MetricKind: CaseIterable, Sendable, RawRepresentable where RawValue == Int {
    /// Envoy's name below the subject's prefix.
    var name: String { get }
    var isGauge: Bool { get }
    /// Every worker says the same, so the greatest is meant and not the sum.
    var isCommon: Bool { get }
    /// What Envoy's name of a subject begins with; empty for the process itself.
    static var prefix: String { get }
    /// The label that Prometheus knows the subject by.
    static var label: String { get }
    /// Envoy's names of the durations that are counted.
    static var durations: [String] { get }
}

extension MetricKind {
    public var isCommon: Bool { false }
    public static var durations: [String] { [] }
}

/// `cluster.<name>.*`
public enum ClusterMetric: Int, MetricKind {
    case upstreamCxTotal, upstreamCxActive, upstreamCxConnectFail, upstreamCxDestroy
    case upstreamCxConnectTimeout, upstreamCxNoneHealthy, upstreamCxOverflow
    case upstreamCxRxBytesTotal, upstreamCxTxBytesTotal
    case upstreamRqTotal, upstreamRqActive, upstreamRqPendingTotal
    case upstreamRqPendingActive, upstreamRqPendingOverflow
    case upstreamRqPendingFailureEject
    case upstreamRq1xx, upstreamRq2xx, upstreamRq3xx, upstreamRq4xx, upstreamRq5xx
    case upstreamRqTimeout, upstreamRqPerTryTimeout, upstreamRqRetry
    case upstreamRqRetrySuccess, upstreamRqRetryOverflow
    case upstreamRqRetryLimitExceeded, upstreamRqRxReset, upstreamRqTxReset
    case membershipTotal, membershipHealthy, membershipDegraded, membershipExcluded
    case lbHealthyPanic, outlierDetectionEjectionsActive, updateSuccess

    public var name: String {
        self == .outlierDetectionEjectionsActive
            ? "outlier_detection.ejections_active" : snakeCase("\(self)")
    }

    public var isGauge: Bool {
        switch self {
        case .upstreamCxActive, .upstreamRqActive, .upstreamRqPendingActive,
            .membershipTotal, .membershipHealthy, .membershipDegraded, .membershipExcluded,
            .outlierDetectionEjectionsActive:
            true
        default: false
        }
    }

    public var isCommon: Bool {
        switch self {
        case .membershipTotal, .membershipHealthy, .membershipDegraded, .membershipExcluded,
            .outlierDetectionEjectionsActive:
            true
        default: false
        }
    }

    public static var prefix: String { "cluster" }
    public static var label: String { "envoy_cluster_name" }
    public static var durations: [String] { ["upstream_rq_time"] }
}

/// `cluster.<name>.circuit_breakers.<priority>.*`: whether a limit is reached, and how far it is away.
public enum BreakerMetric: Int, MetricKind {
    case defaultCxOpen, defaultRqPendingOpen, defaultRqOpen, defaultRqRetryOpen
    case defaultRemainingCx, defaultRemainingPending, defaultRemainingRq, defaultRemainingRetries
    case highCxOpen, highRqPendingOpen, highRqOpen, highRqRetryOpen
    case highRemainingCx, highRemainingPending, highRemainingRq, highRemainingRetries

    public var name: String {
        let word = snakeCase("\(self)")
        let priority = word.prefix { $0 != "_" }
        return "circuit_breakers.\(priority).\(word.dropFirst(priority.count + 1))"
    }
    public var isGauge: Bool { true }
    public static var prefix: String { "cluster" }
    public static var label: String { "envoy_cluster_name" }
}

/// `cluster.<name>.outlier_detection.*`, except for the gauge of those that are out.
public enum OutlierMetric: Int, MetricKind {
    case ejectionsOverflow, ejectionsTotal, ejectionsEnforcedTotal
    case ejectionsConsecutive5xx, ejectionsSuccessRate
    case ejectionsDetectedConsecutive5xx, ejectionsEnforcedConsecutive5xx
    case ejectionsDetectedConsecutiveGatewayFailure, ejectionsEnforcedConsecutiveGatewayFailure
    case ejectionsDetectedConsecutiveLocalOriginFailure
    case ejectionsEnforcedConsecutiveLocalOriginFailure
    case ejectionsDetectedSuccessRate, ejectionsEnforcedSuccessRate
    case ejectionsDetectedLocalOriginSuccessRate, ejectionsEnforcedLocalOriginSuccessRate
    case ejectionsDetectedFailurePercentage, ejectionsEnforcedFailurePercentage
    case ejectionsDetectedLocalOriginFailurePercentage
    case ejectionsEnforcedLocalOriginFailurePercentage

    public var name: String { "outlier_detection." + snakeCase("\(self)") }
    public var isGauge: Bool { false }
    public static var prefix: String { "cluster" }
    public static var label: String { "envoy_cluster_name" }
}

/// `http.<prefix>.*`
public enum HTTPMetric: Int, MetricKind {
    case downstreamRqTotal, downstreamRqActive, downstreamRq1xx, downstreamRq2xx
    case downstreamRq3xx, downstreamRq4xx, downstreamRq5xx, downstreamCxTotal
    case downstreamCxActive, downstreamCxProtocolError, downstreamRqRxReset
    case downstreamRqTxReset, downstreamCxIdleTimeout, downstreamRqIdleTimeout
    case noRoute, downstreamCxRxBytesTotal, downstreamCxTxBytesTotal, downstreamCxDestroy

    public var name: String { snakeCase("\(self)") }
    public var isGauge: Bool { self == .downstreamRqActive || self == .downstreamCxActive }
    public static var prefix: String { "http" }
    public static var label: String { "envoy_http_conn_manager_prefix" }
    public static var durations: [String] { ["downstream_rq_time"] }
}

/// `listener.<address>.*`
public enum ListenerMetric: Int, MetricKind {
    case downstreamCxTotal, downstreamCxActive, downstreamCxDestroy
    case downstreamPreCxTimeout, noFilterChainMatch
    case sslHandshake, sslConnectionError, sslFailVerifyNoCert, sslFailVerifyError
    case sslFailVerifySan, sslSessionReused

    public var name: String {
        let word = snakeCase("\(self)")
        return word.hasPrefix("ssl_") ? "ssl." + word.dropFirst(4) : word
    }
    public var isGauge: Bool { self == .downstreamCxActive }
    public static var prefix: String { "listener" }
    public static var label: String { "envoy_listener_address" }
}

/// `tcp.<prefix>.*`
public enum TCPMetric: Int, MetricKind {
    case downstreamCxTotal, downstreamCxNoRoute, downstreamCxRxBytesTotal
    case downstreamCxTxBytesTotal, idleTimeout, downstreamCxActive

    public var name: String { snakeCase("\(self)") }
    public var isGauge: Bool { self == .downstreamCxActive }
    public static var prefix: String { "tcp" }
    public static var label: String { "envoy_tcp_prefix" }
}

/// What the process has one of: `server.*`, `listenerManager.*`, `clusterManager.*`.
public enum ServerMetric: Int, MetricKind {
    case live, uptime, state, memoryAllocated, concurrency, totalConnections
    case daysUntilFirstCertExpiring
    case workersStarted, ldsUpdateSuccess, ldsUpdateRejected, ldsUpdateAttempt
    case listenersActive, listenersWarming
    case cdsUpdateSuccess, cdsUpdateRejected, cdsUpdateAttempt, activeClusters
    case warmingClusters, connectedState

    public var name: String {
        switch self {
        case .workersStarted: "listener_manager.workers_started"
        case .ldsUpdateSuccess: "listener_manager.lds.update_success"
        case .ldsUpdateRejected: "listener_manager.lds.update_rejected"
        case .ldsUpdateAttempt: "listener_manager.lds.update_attempt"
        case .listenersActive: "listener_manager.total_listeners_active"
        case .listenersWarming: "listener_manager.total_listeners_warming"
        case .cdsUpdateSuccess: "cluster_manager.cds.update_success"
        case .cdsUpdateRejected: "cluster_manager.cds.update_rejected"
        case .cdsUpdateAttempt: "cluster_manager.cds.update_attempt"
        case .activeClusters: "cluster_manager.active_clusters"
        case .warmingClusters: "cluster_manager.warming_clusters"
        case .connectedState: "control_plane.connected_state"
        default: "server." + snakeCase("\(self)")
        }
    }

    public var isGauge: Bool {
        switch self {
        case .ldsUpdateSuccess, .ldsUpdateRejected, .ldsUpdateAttempt,
            .cdsUpdateSuccess, .cdsUpdateRejected, .cdsUpdateAttempt:
            false
        default: true
        }
    }

    public static var prefix: String { "" }
    public static var label: String { "" }
}

/// Envoy's spelling of a case: "upstreamRq5xx" is "upstream_rq_5xx". For scrapes only.
private func snakeCase(_ word: String) -> String {
    var text = ""
    var afterDigit = false
    for letter in word {
        if letter.isUppercase || (letter.isNumber && !afterDigit) { text += "_" }
        afterDigit = letter.isNumber
        text += letter.lowercased()
    }
    return text
}
