import MeshBase
import MeshConfig

extension ConfigJSON {
    /// `envoy.config.cluster.v3.Cluster`.
    static func cluster(_ cluster: Cluster) -> JSONValue {
        var edsConfig = JSONValue.null
        var refresh: Duration?
        var custom = JSONValue.null
        let type: String
        switch cluster.discovery {
        case .fixed: type = "STATIC"
        case .strictDNS(let interval):
            type = "STRICT_DNS"
            refresh = interval
        case .logicalDNS(let interval):
            type = "LOGICAL_DNS"
            refresh = interval
        case .eds(let service):
            type = "EDS"
            edsConfig = .message(
                ("eds_config", ["ads": [:], "resource_api_version": "V3"]),
                ("service_name", .string(service)))
        case .originalDestination: type = "ORIGINAL_DST"
        case .aggregate(let members):
            type = ""
            custom = [
                "name": "envoy.clusters.aggregate",
                "typed_config": [
                    "@type": .string(
                        types + "envoy.extensions.clusters.aggregate.v3.ClusterConfig"),
                    "clusters": strings(members),
                ],
            ]
        }
        let isListed = edsConfig.isEmpty && !cluster.endpoints.localities.isEmpty
        return .message(
            ("@type", .string(types + "envoy.config.cluster.v3.Cluster")),
            ("name", .string(cluster.name)), ("alt_stat_name", .string(cluster.altStatName)),
            ("type", .string(type)), ("cluster_type", custom),
            ("eds_cluster_config", edsConfig),
            ("connect_timeout", duration(cluster.connectTimeout)),
            (
                "load_assignment",
                isListed ? loadAssignment(cluster.name, cluster.endpoints) : .null
            ),
            ("dns_refresh_rate", optional(refresh)),
            ("health_checks", .array(cluster.healthChecks.map(healthCheck))),
            ("circuit_breakers", circuitBreakers(cluster)),
            (
                "lb_policy",
                custom.isEmpty
                    ? .string(policy(cluster.loadBalancing.policy)) : "CLUSTER_PROVIDED"
            ),
            ("common_lb_config", commonLB(cluster)),
            ("lb_subset_config", cluster.loadBalancing.subsets.map(subsets) ?? .null),
            ("outlier_detection", cluster.outlierDetection.map(outlierDetection) ?? .null),
            ("transport_socket", transport(cluster.transport)),
            (
                "transport_socket_matches",
                .array(
                    cluster.transportMatches.map { match in
                        .message(
                            ("name", .string(match.name)), ("match", object(match.criteria)),
                            ("transport_socket", transport(match.transport)))
                    })
            ),
            ("typed_extension_protocol_options", protocolOptions(cluster)),
            ("ignore_health_on_host_removal", flag(cluster.drainOnHostRemoval)),
            ("metadata", metadata(cluster.metadata)))
    }

    private static func policy(_ policy: LoadBalancing.Policy) -> String {
        switch policy {
        case .roundRobin: "ROUND_ROBIN"
        case .leastRequest: "LEAST_REQUEST"
        case .random: "RANDOM"
        case .ringHash: "RING_HASH"
        case .maglev: "MAGLEV"
        case .peakEWMA, .reportedLoad: "LOAD_BALANCING_POLICY_CONFIG"
        }
    }

    private static func subsets(_ rules: LoadBalancing.Subsets) -> JSONValue {
        func words(_ fallback: LoadBalancing.Subsets.Fallback) -> JSONValue {
            switch fallback {
            case .refuse: "NO_FALLBACK"
            case .anyEndpoint: "ANY_ENDPOINT"
            case .defaultSubset: "DEFAULT_SUBSET"
            case .keys: "KEYS_SUBSET"
            }
        }
        let selectors = rules.selectors.map { selector in
            var fewer: [String] = []
            if case .keys(let keys)? = selector.fallback { fewer = keys }
            return JSONValue.message(
                ("keys", .array(selector.keys.sorted().map { .string($0) })),
                ("fallback_policy", selector.fallback.map(words) ?? .null),
                ("fallback_keys_subset", .array(fewer.map { .string($0) })),
                ("single_host_per_subset", flag(selector.isSingle)))
        }
        return .message(
            ("fallback_policy", words(rules.fallback)),
            ("default_subset", rules.defaultSubset.isEmpty ? .null : object(rules.defaultSubset)),
            ("subset_selectors", .array(selectors)),
            ("locality_weight_aware", flag(rules.localityWeights != .ignored)),
            ("scale_locality_weight", flag(rules.localityWeights == .scaled)),
            ("panic_mode_any", flag(rules.panicsToAny)),
            ("list_as_any", flag(rules.listsMatchAny)),
            ("metadata_fallback_policy", rules.readsFallbackList ? "FALLBACK_LIST" : .null))
    }

    private static func commonLB(_ cluster: Cluster) -> JSONValue {
        let balancing = cluster.loadBalancing
        var zones = JSONValue.null
        if case .zoneAware(let rule) = balancing.localityMode, rule != .init() {
            zones = .message(
                ("routing_enabled", ["value": .number(Int64(rule.routingEnabled))]),
                ("min_cluster_size", .number(Int64(rule.minClusterSize))),
                ("fail_traffic_on_panic", flag(rule.failsOnPanic)))
        }
        return .message(
            (
                "healthy_panic_threshold",
                balancing.panicThreshold == 50
                    ? .null : ["value": .decimal(balancing.panicThreshold)]
            ), ("zone_aware_lb_config", zones),
            ("locality_weighted_lb_config", balancing.localityMode == .weighted ? [:] : .null),
            ("ignore_new_hosts_until_first_hc", flag(cluster.ignoresNewUntilChecked)))
    }

    private static func protocolOptions(_ cluster: Cluster) -> JSONValue {
        let choice: (String, JSONValue)
        switch cluster.upstreamProtocol {
        case .http1: return .null
        case .http2: choice = ("explicit_http_config", ["http2_protocol_options": [:]])
        case .alpn: choice = ("auto_config", ["http2_protocol_options": [:]])
        case .downstream:
            choice = ("use_downstream_protocol_config", ["http2_protocol_options": [:]])
        }
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        return .object([
            (key: name, value: .message(("@type", .string(types + name)), choice))
        ])
    }

    static func transport(_ transport: Transport) -> JSONValue {
        guard case .tls(let tls) = transport else { return .null }
        return [
            "name": "envoy.transport_sockets.tls",
            "typed_config": .message(
                (
                    "@type",
                    .string(
                        types + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
                ),
                ("common_tls_context", common(tls.common)), ("sni", .string(tls.sni)),
                ("auto_host_sni", flag(tls.autoHostSNI))),
        ]
    }

    private static func circuitBreakers(_ cluster: Cluster) -> JSONValue {
        let set = RequestPriority.allCases.filter { cluster.breakers($0) != CircuitBreakers() }
        if set.isEmpty { return .null }
        let perHost = set.filter { cluster.breakers($0).maxConnectionsPerHost != .max }
        return .message(
            ("thresholds", .array(set.map { thresholds(of: cluster, $0) })),
            (
                "per_host_thresholds",
                perHost.isEmpty
                    ? .null
                    : .array(
                        perHost.map {
                            .message(
                                ("priority", $0 == .high ? "HIGH" : .null),
                                (
                                    "max_connections",
                                    .number(Int64(cluster.breakers($0).maxConnectionsPerHost))
                                ))
                        })
            ))
    }

    static func thresholds(of cluster: Cluster, _ priority: RequestPriority) -> JSONValue {
        let limits = cluster.breakers(priority)
        return .message(
            ("priority", priority == .high ? "HIGH" : .null),
            ("max_connections", .number(Int64(limits.maxConnections))),
            ("max_pending_requests", .number(Int64(limits.maxPendingRequests))),
            ("max_requests", .number(Int64(limits.maxRequests))),
            ("max_retries", .number(Int64(limits.maxRetries))),
            ("track_remaining", limits.tracksRemaining ? .bool(true) : .null))
    }

    private static func outlierDetection(_ detection: OutlierDetection) -> JSONValue {
        func number(_ value: Int) -> JSONValue { .number(Int64(value)) }
        return .message(
            ("consecutive_5xx", number(detection.consecutive5xx)),
            ("interval", duration(detection.interval)),
            ("base_ejection_time", duration(detection.baseEjectionTime)),
            ("max_ejection_percent", number(detection.maxEjectionPercent)),
            ("enforcing_consecutive_5xx", number(detection.enforcingConsecutive5xx)),
            ("enforcing_success_rate", number(detection.enforcingSuccessRate)),
            ("success_rate_minimum_hosts", number(detection.successRateMinimumHosts)),
            ("success_rate_request_volume", number(detection.successRateRequestVolume)),
            ("success_rate_stdev_factor", number(detection.successRateStdevFactor)),
            ("consecutive_gateway_failure", number(detection.consecutiveGatewayFailure)),
            (
                "enforcing_consecutive_gateway_failure",
                number(detection.enforcingConsecutiveGatewayFailure)
            ),
            (
                "split_external_local_origin_errors",
                flag(detection.splitExternalLocalOriginErrors)
            ),
            ("consecutive_local_origin_failure", number(detection.consecutiveLocalOriginFailure)),
            (
                "enforcing_consecutive_local_origin_failure",
                number(detection.enforcingConsecutiveLocalOriginFailure)
            ),
            (
                "enforcing_local_origin_success_rate",
                number(detection.enforcingLocalOriginSuccessRate)
            ),
            ("failure_percentage_threshold", number(detection.failurePercentageThreshold)),
            ("enforcing_failure_percentage", number(detection.enforcingFailurePercentage)),
            (
                "enforcing_failure_percentage_local_origin",
                number(detection.enforcingFailurePercentageLocalOrigin)
            ),
            ("failure_percentage_minimum_hosts", number(detection.failurePercentageMinimumHosts)),
            (
                "failure_percentage_request_volume",
                number(detection.failurePercentageRequestVolume)
            ),
            ("max_ejection_time", duration(detection.maxEjectionTime)),
            ("max_ejection_time_jitter", duration(detection.maxEjectionTimeJitter)),
            (
                "successful_active_health_check_uneject_host",
                .bool(detection.successfulActiveHealthCheckUnejectHost)
            ), ("always_eject_one_host", flag(detection.alwaysEjectOneHost)))
    }

    private static func endpointPolicy(_ set: EndpointSet) -> JSONValue {
        let drops = set.drops.map { drop in
            JSONValue.message(
                ("category", .string(drop.category)),
                (
                    "drop_percentage",
                    [
                        "numerator": .number(Int64(drop.share.partsPerMillion)),
                        "denominator": "MILLION",
                    ]
                ))
        }
        let policy = JSONValue.message(
            ("drop_overloads", .array(drops)),
            (
                "overprovisioning_factor",
                set.overprovisioningFactor.map { .number(Int64($0)) } ?? .null
            ),
            ("endpoint_stale_after", optional(set.staleAfter)),
            ("weighted_priority_health", flag(set.weighsPriorityHealth)))
        return policy
    }

    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    static func loadAssignment(_ name: String, _ set: EndpointSet) -> JSONValue {
        .message(
            ("cluster_name", .string(name)), ("policy", endpointPolicy(set)),
            (
                "endpoints",
                .array(
                    set.localities.map { group in
                        .message(
                            ("locality", locality(group.locality)),
                            ("lb_endpoints", .array(group.endpoints.map(endpoint))),
                            (
                                "load_balancing_weight",
                                group.weight.map { .number(Int64($0)) } ?? .null
                            ), ("priority", number(group.priority)))
                    })
            ),
            (
                "policy",
                set.overprovisioningFactor.map {
                    ["overprovisioning_factor": .number(Int64($0))]
                } ?? .null
            ))
    }

    private static func endpoint(_ endpoint: Endpoint) -> JSONValue {
        let target: JSONValue =
            switch endpoint.target {
            case .address(let address): ConfigJSON.address(address)
            case .name(let name, let port):
                [
                    "socket_address": [
                        "address": .string(name), "port_value": .number(Int64(port)),
                    ]
                ]
            }
        let status: JSONValue =
            switch endpoint.status {
            case .unknown: .null
            case .healthy: "HEALTHY"
            case .unhealthy: "UNHEALTHY"
            case .draining: "DRAINING"
            case .timeout: "TIMEOUT"
            case .degraded: "DEGRADED"
            }
        return .message(
            (
                "endpoint",
                .message(("address", target), ("hostname", .string(endpoint.hostname)))
            ),
            ("health_status", status), ("metadata", metadata(endpoint.metadata)),
            ("load_balancing_weight", .number(Int64(endpoint.weight))))
    }
}
