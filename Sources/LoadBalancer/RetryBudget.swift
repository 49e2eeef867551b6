public import MeshBase
public import MeshConfig

/// How many retries of one cluster may run at a time: a share of its requests in flight, so that
/// retries cannot become the load that keeps a cluster down. A retry that waits in its back-off
/// counts, too.
///
/// **The burst.** A share of those in flight says little of a service that answers within milliseconds: of 300
/// requests a second one or two are in flight, and a retry is longer in its back-off than a request is
/// under way. When all local endpoints begin to answer 503, each has to be seen failing a few times before
/// it is left, and those requests come faster than three retries at a time can carry them. So a retry that
/// leaves the failure domain, and thus adds no load to what fails, may go beyond the share: while no more
/// than `burst` retries run in all, and no more than `burst` times in a window of ten seconds. If the other domain
/// fails as well the burst is soon used up, and what it added is ten requests a second. A budget that
/// somebody configured has no burst.
///
/// Workers count their retries together, in `BreakerCells`; who has but one owner counts here.
public struct RetryBudget: Equatable, Sendable {
    public private(set) var active = 0
    private let percent: Double
    private let minimum: Int
    private let burst: Int
    private var bursts = BurstWindow()

    public init(_ breakers: CircuitBreakers = CircuitBreakers()) {
        percent = breakers.retryBudgetPercent
        minimum = breakers.retryBudgetMinimum
        burst = breakers.retryBurst
    }

    /// How many retries may run beside so many requests.
    public func limit(activeRequests: Int) -> Int {
        max(minimum, Int((Double(activeRequests) * percent / 100).rounded(.up)))
    }

    /// Takes a place if there is one; give it back with `ended`.
    public mutating func begin(activeRequests: Int, leavesDomain: Bool, now: Instant) -> Bool {
        if active >= limit(activeRequests: activeRequests) {
            guard leavesDomain, active < burst,
                let used = bursts.using(one: burst, now: now)
            else { return false }
            bursts = used
        }
        active += 1
        return true
    }

    public mutating func ended() {
        precondition(active > 0, "a retry ended that was not begun")
        active -= 1
    }
}

/// How often a burst was drawn on in the window of time that runs; all who read one clock agree on windows.
public struct BurstWindow: Equatable, Sendable {
    /// The window's number, and in the lower bits how often.
    public let rawValue: UInt64
    public static let length = Duration.seconds(10)
    private static let countBits: UInt64 = 24

    public init(rawValue: UInt64 = 0) {
        self.rawValue = rawValue
    }

    /// With one more use, or `nil` if there were `limit` in the window that runs.
    public func using(one limit: Int, now: Instant) -> BurstWindow? {
        let number = UInt64(max(0, now.nanoseconds / BurstWindow.length.nanoseconds))
        let isCurrent = rawValue >> BurstWindow.countBits == number
        let most = UInt64(1) << BurstWindow.countBits - 1
        let count = isCurrent ? rawValue & most : 0
        if count >= limit || count == most { return nil }
        return BurstWindow(rawValue: number << BurstWindow.countBits | (count + 1))
    }
}
