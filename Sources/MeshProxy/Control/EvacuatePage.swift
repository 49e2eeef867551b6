import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

/// `/evacuate` and `/evacuate/undo`: takes the traffic off a locality, a cluster or a service at a rate.
extension AdminPages {
    func evacuate(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        if request.method != "POST" { return AdminServer.Reply(evacuationList()) }
        if let refusal = refusalOfChanges() { return refusal }
        let scope = try request.scope()
        if scope == EndpointScope() {
            throw AdminQueryError(
                key: "locality", expected: "locality=, cluster=, service= or address=",
                given: "none")
        }
        let rate = try request.whole("percent_per_second", 1...100, otherwise: 10)
        let percent = try request.whole("percent", 1...100, otherwise: 100)
        let now = control.loop.now
        var all = control.evacuations.filter { !$0.isOver(at: now) }
        let from = all.first { $0.scope == scope }?.percent(at: now) ?? 0
        all.removeAll { $0.scope == scope }
        all.append(
            Evacuation(
                scope: scope, target: percent, percentPerSecond: rate, from: from, since: now))
        control.publish(all)
        let count = matching(scope)
        if count == 0 {
            return AdminServer.Reply(
                "\(scope.text): no endpoint is there now; it will hold for those that come\n")
        }
        return AdminServer.Reply("\(scope.text): \(count) endpoints leave at \(rate) %/s\n")
    }

    func undoEvacuation(
        _ request: AdminServer.Request
    ) throws(AdminQueryError) -> AdminServer.Reply {
        if let refusal = refusalOfChanges() { return refusal }
        let scope = try request.scope()
        let now = control.loop.now
        let all = control.evacuations.filter { !$0.isOver(at: now) }
        let undone = all.filter { scope == EndpointScope() || $0.scope == scope }
        if undone.isEmpty {
            return AdminServer.Reply("nothing to undo\n" + evacuationList(), status: 404)
        }
        control.publish(all.map { undone.contains($0) ? $0.undone(at: now) : $0 })
        return AdminServer.Reply(evacuationList())
    }

    /// Whoever runs beside the proxy reaches TCP; a unix socket has an owner.
    func refusalOfChanges() -> AdminServer.Reply? {
        let bootstrap = control.bootstrap
        switch bootstrap.admin?.address {
        case nil, .pipe: return nil
        case .ipv4, .ipv6: if bootstrap.settings.allowsAdminChanges { return nil }
        }
        return AdminServer.Reply(
            "moving traffic over TCP wants allow_admin_changes in the bootstrap\n", status: 403)
    }

    private func evacuationList() -> String {
        let now = control.loop.now
        let all = control.evacuations.filter { !$0.isOver(at: now) }
        if all.isEmpty { return "nothing is evacuated\n" }
        return all.map {
            "\($0.scope.text): \($0.words(at: now)), \(matching($0.scope)) endpoints\n"
        }
        .joined()
    }

    private func matching(_ scope: EndpointScope) -> Int {
        control.published.clusters.compactMap { control.clusters[$0.name] }.reduce(0) {
            count, cluster in
            count
                + cluster.hosts.count {
                    scope.matches(
                        service: cluster.name, $0.endpoint, at: $0.address, in: $0.locality)
                }
        }
    }
}

extension AdminServer.Request {
    /// `locality`, `cluster`, `service` and `address`.
    func scope() throws(AdminQueryError) -> EndpointScope {
        var scope = EndpointScope(service: value("service"), cluster: value("cluster"))
        if let locality = value("locality") { scope.setLocality(locality) }
        if let text = value("address") {
            guard let address = SocketAddress(text) else {
                throw AdminQueryError(key: "address", expected: "ip:port", given: text)
            }
            scope.address = address
        }
        return scope
    }

    func whole(
        _ key: String, _ range: ClosedRange<Int>, otherwise: Int
    ) throws(AdminQueryError) -> Int {
        guard let text = value(key) else { return otherwise }
        guard let number = Int(text), range.contains(number) else {
            throw AdminQueryError(
                key: key, expected: "\(range.lowerBound) to \(range.upperBound)", given: text)
        }
        return number
    }
}
