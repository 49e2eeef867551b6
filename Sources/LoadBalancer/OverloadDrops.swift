public import MeshBase
public import MeshConfig

/// The share of requests that a service's owner wants dropped before any endpoint sees them
/// (`drop_overloads`). Each category is drawn for in turn, so of what one lets by the next takes its
/// part.
public struct OverloadDrops: Equatable, Sendable {
    private let categories: [EndpointSet.Drop]
    /// Nothing is let by.
    public let isTotal: Bool

    /// - Returns: `nil` when nothing is dropped, which is almost always.
    public init?(_ categories: [EndpointSet.Drop]) {
        self.categories = categories.filter { $0.share.partsPerMillion > 0 }
        isTotal = categories.contains { $0.share == .all }
        if self.categories.isEmpty { return nil }
    }

    /// - Returns: the category that a request is dropped for.
    public func drops(_ random: inout SeededRandom) -> String? {
        categories.first { random.below(1_000_000) < Int($0.share.partsPerMillion) }?.category
    }
}
