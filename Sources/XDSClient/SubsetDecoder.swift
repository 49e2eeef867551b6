internal import MeshConfig
internal import SwiftProtobuf

// `lb_subset_config` and the policy `subset.v3.Subset`, which say the same.

extension Decoding {
    mutating func subsets(_ message: some SubsetMessage) -> LoadBalancing.Subsets {
        requireWhole(message)
        var result = LoadBalancing.Subsets(
            each("subset_selectors", message.subsetSelectors) { $0.selector($1) },
            defaultSubset: Decoding.object(message.defaultSubset),
            panicsToAny: message.panicModeAny, listsMatchAny: message.listAsAny)
        switch message.fallbackPolicy.rawValue {
        case 0: result.fallback = .refuse
        case 1: result.fallback = .anyEndpoint
        case 2: result.fallback = .defaultSubset
        case let number:
            refuse("fallback_policy", expected: "a known policy", got: "\(number)")
        }
        switch message.metadataFallbackPolicy.rawValue {
        case 0: break
        case 1: result.readsFallbackList = true
        case let number:
            refuse("metadata_fallback_policy", expected: "a known policy", got: "\(number)")
        }
        if message.localityWeightAware {
            result.localityWeights = message.scaleLocalityWeight ? .scaled : .given
        }
        return result
    }

    private mutating func selector(
        _ message: some SubsetSelectorMessage
    ) -> LoadBalancing.Subsets.Selector {
        requireWhole(message)
        if message.keys.isEmpty { refuse("keys", expected: "one or more", got: "none") }
        var result = LoadBalancing.Subsets.Selector(
            Set(message.keys), isSingle: message.singleHostPerSubset)
        switch message.fallbackPolicy.rawValue {
        case 0: break
        case 1: result.fallback = .refuse
        case 2: result.fallback = .anyEndpoint
        case 3: result.fallback = .defaultSubset
        case 4:
            let keys = Set(message.fallbackKeysSubset)
            if keys.isEmpty || !keys.isStrictSubset(of: result.keys) {
                refuse(
                    "fallback_keys_subset", expected: "some of the keys, and not all of them",
                    got: keys.isEmpty ? "none" : keys.sorted().joined(separator: ", "))
                return result
            }
            result.fallback = .keys(keys.sorted())
        case let number:
            refuse("fallback_policy", expected: "a known policy", got: "\(number)")
        }
        return result
    }

    /// `metadata_match`: what is said under `envoy.lb` alone counts.
    func subsetCriteria(_ message: Envoy_Config_Core_V3_Metadata) -> [String: MetadataValue] {
        message.filterMetadata["envoy.lb"].map(Decoding.object) ?? [:]
    }
}

protocol SubsetMessage: SwiftProtobuf.Message {
    associatedtype Fallback: SwiftProtobuf.Enum
    associatedtype MetadataFallback: SwiftProtobuf.Enum
    associatedtype Selector: SubsetSelectorMessage
    var fallbackPolicy: Fallback { get }
    var defaultSubset: Google_Protobuf_Struct { get }
    var subsetSelectors: [Selector] { get }
    var localityWeightAware: Bool { get }
    var scaleLocalityWeight: Bool { get }
    var panicModeAny: Bool { get }
    var listAsAny: Bool { get }
    var metadataFallbackPolicy: MetadataFallback { get }
}
protocol SubsetSelectorMessage: SwiftProtobuf.Message {
    associatedtype Fallback: SwiftProtobuf.Enum
    var keys: [String] { get }
    var fallbackPolicy: Fallback { get }
    var fallbackKeysSubset: [String] { get }
    var singleHostPerSubset: Bool { get }
}
extension Envoy_Config_Cluster_V3_Cluster.LbSubsetConfig: SubsetMessage {}
extension Envoy_Config_Cluster_V3_Cluster.LbSubsetConfig.LbSubsetSelector: SubsetSelectorMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_Subset_V3_Subset: SubsetMessage {}
extension Envoy_Extensions_LoadBalancingPolicies_Subset_V3_Subset.LbSubsetSelector:
    SubsetSelectorMessage
{}
