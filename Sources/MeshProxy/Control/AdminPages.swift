import EventLoop
import MeshBase
import MeshConfig
import Observability
import XDSClient

/// What the admin port answers: Envoy's pages, in the shapes that pilot-agent, istioctl and the
/// agents of other control planes read, out of what the control loop knows.
///
/// All are made when they are asked for, from values of the control loop's own thread and from
/// counters that any thread may read; no worker is asked. What changes something wants POST.
struct AdminPages {
    let control: ControlLoop
    let registry: MetricsHub
    let log: ProxyLog
    var options = RunOptions()

    private struct Page: Sendable {
        let path: String
        let help: String
        var mutates = false
        let answer:
            @Sendable (AdminPages, AdminServer.Request) throws(AdminQueryError) ->
                AdminServer.Reply
    }

    private static let pages: [Page] = [
        Page(path: "/", help: "this list") { pages, _ in pages.list() },
        Page(path: "/certs", help: "certificates in use") { pages, _ in pages.certs() },
        Page(path: "/clusters", help: "endpoints and their health (?format=json)") {
            pages, request throws(AdminQueryError) in try pages.clusters(request)
        },
        Page(
            path: "/config_dump",
            help: "configuration in force (?include_eds, ?resource=, ?mask=, ?name_regex=)"
        ) { pages, request throws(AdminQueryError) in try pages.configDump(request) },
        Page(
            path: "/drain_listeners",
            help: "let connections end (?graceful, ?inboundonly, ?skip_exit)", mutates: true
        ) { pages, request throws(AdminQueryError) in try pages.drainListeners(request) },
        Page(
            path: "/drill",
            help: "put a fault on a cluster for a time (POST ?cluster=, ?fault=, ?percent=100, "
                + "?seconds=30, ?abort_at_errors=5, ?delay_ms=1000); what came of it (GET)"
        ) { pages, request throws(AdminQueryError) in try pages.drill(request) },
        Page(path: "/drill/stop", help: "end the drill now", mutates: true) { pages, _ in
            pages.stopDrill()
        },
        Page(
            path: "/evacuate",
            help: "take traffic off endpoints (POST ?locality=, ?cluster=, ?service=, "
                + "?percent_per_second=10, ?percent=100); who is leaving (GET)"
        ) { pages, request throws(AdminQueryError) in try pages.evacuate(request) },
        Page(
            path: "/evacuate/undo", help: "give traffic back (as /evacuate; all without scope)",
            mutates: true
        ) { pages, request throws(AdminQueryError) in try pages.undoEvacuation(request) },
        Page(
            path: "/health",
            help: "endpoints and paths: state, why, and what comes next (?cluster=, ?format=json)"
        ) { pages, request throws(AdminQueryError) in try pages.health(request) },
        Page(path: "/healthcheck/fail", help: "make readiness fail", mutates: true) { pages, _ in
            pages.control.isHealthFailed = true
            return AdminServer.Reply("OK\n")
        },
        Page(path: "/healthcheck/ok", help: "undo /healthcheck/fail", mutates: true) { pages, _ in
            pages.control.isHealthFailed = false
            return AdminServer.Reply("OK\n")
        },
        Page(path: "/help", help: "this list") { pages, _ in pages.list() },
        Page(path: "/listeners", help: "listeners and their addresses (?format=json)") {
            pages, request throws(AdminQueryError) in try pages.listeners(request)
        },
        Page(
            path: "/logging", help: "log levels (?level=, ?paths=a:debug,b:info, ?NAME=level)",
            mutates: true
        ) { pages, request throws(AdminQueryError) in try pages.logging(request) },
        Page(path: "/quitquitquit", help: "end the process", mutates: true) { pages, _ in
            pages.control.quit()
            return AdminServer.Reply("OK\n")
        },
        Page(path: "/ready", help: "200 LIVE, or 503 with the state and why") { pages, _ in
            pages.ready()
        },
        Page(path: "/server_info", help: "version, state, node, control planes") { pages, _ in
            pages.serverInfo()
        },
        Page(
            path: "/stats", help: "metrics (?usedonly, ?filter=, ?format=json or prometheus)"
        ) { pages, request throws(AdminQueryError) in try pages.stats(request) },
        Page(path: "/stats/prometheus", help: "metrics for Prometheus (?filter=)") {
            pages, request throws(AdminQueryError) in try pages.prometheus(request)
        },
    ]

    func answer(_ request: AdminServer.Request) -> AdminServer.Reply {
        guard let page = AdminPages.pages.first(where: { $0.path == request.path }) else {
            return AdminServer.Reply(
                "no page \"\(request.path)\"; there are:\n" + list().text, status: 404)
        }
        if page.mutates, request.method != "POST" {
            return AdminServer.Reply(
                "\(page.path) changes something and wants POST, got \(request.method)\n",
                status: 405)
        }
        do {
            return try page.answer(self, request)
        } catch {
            return AdminServer.Reply(error.text, status: 400)
        }
    }

    private func list() -> AdminServer.Reply {
        AdminServer.Reply(
            AdminPages.pages.map { page in
                "\(page.path)\(page.mutates ? " (POST)" : ""): \(page.help)\n"
            }.joined())
    }

    // MARK: State

    private func ready() -> AdminServer.Reply {
        let state = control.state
        if state == .live { return AdminServer.Reply("LIVE\n") }
        return AdminServer.Reply("\(state.word): \(control.stateReason)\n", status: 503)
    }

    private func serverInfo() -> AdminServer.Reply {
        let uptime = JSONValue.string(
            "\((control.loop.now - control.started).milliseconds / 1000)s")
        let drain = options.drainSeconds.map { Duration.seconds($0) }
        return .json(
            JSONValue.message(
                ("version", .string(ProxyVersion.line.afterColon)),
                ("state", .string(control.state.word)),
                ("hot_restart_version", "disabled"),
                (
                    "command_line_options",
                    .message(
                        ("concurrency", .number(Int64(control.workerCount))),
                        ("mode", "Serve"),
                        ("log_level", .string(options.logLevel)),
                        ("component_log_level", .string(options.componentLogLevels)),
                        (
                            "drain_time",
                            ConfigJSON.duration(drain ?? control.bootstrap.settings.drainTime)
                        ))
                ),
                ("node", ConfigJSON.node(control.bootstrap.node)),
                ("uptime_current_epoch", uptime), ("uptime_all_epochs", uptime),
                ("meshproxy", ownInfo)
            ).text)
    }

    private var ownInfo: JSONValue {
        .message(
            ("version", .string(ProxyVersion.number)),
            ("state_reason", .string(control.stateReason)),
            ("snapshot", .number(Int64(clamping: control.published.number))),
            ("source", .string(control.source)),
            (
                "control_planes",
                .array(
                    control.controlPlanes.map { plane in
                        .message(
                            ("name", .string(plane.name)), ("in_force", .bool(plane.isInForce)),
                            ("phase", .string(AdminPages.word(plane.phase, control.loop.now))),
                            ("identifier", .string(plane.identifier)),
                            (
                                "last_update_age",
                                plane.lastUpdate.map {
                                    ConfigJSON.duration(control.loop.now - $0)
                                } ?? .null
                            ), ("rejected", .array(plane.rejected.map { .string($0) })))
                    })
            ),
            ("warming", .array(control.warming.map { .string($0) })),
            ("not_taken_over", .array(control.problems.map { .string($0) })))
    }

    private static func word(_ phase: ControlPlaneSet.Phase, _ now: Instant) -> String {
        switch phase {
        case .idle: "idle"
        case .connecting: "connecting"
        case .complete: "complete"
        case .down(let retryAt): "down, retry in \(max(0, (retryAt - now).milliseconds)) ms"
        }
    }

    // MARK: Logging

    /// Sets levels as the query says, and lists them as Envoy does.
    private func logging(
        _ request: AdminServer.Request
    ) throws(AdminQueryError) -> AdminServer.Reply {
        let words = "trace, debug, info, warning, error, critical or off"
        for (key, value) in request.query {
            if key == "paths" {
                do {
                    try log.levels.apply(value)
                } catch {
                    throw AdminQueryError(
                        key: key, expected: "component:level pairs, levels \(words)", given: value)
                }
                continue
            }
            guard let level = LogLevel(value) else {
                throw AdminQueryError(key: key, expected: words, given: value)
            }
            if key == "level" {
                log.levels.set(level)
            } else if !log.levels.set(level, for: key) {
                throw AdminQueryError(
                    key: key, expected: "level, paths or a component's name", given: value)
            }
        }
        let lines = log.levels.listing.map { "  \($0.name): \($0.level)\n" }
        return AdminServer.Reply("active loggers:\n" + lines.joined())
    }

    // MARK: Stopping

    private func drainListeners(
        _ request: AdminServer.Request
    ) throws(AdminQueryError) -> AdminServer.Reply {
        let graceful = try request.flag("graceful")
        let skipExit = try request.flag("skip_exit")
        if skipExit, !graceful {
            throw AdminQueryError(
                key: "skip_exit", expected: "graceful beside it", given: "no graceful")
        }
        control.drainListeners(
            inboundOnly: try request.flag("inboundonly"), graceful: graceful,
            thenExit: !skipExit)
        return AdminServer.Reply("OK\n")
    }
}

extension String {
    /// What follows "version:" in the line that `version` prints.
    fileprivate var afterColon: String {
        guard let colon = firstIndex(of: ":") else { return self }
        return String(self[index(after: colon)...].drop { $0 == " " })
    }
}
