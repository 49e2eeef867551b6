import EventLoop
import MTLS
import MeshBase
import MeshConfig
import Observability
import XDSClient

/// What the command line says about running.
public struct RunOptions: Sendable {
    /// 0: one for each CPU of the cgroup's quota, at most 2.
    public var concurrency = 0
    public var logLevel = "info"
    public var componentLogLevels = ""
    public var drainSeconds: Int?

    public init() {}
}

/// The proxy as a process: the control loop on the main thread, a thread for each worker, and the
/// mailboxes between them.
public enum ProxyProcess {
    /// Before anything is loaded.
    public static func prepare() { Machine.tuneMemory() }

    /// Runs until a signal ends it. - Returns: the exit status.
    public static func run(_ loaded: LoadedBootstrap, options: RunOptions) throws -> Int32 {
        var bootstrap = loaded.bootstrap
        if let seconds = options.drainSeconds { bootstrap.settings.drainTime = .seconds(seconds) }
        let log = try ProxyLog(level: options.logLevel, components: options.componentLogLevels)
        for warning in bootstrap.warnings { log.warning(warning) }
        let count = options.concurrency > 0 ? options.concurrency : Machine.workerCount
        let loop = LibevLoop(seed: Machine.seed())
        let registry = MetricsHub()
        let reports = Mailbox<WorkerReport>()
        let breakers = BreakerTable(workers: count)

        var threads: [LoopThread] = []
        let orders = (0..<count).map { _ in Mailbox<WorkerOrder>() }
        let settings = bootstrap.settings.share(ofWorkers: count)
        // Sessions kept in memory are cheaper to resume, where one worker alone has to find them.
        let ticketKey = count > 1 ? TLSContext.makeTicketKey() : []
        for (index, inbox) in orders.enumerated() {
            let metrics = registry.makeWorker()
            threads.append(
                try LoopThread(name: "worker-\(index)", seed: Machine.seed()) { loop in
                    let worker = Worker(
                        loop: loop, index: index, settings: settings,
                        log: log.component("worker"), metrics: metrics, sharesPorts: true,
                        ticketKey: ticketKey, breakers: breakers,
                        tell: { orders[$0].post(.placeIsFree($1)) }, send: { reports.post($0) })
                    inbox.receive(on: loop) { order in
                        worker.received(order)
                        if case .close = order { loop.stop() }
                    }
                    withExtendedLifetime(worker) { loop.run() }
                })
        }
        let control = ControlLoop(
            loop: loop, bootstrap: bootstrap,
            files: DiskFiles(loop: loop, log: log.component("files")),
            log: log.component("control"),
            metrics: registry.makeWorker(), workers: orders.map { inbox in { inbox.post($0) } },
            breakers: breakers)
        control.stopped = { loop.stop() }
        reports.receive(on: loop) { control.received($0) }
        let admin = try bootstrap.admin.map { config in
            try AdminServer(loop: loop, address: config.address) { request in
                AdminPages(
                    control: control, registry: registry, log: log, options: options
                ).answer(request)
            }
        }
        loop.onSignal(Machine.terminate) { control.drain() }
        // From a terminal: nobody else has to learn of it.
        loop.onSignal(Machine.interrupt) { control.drain(lingers: false) }
        loop.onSignal(Machine.user1) { control.reopenLogs() }
        control.start()
        loop.run()
        admin?.close()
        for thread in threads { thread.join() }
        loop.close()
        return 0
    }

    /// One line on stderr, before there is a log.
    public static func warn(_ text: String) {
        Machine.writeError("meshproxy: \(text)\n")
    }
}

/// A bootstrap that was read and understood.
public struct LoadedBootstrap: Sendable {
    public let bootstrap: Bootstrap

    /// - Throws: an error whose description has a line for each problem.
    public init(
        path: String?, overlay: String?, isStrict: Bool, nodeID: String?, nodeCluster: String?
    ) throws {
        let text = try path.map { try Files.read($0) } ?? []
        do {
            bootstrap = try BootstrapLoader.load(
                text: text, overlay: overlay, isStrict: isStrict, nodeID: nodeID,
                nodeCluster: nodeCluster)
        } catch {
            throw LoadError(path: path ?? "--config-yaml", problems: "\(error)")
        }
        let problems = StaticCheck.problems(of: bootstrap.staticResources)
        if !problems.isEmpty {
            throw LoadError(
                path: path ?? "--config-yaml", problems: problems.joined(separator: "\n"))
        }
    }

    /// What was passed by.
    public var warnings: [String] { bootstrap.warnings }

    /// What `/config_dump?include_eds` printed, to be computed with and not to be run.
    /// - Returns: `nil` when the file is no dump.
    public init?(dump path: String) throws {
        do {
            guard let dump = try ConfigDumpReader.load(text: try Files.read(path)) else {
                return nil
            }
            bootstrap = dump
        } catch let error as ConfigurationError {
            throw LoadError(path: path, problems: "\(error)")
        }
    }

    /// What `validate` prints.
    public var summary: String {
        let resources = bootstrap.staticResources
        var lines = bootstrap.warnings.map { "warning: \($0)" }
        lines.append(
            "OK: \(resources.listeners.count) listeners, \(resources.clusters.count) clusters, "
                + "\(resources.secrets.count) secrets"
                + (bootstrap.ads.map { ", \($0.controlPlanes.count) control planes" } ?? ""))
        return lines.joined(separator: "\n")
    }
}

struct LoadError: Error, CustomStringConvertible {
    let path: String
    let problems: String

    var description: String {
        problems.split(separator: "\n").map { "\(path): \($0)" }.joined(separator: "\n")
    }
}
