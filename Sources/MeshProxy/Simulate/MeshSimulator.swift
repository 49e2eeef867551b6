import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig

/// `meshproxy simulate`: what failover would do, from a configuration and a timeline of faults.
///
/// The decisions are the proxy's own: a `Balancer` for each service over one `PathHealth`, `RetryState`
/// and `RetryBudget`, with `FailbackRamp`, `SpillLimiter` and `Evacuation` in them. What is simulated is
/// the rest of the world: requests at even intervals, endpoints that answer after 2 ms or as the
/// timeline says, and time, which is virtual, so an hour takes seconds and a seed always says the same.
///
/// It is one worker. Each attempt counts as a new connection, so a black hole is noticed by the
/// connect time-out and not by PING. Probes, outlier detection and the control loop's ejections are left
/// out: they come after what a worker sees itself and can only be later.
public struct MeshSimulator {
    private let bootstrap: Bootstrap
    private let timeline: FaultTimeline
    private let random: SeededRandom

    /// - Throws: `SimulationError` when the timeline names a service that is not there.
    public init(
        _ bootstrap: Bootstrap, _ timeline: FaultTimeline, seed: UInt64 = 1
    ) throws(SimulationError) {
        self.bootstrap = bootstrap
        self.timeline = timeline
        random = SeededRandom(seed: seed)
        let names = bootstrap.staticResources.services.map(\.name)
        if names.isEmpty {
            throw SimulationError(text: "the bootstrap has no static cluster with endpoints")
        }
        let asked = timeline.traffic.map(\.service) + timeline.entries.compactMap(\.scope.service)
        for name in asked where !names.contains(name) {
            throw SimulationError(
                text:
                    "no static cluster is called \(name); there are \(names.joined(separator: ", "))"
            )
        }
    }

    /// The proxy's own cluster as the bootstrap has it: the timeline's faults are not its.
    private var localCluster: LocalCluster? {
        let settings = bootstrap.settings
        let name = settings.localCluster
        guard let cluster = bootstrap.staticResources.clusters.first(where: { $0.name == name })
        else { return nil }
        let members = Balancer(
            configuration: cluster.loadBalancing, paths: PathHealth(), random: random)
        _ = members.update(endpoints: cluster.endpoints.resolved())
        return LocalCluster(members: members.hosts, own: settings.locality)
    }

    public func run() -> SimulationReport {
        var random = random
        let paths = PathHealth(
            baseHold: bootstrap.settings.baseHold, maxHold: bootstrap.settings.maxHold)
        let given = Dictionary(timeline.traffic.map { ($0.service, $0) }) { $1 }
        var services: [SimulatedService] = []
        let localCluster = localCluster
        for cluster in bootstrap.staticResources.services {
            let traffic =
                given[cluster.name]
                ?? FaultTimeline.Traffic(service: cluster.name, perSecond: 100, bytes: 10_000)
            if !given.isEmpty, given[cluster.name] == nil { continue }
            // Nobody asks us, unless the timeline says so.
            if given.isEmpty, cluster.name == bootstrap.settings.localCluster { continue }
            services.append(
                SimulatedService(
                    cluster, traffic, bootstrap, timeline, paths: paths,
                    localCluster: localCluster, random: random.split()))
        }
        var queue = SimulationQueue()
        for (index, service) in services.enumerated() {
            for time in service.plan() { queue.add(time, service: index, .tick) }
            queue.add(.zero, service: index, .arrival)
        }
        while let event = queue.next() {
            services[event.service].received(event, &queue)
        }
        return SimulationReport(
            length: timeline.length, services: services.map { $0.finish() })
    }
}

extension Snapshot {
    /// Clusters that can be asked: with endpoints, or with members that have some.
    fileprivate var services: [Cluster] {
        clusters.filter { cluster in
            cluster.endpoints.count > 0
                || cluster.leaves { name in clusters.first { $0.name == name } }
                    .contains { $0.endpoints.count > 0 }
        }
    }
}

extension MeshSimulator {
    /// Reads a timeline's file and runs it.
    public static func run(
        _ loaded: LoadedBootstrap, timeline path: String, seed: UInt64
    ) throws -> SimulationReport {
        let text = String(decoding: try Files.read(path), as: UTF8.self)
        do {
            let timeline = try FaultTimeline(text)
            return try MeshSimulator(loaded.bootstrap, timeline, seed: seed).run()
        } catch {
            throw SimulationError(text: "\(path): \(error)")
        }
    }
}

public struct SimulationError: Error, CustomStringConvertible {
    public let text: String
    public var description: String { text }
}

/// What is to happen, in order of time and then of asking.
struct SimulationQueue {
    enum What {
        /// The timeline changes something.
        case tick
        case arrival
        case attempt(SimulatedRequest)
        case ended(SimulatedRequest)
    }
    struct Event {
        var time: Instant
        var number: Int
        var service: Int
        var what: What
    }

    private var heap: [Event] = []
    private var count = 0

    mutating func add(_ time: Instant, service: Int, _ what: What) {
        heap.append(Event(time: time, number: count, service: service, what: what))
        count += 1
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next() -> Event? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if heap.isEmpty { return first }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == parent { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].number) < (heap[right].time, heap[right].number)
    }
}

final class SimulatedRequest {
    let began: Instant
    var retry: RetryState
    var attempted: [Host] = []
    var chosen: SimulatedHosts.Chosen?
    /// How long the attempt takes.
    var took = Duration.zero
    var result = Result.answered(200)
    var holdsBudget = false

    enum Result {
        case answered(Int)
        case failed(TransportFailure.Kind, RetryState.Progress)
        /// The route's time-out came first.
        case outOfTime
    }

    init(began: Instant, retry: RetryState) {
        self.began = began
        self.retry = retry
    }
}
