public import MeshBase
public import MeshConfig

/// Notices that a place, a locality, falls silent as a whole.
///
/// A pod that does not say a word is found by those who ask it something, two seconds later. When a
/// cluster with hundreds of pods is cut off, the last one is found two seconds after somebody needed it,
/// which may be any time. So two first hops that fall silent within `window`, a late answer to a PING
/// included, are taken for a sign, and all the others of their locality are asked whether they are there.
///
/// Asking condemns nobody: whoever answers stays in use, so a node that takes two pods with it costs
/// its neighbours a PING. It is one event for a place, however many services live there; while
/// hops go on to fall silent it is repeated after `pause`, for connections made since.
public struct SilenceWatch {
    private struct Place {
        var silent: [SocketAddress: Instant] = [:]
        var asked: Instant?
    }

    private var places: [Locality: Place] = [:]

    public static let window = Duration.seconds(10)
    public static let pause = Duration.seconds(1)
    private static let hopsToAsk = 2

    public init() {}

    /// A first hop has not answered a connect or a PING in time.
    /// - Returns: whether the others of its locality are to be asked now.
    public mutating func fellSilent(
        _ hop: SocketAddress, in locality: Locality, now: Instant
    ) -> Bool {
        var place = places[locality] ?? Place()
        place.silent[hop] = now
        place.silent = place.silent.filter { now - $0.value < SilenceWatch.window }
        let mayAsk = place.asked.map { now - $0 >= SilenceWatch.pause } ?? true
        let asks = mayAsk && place.silent.count >= SilenceWatch.hopsToAsk
        if asks { place.asked = now }
        places[locality] = place
        return asks
    }

    /// Forgets hops and places of which nothing was heard for long.
    public mutating func prune(now: Instant) {
        places = places.filter { _, place in
            place.silent.values.contains { now - $0 < SilenceWatch.window }
        }
    }
}

extension TransportFailure.Kind {
    /// Nobody said a word for as long as one waits, or for long enough to doubt that anybody will.
    public var isSilence: Bool {
        self == .connectTimeout || self == .pingTimeout || self == .pingLate
    }
}
