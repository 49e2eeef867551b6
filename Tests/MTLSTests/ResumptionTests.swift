import MTLS
import MeshBase
import MeshConfig
import TestPKI
import Testing

@Suite struct ResumptionTests {
    let pki = TestPKI()
    let key = TLSContext.makeTicketKey()

    @Test(
        "A second connection resumes the first, and the peer is still known",
        arguments: [false, true], [false, true])
    func resumes(stateless: Bool, oldVersion: Bool) throws {
        let server = try serverContext(
            [pki.workload("db")], trust: pki.trust("web"), ticketKey: stateless ? key : [])
        let client = try clientContext(
            pki.workload("web"), trust: pki.trust("db"),
            versions: oldVersion ? .tls12 ... .tls12 : .tls12 ... .tls13)
        let cache = TLSSessionCache()
        for round in 0..<3 {
            let pair = TLSPair(client, server, serverName: "db.test", cache: cache).run()
            #expect(pair.isEstablished)
            #expect(pair.client.isResumed == (round > 0) && pair.server.isResumed == (round > 0))
            #expect(pair.server.peer?.uriSANs == [pki.identity("web")])
            #expect(pair.client.peer?.uriSANs == [pki.identity("db")])
            #expect(pair.server.serverName == "db.test")
            #expect(cache.count == 1)
        }
    }

    @Test("With a ticket key another worker's context resumes; without one it cannot")
    func acrossWorkers() throws {
        let db = pki.workload("db")
        let client = try clientContext(pki.workload("web"), trust: pki.trust("db"))
        for (ticketKey, expected) in [(key, true), ([], false)] {
            let cache = TLSSessionCache()
            let workers = try (0..<2).map { _ in
                try serverContext([db], trust: pki.trust("web"), ticketKey: ticketKey)
            }
            TLSPair(client, workers[0], cache: cache).run()
            let second = TLSPair(client, workers[1], cache: cache).run()
            #expect(second.isEstablished && second.server.isResumed == expected)
        }
    }

    @Test("No session outlives the trust or the matchers it was made under: on the server")
    func serverTrustChanges() throws {
        let db = pki.workload("db")
        let client = try clientContext(pki.workload("web"), trust: pki.trust("db"))
        let cache = TLSSessionCache()
        func connect(_ trust: ValidationMaterial) throws -> TLSPair {
            TLSPair(client, try serverContext([db], trust: trust, ticketKey: key), cache: cache)
                .run()
        }
        #expect(try connect(pki.trust("web")).isEstablished)
        #expect(try connect(pki.trust("web")).server.isResumed)
        let withdrawn = try connect(pki.trust("other"))
        #expect(withdrawn.serverFailure?.kind == .tlsWrongIdentity)
        #expect(try connect(pki.trust("web")).isEstablished)
        var otherRoot = pki.trust("web")
        otherRoot.trustedCA = .inline(TestPKI().rootBytes)
        #expect(try connect(otherRoot).serverFailure?.kind == .tlsUntrusted)
        var widened = pki.trust("web")
        widened.trustedCA = .inline(pki.rootBytes + TestPKI().rootBytes)
        #expect(try connect(pki.trust("web")).isEstablished)
        let rotated = try connect(widened)
        #expect(rotated.isEstablished && !rotated.server.isResumed)
    }

    @Test("No session outlives the trust or the matchers it was made under: on the client")
    func clientTrustChanges() throws {
        let server = try serverContext([pki.workload("db")], ticketKey: key)
        let cache = TLSSessionCache()
        func connect(_ trust: ValidationMaterial) throws -> TLSPair {
            TLSPair(try clientContext(trust: trust), server, cache: cache).run()
        }
        #expect(try connect(pki.trust("db")).isEstablished)
        #expect(try connect(pki.trust("db")).client.isResumed)
        #expect(try connect(pki.trust("other")).clientFailure?.kind == .tlsWrongIdentity)
        var otherRoot = pki.trust("db")
        otherRoot.trustedCA = .inline(TestPKI().rootBytes)
        #expect(try connect(otherRoot).clientFailure?.kind == .tlsUntrusted)
    }

    @Test("A session of a client without a certificate is no way around the need for one")
    func optionalThenRequired() throws {
        let db = pki.workload("db")
        let client = try clientContext(trust: pki.trust("db"))
        let cache = TLSSessionCache()
        let lenient = try serverContext(
            [db], trust: pki.trust("web"), requireClient: false, ticketKey: key)
        #expect(TLSPair(client, lenient, cache: cache).run().isEstablished)
        let strict = try serverContext([db], trust: pki.trust("web"), ticketKey: key)
        #expect(
            TLSPair(client, strict, cache: cache).run().serverFailure?.kind == .tlsNoCertificate)
    }

    @Test("Where resumption is off, no ticket is sent")
    func disabled() throws {
        let server = try serverContext(
            [pki.workload("db")], trust: pki.trust("web"), ticketKey: key, disableResumption: true)
        let cache = TLSSessionCache()
        for versions: ClosedRange<CommonTLS.Version> in [.tls13 ... .tls13, .tls12 ... .tls12] {
            let client = try clientContext(
                pki.workload("web"), trust: pki.trust("db"), versions: versions)
            for _ in 0..<2 {
                let pair = TLSPair(client, server, cache: cache).run()
                #expect(pair.isEstablished && !pair.client.isResumed)
            }
        }
        #expect(cache.count == 0)
    }

    @Test("A full cache forgets the oldest endpoint")
    func cacheLimit() throws {
        let server = try serverContext([pki.workload("db")], trust: pki.trust("web"))
        let client = try clientContext(pki.workload("web"), trust: pki.trust("db"))
        let cache = TLSSessionCache(maxKeys: 1)
        TLSPair(client, server, cache: cache).run()
        TLSPair(client, server, serverName: "b.test", cache: cache).run()
        #expect(cache.count == 1)
        #expect(!TLSPair(client, server, cache: cache).run().client.isResumed)
        cache.removeAll()
        #expect(cache.count == 0)
    }
}
