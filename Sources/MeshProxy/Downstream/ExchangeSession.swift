import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

/// The session that a request belongs to.
struct RequestSession {
    let session: StatefulSession
    let named: StatefulSession.Named

    /// The endpoint that an attempt must ask for; `nil`: none. A retry leaves it, unless the session
    /// may have no other.
    func override(isRetry: Bool) -> HostOverride? {
        if isRetry, !session.isStrict { return nil }
        switch named {
        case .nothing: return nil
        case .endpoint(let address):
            return HostOverride(address: address, isStrict: session.isStrict)
        case .unknown: return HostOverride(address: nil, isStrict: session.isStrict)
        }
    }
}

extension Exchange {
    /// Finds out what session a request has where the manager's filters have one.
    /// - Parameter fallback: what counts where the route says nothing.
    func joinSession(_ route: CompiledRoute, fallback: SessionSetting) {
        guard case .on(let session) = route.session(for: choice) ?? fallback,
            let named = session.named(by: request, at: worker.loop.wallClock)
        else { return }
        self.session = RequestSession(session: session, named: named)
    }

    /// Lets the response name its endpoint, unless the request did.
    func nameEndpoint(_ session: RequestSession, in head: inout MessageHead) {
        guard let address = host?.address, session.named != .endpoint(address) else { return }
        session.session.name(address, in: &head, at: worker.loop.wallClock)
    }
}
