import MeshBase
import Testing

@Suite struct SocketAddressTests {
    @Test(
        "Literal addresses are parsed and printed in their canonical form",
        arguments: [
            ("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"),
            ("2001:db8:0:0:1::", "[2001:db8:0:0:1::]:80"),
            ("::ffff:10.0.0.1", "[::ffff:a00:1]:80"), ("::", "[::]:80"),
        ])
    func canonical(text: String, expected: String) {
        #expect(SocketAddress(ip: text, port: 80)?.description == expected)
    }

    @Test(
        "What is no literal address is refused",
        arguments: [
            "", "localhost", "1.2.3", "1.2.3.256", "01.2.3.4", "1:2:3", ":::", "1::2::3", "::1%lo",
            "::+1",
        ])
    func refused(text: String) {
        #expect(SocketAddress(ip: text, port: 80) == nil)
    }
}
