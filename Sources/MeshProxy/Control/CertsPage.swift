import EventLoop
import MTLS
import MeshBase
import MeshConfig

extension AdminPages {
    /// `/certs`: each certificate and trust bundle in force, where it comes from and what it says.
    func certs() -> AdminServer.Reply {
        let entries = CertificateList.entries(of: control.published).map { entry in
            JSONValue.message(
                ("ca_cert", entry.isTrust ? details(entry) : .null),
                ("cert_chain", entry.isTrust ? .null : details(entry)))
        }
        return .json(JSONValue.object([(key: "certificates", value: .array(entries))]).text)
    }

    /// `envoy.admin.v3.CertificateDetails`, a list.
    private func details(_ entry: CertificateList.Entry) -> JSONValue {
        var path = "<inline>"
        if case .file(let name) = entry.source { path = name }
        let now = control.loop.wallClock.seconds
        do {
            let read = try CertificateReader.read(entry.source, files: control.published.files)
            return .array(
                read.map { certificate in
                    .message(
                        ("path", .string(path)), ("name", .string(entry.name)),
                        ("subject", .string(certificate.subject)),
                        ("serial_number", .string(certificate.serial)),
                        ("subject_alt_names", .array(CertsPage.names(of: certificate))),
                        (
                            "days_until_expiration",
                            .string("\(CertsPage.days(from: now, to: certificate.notAfter))")
                        ), ("valid_from", CertsPage.time(certificate.notBefore)),
                        ("expiration_time", CertsPage.time(certificate.notAfter)))
                })
        } catch {
            return [
                [
                    "path": .string(path), "name": .string(entry.name),
                    "error": .string("\(error)"),
                ]
            ]
        }
    }
}

private enum CertsPage {
    static func names(of certificate: TLSPeer) -> [JSONValue] {
        certificate.uriSANs.map { ["uri": .string($0)] }
            + certificate.dnsSANs.map { ["dns": .string($0)] }
            + certificate.ipSANs.map { ["ip_address": .string($0)] }
    }

    /// 0 when it is over.
    static func days(from now: Int64, to end: Int64) -> Int64 {
        end > now ? (end - now) / 86400 : 0
    }

    static func time(_ seconds: Int64) -> JSONValue {
        let (microseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return overflow ? .null : ConfigJSON.time(UnixTime(microseconds: microseconds))
    }
}

/// Every certificate chain and trust bundle that a snapshot names.
enum CertificateList {
    struct Entry {
        /// The secret's, or that of the listener or cluster that has it inline.
        var name: String
        var source: DataSource
        var isTrust: Bool
    }

    static func entries(of snapshot: Snapshot) -> [Entry] {
        var entries: [Entry] = []
        func add(_ name: String, _ material: CertificateMaterial) {
            entries.append(Entry(name: name, source: material.chain, isTrust: false))
        }
        func add(_ name: String, _ material: ValidationMaterial) {
            if let trust = material.trustedCA {
                entries.append(Entry(name: name, source: trust, isTrust: true))
            }
            for (_, bundle) in material.trustDomains.sorted(by: { $0.key < $1.key }) {
                entries.append(Entry(name: name, source: bundle, isTrust: true))
            }
        }
        for (name, secret) in snapshot.secrets.sorted(by: { $0.key < $1.key }) {
            switch secret.content {
            case .certificate(let material): add(name, material)
            case .validation(let material): add(name, material)
            case .ticketKeys: break
            }
        }
        for (name, common) in inlineTLS(of: snapshot) {
            for case .inline(let material) in common.certificates { add(name, material) }
            switch common.validation {
            case .inline(let material), .combined(let material, secret: _): add(name, material)
            case .none, .secret: break
            }
        }
        return entries
    }

    /// Seconds since 1970 at which the first certificate of ours ends; `nil` without any.
    static func firstEnd(of snapshot: Snapshot) -> Int64? {
        entries(of: snapshot).filter { !$0.isTrust }.compactMap { entry in
            let read = try? CertificateReader.read(entry.source, files: snapshot.files)
            return read?.map(\.notAfter).min()
        }.min()
    }

    /// TLS settings with the name of the listener or cluster that they belong to.
    private static func inlineTLS(of snapshot: Snapshot) -> [(String, CommonTLS)] {
        var found: [(String, CommonTLS)] = []
        for listener in snapshot.listeners {
            for chain in listener.filterChains + (listener.defaultFilterChain.map { [$0] } ?? []) {
                if let tls = chain.tls { found.append((listener.name, tls.common)) }
            }
        }
        for cluster in snapshot.clusters {
            for transport in [cluster.transport] + cluster.transportMatches.map(\.transport) {
                if case .tls(let tls) = transport { found.append((cluster.name, tls.common)) }
            }
        }
        return found
    }
}
