internal import MeshConfig
internal import SwiftProtobuf

// Files of resources to what a control plane serves.
//
// A file is a list of resources with `@type`; or a map with such a list under `resources`, as Envoy's
// own file subscription has it; or a map with `static_resources`, as in a bootstrap. A version is a
// hash of the bytes: equal content is an equal version, whichever file it came from.

/// Reads resources from YAML or JSON texts.
public enum ResourceFiles {
    private static let types: [(field: StaticString, message: String)] = [
        ("clusters", "envoy.config.cluster.v3.Cluster"),
        ("listeners", "envoy.config.listener.v3.Listener"),
        ("secrets", "envoy.extensions.transport_sockets.tls.v3.Secret"),
    ]

    /// - Throws: every problem of every file, its path led by the file's name; resources are decoded
    ///   as a proxy would, so that what a proxy would refuse is not served.
    public static func parse(files: [(name: String, text: [UInt8])]) throws(ConfigurationError)
        -> [RawResource]
    {
        var resources: [RawResource] = []
        var problems: [ConfigurationProblem] = []
        var owners: [String: String] = [:]
        for file in files {
            do throws(ConfigurationError) {
                for resource in try parse(file.text) {
                    let key = "\(resource.typeURL) \(resource.name)"
                    if let other = owners.updateValue(file.name, forKey: key) {
                        problems.append(
                            ConfigurationProblem(
                                path: file.name, expected: "names that are given once",
                                got: "\"\(resource.name)\", which is in \(other) too"))
                    }
                    resources.append(resource)
                }
            } catch {
                problems += error.problems.map { problem in
                    var named = problem
                    named.path =
                        problem.path.isEmpty ? file.name : "\(file.name): \(problem.path)"
                    return named
                }
            }
        }
        if !problems.isEmpty { throw ConfigurationError(problems: problems) }
        return resources
    }

    private static func parse(_ text: [UInt8]) throws(ConfigurationError) -> [RawResource] {
        let tree = try ConfigTree.read(text)
        let root = tree.resolved(tree.root)
        var found: [RawResource] = []
        var problems: [ConfigurationProblem] = []
        func take(_ node: ConfigTree.NodeIndex, _ path: String, as fixed: String?) {
            do throws(ConfigurationError) {
                found.append(try resource(tree, tree.resolved(node), as: fixed))
            } catch {
                problems += error.problems.map { problem in
                    var placed = problem
                    placed.path = problem.path.isEmpty ? path : "\(path).\(problem.path)"
                    return placed
                }
            }
        }
        func takeAll(_ list: ConfigTree.NodeIndex, _ path: String, as fixed: String?) {
            let list = tree.resolved(list)
            guard tree.nodes[Int(list)].kind == .list else {
                take(list, path, as: fixed)
                return
            }
            for (index, item) in tree.items(list).enumerated() {
                take(item, "\(path)[\(index)]", as: fixed)
            }
        }
        if tree.nodes[Int(root)].kind == .list {
            takeAll(root, "", as: nil)
        } else if let list = tree.value(of: "resources", in: root) {
            takeAll(list, "resources", as: nil)
        } else if let fixed = tree.value(of: "static_resources", in: root) {
            for type in types {
                guard let list = tree.value(of: type.field, in: fixed) else { continue }
                takeAll(list, "static_resources.\(type.field)", as: type.message)
            }
        } else if tree.value(of: "@type", in: root) != nil {
            take(root, "", as: nil)
        } else if tree.nodes[Int(root)].child >= 0 {
            problems.append(
                ConfigurationProblem(
                    path: "", expected: "a list of resources, resources, or static_resources",
                    got: "a map without them", line: 1, column: 1))
        }
        if !problems.isEmpty { throw ConfigurationError(problems: problems) }
        return found
    }

    private static func resource(
        _ tree: ConfigTree, _ node: ConfigTree.NodeIndex, as fixed: String?
    ) throws(ConfigurationError) -> RawResource {
        let place = tree.nodes[Int(node)]
        let url: String
        if let fixed {
            url = "type.googleapis.com/" + fixed
        } else if let given = tree.value(of: "@type", in: node) {
            url = "type.googleapis.com/" + Decoding.typeName(tree.text(tree.resolved(given)))
        } else {
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    path: "", expected: "@type", got: "none", line: Int(place.line),
                    column: Int(place.column))
            ])
        }
        guard let type = ResourceType(typeURL: url) else {
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    path: "@type",
                    expected:
                        "a Cluster, ClusterLoadAssignment, Listener, RouteConfiguration or Secret",
                    got: "\"\(url)\"", line: Int(place.line), column: Int(place.column))
            ])
        }
        let encoded = try TreeToMessage.encode(
            tree, node: node, as: Decoding.typeName(url), allowsUnknownFields: false)
        var decoding = Decoding()
        var resource = RawResource(name: "", version: "", typeURL: url, value: encoded.bytes)
        resource.name = decoding.name(type, resource)
        if resource.name.isEmpty, decoding.problems.isEmpty {
            decoding.refuse("name", expected: "a name", got: "none")
        }
        if !decoding.problems.isEmpty {
            throw ConfigurationError(
                problems: decoding.problems.map { problem in
                    var placed = problem
                    placed.line = Int(place.line)
                    placed.column = Int(place.column)
                    return placed
                })
        }
        resource.version = contentHash(encoded.bytes)
        return resource
    }

    /// FNV-1a, 64 bits, in hex: tells versions apart, and is no proof against anyone.
    private static func contentHash(_ bytes: [UInt8]) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return String(hash, radix: 16)
    }
}

extension Decoding {
    /// The resource's name, after it was decoded whole.
    fileprivate mutating func name(_ type: ResourceType, _ resource: RawResource) -> String {
        switch type {
        case .cluster:
            guard let value = message(resource, Envoy_Config_Cluster_V3_Cluster.self) else {
                return ""
            }
            return cluster(value) == nil ? "" : value.name
        case .endpoint:
            let value = message(resource, Envoy_Config_Endpoint_V3_ClusterLoadAssignment.self)
            guard let value else { return "" }
            _ = endpoints(value)
            return value.clusterName
        case .listener:
            guard let value = message(resource, Envoy_Config_Listener_V3_Listener.self) else {
                return ""
            }
            return listener(value) == nil ? "" : value.name
        case .route:
            let value = message(resource, Envoy_Config_Route_V3_RouteConfiguration.self)
            guard let value else { return "" }
            return routes(value).name
        case .secret:
            let value = message(resource, Envoy_Extensions_TransportSockets_Tls_V3_Secret.self)
            guard let value else { return "" }
            return secret(value) == nil ? "" : value.name
        }
    }
}
