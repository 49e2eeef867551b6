import MTLS
import MeshBase
import MeshConfig
import TestPKI
import Testing

@Suite struct TLSSessionTests {
    let pki = TestPKI()

    @Test("Both sides know each other, and bytes pass both ways")
    func mutual() throws {
        let pair = TLSPair(
            try clientContext(pki.workload("web"), trust: pki.trust("db")),
            try serverContext([pki.workload("db")], trust: pki.trust("web")),
            serverName: "outbound_.80_._.db.default.svc"
        ).run()
        #expect(pair.isEstablished)
        #expect(pair.client.peer?.identity?.path == "/ns/default/sa/db")
        #expect(pair.server.peer?.uriSANs == ["spiffe://mesh.local/ns/default/sa/web"])
        #expect(pair.server.serverName == "outbound_.80_._.db.default.svc")
        #expect(pair.server.version == "TLSv1.3" && !pair.server.isResumed)
        #expect(pair.server.peer?.pem.hasPrefix("-----BEGIN CERTIFICATE-----\n") == true)
        pair.clientSends(Array("ping".utf8))
        pair.serverSends(Array("pong".utf8))
        pair.run()
        #expect(pair.serverGot == Array("ping".utf8) && pair.clientGot == Array("pong".utf8))
    }
}
