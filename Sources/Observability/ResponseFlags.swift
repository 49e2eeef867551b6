public import MeshBase

/// What went wrong with a request or connection, as Envoy's flags: `%RESPONSE_FLAGS%`.
///
/// The bits stand in Envoy's order, which is the order in which the words are printed.
public struct ResponseFlags: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    public static let noHealthyUpstream = Self(rawValue: 1 << 0)
    public static let upstreamRequestTimeout = Self(rawValue: 1 << 1)
    public static let localReset = Self(rawValue: 1 << 2)
    public static let upstreamRemoteReset = Self(rawValue: 1 << 3)
    public static let upstreamConnectionFailure = Self(rawValue: 1 << 4)
    public static let upstreamConnectionTermination = Self(rawValue: 1 << 5)
    public static let upstreamOverflow = Self(rawValue: 1 << 6)
    public static let noRouteFound = Self(rawValue: 1 << 7)
    public static let downstreamConnectionTermination = Self(rawValue: 1 << 8)
    public static let upstreamRetryLimitExceeded = Self(rawValue: 1 << 9)
    public static let streamIdleTimeout = Self(rawValue: 1 << 10)
    public static let downstreamProtocolError = Self(rawValue: 1 << 11)
    public static let durationTimeout = Self(rawValue: 1 << 12)
    public static let upstreamProtocolError = Self(rawValue: 1 << 13)
    public static let noClusterFound = Self(rawValue: 1 << 14)
    public static let overloadManager = Self(rawValue: 1 << 15)
    public static let dnsResolutionFailed = Self(rawValue: 1 << 16)
    public static let dropOverload = Self(rawValue: 1 << 17)
    public static let downstreamRemoteReset = Self(rawValue: 1 << 18)
    public static let unconditionalDropOverload = Self(rawValue: 1 << 19)

    private static let words: [StaticString] = [
        "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DC", "URX", "SI", "DPE", "DT", "UPE", "NC",
        "OM", "DF", "DO", "DR", "UDO",
    ]

    /// Appends the words with commas between them, or "-" if there is none.
    public func write(to buffer: inout ByteBuffer) {
        if isEmpty {
            buffer.append(byte: 45)
            return
        }
        var rest = rawValue
        while rest != 0 {
            let index = rest.trailingZeroBitCount
            if index < ResponseFlags.words.count { buffer.append(ResponseFlags.words[index]) }
            rest &= rest - 1
            if rest != 0 { buffer.append(byte: 44) }
        }
    }
}
