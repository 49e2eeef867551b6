import MTLS
import MeshConfig
import Testing

@Suite struct PeerPolicyTests {
    private func accepts(
        _ type: SANMatcher.NameType, _ pattern: StringMatcher.Pattern, ignoreCase: Bool = false,
        _ change: (inout TLSPeer) -> Void
    ) throws -> Bool {
        let policy = try PeerPolicy(
            ValidationMaterial(sanMatchers: [
                SANMatcher(type: type, matcher: StringMatcher(pattern, ignoreCase: ignoreCase))
            ]))
        var peer = TLSPeer()
        change(&peer)
        return policy.verdict(on: peer) == .accepted
    }

    @Test("A matcher sees names of its own type only")
    func types() throws {
        #expect(try accepts(.uri, .exact("spiffe://a/b")) { $0.uriSANs = ["spiffe://a/b"] })
        #expect(try !accepts(.uri, .exact("spiffe://a/b")) { $0.dnsSANs = ["spiffe://a/b"] })
        #expect(try accepts(.any, .exact("x@a.test")) { $0.emailSANs = ["x@a.test"] })
        #expect(try accepts(.ipAddress, .exact("2001:DB8:0::1")) { $0.ipSANs = ["2001:db8::1"] })
        #expect(try !accepts(.dns, .exact("10.0.0.1")) { $0.ipSANs = ["10.0.0.1"] })
    }

    @Test("A regex must match the whole name")
    func regex() throws {
        let pattern = StringMatcher.Pattern.regex("spiffe://a/ns/[a-z]+")
        #expect(try accepts(.uri, pattern) { $0.uriSANs = ["spiffe://a/ns/web"] })
        #expect(try !accepts(.uri, pattern) { $0.uriSANs = ["spiffe://a/ns/web/sa"] })
    }

    @Test(
        "A wildcard in a certificate stands for one leftmost label",
        arguments: [
            ("a.shop.test", "*.shop.test", true), ("A.SHOP.test", "*.shop.TEST", true),
            ("a.b.shop.test", "*.shop.test", false), ("shop.test", "*.shop.test", false),
            (".shop.test", "*.shop.test", false), ("a.test", "*.test", false),
            ("ab.shop.test", "a*.shop.test", false), ("a.shop.test", "*", false),
            ("a.b.test", "*.*.test", false),
        ])
    func wildcards(host: String, presented: String, expected: Bool) throws {
        #expect(try accepts(.dns, .exact(host)) { $0.dnsSANs = [presented] } == expected)
    }

    @Test("Names that cannot be relied on are refused though a matcher would take them")
    func unreliable() throws {
        #expect(
            try !accepts(.uri, .exact("spiffe://a/b")) {
                $0.uriSANs = ["spiffe://a/b", "https://a/b"]
            })
        #expect(
            try !accepts(.uri, .prefix("spiffe://a/")) { $0.uriSANs = ["spiffe://a/../b"] })
        #expect(
            try !accepts(.uri, .exact("spiffe://a/b")) {
                $0.uriSANs = ["spiffe://a/b"]
                $0.hasMalformedName = true
            })
    }
}
