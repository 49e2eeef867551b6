import MeshBase
import MeshConfig
import Testing

@Suite struct HashKeyTests {
    private func key(
        _ sources: [HashPolicy.Source], terminal: Set<Int> = [], path: String = "/",
        _ headers: [(String, String)] = [], cookies: inout [String]
    ) throws -> UInt64? {
        let policies = sources.enumerated().map {
            HashPolicy(source: $1, terminal: terminal.contains($0))
        }
        var head = MessageHead(method: "GET", scheme: "http", authority: "a", path: path)
        for (name, value) in headers { head.append(name, value) }
        return try HashKeyRule(policies)?.key(
            for: head, remote: SocketAddress(ip: "10.1.2.3", port: 4000),
            local: SocketAddress(ip: "10.0.0.1", port: 80), setCookies: &cookies)
    }

    private func key(
        _ sources: HashPolicy.Source..., terminal: Set<Int> = [], path: String = "/",
        headers: [(String, String)] = []
    ) throws -> UInt64? {
        var cookies: [String] = []
        return try key(sources, terminal: terminal, path: path, headers, cookies: &cookies)
    }

    private func rotated(_ value: UInt64) -> UInt64 { value << 1 | value >> 63 }

    @Test("Policies combine by rotating what there is and xoring what comes")
    func combination() throws {
        let both = try key(
            .header("x"), .queryParameter("q"), .sourceIP, path: "/p?a=1&q=two&q=three",
            headers: [("X", "one")])
        let expected =
            rotated(rotated(StableHash.xxHash64("one")) ^ StableHash.xxHash64("two"))
            ^ StableHash.xxHash64("10.1.2.3")
        #expect(both == expected)
        #expect(try key(.header("x"), .sourceIP) == StableHash.xxHash64("10.1.2.3"))
        #expect(try key(.header("x")) == nil)
    }

    @Test("A terminal policy ends it when there is a hash, its own or one from before")
    func terminal() throws {
        let one = StableHash.xxHash64("1")
        #expect(
            try key(.header("x"), .sourceIP, terminal: [0], headers: [("x", "1")]) == one)
        #expect(
            try key(.header("x"), .header("y"), .sourceIP, terminal: [1], headers: [("x", "1")])
                == one)
        #expect(
            try key(.header("x"), .sourceIP, terminal: [0]) == StableHash.xxHash64("10.1.2.3"))
    }

    @Test("Several fields of a name count in the order of their values")
    func severalFields() throws {
        let expected = StableHash.xxHash64("b", seed: StableHash.xxHash64("a"))
        #expect(try key(.header("x"), headers: [("x", "b"), ("x", "a")]) == expected)
        #expect(try key(.header("x"), headers: [("x", "a"), ("x", "b")]) == expected)
    }

    @Test("A header's value is rewritten where it matches")
    func rewritten() throws {
        let source = HashPolicy.Source.header(
            "x", rewrite: .init(pattern: "-[0-9]+", substitution: ""))
        #expect(try key(source, headers: [("x", "shard-12")]) == StableHash.xxHash64("shard"))
        #expect(try key(source, headers: [("x", "other")]) == StableHash.xxHash64("other"))
    }

    @Test("A cookie is found among others, without its quotes")
    func cookie() throws {
        let source = HashPolicy.Source.cookie(.init(name: "s"))
        for text in ["s=v", "a=b; s=v", "a=b;s=\"v\"; s=w", "xs=1; s = v "] {
            #expect(
                try key(source, headers: [("Cookie", text)]) == StableHash.xxHash64("v"), "\(text)")
        }
        #expect(try key(source, headers: [("cookie", "xs=v")]) == nil)
    }

    @Test("A cookie with a time to live is made up, the same for one connection")
    func generatedCookie() throws {
        var cookies: [String] = []
        let cookie = HashPolicy.Cookie(
            name: "s", life: .seconds(60), path: "/p",
            attributes: [.init(name: "Secure", value: ""), .init(name: "SameSite", value: "Lax")])
        let first = try key([.cookie(cookie)], cookies: &cookies)
        let again = try key([.cookie(cookie)], cookies: &cookies)
        let value = String(StableHash.xxHash64("10.1.2.3:400010.0.0.1:80"), radix: 16)
        #expect(first == again && first == StableHash.xxHash64(value))
        #expect(
            cookies[0] == "s=\"\(value)\"; Max-Age=60; Path=/p; Secure; SameSite=Lax; HttpOnly")
        cookies = []
        let session = HashPolicy.Cookie(name: "s", life: .zero)
        _ = try key([.cookie(session)], cookies: &cookies)
        #expect(cookies == ["s=\"\(value)\"; HttpOnly"])
    }
}
