public import MeshBase

/// What is known of one request, or of one connection of a TCP proxy, when its line is written.
///
/// A fresh record allocates nothing, so an exchange may carry one whether there is a log or not.
/// What only the log wants (heads, attempts, facts of the connection) its owner fills in only when
/// there is one. Text here may come from a peer: it is made harmless when it is written.
public struct AccessLogRecord: Sendable {
    /// One try to have an endpoint answer.
    public struct Attempt: Sendable {
        public var locality: String
        public var address: SocketAddress
        /// How balancing came to it, where more than health decided.
        public var decision: String?
        /// Why it failed; `nil` for the one whose response went to the client.
        public var reason: String?
        public var took: Duration

        public init(
            locality: String, address: SocketAddress, decision: String? = nil, reason: String?,
            took: Duration
        ) {
            self.locality = locality
            self.address = address
            self.decision = decision
            self.reason = reason
            self.took = took
        }
    }

    /// When it began.
    public var startTime = UnixTime(microseconds: 0)
    public var duration = Duration.zero
    /// As it was routed; empty for a connection of a TCP proxy, as the heads below.
    public var request = MessageHead()
    public var response = MessageHead()
    /// Of the response.
    public var trailers = MessageHead()
    /// What the client spoke: 10, 11, 20, or 0 when it was not HTTP.
    public var httpVersion: UInt8 = 0
    /// 0 when no response was begun.
    public var status = 0
    /// `%RESPONSE_CODE_DETAILS%`.
    public var details = ""
    public var flags: ResponseFlags = []
    /// Body bytes from and to the client.
    public var bytesReceived = 0
    public var bytesSent = 0

    public var attemptCount = 0
    public var attempts: [Attempt] = []
    public var routeName = ""
    public var upstreamCluster = ""
    public var upstreamHost: SocketAddress?
    public var upstreamLocalAddress: SocketAddress?
    public var transportFailure = ""

    public var connectionNumber: UInt64 = 0
    public var localAddress: SocketAddress?
    /// The client; behind a trusted proxy the one that it names.
    public var remoteAddress: SocketAddress?
    /// The other end of the connection itself.
    public var directRemoteAddress: SocketAddress?
    public var requestedServerName = ""
    public var peerURI = ""
    public var tlsVersion = ""
    /// Why the connection was ended from our side.
    public var terminationDetails = ""

    public init() {}

    private var hasText: Bool {
        !(details.isEmpty && transportFailure.isEmpty && routeName.isEmpty
            && upstreamCluster.isEmpty && requestedServerName.isEmpty && peerURI.isEmpty
            && tlsVersion.isEmpty && terminationDetails.isEmpty && attempts.isEmpty
            && request.fields.isEmpty && response.fields.isEmpty && response.status == 0
            && trailers.fields.isEmpty)
    }

    /// Begins anew. Where no log wanted its text it costs a few stores.
    public mutating func clear() {
        if hasText {
            self = AccessLogRecord()
            return
        }
        startTime = UnixTime(microseconds: 0)
        duration = .zero
        httpVersion = 0
        status = 0
        flags = []
        bytesReceived = 0
        bytesSent = 0
        attemptCount = 0
        upstreamHost = nil
        upstreamLocalAddress = nil
        connectionNumber = 0
        localAddress = nil
        remoteAddress = nil
        directRemoteAddress = nil
    }
}
