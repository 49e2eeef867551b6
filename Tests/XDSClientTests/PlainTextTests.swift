import MeshBase
import Testing

@testable import XDSClient

/// The quick reader against libyaml: what it reads at all comes out the same, to the column.
@Suite("PlainText")
struct PlainTextTests {
    private static let block = """
        # A comment, and the usual shapes.
        node: {id: a, cluster: "b c", locality: {region: eu, zone: eu-1}}
        static_resources:
          listeners:
          - name: in   # why
            address:
              socket_address: { address: 127.0.0.1, port_value: 8080 }
            filter_chains:
            - filters:
              - name: tcp
                typed_config:
                  "@type": type.googleapis.com/some.Type
                  'it''s': "a \\"quoted\\" \\\\ text"
                  stat_prefix: in:bound
              - name: x
            - - deep
              - deeper
          clusters:
            -
              name: svc
              connect_timeout: 0.25s
              weights: [1, -2, 3.5, ]
              empty: {}
              none: []

              hosts:
                - endpoint: {address: "10.0.0.1"}
                - endpoint:
                    address: "10.0.0.2"

        """

    private static let json = """
        {
          "static_resources": {"clusters": [
            {"name": "svc", "type": "STATIC", "connect_timeout": "1s",
             "load_assignment": {"endpoints": [{"lb_endpoints": []}, {}], "n": [1,2 , 3]}},
            {"name": "b", "ok": true, "nothing": null}
          ]},
          "admin": {"address": {"socket_address": {"address": "::1", "port_value": 9}}}
        }
        """

    /// The same nodes with the same texts, which may lie in different places.
    private func isSame(_ a: ConfigTree, _ b: ConfigTree) -> Bool {
        guard a.root == b.root, a.nodes.count == b.nodes.count else { return false }
        return zip(a.nodes, b.nodes).enumerated().allSatisfy { index, pair in
            var (left, right) = pair
            (left.start, right.start) = (0, 0)
            return left == right && a.text(Int32(index)) == b.text(Int32(index))
        }
    }

    @Test("Block and flow form and JSON are read without libyaml, and come out alike")
    func alike() throws {
        for text in [PlainTextTests.block, PlainTextTests.json] {
            let plain = try #require(ConfigTree(plain: Array(text.utf8)))
            let whole = try ConfigTree(withLibyaml: Array(text.utf8))
            #expect(isSame(plain, whole))
        }
    }

    @Test(
        "What is not plain is left to libyaml",
        arguments: [
            "a: &x 1\nb: *x\n", "a: |\n  text\n", "a: b\n  c\n", "a:\nb: 1\n", "a: !t 1\n",
            "a:\tb\n", "ä: 1\n", "---\na: 1\n", "a: 1\n...\n", "a: 1\na: 2\n", "a: b: c\n",
            "a: [b: c]\n", "- a\nb: c\n", "a:\n  b: 1\n c: 2\n", "{a: 1} x\n", "a: [1\n", "", "x\n",
            "a: 'b\n  c'\n", "\"a\\u0041\": 1\n", "a: - b\n", "{a: 1}\nb: 2\n", "a: [1, b c]\n",
            "{a}: b\n", "- a: 1\n  - b\n", "a: \"b\"#c\n", "[a]: b\n", "a: b\r\n", "-\n-\n",
        ])
    func notPlain(text: String) {
        #expect(ConfigTree(plain: Array(text.utf8)) == nil)
    }

    @Test("Mutated texts are read as libyaml reads them, or not at all", arguments: 0..<8)
    func mutated(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let pieces: [[UInt8]] = [
            " ", "  ", "\n", ":", ": ", "- ", "-", "#", " #", "[", "]", "{", "}", ",", "'", "\"",
            "\\",
            "\n  ", "\n- ", "\n    - ", "?", "? ", "!", "&a ", "*a", "|", ">", "%", "@", "`", "a",
            "1.5",
            "<<: ", "---", "...", "\t", "~", "null", "=", "\r",
        ].map { Array($0.utf8) }
        var taken = 0
        for text in [PlainTextTests.block, PlainTextTests.json] {
            let original = Array(text.utf8)
            for _ in 0..<1500 {
                var bytes = original
                for _ in 0...Int(random.next() % 3) {
                    let place = Int(random.next() % UInt64(bytes.count))
                    let count = min(Int(random.next() % 6), bytes.count - place)
                    let piece = pieces[Int(random.next() % UInt64(pieces.count))]
                    switch random.next() % 4 {
                    case 0: bytes.insert(contentsOf: piece, at: place)
                    case 1: bytes.removeSubrange(place..<place + count)
                    case 2: bytes.replaceSubrange(place..<place + count, with: piece)
                    default:
                        let line = bytes[..<place].lastIndex(of: 10).map { $0 + 1 } ?? 0
                        bytes.insert(contentsOf: piece, at: line)
                    }
                }
                guard let plain = ConfigTree(plain: bytes) else { continue }
                taken += 1
                guard let whole = try? ConfigTree(withLibyaml: bytes), isSame(plain, whole) else {
                    Issue.record("read otherwise:\n\(String(decoding: bytes, as: UTF8.self))")
                    return
                }
            }
        }
        #expect(taken > 300)
    }
}
