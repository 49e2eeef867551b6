import EventLoop
import MeshBase
import Observability

/// What one part of the proxy writes to the process's log, on standard error.
///
/// Nothing is built for a message below the component's level. It may be kept and used on any
/// thread.
struct ProxyLog: Sendable {
    let levels: LogLevels
    private let output: LogOutput
    private let part: LogComponent

    /// A log that says nothing.
    init() {
        self.init(
            levels: LogLevels(level: .off),
            output: LogOutput(now: { UnixTime(microseconds: 0) }, write: { _ in }))
    }

    /// - Parameter components: levels that differ, such as "xds:debug,upstream:trace".
    init(level: String, components: String) throws {
        guard let common = LogLevel(level) else { throw LogLevelError(text: level) }
        let levels = LogLevels(level: common)
        try levels.apply(components)
        self.init(
            levels: levels,
            output: LogOutput(now: { Machine.wallClock }, write: { Machine.writeError($0) }))
    }

    init(levels: LogLevels, output: LogOutput, component: String = "main") {
        self.levels = levels
        self.output = output
        part = levels.component(component)
    }

    /// The same log for another part of the proxy, with a level of its own.
    func component(_ name: String) -> ProxyLog {
        ProxyLog(levels: levels, output: output, component: name)
    }

    func debug(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> [String: String] = [:]
    ) {
        if part.says(.debug) { output.log(.debug, component: part.name, message(), fields()) }
    }

    func info(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> [String: String] = [:]
    ) {
        if part.says(.info) { output.log(.info, component: part.name, message(), fields()) }
    }

    func warning(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> [String: String] = [:]
    ) {
        if part.says(.warning) { output.log(.warning, component: part.name, message(), fields()) }
    }

    func error(
        _ message: @autoclosure () -> String, _ fields: @autoclosure () -> [String: String] = [:]
    ) {
        if part.says(.error) { output.log(.error, component: part.name, message(), fields()) }
    }
}
