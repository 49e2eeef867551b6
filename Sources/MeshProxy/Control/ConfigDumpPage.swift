import MeshBase
import MeshConfig

extension AdminPages {
    /// `/config_dump`: what is in force, in the sections and order of Envoy's. Printed from the values
    /// that the workers have, so what was not understood in a resource is not in it.
    ///
    /// `resource=` picks one list ("dynamic_listeners") and prints its items alone; `mask=` keeps some
    /// lists; `name_regex=` keeps the items whose name has a part that matches.
    func configDump(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        let dump = ConfigDump(
            control: control, includesEndpoints: try request.flag("include_eds"),
            names: try request.pattern("name_regex"))
        let resource = request.value("resource") ?? ""
        let mask = (request.value("mask") ?? "").split(separator: ",").map(String.init)
        let unknown = ([resource] + mask).first { !$0.isEmpty && !ConfigDump.lists.contains($0) }
        if let unknown {
            throw AdminQueryError(
                key: resource == unknown ? "resource" : "mask",
                expected: ConfigDump.lists.joined(separator: ", "), given: unknown)
        }
        let sections = dump.sections
        let configs: [JSONValue]
        if !resource.isEmpty {
            configs = sections.flatMap { section -> [JSONValue] in
                guard case .array(let items) = section.value(resource) else { return [] }
                return items
            }
        } else {
            configs = sections.compactMap { section in
                var fields = section.fields
                if !mask.isEmpty {
                    fields = fields.filter { mask.contains($0.key) }
                    if fields.isEmpty { return nil }
                }
                let kept = fields.filter { !$0.value.isEmpty }
                return .object([(key: "@type", value: .string(section.type))] + kept)
            }
        }
        return .json(JSONValue.object([(key: "configs", value: .array(configs))]).text)
    }

    /// `/listeners`
    func listeners(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        let listeners = control.published.listeners
        if try request.choice("format", ["text", "json"]) == "text" {
            return AdminServer.Reply(
                listeners.map { listener in
                    ([listener.address] + listener.additionalAddresses)
                        .map { "\(listener.name)::\($0)\n" }.joined()
                }.joined())
        }
        let statuses = listeners.map { listener in
            JSONValue.message(
                ("name", .string(listener.name)),
                ("local_address", ConfigJSON.address(listener.address)),
                (
                    "additional_local_addresses",
                    .array(listener.additionalAddresses.map(ConfigJSON.address))
                ))
        }
        return .json(JSONValue.object([(key: "listener_statuses", value: .array(statuses))]).text)
    }
}

/// The sections of a configuration dump.
private struct ConfigDump {
    struct Section {
        var type: String
        var fields: [(key: String, value: JSONValue)]

        init(_ name: String, _ fields: (String, JSONValue)...) {
            type = ConfigJSON.types + "envoy.admin.v3." + name
            self.fields = fields.map { (key: $0.0, value: $0.1) }
        }

        func value(_ key: String) -> JSONValue? { fields.first { $0.key == key }?.value }
    }

    static let lists = [
        "bootstrap", "static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters",
        "static_endpoint_configs", "dynamic_endpoint_configs", "static_listeners",
        "dynamic_listeners", "static_route_configs", "dynamic_route_configs", "static_secrets",
        "dynamic_active_secrets", "dynamic_warming_secrets",
    ]

    let control: ControlLoop
    let includesEndpoints: Bool
    let names: LinearRegex?

    var sections: [Section] {
        var sections = [bootstrap, clusters]
        if includesEndpoints { sections.append(endpoints) }
        sections.append(listeners)
        sections.append(Section("ScopedRoutesConfigDump"))
        sections.append(routes)
        sections.append(secrets)
        return sections
    }

    private func isWanted(_ name: String) -> Bool {
        guard let names else { return true }
        var name = name
        return name.withUTF8 { names.matchesPart(of: $0) }
    }

    private func isStatic(_ provenance: Provenance) -> Bool { provenance.source == "static" }

    private var bootstrap: Section {
        let bootstrap = control.bootstrap
        let fixed = bootstrap.staticResources
        var ads = JSONValue.null
        if let discovery = bootstrap.ads {
            ads = .message(
                ("api_type", discovery.delta ? "DELTA_GRPC" : "GRPC"),
                ("transport_api_version", "V3"),
                (
                    "set_node_on_first_message_only",
                    ConfigJSON.flag(discovery.setNodeOnFirstMessageOnly)
                ),
                (
                    "grpc_services",
                    .array(
                        discovery.controlPlanes.map { plane in
                            [
                                "envoy_grpc": .message(
                                    ("cluster_name", .string(plane.cluster)),
                                    ("authority", .string(plane.authority)))
                            ]
                        })
                ))
        }
        let viaADS: JSONValue = ["ads": [:], "resource_api_version": "V3"]
        return Section(
            "BootstrapConfigDump",
            (
                "bootstrap",
                .message(
                    ("node", ConfigJSON.node(bootstrap.node)),
                    (
                        "static_resources",
                        .message(
                            ("listeners", .array(fixed.listeners.map(ConfigJSON.listener))),
                            ("clusters", .array(fixed.clusters.map(ConfigJSON.cluster))),
                            (
                                "secrets",
                                .array(
                                    fixed.secrets.sorted { $0.key < $1.key }.map {
                                        ConfigJSON.secret($0.value)
                                    })
                            ))
                    ),
                    (
                        "dynamic_resources",
                        .message(
                            ("lds_config", bootstrap.wantsLDS ? viaADS : .null),
                            ("cds_config", bootstrap.wantsCDS ? viaADS : .null),
                            ("ads_config", ads))
                    ),
                    (
                        "admin",
                        bootstrap.admin.map { ["address": ConfigJSON.address($0.address)] }
                            ?? .null
                    ), ("bootstrap_extensions", ConfigJSON.settings(bootstrap.settings)))
            ))
    }

    private var clusters: Section {
        let all = control.published.clusters.filter { isWanted($0.name) }
        func entry(_ cluster: Cluster) -> JSONValue {
            .message(
                ("version_info", version(cluster.provenance)),
                ("cluster", ConfigJSON.cluster(cluster)),
                ("last_updated", ConfigJSON.time(cluster.provenance.updated)))
        }
        let warming = control.warmingNames("cluster").filter(isWanted).map { name -> JSONValue in
            [
                "cluster": [
                    "@type": .string(ConfigJSON.types + "envoy.config.cluster.v3.Cluster"),
                    "name": .string(name),
                ]
            ]
        }
        return Section(
            "ClustersConfigDump",
            ("static_clusters", .array(all.filter { isStatic($0.provenance) }.map(entry))),
            (
                "dynamic_active_clusters",
                .array(all.filter { !isStatic($0.provenance) }.map(entry))
            ),
            ("dynamic_warming_clusters", .array(warming)))
    }

    private var endpoints: Section {
        func entry(_ name: String, _ cluster: Cluster) -> JSONValue {
            var assignment = ConfigJSON.loadAssignment(name, cluster.endpoints)
            if case .object(let fields) = assignment {
                let type = ConfigJSON.types + "envoy.config.endpoint.v3.ClusterLoadAssignment"
                assignment = .object([(key: "@type", value: .string(type))] + fields)
            }
            return ["endpoint_config": assignment]
        }
        var fixed: [JSONValue] = []
        var dynamic: [JSONValue] = []
        for cluster in control.published.clusters where isWanted(cluster.name) {
            if case .eds(let service) = cluster.discovery {
                dynamic.append(entry(service.isEmpty ? cluster.name : service, cluster))
            } else {
                fixed.append(entry(cluster.name, cluster))
            }
        }
        return Section(
            "EndpointsConfigDump", ("static_endpoint_configs", .array(fixed)),
            ("dynamic_endpoint_configs", .array(dynamic)))
    }

    private var listeners: Section {
        let all = control.published.listeners.filter { isWanted($0.name) }
        let fixed = all.filter { isStatic($0.provenance) }.map { listener in
            JSONValue.message(
                ("listener", ConfigJSON.listener(listener)),
                ("last_updated", ConfigJSON.time(listener.provenance.updated)))
        }
        var dynamic = all.filter { !isStatic($0.provenance) }.map { listener -> JSONValue in
            [
                "name": .string(listener.name),
                "active_state": .message(
                    ("version_info", version(listener.provenance)),
                    ("listener", ConfigJSON.listener(listener)),
                    ("last_updated", ConfigJSON.time(listener.provenance.updated))),
            ]
        }
        let active = Set(all.map(\.name))
        for name in control.warmingNames("listener") where !active.contains(name) {
            if isWanted(name) { dynamic.append(["name": .string(name), "warming_state": [:]]) }
        }
        return Section(
            "ListenersConfigDump", ("version_info", ""), ("static_listeners", .array(fixed)),
            ("dynamic_listeners", .array(dynamic)))
    }

    private var routes: Section {
        func entry(_ configuration: RouteConfiguration) -> JSONValue {
            .message(
                ("version_info", version(configuration.provenance)),
                ("route_config", ConfigJSON.routeConfiguration(configuration)),
                ("last_updated", ConfigJSON.time(configuration.provenance.updated)))
        }
        var fixed: [JSONValue] = []
        for listener in control.published.listeners {
            for chain in listener.filterChains + (listener.defaultFilterChain.map { [$0] } ?? []) {
                if case .http(let manager) = chain.filter,
                    case .inline(let configuration) = manager.routes, isWanted(configuration.name)
                {
                    fixed.append(entry(configuration))
                }
            }
        }
        let dynamic = control.published.routes.sorted { $0.key < $1.key }.map(\.value)
            .filter { isWanted($0.name) }.map(entry)
        return Section(
            "RoutesConfigDump", ("static_route_configs", .array(fixed)),
            ("dynamic_route_configs", .array(dynamic)))
    }

    private var secrets: Section {
        let all = control.published.secrets.sorted { $0.key < $1.key }.map(\.value)
            .filter { isWanted($0.name) }
        func entry(_ secret: Secret) -> JSONValue {
            .message(
                ("name", .string(secret.name)), ("version_info", version(secret.provenance)),
                ("last_updated", ConfigJSON.time(secret.provenance.updated)),
                ("secret", ConfigJSON.secret(secret)))
        }
        let warming = control.warmingNames("secret").filter(isWanted).map { name -> JSONValue in
            ["name": .string(name)]
        }
        return Section(
            "SecretsConfigDump",
            ("static_secrets", .array(all.filter { isStatic($0.provenance) }.map(entry))),
            (
                "dynamic_active_secrets",
                .array(all.filter { !isStatic($0.provenance) }.map(entry))
            ), ("dynamic_warming_secrets", .array(warming)))
    }

    private func version(_ provenance: Provenance) -> JSONValue {
        isStatic(provenance) ? .null : .string(provenance.version)
    }
}
