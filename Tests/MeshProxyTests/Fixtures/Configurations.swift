import MeshBase
import MeshConfig

extension Cluster {
    /// A cluster of servers, grouped by their locality and priority.
    static func of(
        _ name: String, _ servers: ScriptedServer..., speaks: UpstreamProtocol? = nil,
        _ change: (inout Cluster) -> Void = { _ in }
    ) -> Cluster {
        of(name, servers, speaks: speaks, change)
    }

    static func of(
        _ name: String, _ servers: [ScriptedServer], speaks: UpstreamProtocol? = nil,
        _ change: (inout Cluster) -> Void = { _ in }
    ) -> Cluster {
        var cluster = Cluster(
            name: name, endpoints: .of(servers),
            upstreamProtocol: speaks ?? (servers.first?.speaks == .http2 ? .http2 : .http1))
        change(&cluster)
        return cluster
    }

    /// A cluster whose endpoints are addresses, such as the listeners of other proxies.
    static func of(
        _ name: String, addresses: [(SocketAddress, region: String, priority: Int)],
        speaks: UpstreamProtocol = .http2, _ change: (inout Cluster) -> Void = { _ in }
    ) -> Cluster {
        let localities = addresses.map { address, region, priority in
            LocalityEndpoints(
                locality: Locality(region: region), priority: priority,
                endpoints: [Endpoint(address: address)])
        }
        var cluster = Cluster(
            name: name, endpoints: EndpointSet(localities: localities), upstreamProtocol: speaks)
        change(&cluster)
        return cluster
    }
}

extension EndpointSet {
    static func of(_ servers: [ScriptedServer]) -> EndpointSet {
        var groups: [LocalityEndpoints] = []
        for server in servers {
            var endpoint = Endpoint(address: server.address, weight: server.weight)
            endpoint.status = server.status
            if let index = groups.firstIndex(where: {
                $0.locality == server.locality && $0.priority == server.priority
            }) {
                groups[index].endpoints.append(endpoint)
            } else {
                groups.append(
                    LocalityEndpoints(
                        locality: server.locality, priority: server.priority,
                        endpoints: [endpoint]))
            }
        }
        return EndpointSet(localities: groups)
    }
}

extension Route {
    static func forward(
        to cluster: String, prefix: String = "/", timeout: Duration = .seconds(15),
        retry: RetryPolicy? = nil, _ change: (inout ForwardAction) -> Void = { _ in }
    ) -> Route {
        var action = ForwardAction(
            target: .cluster(cluster), timeout: timeout, retryPolicy: retry)
        change(&action)
        return Route(match: RouteMatch(path: .prefix(prefix)), action: .forward(action))
    }

    static func respond(_ status: Int, _ text: String = "", prefix: String = "/") -> Route {
        Route(
            match: RouteMatch(path: .prefix(prefix)),
            action: .respond(DirectResponse(status: status, body: Array(text.utf8))))
    }
}

extension RetryPolicy {
    /// What Istio gives to every route that says nothing.
    static var ofIstio: RetryPolicy {
        var policy = RetryPolicy.on(
            [
                .connectFailure, .refusedStream, .grpcUnavailable, .grpcCancelled,
                .retriableStatusCodes,
            ], times: 2)
        policy.retriableStatusCodes = [503]
        return policy
    }

    static func on(
        _ conditions: Conditions, times: Int = 1, perTry: Duration? = nil
    ) -> RetryPolicy {
        RetryPolicy(conditions: conditions, maxRetries: times, perTryTimeout: perTry)
    }
}
