/// One thing that is wrong in a configuration: where, what belongs there, and what is there.
public struct ConfigurationProblem: Error, Sendable, Hashable, CustomStringConvertible {
    /// As in "static_resources.listeners[0].address"; empty: the whole.
    public var path: String
    public var expected: String
    public var got: String
    /// From 1; 0 where there is no text behind it.
    public var line: Int
    public var column: Int

    public init(path: String, expected: String, got: String, line: Int = 0, column: Int = 0) {
        self.path = path
        self.expected = expected
        self.got = got
        self.line = line
        self.column = column
    }

    /// One line.
    public var description: String {
        let place = line > 0 ? "\(line):\(column): " : ""
        let field = path.isEmpty ? "" : "\(path): "
        return "\(place)\(field)expected \(expected), got \(got)"
    }
}

/// Everything that is wrong in a configuration.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    /// Never empty.
    public var problems: [ConfigurationProblem]

    public init(problems: [ConfigurationProblem]) {
        precondition(!problems.isEmpty)
        self.problems = problems
    }

    /// A line for each problem.
    public var description: String {
        problems.map(\.description).joined(separator: "\n")
    }
}

/// A resource that was not taken, and why; the one before it stays in force.
public struct Rejection: Error, Sendable, Hashable, CustomStringConvertible {
    public var typeURL: String
    public var name: String
    public var path: String
    public var expected: String
    public var got: String

    public init(typeURL: String, name: String, path: String, expected: String, got: String) {
        self.typeURL = typeURL
        self.name = name
        self.path = path
        self.expected = expected
        self.got = got
    }

    /// One line.
    public var description: String {
        let type = typeURL.split(separator: ".").last.map(String.init) ?? typeURL
        let field = path.isEmpty ? "" : "\(path): "
        return "\(type) \(name): \(field)expected \(expected), got \(got)"
    }
}
