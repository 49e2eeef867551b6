/// What `version` prints and what peers are told.
public enum ProxyVersion {
    public static let number = "0.1.0"

    /// The shape that tools parse: five parts between slashes, the second a version. They compare it
    /// with the range of Envoy versions that they know, so it names the API level that is spoken.
    public static let line =
        "meshproxy  version: \(String(repeating: "0", count: 40))/1.40.0/meshproxy-\(number)/RELEASE/OpenSSL"

    public static let libraries =
        "meshproxy \(number), xDS v3 as of Envoy 1.40, on libev and OpenSSL 3"
}
