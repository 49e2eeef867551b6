import Synchronization

/// How much a component says; the names are Envoy's.
public enum LogLevel: UInt8, Sendable, Comparable, CaseIterable {
    case trace, debug, info, warning, error, critical, off

    /// - Returns: `nil` for any other word than the names and "warn".
    public init?(_ name: String) {
        if name == "warn" {
            self = .warning
            return
        }
        guard let level = LogLevel.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    public var name: String { "\(self)" }

    public static func < (left: LogLevel, right: LogLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// A word that is no level, or a list of levels that is none.
public struct LogLevelError: Error, Equatable, Sendable, CustomStringConvertible {
    public let text: String

    public init(text: String) {
        self.text = text
    }

    public var description: String {
        "\"\(text)\" is not a log level (trace, debug, info, warning, error, critical, off)"
    }
}

/// The level of one component, which any thread may read and change.
public final class LogComponent: Sendable {
    public let name: String
    private let value: Atomic<UInt8>

    init(_ name: String, _ level: LogLevel) {
        self.name = name
        value = Atomic(level.rawValue)
    }

    public var level: LogLevel {
        get { LogLevel(rawValue: value.load(ordering: .relaxed)) ?? .off }
        set { value.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// One load and one comparison: what every call that logs nothing costs.
    public func says(_ level: LogLevel) -> Bool {
        level.rawValue >= value.load(ordering: .relaxed)
    }
}

/// The levels of all components, changeable while the process runs.
public final class LogLevels: Sendable {
    private struct State {
        var base: LogLevel
        var components: [String: LogComponent] = [:]
    }

    private let state: Mutex<State>

    public init(level: LogLevel = .info) {
        state = Mutex(State(base: level))
    }

    /// The component of that name; the first call makes it, at the common level.
    public func component(_ name: String) -> LogComponent {
        state.withLock { state in
            if let known = state.components[name] { return known }
            let fresh = LogComponent(name, state.base)
            state.components[name] = fresh
            return fresh
        }
    }

    /// Sets the common level, and with it that of every component.
    public func set(_ level: LogLevel) {
        state.withLock { state in
            state.base = level
            for component in state.components.values { component.level = level }
        }
    }

    /// - Returns: `false` if there is no such component; none is made, for the name may come from
    ///   outside.
    public func set(_ level: LogLevel, for name: String) -> Bool {
        state.withLock { state in
            guard let known = state.components[name] else { return false }
            known.level = level
            return true
        }
    }

    /// Sets levels from a list such as "xds:debug,health:info"; components are made as they are
    /// named. All or nothing.
    public func apply(_ list: String) throws(LogLevelError) {
        var wanted: [(String, LogLevel)] = []
        for entry in list.split(separator: ",") {
            let parts = entry.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, let level = LogLevel(String(parts[1])) else {
                throw LogLevelError(text: String(entry))
            }
            wanted.append((String(parts[0]), level))
        }
        for (name, level) in wanted { component(name).level = level }
    }

    /// Every component and its level, by name.
    public var listing: [(name: String, level: LogLevel)] {
        state.withLock { state in
            state.components.values.map { ($0.name, $0.level) }.sorted { $0.0 < $1.0 }
        }
    }
}
