public import MeshBase
public import MeshConfig

/// Ejects endpoints of one cluster whose live answers are bad, in Envoy's terms; only where the cluster
/// configures it. Runs of 5xx and runs of gateway failures (502, 503, 504) are counted apart; a transport
/// failure counts as both unless local errors are split off. An ejection lasts base time × how often,
/// and that count goes down by one for each interval without one.
public struct OutlierDetector {
    public enum Reason: String, Sendable {
        case consecutive5xx = "consecutive-5xx"
        case consecutiveGatewayFailure = "consecutive-gateway-failure"
        case consecutiveLocalOriginFailure = "consecutive-local-origin-failure"
    }
    public enum Observation: Equatable, Sendable {
        case status(Int)
        case transportFailure
    }
    public struct Ejection: Equatable, Sendable {
        public let address: SocketAddress
        public let until: Instant
        public let reason: Reason
    }

    private struct Record {
        var serverErrors = 0
        var gatewayFailures = 0
        var localFailures = 0
        /// Ejections that still lengthen the next one.
        var multiplier = 0
        var ejectedUntil: Instant?
    }

    private let config: OutlierDetection
    private var records: [SocketAddress: Record] = [:]
    private var random: SeededRandom
    private var nextInterval: Instant
    public private(set) var ejectedCount = 0

    public init(_ config: OutlierDetection, now: Instant, random: SeededRandom) {
        self.config = config
        self.random = random
        nextInterval = now + config.interval
    }

    /// Takes the cluster's endpoints; those that went are forgotten.
    public mutating func update(_ addresses: [SocketAddress]) {
        var kept: [SocketAddress: Record] = [:]
        for address in addresses { kept[address] = records[address] ?? Record() }
        records = kept
        ejectedCount = kept.values.count { $0.ejectedUntil != nil }
    }

    /// - Returns: an ejection, when this was one too many.
    public mutating func record(
        _ address: SocketAddress, _ observation: Observation, now: Instant
    ) -> Ejection? {
        guard var record = records[address] else { return nil }
        defer { records[address] = record }
        var reason: (Reason, enforcing: Int)?
        switch observation {
        case .transportFailure where config.splitExternalLocalOriginErrors:
            record.localFailures += 1
            if record.localFailures == config.consecutiveLocalOriginFailure {
                record.localFailures = 0
                reason = (.consecutiveLocalOriginFailure, 100)
            }
        case .status(let status) where status < 500:
            record.serverErrors = 0
            record.gatewayFailures = 0
            record.localFailures = 0
        case .status, .transportFailure:
            var isGateway = true
            if case .status(let status) = observation { isGateway = (502...504).contains(status) }
            record.localFailures = 0
            if isGateway {
                record.gatewayFailures += 1
                if record.gatewayFailures == config.consecutiveGatewayFailure {
                    record.gatewayFailures = 0
                    reason = (
                        .consecutiveGatewayFailure, config.enforcingConsecutiveGatewayFailure
                    )
                }
            } else {
                record.gatewayFailures = 0
            }
            record.serverErrors += 1
            if record.serverErrors == config.consecutive5xx {
                record.serverErrors = 0
                // The gateway's reason stands if it is enforced at all.
                if reason == nil || reason?.enforcing == 0 {
                    reason = (.consecutive5xx, config.enforcingConsecutive5xx)
                }
            }
        }
        guard let (why, enforcing) = reason, record.ejectedUntil == nil,
            random.below(100) < enforcing, mayEjectOneMore
        else { return nil }
        record.multiplier += 1
        let time = min(
            config.baseEjectionTime * min(record.multiplier, 1 << 20),
            max(config.maxEjectionTime, config.baseEjectionTime))
        let until = now + time
        record.ejectedUntil = until
        ejectedCount += 1
        return Ejection(address: address, until: until, reason: why)
    }

    /// Envoy compares the share before the ejection, so one endpoint can always go unless the limit is 0.
    private var mayEjectOneMore: Bool {
        100 * ejectedCount < config.maxEjectionPercent * max(1, records.count)
    }

    /// The end of the interval, at which ejections are looked at.
    public var nextDeadline: Instant? {
        records.values.contains { $0.multiplier > 0 } ? nextInterval : nil
    }

    /// - Returns: who may take traffic again.
    public mutating func deadlineReached(at now: Instant) -> [SocketAddress] {
        guard now >= nextInterval else { return [] }
        nextInterval = now + config.interval
        var returned: [SocketAddress] = []
        for (address, record) in records {
            if let until = record.ejectedUntil {
                guard until <= now else { continue }
                records[address] = Record(multiplier: record.multiplier)
                ejectedCount -= 1
                returned.append(address)
            } else if record.multiplier > 0 {
                records[address]?.multiplier -= 1
            }
        }
        return returned.sorted { $0.description < $1.description }
    }
}
