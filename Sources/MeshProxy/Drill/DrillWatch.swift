import MeshBase

/// The control loop's view of a drill: what all workers counted, and whether it must be called off.
struct DrillWatch {
    let drill: Drill
    private(set) var stopped: Instant?
    /// Why it ended before its time.
    private(set) var reason: String?
    private var workers: [Int: (counts: DrillCounts, phase: DrillRun.Phase)] = [:]
    /// Another control plane whose configuration came into force meanwhile, and when.
    private var successor: (name: String, since: Instant)?
    /// After the end: when the control plane had given everything again, and when it was in force.
    private var reconnected: Instant?
    private var resumed: Instant?

    init(_ drill: Drill) {
        self.drill = drill
    }

    var counts: DrillCounts {
        workers.values.reduce(into: DrillCounts()) { $0.add($1.counts) }
    }

    /// A worker has told what it saw. - Returns: whether the drill has to be stopped.
    mutating func received(
        _ counts: DrillCounts, _ phase: DrillRun.Phase, worker: Int, now: Instant
    ) -> Bool {
        workers[worker] = (counts, phase)
        let all = self.counts
        guard isRunning(at: now), all.exceeds(drill.abortAtErrors) else { return false }
        stop(
            "\(all.failed) of \(all.requests) requests had failed, and the limit is "
                + "\(drill.abortAtErrors) %", at: now)
        return true
    }

    /// How the control planes stand.
    /// - Parameter isComplete: of the one that the drill is about.
    mutating func followed(inForce: String?, isComplete: Bool, now: Instant) {
        guard drill.fault.isOfControlPlane else { return }
        if isRunning(at: now) {
            if let inForce, inForce != drill.plane, successor == nil { successor = (inForce, now) }
            return
        }
        if isComplete, reconnected == nil { reconnected = now }
        if isComplete, inForce == drill.plane, resumed == nil { resumed = now }
    }

    mutating func stop(_ reason: String, at now: Instant) {
        guard isRunning(at: now) else { return }
        self.reason = reason
        stopped = now
    }

    func isRunning(at now: Instant) -> Bool { stopped == nil && now < drill.ends }

    /// Workers that never had to do with the cluster don't report, and are not waited for.
    func phase(at now: Instant) -> DrillRun.Phase {
        if isRunning(at: now) { return .running }
        let end = stopped ?? drill.ends
        let isCutOff = drill.fault == .planeDown && resumed == nil
        let isWaiting = isCutOff || workers.values.contains { $0.phase != .over }
        let longest = DrillRun.longestReturn + DrillRun.shortestReturn
        return isWaiting && now < end + longest ? .returning : .over
    }

    func status(at now: Instant) -> DrillStatus {
        let counts = counts
        let end = stopped ?? drill.ends
        let began = counts.firstHit ?? drill.began
        var status = DrillStatus()
        status.number = drill.number
        status.cluster = drill.cluster
        status.fault = drill.fault.rawValue
        status.percent = drill.percent
        status.plane = drill.plane
        status.successor = successor?.name
        status.succession = successor.map { $0.since - drill.began }
        if drill.fault == .planeDown {
            status.reconnection = reconnected.map { $0 - end }
            status.resumption = resumed.map { $0 - end }
        }
        switch phase(at: now) {
        case .running: status.state = .running
        case .returning: status.state = .returning
        case .over: status.state = .over
        }
        status.planned = drill.ends - drill.began
        status.elapsed = min(now, end) - drill.began
        status.reason = reason
        status.requests = counts.requests
        status.failed = counts.failed
        status.hit = counts.hit
        status.retries = counts.retries
        status.firstRemote = counts.firstRemote.map { $0 - drill.began }
        status.detection = counts.moved.map { $0 - began }
        let hasReturned = !workers.values.contains {
            $0.counts.requests > 0 && $0.counts.returned == nil
        }
        status.failback = hasReturned ? counts.returned.map { $0 - end } : nil
        return status
    }
}
