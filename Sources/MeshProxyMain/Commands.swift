import ArgumentParser
import MeshProxy

struct MeshProxyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meshproxy",
        abstract: "A service-mesh proxy: sidecar and cross-cluster gateway.",
        discussion: """
            Reads Envoy's v3 bootstrap (YAML or JSON) and speaks Envoy's xDS v3. Without a \
            subcommand it runs, and takes Envoy's own flags.
            """,
        version: ProxyVersion.line,
        subcommands: [
            Run.self, Validate.self, ControlPlane.self, Simulate.self, Drill.self,
            Version.self,
        ],
        defaultSubcommand: Run.self)
}

struct BootstrapOptions: ParsableArguments {
    @Option(
        name: [.customShort("c"), .customLong("config-path")],
        help: "The bootstrap file, YAML or JSON.")
    var configPath: String?

    @Option(
        name: .customLong("config-yaml"), help: "Bootstrap text that is merged over the file.")
    var configYAML: String?

    @Flag(
        name: .customLong("allow-unknown-static-fields"),
        help: "Warn of fields that are unknown instead of refusing them.")
    var allowUnknown = false

    @Option(name: .customLong("service-node"), help: "node.id, over the file's.")
    var serviceNode: String?

    @Option(name: .customLong("service-cluster"), help: "node.cluster, over the file's.")
    var serviceCluster: String?

    func load() throws -> LoadedBootstrap {
        guard configPath != nil || configYAML != nil else {
            throw ValidationError("give a bootstrap file with -c FILE")
        }
        return try LoadedBootstrap(
            path: configPath, overlay: configYAML, isStrict: !allowUnknown, nodeID: serviceNode,
            nodeCluster: serviceCluster)
    }
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Runs the proxy (the default).")

    @OptionGroup var bootstrap: BootstrapOptions

    @Option(
        help: "Worker threads; 0 takes one for each CPU that the cgroup grants, at most 2.")
    var concurrency = 0

    @Option(
        name: [.customShort("l"), .customLong("log-level")],
        help: "trace, debug, info, warning, error, critical or off.")
    var logLevel = "info"

    @Option(
        name: .customLong("component-log-level"),
        help: "Levels by component: xds:debug,health:info.")
    var componentLogLevel = ""

    @Option(
        name: .customLong("drain-time-s"),
        help: "Seconds that a graceful stop waits for requests in flight.")
    var drainSeconds: Int?

    @Option(name: .customLong("mode"), help: "serve, or validate: check the bootstrap and exit.")
    var mode = "serve"

    func run() throws {
        ProxyProcess.prepare()
        let loaded = try bootstrap.load()
        if mode == "validate" || mode == "init_only" {
            print(loaded.summary)
            return
        }
        var options = RunOptions()
        options.concurrency = concurrency
        options.logLevel = logLevel
        options.componentLogLevels = componentLogLevel
        options.drainSeconds = drainSeconds
        let status = try ProxyProcess.run(loaded, options: options)
        throw ExitCode(status)
    }
}

struct Validate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Loads a bootstrap as `run` would, says what is wrong with it, and exits.")

    @OptionGroup var bootstrap: BootstrapOptions

    func run() throws {
        print(try bootstrap.load().summary)
    }
}

struct ControlPlane: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "control-plane",
        abstract: "Serves the YAML resources of a directory over ADS, and watches them.")

    @Option(help: "The directory with listeners, routes, clusters, endpoints, secrets.")
    var dir: String

    @Option(help: "Where to listen: address:port, or a unix socket's path.")
    var listen = "127.0.0.1:18000"

    @Option(
        name: [.customShort("l"), .customLong("log-level")],
        help: "trace, debug, info, warning, error, critical or off.")
    var logLevel = "info"

    func run() throws {
        let status = try ControlPlaneProcess.run(
            directory: dir, listen: listen, logLevel: logLevel)
        throw ExitCode(status)
    }
}

struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says what failover would do, from a configuration and a timeline of faults.",
        discussion: """
            The configuration is a bootstrap or what /config_dump?include_eds printed, ours or \
            Envoy's. The decisions are the proxy's own, the time is virtual, and nothing is sent. \
            docs/DRILLS.md says how a timeline is written.
            """)

    @OptionGroup var bootstrap: BootstrapOptions

    @Option(help: "The file with traffic and faults.")
    var timeline: String

    @Option(help: "Another number draws other chances.")
    var seed: UInt64 = 1

    @Flag(help: "Print JSON.")
    var json = false

    @Option(
        parsing: .upToNextOption,
        help:
            "Two files, old and new: says what gets worse. The exit status is 1 if anything does."
    )
    var diff: [String] = []

    func run() throws {
        if diff.isEmpty {
            let report = try simulate(bootstrap.configPath)
            print(json ? report.json : report.text, terminator: "")
            return
        }
        guard diff.count == 2 else { throw ValidationError("--diff wants two files: OLD NEW") }
        let reports = try diff.map(simulate)
        let worse = reports[0].worse(in: reports[1])
        for line in worse { print("worse: \(line)") }
        if worse.isEmpty { print("nothing gets worse") }
        throw ExitCode(worse.isEmpty ? 0 : 1)
    }

    private func simulate(_ path: String?) throws -> SimulationReport {
        var options = bootstrap
        options.configPath = path
        let dump = try path.flatMap { try LoadedBootstrap(dump: $0) }
        let loaded = try dump ?? options.load()
        for warning in loaded.warnings { ProxyProcess.warn(warning) }
        return try MeshSimulator.run(loaded, timeline: timeline, seed: seed)
    }
}

struct Drill: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts a fault on one cluster of a running proxy, and says what came of it.",
        discussion: """
            The fault ends by itself, or when too many requests fail. The exit status is 1 when it \
            was called off or any request failed. docs/DRILLS.md says more.
            """)

    @Option(help: "The proxy's admin port: host:port, or unix:path.")
    var admin: String

    @Option(help: "The cluster whose nearest endpoints are to fail.")
    var cluster: String

    @Option(help: "refuse, blackhole, slow, 5xx, empty, cp-down or cp-wrong.")
    var fault = "refuse"

    @Option(
        help: "With cp-down and cp-wrong: the control plane, by its cluster; else the one in force."
    )
    var controlPlane: String?

    @Option(help: "How many attempts in a hundred meet it.")
    var percent = 100

    @Option(name: .customLong("for"), help: "How long: 30s, 2m; at most 120 s.")
    var length = "30s"

    @Option(help: "How much later a slow answer comes, in milliseconds.")
    var delayMs = 1000

    @Option(help: "Call it off when more than so many percent of the cluster's requests fail.")
    var abortAtErrors = 5

    func run() throws {
        guard let seconds = DrillOptions.seconds(length) else {
            throw ValidationError("--for wants 1s to 120s, got \(length)")
        }
        var options = DrillOptions(cluster: cluster)
        options.fault = fault
        options.controlPlane = controlPlane
        options.percent = percent
        options.seconds = seconds
        options.delayMilliseconds = delayMs
        options.abortAtErrors = abortAtErrors
        throw ExitCode(try DrillProcess.run(options, admin: admin))
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints the version and libraries.")

    func run() {
        print(ProxyVersion.line)
        print(ProxyVersion.libraries)
    }
}
