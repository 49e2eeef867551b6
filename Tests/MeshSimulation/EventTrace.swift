public import MeshBase

/// The last events of a simulated network, and a digest of all of them: what a failed test prints,
/// and what tells whether two runs were the same.
public struct EventTrace {
    public struct Entry {
        public let time: Instant
        public let what: StaticString
        /// The socket's number, by order of making.
        public let socket: Int
        public let count: Int
    }

    /// How many entries are kept.
    public var capacity = 512
    /// Follows from every entry so far.
    public private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325
    public private(set) var total = 0
    private var ring: [Entry] = []

    mutating func add(_ entry: Entry) {
        mix(UInt64(bitPattern: entry.time.nanoseconds))
        mix(UInt64(entry.what.utf8Start.pointee) << 8 | UInt64(entry.what.utf8CodeUnitCount))
        mix(UInt64(entry.socket))
        mix(UInt64(bitPattern: Int64(entry.count)))
        if ring.count < capacity {
            ring.append(entry)
        } else if capacity > 0 {
            ring[total % capacity] = entry
        }
        total += 1
    }

    private mutating func mix(_ value: UInt64) {
        digest = (digest ^ value) &* 0x9E37_79B9_7F4A_7C15
        digest ^= digest >> 29
    }

    /// The last events, oldest first.
    public var entries: [Entry] {
        if ring.count < capacity { return ring }
        let start = total % max(capacity, 1)
        return Array(ring[start...] + ring[..<start])
    }

    /// One line for each of the last events: seconds, socket, what, bytes.
    public var text: String {
        entries.map { entry in
            let microseconds = entry.time.nanoseconds / 1000
            let fraction = String(microseconds % 1_000_000 + 1_000_000).dropFirst()
            return "\(microseconds / 1_000_000).\(fraction) #\(entry.socket) \(entry.what)"
                + (entry.count == 0 ? "" : " \(entry.count)")
        }.joined(separator: "\n")
    }
}
