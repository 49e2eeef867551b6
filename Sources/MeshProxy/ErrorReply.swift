import MeshBase
import MeshConfig
import Observability

/// The one table from what went wrong to what the client is told: status, flag for the log, words.
///
/// Bodies that people search for are Envoy's.
enum ErrorReply {
    case noRoute(String)
    case noCluster(String, status: Int)
    case noEndpoint(String)
    /// The survivors of an outage are given no more. - Parameter retryAfter: in seconds.
    case spillLimited(retryAfter: Int64)
    /// By the will of the endpoints' owner. - Parameter all: nothing is let by.
    case dropped(category: String, all: Bool)
    /// One of our own limits.
    case overflow(String)
    case upstreamFailed(TransportFailure, connected: Bool)
    /// A response that was to be retried, and could not be in the end.
    case upstreamStatus(MessageHead)
    case timeout
    case requestTimeout

    var status: Int {
        switch self {
        case .noRoute: 404
        case .noCluster(_, let status): status
        case .noEndpoint, .spillLimited, .dropped, .overflow, .upstreamFailed: 503
        case .upstreamStatus(let head): head.status
        case .timeout: 504
        case .requestTimeout: 408
        }
    }

    var flags: ResponseFlags {
        switch self {
        case .noRoute: .noRouteFound
        case .noCluster: .noClusterFound
        case .noEndpoint: .noHealthyUpstream
        case .overflow, .spillLimited: .upstreamOverflow
        case .dropped(_, let all): all ? .unconditionalDropOverload : .dropOverload
        case .upstreamFailed(let failure, let connected):
            connected
                ? (failure.kind == .reset
                    ? .upstreamRemoteReset : .upstreamConnectionTermination)
                : .upstreamConnectionFailure
        case .upstreamStatus: .upstreamRetryLimitExceeded
        case .timeout: .upstreamRequestTimeout
        case .requestTimeout: .streamIdleTimeout
        }
    }

    /// `%RESPONSE_CODE_DETAILS%`.
    var details: String {
        switch self {
        case .noRoute(let reason): "route_not_found{\(reason)}"
        case .noCluster(let name, _): "cluster_not_found{\(name)}"
        case .noEndpoint(let reason): "no_healthy_upstream{\(reason)}"
        case .spillLimited: "overflow{spill-limited}"
        case .dropped(let category, let all):
            (all ? "unconditional_drop_overload" : "drop_overload") + "{\(category)}"
        case .overflow(let what): "overflow{\(what)}"
        case .upstreamFailed(let failure, _):
            "upstream_reset_before_response_started{\(failure.kind.word)}"
        case .upstreamStatus: "via_upstream"
        case .timeout: "response_timeout"
        case .requestTimeout: "request_timeout"
        }
    }

    private var text: String {
        switch self {
        case .noRoute, .noCluster, .upstreamStatus: ""
        case .noEndpoint: "no healthy upstream"
        case .dropped(_, let all): all ? "unconditional drop overload" : "drop overload"
        case .overflow, .spillLimited:
            "upstream connect error or disconnect/reset before headers. reset reason: overflow"
        case .upstreamFailed(let failure, let connected):
            "upstream connect error or disconnect/reset before headers. reset reason: "
                + (connected ? "connection termination" : "remote connection failure")
                + ", transport failure reason: \(failure.kind.word)"
        case .timeout: "upstream request timeout"
        case .requestTimeout: "request timeout"
        }
    }

    /// gRPC callers get their own form of an error: 200 with `grpc-status`.
    func head(for request: MessageHead) -> MessageHead {
        if request.isGRPC {
            var head = MessageHead(status: 200)
            head.append(.contentType, "application/grpc")
            head.append(.grpcStatus, grpcStatus)
            head.append(.grpcMessage, text.isEmpty ? "\(status)" : text)
            return head
        }
        var head = MessageHead(status: status)
        if !text.isEmpty { head.append(.contentType, "text/plain") }
        switch self {
        case .spillLimited(let seconds): head.append("retry-after", "\(seconds)")
        case .dropped(_, let all):
            head.append(
                all ? "x-envoy-unconditional-drop-overload" : "x-envoy-drop-overload", "true")
        default: break
        }
        return head
    }

    func body(for request: MessageHead) -> [UInt8] {
        request.isGRPC ? [] : Array(text.utf8)
    }

    /// gRPC's own table from HTTP statuses (doc/http-grpc-status-mapping).
    private var grpcStatus: String {
        switch status {
        case 400: "13"
        case 401: "16"
        case 403: "7"
        case 404: "12"
        case 429, 502, 503, 504: status == 504 ? "4" : "14"
        default: "2"
        }
    }
}
