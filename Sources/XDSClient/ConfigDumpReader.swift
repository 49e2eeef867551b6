public import MeshConfig
internal import SwiftProtobuf

// What `GET /config_dump?include_eds` prints, ours or Envoy's, as a configuration.
//
// A dump is for looking: secrets are blanked out, listeners name files of another machine, and Envoy prints
// what we would refuse. So it is not read to be run. It is read for the question who is chosen:
// node, our own settings, clusters with their endpoints, and routes; each resource for itself, and one that can't be
// read is left out with a warning.

/// Reads a configuration dump.
public enum ConfigDumpReader {
    /// - Returns: clusters, endpoints and routes as if they were static; `nil` when the text is no dump.
    ///   Warnings name what was left out.
    /// - Throws: when it is not YAML or JSON, or has clusters that get their endpoints from elsewhere and
    ///   no endpoints at all, since then it was made without `include_eds`.
    public static func load(text: [UInt8]) throws(ConfigurationError) -> Bootstrap? {
        let tree = try ConfigTree.read(text)
        guard let configs = tree.value(of: "configs", in: tree.root) else { return nil }
        var reading = DumpReading(tree)
        for section in tree.items(configs) { reading.take(section) }
        return try reading.bootstrap()
    }
}

private struct DumpReading {
    private let tree: ConfigTree
    private var clusters: [String: Cluster] = [:]
    private var endpoints: [String: EndpointSet] = [:]
    private var routes: [String: RouteConfiguration] = [:]
    private var result = Bootstrap(node: Node(id: ""))

    init(_ tree: ConfigTree) {
        self.tree = tree
    }

    private static let lists: [(list: StaticString, item: StaticString, type: ResourceType)] = [
        ("static_clusters", "cluster", .cluster),
        ("dynamic_active_clusters", "cluster", .cluster),
        ("static_endpoint_configs", "endpoint_config", .endpoint),
        ("dynamic_endpoint_configs", "endpoint_config", .endpoint),
        ("static_route_configs", "route_config", .route),
        ("dynamic_route_configs", "route_config", .route),
    ]

    mutating func take(_ section: ConfigTree.NodeIndex) {
        for (list, item, type) in DumpReading.lists {
            guard let found = tree.value(of: list, in: section) else { continue }
            for entry in tree.items(found) {
                if let resource = tree.value(of: item, in: entry) { take(type, resource) }
            }
        }
        if let bootstrap = tree.value(of: "bootstrap", in: section) { takeBootstrap(bootstrap) }
    }

    private mutating func take(_ type: ResourceType, _ node: ConfigTree.NodeIndex) {
        let name = ["name", "cluster_name"].lazy.compactMap { [tree] in tree.value(of: $0, in: node)
        }
        .first.map { tree.text(tree.resolved($0)) }
        let what = "\(type) \(name ?? "without a name")"
        var decoding = Decoding()
        decode(type, node, what, &decoding)
        for problem in decoding.problems {
            result.warnings.append("\(what) is left out: \(problem)")
        }
    }

    private mutating func decode(
        _ type: ResourceType, _ node: ConfigTree.NodeIndex, _ what: String,
        _ decoding: inout Decoding
    ) {
        guard let bytes = encoded(node, as: Decoding.typeName(type.typeURL), what) else { return }
        let resource = RawResource(name: "", version: "", typeURL: type.typeURL, value: bytes)
        switch type {
        case .cluster:
            let message = decoding.message(resource, Envoy_Config_Cluster_V3_Cluster.self)
            guard let value = message.flatMap({ decoding.cluster($0) }) else { return }
            if decoding.problems.isEmpty { clusters[value.name] = value }
        case .endpoint:
            let message = decoding.message(
                resource, Envoy_Config_Endpoint_V3_ClusterLoadAssignment.self)
            guard let message else { return }
            let value = decoding.endpoints(message)
            if decoding.problems.isEmpty { endpoints[message.clusterName] = value }
        case .route:
            let message = decoding.message(resource, Envoy_Config_Route_V3_RouteConfiguration.self)
            guard let value = message.map({ decoding.routes($0) }) else { return }
            if decoding.problems.isEmpty { routes[value.name] = value }
        case .listener, .secret: break
        }
    }

    private mutating func takeBootstrap(_ bootstrap: ConfigTree.NodeIndex) {
        var decoding = Decoding()
        if let node = tree.value(of: "node", in: bootstrap),
            let bytes = encoded(node, as: "envoy.config.core.v3.Node", "node"),
            let message = try? Envoy_Config_Core_V3_Node(serializedBytes: bytes)
        {
            result.node = decoding.node(message)
            result.settings.locality = result.node.locality
        }
        let extensions = tree.value(of: "bootstrap_extensions", in: bootstrap).map(tree.items) ?? []
        let ours = "meshproxy.config.v1.MeshProxy"
        for entry in extensions {
            guard let config = tree.value(of: "typed_config", in: entry),
                let type = tree.value(of: "@type", in: config),
                Decoding.typeName(tree.text(tree.resolved(type))) == ours,
                let bytes = encoded(config, as: ours, ours),
                let message = try? Meshproxy_Config_V1_MeshProxy(serializedBytes: bytes)
            else { continue }
            decoding.settings(message, &result.settings)
        }
        result.warnings += decoding.problems.map(\.description)
    }

    private mutating func encoded(
        _ node: ConfigTree.NodeIndex, as type: String, _ what: String
    ) -> [UInt8]? {
        do {
            return try TreeToMessage.encode(
                tree, node: tree.resolved(node), as: type, allowsUnknownFields: true
            ).bytes
        } catch {
            result.warnings += error.problems.map { "\(what) is left out: \($0)" }
            return nil
        }
    }

    func bootstrap() throws(ConfigurationError) -> Bootstrap {
        var result = result
        var snapshot = Snapshot()
        for var cluster in clusters.values.sorted(by: { $0.name < $1.name }) {
            if let service = cluster.serviceName {
                if let found = endpoints[service] {
                    cluster.endpoints = found
                    if let factor = found.overprovisioningFactor {
                        cluster.loadBalancing.overprovisioningFactor = factor
                    }
                } else {
                    result.warnings.append("cluster \(cluster.name) has no endpoints in it")
                }
            }
            snapshot.clusters.append(cluster)
        }
        if endpoints.isEmpty, snapshot.clusters.contains(where: { $0.serviceName != nil }) {
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    path: "configs", expected: "endpoints, as /config_dump?include_eds prints them",
                    got: "none")
            ])
        }
        snapshot.routes = routes
        result.staticResources = snapshot
        return result
    }
}
