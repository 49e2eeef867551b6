/// `envoy.type.matcher.v3.StringMatcher`: a test of one string.
public struct StringMatcher: Sendable, Hashable {
    public enum Pattern: Sendable, Hashable {
        case exact(String)
        case prefix(String)
        case suffix(String)
        case contains(String)
        /// RE2 syntax, full match. Whoever matches compiles it once.
        case regex(String)
    }

    public var pattern: Pattern
    /// ASCII only; not used by `regex`.
    public var ignoreCase: Bool

    public init(_ pattern: Pattern, ignoreCase: Bool = false) {
        self.pattern = pattern
        self.ignoreCase = ignoreCase
    }
}

/// A share of all cases: numerator of a million.
public struct FractionalPercent: Sendable, Hashable {
    public var partsPerMillion: UInt32

    public init(partsPerMillion: UInt32) {
        self.partsPerMillion = partsPerMillion
    }

    public static let all = FractionalPercent(partsPerMillion: 1_000_000)
}
