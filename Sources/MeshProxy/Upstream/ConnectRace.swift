import MeshBase

/// The connects over several addresses of one endpoint of which one is needed (RFC 8305).
///
/// The next address is tried when the last one has taken `secondPathDelay`, or at once when it fails; the
/// first to finish wins, TLS included, and the others are closed. That they were slower is evidence
/// against their paths, and no verdict.
final class ConnectRace {
    /// Still connecting, in the order of their beginning.
    private(set) var contenders: [UpstreamConnection] = []
    private var tried: [SocketAddress]

    /// - Parameter first: that was not fast enough; it takes part when it enters.
    init(of first: UpstreamConnection) { tried = [first.address] }

    /// Those beyond the one that is needed.
    var surplus: Int { max(0, contenders.count - 1) }

    func enter(_ connection: UpstreamConnection) {
        contenders.append(connection)
        tried.append(connection.address)
        connection.race = self
    }

    func leave(_ connection: UpstreamConnection) {
        contenders.removeAll { $0 === connection }
        connection.race = nil
    }

    func hasTried(_ address: SocketAddress) -> Bool { tried.contains(address) }

    /// One is connected. - Returns: the others, which take part no longer.
    func won(by connection: UpstreamConnection) -> [UpstreamConnection] {
        let others = contenders.filter { $0 !== connection }
        for contender in contenders { contender.race = nil }
        contenders = []
        return others
    }
}
