import MTLS
import MeshBase
import MeshConfig
import TestPKI
import Testing

@Suite struct TLSSessionTests {
    let pki = TestPKI()

    @Test("Both sides know each other, and bytes pass both ways", arguments: [false, true])
    func mutual(oldVersion: Bool) throws {
        let versions: ClosedRange<CommonTLS.Version> =
            oldVersion ? .tls12 ... .tls12 : .tls12 ... .tls13
        let pair = TLSPair(
            try clientContext(pki.workload("web"), trust: pki.trust("db"), versions: versions),
            try serverContext([pki.workload("db")], trust: pki.trust("web")),
            serverName: "outbound_.80_._.db.default.svc"
        ).run()
        #expect(pair.isEstablished)
        #expect(pair.client.peer?.identity?.path == "/ns/default/sa/db")
        #expect(pair.server.peer?.uriSANs == ["spiffe://mesh.local/ns/default/sa/web"])
        #expect(pair.server.peer?.sha256.count == 64)
        #expect(pair.server.peer?.subject == "CN=leaf")
        #expect(pair.server.serverName == "outbound_.80_._.db.default.svc")
        #expect(pair.server.version == (oldVersion ? "TLSv1.2" : "TLSv1.3"))
        #expect(!pair.server.isResumed && !pair.client.isResumed)
        #expect(pair.server.peer?.pem.hasPrefix("-----BEGIN CERTIFICATE-----\n") == true)
        pair.clientSends(Array("ping".utf8))
        pair.serverSends(Array("pong".utf8))
        pair.run()
        #expect(pair.serverGot == Array("ping".utf8) && pair.clientGot == Array("pong".utf8))
    }

    @Test("Keys of every kind, and intermediates, carry a handshake")
    func keyKinds() throws {
        let issuer = pki.intermediate()
        for kind in [TestPKI.KeyType.p256, .p384, .rsa2048, .ed25519] {
            let pair = TLSPair(
                try clientContext(
                    issuer.leaf(uri: pki.identity("web"), keyType: kind), trust: pki.trust("db")),
                try serverContext(
                    [issuer.leaf(uri: pki.identity("db"), keyType: kind)], trust: pki.trust("web"))
            ).run()
            #expect(pair.isEstablished, "\(kind): \(pair.serverOutcome) \(pair.clientOutcome)")
        }
    }

    @Test("A peer with another identity is refused, in words, by either side")
    func wrongIdentity() throws {
        let byServer = TLSPair(
            try clientContext(pki.workload("intruder"), trust: pki.trust("db")),
            try serverContext([pki.workload("db")], trust: pki.trust("web"))
        ).run()
        #expect(byServer.serverFailure?.kind == .tlsWrongIdentity)
        #expect(
            byServer.serverFailure?.detail
                == "expected URI \(pki.identity("web")), presented URI \(pki.identity("intruder"))")
        #expect(byServer.server.peer == nil && !byServer.server.isEstablished)
        #expect(byServer.clientFailure != nil)
        let byClient = TLSPair(
            try clientContext(pki.workload("web"), trust: pki.trust("db")),
            try serverContext([pki.workload("intruder")], trust: pki.trust("web"))
        ).run()
        #expect(byClient.clientFailure?.kind == .tlsWrongIdentity)
        #expect(!byClient.client.isEstablished && !byClient.server.isEstablished)
    }

    struct Presented: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var kind: TransportFailure.Kind
        var certificate: @Sendable (TestPKI) -> TestCertificate
    }

    @Test(
        "What may not come in as a client does not",
        arguments: [
            Presented(testDescription: "another root", kind: .tlsUntrusted) { _ in
                TestPKI().workload("web")
            },
            Presented(testDescription: "expired", kind: .tlsExpired) {
                $0.workload("web", notAfter: -60)
            },
            Presented(testDescription: "not valid yet", kind: .tlsExpired) {
                $0.leaf(uri: $0.identity("web"), notBefore: 600)
            },
            Presented(testDescription: "an expired intermediate", kind: .tlsExpired) {
                $0.intermediate(notAfter: -60).leaf(uri: $0.identity("web"))
            },
            Presented(testDescription: "for servers only", kind: .tlsUntrusted) {
                $0.leaf(uri: $0.identity("web"), usage: .server)
            },
            Presented(testDescription: "for signing code", kind: .tlsUntrusted) {
                $0.leaf(uri: $0.identity("web"), usage: .codeSigning)
            },
            Presented(testDescription: "several URIs", kind: .tlsWrongIdentity) {
                $0.leaf(uris: [$0.identity("web"), $0.identity("other")])
            },
            Presented(testDescription: "a malformed identity", kind: .tlsWrongIdentity) {
                $0.leaf(uri: $0.identity("web") + "/")
            },
            Presented(testDescription: "a NUL in the URI", kind: .tlsWrongIdentity) {
                $0.leaf(raw: [.uri(Array("\($0.identity("web"))\0.evil".utf8))])
            },
            Presented(testDescription: "a NUL in another name", kind: .tlsWrongIdentity) {
                $0.leaf(uri: $0.identity("web"), raw: [.dns(Array("a\0b".utf8))])
            },
            Presented(testDescription: "bytes beyond ASCII", kind: .tlsWrongIdentity) {
                $0.leaf(raw: [.uri(Array($0.identity("web").utf8) + [0xC3, 0xA4])])
            },
            Presented(testDescription: "the name as DNS", kind: .tlsWrongIdentity) {
                $0.leaf(dns: [$0.identity("web")])
            },
            Presented(testDescription: "no names", kind: .tlsWrongIdentity) { $0.leaf() },
        ])
    func refusals(presented: Presented) throws {
        let pair = TLSPair(
            try clientContext(presented.certificate(pki), trust: pki.trust("db")),
            try serverContext([pki.workload("db")], trust: pki.trust("web"))
        ).run()
        #expect(pair.serverFailure?.kind == presented.kind, "\(pair.serverOutcome)")
        #expect(!pair.server.isEstablished && pair.server.peer == nil)
        #expect(pair.clientFailure != nil, "an alert tells the client")
    }

    @Test("A chain that is too long is refused")
    func longChain() throws {
        var issuer = pki
        for depth in 0..<12 { issuer = issuer.intermediate("\(depth)") }
        let pair = TLSPair(
            try clientContext(issuer.leaf(uri: pki.identity("web"))),
            try serverContext([pki.workload("db")], trust: pki.trust("web"))
        ).run()
        #expect(pair.serverFailure?.kind == .tlsUntrusted)
    }

    @Test("A client without a certificate is refused where one is required, else unknown")
    func noCertificate() throws {
        let client = try clientContext(trust: pki.trust("db"))
        let strict = TLSPair(
            client, try serverContext([pki.workload("db")], trust: pki.trust("web"))
        ).run()
        #expect(strict.serverFailure?.kind == .tlsNoCertificate)
        #expect(strict.clientFailure?.kind == .tlsNoCertificate)
        let lenient = TLSPair(
            client,
            try serverContext([pki.workload("db")], trust: pki.trust("web"), requireClient: false)
        ).run()
        #expect(lenient.isEstablished && lenient.server.peer == nil)
        let wrong = TLSPair(
            try clientContext(pki.workload("other"), trust: pki.trust("db")),
            try serverContext([pki.workload("db")], trust: pki.trust("web"), requireClient: false)
        ).run()
        #expect(wrong.serverFailure?.kind == .tlsWrongIdentity)
    }

    @Test("What a listed certificate or key hash does not match is refused")
    func hashes() throws {
        let web = pki.workload("web")
        let known = TLSPair(
            try clientContext(web, trust: pki.trust("db")),
            try serverContext([pki.workload("db")], trust: pki.trust("web"))
        ).run()
        let peer = try #require(known.server.peer)
        for (material, isGood) in [
            (ValidationMaterial(certificateHashes: [peer.sha256]), true),
            (ValidationMaterial(spkiHashes: [peer.spkiSHA256]), true),
            (ValidationMaterial(certificateHashes: [String(repeating: "0", count: 64)]), false),
        ] {
            let pair = TLSPair(
                try clientContext(web), try serverContext([pki.workload("db")], trust: material)
            ).run()
            #expect(pair.server.isEstablished == isGood)
            #expect((pair.server.peer == nil) == !isGood)
        }
    }

    @Test("A trust domain's authority cannot mint another's names")
    func trustDomains() throws {
        let other = TestPKI(trustDomain: "other.local")
        let trust = ValidationMaterial(trustDomains: [
            "mesh.local": .inline(pki.rootBytes), "other.local": .inline(other.rootBytes),
        ])
        func kind(_ certificate: TestCertificate) throws -> TransportFailure.Kind? {
            TLSPair(
                try clientContext(certificate),
                try serverContext([pki.workload("db")], trust: trust)
            ).run().serverFailure?.kind
        }
        #expect(try kind(pki.workload("web")) == nil)
        #expect(try kind(other.workload("web")) == nil)
        #expect(try kind(other.leaf(uri: pki.identity("web"))) == .tlsUntrusted)
        #expect(try kind(pki.leaf(uri: "spiffe://third.local/web")) == .tlsUntrusted)
        #expect(try kind(pki.leaf(dns: ["web.local"])) == .tlsWrongIdentity)
    }

    @Test("A revoked certificate is refused, and so is all when the list is too old")
    func revocation() throws {
        let good = pki.workload("web")
        let bad = pki.workload("web")
        func kind(_ certificate: TestCertificate, _ list: String) throws -> TransportFailure.Kind? {
            var trust = pki.trust("web")
            trust.crl = .inline(Array(list.utf8))
            return TLSPair(
                try clientContext(certificate),
                try serverContext([pki.workload("db")], trust: trust)
            ).run().serverFailure?.kind
        }
        let list = pki.revocationList([bad])
        #expect(try kind(good, list) == nil)
        #expect(try kind(bad, list) == .tlsUntrusted)
        #expect(try kind(good, pki.revocationList([], nextUpdate: -30)) == .tlsExpired)
    }

    @Test("An expired certificate passes only where that is allowed")
    func allowExpired() throws {
        var trust = pki.trust("web")
        trust.allowExpired = true
        let server = try serverContext([pki.workload("db")], trust: trust)
        let client = try clientContext(pki.workload("web", notAfter: -60))
        for _ in 0..<2 {
            let pair = TLSPair(client, server).run()
            #expect(pair.isEstablished && pair.server.peer != nil)
        }
    }

    @Test("Who is let in unverified has no identity")
    func acceptUntrusted() throws {
        var trust = pki.trust("web")
        trust.acceptUntrusted = true
        let server = try serverContext([pki.workload("db")], trust: trust)
        let cache = TLSSessionCache()
        let client = try clientContext(TestPKI().workload("x"), trust: pki.trust("db"))
        for round in 0..<2 {
            let pair = TLSPair(client, server, cache: cache).run()
            #expect(pair.isEstablished && pair.server.peer == nil)
            #expect(pair.client.isResumed == (round == 1))
        }
    }

    @Test("The certificate is chosen by SNI: exact, wildcard, else the first")
    func serverNames() throws {
        let server = try serverContext([
            pki.leaf(dns: ["first.test"]), pki.leaf(dns: ["*.shop.test"]),
            pki.leaf(dns: ["cart.shop.test"]),
            pki.leaf(dns: ["cart.shop.test"], keyType: .rsa2048),
        ])
        let client = try clientContext(
            trust: ValidationMaterial(trustedCA: .inline(pki.rootBytes)))
        for (name, expected) in [
            ("cart.shop.test", "cart.shop.test"), ("CART.shop.test", "cart.shop.test"),
            ("pay.shop.test", "*.shop.test"), ("a.pay.shop.test", "first.test"),
            ("elsewhere.test", "first.test"), ("", "first.test"), ("10.0.0.1", "first.test"),
        ] {
            let pair = TLSPair(client, server, serverName: name).run()
            #expect(pair.client.peer?.dnsSANs == [expected], "\(name)")
        }
    }

    @Test("Where SNI is required a client without it is refused")
    func requireSNI() throws {
        let server = try serverContext([pki.workload("db")], requireSNI: true)
        let client = try clientContext(trust: pki.trust())
        #expect(TLSPair(client, server, serverName: "a.test").run().isEstablished)
        let pair = TLSPair(client, server).run()
        #expect(pair.serverFailure?.detail == "expected SNI, presented none")
        #expect(!pair.client.isEstablished)
    }

    @Test(
        "ALPN takes the server's first that the client offers, and goes on without overlap",
        arguments: [
            (["h2", "http/1.1"], ["http/1.1", "h2"], "h2"),
            (["http/1.1"], ["istio", "http/1.1"], "http/1.1"), (["h2"], ["istio"], nil),
            ([], ["h2"], nil), (["h2"], [], nil),
        ])
    func alpn(server: [String], client: [String], expected: String?) throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust(), alpn: client),
            try serverContext([pki.workload("db")], alpn: server)
        ).run()
        #expect(pair.isEstablished)
        #expect(pair.client.negotiatedProtocol == expected)
        #expect(pair.server.negotiatedProtocol == expected)
    }

    @Test("Versions that do not meet fail on both sides")
    func versions() throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust(), versions: .tls12 ... .tls12),
            try serverContext([pki.workload("db")], versions: .tls13 ... .tls13)
        ).run()
        #expect(pair.serverFailure?.kind == .tlsHandshake)
        #expect(pair.clientFailure?.kind == .tlsHandshake)
        #expect(pair.clientFailure?.detail.contains("protocol version") == true)
    }

    @Test("Bytes arrive whole however the ciphertext is cut", arguments: [1, 7, 16_389])
    func cut(piece: Int) throws {
        let pair = TLSPair(
            try clientContext(pki.workload("web"), trust: pki.trust("db")),
            try serverContext([pki.workload("db")], trust: pki.trust("web")))
        let question = (0..<50_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let answer = (0..<40_000).map { UInt8(truncatingIfNeeded: $0 &* 17) }
        // Before the handshake: both wait for it.
        pair.clientSends(question)
        pair.serverSends(answer)
        pair.run(piece: piece)
        #expect(pair.serverGot == question && pair.clientGot == answer)
    }

    @Test("Sending too much before the handshake is done fails the session")
    func queueLimit() throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust()), try serverContext([pki.workload("db")]))
        var output = ByteBuffer()
        let piece = [UInt8](repeating: 0, count: TLSSession.maxQueuedBytes)
        #expect(pair.client.send(piece.span, output: &output))
        #expect(!pair.client.send(piece.span, output: &output))
        pair.run()
        #expect(pair.clientOutcome.failure != nil)
    }

    @Test("close_notify ends one direction and leaves the other")
    func closeNotify() throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust()), try serverContext([pki.workload("db")])
        ).run()
        pair.clientSends([1, 2, 3])
        pair.clientCloses()
        pair.run()
        #expect(pair.serverOutcome == .closed && pair.serverGot == [1, 2, 3])
        #expect(pair.server.receivedCloseNotify && !pair.client.receivedCloseNotify)
        pair.serverSends([4])
        pair.run()
        #expect(pair.clientGot == [4] && pair.clientOutcome == .progress)
        var output = ByteBuffer()
        #expect(!pair.client.send([5].span, output: &output))
        #expect(output.bytes == [])
    }

    @Test("A connection cut off shows no close_notify")
    func truncated() throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust()), try serverContext([pki.workload("db")])
        ).run()
        pair.clientSends([UInt8](repeating: 7, count: 100))
        pair.bytesForServer.removeLast(10)
        pair.run()
        #expect(pair.serverOutcome == .progress && pair.serverGot.isEmpty)
        #expect(!pair.server.receivedCloseNotify)
    }

    @Test("Keys are updated in the middle of a stream; not in TLS 1.2")
    func keyUpdate() throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust()), try serverContext([pki.workload("db")])
        ).run()
        pair.clientSends([1])
        #expect(pair.clientUpdatesKeys())
        pair.clientSends([2])
        pair.serverSends([3])
        pair.run(piece: 1)
        pair.serverSends([4])
        pair.run()
        #expect(pair.serverGot == [1, 2] && pair.clientGot == [3, 4])
        let old = TLSPair(
            try clientContext(trust: pki.trust(), versions: .tls12 ... .tls12),
            try serverContext([pki.workload("db")])
        ).run()
        #expect(!old.clientUpdatesKeys())
        old.clientSends([9])
        #expect(old.run().serverGot == [9])
    }

    @Test("A record changed on the way fails the session for good")
    func tampering() throws {
        let pair = TLSPair(
            try clientContext(trust: pki.trust()), try serverContext([pki.workload("db")])
        ).run()
        pair.clientSends([1, 2, 3])
        pair.bytesForServer[pair.bytesForServer.count - 1] ^= 1
        pair.run()
        let failure = try #require(pair.serverFailure)
        #expect(failure.kind == .protocolError && pair.serverGot.isEmpty)
        pair.serverReceives([1])
        #expect(pair.serverFailure == failure)
    }

    @Test(
        "Garbage and cut or changed handshakes end in a failure or in waiting, never in a session")
    func garbage() throws {
        let server = try serverContext([pki.workload("db")], trust: pki.trust("web"))
        let client = try clientContext(pki.workload("web"), trust: pki.trust("db"))
        var random = SeededRandom(seed: 1)
        for text in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\u{16}\u{3}\u{1}", ""] {
            let pair = TLSPair(client, server)
            pair.serverReceives(Array(text.utf8))
            #expect(!pair.server.isEstablished)
        }
        for _ in 0..<300 {
            let pair = TLSPair(client, server)
            var hello = pair.bytesForServer
            hello[random.below(hello.count)] ^= UInt8(1 + random.below(255))
            pair.bytesForServer = hello
            pair.run()
            #expect(!(pair.server.isEstablished && pair.client.isEstablished))
        }
        for _ in 0..<300 {
            let pair = TLSPair(client, server)
            pair.serverReceives(pair.bytesForServer)
            pair.bytesForServer = []
            var flight = pair.bytesForClient
            flight[random.below(flight.count)] ^= UInt8(1 + random.below(255))
            pair.bytesForClient = flight
            pair.run()
            #expect(!pair.server.isEstablished)
        }
    }

    @Test("With a seed a handshake replays byte for byte")
    func replay() throws {
        let client = try clientContext(pki.workload("web"), trust: pki.trust("db"))
        let db = pki.workload("db")
        func transcript(seed: UInt64) throws -> [UInt8] {
            let server = try serverContext([db], trust: pki.trust("web"))
            installSeededRandom(seed: seed)
            defer { removeSeededRandom() }
            let pair = TLSPair(client, server)
            var seen = pair.bytesForServer
            pair.serverReceives(pair.bytesForServer)
            pair.bytesForServer = []
            seen += pair.bytesForClient
            pair.clientReceives(pair.bytesForClient)
            return seen + pair.bytesForServer
        }
        let first = try transcript(seed: 1)
        #expect(first.count > 1000)
        #expect(try transcript(seed: 1) == first)
        #expect(try transcript(seed: 2) != first)
    }
}
