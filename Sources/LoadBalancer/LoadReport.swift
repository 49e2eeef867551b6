public import MeshBase

/// What an endpoint says of its own load beside an answer (ORCA: `xds.data.orca.v3.OrcaLoadReport`).
///
/// It stands in a header or a trailer, in one of three forms: `endpoint-load-metrics: TEXT cpu_utilization=0.3,
/// eps=2`, with a colon for the sign of equality as well; proto3's JSON after `JSON `; or the message in Base64 after
/// `BIN ` or in `endpoint-load-metrics-bin`. A report of which a part can't be read is none, and so is one
/// that says something twice, or something that no report says.
public struct LoadReport: Equatable, Sendable {
    /// Shares of what there is; `nil`: not said.
    public var application: Double?
    public var cpu: Double?
    public var memory: Double?
    public var requestsPerSecond: Double?
    public var errorsPerSecond: Double?
    /// The others by their full names: `named_metrics.NAME`, `utilization.NAME`, `request_cost.NAME`.
    public var others: [String: Double] = [:]

    /// Whoever says more than that in a header has something else in mind.
    private static let longest = 16 * 1024

    public init() {}

    /// - Returns: `nil` without a report.
    public init?(_ head: borrowing MessageHead) {
        if let text = head.string("endpoint-load-metrics-bin") {
            self.init(base64: text[...])
        } else if let text = head.string("endpoint-load-metrics") {
            if text.hasPrefix("TEXT ") {
                self.init(text: text.dropFirst(5))
            } else if text.hasPrefix("JSON ") {
                self.init(json: text.dropFirst(5))
            } else if text.hasPrefix("BIN ") {
                self.init(base64: text.dropFirst(4))
            } else {
                return nil
            }
        } else {
            return nil
        }
    }

    private init?(text: Substring) {
        guard text.utf8.count <= LoadReport.longest else { return nil }
        for part in text.split(separator: ",") {
            let pair = part.split { " \t=:".contains($0) }
            guard pair.count == 2, let value = Double(pair[1]), add(String(pair[0]), value) else {
                return nil
            }
        }
    }

    private init?(json: Substring) {
        guard json.utf8.count <= LoadReport.longest,
            let report = LoadReportJSON.read(json)
        else { return nil }
        self = report
    }

    private init?(base64 text: Substring) {
        guard text.utf8.count <= LoadReport.longest, let bytes = Base64.decode(String(text)) else {
            return nil
        }
        var fields = WireFields(bytes[...])
        while let (number, value) = fields.next() {
            switch value {
            case .fixed64(let bits):
                guard let name = LoadReport.figure(number) else { continue }
                if !add(name, Double(bitPattern: bits)) { return nil }
            case .bytes(let entry):
                guard let map = LoadReport.map(number) else { continue }
                guard let (name, value) = LoadReport.entry(entry), add("\(map).\(name)", value)
                else { return nil }
            case .varint, .fixed32: break
            }
        }
        if fields.isMalformed { return nil }
    }

    private static func figure(_ number: UInt64) -> String? {
        switch number {
        case 1: "cpu_utilization"
        case 2: "mem_utilization"
        case 6: "rps_fractional"
        case 7: "eps"
        case 9: "application_utilization"
        default: nil
        }
    }

    private static func map(_ number: UInt64) -> String? {
        switch number {
        case 4: "request_cost"
        case 5: "utilization"
        case 8: "named_metrics"
        default: nil
        }
    }

    /// An entry of a map from names to numbers.
    private static func entry(_ bytes: ArraySlice<UInt8>) -> (String, Double)? {
        var name = ""
        var number = 0.0
        var fields = WireFields(bytes)
        while let (place, value) = fields.next() {
            switch value {
            case .bytes(let text) where place == 1: name = String(decoding: text, as: UTF8.self)
            case .fixed64(let bits) where place == 2: number = Double(bitPattern: bits)
            case .bytes, .varint, .fixed32, .fixed64: break
            }
        }
        return fields.isMalformed ? nil : (name, number)
    }

    /// Takes a figure in by its full name.
    /// - Returns: whether a report has one of this name, with this value, and had none yet.
    mutating func add(_ name: String, _ value: Double) -> Bool {
        guard value.isFinite else { return false }
        switch name {
        case "application_utilization": return LoadReport.set(&application, value)
        case "cpu_utilization": return LoadReport.set(&cpu, value)
        case "mem_utilization": return LoadReport.set(&memory, value)
        case "rps_fractional": return LoadReport.set(&requestsPerSecond, value)
        case "eps": return LoadReport.set(&errorsPerSecond, value)
        default:
            guard let dot = name.firstIndex(of: "."), name.index(after: dot) < name.endIndex else {
                return false
            }
            switch name[..<dot] {
            case "named_metrics", "utilization", "request_cost":
                return others.updateValue(value, forKey: name) == nil
            default: return false
            }
        }
    }

    private static func set(_ figure: inout Double?, _ value: Double) -> Bool {
        if figure != nil || value < 0 { return false }
        figure = value
        return true
    }

    /// Envoy's order: the highest of these, the application's own word, the processor's.
    /// - Parameter names: of figures in any part of the report; `named_metrics.*` is all of that part.
    func utilization(_ names: [String]) -> Double {
        let highest = names.reduce(0) { max($0, self[$1]) }
        if highest > 0 { return highest }
        if let application, application > 0 { return application }
        return cpu ?? 0
    }

    private subscript(_ name: String) -> Double {
        switch name {
        case "application_utilization": return application ?? 0
        case "cpu_utilization": return cpu ?? 0
        case "mem_utilization": return memory ?? 0
        case "rps_fractional": return requestsPerSecond ?? 0
        case "eps": return errorsPerSecond ?? 0
        default:
            guard name.hasSuffix(".*") else { return others[name] ?? 0 }
            let part = name.dropLast()
            return others.reduce(0) { $1.key.hasPrefix(part) ? max($0, $1.value) : $0 }
        }
    }
}
