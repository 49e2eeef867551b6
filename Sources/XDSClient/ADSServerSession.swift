internal import FoundationEssentials
internal import SwiftProtobuf

/// Everything that a control plane has to give, by type and name.
public struct ServedResources: Sendable, Equatable {
    public private(set) var byType: [String: [String: RawResource]] = [:]

    public init(_ resources: [RawResource] = []) {
        for resource in resources {
            byType[resource.typeURL, default: [:]][resource.name] = resource
        }
    }

    public subscript(typeURL: String) -> [String: RawResource] { byType[typeURL] ?? [:] }

    public var count: Int { byType.values.reduce(0) { $0 + $1.count } }

    /// A version of a whole type: changes with any resource in it.
    func version(of typeURL: String) -> String {
        let all = self[typeURL].sorted { $0.key < $1.key }
        let hash = ContentHash.of(all.flatMap { Array("\($0.key)=\($0.value.version);".utf8) })
        return String(hash, radix: 16)
    }
}

/// One ADS stream from the server's side, as a value: requests in, responses out.
///
/// For the embedded control plane. It answers what is asked, sends again what changed, and says
/// which responses the client took or refused.
public struct ADSServerSession: Sendable {
    public enum Report: Sendable, Equatable {
        case acknowledged(typeURL: String, version: String)
        case refused(typeURL: String, reason: String)
        case malformed(String)
    }

    public struct Answer: Sendable {
        public var messages: [[UInt8]] = []
        public var report: Report?
        /// From the first request.
        public var nodeID: String?
    }

    private struct Subscription {
        var names: Set<String> = []
        var isWildcard = false
        var nonce = ""
        var version = ""
        /// What the client has (incremental), by name.
        var sent: [String: String] = [:]
    }

    public let variant: XDSSession.Variant
    /// Told to the client as `control_plane.identifier`.
    private let identifier: String
    private var subscriptions: [String: Subscription] = [:]
    private var nonceCount = 0

    public init(variant: XDSSession.Variant, identifier: String) {
        self.variant = variant
        self.identifier = identifier
    }

    /// Takes one request.
    public mutating func received(_ message: [UInt8], resources: ServedResources) -> Answer {
        var answer = Answer()
        do {
            switch variant {
            case .stateOfTheWorld:
                take(
                    try Envoy_Service_Discovery_V3_DiscoveryRequest(serializedBytes: message),
                    resources, &answer)
            case .incremental:
                take(
                    try Envoy_Service_Discovery_V3_DeltaDiscoveryRequest(serializedBytes: message),
                    resources, &answer)
            }
        } catch {
            answer.report = .malformed("not a discovery request: \(error)")
        }
        return answer
    }

    /// The resources are others now. - Returns: what the client must be told, clusters first.
    public mutating func changed(to resources: ServedResources) -> [[UInt8]] {
        let order = ResourceType.allCases.map(\.typeURL)
        return order.compactMap { typeURL in
            guard subscriptions[typeURL] != nil else { return nil }
            switch variant {
            case .stateOfTheWorld: return fullResponse(typeURL, resources, isForced: false)
            case .incremental: return difference(typeURL, resources, isForced: false)
            }
        }
    }

    // MARK: State of the world

    private mutating func take(
        _ request: Envoy_Service_Discovery_V3_DiscoveryRequest, _ resources: ServedResources,
        _ answer: inout Answer
    ) {
        let typeURL = request.typeURL
        if !request.node.id.isEmpty { answer.nodeID = request.node.id }
        var subscription = subscriptions[typeURL] ?? Subscription()
        let isFirst = subscriptions[typeURL] == nil || request.responseNonce.isEmpty
        if !isFirst, request.responseNonce != subscription.nonce { return }
        let names = Set(request.resourceNames)
        let namesChanged = names != subscription.names
        if !isFirst, !namesChanged || request.hasErrorDetail {
            answer.report =
                request.hasErrorDetail
                ? .refused(typeURL: typeURL, reason: request.errorDetail.message)
                : .acknowledged(typeURL: typeURL, version: request.versionInfo)
        }
        subscription.names = names
        subscription.isWildcard =
            ResourceType(typeURL: typeURL)?.isWildcard == true && names.isEmpty
            || names.contains("*")
        subscriptions[typeURL] = subscription
        if isFirst || namesChanged {
            if let message = fullResponse(typeURL, resources, isForced: true) {
                answer.messages.append(message)
            }
        }
    }

    private mutating func fullResponse(
        _ typeURL: String, _ resources: ServedResources, isForced: Bool
    ) -> [UInt8]? {
        guard var subscription = subscriptions[typeURL] else { return nil }
        let version = resources.version(of: typeURL)
        if !isForced, version == subscription.version { return nil }
        let chosen = resources[typeURL].values
            .filter { subscription.isWildcard || subscription.names.contains($0.name) }
            .sorted { $0.name < $1.name }
        // Nothing to say of names that nobody knows yet.
        if !subscription.isWildcard, chosen.isEmpty { return nil }
        subscription.version = version
        subscription.nonce = nextNonce()
        subscriptions[typeURL] = subscription
        var response = Envoy_Service_Discovery_V3_DiscoveryResponse()
        response.versionInfo = version
        response.typeURL = typeURL
        response.nonce = subscription.nonce
        response.controlPlane.identifier = identifier
        response.resources = chosen.map(any)
        return try? response.serializedBytes()
    }

    // MARK: Incremental

    private mutating func take(
        _ request: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest, _ resources: ServedResources,
        _ answer: inout Answer
    ) {
        let typeURL = request.typeURL
        if !request.node.id.isEmpty { answer.nodeID = request.node.id }
        let isFirst = subscriptions[typeURL] == nil
        var subscription = subscriptions[typeURL] ?? Subscription()
        if isFirst {
            subscription.sent = request.initialResourceVersions
            subscription.isWildcard =
                ResourceType(typeURL: typeURL)?.isWildcard == true
                && request.resourceNamesSubscribe.isEmpty
        }
        if !request.responseNonce.isEmpty {
            answer.report =
                request.hasErrorDetail
                ? .refused(typeURL: typeURL, reason: request.errorDetail.message)
                : .acknowledged(typeURL: typeURL, version: subscription.version)
        }
        for name in request.resourceNamesSubscribe {
            if name == "*" { subscription.isWildcard = true }
            subscription.names.insert(name)
            // Asked for again is to be answered again.
            if !isFirst { subscription.sent[name] = nil }
        }
        for name in request.resourceNamesUnsubscribe {
            if name == "*" { subscription.isWildcard = false }
            subscription.names.remove(name)
            subscription.sent[name] = nil
        }
        subscriptions[typeURL] = subscription
        let isChange = !request.resourceNamesSubscribe.isEmpty || isFirst
        guard isChange else { return }
        if let message = difference(typeURL, resources, isForced: isFirst) {
            answer.messages.append(message)
        }
    }

    private mutating func difference(
        _ typeURL: String, _ resources: ServedResources, isForced: Bool
    ) -> [UInt8]? {
        guard var subscription = subscriptions[typeURL] else { return nil }
        let all = resources[typeURL]
        let wanted = all.values
            .filter { subscription.isWildcard || subscription.names.contains($0.name) }
        let fresh = wanted.filter { subscription.sent[$0.name] != $0.version }
            .sorted { $0.name < $1.name }
        let gone = subscription.sent.keys.filter { all[$0] == nil }.sorted()
        if fresh.isEmpty, gone.isEmpty, !(isForced && subscription.isWildcard) { return nil }
        for resource in fresh { subscription.sent[resource.name] = resource.version }
        for name in gone { subscription.sent[name] = nil }
        subscription.nonce = nextNonce()
        subscription.version = resources.version(of: typeURL)
        subscriptions[typeURL] = subscription
        var response = Envoy_Service_Discovery_V3_DeltaDiscoveryResponse()
        response.systemVersionInfo = subscription.version
        response.typeURL = typeURL
        response.nonce = subscription.nonce
        response.controlPlane.identifier = identifier
        response.removedResources = gone
        response.resources = fresh.map { resource in
            var entry = Envoy_Service_Discovery_V3_Resource()
            entry.name = resource.name
            entry.version = resource.version
            entry.resource = any(resource)
            return entry
        }
        return try? response.serializedBytes()
    }

    private mutating func nextNonce() -> String {
        nonceCount += 1
        return "\(nonceCount)"
    }

    private func any(_ resource: RawResource) -> Google_Protobuf_Any {
        var any = Google_Protobuf_Any()
        any.typeURL = resource.typeURL
        any.value = .init(resource.value)
        return any
    }
}
