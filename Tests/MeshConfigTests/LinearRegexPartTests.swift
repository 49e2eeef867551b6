import MeshConfig
import Testing

struct LinearRegexPartTests {
    private func finds(_ pattern: String, in text: String) throws -> Bool {
        var text = text
        let regex = try LinearRegex(pattern)
        return text.withUTF8 { regex.matchesPart(of: $0) }
    }

    @Test("A part is found wherever it begins, anchors hold")
    func parts() throws {
        #expect(try finds("cx_active$", in: "listener.a.downstream_cx_active"))
        #expect(try finds("^(server\\.state|x)", in: "server.state"))
        #expect(try !finds("^state", in: "server.state"))
        #expect(try finds("", in: "anything"))
    }

    @Test("A pattern that begins with an assertion is tried at each position")
    func leadingAssertion() throws {
        #expect(try finds("$", in: "abc"))
        #expect(try finds("\\bfoo", in: " foo"))
        #expect(try finds("\\Boo", in: "foo"))
        #expect(try !finds("\\bfoo", in: "xfoo"))
    }
}
