import MTLS
import MeshBase
import TestPKI
import Testing

@Suite struct ClientHelloTests {
    /// A hello as OpenSSL writes it.
    private func real(_ name: String, _ alpn: [String]) throws -> [UInt8] {
        let pki = TestPKI()
        return TLSPair(
            try clientContext(trust: pki.trust(), alpn: alpn),
            try serverContext([pki.workload("db")]), serverName: name
        ).bytesForServer
    }

    private func made(_ extensions: [UInt8]) -> [UInt8] {
        var body: [UInt8] = [3, 3] + [UInt8](repeating: 9, count: 32) + [0, 0, 2, 0x13, 1, 1, 0]
        body += sized(extensions)
        let message = [1, 0] + sized(body)
        return [22, 3, 1] + sized(message)
    }

    private func sized(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes
    }

    private func name(_ bytes: [UInt8]) -> [UInt8] {
        [0, 0] + sized(sized([0] + sized(bytes)))
    }

    @Test("SNI and ALPN are read from a real hello, in one piece and byte by byte")
    func realHello() throws {
        let bytes = try real("outbound_.80_._.Db.svc", ["istio-peer-exchange", "istio", "h2"])
        let expected = ClientHello(
            serverName: "outbound_.80_._.db.svc", alpn: ["istio-peer-exchange", "istio", "h2"])
        for count in 0..<bytes.count {
            #expect(ClientHello.parse(Array(bytes.prefix(count)).span) == .needMore)
        }
        #expect(ClientHello.parse(bytes.span) == .hello(expected))
    }

    @Test("A hello cut into several records is one hello")
    func fragmented() throws {
        let bytes = try real("a.test", ["h2"])
        let message = bytes.dropFirst(5)
        for piece in [1, 3, 100] {
            var cut: [UInt8] = []
            var rest = message
            while !rest.isEmpty {
                cut += [22, 3, 1] + sized(Array(rest.prefix(piece)))
                rest = rest.dropFirst(piece)
            }
            #expect(
                ClientHello.parse(cut.span)
                    == .hello(ClientHello(serverName: "a.test", alpn: ["h2"])))
        }
    }

    @Test("A hello without extensions, or without these two, is a hello")
    func bare() {
        #expect(ClientHello.parse(made([]).span) == .hello(ClientHello()))
        #expect(ClientHello.parse(made([0xFA, 0xFA, 0, 0]).span) == .hello(ClientHello()))
    }

    @Test("What is no TLS is seen from its first byte, and no more is asked for")
    func notTLS() {
        #expect(ClientHello.parse([UInt8]().span) == .needMore)
        for text in ["G", "PRI * HTTP/2.0", "\u{15}", "\u{16}\u{2}", "\u{16}\u{3}\u{1}\0\0"] {
            #expect(ClientHello.parse(Array(text.utf8).span) == .notTLS, "\(text)")
        }
        // A ServerHello; a hello longer than any; a record longer than any.
        #expect(ClientHello.parse([22, 3, 1, 0, 4, 2].span) == .notTLS)
        #expect(ClientHello.parse([22, 3, 1, 0, 4, 1, 1, 0, 0].span) == .notTLS)
        #expect(ClientHello.parse([22, 3, 1, 0x40, 1].span) == .notTLS)
    }

    @Test("Broken extensions are no hello")
    func broken() {
        let good = name(Array("a.test".utf8))
        #expect(ClientHello.parse(made(good).span) == .hello(ClientHello(serverName: "a.test")))
        #expect(ClientHello.parse(made(good + good).span) == .notTLS)
        #expect(ClientHello.parse(made(name(Array("a\0b".utf8))).span) == .notTLS)
        #expect(ClientHello.parse(made(name([])).span) == .notTLS)
        #expect(ClientHello.parse(made([0, 0, 0, 9, 1]).span) == .notTLS)
        #expect(ClientHello.parse(made([0, 16] + sized(sized([0]))).span) == .notTLS)
        #expect(ClientHello.parse(made([0, 16] + sized(sized([2, 104]))).span) == .notTLS)
        #expect(
            ClientHello.parse((made(good) + [0]).span) == .hello(ClientHello(serverName: "a.test")))
    }

    @Test("Whatever bytes are changed, the parser answers")
    func mutations() throws {
        let bytes = try real("a.test", ["h2", "http/1.1"])
        var random = SeededRandom(seed: 7)
        var hellos = 0
        for _ in 0..<20_000 {
            var changed = bytes
            for _ in 0...random.below(4) {
                changed[random.below(changed.count)] = UInt8(random.below(256))
            }
            if case .hello = ClientHello.parse(changed.span) { hellos += 1 }
        }
        #expect(hellos > 0)
    }
}
