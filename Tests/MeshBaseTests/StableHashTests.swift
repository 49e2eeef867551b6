import MeshBase
import Testing

@Suite struct StableHashTests {
    @Test(
        "XXH64 gives its published values",
        arguments: [
            ("", 0xEF46_DB37_51D8_E999), ("a", 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
        ] as [(String, UInt64)])
    func xxHash(text: String, expected: UInt64) {
        #expect(StableHash.xxHash64(text) == expected)
    }

    @Test(
        "MurmurHash2 gives what libstdc++ hashes strings to",
        arguments: [
            ("", 6_142_509_188_972_423_790), ("foo", 9_631_199_822_919_835_226),
            ("eight888", 12_385_990_224_883_381_543),
            ("10.0.0.1:80_17", 4_437_040_220_721_654_695),
        ] as [(String, UInt64)])
    func murmur(text: String, expected: UInt64) {
        var text = text
        #expect(text.withUTF8 { StableHash.murmurHash2($0) } == expected)
    }
}
