internal import MeshBase
public import MeshConfig
internal import SwiftProtobuf

/// Reads Envoy's bootstrap, in YAML or JSON.
public enum BootstrapLoader {
    /// - Parameters:
    ///   - overlay: `--config-yaml`, merged over the text as protobuf merges.
    ///   - isStrict: refuses fields that are not known; otherwise they are warnings.
    ///   - nodeID: `--service-node`; takes the place of `node.id`, as `nodeCluster` does.
    public static func load(
        text: [UInt8], overlay: String? = nil, isStrict: Bool = true, nodeID: String? = nil,
        nodeCluster: String? = nil
    ) throws(ConfigurationError) -> Bootstrap {
        var warnings: [String] = []
        var decoding = Decoding()
        var clusters: [Cluster?] = []
        var message: Envoy_Config_Bootstrap_V3_Bootstrap
        if let overlay {
            message = try parse(text, isStrict, &warnings)
            let over = try parse(Array(overlay.utf8), isStrict, &warnings)
            do {
                try message.merge(serializedBytes: over.serializedBytes() as [UInt8])
            } catch {
                throw ConfigurationError(problems: [
                    ConfigurationProblem(
                        path: "", expected: "an overlay that merges", got: "\(error)")
                ])
            }
        } else {
            let parts = ClusterParts()
            message = try parse(text, isStrict, &warnings, parts)
            decoding = parts.decoding
            clusters = parts.clusters
        }
        if let nodeID, !nodeID.isEmpty { message.node.id = nodeID }
        if let nodeCluster, !nodeCluster.isEmpty { message.node.cluster = nodeCluster }
        var bootstrap = decoding.bootstrap(message, clusters)
        if !decoding.problems.isEmpty { throw ConfigurationError(problems: decoding.problems) }
        bootstrap.warnings = warnings + decoding.remarks
        return bootstrap
    }

    private static func parse(
        _ text: [UInt8], _ isStrict: Bool, _ warnings: inout [String], _ parts: ClusterParts? = nil
    ) throws(ConfigurationError) -> Envoy_Config_Bootstrap_V3_Bootstrap {
        let tree = try ConfigTree.read(text)
        let encoded = try TreeToMessage.encode(
            tree, as: "envoy.config.bootstrap.v3.Bootstrap", allowsUnknownFields: !isStrict,
            parts: parts?.each)
        warnings += encoded.warnings.map(\.description)
        do {
            return try Envoy_Config_Bootstrap_V3_Bootstrap(serializedBytes: encoded.bytes)
        } catch {
            throw ConfigurationError(problems: [
                ConfigurationProblem(path: "", expected: "a bootstrap", got: "\(error)")
            ])
        }
    }
}

/// Static clusters, decoded one by one while the text is walked: as messages, thousands of them
/// take several times the memory of what is made of them.
private final class ClusterParts {
    var decoding = Decoding()
    var clusters: [Cluster?] = []

    var each: TreeToMessage.Parts {
        TreeToMessage.Parts(
            message: "envoy.config.bootstrap.v3.Bootstrap.StaticResources", field: "clusters"
        ) { [self] index, bytes in
            decoding.within("static_resources") { at in
                at.within("clusters") { at in
                    clusters.append(at.atIndex(index) { $0.cluster(bytes) })
                }
            }
        }
    }
}

extension ConfigTree {
    /// The tree of a text, with its problem in the form that all others have.
    static func read(_ text: [UInt8]) throws(ConfigurationError) -> ConfigTree {
        do throws(TextProblem) {
            return try ConfigTree(text)
        } catch {
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    path: "", expected: "YAML or JSON", got: error.message, line: error.line,
                    column: error.column)
            ])
        }
    }
}

extension Decoding {
    fileprivate mutating func cluster(_ bytes: [UInt8]) -> Cluster? {
        do {
            return cluster(try Envoy_Config_Cluster_V3_Cluster(serializedBytes: bytes))
        } catch {
            refuse(expected: "a cluster", got: "\(error)")
            return nil
        }
    }

    /// - Parameter known: static clusters that are decoded already.
    fileprivate mutating func bootstrap(
        _ message: Envoy_Config_Bootstrap_V3_Bootstrap, _ known: [Cluster?]
    ) -> Bootstrap {
        var result = Bootstrap(node: node(message.node))
        result.settings.locality = result.node.locality
        result.settings.localCluster = message.clusterManager.localClusterName
        if message.hasAdmin, message.admin.hasAddress {
            within("admin") { at in
                guard let address = at.address(message.admin.address, "address") else { return }
                var logs = at.accessLogs(message.admin.accessLog)
                if !message.admin.accessLogPath.isEmpty, message.admin.accessLogPath != "/dev/null"
                {
                    logs.append(AccessLogConfig(path: message.admin.accessLogPath))
                }
                result.admin = Admin(address: address, accessLogs: logs)
            }
        }
        within("static_resources") { at in
            result.staticResources = at.staticResources(message.staticResources, known)
        }
        within("dynamic_resources") { $0.dynamicResources(message.dynamicResources, &result) }
        for (index, any) in message.bootstrapExtensions.enumerated() {
            within("bootstrap_extensions[\(index)].typed_config") { at in
                let opened = at.open(any.typedConfig)
                guard opened.type == "meshproxy.config.v1.MeshProxy" else {
                    at.remark("", "\(opened.type) is ignored")
                    return
                }
                if let settings = at.parse(opened, as: Meshproxy_Config_V1_MeshProxy.self) {
                    at.settings(settings, &result.settings)
                }
            }
        }
        for (isSet, name) in [
            (message.hasHdsConfig, "hds_config"), (message.hasOverloadManager, "overload_manager"),
            (!message.statsSinks.isEmpty, "stats_sinks"),
            (message.clusterManager.hasLoadStatsConfig, "cluster_manager.load_stats_config"),
        ] where isSet {
            remark(name, "is ignored")
        }
        if problems.isEmpty { checkReferences(result) }
        let local = result.settings.localCluster
        if !local.isEmpty, !result.staticResources.clusters.contains(where: { $0.name == local }) {
            remark(
                "cluster_manager.local_cluster_name",
                "no static cluster is called \(local); until discovery gives one, zones are disregarded"
            )
        }
        return result
    }

    mutating func node(_ message: Envoy_Config_Core_V3_Node) -> Node {
        var sent = message
        sent.userAgentName = "meshproxy"
        let encoded: [UInt8] = (try? sent.serializedBytes()) ?? []
        return Node(
            id: message.id, cluster: message.cluster, locality: locality(message.locality),
            metadata: Decoding.object(message.metadata), encoded: encoded)
    }

    private mutating func staticResources(
        _ message: Envoy_Config_Bootstrap_V3_Bootstrap.StaticResources, _ known: [Cluster?]
    ) -> Snapshot {
        var snapshot = Snapshot()
        var generation: UInt64 = 0
        let clusters = known + each("clusters", message.clusters) { $0.cluster($1) }
        snapshot.clusters.reserveCapacity(clusters.count)
        for case .some(var cluster) in clusters {
            generation += 1
            cluster.generation = generation
            cluster.endpoints.generation = generation
            snapshot.clusters.append(cluster)
        }
        let listeners = each("listeners", message.listeners) { $0.listener($1) }
        for case .some(var listener) in listeners {
            generation += 1
            listener.generation = generation
            snapshot.listeners.append(listener)
        }
        let secrets = each("secrets", message.secrets) { $0.secret($1) }
        for case .some(var secret) in secrets {
            generation += 1
            secret.generation = generation
            if snapshot.secrets.updateValue(secret, forKey: secret.name) != nil {
                refuse("secrets", expected: "a name of its own", got: "\"\(secret.name)\" twice")
            }
        }
        snapshot.clusters.sort { $0.name < $1.name }
        for (left, right) in zip(snapshot.clusters, snapshot.clusters.dropFirst())
        where left.name == right.name {
            refuse("clusters", expected: "a name of its own", got: "\"\(left.name)\" twice")
        }
        var names: Set<String> = []
        for listener in snapshot.listeners where !names.insert(listener.name).inserted {
            refuse("listeners", expected: "a name of its own", got: "\"\(listener.name)\" twice")
        }
        return snapshot
    }

    private mutating func dynamicResources(
        _ message: Envoy_Config_Bootstrap_V3_Bootstrap.DynamicResources, _ result: inout Bootstrap
    ) {
        result.wantsLDS = overADS(message.hasLdsConfig, message.ldsConfig, "lds_config")
        result.wantsCDS = overADS(message.hasCdsConfig, message.cdsConfig, "cds_config")
        guard message.hasAdsConfig else {
            if result.wantsLDS || result.wantsCDS {
                refuse("ads_config", expected: "one, for lds_config or cds_config", got: "none")
            }
            return
        }
        within("ads_config") { at in
            let config = message.adsConfig
            let isDelta: Bool
            switch config.apiType {
            case .grpc, .aggregatedGrpc: isDelta = false
            case .deltaGrpc, .aggregatedDeltaGrpc: isDelta = true
            default:
                at.refuse("api_type", expected: "GRPC or DELTA_GRPC", got: "\(config.apiType)")
                return
            }
            let planes = at.each("grpc_services", config.grpcServices) {
                at, service -> AggregatedDiscovery.ControlPlane? in
                guard case .envoyGrpc(let grpc)? = service.targetSpecifier else {
                    at.refuse(
                        expected: "envoy_grpc",
                        got: service.targetSpecifier == nil ? "none" : "google_grpc")
                    return nil
                }
                if grpc.clusterName.isEmpty {
                    at.refuse("envoy_grpc.cluster_name", expected: "a name", got: "none")
                }
                return AggregatedDiscovery.ControlPlane(
                    cluster: grpc.clusterName, authority: grpc.authority,
                    initialMetadata: service.initialMetadata.map {
                        HeaderChanges.Addition(name: $0.key.lowercased(), value: $0.value)
                    })
            }.compactMap { $0 }
            if planes.isEmpty {
                at.refuse("grpc_services", expected: "one or more", got: "none")
                return
            }
            result.ads = AggregatedDiscovery(
                controlPlanes: planes, delta: isDelta,
                setNodeOnFirstMessageOnly: config.setNodeOnFirstMessageOnly)
        }
    }

    private mutating func overADS(
        _ isSet: Bool, _ source: Envoy_Config_Core_V3_ConfigSource, _ field: String
    ) -> Bool {
        if !isSet { return false }
        switch source.configSourceSpecifier {
        case .ads, .self_p: return true
        default:
            refuse(field, expected: "ads", got: "another source")
            return false
        }
    }

    mutating func settings(
        _ message: Meshproxy_Config_V1_MeshProxy, _ result: inout Settings
    ) {
        noteUnknown(message)
        switch message.failoverMode {
        case .spill: result.failoverMode = .spill
        case .strict: result.failoverMode = .strict
        case .UNRECOGNIZED(let number):
            refuse("failover_mode", expected: "SPILL or STRICT", got: "\(number)")
        }
        if message.hasTransportFailuresToEject {
            result.transportFailuresToEject = Int(message.transportFailuresToEject.value)
            if result.transportFailuresToEject == 0 {
                refuse("transport_failures_to_eject", expected: "1 or more", got: "0")
            }
        }
        func set(
            _ isSet: Bool, _ value: Google_Protobuf_Duration, _ field: String,
            _ target: inout Duration
        ) {
            if !isSet { return }
            target = positive(value, field)
        }
        set(message.hasBaseHold, message.baseHold, "base_hold", &result.baseHold)
        set(message.hasMaxHold, message.maxHold, "max_hold", &result.maxHold)
        set(
            message.hasRemoteConnectTimeout, message.remoteConnectTimeout,
            "remote_connect_timeout", &result.remoteConnectTimeout)
        set(message.hasPingInterval, message.pingInterval, "ping_interval", &result.pingInterval)
        set(message.hasPingTimeout, message.pingTimeout, "ping_timeout", &result.pingTimeout)
        set(
            message.hasControlPlaneTimeout, message.controlPlaneTimeout, "control_plane_timeout",
            &result.controlPlaneTimeout)
        set(
            message.hasControlPlaneReturnHold, message.controlPlaneReturnHold,
            "control_plane_return_hold", &result.controlPlaneReturnHold)
        set(message.hasDrainTime, message.drainTime, "drain_time", &result.drainTime)
        set(
            message.hasQueueTimeout, message.queueTimeout, "queue_timeout", &result.queueTimeout)
        result.allowsAdminChanges = message.allowAdminChanges
        within("failover.failback") { $0.failback(message.failover.failback, &result.failback) }
        within("failover.spill") { $0.spill(message.failover.spill, &result.spill) }
        // Zero is a delay, too: nobody has to learn of it.
        if message.hasDrainPropagationDelay {
            result.drainPropagationDelay = duration(
                message.drainPropagationDelay, "drain_propagation_delay")
        }
        if result.maxHold < result.baseHold {
            refuse("max_hold", expected: "base_hold or more", got: "less")
        }
        for (isSet, name) in [
            (!message.snapshotFile.isEmpty, "snapshot_file"),
            (message.hasShrinkGuard, "shrink_guard"), (message.hasSeriesBudget, "series_budget"),
            (message.hasHedging, "hedging"),
        ] where isSet {
            remark(name, "is read and not in force yet")
        }
    }

    private mutating func failback(
        _ message: Meshproxy_Config_V1_MeshProxy.Failover.Failback,
        _ result: inout FailbackSettings
    ) {
        result.isEnabled = !message.disabled
        if message.hasMinHold { result.minHold = positive(message.minHold, "min_hold") }
        if message.hasMaxHold { result.maxHold = positive(message.maxHold, "max_hold") }
        if message.hasRamp { result.ramp = positive(message.ramp, "ramp") }
        if result.maxHold < result.minHold {
            refuse("max_hold", expected: "min_hold or more", got: "less")
        }
        guard message.hasMaxErrorPercent else { return }
        let percent = message.maxErrorPercent.value
        result.maxErrorPercent = Int(min(percent, 100))
        if percent > 100 { refuse("max_error_percent", expected: "0 to 100", got: "\(percent)") }
    }

    private mutating func spill(
        _ message: Meshproxy_Config_V1_MeshProxy.Failover.Spill, _ result: inout SpillSettings
    ) {
        if message.hasMaxRequestsPerSecond {
            result.maxPerSecond = Int(message.maxRequestsPerSecond.value)
            if result.maxPerSecond == 0 {
                refuse("max_requests_per_second", expected: "1 or more", got: "0")
            }
        }
        if message.hasMaxGrowthPercent {
            result.maxGrowthPercent = Int(message.maxGrowthPercent.value)
            if message.maxGrowthPercent.value < 100 {
                refuse(
                    "max_growth_percent", expected: "100 or more",
                    got: "\(message.maxGrowthPercent.value)")
            }
        }
        if message.hasRetryAfter {
            result.retryAfter = positive(message.retryAfter, "retry_after")
        }
    }

    private mutating func checkAggregates(_ clusters: [Cluster], mayComeLater: Bool) {
        let members = Dictionary(clusters.map { ($0.name, $0.members) }) { $1 }
        for cluster in clusters {
            guard let names = cluster.members else { continue }
            let path = "static_resources.clusters[\"\(cluster.name)\"].\(Cluster.membersPath)"
            for name in names where !mayComeLater && members[name] == nil {
                refuse(path, expected: "clusters that exist", got: "\"\(name)\"")
            }
            if let circle = Cluster.circle(from: cluster.name, members: { members[$0] ?? nil }) {
                refuse(
                    path, expected: "clusters that do not lead back",
                    got: circle.joined(separator: " → "))
            }
        }
    }

    /// What static resources name must be static too, where nothing could bring it later.
    private mutating func checkReferences(_ bootstrap: Bootstrap) {
        let snapshot = bootstrap.staticResources
        let clusters = Set(snapshot.clusters.map(\.name))
        for (index, plane) in (bootstrap.ads?.controlPlanes ?? []).enumerated()
        where !clusters.contains(plane.cluster) {
            refuse(
                "dynamic_resources.ads_config.grpc_services[\(index)].envoy_grpc.cluster_name",
                expected: "a static cluster", got: "\"\(plane.cluster)\"")
        }
        for listener in snapshot.listeners {
            for name in listener.staticRouteClusters
            where !clusters.contains(name) && !bootstrap.wantsCDS {
                refuse(
                    "static_resources.listeners[\"\(listener.name)\"]",
                    expected: "routes to clusters that exist", got: "\"\(name)\"")
            }
        }
        checkAggregates(snapshot.clusters, mayComeLater: bootstrap.wantsCDS)
        if bootstrap.ads != nil { return }
        let secrets = Set(snapshot.secrets.keys)
        for listener in snapshot.listeners {
            for name in listener.secretNames.subtracting(secrets).sorted() {
                refuse(
                    "static_resources.listeners[\"\(listener.name)\"]",
                    expected: "a static secret, without a control plane", got: "\"\(name)\"")
            }
            for name in listener.routeNames.sorted() {
                refuse(
                    "static_resources.listeners[\"\(listener.name)\"]",
                    expected: "route_config, without a control plane", got: "rds \"\(name)\"")
            }
        }
        for cluster in snapshot.clusters {
            for name in cluster.secretNames.subtracting(secrets).sorted() {
                refuse(
                    "static_resources.clusters[\"\(cluster.name)\"]",
                    expected: "a static secret, without a control plane", got: "\"\(name)\"")
            }
            if case .eds = cluster.discovery {
                refuse(
                    "static_resources.clusters[\"\(cluster.name)\"]",
                    expected: "load_assignment, without a control plane", got: "type: EDS")
            }
        }
    }
}
