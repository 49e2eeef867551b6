import MeshBase

/// A fault that an operator has put on one cluster of a running proxy, for a time.
///
/// Requests are real and so are the consequences: attempts on endpoints of the cluster's best
/// priority meet the fault in the worker, before a connection is taken, and balancing, retries and
/// failback do what they do. What a drill teaches stays in the cluster: no path and no verdict of the
/// control loop suffers, so other clusters at the same addresses don't notice.
///
/// It can't be forgotten: a worker knows the end and reverts by its own clock.
struct Drill: Equatable, Sendable {
    enum Fault: String, CaseIterable, Sendable {
        /// Nobody listens.
        case refuse
        /// Nothing ever comes back.
        case blackhole
        /// The answer comes later by `delay`.
        case slow
        /// The answer is 503.
        case serverError = "5xx"
        /// The endpoints are gone from the configuration.
        case empty
        /// The control plane is not to be reached.
        case planeDown = "cp-down"
        /// The control plane says that the cluster has no endpoints.
        case planeWrong = "cp-wrong"

        var isOfControlPlane: Bool { self == .planeDown || self == .planeWrong }
        /// Attempts on endpoints meet it.
        var isOfAttempts: Bool { self != .empty && !isOfControlPlane }
    }

    /// Counts the drills of this process.
    var number: UInt64
    /// Whose requests are watched, and whose endpoints the fault is about.
    var cluster: String
    var fault: Fault
    /// The control plane that a fault of such is about.
    var plane = ""
    /// Of attempts; with `empty` and `planeWrong`, of endpoints.
    var percent = 100
    var delay = Duration.seconds(1)
    /// It is called off when more of the cluster's requests fail.
    var abortAtErrors = 5
    var began: Instant
    var ends: Instant

    static let longest = Duration.seconds(120)
}

/// What one worker, or all of them, saw of a drill.
struct DrillCounts: Equatable, Sendable {
    /// Requests that began during it and have ended.
    var requests = 0
    var failed = 0
    /// Attempts that met the fault.
    var hit = 0
    var retries = 0
    var firstHit: Instant?
    /// The first answer from another priority.
    var firstRemote: Instant?
    /// The first request that went elsewhere without having been here.
    var moved: Instant?
    /// After the end: the first answer from here, with all of the priority's share back.
    var returned: Instant?

    mutating func add(_ other: DrillCounts) {
        requests += other.requests
        failed += other.failed
        hit += other.hit
        retries += other.retries
        firstHit = DrillCounts.pick(firstHit, other.firstHit, min)
        firstRemote = DrillCounts.pick(firstRemote, other.firstRemote, min)
        // What all have done counts: the last one.
        moved = DrillCounts.pick(moved, other.moved, max)
        returned = DrillCounts.pick(returned, other.returned, max)
    }

    private static func pick(
        _ left: Instant?, _ right: Instant?, _ choose: (Instant, Instant) -> Instant
    ) -> Instant? {
        guard let left, let right else { return left ?? right }
        return choose(left, right)
    }

    /// Too many have failed. The first few count as if twenty had come.
    func exceeds(_ percent: Int) -> Bool {
        failed * 100 > percent * max(requests, DrillCounts.fewestJudged)
    }
    private static let fewestJudged = 20
}

/// One worker's part in a drill: which attempts it hits, and what comes of it.
struct DrillRun {
    enum Phase: Equatable, Sendable {
        case running
        /// It is over, and the traffic not back yet.
        case returning
        case over
    }

    let drill: Drill
    private(set) var counts = DrillCounts()
    private(set) var phase = Phase.running
    private(set) var stopped = Instant.distantFuture
    private var random: SeededRandom
    /// The priority has lost its load and not got all of it back.
    private var isOut = false

    /// So long after its end it is still watched for the return, and at least for requests that it holds.
    static let longestReturn = Duration.seconds(180)
    static let shortestReturn = Duration.seconds(5)

    init(_ drill: Drill, random: SeededRandom) {
        self.drill = drill
        self.random = random
    }

    /// An attempt is about to begin. - Returns: whether it meets the fault.
    mutating func attempted(isLocal: Bool, isRetry: Bool, now: Instant) -> Bool {
        advance(to: now)
        guard phase == .running, now >= drill.began else { return false }
        guard isLocal else {
            let hasBitten = counts.firstHit != nil || !drill.fault.isOfAttempts
            if !isRetry, hasBitten, counts.moved == nil { counts.moved = now }
            return false
        }
        guard drill.fault.isOfAttempts, random.below(100) < drill.percent else { return false }
        counts.hit += 1
        if counts.firstHit == nil { counts.firstHit = now }
        return true
    }

    /// A request of the cluster has ended.
    /// - Parameter isLocal: whose the last attempt was; `nil` where there was none.
    mutating func requestEnded(
        failed: Bool, isLocal: Bool?, attempts: Int, began: Instant, now: Instant
    ) {
        advance(to: now)
        if began >= drill.began, began < stopped {
            counts.requests += 1
            counts.retries += max(0, attempts - 1)
            if failed { counts.failed += 1 }
            if !failed, isLocal == false, counts.firstRemote == nil { counts.firstRemote = now }
        } else if began >= stopped, !failed, isLocal == true, !isOut, counts.returned == nil {
            counts.returned = now
            advance(to: now)
        }
    }

    /// The best priority has gone out or is whole again.
    mutating func turned(isOut: Bool) { self.isOut = isOut }

    mutating func stop(at now: Instant) {
        guard phase == .running else { return }
        phase = .returning
        stopped = min(now, drill.ends)
    }

    /// What time alone brings about.
    mutating func advance(to now: Instant) {
        if phase == .running, now >= drill.ends { stop(at: now) }
        guard phase == .returning, now >= stopped + DrillRun.shortestReturn else { return }
        let isBack = counts.returned != nil || counts.requests == 0
        if isBack || now >= stopped + DrillRun.longestReturn { phase = .over }
    }
}
