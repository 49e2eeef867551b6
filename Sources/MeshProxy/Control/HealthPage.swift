import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

/// `/health`: every endpoint of each cluster and every path, what is thought of it, why, and what comes
/// next, in words. It shows the state that balancing goes by; what single workers suspect of their own
/// for a moment is not in it.
extension AdminPages {
    func health(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        let format = try request.choice("format", ["text", "json"])
        let report = HealthReport(control, only: request.value("cluster"))
        return format == "json" ? .json(report.json.text) : AdminServer.Reply(report.text)
    }
}

/// What the control loop thinks of everything at one moment.
struct HealthReport {
    struct Member {
        var address: SocketAddress
        var locality: Locality
        var priority: Int
        var paths: [SocketAddress]
        var flags: String
        var explanation: HealthModel.Explanation
    }
    struct Group {
        var cluster: String
        var members: [Member]
    }
    /// A first hop, and how many clusters and endpoints are reached over it.
    struct Path {
        var address: SocketAddress
        var clusters = 0
        var endpoints = 0
        var explanation: HealthModel.Explanation
    }

    private(set) var groups: [Group] = []
    private(set) var paths: [Path] = []

    /// - Parameter only: a cluster's name; paths are counted over all clusters all the same.
    init(_ control: ControlLoop, only: String? = nil) {
        let now = control.loop.now
        var places: [SocketAddress: Int] = [:]
        for cluster in control.published.clusters {
            var members: [Member] = []
            var seen: Set<SocketAddress> = []
            for locality in cluster.endpoints.localities {
                for endpoint in locality.endpoints {
                    guard let address = endpoint.address else { continue }
                    let hops = [address] + endpoint.additionalAddresses
                    for hop in hops {
                        let place = places[hop] ?? paths.count
                        if place == paths.count {
                            places[hop] = place
                            paths.append(
                                Path(
                                    address: hop,
                                    explanation: control.healthModel.explain(.path(hop), now: now)))
                        }
                        paths[place].endpoints += 1
                        if seen.insert(hop).inserted { paths[place].clusters += 1 }
                    }
                    if let only, only != cluster.name { continue }
                    var explanation = control.explain(endpoint, at: address, in: cluster.name)
                    if explanation.state == "well",
                        let words = control.evacuation(
                            of: endpoint, at: address, in: locality.locality, of: cluster.name)
                    {
                        explanation = HealthModel.Explanation(
                            "leaving", reason: "an operator's word (\(words))",
                            next: "until it is undone")
                    }
                    members.append(
                        Member(
                            address: address, locality: locality.locality,
                            priority: locality.priority, paths: hops,
                            flags: control.healthFlags(endpoint, at: address, in: cluster.name)
                                .text,
                            explanation: explanation))
                }
            }
            if only == nil || only == cluster.name {
                groups.append(Group(cluster: cluster.name, members: members))
            }
        }
    }

    var text: String {
        var text = ""
        for group in groups {
            let well = group.members.count { $0.explanation.state == "well" }
            text += "\(group.cluster): \(well) of \(group.members.count) endpoints are well\n"
            for member in group.members {
                let place = "priority \(member.priority) \(HealthReport.words(member.locality))"
                text += "  \(member.address)  \(place)  \(member.explanation.text)\n"
            }
        }
        text += "paths\n"
        for path in paths {
            text += "  \(path.address)  \(path.services)  \(path.explanation.text)\n"
        }
        return text
    }

    var json: JSONValue {
        [
            "clusters": .array(
                groups.map { group in
                    [
                        "name": .string(group.cluster),
                        "endpoints": .array(group.members.map(HealthReport.json)),
                    ]
                }),
            "paths": .array(
                paths.map { path in
                    .object(
                        [
                            (key: "address", value: .string("\(path.address)")),
                            (key: "clusters", value: .number(Int64(path.clusters))),
                            (key: "endpoints", value: .number(Int64(path.endpoints))),
                        ] + HealthReport.fields(path.explanation))
                }),
        ]
    }

    private static func json(_ member: Member) -> JSONValue {
        .object(
            [
                (key: "address", value: .string("\(member.address)")),
                (key: "priority", value: .number(Int64(member.priority))),
                (key: "locality", value: .string(words(member.locality))),
                (key: "paths", value: .array(member.paths.map { .string("\($0)") })),
                (key: "health_flags", value: .string(member.flags)),
            ] + fields(member.explanation))
    }

    private static func fields(
        _ explanation: HealthModel.Explanation
    ) -> [(key: String, value: JSONValue)] {
        [
            (key: "state", value: .string(explanation.state)),
            (key: "reason", value: .string(explanation.reason)),
            (key: "next", value: .string(explanation.next)),
        ]
    }

    private static func words(_ locality: Locality) -> String {
        let parts = [locality.region, locality.zone, locality.subZone]
        let last = parts.lastIndex { !$0.isEmpty } ?? -1
        return last < 0 ? "-" : parts[...last].joined(separator: "/")
    }
}

extension HealthReport.Path {
    fileprivate var services: String {
        "\(clusters) service\(clusters == 1 ? "" : "s"), "
            + "\(endpoints) endpoint\(endpoints == 1 ? "" : "s")"
    }
}

extension ControlLoop {
    /// What is thought of an endpoint, why, and what comes next: what discovery says of it, its checks,
    /// its path, outlier detection and transport failures, the first of these that objects.
    func explain(
        _ endpoint: Endpoint, at address: SocketAddress, in cluster: String
    ) -> HealthModel.Explanation {
        let now = loop.now
        if let word = endpoint.status.objection {
            return HealthModel.Explanation(
                endpoint.status == .draining ? "draining" : "unhealthy",
                reason: "the control plane says \(word)", next: "until it says otherwise")
        }
        let own = healthModel.explain(.endpoint(cluster: cluster, address), now: now)
        if own.state == "unhealthy" || own.state == "degraded",
            let (reason, next) = objectionOfProbes(cluster, address)
        {
            return HealthModel.Explanation(own.state, reason: reason, next: next)
        }
        if own.state == "unhealthy" { return own }
        let hops = ([address] + endpoint.additionalAddresses).map {
            healthModel.explain(.path($0), now: now)
        }
        if let path = hops.first, hops.allSatisfy({ $0.state != "well" }) { return path }
        if own.state == "well", endpoint.status == .degraded {
            return HealthModel.Explanation("degraded", reason: "the control plane says DEGRADED")
        }
        return own
    }

    /// How far an operator has taken an endpoint's traffic away.
    func evacuation(
        of endpoint: Endpoint, at address: SocketAddress, in locality: Locality,
        of cluster: String
    ) -> String? {
        let now = loop.now
        return evacuations.last {
            !$0.isOver(at: now)
                && $0.scope.matches(service: cluster, endpoint, at: address, in: locality)
        }?.words(at: now)
    }

    /// What stands against an endpoint, in Envoy's words.
    func healthFlags(
        _ endpoint: Endpoint, at address: SocketAddress, in cluster: String
    ) -> HealthFlags {
        var flags = HealthFlags(
            status: endpoint.status,
            verdict: healthModel.verdict(cluster: cluster, address))
        if ([address] + endpoint.additionalAddresses).allSatisfy({ !healthModel.isUsable($0) }) {
            flags.isEjected = true
        }
        return flags
    }
}

extension Endpoint.Status {
    /// EDS's word, where it keeps requests away.
    fileprivate var objection: String? {
        switch self {
        case .unhealthy: "UNHEALTHY"
        case .timeout: "TIMEOUT"
        case .draining: "DRAINING"
        case .unknown, .healthy, .degraded: nil
        }
    }
}
