import EventLoop
import MeshBase
import MeshConfig

/// Where certificates and keys on disk come from; in simulation a dictionary.
protocol FileSource: AnyObject {
    /// - Throws: `SocketError` with the operation and path.
    func read(_ path: String) throws(SocketError) -> [UInt8]
    /// Calls `changed` whenever anything in the directory changes, until the source goes.
    func watch(_ directory: String, changed: @escaping () -> Void)
}

/// The disk.
final class DiskFiles: FileSource {
    private let loop: LibevLoop
    private let log: ProxyLog
    private var watch: DirectoryWatch?
    private var changed: () -> Void = {}

    init(loop: LibevLoop, log: ProxyLog) {
        self.loop = loop
        self.log = log
    }

    func read(_ path: String) throws(SocketError) -> [UInt8] {
        try Files.read(path, limit: 4 * 1024 * 1024)
    }

    func watch(_ directory: String, changed: @escaping () -> Void) {
        self.changed = changed
        do {
            if watch == nil {
                watch = try DirectoryWatch(loop: loop) { [unowned self] in self.changed() }
            }
            try watch?.watch(directory)
        } catch {
            log.warning("cannot watch a directory", ["directory": directory, "error": "\(error)"])
        }
    }
}

/// The paths of all files that a snapshot's certificates name.
enum FileReferences {
    static func paths(in snapshot: Snapshot) -> [String: String?] {
        var found: [String: String?] = [:]
        func add(_ source: DataSource?, _ directory: String?) {
            if case .file(let path) = source { found[path] = .some(directory) }
        }
        func add(_ material: CertificateMaterial) {
            add(material.chain, material.watchedDirectory)
            add(material.key, material.watchedDirectory)
            add(material.password, material.watchedDirectory)
        }
        func add(_ material: ValidationMaterial) {
            add(material.trustedCA, material.watchedDirectory)
            add(material.crl, material.watchedDirectory)
            for bundle in material.trustDomains.values { add(bundle, material.watchedDirectory) }
        }
        func add(_ common: CommonTLS) {
            for case .inline(let material) in common.certificates { add(material) }
            switch common.validation {
            case .inline(let material), .combined(let material, secret: _): add(material)
            case .none, .secret: break
            }
        }
        for secret in snapshot.secrets.values {
            switch secret.content {
            case .certificate(let material): add(material)
            case .validation(let material): add(material)
            case .ticketKeys(let keys): for key in keys { add(key, nil) }
            }
        }
        for listener in snapshot.listeners {
            for chain in listener.filterChains { if let tls = chain.tls { add(tls.common) } }
            if let tls = listener.defaultFilterChain?.tls { add(tls.common) }
        }
        for cluster in snapshot.clusters {
            for transport in [cluster.transport] + cluster.transportMatches.map(\.transport) {
                if case .tls(let tls) = transport { add(tls.common) }
            }
        }
        return found
    }
}
