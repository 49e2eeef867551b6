/// What the connections of one listener, or to one endpoint, have in common on one loop. It is kept
/// once, so that each of them costs a reference.
public final class HTTPCodecContext {
    public let limits: HTTPLimits
    /// HTTP/1: what `.scheme` of received requests says; "https" behind TLS.
    public let scheme: StaticString
    /// May be shared by all connections of the loop.
    public let workspace: HeadWorkspace

    public init(
        limits: HTTPLimits = HTTPLimits(), scheme: StaticString = "http",
        workspace: HeadWorkspace = HeadWorkspace()
    ) {
        self.limits = limits
        self.scheme = scheme
        self.workspace = workspace
    }
}
