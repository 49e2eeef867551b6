public import MeshConfig
public struct Rejection: Error, Sendable {
    public var resource = ""; public var description: String { "" }
}
public enum DecodedResource: Sendable {
    case cluster(Cluster), endpoints(name: String, EndpointSet), listener(Listener), route(
        RouteConfiguration), secret(Secret)
    public var name: String { "" }
}
public enum ResourceDecoder {
    public static func decode(_ raw: RawResource, type: ResourceType, provenance: Provenance) -> (
        result: Result<DecodedResource, Rejection>, warnings: [String]
    ) { (.failure(Rejection()), []) }
}
public struct ConfigurationError: Error {}
public enum BootstrapLoader {
    public static func load(
        text: [UInt8], overlay: String?, isStrict: Bool, nodeID: String?, nodeCluster: String?
    ) throws(ConfigurationError) -> Bootstrap { Bootstrap() }
}
public enum ResourceFiles {
    public static func parse(files: [(name: String, text: [UInt8])]) throws(ConfigurationError)
        -> [RawResource]
    { [] }
}
