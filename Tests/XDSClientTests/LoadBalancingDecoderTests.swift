import MeshBase
import MeshConfig
import Testing
import XDSClient

@Suite struct LoadBalancingDecoderTests {
    private let prefix = "x/envoy.extensions.load_balancing_policies"

    /// The balancing of a static cluster with these fields, or the problem's path.
    private func decode(_ fields: String) -> (LoadBalancing?, String) {
        let text = """
            - {"@type": x/envoy.config.cluster.v3.Cluster, name: a, type: STATIC,
               load_assignment: {cluster_name: a}, \(fields)}
            """
        do {
            let raw = try ResourceFiles.parse(files: [(name: "test", text: Array(text.utf8))])
            var builder = SnapshotBuilder(staticResources: Snapshot(), source: "cp")
            let rejections = builder.apply(
                type: .cluster, resources: raw, isFullSet: true, now: UnixTime(microseconds: 1))
            let cluster = builder.takeSnapshot()?.clusters.first
            return (cluster?.loadBalancing, rejections.map { "\($0)" }.joined())
        } catch {
            return (nil, "\(error)")
        }
    }

    private func typed(_ policies: String...) -> String {
        "load_balancing_policy: {policies: ["
            + policies.map { "{typed_extension_config: {name: p, typed_config: \($0)}}" }
            .joined(separator: ", ") + "]}"
    }

    @Test("lb_policy and its messages")
    func named() {
        #expect(decode("lb_policy: MAGLEV").0?.policy == .maglev(.init()))
        let ring = decode(
            """
            lb_policy: RING_HASH, ring_hash_lb_config: {hash_function: MURMUR_HASH_2,
            minimum_ring_size: 10, maximum_ring_size: 20}, common_lb_config:
            {consistent_hashing_lb_config: {use_hostname_for_hashing: true, hash_balance_factor: 125}}
            """
        ).0
        #expect(
            ring?.policy
                == .ringHash(
                    .init(
                        function: .murmurHash2, minimumSize: 10, maximumSize: 20,
                        hashing: .init(usesHostname: true, balanceFactor: 125))))
        let least = decode(
            """
            lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 4,
            active_request_bias: {default_value: 0.5, runtime_key: k},
            slow_start_config: {slow_start_window: 30s, aggression: {default_value: 2, runtime_key: k},
            min_weight_percent: {value: 25}}}
            """
        ).0
        #expect(least?.policy == .leastRequest(choices: 4, bias: 0.5))
        #expect(
            least?.slowStart == .init(window: .seconds(30), aggression: 2, minimum: 0.25))
    }

    @Test("override_host_status, and what counts without it")
    func overrideStatuses() {
        #expect(decode("").0?.overrideStatuses == [.unknown, .healthy, .degraded])
        let set = "common_lb_config: {override_host_status: {statuses: [HEALTHY, DRAINING]}}"
        #expect(decode(set).0?.overrideStatuses == [.healthy, .draining])
        let none = "common_lb_config: {override_host_status: {}}"
        #expect(decode(none).0?.overrideStatuses == [])
    }

    @Test("The first typed policy that is known counts")
    func typedList() {
        let least = decode(
            typed(
                "{\"@type\": x/example.Unheard, value: aGVsbG8=}",
                """
                {"@type": \(prefix).wrr_locality.v3.WrrLocality, endpoint_picking_policy: {policies: [
                 {typed_extension_config: {name: q, typed_config: {
                 "@type": \(prefix).least_request.v3.LeastRequest, selection_method: FULL_SCAN}}}]}}
                """, "{\"@type\": \(prefix).random.v3.Random}")
        ).0
        #expect(least?.policy == .leastRequest(choices: 2, scansAll: true))
        #expect(least?.localityMode == .weighted)
        let zones = decode(
            typed(
                """
                {"@type": \(prefix).round_robin.v3.RoundRobin, locality_lb_config:
                {zone_aware_lb_config: {routing_enabled: {value: 80}, min_cluster_size: 3,
                force_local_zone: {min_size: 2}}}}
                """)
        ).0
        #expect(
            zones?.localityMode
                == .zoneAware(
                    .init(routingEnabled: 80, minClusterSize: 3, forcedLocalMinimum: 2)))
        let ring = decode(
            typed(
                """
                {"@type": \(prefix).ring_hash.v3.RingHash, consistent_hashing_lb_config:
                {hash_policy: [{header: {header_name: X-Key}, terminal: true}]}}
                """)
        ).0
        #expect(ring?.hashPolicy == [HashPolicy(source: .header("x-key"), terminal: true)])
    }

    @Test("Subsets in both ways, and the route's side of them")
    func subsets() {
        let selectors = """
            subset_selectors: [{keys: [b, a], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [a]},
            {keys: [id], fallback_policy: NO_FALLBACK, single_host_per_subset: true}]
            """
        let fields = """
            fallback_policy: DEFAULT_SUBSET, default_subset: {a: x, n: 1}, \(selectors),
            locality_weight_aware: true, scale_locality_weight: true, panic_mode_any: true,
            list_as_any: true, metadata_fallback_policy: FALLBACK_LIST
            """
        var expected = LoadBalancing.Subsets(
            [
                .init(["a", "b"], fallback: .keys(["a"])),
                .init(["id"], fallback: .refuse, isSingle: true),
            ], fallback: .defaultSubset, defaultSubset: ["a": .string("x"), "n": .number(1)],
            localityWeights: .scaled, panicsToAny: true, listsMatchAny: true,
            readsFallbackList: true)
        #expect(decode("lb_subset_config: {\(fields)}").0?.subsets == expected)
        expected.allowsMoreKeys = true
        let typed = decode(
            typed(
                """
                {"@type": \(prefix).subset.v3.Subset, \(fields), allow_redundant_keys: true,
                subset_lb_policy: {policies: [{typed_extension_config: {name: r, typed_config:
                {"@type": \(prefix).random.v3.Random}}}]}}
                """)
        ).0
        #expect(typed?.subsets == expected && typed?.policy == .random)
        // Envoy takes a configuration without selectors for none.
        let empty = decode("lb_subset_config: {fallback_policy: ANY_ENDPOINT}").0
        #expect(empty != nil && empty?.subsets == nil)
    }

    @Test("Our own policy: defaults, and a price for a pair of localities")
    func peakEWMA() {
        #expect(
            decode(typed("{\"@type\": x/meshproxy.config.v1.PeakEwma}")).0?.policy
                == .peakEWMA(.init(decayTime: .seconds(10), failurePenalty: .seconds(1))))
        let priced = decode(
            typed(
                """
                {"@type": x/meshproxy.config.v1.PeakEwma, decay_time: 5s, failure_penalty: 0.5s,
                prices: [{from: {region: a}, to: {region: b, zone: z}, factor: 2.5}]}
                """)
        ).0
        #expect(
            priced?.policy
                == .peakEWMA(
                    .init(
                        decayTime: .seconds(5), failurePenalty: .milliseconds(500),
                        prices: [
                            .init(
                                from: Locality(region: "a"), to: Locality(region: "b", zone: "z"),
                                factor: 2.5)
                        ])))
    }

    @Test("Weights by reports of load: Envoy's defaults and fields")
    func reportedLoad() {
        let type =
            "x/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3."
            + "ClientSideWeightedRoundRobin"
        #expect(
            decode(typed("{\"@type\": \(type)}")).0?.policy
                == .reportedLoad(
                    .init(
                        blackout: .seconds(10), expiration: .seconds(180), update: .seconds(1),
                        errorPenalty: 1)))
        let given = decode(
            typed(
                """
                {"@type": \(type), blackout_period: 0s, weight_expiration_period: 60s,
                 weight_update_period: 0.01s, error_utilization_penalty: 2.5,
                 metric_names_for_computing_utilization: [mem_utilization, named_metrics.q],
                 slow_start_config: {slow_start_window: 20s, min_weight_percent: {value: 5}}}
                """)
        ).0
        #expect(
            given?.policy
                == .reportedLoad(
                    .init(
                        blackout: .zero, expiration: .seconds(60), update: .milliseconds(100),
                        errorPenalty: 2.5, metricNames: ["mem_utilization", "named_metrics.q"])))
        #expect(given?.slowStart == .init(window: .seconds(20), minimum: 0.05))
        for (wrong, place) in [
            ("error_utilization_penalty: -1", "error_utilization_penalty"),
            (
                "slow_start_config: {slow_start_window: 1s, aggression: {default_value: 0}}",
                "slow_start_config.aggression.default_value"
            ),
        ] {
            let (none, problem) = decode(typed("{\"@type\": \(type), \(wrong)}"))
            #expect(none == nil && problem.contains(place), "\(problem)")
        }
    }

    @Test(
        "What is out of range is refused where it stands",
        arguments: [
            (
                "lb_policy: MAGLEV, maglev_lb_config: {table_size: 100}",
                "maglev_lb_config.table_size"
            ),
            (
                "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 9, maximum_ring_size: 8}",
                "ring_hash_lb_config"
            ), ("least_request_lb_config: {choice_count: 1}, lb_policy: 1", "choice_count"),
            ("load_balancing_policy: {}", "load_balancing_policy.policies"),
            ("lb_subset_config: {subset_selectors: [{keys: []}]}", "subset_selectors[0].keys"),
            (
                "lb_subset_config: {subset_selectors: [{keys: [a], fallback_policy: KEYS_SUBSET, "
                    + "fallback_keys_subset: [a]}]}", "subset_selectors[0].fallback_keys_subset"
            ),
            (
                """
                load_balancing_policy: {policies: [{typed_extension_config: {name: p, typed_config:
                {"@type": x/meshproxy.config.v1.PeakEwma, prices: [{factor: 2}, {factor: 0}]}}}]}
                """, "prices[1].factor"
            ),
            (
                """
                load_balancing_policy: {policies: [{typed_extension_config: {name: p, typed_config:
                {"@type": x/meshproxy.config.v1.PeakEwma, decay_time: 0s}}}]}
                """, "decay_time"
            ),
        ])
    func refused(fields: String, place: String) {
        let (balancing, problem) = decode(fields)
        #expect(balancing == nil && problem.contains(place), "\(problem)")
    }
}
