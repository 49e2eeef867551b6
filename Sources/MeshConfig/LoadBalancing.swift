/// How one endpoint is chosen among many: priority, then locality, then endpoint.
public struct LoadBalancing: Sendable, Equatable {
    public enum Policy: Sendable, Equatable {
        case roundRobin
        case leastRequest(choices: Int, bias: Double = 1, scansAll: Bool = false)
        case random
        case ringHash(RingHash)
        case maglev(Maglev)
        case peakEWMA(PeakEWMA)
        case reportedLoad(ReportedLoad)

        /// Whether it asks what a request's hash policy came to.
        public var usesKeys: Bool {
            switch self {
            case .ringHash, .maglev: true
            case .roundRobin, .leastRequest, .random, .peakEWMA, .reportedLoad: false
            }
        }
        /// Whether it asks how long hosts take to answer.
        public var watchesLatency: Bool {
            if case .peakEWMA = self { true } else { false }
        }
        /// Whether it asks what hosts say of their load.
        public var readsReports: Bool {
            if case .reportedLoad = self { true } else { false }
        }
    }
    public enum LocalityMode: Sendable, Equatable {
        /// Endpoints of a priority are one flat set.
        case flat
        /// `locality_weighted_lb_config`.
        case weighted
        /// As many requests stay in our own zone as its share of endpoints can take, where the cluster
        /// that we belong to is known; otherwise flat. Envoy's default.
        case zoneAware(ZoneAware)
    }

    public var policy: Policy
    public var localityMode: LocalityMode
    /// Less weight for new endpoints at first: round robin, also by reports of load, and least request alone.
    public var slowStart: SlowStart?
    /// In percent; 0 turns panic off. Envoy's default is 50.
    public var panicThreshold: Double
    /// In percent; Envoy's default is 140.
    public var overprovisioningFactor: UInt32
    /// The policy's own, which goes before the route's.
    public var hashPolicy: [HashPolicy]
    public var subsets: Subsets?
    /// `override_host_status`: an endpoint that a request asks for by its address may have it in these.
    public var overrideStatuses: Set<Endpoint.Status>

    public init(
        policy: Policy = .roundRobin, localityMode: LocalityMode = .flat,
        slowStart: SlowStart? = nil, panicThreshold: Double = 50,
        overprovisioningFactor: UInt32 = 140, hashPolicy: [HashPolicy] = [],
        subsets: Subsets? = nil
    ) {
        self.policy = policy
        self.localityMode = localityMode
        self.slowStart = slowStart
        self.panicThreshold = panicThreshold
        self.overprovisioningFactor = overprovisioningFactor
        self.hashPolicy = hashPolicy
        self.subsets = subsets
        overrideStatuses = [.unknown, .healthy, .degraded]
    }
}

extension LoadBalancing {
    public struct ConsistentHashing: Sendable, Equatable {
        /// Hosts are told apart by hostname, not by address.
        public var usesHostname: Bool
        /// In percent of a host's share of the requests in flight; 0: loads are not bounded.
        public var balanceFactor: Int

        public init(usesHostname: Bool = false, balanceFactor: Int = 0) {
            self.usesHostname = usesHostname
            self.balanceFactor = balanceFactor
        }
    }

    public struct RingHash: Sendable, Equatable {
        public enum Function: Sendable, Hashable {
            case xxHash, murmurHash2
        }

        public var function: Function
        public var minimumSize: Int
        public var maximumSize: Int
        public var hashing: ConsistentHashing

        public init(
            function: Function = .xxHash, minimumSize: Int = 1024, maximumSize: Int = 8 << 20,
            hashing: ConsistentHashing = ConsistentHashing()
        ) {
            self.function = function
            self.minimumSize = minimumSize
            self.maximumSize = maximumSize
            self.hashing = hashing
        }
    }

    public struct Maglev: Sendable, Equatable {
        /// A prime.
        public var tableSize: Int
        public var hashing: ConsistentHashing

        public init(tableSize: Int = 65537, hashing: ConsistentHashing = ConsistentHashing()) {
            self.tableSize = tableSize
            self.hashing = hashing
        }
    }

    /// `client_side_weighted_round_robin`.
    public struct ReportedLoad: Sendable, Equatable {
        /// A host's reports must have come for so long before they count.
        public var blackout: Duration
        /// The last report counts for so long.
        public var expiration: Duration
        /// How often weights are worked out.
        public var update: Duration
        /// How much utilization a share of errors of 1 is worth.
        public var errorPenalty: Double
        /// The highest of these counts as utilization, where a report has any of them.
        public var metricNames: [String]

        public init(
            blackout: Duration = .seconds(10), expiration: Duration = .seconds(180),
            update: Duration = .seconds(1), errorPenalty: Double = 1, metricNames: [String] = []
        ) {
            self.blackout = blackout
            self.expiration = expiration
            self.update = update
            self.errorPenalty = errorPenalty
            self.metricNames = metricNames
        }
    }

    public struct PeakEWMA: Sendable, Equatable {
        public struct Price: Sendable, Equatable {
            /// Fields that are empty match all.
            public var from: Locality
            public var to: Locality
            public var factor: Double

            public init(from: Locality = Locality(), to: Locality = Locality(), factor: Double) {
                self.from = from
                self.to = to
                self.factor = factor
            }
        }

        public var decayTime: Duration
        /// What a failure counts as at least.
        public var failurePenalty: Duration
        public var prices: [Price]

        public init(
            decayTime: Duration = .seconds(10), failurePenalty: Duration = .seconds(1),
            prices: [Price] = []
        ) {
            self.decayTime = decayTime
            self.failurePenalty = failurePenalty
            self.prices = prices
        }

        /// What latency counts as there for who is here: the first price that matches, else 1.
        public func price(from: Locality, to: Locality) -> Double {
            func matches(_ pattern: Locality, _ place: Locality) -> Bool {
                (pattern.region.isEmpty || pattern.region == place.region)
                    && (pattern.zone.isEmpty || pattern.zone == place.zone)
                    && (pattern.subZone.isEmpty || pattern.subZone == place.subZone)
            }
            return prices.first { matches($0.from, from) && matches($0.to, to) }?.factor ?? 1
        }
    }

    /// A new endpoint's weight grows over a window: × max(minimum, (age ÷ window)^(1 ÷ aggression)).
    public struct SlowStart: Sendable, Equatable {
        public var window: Duration
        public var aggression: Double
        /// A share of 1.
        public var minimum: Double

        public init(window: Duration, aggression: Double = 1, minimum: Double = 0.1) {
            self.window = window
            self.aggression = aggression
            self.minimum = minimum
        }
    }

    public struct ZoneAware: Sendable, Equatable {
        /// In percent of requests.
        public var routingEnabled: Int
        /// With fewer healthy endpoints zones are disregarded.
        public var minClusterSize: Int
        /// Requests fail rather than go to unhealthy endpoints.
        public var failsOnPanic: Bool
        /// All requests stay in our zone while it has this many healthy endpoints; `nil`: only as
        /// many requests as it has its share of endpoints for.
        public var forcedLocalMinimum: Int?
        /// Shares are of endpoints' weights, not of their number.
        public var countsWeights: Bool

        public init(
            routingEnabled: Int = 100, minClusterSize: Int = 6, failsOnPanic: Bool = false,
            forcedLocalMinimum: Int? = nil, countsWeights: Bool = false
        ) {
            self.routingEnabled = routingEnabled
            self.minClusterSize = minClusterSize
            self.failsOnPanic = failsOnPanic
            self.forcedLocalMinimum = forcedLocalMinimum
            self.countsWeights = countsWeights
        }
    }
}
