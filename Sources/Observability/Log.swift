public import Logging
public import MeshBase

/// Where log lines go and what time they bear: both are the shell's.
///
/// A line is `[2026-11-21T09:14:00.123Z][info][xds] message key=value key="two words"`, and is
/// handed over whole, so that lines of several threads don't mix. Fields are in the order of their
/// names. Whatever stands in a message or value stays on the line (see `LogText`), cut after
/// 4 KiB. This is for what happens seldom: a line here costs microseconds, unlike the access log's.
public struct LogOutput: Sendable {
    private let now: @Sendable () -> UnixTime
    private let write: @Sendable (UnsafeBufferPointer<UInt8>) -> Void

    /// - Parameter write: takes a line with its line end; called on any thread.
    public init(
        now: @escaping @Sendable () -> UnixTime,
        write: @escaping @Sendable (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        self.now = now
        self.write = write
    }

    private static let maxTextBytes = 4096

    /// Writes a line, whatever the component's level is.
    public func log(
        _ level: LogLevel, component: String, _ message: String, _ fields: [String: String]
    ) {
        var buffer = ByteBuffer(capacity: 256)
        var clock = LogClock()
        buffer.append("[")
        clock.writeISO(now(), to: &buffer)
        buffer.append("][")
        buffer.append(level.name)
        buffer.append("][")
        buffer.append(component)
        buffer.append("] ")
        LogOutput.append(message, to: &buffer)
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            buffer.append(" ")
            LogOutput.append(key, to: &buffer)
            let isWord = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x3D }
            buffer.append(isWord ? "=" : "=\"")
            LogOutput.append(value, to: &buffer)
            if !isWord { buffer.append("\"") }
        }
        buffer.append("\n")
        buffer.withBytes(write)
    }

    private static func append(_ text: String, to buffer: inout ByteBuffer) {
        var text = text
        text.withUTF8 { bytes in
            LogText.append(LogText.prefix(bytes, maxTextBytes), .text, to: &buffer)
            if bytes.count > maxTextBytes { buffer.append("...") }
        }
    }
}

/// swift-log's side of the same log, for libraries that speak it: a logger's label is the component.
public struct MeshLogHandler: LogHandler {
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    private let component: LogComponent
    private let output: LogOutput

    public init(label: String, levels: LogLevels, output: LogOutput) {
        component = levels.component(label)
        self.output = output
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// The component's own level: setting it changes that for everybody.
    public var logLevel: Logger.Level {
        get {
            switch component.level {
            case .trace: .trace
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            case .critical, .off: .critical
            }
        }
        set { component.level = MeshLogHandler.level(newValue) }
    }

    public func log(event: LogEvent) {
        let level = MeshLogHandler.level(event.level)
        // `off` is more than swift-log can say.
        guard component.says(level) else { return }
        var fields: [String: String] = [:]
        let provided = metadataProvider?.get() ?? [:]
        for source in [provided, metadata, event.metadata ?? [:]] {
            for (key, value) in source { fields[key] = "\(value)" }
        }
        if let error = event.error { fields["error"] = "\(error)" }
        output.log(level, component: component.name, "\(event.message)", fields)
    }

    private static func level(_ level: Logger.Level) -> LogLevel {
        switch level {
        case .trace: .trace
        case .debug: .debug
        case .info, .notice: .info
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }
}
