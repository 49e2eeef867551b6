import MeshConfig

extension AdminPages {
    /// `/certs`: where each certificate and trust bundle in force comes from.
    func certs() -> AdminServer.Reply {
        var entries: [JSONValue] = []
        for (name, secret) in control.published.secrets.sorted(by: { $0.key < $1.key }) {
            switch secret.content {
            case .certificate(let material):
                entries.append(CertsPage.entry(name, chain: material.chain, trust: nil))
            case .validation(let material):
                entries.append(CertsPage.entry(name, chain: nil, trust: material.trustedCA))
            case .ticketKeys: break
            }
        }
        for (name, common) in CertsPage.inlineTLS(of: control.published) {
            for case .inline(let material) in common.certificates {
                entries.append(CertsPage.entry(name, chain: material.chain, trust: nil))
            }
            switch common.validation {
            case .inline(let material), .combined(let material, secret: _):
                if let trust = material.trustedCA {
                    entries.append(CertsPage.entry(name, chain: nil, trust: trust))
                }
            case .none, .secret: break
            }
        }
        return .json(JSONValue.object([(key: "certificates", value: .array(entries))]).text)
    }
}

private enum CertsPage {
    /// `envoy.admin.v3.Certificate`.
    static func entry(_ name: String, chain: DataSource?, trust: DataSource?) -> JSONValue {
        .message(("ca_cert", details(name, trust)), ("cert_chain", details(name, chain)))
    }

    private static func details(_ name: String, _ source: DataSource?) -> JSONValue {
        switch source {
        case .file(let path): [["path": .string(path), "name": .string(name)]]
        case .inline: [["path": "<inline>", "name": .string(name)]]
        case nil: .null
        }
    }

    /// TLS settings with the name of the listener or cluster that they belong to.
    static func inlineTLS(of snapshot: Snapshot) -> [(String, CommonTLS)] {
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
