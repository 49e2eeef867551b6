public import MeshBase

/// What an endpoint says of its own load beside an answer (ORCA: `xds.data.orca.v3.OrcaLoadReport`).
///
/// It stands in a header or a trailer: `endpoint-load-metrics: TEXT cpu_utilization=0.3, eps=2`, with a
/// colon for the sign of equality as well, or as the message in Base64 after `BIN ` or in
/// `endpoint-load-metrics-bin`. JSON is passed by. A report of which a part can't be read is none.
public struct LoadReport: Equatable, Sendable {
    /// Shares of what there is; 0: not said.
    public var application = 0.0
    public var cpu = 0.0
    public var memory = 0.0
    public var requestsPerSecond = 0.0
    public var errorsPerSecond = 0.0
    /// The others by their full names: `named_metrics.NAME`, `utilization.NAME`.
    public var others: [String: Double] = [:]

    public init() {}

    /// - Returns: `nil` without a report.
    public init?(_ head: borrowing MessageHead) {
        if let text = head.string("endpoint-load-metrics-bin") {
            self.init(base64: text)
        } else if let text = head.string("endpoint-load-metrics") {
            if text.hasPrefix("TEXT ") {
                self.init(text: text.dropFirst(5))
            } else if text.hasPrefix("BIN ") {
                self.init(base64: String(text.dropFirst(4)))
            } else {
                return nil
            }
        } else {
            return nil
        }
    }

    private init?(text: Substring) {
        for part in text.split(separator: ",") {
            let pair = part.split { " \t=:".contains($0) }
            guard pair.count == 2, let value = Double(pair[1]), value.isFinite else { return nil }
            switch pair[0] {
            case "application_utilization": application = value
            case "cpu_utilization": cpu = value
            case "mem_utilization": memory = value
            case "rps_fractional": requestsPerSecond = value
            case "eps": errorsPerSecond = value
            default: others[String(pair[0])] = value
            }
        }
    }

    private init?(base64 text: String) {
        guard let bytes = Base64.decode(text) else { return nil }
        var fields = WireFields(bytes[...])
        while let (number, value) = fields.next() {
            switch value {
            case .fixed64(let bits):
                let value = Double(bitPattern: bits)
                if !value.isFinite { return nil }
                switch number {
                case 1: cpu = value
                case 2: memory = value
                case 6: requestsPerSecond = value
                case 7: errorsPerSecond = value
                case 9: application = value
                default: break
                }
            case .bytes(let entry) where number == 5 || number == 8:
                let stem = number == 5 ? "utilization." : "named_metrics."
                guard let (name, value) = LoadReport.entry(entry) else { return nil }
                others[stem + name] = value
            case .bytes, .varint, .fixed32: break
            }
        }
        if fields.isMalformed { return nil }
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
        return fields.isMalformed || !number.isFinite ? nil : (name, number)
    }

    /// Envoy's order: the application's own word, the highest of these, the processor's.
    /// - Parameter names: of figures in any part of the report.
    func utilization(_ names: [String]) -> Double {
        if application > 0 { return application }
        let highest = names.reduce(0) { max($0, self[$1]) }
        return highest > 0 ? highest : cpu
    }

    private subscript(_ name: String) -> Double {
        switch name {
        case "application_utilization": application
        case "cpu_utilization": cpu
        case "mem_utilization": memory
        default: others[name] ?? 0
        }
    }
}
