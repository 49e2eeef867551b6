internal import MeshConfig

// What a resource names of others.

extension CommonTLS {
    var secretNames: Set<String> {
        var names: Set<String> = []
        for case .secret(let name) in certificates { names.insert(name) }
        switch validation {
        case .secret(let name), .combined(_, let name): names.insert(name)
        case .none, .inline: break
        }
        return names
    }
}

extension Cluster {
    var secretNames: Set<String> {
        var names: Set<String> = []
        for transport in [transport] + transportMatches.map(\.transport) {
            if case .tls(let tls) = transport { names.formUnion(tls.common.secretNames) }
        }
        return names
    }

    /// The EDS resource that it takes its endpoints from.
    var serviceName: String? {
        if case .eds(let name) = discovery { return name }
        return nil
    }
}

extension Cluster {
    static let membersPath = "cluster_type.typed_config.clusters"
}

extension RouteConfiguration {
    var clusterNames: Set<String> {
        var names: Set<String> = []
        for host in virtualHosts {
            for route in host.routes {
                guard case .forward(let action) = route.action else { continue }
                switch action.target {
                case .cluster(let name): names.insert(name)
                case .weighted(let clusters): names.formUnion(clusters.map(\.name))
                case .clusterHeader: break
                }
            }
        }
        return names
    }
}

extension Listener {
    private var allChains: [FilterChain] {
        filterChains + (defaultFilterChain.map { [$0] } ?? [])
    }

    var secretNames: Set<String> {
        var names: Set<String> = []
        for chain in allChains {
            if let tls = chain.tls { names.formUnion(tls.common.secretNames) }
        }
        return names
    }

    /// Route tables that come by RDS.
    var routeNames: Set<String> {
        var names: Set<String> = []
        for chain in allChains {
            if case .http(let manager) = chain.filter, case .named(let name) = manager.routes {
                names.insert(name)
            }
        }
        return names
    }

    /// Clusters of route tables that are written in the listener.
    var staticRouteClusters: [String] {
        var names: Set<String> = []
        for chain in allChains {
            if case .http(let manager) = chain.filter, case .inline(let routes) = manager.routes {
                names.formUnion(routes.clusterNames)
            }
        }
        return names.sorted()
    }

    /// All clusters that it names itself.
    var clusterNames: Set<String> {
        var names = Set(staticRouteClusters)
        for chain in allChains {
            if case .tcpProxy(let proxy) = chain.filter {
                names.formUnion(proxy.clusters.map(\.name))
            }
        }
        return names
    }
}
