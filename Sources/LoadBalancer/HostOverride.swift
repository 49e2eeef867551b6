public import MeshBase
import MeshConfig

/// An endpoint that a request asks for by its address, before any policy: a session's, or one that
/// somebody chose elsewhere.
///
/// It is given when it is in the cluster and its health is among `override_host_status`. Our own findings
/// count there as EDS's words do: who is ejected, has failed its probe or is suspect is UNHEALTHY. One
/// that is not given leaves the request to the policy, or in strict mode to nobody.
///
/// A suspect whose hold is over is tried, as elsewhere. A strict request takes a suspect in any case:
/// it may fail, and otherwise it does.
public struct HostOverride: Sendable {
    /// `nil`: an address that no endpoint can have.
    public var address: SocketAddress?
    public var isStrict: Bool

    public init(address: SocketAddress?, isStrict: Bool = false) {
        self.address = address
        self.isStrict = isStrict
    }
}

extension Balancer {
    /// - Returns: `nil` when the request is left to the policy.
    func pick(_ override: HostOverride, now: Instant) -> PickResult? {
        guard let host = override.address.flatMap(host), !host.isHidden else {
            return override.isStrict ? PickResult.none(.overrideGone) : nil
        }
        // Only who must have this one is left out when others are led elsewhere.
        let reason = override.isStrict ? Pick.Reason.override : .healthy
        if configuration.overrideStatuses.contains(host.overrideStatus) {
            return take(host, reason, now: now)
        }
        if host.mayTry(now) { return take(host, .trial, now: now) }
        guard override.isStrict else { return nil }
        return host.standing == .suspect
            ? take(host, .lastResort, now: now) : PickResult.none(.overrideUnhealthy)
    }

    private func host(at address: SocketAddress) -> Host? {
        if let addressBook { return addressBook[address] }
        // Of two with one address the first counts.
        let book = Dictionary(
            hosts.map { ($0.address, $0) }, uniquingKeysWith: { first, _ in first })
        addressBook = book
        return book[address]
    }
}

extension Host {
    /// Its health in EDS's words, with what we found ourselves.
    fileprivate var overrideStatus: Endpoint.Status {
        switch standing {
        case .healthy, .degraded: endpoint.status
        case .draining: .draining
        case .suspect, .ejected: .unhealthy
        case .unhealthy: endpoint.status == .timeout ? .timeout : .unhealthy
        }
    }
}
