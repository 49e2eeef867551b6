import EventLoop
import MTLS
import MeshBase
import MeshConfig

/// What decoding alone can't know of static resources: that the files which they name are there, and
/// that certificates, keys and trust make a TLS context.
///
/// `run` refuses to start with what this finds, for nobody would mend it later; of resources from a
/// control plane a broken one is refused alone.
enum StaticCheck {
    /// A line for each problem, with the place and the reason.
    static func problems(of snapshot: Snapshot) -> [String] {
        var files: [String: [UInt8]] = [:]
        var problems: [String] = []
        for path in FileReferences.paths(in: snapshot).keys.sorted() {
            do {
                files[path] = try Files.read(path)
            } catch {
                problems.append("\(path): expected a file that can be read, got \(error)")
            }
        }
        // One missing file would otherwise be told again by each context that needs it.
        if !problems.isEmpty { return problems }

        func check(_ place: String, _ common: CommonTLS, _ make: () throws -> TLSContext) {
            // What a control plane is still to give can't be checked now.
            guard common.secretNames.allSatisfy({ snapshot.secrets[$0] != nil }) else { return }
            do {
                _ = try make()
            } catch {
                problems.append("\(place): \(error)")
            }
        }
        for listener in snapshot.listeners {
            let fallback = listener.defaultFilterChain.map { [$0] } ?? []
            for (index, chain) in (listener.filterChains + fallback).enumerated() {
                guard let tls = chain.tls else { continue }
                check("listener \(listener.name), filter chain \(index)", tls.common) {
                    try TLSContext(
                        downstream: tls, secrets: snapshot.secrets, files: files, ticketKey: [])
                }
            }
        }
        for cluster in snapshot.clusters {
            for transport in [cluster.transport] + cluster.transportMatches.map(\.transport) {
                guard case .tls(let tls) = transport else { continue }
                check("cluster \(cluster.name)", tls.common) {
                    try TLSContext(upstream: tls, secrets: snapshot.secrets, files: files)
                }
            }
        }
        return problems
    }
}

extension CommonTLS {
    /// Names of the secrets that it takes its certificates and trust from.
    fileprivate var secretNames: [String] {
        var names = certificates.compactMap { reference -> String? in
            if case .secret(let name) = reference { return name }
            return nil
        }
        switch validation {
        case .secret(let name), .combined(_, secret: let name): names.append(name)
        case .none, .inline: break
        }
        return names
    }
}
