import MeshBase
import Testing

@Suite struct WireFieldsTests {
    private func read(_ bytes: [UInt8]) -> (fields: [String], isMalformed: Bool) {
        var walk = WireFields(bytes[...])
        var fields: [String] = []
        while let (number, value) = walk.next() {
            switch value {
            case .varint(let value): fields.append("\(number)=\(value)")
            case .fixed64(let value): fields.append("\(number)=\(Double(bitPattern: value))")
            case .fixed32(let value): fields.append("\(number)=\(Float(bitPattern: value))")
            case .bytes(let value):
                fields.append("\(number)=\(String(decoding: value, as: UTF8.self))")
            }
        }
        return (fields, walk.isMalformed)
    }

    @Test("Fields of every kind")
    func kinds() {
        let bytes: [UInt8] =
            [0x08, 0x96, 0x01, 0x12, 2, 0x68, 0x69, 0x1D, 0, 0, 0x80, 0x3F]
            + [0x21, 0, 0, 0, 0, 0, 0, 0xE0, 0x3F, 0xF8, 0xFF, 0xFF, 0xFF, 0x0F, 1]
        let (fields, isMalformed) = read(bytes)
        #expect(fields == ["1=150", "2=hi", "3=1.0", "4=0.5", "536870911=1"])
        #expect(!isMalformed)
        #expect(read([]).fields == [] && !read([]).isMalformed)
    }

    @Test("What is cut short, without end, of no kind or without a number ends the walk")
    func malformed() {
        let endless = [UInt8](repeating: 0xFF, count: 20)
        for bytes in [
            [0x08], [0x08, 0x80], [0x12, 5, 1], [0x1D, 0, 0], [0x21, 0], [0x0B, 1], [0x00, 1],
            [0x0F],
            [0x08] + endless, [0x12] + endless,
        ] as [[UInt8]] {
            let (fields, isMalformed) = read([0x08, 1] + bytes)
            #expect(fields == ["1=1"] && isMalformed, "\(bytes)")
        }
    }
}
