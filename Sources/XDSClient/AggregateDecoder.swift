internal import MeshConfig
internal import SwiftProtobuf

// Clusters that are made of others.

extension Decoding {
    static let aggregateCluster = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"

    mutating func aggregate(_ opened: Opened, name: String) -> Cluster.Discovery {
        let message = parse(
            opened, as: Envoy_Extensions_Clusters_Aggregate_V3_ClusterConfig.self)
        guard let message else { return .fixed }
        requireWhole(message)
        if message.clusters.isEmpty {
            refuse("clusters", expected: "one or more names", got: "none")
        }
        return .aggregate(
            each("clusters", message.clusters) { at, member in
                if member.isEmpty || member == name {
                    at.refuse(
                        expected: "the name of another cluster",
                        got: member.isEmpty ? "none" : "its own")
                }
                return member
            })
    }

    /// What says how endpoints are reached, judged and limited is said by the members.
    mutating func leaveToMembers(
        _ message: Envoy_Config_Cluster_V3_Cluster, _ cluster: inout Cluster
    ) {
        if message.hasLoadAssignment {
            refuse("load_assignment", expected: "none for an aggregate", got: "one")
        }
        for (isSet, field) in [
            (message.hasTransportSocket, "transport_socket"),
            (!message.transportSocketMatches.isEmpty, "transport_socket_matches"),
            (!message.healthChecks.isEmpty, "health_checks"),
            (message.hasOutlierDetection, "outlier_detection"),
        ] where isSet {
            remark(field, "is ignored: an aggregate's members have their own")
        }
        if cluster.queueTimeout != nil {
            remark(
                "metadata.filter_metadata.meshproxy.queue_timeout_ms",
                "is ignored: requests wait for a place in an aggregate's members")
        }
        cluster.queueTimeout = nil
        cluster.healthChecks = []
        cluster.outlierDetection = nil
        cluster.circuitBreakers.maxConnections = .max
        cluster.circuitBreakers.maxPendingRequests = .max
        cluster.circuitBreakers.maxRequests = .max
        cluster.highPriorityBreakers.maxConnections = .max
        cluster.highPriorityBreakers.maxPendingRequests = .max
        cluster.highPriorityBreakers.maxRequests = .max
        if message.circuitBreakers.thresholds.contains(where: {
            $0.hasMaxConnections || $0.hasMaxPendingRequests || $0.hasMaxRequests
        }) {
            remark("circuit_breakers", "of an aggregate bounds retries alone")
        }
    }
}
