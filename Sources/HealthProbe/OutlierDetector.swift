public import MeshBase
public import MeshConfig

/// Ejects endpoints of one cluster whose live answers are bad, exactly as Envoy's `outlier_detection`
/// says; only where the cluster configures it.
///
/// **Runs.** Failures in a row are counted in three ways: any 5xx, gateway errors (502 to 504) and,
/// where they are split off, failures of our own side (connecting, resets, time-outs). Unless split
/// off these count as gateway errors. A run that reaches its threshold ejects at once; a good answer, on
/// whatever worker, ends it.
///
/// **Shares.** At the end of each interval the share of good answers of every endpoint with enough of them
/// is held against all the others' (mean minus a factor of the standard deviation) and against a fixed
/// percentage. Intervals are multiples of their length since the clock's zero, so that whoever counts
/// agrees on where one ends.
///
/// **Ejection.** It lasts the base time × how often, up to a bound, plus jitter, and ends at an interval;
/// the count goes down by one for each interval without ejection. Whether another endpoint may go is
/// asked before it is drawn whether the finding is enforced.
///
/// There is no deadline while nothing failed and nobody is out. All workers' answers have to come
/// here, in one order: that is `OutlierWatch`'s business.
public struct OutlierDetector {
    public enum Kind: String, Sendable, CaseIterable {
        case consecutive5xx = "consecutive-5xx"
        case consecutiveGatewayFailure = "consecutive-gateway-failure"
        case consecutiveLocalOriginFailure = "consecutive-local-origin-failure"
        case successRate = "success-rate"
        case localOriginSuccessRate = "local-origin-success-rate"
        case failurePercentage = "failure-percentage"
        case localOriginFailurePercentage = "local-origin-failure-percentage"
    }
    /// What one attempt came to.
    public enum Outcome: Equatable, Sendable {
        /// A response; for gRPC the status that its own stands for.
        case status(Int)
        /// No response: our side could not connect, was reset, or waited too long.
        case localFailure(wasConnected: Bool)
        /// A connection for bytes was made, which is all that is known of it.
        case connected
    }
    /// What the attempts of one endpoint in one interval came to, on all workers.
    public struct Volume: Equatable, Sendable {
        public var total: Int
        public var good: Int
        /// Of our own side; 0 unless it is split off.
        public var localTotal: Int
        public var localGood: Int

        public init(total: Int = 0, good: Int = 0, localTotal: Int = 0, localGood: Int = 0) {
            self.total = total
            self.good = good
            self.localTotal = localTotal
            self.localGood = localGood
        }
    }
    public enum Fate: Equatable, Sendable {
        /// Out until the end of an interval after this.
        case ejected(until: Instant)
        case notEnforced
        /// Too many are out already.
        case overCap
    }
    /// An outlier, and what is done about it.
    public struct Finding: Equatable, Sendable {
        public let address: SocketAddress
        public let kind: Kind
        public let fate: Fate

        public init(address: SocketAddress, kind: Kind, fate: Fate) {
            self.address = address
            self.kind = kind
            self.fate = fate
        }
    }

    private struct Record {
        var priority: Int
        var serverErrors = 0
        var gatewayErrors = 0
        var localFailures = 0
        /// Ejections that still lengthen the next one.
        var multiplier = 0
        var ejectedUntil: Instant?
    }

    private let config: OutlierDetection
    /// Of whom `max_ejection_percent` is the share.
    private let cap: EjectionCap
    private var records: [SocketAddress: Record] = [:]
    /// As they were given, so that a seed replays.
    private var order: [SocketAddress] = []
    private var random: SeededRandom
    private var nextInterval = Instant.zero
    /// Something failed since the last interval ended.
    private var hasFailures = false

    public init(
        _ config: OutlierDetection, cap: EjectionCap = .cluster, random: SeededRandom
    ) {
        self.config = config
        self.cap = cap
        self.random = random
    }

    /// Takes the cluster's endpoints; those that went are forgotten.
    public mutating func update(_ endpoints: [(address: SocketAddress, priority: Int)]) {
        var kept: [SocketAddress: Record] = [:]
        order = []
        for (address, priority) in endpoints where kept[address] == nil {
            kept[address] = records[address] ?? Record(priority: priority)
            kept[address]?.priority = priority
            order.append(address)
        }
        records = kept
    }

    public var ejected: [SocketAddress] { order.filter { records[$0]?.ejectedUntil != nil } }
    public func ejectedUntil(_ address: SocketAddress) -> Instant? {
        records[address]?.ejectedUntil
    }

    // MARK: Runs

    /// Takes one attempt in. - Returns: what it was one too many for; mostly nothing.
    public mutating func record(
        _ address: SocketAddress, _ outcome: Outcome, now: Instant
    ) -> [Finding] {
        guard records[address] != nil else { return [] }
        let splits = config.splitExternalLocalOriginErrors
        switch outcome {
        case .status(let status):
            if splits { records[address]?.localFailures = 0 }
            return answered(address, status, now)
        case .connected:
            if splits {
                records[address]?.localFailures = 0
                return []
            }
            return answered(address, 200, now)
        case .localFailure(let wasConnected):
            if !splits { return answered(address, 503, now) }
            noteFailure(now)
            if wasConnected { records[address]?.localFailures = 0 }
            return extend(
                \.localFailures, config.consecutiveLocalOriginFailure,
                .consecutiveLocalOriginFailure, address, now)
        }
    }

    private mutating func answered(
        _ address: SocketAddress, _ status: Int, _ now: Instant
    ) -> [Finding] {
        guard status >= 500 else {
            records[address]?.serverErrors = 0
            records[address]?.gatewayErrors = 0
            return []
        }
        noteFailure(now)
        var findings: [Finding] = []
        if (502...504).contains(status) {
            findings = extend(
                \.gatewayErrors, config.consecutiveGatewayFailure, .consecutiveGatewayFailure,
                address, now)
        } else {
            records[address]?.gatewayErrors = 0
        }
        return findings
            + extend(\.serverErrors, config.consecutive5xx, .consecutive5xx, address, now)
    }

    private mutating func extend(
        _ run: WritableKeyPath<Record, Int>, _ threshold: Int, _ kind: Kind,
        _ address: SocketAddress, _ now: Instant
    ) -> [Finding] {
        guard var record = records[address] else { return [] }
        record[keyPath: run] += 1
        let isReached = record[keyPath: run] == threshold && record.ejectedUntil == nil
        if isReached { record[keyPath: run] = 0 }
        records[address] = record
        return isReached ? [eject(address, kind, now)] : []
    }

    private mutating func noteFailure(_ now: Instant) {
        hasFailures = true
        if nextInterval <= now { nextInterval = intervalEnd(after: now) }
    }

    // MARK: Ejection

    private mutating func eject(
        _ address: SocketAddress, _ kind: Kind, _ now: Instant
    ) -> Finding {
        guard var record = records[address] else {
            return Finding(address: address, kind: kind, fate: .notEnforced)
        }
        guard mayEject(record) else {
            return Finding(address: address, kind: kind, fate: .overCap)
        }
        guard random.below(100) < enforcing(kind) else {
            return Finding(address: address, kind: kind, fate: .notEnforced)
        }
        if config.baseEjectionTime * record.multiplier
            < config.maxEjectionTime + config.baseEjectionTime
        {
            record.multiplier += 1
        }
        let jitter = Int(config.maxEjectionTimeJitter.milliseconds)
        let until =
            now + min(config.baseEjectionTime * record.multiplier, config.maxEjectionTime)
            + .milliseconds(jitter > 0 ? random.below(jitter + 1) : 0)
        record.ejectedUntil = until
        records[address] = record
        if nextInterval <= now { nextInterval = intervalEnd(after: now) }
        return Finding(address: address, kind: kind, fate: .ejected(until: until))
    }

    /// The share counts the endpoint that is about to go.
    private func mayEject(_ candidate: Record) -> Bool {
        var all = 0
        var out = 0
        for record in records.values where cap == .cluster || record.priority == candidate.priority
        {
            all += 1
            if record.ejectedUntil != nil { out += 1 }
        }
        if config.alwaysEjectOneHost, out == 0 { return true }
        return 100 * (out + 1) <= min(100, config.maxEjectionPercent) * all
    }

    private func enforcing(_ kind: Kind) -> Int {
        switch kind {
        case .consecutive5xx: config.enforcingConsecutive5xx
        case .consecutiveGatewayFailure: config.enforcingConsecutiveGatewayFailure
        case .consecutiveLocalOriginFailure: config.enforcingConsecutiveLocalOriginFailure
        case .successRate: config.enforcingSuccessRate
        case .localOriginSuccessRate: config.enforcingLocalOriginSuccessRate
        case .failurePercentage: config.enforcingFailurePercentage
        case .localOriginFailurePercentage: config.enforcingFailurePercentageLocalOrigin
        }
    }

    private mutating func giveBack(_ address: SocketAddress) {
        records[address]?.ejectedUntil = nil
        // Else the run that did not eject might, after very few errors.
        records[address]?.serverErrors = 0
        records[address]?.gatewayErrors = 0
        records[address]?.localFailures = 0
    }

    /// An active health check of this endpoint passed, and it counts as healthy.
    /// - Returns: whether that ended an ejection.
    public mutating func healthCheckPassed(_ address: SocketAddress) -> Bool {
        guard config.successfulActiveHealthCheckUnejectHost,
            records[address]?.ejectedUntil != nil
        else { return false }
        giveBack(address)
        return true
    }

    // MARK: Intervals

    private func intervalEnd(after now: Instant) -> Instant {
        let length = max(1, config.interval.nanoseconds)
        return Instant(nanoseconds: (now.nanoseconds / length + 1) * length)
    }

    /// The end of the interval, where there is anything to look at then.
    public var nextDeadline: Instant? {
        hasFailures || records.values.contains { $0.multiplier > 0 } ? nextInterval : nil
    }

    /// - Parameter volume: what an endpoint's attempts came to in the interval that has just ended.
    /// - Returns: who may take traffic again, and whom the shares single out.
    public mutating func intervalEnded(
        at now: Instant, volume: (SocketAddress) -> Volume
    ) -> (returned: [SocketAddress], findings: [Finding]) {
        guard now >= nextInterval else { return ([], []) }
        nextInterval = intervalEnd(after: now)
        var returned: [SocketAddress] = []
        for address in order {
            if let until = records[address]?.ejectedUntil, until <= now {
                giveBack(address)
                returned.append(address)
            }
        }
        var findings: [Finding] = []
        // Where nothing failed there are no outliers.
        if hasFailures {
            let volumes = order.map { (address: $0, volume: volume($0)) }
            findings += compare(
                volumes.map { ($0.address, $0.volume.total, $0.volume.good) }, .successRate,
                .failurePercentage, now)
            findings += compare(
                volumes.map { ($0.address, $0.volume.localTotal, $0.volume.localGood) },
                .localOriginSuccessRate, .localOriginFailurePercentage, now)
        }
        hasFailures = false
        for address in order {
            guard let record = records[address], record.ejectedUntil == nil,
                record.multiplier > 0
            else { continue }
            records[address]?.multiplier -= 1
        }
        return (returned, findings)
    }

    private mutating func compare(
        _ volumes: [(address: SocketAddress, total: Int, good: Int)], _ rateKind: Kind,
        _ percentageKind: Kind, _ now: Instant
    ) -> [Finding] {
        let counted = volumes.filter { $0.total > 0 && records[$0.address]?.ejectedUntil == nil }
            .map { (address: $0.address, total: $0.total, rate: rate($0.good, of: $0.total)) }
        var findings: [Finding] = []
        let rated = counted.filter { $0.total >= config.successRateRequestVolume }
        if !rated.isEmpty, rated.count >= config.successRateMinimumHosts {
            let threshold = OutlierDetector.threshold(
                rated.map(\.rate), factor: Double(config.successRateStdevFactor) / 1000)
            for endpoint in rated where endpoint.rate < threshold {
                findings.append(eject(endpoint.address, rateKind, now))
            }
        }
        let judged = counted.filter { $0.total >= config.failurePercentageRequestVolume }
        if !judged.isEmpty, judged.count >= config.failurePercentageMinimumHosts {
            for endpoint in judged
            where 100 - endpoint.rate >= Double(config.failurePercentageThreshold)
                && records[endpoint.address]?.ejectedUntil == nil
            {
                findings.append(eject(endpoint.address, percentageKind, now))
            }
        }
        return findings
    }

    private func rate(_ good: Int, of total: Int) -> Double {
        Double(good) * 100 / Double(total)
    }

    /// Below which success rate an endpoint is an outlier: the mean minus so many deviations.
    static func threshold(_ rates: [Double], factor: Double) -> Double {
        let mean = rates.reduce(0, +) / Double(rates.count)
        let variance = rates.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rates.count)
        return mean - factor * variance.squareRoot()
    }
}
