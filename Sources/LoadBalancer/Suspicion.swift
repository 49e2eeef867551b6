public import MeshBase

/// What failures make of one host, or of one path, in one worker.
///
///     clear ──failure──▸ held ──hold is over──▸ may be tried ──success──▸ clear
///                         ▲                          │ one at a time
///                         └──────── failure, hold doubles
///
/// Failures that speak for themselves (refused, timed out, wrong certificate, dead PING) count at
/// once; a reset or a close may be the fault of one request, so it takes a run of them.
public struct Suspicion: Equatable, Sendable {
    public private(set) var isSuspected = false
    /// While it is suspected: nothing is tried before.
    public private(set) var until = Instant.zero
    public private(set) var reason: TransportFailure.Kind?
    public private(set) var failures = 0
    private var hold = Duration.zero
    private var trialInFlight = false

    public init() {}

    public static let runToSuspect = 3

    /// Takes a failure in.
    /// - Returns: whether it became suspected, or its hold was renewed.
    public mutating func failed(
        _ kind: TransportFailure.Kind, now: Instant, baseHold: Duration, maxHold: Duration
    ) -> Bool {
        if kind == .exhausted || kind == .connectLate {
            trialInFlight = false
            return false
        }
        // What is proven is not doubted again.
        if isSuspected, kind == .pingLate { return false }
        let wasDoubted = reason == .pingLate
        failures += 1
        reason = kind
        let counts = kind.speaksForItself || failures >= Suspicion.runToSuspect
        // Requests that were already under way when it was first suspected add nothing.
        if isSuspected, !wasDoubted, !trialInFlight, now < until { return false }
        trialInFlight = false
        guard counts || isSuspected else { return false }
        hold = hold == .zero || wasDoubted ? baseHold : min(hold + hold, maxHold)
        until = now + hold
        isSuspected = true
        return true
    }

    /// A PING was answered after all. - Returns: whether that was all that it was suspected for.
    public mutating func answered() -> Bool { reason == .pingLate && succeeded() }

    /// - Returns: whether it was suspected.
    public mutating func succeeded() -> Bool {
        let was = isSuspected
        if failures > 0 || was { self = Suspicion() }
        return was
    }

    /// Whether a request may find out if it is well again.
    public func mayTry(_ now: Instant) -> Bool {
        isSuspected && !trialInFlight && now >= until
    }

    mutating func tryBegan() { trialInFlight = true }
    /// The trial ended without a word on its object.
    mutating func tryAbandoned() { trialInFlight = false }
}

extension TransportFailure.Kind {
    /// One is enough to suspect whom it names.
    public var speaksForItself: Bool {
        switch self {
        case .connectRefused, .connectTimeout, .unreachable, .tlsUntrusted, .tlsWrongIdentity,
            .tlsExpired, .tlsNoCertificate, .tlsHandshake, .pingLate, .pingTimeout,
            .tunnelRefused, .nameNotResolved:
            true
        case .reset, .closed, .protocolError, .exhausted, .connectLate: false
        }
    }

    /// The connection's first hop did not answer: with a direct endpoint the path is at fault.
    public var concernsFirstHop: Bool {
        switch self {
        case .connectRefused, .connectTimeout, .connectLate, .unreachable, .pingLate,
            .pingTimeout:
            true
        default: false
        }
    }

    /// It casts doubt and proves nothing: looked into, but never a reason to eject.
    public var isOnlyDoubt: Bool { self == .pingLate || self == .connectLate }
}

/// The health of first hops, shared by all balancers of a worker: a gateway that dies is one event,
/// however many clusters lie behind it.
public final class PathHealth {
    public final class Path {
        public let address: SocketAddress
        public internal(set) var suspicion = Suspicion()
        /// The control loop's word.
        public internal(set) var isEjected = false
        public var isUsable: Bool { !isEjected && !suspicion.isSuspected }

        init(_ address: SocketAddress) {
            self.address = address
        }
    }

    private var paths: [SocketAddress: Path] = [:]
    /// Changes with each path that becomes usable or unusable; balancers compare it.
    public private(set) var version = 0
    public let baseHold: Duration
    public let maxHold: Duration

    public init(baseHold: Duration = .seconds(1), maxHold: Duration = .seconds(30)) {
        self.baseHold = baseHold
        self.maxHold = maxHold
    }

    public func path(to address: SocketAddress) -> Path {
        if let path = paths[address] { return path }
        let path = Path(address)
        paths[address] = path
        return path
    }

    public func failed(_ path: Path, _ kind: TransportFailure.Kind, now: Instant) {
        if path.suspicion.failed(kind, now: now, baseHold: baseHold, maxHold: maxHold) {
            version &+= 1
        }
    }

    public func succeeded(_ path: Path) {
        if path.suspicion.succeeded() { version &+= 1 }
    }

    /// A peer at the end of it has answered a PING, late.
    public func answered(_ path: Path) {
        if path.suspicion.answered() { version &+= 1 }
    }

    /// The control loop's verdict; a path that is returned is trusted at once.
    public func setVerdict(_ address: SocketAddress, usable: Bool) {
        let path = path(to: address)
        path.isEjected = !usable
        if usable { _ = path.suspicion.succeeded() }
        version &+= 1
    }

    /// Forgets paths that nobody names any more.
    public func prune(keeping addresses: Set<SocketAddress>) {
        paths = paths.filter { addresses.contains($0.key) }
    }
}
