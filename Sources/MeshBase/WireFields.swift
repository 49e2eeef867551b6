/// Walks through the fields of a protobuf message of any type, in the bytes of a peer: for the few that
/// come with requests, where a message's own type would be made and thrown away each time.
///
/// Nothing is trusted. What is cut short, too long or of an unknown kind ends the walk, and
/// `isMalformed` says so; a reader that wants all or nothing asks it in the end.
public struct WireFields {
    public enum Value {
        case varint(UInt64)
        case fixed64(UInt64)
        case fixed32(UInt32)
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>
    public private(set) var isMalformed = false

    public init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    /// - Returns: `nil` at the end, and when the rest is no field.
    public mutating func next() -> (number: UInt64, value: Value)? {
        if rest.isEmpty || isMalformed { return nil }
        guard let key = varint(), key >> 3 > 0, let value = value(kind: key & 7) else {
            isMalformed = true
            return nil
        }
        return (key >> 3, value)
    }

    private mutating func value(kind: UInt64) -> Value? {
        switch kind {
        case 0: return varint().map { .varint($0) }
        case 1: return fixed(8).map { .fixed64($0) }
        case 2:
            guard let count = varint(), count <= UInt64(rest.count) else { return nil }
            let bytes = rest.prefix(Int(count))
            rest = rest.dropFirst(Int(count))
            return .bytes(bytes)
        case 5: return fixed(4).map { .fixed32(UInt32(truncatingIfNeeded: $0)) }
        // Groups, which nobody writes any more, and numbers that mean nothing.
        default: return nil
        }
    }

    private mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = rest.popFirst() {
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
            if shift > 63 { return nil }
        }
        return nil
    }

    private mutating func fixed(_ count: Int) -> UInt64? {
        guard rest.count >= count else { return nil }
        var value: UInt64 = 0
        for byte in rest.prefix(count).reversed() { value = value << 8 | UInt64(byte) }
        rest = rest.dropFirst(count)
        return value
    }
}
