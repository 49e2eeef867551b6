public import MeshConfig
internal import SwiftProtobuf

/// The xDS resource types that a proxy asks for, in the order in which it asks: clusters before
/// the endpoints in them, listeners before their routes.
public enum ResourceType: Int, CaseIterable, Sendable {
    case cluster, endpoint, listener, route, secret

    public var typeURL: String {
        switch self {
        case .cluster: "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        case .endpoint: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
        case .listener: "type.googleapis.com/envoy.config.listener.v3.Listener"
        case .route: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
        case .secret: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
        }
    }

    public init?(typeURL: String) {
        guard let type = ResourceType.allCases.first(where: { $0.typeURL == typeURL }) else {
            return nil
        }
        self = type
    }

    /// Asked for as a whole; the server's full answer is the set (LDS and CDS).
    public var isWildcard: Bool { self == .cluster || self == .listener }
}

/// A resource as it came, not decoded yet.
public struct RawResource: Sendable, Equatable {
    /// Empty in SotW, where only the decoded resource knows its name.
    public var name: String
    public var version: String
    public var typeURL: String
    public var value: [UInt8]

    public init(name: String, version: String, typeURL: String, value: [UInt8]) {
        self.name = name
        self.version = version
        self.typeURL = typeURL
        self.value = value
    }
}

/// One ADS stream from our side, as a value: what to ask for, and how to answer what comes
/// (SotW and incremental, xDS v3).
///
/// It keeps names, nonces and versions, and no resources: whoever decodes a response says which
/// of it was refused, and the session makes the ACK or NACK. A stream that begins anew says what
/// is held already; that it begins is never read as a deletion.
///
/// An ACK never changes a subscription, and a change of subscription never carries a nonce in the
/// incremental protocol: istiod logs an error for either.
public struct XDSSession: Sendable {
    public enum Variant: Sendable {
        case stateOfTheWorld, incremental

        /// The gRPC method.
        public var path: String {
            let service = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
            switch self {
            case .stateOfTheWorld: return service + "StreamAggregatedResources"
            case .incremental: return service + "DeltaAggregatedResources"
            }
        }
    }

    /// What one response holds.
    public struct Update: Sendable {
        public var type: ResourceType
        public var version: String
        public var nonce: String
        public var resources: [RawResource]
        public var removed: [String]
        /// What is not in it is gone (SotW of clusters and listeners).
        public var isFullSet: Bool
        /// Who answered, where the server says.
        public var controlPlane: String
    }

    public enum Outcome: Sendable {
        /// To be decoded, applied, and answered with `answer`.
        case update(Update)
        /// A type that was not asked for, or a name that the server does not know.
        case ignored(String)
        /// No message of this protocol: the stream should be ended.
        case malformed(String)
    }

    private struct Subscription {
        var isActive = false
        var names: Set<String> = []
        /// Names and versions that are held (incremental).
        var held: [String: String] = [:]
        var version = ""
        var nonce = ""
    }

    public let variant: Variant
    private let node: Node
    private let nodeOnFirstMessageOnly: Bool
    private var hasSentNode = false
    private var subscriptions: [ResourceType: Subscription] = [:]

    public init(variant: Variant, node: Node, nodeOnFirstMessageOnly: Bool) {
        self.variant = variant
        self.node = node
        self.nodeOnFirstMessageOnly = nodeOnFirstMessageOnly
    }

    /// Whether each wildcard type that was asked for has been answered once.
    public func hasAnswered(_ type: ResourceType) -> Bool {
        !(subscriptions[type]?.nonce.isEmpty ?? true)
    }

    /// The stream begins (again): nonces are void, and everything that is subscribed to is asked for
    /// anew, with what is held. - Returns: messages to send, in order.
    public mutating func begin() -> [[UInt8]] {
        hasSentNode = false
        var messages: [[UInt8]] = []
        for type in ResourceType.allCases {
            guard subscriptions[type]?.isActive == true else { continue }
            subscriptions[type]?.nonce = ""
            messages.append(request(type, added: subscriptions[type]?.names ?? [], removed: []))
        }
        return messages
    }

    /// Asks for a wildcard type. - Returns: the message to send, `nil` if it was asked for before.
    public mutating func subscribe(_ type: ResourceType) -> [UInt8]? {
        precondition(type.isWildcard)
        if subscriptions[type]?.isActive == true { return nil }
        subscriptions[type, default: Subscription()].isActive = true
        return request(type, added: [], removed: [])
    }

    /// Asks for these names of a type and no others from now on.
    /// - Parameter again: names to be asked for although they were before: clusters that were replaced
    ///   wait for their endpoints anew, and servers answer only what is asked.
    /// - Returns: the message to send; `nil` when nothing changes.
    public mutating func subscribe(
        _ type: ResourceType, to names: Set<String>, again: Set<String> = []
    ) -> [UInt8]? {
        precondition(!type.isWildcard)
        var subscription = subscriptions[type] ?? Subscription()
        let added = names.subtracting(subscription.names).union(again.intersection(names))
        let removed = subscription.names.subtracting(names)
        if added.isEmpty, removed.isEmpty { return nil }
        // Nothing of an inactive type is asked for with an empty list: that would be a wildcard.
        subscription.isActive = !names.isEmpty || variant == .stateOfTheWorld
        subscription.names = names
        for name in removed.union(again) { subscription.held[name] = nil }
        subscriptions[type] = subscription
        return request(type, added: added, removed: removed)
    }

    /// Takes one message of the server.
    public mutating func received(_ message: [UInt8]) -> Outcome {
        do {
            switch variant {
            case .stateOfTheWorld:
                let response = try Envoy_Service_Discovery_V3_DiscoveryResponse(
                    serializedBytes: message)
                return received(response)
            case .incremental:
                let response = try Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(
                    serializedBytes: message)
                return received(response)
            }
        } catch {
            return .malformed("not a discovery response: \(error)")
        }
    }

    private mutating func received(
        _ response: Envoy_Service_Discovery_V3_DiscoveryResponse
    ) -> Outcome {
        guard let type = ResourceType(typeURL: response.typeURL),
            subscriptions[type]?.isActive == true
        else { return .ignored("\(response.typeURL) was not asked for") }
        subscriptions[type]?.nonce = response.nonce
        let resources = response.resources.map { any in
            RawResource(
                name: "", version: response.versionInfo, typeURL: any.typeURL,
                value: Array(any.value))
        }
        return .update(
            Update(
                type: type, version: response.versionInfo, nonce: response.nonce,
                resources: resources, removed: [], isFullSet: type.isWildcard,
                controlPlane: response.controlPlane.identifier))
    }

    private mutating func received(
        _ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse
    ) -> Outcome {
        guard let type = ResourceType(typeURL: response.typeURL),
            subscriptions[type]?.isActive == true
        else { return .ignored("\(response.typeURL) was not asked for") }
        subscriptions[type]?.nonce = response.nonce
        let resources = response.resources.map { entry in
            RawResource(
                name: entry.name, version: entry.version,
                typeURL: entry.resource.typeURL.isEmpty ? type.typeURL : entry.resource.typeURL,
                value: Array(entry.resource.value))
        }
        return .update(
            Update(
                type: type, version: response.systemVersionInfo, nonce: response.nonce,
                resources: resources, removed: response.removedResources, isFullSet: false,
                controlPlane: response.controlPlane.identifier))
    }

    /// Answers an update: an ACK, or a NACK with all problems. What was good is in force either way.
    /// - Parameter rejected: names of resources that were refused, with the reason of each.
    public mutating func answer(_ update: Update, rejected: [(name: String, reason: String)])
        -> [UInt8]
    {
        let type = update.type
        let refused = Set(rejected.map(\.name))
        for resource in update.resources where !refused.contains(resource.name) {
            subscriptions[type]?.held[resource.name] = resource.version
        }
        for name in update.removed { subscriptions[type]?.held[name] = nil }
        if rejected.isEmpty { subscriptions[type]?.version = update.version }
        let reason =
            rejected.isEmpty
            ? nil : rejected.map { "\($0.name): \($0.reason)" }.joined(separator: "\n")
        switch variant {
        case .stateOfTheWorld:
            var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
            if let node = takeNode() { request.node = node }
            request.typeURL = type.typeURL
            request.versionInfo = subscriptions[type]?.version ?? ""
            request.responseNonce = update.nonce
            request.resourceNames = (subscriptions[type]?.names ?? []).sorted()
            if let reason { request.errorDetail = status(reason) }
            return encode(request)
        case .incremental:
            var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
            if let node = takeNode() { request.node = node }
            request.typeURL = type.typeURL
            request.responseNonce = update.nonce
            if let reason { request.errorDetail = status(reason) }
            return encode(request)
        }
    }

    // MARK: Messages

    private mutating func request(
        _ type: ResourceType, added: Set<String>, removed: Set<String>
    ) -> [UInt8] {
        let subscription = subscriptions[type] ?? Subscription()
        switch variant {
        case .stateOfTheWorld:
            var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
            if let node = takeNode() { request.node = node }
            request.typeURL = type.typeURL
            request.versionInfo = subscription.version
            request.responseNonce = subscription.nonce
            request.resourceNames = subscription.names.sorted()
            return encode(request)
        case .incremental:
            var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
            if let node = takeNode() { request.node = node }
            request.typeURL = type.typeURL
            request.resourceNamesSubscribe = added.sorted()
            request.resourceNamesUnsubscribe = removed.sorted()
            if subscription.nonce.isEmpty { request.initialResourceVersions = subscription.held }
            return encode(request)
        }
    }

    /// The node for the next message, `nil` when the server has it already.
    private mutating func takeNode() -> Envoy_Config_Core_V3_Node? {
        if hasSentNode, nodeOnFirstMessageOnly { return nil }
        hasSentNode = true
        var message =
            (try? Envoy_Config_Core_V3_Node(serializedBytes: node.encoded))
            ?? Envoy_Config_Core_V3_Node()
        if message.id.isEmpty { message.id = node.id }
        if message.cluster.isEmpty { message.cluster = node.cluster }
        return message
    }

    private func status(_ reason: String) -> Google_Rpc_Status {
        var status = Google_Rpc_Status()
        status.code = 3
        status.message = reason
        return status
    }

    private func encode(_ message: some SwiftProtobuf.Message) -> [UInt8] {
        // Fails only for required fields of proto2, of which there are none.
        (try? message.serializedBytes()) ?? []
    }
}
