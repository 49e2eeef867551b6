/// RFC 4648.
public enum Base64 {
    /// Takes both alphabets, with or without padding, and passes spaces by.
    public static func decode(_ text: String) -> [UInt8]? {
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

    /// In the alphabet of §4, padded.
    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 1
            if count == 3 {
                for shift in [18, 12, 6, 0] { text.append(digits[Int(bits >> UInt32(shift)) & 63]) }
                bits = 0
                count = 0
            }
        }
        if count > 0 {
            bits <<= UInt32(8 * (3 - count))
            for shift in [18, 12, 6, 0].prefix(count + 1) {
                text.append(digits[Int(bits >> UInt32(shift)) & 63])
            }
            while text.count % 4 != 0 { text.append(61) }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
