import MTLS
import MeshBase
import MeshConfig
import TestPKI

/// A client and a server in memory.
final class TLSPair {
    let client: TLSSession
    let server: TLSSession
    let clientPipe = TLSPipe()
    let serverPipe = TLSPipe()
    /// What each has received.
    var clientGot: [UInt8] = []
    var serverGot: [UInt8] = []
    var clientOutcome = TLSSession.Outcome.progress
    var serverOutcome = TLSSession.Outcome.progress
    private var toServer: [UInt8] = []
    private var toClient: [UInt8] = []

    init(
        _ client: TLSContext, _ server: TLSContext, serverName: String = "",
        cache: TLSSessionCache? = nil
    ) {
        self.client = client.makeClientSession(
            pipe: clientPipe, serverName: serverName, cache: cache, key: "endpoint")
        self.server = server.makeServerSession(serverPipe)
        var output = ByteBuffer()
        self.client.start(output: &output)
        toServer += output.bytes
    }

    var bytesForServer: [UInt8] {
        get { toServer }
        set { toServer = newValue }
    }

    var bytesForClient: [UInt8] {
        get { toClient }
        set { toClient = newValue }
    }

    /// Carries bytes until none are under way, in pieces of at most `piece`.
    @discardableResult
    func run(piece: Int = .max) -> TLSPair {
        while !toServer.isEmpty || !toClient.isEmpty {
            let up = toServer.prefix(piece)
            toServer.removeFirst(up.count)
            if !up.isEmpty { serverReceives(Array(up)) }
            let down = toClient.prefix(piece)
            toClient.removeFirst(down.count)
            if !down.isEmpty { clientReceives(Array(down)) }
        }
        return self
    }

    func serverReceives(_ bytes: [UInt8]) {
        var plaintext = ByteBuffer()
        var output = ByteBuffer()
        serverOutcome = server.receive(bytes.span, plaintext: &plaintext, output: &output)
        serverGot += plaintext.bytes
        toClient += output.bytes
    }

    func clientReceives(_ bytes: [UInt8]) {
        var plaintext = ByteBuffer()
        var output = ByteBuffer()
        clientOutcome = client.receive(bytes.span, plaintext: &plaintext, output: &output)
        clientGot += plaintext.bytes
        toServer += output.bytes
    }

    func clientSends(_ bytes: [UInt8]) {
        var output = ByteBuffer()
        client.send(bytes.span, output: &output)
        toServer += output.bytes
    }

    func serverSends(_ bytes: [UInt8]) {
        var output = ByteBuffer()
        server.send(bytes.span, output: &output)
        toClient += output.bytes
    }

    func clientCloses() {
        var output = ByteBuffer()
        client.sendClose(output: &output)
        toServer += output.bytes
    }

    func clientUpdatesKeys() -> Bool {
        var output = ByteBuffer()
        let done = client.updateKeys(output: &output)
        toServer += output.bytes
        return done
    }

    var isEstablished: Bool { client.isEstablished && server.isEstablished }
    var serverFailure: TransportFailure? { serverOutcome.failure }
    var clientFailure: TransportFailure? { clientOutcome.failure }
}

extension TLSSession.Outcome {
    var failure: TransportFailure? {
        if case .failed(let failure) = self { failure } else { nil }
    }
}

extension ByteBuffer {
    var bytes: [UInt8] { withBytes { Array($0) } }
}

extension TestCertificate {
    var reference: CertificateReference {
        .inline(CertificateMaterial(chain: .inline(chainBytes), key: .inline(keyBytes)))
    }
}

/// Contexts of which only what a test is about is written down.
func serverContext(
    _ certificates: [TestCertificate], trust: ValidationMaterial? = nil, requireClient: Bool = true,
    alpn: [String] = [], versions: ClosedRange<CommonTLS.Version> = .tls12 ... .tls13,
    ticketKey: [UInt8] = [], disableResumption: Bool = false, requireSNI: Bool = false
) throws -> TLSContext {
    try TLSContext(
        downstream: DownstreamTLS(
            common: CommonTLS(
                certificates: certificates.map(\.reference),
                validation: trust.map { .inline($0) } ?? .none, alpn: alpn,
                minimumVersion: versions.lowerBound, maximumVersion: versions.upperBound),
            requireClientCertificate: trust != nil && requireClient, requireSNI: requireSNI,
            disableResumption: disableResumption),
        secrets: [:], files: [:], ticketKey: ticketKey)
}

func clientContext(
    _ certificate: TestCertificate? = nil, trust: ValidationMaterial? = nil, alpn: [String] = [],
    versions: ClosedRange<CommonTLS.Version> = .tls12 ... .tls13
) throws -> TLSContext {
    try TLSContext(
        upstream: UpstreamTLS(
            common: CommonTLS(
                certificates: certificate.map { [$0.reference] } ?? [],
                validation: trust.map { .inline($0) } ?? .none, alpn: alpn,
                minimumVersion: versions.lowerBound, maximumVersion: versions.upperBound)),
        secrets: [:], files: [:])
}

extension TestPKI {
    /// Trusts this authority and, of its identities, these accounts; all if none is given.
    func trust(_ accounts: String...) -> ValidationMaterial {
        ValidationMaterial(
            trustedCA: .inline(rootBytes),
            sanMatchers: accounts.map {
                SANMatcher(type: .uri, matcher: StringMatcher(.exact(identity($0))))
            })
    }
}
