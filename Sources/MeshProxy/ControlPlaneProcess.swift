import EventLoop
import HTTPCodec
import MeshBase
import MeshConfig
import XDSClient

/// The embedded control plane as a process: the YAML resources of a directory, served over ADS.
///
/// For the first run, for tests, for machines and the edge. It watches the directory; a set of files
/// that can't be understood is reported and the last good one stays in force.
public enum ControlPlaneProcess {
    public static func run(directory: String, listen: String, logLevel: String) throws -> Int32 {
        let log = try ProxyLog(level: logLevel, components: "")
        let loop = LibevLoop(seed: Machine.seed())
        guard let address = ControlPlaneProcess.address(listen) else {
            throw LoadError(
                path: "--listen", problems: "expected address:port or a path, got \"\(listen)\"")
        }
        let server = ResourceServer(directory: directory, log: log)
        try server.load()
        let grpc = try GRPCServer(loop: loop, address: address) { path, call in
            server.open(path, call)
        }
        let watch = try DirectoryWatch(loop: loop) { server.reload() }
        try watch.watch(directory)
        log.info(
            "control plane serves",
            ["address": "\(grpc.address ?? address)", "resources": "\(server.resources.count)"])
        loop.onSignal(Machine.terminate) { loop.stop() }
        loop.onSignal(Machine.interrupt) { loop.stop() }
        withExtendedLifetime((grpc, watch)) { loop.run() }
        grpc.close()
        loop.close()
        return 0
    }

    static func address(_ text: String) -> SocketAddress? {
        if text.hasPrefix("/") || text.hasPrefix("@") || text.hasPrefix("./") { return .pipe(text) }
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return SocketAddress(ip: String(host), port: port)
    }
}

/// The resources of a directory, and the clients that have them.
final class ResourceServer {
    private let directory: String
    private let log: ProxyLog
    private(set) var resources = ServedResources()
    private var calls: [ObjectIdentifier: ServedCall] = [:]

    init(directory: String, log: ProxyLog) {
        self.directory = directory
        self.log = log
    }

    /// Reads all `.yaml`, `.yml` and `.json` files of the directory.
    func load() throws {
        var files: [(name: String, text: [UInt8])] = []
        for name in try Files.list(directory)
        where name.hasSuffix(".yaml") || name.hasSuffix(".yml") || name.hasSuffix(".json") {
            files.append((name, try Files.read(directory + "/" + name)))
        }
        resources = ServedResources(try ResourceFiles.parse(files: files))
    }

    func reload() {
        let before = resources
        do {
            try load()
        } catch {
            log.warning("the files are not taken over", ["error": "\(error)"])
            return
        }
        if resources == before { return }
        log.info("resources changed", ["count": "\(resources.count)"])
        for call in calls.values { call.changed(to: resources) }
    }

    func open(_ path: String, _ call: GRPCCall) -> (any GRPCCallOwner)? {
        for variant in [XDSSession.Variant.stateOfTheWorld, .incremental] where variant.path == path
        {
            let served = ServedCall(
                call: call, server: self,
                session: ADSServerSession(variant: variant, identifier: directory))
            calls[ObjectIdentifier(served)] = served
            return served
        }
        return nil
    }

    fileprivate func report(_ report: ADSServerSession.Report, of client: String) {
        switch report {
        case .acknowledged(let type, let version):
            log.debug("ACK", ["client": client, "type": type, "version": version])
        case .refused(let type, let reason):
            log.warning("NACK", ["client": client, "type": type, "reason": reason])
        case .malformed(let reason):
            log.warning("bad request", ["client": client, "reason": reason])
        }
    }

    fileprivate func ended(_ call: ServedCall) {
        calls[ObjectIdentifier(call)] = nil
    }
}

/// One client's ADS stream.
private final class ServedCall: GRPCCallOwner {
    private let call: GRPCCall
    private let server: ResourceServer
    private var session: ADSServerSession
    private var client = "?"

    init(call: GRPCCall, server: ResourceServer, session: ADSServerSession) {
        self.call = call
        self.server = server
        self.session = session
    }

    func received(_ message: [UInt8]) {
        let answer = session.received(message, resources: server.resources)
        if let node = answer.nodeID { client = node }
        if let report = answer.report { server.report(report, of: client) }
        for message in answer.messages { call.send(message) }
    }

    func changed(to resources: ServedResources) {
        for message in session.changed(to: resources) { call.send(message) }
    }

    func ended() { server.ended(self) }
}
