/// Why a request was not served, in words: the one vocabulary of the access log, `explain` and
/// the documentation.
public enum Reason: String, Sendable, CaseIterable {
    case noRoute = "no-route"
    case noCluster = "no-cluster"
    case clusterWarming = "cluster-warming"
    case noEndpoints = "no-endpoints"
    case allSuspect = "all-suspect"
    case allDraining = "all-draining"
    case allEjected = "all-ejected"
    case failsOnPanic = "fails-on-panic"
    case connectRefused = "connect-refused"
    case connectTimeout = "connect-timeout"
    case unreachable
    case tlsUntrusted = "tls-untrusted"
    case tlsWrongIdentity = "tls-wrong-identity"
    case tlsExpired = "tls-expired"
    case tlsNoCertificate = "tls-no-cert"
    case tlsALPN = "tls-alpn"
    case resetUnprocessed = "reset-unprocessed"
    case resetMidway = "reset-midway"
    case pingTimeout = "ping-timeout"
    case userTimeout = "user-timeout"
    case deadline
    case tryTimeout = "try-timeout"
    case idle
    case queueFull = "queue-full"
    case budgetSpent = "budget-spent"
    case breaker
    case spillLimited = "spill-limited"
    case gatewaySaysEmpty = "gateway-says-empty"
    case gatewaySaysDraining = "gateway-says-draining"
    case deniedByPolicy = "denied-by-policy"
    case overloaded
    case staleConfig = "stale-config"
    case clientGone = "client-gone"
    case protocolError = "protocol-error"

    public var word: String { rawValue }

    /// Envoy's flag; empty where Envoy has none. A protocol error is taken to be upstream's: the
    /// shell says `DPE` itself when the client broke the rules.
    public var flag: String {
        switch self {
        case .noRoute: "NR"
        case .noCluster, .clusterWarming: "NC"
        case .noEndpoints, .allSuspect, .allDraining, .allEjected, .failsOnPanic,
            .gatewaySaysEmpty, .gatewaySaysDraining:
            "UH"
        case .connectRefused, .connectTimeout, .unreachable, .tlsUntrusted, .tlsWrongIdentity,
            .tlsExpired, .tlsNoCertificate, .tlsALPN:
            "UF"
        case .resetUnprocessed: "UR"
        case .resetMidway, .pingTimeout, .userTimeout: "UC"
        case .deadline, .tryTimeout: "UT"
        case .idle: "SI"
        case .queueFull, .breaker, .spillLimited: "UO"
        case .budgetSpent: "URX"
        case .overloaded: "OM"
        case .clientGone: "DC"
        case .protocolError: "UPE"
        case .deniedByPolicy, .staleConfig: ""
        }
    }

    /// What the operator should look at.
    public var advice: String {
        switch self {
        case .noRoute: "Compare host and path with the nearest route and its first failing matcher."
        case .noCluster: "The route names a cluster that was not delivered; ask the control plane."
        case .clusterWarming:
            "The cluster waits for its endpoints or secrets; see which are missing."
        case .noEndpoints: "Discovery gave no endpoints; see since when, and from which source."
        case .allSuspect: "Endpoints exist, but all fail their checks; see the next probe."
        case .allDraining: "All endpoints are being taken away; start new ones first."
        case .allEjected: "Outlier detection took out every endpoint; see what they answered."
        case .failsOnPanic:
            "Too few endpoints are healthy, and fail_traffic_on_panic wants no request sent then."
        case .connectRefused: "Nothing listens on that address and port."
        case .connectTimeout: "The address does not answer; look at network policy and the node."
        case .unreachable: "There is no way to the address; look at routes and firewalls."
        case .tlsUntrusted: "The peer's certificate is not signed by a trusted root."
        case .tlsWrongIdentity: "The peer is someone else; compare expected and presented names."
        case .tlsExpired: "A certificate is out of date; look at rotation and clocks."
        case .tlsNoCertificate: "The peer showed no certificate; is mutual TLS on at its side?"
        case .tlsALPN: "The two sides have no protocol in common."
        case .resetUnprocessed: "The peer refused the request unread; it is safe to try again."
        case .resetMidway: "The peer went away midway; only idempotent requests are tried again."
        case .pingTimeout: "The path is dead: pings were not answered."
        case .userTimeout: "The path is dead: sent bytes were not acknowledged."
        case .deadline: "The time of the whole request ran out; see the route's timeout."
        case .tryTimeout: "One attempt took too long; see the per-try timeout."
        case .idle: "Nothing moved on the stream; see the idle timeout."
        case .queueFull: "Too many requests wait; see the limit of pending requests."
        case .budgetSpent: "Too many retries run already; see the retry budget."
        case .breaker: "A circuit breaker is open; see its limit and who set it."
        case .spillLimited: "The survivors of an outage get no more; see failover.spill."
        case .gatewaySaysEmpty: "The remote gateway has no endpoints for the service."
        case .gatewaySaysDraining: "The remote gateway is being taken away."
        case .deniedByPolicy: "A policy refused the request; see its name and the principal."
        case .overloaded: "The proxy itself is short of a resource; see which threshold."
        case .staleConfig: "The configuration is older than allowed; see its age."
        case .clientGone: "The client left before the answer was complete."
        case .protocolError: "A rule of the protocol was broken; see which."
        }
    }
}
