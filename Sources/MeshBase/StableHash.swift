/// Hashes that other programs compute as well, so that they choose as we do: XXH64 and the 64-bit
/// MurmurHash2 that libstdc++ has for strings. Not for tables whose keys strangers may choose.
public enum StableHash {
    // MARK: XXH64

    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    public static func xxHash64(_ bytes: UnsafeBufferPointer<UInt8>, seed: UInt64 = 0) -> UInt64 {
        let raw = UnsafeRawBufferPointer(bytes)
        var offset = 0
        var hash: UInt64
        if raw.count >= 32 {
            var lanes = (
                seed &+ prime1 &+ prime2, seed &+ prime2, seed, seed &- prime1
            )
            while offset + 32 <= raw.count {
                lanes.0 = round(lanes.0, word(raw, offset))
                lanes.1 = round(lanes.1, word(raw, offset + 8))
                lanes.2 = round(lanes.2, word(raw, offset + 16))
                lanes.3 = round(lanes.3, word(raw, offset + 24))
                offset += 32
            }
            hash =
                rotate(lanes.0, 1) &+ rotate(lanes.1, 7) &+ rotate(lanes.2, 12)
                &+ rotate(lanes.3, 18)
            hash = merge(hash, lanes.0)
            hash = merge(hash, lanes.1)
            hash = merge(hash, lanes.2)
            hash = merge(hash, lanes.3)
        } else {
            hash = seed &+ prime5
        }
        hash &+= UInt64(raw.count)
        while offset + 8 <= raw.count {
            hash = rotate(hash ^ round(0, word(raw, offset)), 27) &* prime1 &+ prime4
            offset += 8
        }
        if offset + 4 <= raw.count {
            let half = UInt32(
                littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
            hash = rotate(hash ^ UInt64(half) &* prime1, 23) &* prime2 &+ prime3
            offset += 4
        }
        while offset < raw.count {
            hash = rotate(hash ^ UInt64(raw[offset]) &* prime5, 11) &* prime1
            offset += 1
        }
        hash = (hash ^ hash >> 33) &* prime2
        hash = (hash ^ hash >> 29) &* prime3
        return hash ^ hash >> 32
    }

    public static func xxHash64(_ text: String, seed: UInt64 = 0) -> UInt64 {
        var text = text
        return text.withUTF8 { xxHash64($0, seed: seed) }
    }

    private static func round(_ lane: UInt64, _ word: UInt64) -> UInt64 {
        rotate(lane &+ word &* prime2, 31) &* prime1
    }

    private static func merge(_ hash: UInt64, _ lane: UInt64) -> UInt64 {
        (hash ^ round(0, lane)) &* prime1 &+ prime4
    }

    // MARK: MurmurHash2

    /// The seed of `std::hash<std::string>`.
    public static let murmurSeed: UInt64 = 0xC70F_6907

    public static func murmurHash2(
        _ bytes: UnsafeBufferPointer<UInt8>, seed: UInt64 = murmurSeed
    ) -> UInt64 {
        let factor: UInt64 = 0xC6A4_A793_5BD1_E995
        let raw = UnsafeRawBufferPointer(bytes)
        var hash = seed ^ UInt64(raw.count) &* factor
        var offset = 0
        while offset + 8 <= raw.count {
            let mixed = word(raw, offset) &* factor
            hash = (hash ^ (mixed ^ mixed >> 47) &* factor) &* factor
            offset += 8
        }
        if offset < raw.count {
            var rest: UInt64 = 0
            for index in (offset..<raw.count).reversed() { rest = rest << 8 | UInt64(raw[index]) }
            hash = (hash ^ rest) &* factor
        }
        hash = (hash ^ hash >> 47) &* factor
        return hash ^ hash >> 47
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    private static func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 {
        value << bits | value >> (64 - bits)
    }
}
