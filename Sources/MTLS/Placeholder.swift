public import MeshBase
public import MeshConfig

public struct TLSConfigurationError: Error {}
public final class TLSPipe { public init() {} }
public struct TLSPeer {
    public var uriSANs: [String] = []
    public var dnsSANs: [String] = []
    public var subject = ""
    public var sha256 = ""
}
public final class TLSSession {
    public enum Outcome { case progress, closed, failed(TransportFailure) }
    public var isResumed = false
    public var isEstablished = false
    public var receivedCloseNotify = false
    public var negotiatedProtocol: String?
    public var peer: TLSPeer?
    public var serverName: String?
    public var version = ""
    public func start(output: inout ByteBuffer) {}
    public func send(_ bytes: Span<UInt8>, output: inout ByteBuffer) {}
    public func sendClose(output: inout ByteBuffer) {}
    public func receive(_ bytes: Span<UInt8>, plaintext: inout ByteBuffer, output: inout ByteBuffer) -> Outcome { .closed }
}
public final class TLSSessionCache { public init() {} }
public final class TLSContext {
    public init(upstream: UpstreamTLS, secrets: [String: Secret], files: [String: [UInt8]]) throws(TLSConfigurationError) {}
    public init(downstream: DownstreamTLS, secrets: [String: Secret], files: [String: [UInt8]], ticketKey: [UInt8]) throws(TLSConfigurationError) {}
    public func makeClientSession(pipe: TLSPipe, serverName: String, cache: TLSSessionCache, key: String) -> TLSSession { TLSSession() }
    public func makeServerSession(_ pipe: TLSPipe) -> TLSSession { TLSSession() }
}
public enum ClientHello {
    public struct Hello { public var serverName: String?; public var alpn: [String] }
    case needMore, notTLS, hello(Hello)
    public static func parse(_ bytes: Span<UInt8>) -> ClientHello { .notTLS }
}
