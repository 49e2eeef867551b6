/// Protobuf's text form of a duration: "1.5s". Milliseconds, "250ms", are taken as well.
enum DurationText {
    static func parse(_ text: String) -> (seconds: Int64, nanos: Int32)? {
        if text.hasSuffix("ms") {
            guard let count = Int64(text.dropLast(2)) else { return nil }
            return (count / 1000, Int32(count % 1000) * 1_000_000)
        }
        guard text.hasSuffix("s") else { return nil }
        var digits = text.dropLast()
        let isNegative = digits.hasPrefix("-")
        if isNegative { digits = digits.dropFirst() }
        let parts = digits.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, !whole.isEmpty || parts.count == 2,
            whole.utf8.allSatisfy({ (48...57).contains($0) }),
            let seconds = whole.isEmpty ? 0 : Int64(whole), seconds <= 315_576_000_000
        else { return nil }
        var nanos: Int32 = 0
        if parts.count == 2 {
            guard (1...9).contains(parts[1].count),
                parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
                let fraction = Int32(parts[1])
            else { return nil }
            nanos = fraction
            for _ in parts[1].count..<9 { nanos *= 10 }
        }
        return isNegative ? (-seconds, -nanos) : (seconds, nanos)
    }
}

/// RFC 4648, both alphabets, with or without padding.
enum Base64 {
    static func decode(_ text: String) -> [UInt8]? {
        var result: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        var isPadded = false
        for byte in text.utf8 {
            let value: UInt32
            switch byte {
            case 65...90: value = UInt32(byte - 65)
            case 97...122: value = UInt32(byte - 71)
            case 48...57: value = UInt32(byte + 4)
            case UInt8(ascii: "+"), UInt8(ascii: "-"): value = 62
            case UInt8(ascii: "/"), UInt8(ascii: "_"): value = 63
            case UInt8(ascii: "="):
                isPadded = true
                continue
            case 9, 10, 13, 32: continue
            default: return nil
            }
            if isPadded { return nil }
            bits = bits << 6 | value
            count += 1
            if count == 4 {
                result += [UInt8(bits >> 16 & 255), UInt8(bits >> 8 & 255), UInt8(bits & 255)]
                bits = 0
                count = 0
            }
        }
        switch count {
        case 0: break
        case 2: result.append(UInt8(bits >> 4 & 255))
        case 3: result += [UInt8(bits >> 10 & 255), UInt8(bits >> 2 & 255)]
        default: return nil
        }
        return result
    }
}
