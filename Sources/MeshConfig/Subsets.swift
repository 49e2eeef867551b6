extension LoadBalancing {
    /// `lb_subset_config`: endpoints in sets by what their metadata say under `envoy.lb`; a route
    /// names one by the values that it wants (`SubsetCriteria`).
    public struct Subsets: Sendable, Equatable {
        /// Where a request goes for which there is no subset.
        public enum Fallback: Sendable, Hashable {
            /// Nowhere, as if the cluster had no endpoints.
            case refuse
            case anyEndpoint
            case defaultSubset
            /// To what is found with these keys alone; of selectors only.
            case keys([String])
        }
        /// There is a subset for each combination of values of these keys.
        public struct Selector: Sendable, Equatable {
            /// Never empty.
            public var keys: Set<String>
            /// `nil`: the cluster's.
            public var fallback: Fallback?
            /// A subset has one endpoint, which is used whatever its priority and health.
            public var isSingle: Bool

            public init(_ keys: Set<String>, fallback: Fallback? = nil, isSingle: Bool = false) {
                self.keys = keys
                self.fallback = fallback
                self.isSingle = isSingle
            }
        }
        public enum LocalityWeights: Sendable, Hashable {
            case ignored
            case given
            /// By the share of a locality's endpoints that is in the subset.
            case scaled
        }

        public var fallback: Fallback
        public var defaultSubset: [String: MetadataValue]
        public var selectors: [Selector]
        public var localityWeights: LocalityWeights
        /// When the cluster's fallback finds nobody any endpoint will do.
        public var panicsToAny: Bool
        /// An endpoint with a list for a value is in the subset of each element.
        public var listsMatchAny: Bool
        /// The criterion `fallback_list` holds changes of the others, to be tried one after another.
        public var readsFallbackList: Bool
        /// Criteria may have more keys than a selector.
        public var allowsMoreKeys: Bool

        public init(
            _ selectors: [Selector], fallback: Fallback = .refuse,
            defaultSubset: [String: MetadataValue] = [:],
            localityWeights: LocalityWeights = .ignored, panicsToAny: Bool = false,
            listsMatchAny: Bool = false, readsFallbackList: Bool = false,
            allowsMoreKeys: Bool = false
        ) {
            self.selectors = selectors
            self.fallback = fallback
            self.defaultSubset = defaultSubset
            self.localityWeights = localityWeights
            self.panicsToAny = panicsToAny
            self.listsMatchAny = listsMatchAny
            self.readsFallbackList = readsFallbackList
            self.allowsMoreKeys = allowsMoreKeys
        }
    }
}

/// What a route wants of an endpoint's metadata (`metadata_match`, under `envoy.lb`).
///
/// An object, so that a balancer can tell what it knows already by who holds it; a route table makes
/// its own.
public final class SubsetCriteria: Sendable {
    public let values: [String: MetadataValue]

    /// - Returns: `nil` when nothing is wanted.
    public init?(_ values: [String: MetadataValue]) {
        if values.isEmpty { return nil }
        self.values = values
    }
}

extension MetadataValue {
    /// As it would be written; objects by their keys in order.
    public var text: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return "\(value)"
        case .number(let value):
            return Int64(exactly: value).map { "\($0)" } ?? "\(value)"
        case .string(let value): return value
        case .list(let values): return "[" + values.map(\.text).joined(separator: ",") + "]"
        case .object(let values): return "{" + MetadataValue.text(of: values) + "}"
        }
    }

    /// "stage:prod,version:1".
    public static func text(of values: [String: MetadataValue]) -> String {
        values.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value.text)" }
            .joined(separator: ",")
    }
}
