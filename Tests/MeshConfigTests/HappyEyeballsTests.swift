import MeshBase
import MeshConfig
import Testing

@Suite struct HappyEyeballsTests {
    private func order(_ text: String, _ settings: HappyEyeballs = HappyEyeballs()) -> String {
        let addresses = text.map { name -> SocketAddress in
            let number = UInt16(name.asciiValue ?? 0)
            return name.isUppercase
                ? .ipv6(0, 1, port: number) : .ipv4(1, port: number)
        }
        return String(
            settings.order(addresses).map { Character(Unicode.Scalar(UInt8($0.port))) })
    }

    @Test("Families take turns, beginning with the first address's")
    func turns() {
        #expect(order("abcXYZ") == "aXbYcZ")
        #expect(order("XabY") == "XaYb")
        #expect(order("ab") == "ab" && order("") == "")
        #expect(order("aXYZ") == "aXYZ")
    }

    @Test("Another family may come first, and several of it")
    func configured() {
        #expect(order("abXY", HappyEyeballs(firstFamily: .ipv6)) == "XaYb")
        #expect(order("XYab", HappyEyeballs(firstFamily: .ipv4, firstCount: 2)) == "abXY")
        #expect(order("abcXY", HappyEyeballs(firstCount: 2)) == "abXcY")
        // None of that family: the others come as they are.
        #expect(order("ab", HappyEyeballs(firstFamily: .ipv6)) == "ab")
    }
}
