import MTLS
import MeshBase
import MeshConfig
import TestPKI
import Testing

@Suite struct TLSContextTests {
    let pki = TestPKI()

    private func reason(_ make: () throws -> TLSContext) -> String {
        do {
            _ = try make()
            return "no error"
        } catch let error as TLSConfigurationError {
            return error.reason
        } catch {
            return "another error"
        }
    }

    private func server(
        _ common: CommonTLS, secrets: [String: Secret] = [:], files: [String: [UInt8]] = [:],
        requireClient: Bool = false
    ) throws -> TLSContext {
        try TLSContext(
            downstream: DownstreamTLS(common: common, requireClientCertificate: requireClient),
            secrets: secrets, files: files, ticketKey: [])
    }

    @Test("Errors say which part, what was expected and what was found")
    func errors() {
        let db = pki.workload("db")
        let other = pki.workload("other")
        func material(chain: [UInt8], key: [UInt8]) -> CommonTLS {
            CommonTLS(certificates: [
                .inline(CertificateMaterial(chain: .inline(chain), key: .inline(key)))
            ])
        }
        #expect(reason { try server(CommonTLS()) } == "a TLS server without a certificate")
        #expect(
            reason { try server(material(chain: db.chainBytes, key: other.keyBytes)) }
                == "private key of the inline certificate does not belong to its certificate "
                + "(URI \(pki.identity("db")))")
        #expect(
            reason { try server(material(chain: Array("nonsense".utf8), key: db.keyBytes)) }
                == "certificate chain of the inline certificate: expected PEM certificates, "
                + "found no PEM certificate in 8 bytes")
        #expect(
            reason { try server(material(chain: db.chainBytes, key: db.chainBytes)) }
                .hasPrefix("private key of the inline certificate: expected a PEM private key"))
        #expect(
            reason { try server(CommonTLS(certificates: [.secret("default")])) }
                == "the secret \"default\" is not there")
        let file = CommonTLS(certificates: [
            .inline(CertificateMaterial(chain: .file("/a"), key: .file("/b")))
        ])
        #expect(reason { try server(file) }.hasSuffix("the file /a could not be read"))
        #expect(
            reason {
                try server(file, files: ["/a": db.chainBytes, "/b": db.keyBytes])
            } == "no error")
        var common = CommonTLS(certificates: [db.reference])
        common.cipherSuites = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ROT13"]
        #expect(reason { try server(common) } == "unknown cipher suite \"ROT13\"")
        common.cipherSuites = ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]"]
        common.ecdhCurves = ["X25519", "P-256"]
        #expect(reason { try server(common) } == "no error")
        common.ecdhCurves = ["P-257"]
        #expect(reason { try server(common) } == "unknown curve \"P-257\"")
    }

    @Test("A key under a password opens with it alone")
    func password() {
        let locked = pki.workload("db").encrypted(password: "sesame")
        func reason(_ password: String?) -> String {
            self.reason {
                try server(
                    CommonTLS(certificates: [
                        .inline(
                            CertificateMaterial(
                                chain: .inline(locked.chainBytes), key: .inline(locked.keyBytes),
                                password: password.map { .inline(Array($0.utf8)) }))
                    ]))
            }
        }
        #expect(reason("sesame\n") == "no error")
        #expect(reason(nil).hasSuffix("found an encrypted one and no password"))
        #expect(reason("wrong").hasSuffix("(is the password right?)"))
    }

    @Test("Trust that would let anyone in is refused")
    func emptyTrust() {
        let common = CommonTLS(certificates: [pki.workload("db").reference])
        #expect(
            reason { try server(common, requireClient: true) }
                == "a client certificate is required but there is no trust to verify it with")
        var named = common
        named.validation = .inline(ValidationMaterial(sanMatchers: pki.trust("web").sanMatchers))
        #expect(reason { try server(named) }.hasPrefix("SAN matchers without a trusted CA"))
        var bad = common
        bad.validation = .inline(
            ValidationMaterial(
                trustedCA: .inline(pki.rootBytes),
                sanMatchers: [SANMatcher(type: .uri, matcher: StringMatcher(.regex("a(")))]))
        #expect(reason { try server(bad) }.hasPrefix("SAN matcher URI /a(/: "))
    }

    @Test("A combined context joins the secret's trust with the matchers beside it")
    func combined() throws {
        let matchers = ValidationMaterial(sanMatchers: pki.trust("web").sanMatchers)
        let context = try server(
            CommonTLS(
                certificates: [.secret("default")],
                validation: .combined(matchers, secret: "ROOTCA")),
            secrets: [
                "default": Secret(
                    name: "default",
                    content: .certificate(
                        CertificateMaterial(
                            chain: .inline(pki.workload("db").chainBytes), key: .inline([])))),
                "ROOTCA": Secret(name: "ROOTCA", content: .validation(pki.trust())),
            ].merging(
                ["default": secret(pki.workload("db"))], uniquingKeysWith: { _, new in new }),
            requireClient: true)
        let web = TLSPair(try clientContext(pki.workload("web")), context).run()
        #expect(web.isEstablished && web.server.peer != nil)
        let other = TLSPair(try clientContext(pki.workload("other")), context).run()
        #expect(other.serverFailure?.kind == .tlsWrongIdentity)
    }

    private func secret(_ certificate: TestCertificate) -> Secret {
        Secret(
            name: "default",
            content: .certificate(
                CertificateMaterial(
                    chain: .inline(certificate.chainBytes), key: .inline(certificate.keyBytes))))
    }

    @Test("What is expired is a warning, and all is shown")
    func warnings() throws {
        let context = try serverContext(
            [pki.workload("db", notAfter: -60)], trust: pki.trust("web"))
        #expect(
            context.warnings == ["certificate has expired: URI \(pki.identity("db"))"])
        #expect(context.certificates.map(\.uriSANs) == [[pki.identity("db")]])
        #expect(context.authorities.map(\.subject) == ["CN=mesh.local root"])
    }

    @Test("The same content has the same fingerprint, other content another")
    func fingerprints() throws {
        let db = pki.workload("db")
        let first = try serverContext([db], trust: pki.trust("web"))
        #expect(try serverContext([db], trust: pki.trust("web")).fingerprint == first.fingerprint)
        #expect(try serverContext([db], trust: pki.trust("x")).fingerprint != first.fingerprint)
        #expect(try serverContext([db]).fingerprint != first.fingerprint)
    }
}
