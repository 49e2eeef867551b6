public import MeshBase
public import MeshConfig
internal import SwiftProtobuf

// Accepted resources to complete snapshots.
//
// It holds the latest good version of each resource and what is in force. A cluster waits for its
// endpoints and secrets, a listener for its route tables and secrets; while the latest version of
// one waits, the version in force stays. So a snapshot never names what is not there, save the
// clusters of routes: as with Envoy, a request to such a one is answered with 503 when it comes.
//
// Make before break: CDS comes before the routes that follow from it. A cluster that is taken away
// stays while a listener or a route table in force names it.
//
// A generation is a hash of the resource's bytes: servers send everything again with a new version, and
// two control planes that give the same bytes give the same resource. That nothing comes, or a stream begins anew, changes nothing here.

/// Builds snapshots of one control plane's resources together with the static ones.
public struct SnapshotBuilder: Sendable {
    private struct Held<Value: Sendable>: Sendable {
        var value: Value
        var bytes: [UInt8]
    }

    /// The control plane's name.
    public let source: String
    private let fixed: Snapshot
    private let expected: Set<ResourceType>
    private var answered: Set<ResourceType> = []

    private var clusters: [String: Held<Cluster>] = [:]
    private var listeners: [String: Held<Listener>] = [:]
    private var listenerOrder: [String] = []
    private var endpoints: [String: Held<EndpointSet>] = [:]
    private var routes: [String: Held<RouteConfiguration>] = [:]
    private var secrets: [String: Held<Secret>] = [:]

    private var clustersInForce: [String: Cluster] = [:]
    private var listenersInForce: [String: Listener] = [:]
    private var routesInForce: [String: RouteConfiguration] = [:]
    private var secretsInForce: [String: Secret] = [:]
    private var number: UInt64 = 0
    private var replaced: Set<String> = []
    private var isDirty = true
    /// Aggregates taken in this call, with the versions before them.
    private var takenAggregates: [String: Held<Cluster>?] = [:]
    private var lastRemarks: [String] = []

    /// - Parameters:
    ///   - staticResources: win over resources of the same name.
    ///   - expected: wildcard types that must have been answered before it is complete.
    public init(
        staticResources: Snapshot, source: String = "static", expected: Set<ResourceType> = []
    ) {
        fixed = staticResources
        self.source = source
        self.expected = expected
    }

    /// Takes the good resources of a response and refuses the others one by one.
    /// - Returns: what was refused; the versions before them stay in force.
    public mutating func apply(
        type: ResourceType, resources: [RawResource], removed: [String] = [],
        isFullSet: Bool = false, version: String = "", now: UnixTime
    ) -> [Rejection] {
        answered.insert(type)
        isDirty = true
        var rejections: [Rejection] = []
        var names: [String] = []
        for resource in resources {
            var decoding = Decoding()
            let provenance = Provenance(
                version: resource.version.isEmpty ? version : resource.version, source: source,
                updated: now)
            var name = resource.name
            if resource.typeURL != type.typeURL {
                decoding.refuse(expected: type.typeURL, got: resource.typeURL)
            } else {
                name = take(type, resource, provenance, &decoding)
            }
            names.append(name)
            for remark in decoding.remarks where lastRemarks.count < 1000 {
                lastRemarks.append("\(name): \(remark)")
            }
            rejections += decoding.problems.map {
                Rejection(
                    typeURL: type.typeURL, name: name, path: $0.path, expected: $0.expected,
                    got: $0.got)
            }
        }
        if isFullSet {
            let kept = Set(names)
            switch type {
            case .cluster: remove(clusters.keys.filter { !kept.contains($0) }, type)
            case .listener: remove(listeners.keys.filter { !kept.contains($0) }, type)
            case .endpoint: remove(endpoints.keys.filter { !kept.contains($0) }, type)
            case .route: remove(routes.keys.filter { !kept.contains($0) }, type)
            case .secret: remove(secrets.keys.filter { !kept.contains($0) }, type)
            }
        }
        remove(removed, type)
        return rejections + refuseCircles()
    }

    /// Refuses aggregates that lead back to themselves, once all that came with them is there.
    private mutating func refuseCircles() -> [Rejection] {
        if takenAggregates.isEmpty { return [] }
        let own = Dictionary(fixed.clusters.map { ($0.name, $0) }) { $1 }
        var rejections: [Rejection] = []
        for (name, before) in takenAggregates.sorted(by: { $0.key < $1.key }) {
            let circle = Cluster.circle(from: name) {
                (own[$0] ?? clusters[$0]?.value)?.members
            }
            guard let circle else { continue }
            clusters[name] = before
            rejections.append(
                Rejection(
                    typeURL: ResourceType.cluster.typeURL, name: name, path: Cluster.membersPath,
                    expected: "clusters that do not lead back",
                    got: circle.joined(separator: " → ")))
        }
        takenAggregates = [:]
        return rejections
    }

    /// Remarks on resources taken since it was asked last.
    public mutating func takeRemarks() -> [String] {
        defer { lastRemarks = [] }
        return lastRemarks
    }

    /// Names to be subscribed to now; empty for wildcard types.
    public func subscriptions(_ type: ResourceType) -> Set<String> {
        var names: Set<String> = []
        switch type {
        case .cluster, .listener:
            break
        case .endpoint:
            for cluster in wantedClusters { cluster.serviceName.map { _ = names.insert($0) } }
        case .route:
            for listener in wantedListeners { names.formUnion(listener.routeNames) }
        case .secret:
            for cluster in wantedClusters { names.formUnion(cluster.secretNames) }
            for listener in wantedListeners { names.formUnion(listener.secretNames) }
            names.subtract(fixed.secrets.keys)
        }
        return names
    }

    /// EDS names of clusters that were replaced since the last call: servers hold their answer back until
    /// they are asked again.
    public mutating func takeReplacedClusters() -> Set<String> {
        defer { replaced = [] }
        return replaced
    }

    /// What waits, and for what, in words; sorted.
    public var warming: [String] {
        var words: [String] = []
        for cluster in wantedClusters {
            let missing = missing(cluster)
            if !missing.isEmpty {
                words.append("cluster \(cluster.name) waits for \(missing.joined(separator: ", "))")
            }
        }
        for listener in wantedListeners {
            let missing = missing(listener)
            if !missing.isEmpty {
                words.append(
                    "listener \(listener.name) waits for \(missing.joined(separator: ", "))")
            }
        }
        return words.sorted()
    }

    /// Everything that was asked for, and is needed, has come.
    public var isComplete: Bool {
        expected.isSubset(of: answered) && warming.isEmpty
    }

    /// A new complete snapshot if anything changed since the last.
    public mutating func takeSnapshot() -> Snapshot? {
        if !isDirty { return nil }
        isDirty = false
        let before = (clustersInForce, listenersInForce, routesInForce, secretsInForce)
        promoteSecrets()
        promoteListeners()
        promoteClusters()
        dropUnusedSecrets()
        let after = (clustersInForce, listenersInForce, routesInForce, secretsInForce)
        if number > 0, before.0.mapValues(Key.init) == after.0.mapValues(Key.init),
            before.1.mapValues(\.generation) == after.1.mapValues(\.generation),
            before.2.mapValues(\.generation) == after.2.mapValues(\.generation),
            before.3.mapValues(\.generation) == after.3.mapValues(\.generation)
        {
            return nil
        }
        number += 1
        let order = fixed.listeners.map(\.name) + listenerOrder
        return Snapshot(
            number: number, source: source,
            listeners: order.compactMap { listenersInForce[$0] },
            clusters: clustersInForce.values.sorted { $0.name < $1.name }, routes: routesInForce,
            secrets: secretsInForce, files: fixed.files)
    }

    private struct Key: Equatable {
        var cluster: UInt64
        var endpoints: UInt64

        init(_ value: Cluster) {
            cluster = value.generation
            endpoints = value.endpoints.generation
        }
    }

    // MARK: Taking

    private mutating func take(
        _ type: ResourceType, _ resource: RawResource, _ provenance: Provenance,
        _ decoding: inout Decoding
    ) -> String {
        let generation = ContentHash.of(resource.value)
        switch type {
        case .cluster:
            guard let message = decoding.message(resource, Envoy_Config_Cluster_V3_Cluster.self)
            else { return resource.name }
            if clusters[message.name]?.bytes == resource.value { return message.name }
            guard var value = decoding.cluster(message), decoding.problems.isEmpty else {
                return message.name
            }
            value.generation = generation
            value.endpoints.generation = generation
            value.provenance = provenance
            if value.members != nil { takenAggregates[message.name] = clusters[message.name] }
            if clusters[message.name] != nil { value.serviceName.map { _ = replaced.insert($0) } }
            clusters[message.name] = Held(value: value, bytes: resource.value)
            return message.name
        case .endpoint:
            let message = decoding.message(
                resource, Envoy_Config_Endpoint_V3_ClusterLoadAssignment.self)
            guard let message else { return resource.name }
            if endpoints[message.clusterName]?.bytes == resource.value {
                return message.clusterName
            }
            var value = decoding.endpoints(message)
            if !decoding.problems.isEmpty { return message.clusterName }
            value.generation = generation
            endpoints[message.clusterName] = Held(value: value, bytes: resource.value)
            return message.clusterName
        case .listener:
            guard let message = decoding.message(resource, Envoy_Config_Listener_V3_Listener.self)
            else { return resource.name }
            let name = message.name.isEmpty ? resource.name : message.name
            if listeners[name]?.bytes == resource.value { return name }
            guard var value = decoding.listener(message), decoding.problems.isEmpty else {
                return name
            }
            value.name = name
            value.generation = generation
            value.provenance = provenance
            if listeners.updateValue(Held(value: value, bytes: resource.value), forKey: name)
                == nil,
                !listenerOrder.contains(name)
            {
                listenerOrder.append(name)
            }
            return name
        case .route:
            let message = decoding.message(resource, Envoy_Config_Route_V3_RouteConfiguration.self)
            guard let message else { return resource.name }
            if routes[message.name]?.bytes == resource.value { return message.name }
            var value = decoding.routes(message)
            if !decoding.problems.isEmpty { return message.name }
            value.generation = generation
            value.provenance = provenance
            routes[message.name] = Held(value: value, bytes: resource.value)
            return message.name
        case .secret:
            let message = decoding.message(
                resource, Envoy_Extensions_TransportSockets_Tls_V3_Secret.self)
            guard let message else { return resource.name }
            if secrets[message.name]?.bytes == resource.value { return message.name }
            guard var value = decoding.secret(message), decoding.problems.isEmpty else {
                return message.name
            }
            value.generation = generation
            value.provenance = provenance
            secrets[message.name] = Held(value: value, bytes: resource.value)
            return message.name
        }
    }

    /// A secret that is in use is never taken away: the last good one serves until another comes.
    private mutating func remove(_ names: [String], _ type: ResourceType) {
        for name in names {
            switch type {
            case .cluster: clusters[name] = nil
            case .endpoint: endpoints[name] = nil
            case .listener: listeners[name] = nil
            case .route: routes[name] = nil
            case .secret: secrets[name] = nil
            }
        }
    }

    // MARK: Promotion

    private var wantedClusters: [Cluster] {
        let own = Set(fixed.clusters.map(\.name))
        return fixed.clusters + clusters.values.lazy.map(\.value).filter { !own.contains($0.name) }
    }

    private var wantedListeners: [Listener] {
        let own = Set(fixed.listeners.map(\.name))
        return fixed.listeners
            + listeners.values.lazy.map(\.value).filter { !own.contains($0.name) }
    }

    private func missing(_ cluster: Cluster) -> [String] {
        var words: [String] = []
        if let name = cluster.serviceName, endpoints[name] == nil, !isInForce(cluster) {
            words.append("endpoints \(name)")
        }
        return words + missingSecrets(cluster.secretNames)
    }

    private func missing(_ listener: Listener) -> [String] {
        listener.routeNames.filter { routes[$0] == nil && routesInForce[$0] == nil }.sorted()
            .map { "routes \($0)" } + missingSecrets(listener.secretNames)
    }

    /// Its endpoints came once, and were taken away since.
    private func isInForce(_ cluster: Cluster) -> Bool {
        clustersInForce[cluster.name]?.generation == cluster.generation
    }

    private func missingSecrets(_ names: Set<String>) -> [String] {
        names.filter {
            fixed.secrets[$0] == nil && secrets[$0] == nil && secretsInForce[$0] == nil
        }.sorted().map { "secret \($0)" }
    }

    private mutating func promoteSecrets() {
        secretsInForce.merge(secrets.mapValues(\.value)) { $1 }
        secretsInForce.merge(fixed.secrets) { $1 }
    }

    /// Clusters that wait for something and have no version in force.
    private var warmingClusters: Set<String> {
        Set(
            wantedClusters.filter { clustersInForce[$0.name] == nil && !missing($0).isEmpty }
                .map(\.name))
    }

    private mutating func promoteListeners() {
        var wanted: Set<String> = []
        for listener in wantedListeners {
            wanted.insert(listener.name)
            if missing(listener).isEmpty { listenersInForce[listener.name] = listener }
        }
        listenersInForce = listenersInForce.filter { wanted.contains($0.key) }
        listenerOrder.removeAll { !wanted.contains($0) }
        var named: Set<String> = []
        for listener in listenersInForce.values { named.formUnion(listener.routeNames) }
        routesInForce = routesInForce.filter { named.contains($0.key) }
        for name in named {
            guard let held = routes[name] else { continue }
            // A table that leads to a cluster still warming would answer 503 where the one before
            // it answers.
            if routesInForce[name] != nil,
                !warmingClusters.isDisjoint(with: held.value.clusterNames)
            {
                continue
            }
            routesInForce[name] = held.value
        }
    }

    private mutating func promoteClusters() {
        var wanted: Set<String> = []
        for cluster in wantedClusters {
            wanted.insert(cluster.name)
            guard missing(cluster).isEmpty else {
                // The version in force goes on with the endpoints that it takes from the same name.
                if let old = clustersInForce[cluster.name]?.serviceName, let held = endpoints[old] {
                    clustersInForce[cluster.name]?.endpoints = held.value
                }
                continue
            }
            var next = cluster
            if let name = cluster.serviceName {
                if let held = endpoints[name] {
                    next.endpoints = held.value
                    if let factor = held.value.overprovisioningFactor {
                        next.loadBalancing.overprovisioningFactor = factor
                    }
                } else if let old = clustersInForce[cluster.name] {
                    next.endpoints = old.endpoints
                    next.loadBalancing.overprovisioningFactor =
                        old.loadBalancing.overprovisioningFactor
                }
            }
            clustersInForce[cluster.name] = next
        }
        let retired = clustersInForce.keys.filter { !wanted.contains($0) }
        if retired.isEmpty { return }
        var named: Set<String> = []
        for listener in listenersInForce.values { named.formUnion(listener.clusterNames) }
        for table in routesInForce.values { named.formUnion(table.clusterNames) }
        // An aggregate that stays keeps the members that go with it.
        var staying = retired.filter(named.contains)
        while let name = staying.popLast() {
            for member in clustersInForce[name]?.members ?? []
            where !wanted.contains(member) && named.insert(member).inserted {
                staying.append(member)
            }
        }
        for name in retired where !named.contains(name) { clustersInForce[name] = nil }
    }

    private mutating func dropUnusedSecrets() {
        var named = Set(fixed.secrets.keys)
        for cluster in clustersInForce.values { named.formUnion(cluster.secretNames) }
        for listener in listenersInForce.values { named.formUnion(listener.secretNames) }
        named.formUnion(subscriptions(.secret))
        secretsInForce = secretsInForce.filter { named.contains($0.key) }
    }
}

extension Decoding {
    mutating func message<M: SwiftProtobuf.Message>(_ resource: RawResource, _ type: M.Type) -> M? {
        parse(Opened(type: "", bytes: resource.value), as: type)
    }
}
