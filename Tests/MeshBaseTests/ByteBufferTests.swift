import MeshBase
import Testing

struct ByteBufferTests {
    @Test(
        "Decimals of every length are written whole",
        arguments: [
            0, 9, 10, 99, 100, 12_345, 999_999_999, 1_000_000_000, 999_999_999_999_999_999,
            1_000_000_000_000_000_000, Int.max,
        ])
    func decimals(_ value: Int) {
        var buffer = ByteBuffer()
        buffer.append(decimal: value)
        #expect(buffer.withBytes { String(decoding: $0, as: UTF8.self) } == "\(value)")
    }
}
