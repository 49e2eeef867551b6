import MeshBase
import MeshConfig
import Testing

@Suite struct AddressPrefixTests {
    @Test(
        "A prefix contains the addresses that share its leading bits",
        arguments: [
            ("10.0.0.0", 8, "10.255.0.1", true), ("10.0.0.0", 8, "11.0.0.1", false),
            ("0.0.0.0", 0, "8.8.8.8", true), ("fd00::", 8, "fd12::1", true),
            ("2001:db8::1", 128, "2001:db8::2", false), ("0.0.0.0", 0, "::1", false),
        ])
    func contains(ip: String, bits: Int, other: String, expected: Bool) throws {
        let prefix = try #require(AddressPrefix(ip: ip, bits: bits))
        let address = try #require(SocketAddress(ip: other, port: 1))
        #expect(prefix.contains(address) == expected)
    }
}
