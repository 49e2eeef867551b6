import LoadBalancer
import MeshConfig

/// What stands against an endpoint, in the words that Envoy's `/clusters` has for it.
struct HealthFlags {
    /// The control plane says so: UNHEALTHY or TIMEOUT.
    var isFailedByEDS = false
    var isDegraded = false
    var isExcluded = false
    var isFailedByProbe = false
    var isDegradedByProbe = false
    /// By outlier detection, or by our own judgement of transport failures.
    var isEjected = false

    init(_ host: Host) {
        self.init(status: host.endpoint.status, verdict: host.verdict)
        if host.path.isEjected { isEjected = true }
    }

    init(status: Endpoint.Status, verdict: Verdict) {
        switch status {
        case .unhealthy, .timeout: isFailedByEDS = true
        case .degraded: isDegraded = true
        case .draining: isExcluded = true
        case .unknown, .healthy: break
        }
        switch verdict {
        case .healthy: break
        case .degraded: isDegradedByProbe = true
        case .failedProbe: isFailedByProbe = true
        case .excluded: isFailedByProbe = true
        case .ejected: isEjected = true
        }
        if isFailedByEDS || isFailedByProbe || isEjected {
            isDegraded = false
            isDegradedByProbe = false
        }
    }

    var isHealthy: Bool {
        !isFailedByEDS && !isDegraded && !isExcluded && !isFailedByProbe && !isEjected
            && !isDegradedByProbe
    }

    /// "healthy", or "/failed_active_hc/failed_outlier_check" and so on.
    var text: String {
        var text = ""
        if isFailedByProbe { text += "/failed_active_hc" }
        if isEjected { text += "/failed_outlier_check" }
        if isFailedByEDS { text += "/failed_eds_health" }
        if isDegradedByProbe { text += "/degraded_active_hc" }
        if isDegraded { text += "/degraded_eds_health" }
        if isExcluded { text += "/eds_status_draining" }
        return text.isEmpty ? "healthy" : text
    }

    /// `envoy.admin.v3.HostHealthStatus`.
    func json(_ status: Endpoint.Status) -> JSONValue {
        let word =
            switch status {
            case .unknown: "HEALTHY"
            case .healthy: "HEALTHY"
            case .unhealthy: "UNHEALTHY"
            case .draining: "DRAINING"
            case .timeout: "TIMEOUT"
            case .degraded: "DEGRADED"
            }
        var fields: [(key: String, value: JSONValue)] = []
        if isFailedByProbe { fields.append((key: "failed_active_health_check", value: true)) }
        if isEjected { fields.append((key: "failed_outlier_check", value: true)) }
        fields.append((key: "eds_health_status", value: .string(word)))
        return .object(fields)
    }
}
