import MeshConfig
import EventLoop
import MeshBase
import Observability
import XDSClient

extension AdminPages {
    /// `/stats`
    func stats(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        let format = try request.choice("format", ["text", "json", "prometheus"])
        if format == "prometheus" { return try prometheus(request) }
        let writer = StatsText(
            usedOnly: try request.flag("usedonly"), filter: try request.pattern("filter"))
        let reading = read()
        if format == "text" { return AdminServer.Reply(writer.text(reading)) }
        var stats: [JSONValue] = []
        var histograms: [JSONValue] = []
        for entry in writer.entries(reading) {
            switch entry.value {
            case .number(let value):
                stats.append([
                    "name": .string(entry.name), "value": .number(Int64(clamping: value)),
                ])
            case .quantiles(let values):
                histograms.append([
                    "name": .string(entry.name),
                    "values": .array(
                        values.map { ["interval": .null, "cumulative": .decimal($0)] }),
                ])
            }
        }
        if !histograms.isEmpty {
            stats.append([
                "histograms": [
                    "supported_quantiles": .array(StatsText.quantiles.map { .decimal($0) }),
                    "computed_quantiles": .array(histograms),
                ]
            ])
        }
        return .json(JSONValue.object([(key: "stats", value: .array(stats))]).text)
    }

    /// `/stats/prometheus`
    func prometheus(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        _ = try request.flag("usedonly")
        let writer = PrometheusText(filter: try request.pattern("filter"))
        var reply = AdminServer.Reply(writer.text(read()))
        reply.contentType = "text/plain; version=0.0.4; charset=utf-8"
        return reply
    }

    /// All metrics, after the control loop's own were brought up to date: they are states, and
    /// nobody counts them while nobody looks.
    private func read() -> MetricsReading {
        let server = registry.registry.server
        let state = control.state
        server.set(.live, state == .live ? 1 : 0)
        server.set(.state, UInt64(state.rawValue))
        server.set(
            .uptime, UInt64(max(0, (control.loop.now - control.started).milliseconds / 1000)))
        server.set(.memoryAllocated, UInt64(Machine.residentBytes))
        server.set(.concurrency, UInt64(control.workerCount))
        let isStarted = control.adoptedBy.count == control.workerCount
        let isConfigured = state != .preInitializing
        server.set(.workersStarted, isStarted && isConfigured ? 1 : 0)
        let snapshot = control.published
        server.set(.listenersActive, UInt64(snapshot.listeners.count))
        server.set(.activeClusters, UInt64(snapshot.clusters.count))
        server.set(.listenersWarming, UInt64(control.warmingNames("listener").count))
        server.set(.warmingClusters, UInt64(control.warmingNames("cluster").count))
        if let counts = control.discoveryCounts[.cluster] {
            server.set(.cdsUpdateSuccess, UInt64(counts.successes))
            server.set(.cdsUpdateRejected, UInt64(counts.rejections))
            server.set(.cdsUpdateAttempt, UInt64(counts.attempts))
        }
        if let counts = control.discoveryCounts[.listener] {
            server.set(.ldsUpdateSuccess, UInt64(counts.successes))
            server.set(.ldsUpdateRejected, UInt64(counts.rejections))
            server.set(.ldsUpdateAttempt, UInt64(counts.attempts))
        }
        let planes = control.controlPlanes
        if !planes.isEmpty {
            let isConnected = planes.contains { $0.isInForce && $0.phase == .complete }
            server.set(.connectedState, isConnected ? 1 : 0)
        }
        if let end = control.firstCertificateEnd {
            let left = max(0, end - control.loop.wallClock.seconds)
            server.set(.daysUntilFirstCertExpiring, UInt64(left / 86400))
        }
        for cluster in control.clusters.all { countStanding(of: cluster) }

        var reading = registry.registry.read()
        let connections = reading.families.filter { $0.prefix == "listener" }
            .flatMap(\.subjects)
            .reduce(UInt64(0)) { $0 &+ $1.values[ListenerMetric.downstreamCxActive.rawValue] }
        server.set(.totalConnections, connections)
        reading.refresh(server)
        reading.own = ownMetrics(reading)
        return reading
    }

    private func countStanding(of cluster: UpstreamCluster) {
        var healthy = 0
        var degraded = 0
        var excluded = 0
        var ejected = 0
        for host in cluster.hosts {
            let flags = HealthFlags(host)
            if flags.isHealthy { healthy += 1 }
            if flags.isDegraded { degraded += 1 }
            if flags.isExcluded { excluded += 1 }
            if flags.isEjected { ejected += 1 }
        }
        cluster.metrics.standing(
            healthy: healthy, degraded: degraded, excluded: excluded, ejected: ejected)
        cluster.limits.showStanding(of: cluster.config)
    }

    private func ownMetrics(_ reading: MetricsReading) -> [OwnMetric] {
        var own = [
            OwnMetric("snapshot_number", number: control.published.number),
            OwnMetric(
                "stats_overflowed_subjects",
                number: UInt64(reading.families.reduce(0) { $0 + $1.overflowed })),
        ]
        for plane in control.controlPlanes {
            own.append(
                OwnMetric(
                    "control_plane_in_force", label: "name", value: plane.name,
                    number: plane.isInForce ? 1 : 0))
            if let updated = plane.lastUpdate {
                own.append(
                    OwnMetric(
                        "xds_source_age_seconds", label: "source", value: plane.name,
                        number: UInt64(max(0, (control.loop.now - updated).milliseconds / 1000))))
            }
        }
        return own
    }
}
