import EventLoop
import MeshBase
import MeshConfig
import Observability

/// `envoy.data.core.v3.HealthCheckEvent`: what active health checks found.
struct HealthEvent {
    enum FailureType: String {
        case active = "ACTIVE"
        /// Said by the endpoint with an answer to a request.
        case passive = "PASSIVE"
        case network = "NETWORK"
        case networkTimeout = "NETWORK_TIMEOUT"
    }
    enum What {
        case ejected(FailureType)
        case added(isFirst: Bool)
        case succeeded
        case failed(FailureType, isFirst: Bool)
        case degraded, noLongerDegraded
    }

    var checker: ProbeConfig.Kind
    var address: SocketAddress
    var cluster: String
    var endpoint: Endpoint
    var locality: Locality
    var what: What

    /// One line of JSON, with Envoy's names and without the line's end.
    func json(at time: UnixTime) -> String {
        let (name, body): (String, JSONValue) =
            switch what {
            case .ejected(let type):
                ("eject_unhealthy_event", ["failure_type": .string(type.rawValue)])
            case .added(let isFirst): ("add_healthy_event", ["first_check": .bool(isFirst)])
            case .succeeded: ("successful_health_check_event", [:])
            case .failed(let type, let isFirst):
                (
                    "health_check_failure_event",
                    ["failure_type": .string(type.rawValue), "first_check": .bool(isFirst)]
                )
            case .degraded: ("degraded_healthy_host", [:])
            case .noLongerDegraded: ("no_longer_degraded_host", [:])
            }
        return JSONValue.message(
            ("health_checker_type", .string(checker.word)), ("host", ConfigJSON.address(address)),
            ("cluster_name", .string(cluster)), (name, body),
            ("timestamp", ConfigJSON.time(time)),
            ("metadata", ConfigJSON.metadata(endpoint.metadata)),
            ("locality", ConfigJSON.locality(locality))
        ).line
    }
}

/// The files that health check events are appended to, one line each. A file is opened with its first
/// event; one that can't be is told of once.
final class HealthEventLog {
    private let loop: any IOLoop
    private let log: ProxyLog
    private var files: [String: AppendFile] = [:]
    private var refused: Set<String> = []

    init(loop: any IOLoop, log: ProxyLog) {
        self.loop = loop
        self.log = log
    }

    func write(_ event: HealthEvent, to paths: [String]) {
        let line = event.json(at: loop.wallClock) + "\n"
        for path in paths {
            guard let file = file(path) else { continue }
            file.append { $0.append(line) }
            file.flush()
        }
    }

    /// Opens the files anew, after somebody moved them away.
    func reopen() {
        refused = []
        for file in files.values { file.reopen() }
    }

    private func file(_ path: String) -> AppendFile? {
        if let file = files[path] { return file }
        if refused.contains(path) { return nil }
        do {
            let file = try AppendFile(path: path)
            files[path] = file
            return file
        } catch {
            refused.insert(path)
            log.warning("cannot open an event log", ["path": path, "error": "\(error)"])
            return nil
        }
    }
}
