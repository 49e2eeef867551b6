import MTLS
import Testing

@Suite struct SPIFFEIdentityTests {
    @Test("A well-formed identity falls into trust domain and path")
    func parts() throws {
        let identity = try #require(SPIFFEIdentity("spiffe://mesh.local/ns/a/sa/B_1-x.y"))
        #expect(identity.trustDomain == "mesh.local" && identity.path == "/ns/a/sa/B_1-x.y")
        #expect(identity.description == "spiffe://mesh.local/ns/a/sa/B_1-x.y")
        #expect(SPIFFEIdentity("spiffe://mesh.local")?.path == "")
    }

    @Test(
        "Anything else is no identity",
        arguments: [
            "", "spiffe://", "spiffe:///a", "http://a/b", "SPIFFE://a/b", "spiffe://A/b",
            "spiffe://a:80/b", "spiffe://u@a/b", "spiffe://a/b?c", "spiffe://a/b#c", "spiffe://a/",
            "spiffe://a//b", "spiffe://a/./b", "spiffe://a/../b", "spiffe://a/b%41", "spiffe://a/é",
            "spiffe://a/b\0", "spiffe://a/b c", " spiffe://a/b", "spiffe:/a/b", "spiffe://a/b/",
        ])
    func refused(text: String) {
        #expect(SPIFFEIdentity(text) == nil)
    }

    @Test("Length is limited: 255 bytes of trust domain, 2048 in all")
    func limits() {
        let domain = String(repeating: "a", count: 255)
        #expect(SPIFFEIdentity("spiffe://\(domain)/b") != nil)
        #expect(SPIFFEIdentity("spiffe://\(domain)a/b") == nil)
        let path = String(repeating: "b", count: 2048 - 11)
        #expect(SPIFFEIdentity("spiffe://a/\(path)") != nil)
        #expect(SPIFFEIdentity("spiffe://a/\(path)b") == nil)
    }
}
