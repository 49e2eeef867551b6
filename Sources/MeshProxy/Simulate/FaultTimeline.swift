import MeshBase
import MeshConfig

/// What happens in a simulation, read from a file of lines:
///
///     run 120s                              how long it goes on
///     traffic shop 100 20kB                 requests for each second, bytes of a response
///     10s-40s refuse locality=east          a fault, when, and whom it meets
///     60s evacuate cluster=east 20          percent for each second, from then on
///
/// Whom: `service=`, `cluster=`, `locality=region/zone`, `address=`, as `/evacuate` has them; several
/// must all match. A fault without an end lasts to the end of the run. `#` begins a comment.
public struct FaultTimeline: Equatable, Sendable {
    public enum Fault: Equatable, Sendable {
        /// No process: connects are refused.
        case refuse
        /// Nothing comes back.
        case blackhole
        /// Connections break when the request has been sent.
        case reset
        /// Answers with this status.
        case status(Int)
        /// Answers this much later.
        case slow(Duration)
        /// The control plane says that these endpoints are gone.
        case empty
        case evacuate(percentPerSecond: Int)
    }
    public struct Entry: Equatable, Sendable {
        public var fault: Fault
        public var from: Instant
        public var until: Instant
        public var scope: EndpointScope
        /// As it was written, without the time.
        public var text: String
    }
    public struct Traffic: Equatable, Sendable {
        public var service: String
        public var perSecond: Int
        public var bytes: Int
    }
    public struct Problem: Error, Equatable, CustomStringConvertible {
        public var line: Int
        public var expected: String
        public var got: String

        public var description: String { "line \(line): expected \(expected), got \(got)" }
    }

    public private(set) var entries: [Entry] = []
    public private(set) var traffic: [Traffic] = []
    public private(set) var length = Duration.seconds(60)

    public init(_ text: String) throws(Problem) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace)
                .map(String.init)
            guard let first = words.first else { continue }
            let rest = Array(words.dropFirst())
            switch first {
            case "run": length = try FaultTimeline.duration(rest.first ?? "", index + 1)
            case "traffic": try addTraffic(rest, index + 1)
            default: try addFault(first, rest, index + 1)
            }
        }
    }

    private mutating func addTraffic(_ words: [String], _ line: Int) throws(Problem) {
        guard words.count > 1, let rate = Int(words[1]), (1...10_000).contains(rate) else {
            throw Problem(
                line: line, expected: "traffic SERVICE REQUESTS-PER-SECOND (1 to 10000) [BYTES]",
                got: words.joined(separator: " "))
        }
        var bytes = 10_000
        if words.count > 2 {
            let digits = words[2].prefix { $0.isNumber }
            let units = ["": 1, "B": 1, "kB": 1000, "MB": 1_000_000]
            guard let count = Int(digits), count <= 1_000_000_000,
                let unit = units[String(words[2].dropFirst(digits.count))]
            else {
                throw Problem(line: line, expected: "bytes as 500, 20kB or 1MB", got: words[2])
            }
            bytes = count * unit
        }
        traffic.append(Traffic(service: words[0], perSecond: rate, bytes: bytes))
    }

    private mutating func addFault(
        _ time: String, _ words: [String], _ line: Int
    ) throws(Problem) {
        let ends = time.split(separator: "-", maxSplits: 1).map(String.init)
        let from = Instant.zero + (try FaultTimeline.duration(ends.first ?? "", line))
        var until = Instant.distantFuture
        if ends.count > 1 { until = Instant.zero + (try FaultTimeline.duration(ends[1], line)) }
        if until <= from {
            throw Problem(line: line, expected: "an end after the start", got: time)
        }
        var scope = EndpointScope()
        var argument: String?
        for word in words.dropFirst() {
            let pair = word.split(separator: "=", maxSplits: 1).map(String.init)
            if pair.count == 1 {
                argument = word
            } else if pair[0] == "address" {
                scope.address = SocketAddress(pair[1])
                if scope.address == nil {
                    throw Problem(line: line, expected: "address=ip:port", got: word)
                }
            } else if pair[0] == "service" {
                scope.service = pair[1]
            } else if pair[0] == "cluster" {
                scope.cluster = pair[1]
            } else if pair[0] == "locality" {
                scope.setLocality(pair[1])
            } else {
                throw Problem(
                    line: line, expected: "service=, cluster=, locality= or address=", got: word)
            }
        }
        let fault = try FaultTimeline.fault(words.first ?? "", argument, line)
        entries.append(
            Entry(
                fault: fault, from: from, until: until, scope: scope,
                text: words.joined(separator: " ")))
    }

    private static func fault(
        _ word: String, _ argument: String?, _ line: Int
    ) throws(Problem) -> Fault {
        switch word {
        case "refuse": return .refuse
        case "blackhole": return .blackhole
        case "reset": return .reset
        case "empty": return .empty
        case "slow": return .slow(try duration(argument ?? "", line))
        case "status":
            guard let status = Int(argument ?? ""), (200...599).contains(status) else {
                throw Problem(line: line, expected: "status 200 to 599", got: argument ?? "none")
            }
            return .status(status)
        case "evacuate":
            guard let rate = Int(argument ?? "10"), (1...100).contains(rate) else {
                throw Problem(
                    line: line, expected: "1 to 100 percent for each second", got: argument ?? "")
            }
            return .evacuate(percentPerSecond: rate)
        default:
            throw Problem(
                line: line,
                expected: "refuse, blackhole, reset, status N, slow TIME, empty or evacuate",
                got: word.isEmpty ? "nothing" : word)
        }
    }

    /// Takes "10s", "500ms" and "2m".
    private static func duration(_ text: String, _ line: Int) throws(Problem) -> Duration {
        let digits = text.prefix { $0.isNumber }
        let units = ["ms": 1, "s": 1000, "m": 60_000]
        guard let count = Int(digits), count <= 86_400,
            let unit = units[String(text.dropFirst(digits.count))]
        else { throw Problem(line: line, expected: "a time as 500ms, 10s or 2m", got: text) }
        return .milliseconds(count * unit)
    }
}
