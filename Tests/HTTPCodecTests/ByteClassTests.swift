import Testing

@testable import HTTPCodec

struct ByteClassTests {
    @Test("Eight bytes at once end a value where single bytes do", arguments: 0...20)
    func endOfValue(position: Int) {
        for byte in UInt8.min...UInt8.max {
            // Beside bytes that a borrow or a high bit could confuse.
            for filler: UInt8 in [0x20, 0x21, 0x80, 0xFF, 0x09, 0x7E] {
                var text = [UInt8](repeating: filler, count: 21)
                text[position] = byte
                let end = text.withUnsafeBufferPointer { ByteClass.endOfValue($0, from: 0) }
                #expect(end == (ByteClass.isValue(byte) ? 21 : position))
            }
        }
    }

    @Test("A value ends at its first bad byte, not at a later one")
    func firstOfSeveral() {
        let text: [UInt8] = [0x61, 0x7F, 0x80, 0x00, 0x1F, 0x0D, 0x0A, 0x61, 0x61]
        #expect(text.withUnsafeBufferPointer { ByteClass.endOfValue($0, from: 0) } == 1)
        #expect(text.withUnsafeBufferPointer { ByteClass.endOfValue($0, from: 2) } == 3)
    }
}
