public import MeshConfig
public import MeshBase

/// Puts resources together into snapshots that are complete.
///
/// It holds what one control plane gave, each resource in its last good version. A snapshot is made of
/// those resources that have everything they name: a cluster its endpoints and secrets, a listener its routes and
/// secrets. One that lacks something *warms*: its predecessor stays in force until then, and if there is
/// none it is left out. So a push is made before anything is broken, in whichever order its parts come.
///
/// Absence of a stream changes nothing here; only what a server says does.
public struct SnapshotBuilder: Sendable {
    private struct Held<Value: Sendable>: Sendable {
        var value: Value
        var hash: UInt64
    }

    private let staticResources: Snapshot
    private var clusters: [String: Held<Cluster>] = [:]
    private var endpoints: [String: Held<EndpointSet>] = [:]
    private var listeners: [String: Held<Listener>] = [:]
    /// In the order in which the server first gave them.
    private var listenerOrder: [String] = []
    private var routes: [String: Held<RouteConfiguration>] = [:]
    private var secrets: [String: Held<Secret>] = [:]

    /// What is in force: the last version of each that was complete.
    private var liveClusters: [String: Cluster] = [:]
    private var liveListeners: [String: Listener] = [:]
    /// EDS clusters that were replaced and have not had an answer since.
    private var replaced: Set<String> = []
    private var hasChanged = true
    /// What waits, and for what.
    public private(set) var warming: [String] = []

    public init(staticResources: Snapshot) {
        self.staticResources = staticResources
    }

    /// Everything that was named has come.
    public var isComplete: Bool { warming.isEmpty }

    // MARK: What a server says

    /// Takes the resources of one response. Good ones are held, bad ones are returned, and what was
    /// held of a bad one's name stays.
    public mutating func apply(
        type: ResourceType, resources: [RawResource], removed: [String], isFullSet: Bool,
        version: String, source: String, now: UnixTime
    ) -> [Rejection] {
        var rejections: [Rejection] = []
        var named: Set<String> = []
        for raw in resources {
            let provenance = Provenance(
                version: raw.version.isEmpty ? version : raw.version, source: source, updated: now)
            let (result, _) = ResourceDecoder.decode(raw, type: type, provenance: provenance)
            switch result {
            case .success(let resource):
                if !named.insert(resource.name).inserted { continue }
                hold(resource, hash: SnapshotBuilder.hash(raw.value))
            case .failure(let rejection):
                named.insert(rejection.resource)
                rejections.append(rejection)
            }
        }
        for name in removed { drop(type, name) }
        if isFullSet {
            for name in heldNames(type) where !named.contains(name) { drop(type, name) }
        }
        settle()
        return rejections
    }

    /// Names of a type that are wanted now.
    public func subscriptions(_ type: ResourceType) -> Set<String> {
        switch type {
        case .cluster, .listener: return []
        case .endpoint:
            return Set(clusters.values.compactMap { SnapshotBuilder.serviceName($0.value) })
        case .route:
            return Set(listeners.values.flatMap { SnapshotBuilder.routeNames($0.value) })
        case .secret:
            let fixed = Set(staticResources.secrets.keys)
            let named =
                clusters.values.flatMap { SnapshotBuilder.secretNames($0.value) }
                + listeners.values.flatMap { SnapshotBuilder.secretNames($0.value) }
                + staticResources.clusters.flatMap { SnapshotBuilder.secretNames($0) }
                + staticResources.listeners.flatMap { SnapshotBuilder.secretNames($0) }
            return Set(named).subtracting(fixed)
        }
    }

    /// EDS names of clusters that were replaced since the last call: servers hold their answer
    /// until they are asked again.
    public mutating func takeReplacedClusters() -> Set<String> {
        let names = replaced
        replaced = []
        return names
    }

    /// A new snapshot, if anything in force has changed since the last call.
    public mutating func takeSnapshot() -> Snapshot? {
        guard hasChanged else { return nil }
        hasChanged = false
        var snapshot = staticResources
        let fixed = Set(snapshot.clusters.map(\.name))
        snapshot.clusters += liveClusters.values.filter { !fixed.contains($0.name) }
        snapshot.clusters.sort { $0.name < $1.name }
        let fixedListeners = Set(snapshot.listeners.map(\.name))
        snapshot.listeners += listenerOrder.compactMap { name in
            fixedListeners.contains(name) ? nil : liveListeners[name]
        }
        for name in snapshot.listeners.flatMap(SnapshotBuilder.routeNames) {
            if let held = routes[name] { snapshot.routes[name] = held.value }
        }
        for (name, held) in secrets { snapshot.secrets[name] = held.value }
        return snapshot
    }

    // MARK: Holding

    private mutating func hold(_ resource: DecodedResource, hash: UInt64) {
        switch resource {
        case .cluster(var cluster):
            cluster.generation = hash
            if let old = clusters[cluster.name], old.hash != hash,
                let service = SnapshotBuilder.serviceName(cluster)
            {
                replaced.insert(service)
            }
            if clusters[cluster.name]?.hash != hash { hasChanged = true }
            clusters[cluster.name] = Held(value: cluster, hash: hash)
        case .endpoints(let name, var set):
            set.generation = hash
            if endpoints[name]?.hash != hash { hasChanged = true }
            endpoints[name] = Held(value: set, hash: hash)
        case .listener(var listener):
            listener.generation = hash
            if listeners[listener.name]?.hash != hash { hasChanged = true }
            if listeners[listener.name] == nil { listenerOrder.append(listener.name) }
            listeners[listener.name] = Held(value: listener, hash: hash)
        case .route(var route):
            route.generation = hash
            if routes[route.name]?.hash != hash { hasChanged = true }
            routes[route.name] = Held(value: route, hash: hash)
        case .secret(var secret):
            secret.generation = hash
            if secrets[secret.name]?.hash != hash { hasChanged = true }
            secrets[secret.name] = Held(value: secret, hash: hash)
        }
    }

    private mutating func drop(_ type: ResourceType, _ name: String) {
        hasChanged = true
        switch type {
        case .cluster:
            clusters[name] = nil
            liveClusters[name] = nil
        case .endpoint: endpoints[name] = nil
        case .listener:
            listeners[name] = nil
            liveListeners[name] = nil
            listenerOrder.removeAll { $0 == name }
        case .route: routes[name] = nil
        case .secret: secrets[name] = nil
        }
    }

    private func heldNames(_ type: ResourceType) -> [String] {
        switch type {
        case .cluster: Array(clusters.keys)
        case .endpoint: Array(endpoints.keys)
        case .listener: Array(listeners.keys)
        case .route: Array(routes.keys)
        case .secret: Array(secrets.keys)
        }
    }

    // MARK: What is complete

    /// Brings into force what has all that it names.
    private mutating func settle() {
        warming = []
        for (name, held) in clusters.sorted(by: { $0.key < $1.key }) {
            var cluster = held.value
            var missing = missingSecrets(SnapshotBuilder.secretNames(cluster))
            if let service = SnapshotBuilder.serviceName(cluster) {
                if let set = endpoints[service] {
                    cluster.endpoints = set.value
                } else {
                    missing.append("endpoints \(service)")
                }
            }
            if missing.isEmpty {
                liveClusters[name] = cluster
            } else {
                warming.append("cluster \(name) waits for \(missing.joined(separator: ", "))")
            }
        }
        for (name, held) in listeners.sorted(by: { $0.key < $1.key }) {
            var missing = missingSecrets(SnapshotBuilder.secretNames(held.value))
            for route in SnapshotBuilder.routeNames(held.value) where routes[route] == nil {
                missing.append("routes \(route)")
            }
            if missing.isEmpty {
                liveListeners[name] = held.value
            } else {
                warming.append("listener \(name) waits for \(missing.joined(separator: ", "))")
            }
        }
    }

    private func missingSecrets(_ names: [String]) -> [String] {
        names.filter { secrets[$0] == nil && staticResources.secrets[$0] == nil }
            .map { "secret \($0)" }
    }

    // MARK: What a resource names

    private static func serviceName(_ cluster: Cluster) -> String? {
        guard case .eds(let service) = cluster.discovery else { return nil }
        return service.isEmpty ? cluster.name : service
    }

    private static func routeNames(_ listener: Listener) -> [String] {
        chains(listener).compactMap { chain in
            if case .http(let manager) = chain.filter, case .named(let name) = manager.routes {
                return name
            }
            return nil
        }
    }

    private static func secretNames(_ cluster: Cluster) -> [String] {
        ([cluster.transport] + cluster.transportMatches.map(\.transport)).flatMap { transport in
            if case .tls(let tls) = transport { return secretNames(tls.common) }
            return []
        }
    }

    private static func secretNames(_ listener: Listener) -> [String] {
        chains(listener).compactMap(\.tls).flatMap { secretNames($0.common) }
    }

    private static func secretNames(_ common: CommonTLS) -> [String] {
        var names = common.certificates.compactMap { reference -> String? in
            if case .secret(let name) = reference { return name }
            return nil
        }
        switch common.validation {
        case .secret(let name), .combined(_, secret: let name): names.append(name)
        case .none, .inline: break
        }
        return names
    }

    private static func chains(_ listener: Listener) -> [FilterChain] {
        listener.filterChains + (listener.defaultFilterChain.map { [$0] } ?? [])
    }

    /// FNV-1a over eight bytes at a time, never 0.
    static func hash(_ bytes: [UInt8]) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        bytes.withUnsafeBytes { raw in
            var offset = 0
            while offset + 8 <= raw.count {
                hash =
                    (hash ^ raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                    &* 0x100_0000_01B3
                hash ^= hash >> 29
                offset += 8
            }
            while offset < raw.count {
                hash = (hash ^ UInt64(raw[offset])) &* 0x100_0000_01B3
                offset += 1
            }
        }
        hash ^= hash >> 32
        return hash == 0 ? 1 : hash
    }
}
