import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

extension AdminPages {
    /// `/clusters`: every endpoint, as the control loop judges it. Counters of single endpoints
    /// are not kept, so of Envoy's lines those are missing that would print them.
    func clusters(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        let format = try request.choice("format", ["text", "json"])
        let known = control.published.clusters.compactMap { control.clusters[$0.name] }
        if format == "json" {
            let statuses = known.map(clusterStatus)
            return .json(
                JSONValue.object([(key: "cluster_statuses", value: .array(statuses))]).text)
        }
        return AdminServer.Reply(known.map(clusterText).joined())
    }

    private func clusterText(_ cluster: UpstreamCluster) -> String {
        let config = cluster.config
        let name = config.name
        var text = "\(name)::observability_name::\(observabilityName(config))\n"
        for priority in RequestPriority.allCases {
            let limits = config.breakers(priority)
            let stem = "\(name)::\(priority == .high ? "high" : "default")_priority::"
            text += "\(stem)max_connections::\(limits.maxConnections)\n"
            text += "\(stem)max_pending_requests::\(limits.maxPendingRequests)\n"
            text += "\(stem)max_requests::\(limits.maxRequests)\n"
            text += "\(stem)max_retries::\(limits.maxRetries)\n"
        }
        text += "\(name)::added_via_api::\(config.provenance.source != "static")\n"
        if case .eds(let service) = config.discovery {
            text += "\(name)::eds_service_name::\(service.isEmpty ? name : service)\n"
        }
        if let members = config.members {
            text += "\(name)::aggregate::\(members.joined(separator: ","))\n"
        }
        for (priority, state) in control.failbacks.states(of: name) {
            text += "\(name)::priority::\(priority)::\(state)\n"
        }
        if let words = cluster.zoneWords { text += "\(name)::zone_routing::\(words)\n" }
        for words in cluster.subsetWords { text += "\(name)::subset::\(words)\n" }
        for host in cluster.hosts {
            let stem = "\(name)::\(host.address)::"
            let reason = control.explain(host.endpoint, at: host.address, in: name).text
            text += "\(stem)hostname::\(host.hostname)\n"
            text += "\(stem)health_flags::\(HealthFlags(host).text)\n"
            text += "\(stem)health_reason::\(reason)\n"
            text += "\(stem)weight::\(host.weight)\n"
            text += "\(stem)region::\(host.locality.region)\n"
            text += "\(stem)zone::\(host.locality.zone)\n"
            text += "\(stem)sub_zone::\(host.locality.subZone)\n"
            text += "\(stem)canary::false\n"
            text += "\(stem)priority::\(host.priority)\n"
            if let words = control.evacuation(
                of: host.endpoint, at: host.address, in: host.locality, of: name)
            {
                text += "\(stem)evacuation::\(words)\n"
            }
        }
        return text
    }

    /// `envoy.admin.v3.ClusterStatus`.
    private func clusterStatus(_ cluster: UpstreamCluster) -> JSONValue {
        let config = cluster.config
        var service = ""
        if case .eds(let name) = config.discovery { service = name.isEmpty ? config.name : name }
        return .message(
            ("name", .string(config.name)),
            ("observability_name", .string(observabilityName(config))),
            ("added_via_api", .bool(config.provenance.source != "static")),
            ("eds_service_name", .string(service)),
            (
                "circuit_breakers",
                [
                    "thresholds": .array(
                        RequestPriority.allCases.map { ConfigJSON.thresholds(of: config, $0) })
                ]
            ),
            (
                "host_statuses",
                .array(
                    cluster.hosts.map { host in
                        .message(
                            ("address", ConfigJSON.address(host.address)),
                            ("health_status", HealthFlags(host).json(host.endpoint.status)),
                            ("weight", .number(Int64(host.weight))),
                            ("hostname", .string(host.hostname)),
                            (
                                "priority",
                                host.priority == 0 ? .null : .number(Int64(host.priority))
                            ), ("locality", ConfigJSON.locality(host.locality)))
                    })
            ))
    }

    private func observabilityName(_ config: Cluster) -> String {
        config.altStatName.isEmpty ? config.name : config.altStatName
    }
}
