/// Why a context could not be made: which part of the configuration, what was expected, what was
/// found. Never holds key material.
public struct TLSConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    public let reason: String

    public init(_ reason: String) {
        self.reason = reason
    }

    public var description: String { reason }
}
