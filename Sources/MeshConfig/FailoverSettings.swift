/// How a priority that was wholly out is returned to.
///
/// The hold is as long as the outage was, within bounds: a restart of a second is over in a second,
/// while what was away for minutes has to stay well for ten seconds first. The ramp after it is as
/// much of `ramp` as the hold is of `maxHold`.
public struct FailbackSettings: Sendable, Equatable {
    public var isEnabled: Bool
    public var minHold: Duration
    public var maxHold: Duration
    public var ramp: Duration
    /// Failed requests in percent above which a step is taken back.
    public var maxErrorPercent: Int

    public init(
        isEnabled: Bool = true, minHold: Duration = .seconds(1), maxHold: Duration = .seconds(10),
        ramp: Duration = .seconds(30), maxErrorPercent: Int = 5
    ) {
        self.isEnabled = isEnabled
        self.minHold = minHold
        self.maxHold = maxHold
        self.ramp = ramp
        self.maxErrorPercent = maxErrorPercent
    }
}

/// What a surviving locality may be given while another one is out. Without either limit nothing is
/// ever shed.
public struct SpillSettings: Sendable, Equatable {
    /// Requests for each second that one locality may take over.
    public var maxPerSecond: Int?
    /// Percent of what it had before: 200 is twice as much.
    public var maxGrowthPercent: Int?
    /// What clients are told to wait.
    public var retryAfter: Duration

    public init(
        maxPerSecond: Int? = nil, maxGrowthPercent: Int? = nil, retryAfter: Duration = .seconds(1)
    ) {
        self.maxPerSecond = maxPerSecond
        self.maxGrowthPercent = maxGrowthPercent
        self.retryAfter = retryAfter
    }

}

extension Settings {
    /// The same for one of several workers, which share no counter.
    public func share(ofWorkers count: Int) -> Settings {
        var share = self
        if let all = spill.maxPerSecond { share.spill.maxPerSecond = max(1, all / max(1, count)) }
        return share
    }
}
