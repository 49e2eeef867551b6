import MeshBase

/// The W3C trace context of a request: which trace, which parent, whether it is sampled.
public struct TraceContext: Sendable, Equatable {
    public var traceHigh: UInt64
    public var traceLow: UInt64
    public var parent: UInt64
    public var flags: UInt8

    /// A new trace.
    public init(sampled: Bool, random: inout SeededRandom) {
        traceHigh = random.next()
        traceLow = random.next() | 1
        parent = random.next() | 1
        flags = sampled ? 1 : 0
    }

    /// Reads a `traceparent`. Unknown versions may be longer, as the recommendation allows.
    /// - Returns: `nil` for what is malformed; a new trace must then begin.
    public init?(_ text: UnsafeBufferPointer<UInt8>) {
        guard text.count >= 55, text[2] == 45, text[35] == 45, text[52] == 45,
            let version = TraceContext.hex(text, 0, 2), version != 255,
            let high = TraceContext.hex(text, 3, 16), let low = TraceContext.hex(text, 19, 16),
            let parent = TraceContext.hex(text, 36, 16), let flags = TraceContext.hex(text, 53, 2),
            high != 0 || low != 0, parent != 0,
            text.count == 55 || (version != 0 && text[55] == 45)
        else { return nil }
        traceHigh = high
        traceLow = low
        self.parent = parent
        self.flags = UInt8(truncatingIfNeeded: flags)
    }

    public var isSampled: Bool { flags & 1 != 0 }

    /// The context to send on: same trace, a new parent.
    public func child(random: inout SeededRandom) -> TraceContext {
        var child = self
        child.parent = random.next() | 1
        return child
    }

    /// Appends the 55 bytes of version 00.
    public func write(to buffer: inout ByteBuffer) {
        buffer.append("00-")
        appendHex(traceHigh, digits: 16, to: &buffer)
        appendHex(traceLow, digits: 16, to: &buffer)
        buffer.append("-")
        appendHex(parent, digits: 16, to: &buffer)
        buffer.append("-")
        appendHex(UInt64(flags), digits: 2, to: &buffer)
    }

    private static func hex(
        _ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ count: Int
    ) -> UInt64? {
        var value: UInt64 = 0
        for byte in text[start..<start + count] {
            switch byte {
            case 48...57: value = value << 4 | UInt64(byte - 48)
            case 97...102: value = value << 4 | UInt64(byte - 87)
            default: return nil
            }
        }
        return value
    }
}

/// Appends a random UUID (version 4) as text: what `x-request-id` carries.
public func appendRequestID(to buffer: inout ByteBuffer, random: inout SeededRandom) {
    let high = random.next() & ~0xF000 | 0x4000
    let low = random.next() & ~(0xC000 << 48) | 0x8000 << 48
    appendHex(high >> 32, digits: 8, to: &buffer)
    buffer.append("-")
    appendHex(high >> 16, digits: 4, to: &buffer)
    buffer.append("-")
    appendHex(high, digits: 4, to: &buffer)
    buffer.append("-")
    appendHex(low >> 48, digits: 4, to: &buffer)
    buffer.append("-")
    appendHex(low, digits: 12, to: &buffer)
}

private func appendHex(_ value: UInt64, digits: Int, to buffer: inout ByteBuffer) {
    for index in stride(from: digits - 1, through: 0, by: -1) {
        let digit = UInt8(truncatingIfNeeded: value >> (UInt64(index) * 4) & 15)
        buffer.append(byte: digit < 10 ? 48 + digit : 87 + digit)
    }
}
