import Glibc
import MTLS
import MeshBase
import MeshConfig
import MeshSimulation
import TestPKI

@testable import MeshProxy

/// Makes TLS sessions for the ends of a test that live on one loop.
final class TLSEnds {
    let clusters: ClusterSet

    init(_ loop: SimulatedLoop) {
        clusters = ClusterSet(
            loop: loop, settings: Settings(), log: ProxyLog(), metrics: WorkerMetrics())
    }

    func server(_ config: DownstreamTLS) -> TLSSession {
        do {
            let context = try TLSContext(
                downstream: config, secrets: [:], files: [:], ticketKey: [])
            return context.makeServerSession(clusters.pipe)
        } catch {
            preconditionFailure("\(error)")
        }
    }

    func client(_ config: UpstreamTLS) -> TLSSession {
        do {
            let context = try TLSContext(upstream: config, secrets: [:], files: [:])
            return context.makeClientSession(
                pipe: clusters.pipe, serverName: config.sni, cache: nil, key: "")
        } catch {
            preconditionFailure("\(error)")
        }
    }
}

/// Certificates of one authority, as the configurations of both sides.
struct MeshTrust {
    // The same moments in every run, so that certificates are the same bytes.
    let pki = TestPKI(epoch: 1_700_000_000, notAfter: MeshTrust.lifetime)

    private static let lifetime = 2_300_000_000

    func common(_ account: String, peer: String? = nil, alpn: [String] = ["h2"]) -> CommonTLS {
        CommonTLS(
            certificates: [.inline(material(account))],
            validation: .inline(validation(peer: peer)), alpn: alpn)
    }

    /// - Parameter peer: the only account that clients may have; `nil`: any of the authority.
    func server(
        _ account: String, peer: String? = nil, alpn: [String] = ["h2", "http/1.1"]
    ) -> DownstreamTLS {
        DownstreamTLS(
            common: common(account, peer: peer, alpn: alpn), requireClientCertificate: true)
    }

    func client(
        _ account: String, peer: String? = nil, sni: String = "svc.mesh", alpn: [String] = ["h2"]
    ) -> UpstreamTLS {
        UpstreamTLS(common: common(account, peer: peer, alpn: alpn), sni: sni)
    }

    func material(_ account: String) -> CertificateMaterial {
        let leaf = pki.workload(account, notAfter: Self.lifetime)
        return CertificateMaterial(chain: .inline(leaf.chainBytes), key: .inline(leaf.keyBytes))
    }

    /// A certificate of an account as bytes of PEM.
    func pemLeaf(_ account: String) -> (chain: [UInt8], key: [UInt8]) {
        let leaf = pki.workload(account, notAfter: Self.lifetime)
        return (leaf.chainBytes, leaf.keyBytes)
    }

    func validation(peer: String? = nil) -> ValidationMaterial {
        ValidationMaterial(
            trustedCA: .inline(pki.rootBytes),
            sanMatchers: peer.map {
                [SANMatcher(type: .uri, matcher: StringMatcher(.exact(pki.identity($0))))]
            } ?? [])
    }
}
