// Huffman-coded strings of HPACK (RFC 7541 §5.2), read only: what we send goes out as it is. Coding
// would save a fifth of the bytes of values that are not in a table, for some eight instructions a
// byte here and ten at the other end.

/// Nine bits say which byte comes next wherever its code is no longer than that, as it is for all that
/// headers are made of; longer codes are found by their length, since the code is canonical.
struct HPACKHuffman {
    private static let indexBits = 9

    private struct Code {
        var byte: UInt8
        /// 0: longer than the index.
        var bits: UInt8
    }
    private let short: UnsafeMutablePointer<Code>
    /// For each length: its first code, how many there are, and where their bytes are in `bytes`.
    private let firsts: UnsafeMutablePointer<UInt32>
    private let counts: UnsafeMutablePointer<UInt32>
    private let starts: UnsafeMutablePointer<Int>
    private let bytes: UnsafeMutablePointer<UInt16>

    init() {
        short = .allocate(capacity: 1 << HPACKHuffman.indexBits)
        short.initialize(repeating: Code(byte: 0, bits: 0), count: 1 << HPACKHuffman.indexBits)
        firsts = .allocate(capacity: 32)
        firsts.initialize(repeating: 0, count: 32)
        counts = .allocate(capacity: 32)
        counts.initialize(repeating: 0, count: 32)
        starts = .allocate(capacity: 32)
        starts.initialize(repeating: 0, count: 32)
        bytes = .allocate(capacity: hpackCodeLengths.count)
        bytes.initialize(repeating: 0, count: hpackCodeLengths.count)
        var code: UInt32 = 0
        var placed = 0
        for length in 1...30 {
            code <<= 1
            firsts[length] = code
            starts[length] = placed
            for symbol in hpackCodeLengths.indices where Int(hpackCodeLengths[symbol]) == length {
                bytes[placed] = UInt16(symbol)
                placed += 1
                if length <= HPACKHuffman.indexBits {
                    let shift = HPACKHuffman.indexBits - length
                    for rest in 0..<1 << shift {
                        short[Int(code) << shift | rest] = Code(
                            byte: UInt8(symbol), bits: UInt8(length))
                    }
                }
                code += 1
                counts[length] += 1
            }
        }
    }

    /// The most bytes that so many coded ones can stand for: no code has fewer than five bits.
    static func most(_ count: Int) -> Int { count * 8 / 5 + 1 }

    /// - Parameter output: has room for `most(count)`.
    /// - Returns: how many bytes came out, or -1 when the code is wrong or wrongly padded.
    func decode(
        _ input: UnsafePointer<UInt8>, _ count: Int, into output: UnsafeMutablePointer<UInt8>
    ) -> Int {
        // The next bits, from the highest down, and how many of them are there.
        var window: UInt64 = 0
        var there = 0
        var read = 0
        var written = 0
        while true {
            if count - read >= 8 {
                // Full to the last whole byte; bits beyond `there` are the next ones already.
                let next = UnsafeRawPointer(input + read).loadUnaligned(as: UInt64.self)
                window |= UInt64(bigEndian: next) >> UInt64(there)
                let taken = (63 - there) >> 3
                read += taken
                there += taken << 3
                // No code of the table's is longer than its index.
                while there >= HPACKHuffman.indexBits {
                    let code = short[Int(window >> UInt64(64 - HPACKHuffman.indexBits))]
                    if code.bits == 0 { break }
                    output[written] = code.byte
                    written += 1
                    window <<= UInt64(code.bits)
                    there -= Int(code.bits)
                }
                if count - read >= 8, there <= 32 { continue }
                window &= there == 0 ? 0 : ~0 << UInt64(64 - there)
            }
            while there <= 56, read < count {
                window |= UInt64(input[read]) << UInt64(56 - there)
                there += 8
                read += 1
            }
            let code = short[Int(window >> UInt64(64 - HPACKHuffman.indexBits))]
            var length = Int(code.bits)
            var byte = code.byte
            if length == 0 {
                length = HPACKHuffman.indexBits + 1
                while true {
                    let index = UInt32(truncatingIfNeeded: window >> UInt64(64 - length))
                    let offset = index &- firsts[length]
                    if index >= firsts[length], offset < counts[length] {
                        let symbol = bytes[starts[length] + Int(offset)]
                        // The end of a string is never written out.
                        if length <= there, symbol == 256 { return -1 }
                        byte = UInt8(truncatingIfNeeded: symbol)
                        break
                    }
                    length += 1
                    if length > 30 { return -1 }
                }
            }
            if length > there { break }
            output[written] = byte
            written += 1
            window <<= UInt64(length)
            there -= length
        }
        // Less than a byte of ones is left.
        let isPadded = there == 0 || (there < 8 && window >> UInt64(64 - there) == (1 << there) - 1)
        return isPadded ? written : -1
    }
}
