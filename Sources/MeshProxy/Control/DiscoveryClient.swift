import EventLoop
import MeshBase
import MeshConfig
import XDSClient

/// Speaks to all control planes of the bootstrap: opens and closes their streams as
/// `ControlPlaneSet` says, feeds each one's resources to its own builder, and hands out the snapshots
/// of the one in force. Resources of two control planes are never mixed.
final class DiscoveryClient {
    /// What became of one control plane; for admin and logs.
    struct Status {
        var name: String
        var isInForce: Bool
        var phase: ControlPlaneSet.Phase
        var identifier: String
        var lastUpdate: Instant?
        var rejected: [String]
    }

    private final class Plane {
        let config: AggregatedDiscovery.ControlPlane
        var session: XDSSession
        var builder: SnapshotBuilder
        var stream: DiscoveryStream?
        var latest: Snapshot?
        var identifier = ""
        var lastUpdate: Instant?
        var rejections: [ResourceType: [String]] = [:]

        init(
            config: AggregatedDiscovery.ControlPlane, session: XDSSession, builder: SnapshotBuilder
        ) {
            self.config = config
            self.session = session
            self.builder = builder
        }
    }

    private let loop: any IOLoop
    private let clusters: ClusterSet
    private let bootstrap: Bootstrap
    private let log: ProxyLog
    private let publish: (Snapshot, _ source: String) -> Void
    private var set: ControlPlaneSet
    private var planes: [Plane] = []
    private var timer: LoopTimer?
    /// What a drill does here, until its timer fires.
    private var gate: PlaneGate?
    private var gateTimer: LoopTimer?
    /// Told after everything that may have changed how the control planes stand.
    var changed: () -> Void = {}
    /// Counters for `cluster_manager.cds.*`, `listener_manager.lds.*` and their like.
    private(set) var counts: [ResourceType: (successes: Int, rejections: Int, attempts: Int)] = [:]

    /// - Parameter publish: called with each new snapshot of the control plane in force.
    init(
        bootstrap: Bootstrap, discovery: AggregatedDiscovery, clusters: ClusterSet, log: ProxyLog,
        publish: @escaping (Snapshot, String) -> Void
    ) {
        self.bootstrap = bootstrap
        self.clusters = clusters
        self.log = log
        self.publish = publish
        loop = clusters.loop
        set = ControlPlaneSet(
            count: discovery.controlPlanes.count, timeout: bootstrap.settings.controlPlaneTimeout,
            returnHold: bootstrap.settings.controlPlaneReturnHold, random: loop.random.split(),
            now: loop.now)
        var expected: Set<ResourceType> = []
        if bootstrap.wantsCDS { expected.insert(.cluster) }
        if bootstrap.wantsLDS { expected.insert(.listener) }
        for config in discovery.controlPlanes {
            let session = XDSSession(
                variant: discovery.delta ? .incremental : .stateOfTheWorld, node: bootstrap.node,
                nodeOnFirstMessageOnly: discovery.setNodeOnFirstMessageOnly)
            let builder = SnapshotBuilder(
                staticResources: bootstrap.staticResources, source: config.cluster,
                expected: expected)
            planes.append(Plane(config: config, session: session, builder: builder))
        }
        timer = LoopTimer(loop.timers) { [unowned self] in step() }
        gateTimer = LoopTimer(loop.timers) { [unowned self] in adopt(nil) }
    }

    func start() {
        for plane in planes {
            if bootstrap.wantsCDS { _ = plane.session.subscribe(.cluster) }
            if bootstrap.wantsLDS { _ = plane.session.subscribe(.listener) }
        }
        step()
    }

    /// Begins what a drill does to a control plane, if it does anything; `nil` ends it. It also ends by itself.
    func adopt(_ drill: Drill?) {
        let old = gate
        gate = nil
        gateTimer?.stop()
        if let drill, drill.fault.isOfControlPlane,
            let index = planes.firstIndex(where: { $0.config.cluster == drill.plane })
        {
            gate = PlaneGate(drill: drill, index: index)
            gateTimer?.start(at: drill.ends)
            if drill.fault == .planeDown, let stream = planes[index].stream {
                stream.cancel()
                ended(index, "drill")
            }
        }
        if let index = set.inForce,
            old?.drill.fault == .planeWrong || gate?.drill.fault == .planeWrong
        {
            pass(index)
        }
        changed()
    }

    /// Hands out what the control plane in force has given.
    private func pass(_ index: Int) {
        guard let snapshot = planes[index].latest else { return }
        publish(gate?.passed(snapshot, from: index) ?? snapshot, planes[index].config.cluster)
    }

    func stop() {
        timer?.stop()
        gateTimer?.stop()
        for plane in planes { plane.stream?.cancel() }
    }

    var statuses: [Status] {
        planes.enumerated().map { index, plane in
            Status(
                name: plane.config.cluster, isInForce: set.inForce == index,
                phase: set.phase(of: index), identifier: plane.identifier,
                lastUpdate: plane.lastUpdate, rejected: plane.rejections.values.flatMap { $0 })
        }
    }

    var inForce: String? { self.set.inForce.map { planes[$0].config.cluster } }

    /// What resources wait for, in words.
    var warming: [String] {
        (set.inForce ?? 0) < planes.count ? planes[set.inForce ?? 0].builder.warming : []
    }

    // MARK: Inside

    private func step() {
        for step in set.steps(now: loop.now) {
            switch step {
            case .connect(let index): connect(index)
            case .disconnect(let index):
                planes[index].stream?.cancel()
                planes[index].stream = nil
            case .switchTo(let index):
                log.info("control plane in force", ["name": planes[index].config.cluster])
                pass(index)
            }
        }
        if let deadline = set.nextDeadline { timer?.start(at: deadline) } else { timer?.stop() }
        changed()
    }

    private func connect(_ index: Int) {
        let plane = planes[index]
        let known = clusters[plane.config.cluster]
        guard let cluster = known, gate?.shuts(index) != true else {
            let reason = known == nil ? "no static cluster \(plane.config.cluster)" : "drill"
            loop.atTurnEnd(Deferred { [weak self] in self?.ended(index, reason) })
            return
        }
        let stream = DiscoveryStream(
            cluster: cluster, path: plane.session.variant.path, authority: plane.config.authority,
            metadata: plane.config.initialMetadata
        ) { [weak self] event in self?.received(event, index) }
        plane.stream = stream
        stream.open()
        for message in plane.session.begin() { stream.send(message) }
    }

    private func received(_ event: DiscoveryStream.Event, _ index: Int) {
        switch event {
        case .opened: break
        case .message(let bytes): received(bytes, index)
        case .ended(let reason): ended(index, reason)
        }
    }

    private func ended(_ index: Int, _ reason: String) {
        let plane = planes[index]
        plane.stream = nil
        log.info("control plane stream ended", ["name": plane.config.cluster, "reason": reason])
        set.ended(index, now: loop.now)
        step()
    }

    private func received(_ bytes: [UInt8], _ index: Int) {
        let plane = planes[index]
        switch plane.session.received(bytes) {
        case .malformed(let reason):
            plane.stream?.cancel()
            ended(index, reason)
        case .ignored(let reason):
            log.debug("response ignored", ["name": plane.config.cluster, "reason": reason])
        case .update(let update):
            take(update, plane, index)
        }
    }

    private func take(_ update: XDSSession.Update, _ plane: Plane, _ index: Int) {
        plane.lastUpdate = loop.now
        if !update.controlPlane.isEmpty { plane.identifier = update.controlPlane }
        let rejections = plane.builder.apply(
            type: update.type, resources: update.resources, removed: update.removed,
            isFullSet: update.isFullSet, version: update.version, now: loop.wallClock)
        plane.rejections[update.type] = rejections.map(\.description)
        for rejection in rejections {
            log.warning(
                "resource rejected",
                ["control_plane": plane.config.cluster, "what": rejection.description])
        }
        var count = counts[update.type] ?? (0, 0, 0)
        count.attempts += 1
        if rejections.isEmpty { count.successes += 1 } else { count.rejections += 1 }
        counts[update.type] = count
        plane.stream?.send(
            plane.session.answer(
                update, rejected: rejections.map { ($0.name, $0.description) }))
        resubscribe(
            plane, again: update.type == .cluster ? plane.builder.takeReplacedClusters() : [])
        if let snapshot = plane.builder.takeSnapshot() {
            plane.latest = snapshot
            if set.inForce == index { pass(index) }
        }
        if plane.builder.isComplete {
            set.becameComplete(index, now: loop.now)
        }
        step()
    }

    private func resubscribe(_ plane: Plane, again: Set<String>) {
        for type in [ResourceType.endpoint, .route, .secret] {
            let wanted = plane.builder.subscriptions(type)
            let message = plane.session.subscribe(
                type, to: wanted, again: type == .endpoint ? again : [])
            if let message { plane.stream?.send(message) }
        }
    }
}
