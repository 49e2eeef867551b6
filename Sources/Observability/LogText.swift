import MeshBase

/// Puts text that a peer may have chosen into a log, so that it stays one value of one line.
///
/// A reader of the log splits it at line ends and quotes, and a terminal obeys control bytes. So
/// quotes, backslashes, everything below a space, DEL, the C1 controls, U+2028 and U+2029 (line
/// ends to some readers), the marks that turn the direction of text, and whatever is not UTF-8
/// are written as escapes; all other text passes unchanged. Escapes are reversible in text
/// (`\x` and the byte); JSON has no way to say a byte, so what is not UTF-8 becomes U+FFFD there.
enum LogText {
    enum Style {
        case text
        case json
    }

    static func append(
        _ bytes: UnsafeBufferPointer<UInt8>, _ style: Style, to buffer: inout ByteBuffer
    ) {
        var start = 0
        var index = 0
        while index < bytes.count {
            if index + 8 <= bytes.count, arePlain(bytes, at: index) {
                index += 8
                continue
            }
            if isPlain(bytes[index]) {
                index += 1
                continue
            }
            let (length, isHarmless) = scalar(in: bytes, at: index)
            if isHarmless {
                index += length
                continue
            }
            buffer.append(UnsafeBufferPointer(rebasing: bytes[start..<index]))
            escape(bytes, at: index, length: length, style, to: &buffer)
            index += max(length, 1)
            start = index
        }
        buffer.append(UnsafeBufferPointer(rebasing: bytes[start..<index]))
    }

    static func append(_ text: String, _ style: Style, to buffer: inout ByteBuffer) {
        var text = text
        text.withUTF8 { append($0, style, to: &buffer) }
    }

    /// The longest beginning of at most `limit` bytes that does not end inside a character.
    static func prefix(
        _ bytes: UnsafeBufferPointer<UInt8>, _ limit: Int
    ) -> UnsafeBufferPointer<UInt8> {
        if bytes.count <= limit { return bytes }
        var end = limit
        while end > 0, limit - end < 3, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        // Not a character's beginning after all: cut where we were told.
        if bytes[end] & 0xC0 == 0x80 { end = limit }
        return UnsafeBufferPointer(rebasing: bytes[..<end])
    }

    /// Whether `isPlain` holds for eight bytes at once. May say no where it does: a borrow can
    /// mark the byte above the one that caused it.
    private static func arePlain(_ bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> Bool {
        guard let base = bytes.baseAddress else { return false }
        let word = UnsafeRawPointer(base + index).loadUnaligned(as: UInt64.self)
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quotes = word ^ (ones &* 0x22)
        let backslashes = word ^ (ones &* 0x5C)
        let marks =
            (word &- ones &* 0x20) | (word &+ ones) | (quotes &- ones) | (backslashes &- ones)
        return (marks | word) & (ones &* 0x80) == 0
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x7F && byte != 0x22 && byte != 0x5C
    }

    /// The length of the character that begins here, 0 if it is not UTF-8, and whether it may be
    /// written as it is.
    private static func scalar(
        in bytes: UnsafeBufferPointer<UInt8>, at index: Int
    ) -> (length: Int, isHarmless: Bool) {
        let first = bytes[index]
        if first < 0x80 { return (1, false) }
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
        guard first >= 0xC2, first <= 0xF4, bytes.count - index >= length else {
            return (0, false)
        }
        var value = UInt32(first) & (0x7F >> UInt32(length))
        for next in bytes[index + 1..<index + length] {
            if next & 0xC0 != 0x80 { return (0, false) }
            value = value << 6 | UInt32(next & 0x3F)
        }
        let smallest: UInt32 = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80
        guard value >= smallest, Unicode.Scalar(value) != nil else { return (0, false) }
        let isHarmful =
            value < 0xA0 || (0x2028...0x202E).contains(value) || (0x2066...0x2069).contains(value)
        return (length, !isHarmful)
    }

    private static func escape(
        _ bytes: UnsafeBufferPointer<UInt8>, at index: Int, length: Int, _ style: Style,
        to buffer: inout ByteBuffer
    ) {
        switch bytes[index] {
        case 0x22: buffer.append("\\\"")
        case 0x5C: buffer.append("\\\\")
        case 0x0A: buffer.append("\\n")
        case 0x0D: buffer.append("\\r")
        case 0x09: buffer.append("\\t")
        default:
            if style == .text {
                for byte in bytes[index..<index + max(length, 1)] {
                    buffer.append("\\x")
                    appendHex(UInt32(byte), digits: 2, to: &buffer)
                }
            } else if length == 0 {
                buffer.append("\\ufffd")
            } else {
                var value = UInt32(bytes[index]) & (length == 1 ? 0x7F : 0x7F >> UInt32(length))
                for next in bytes[index + 1..<index + length] {
                    value = value << 6 | UInt32(next & 0x3F)
                }
                buffer.append("\\u")
                appendHex(value, digits: 4, to: &buffer)
            }
        }
    }

    private static func appendHex(_ value: UInt32, digits: Int, to buffer: inout ByteBuffer) {
        for index in stride(from: digits - 1, through: 0, by: -1) {
            let digit = UInt8(truncatingIfNeeded: value >> UInt32(index * 4) & 15)
            buffer.append(byte: digit < 10 ? 48 + digit : 87 + digit)
        }
    }
}
