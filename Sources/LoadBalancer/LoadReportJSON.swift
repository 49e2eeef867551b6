/// Reads a `LoadReport` from the JSON of proto3 (RFC 8259): an object of numbers, some of whose members are
/// objects of numbers in turn.
///
/// It is as strict as protobuf is: a member that the message does not have, one that comes twice, and a value that
/// is no number end it. Members may be called `cpu_utilization` or `cpuUtilization`, a number may stand in a
/// string, and a member that is `null` is not there. Nothing recurses, for nothing is deeper than two levels.
struct LoadReportJSON {
    private var rest: Substring.UTF8View
    private var report = LoadReport()

    private init(_ text: Substring) { rest = text.utf8 }

    static func read(_ text: Substring) -> LoadReport? {
        var reader = LoadReportJSON(text)
        guard reader.object({ $0.member($1) }) else { return nil }
        reader.skipSpace()
        return reader.rest.isEmpty ? reader.report : nil
    }

    private mutating func member(_ name: String) -> Bool {
        switch name {
        case "application_utilization", "applicationUtilization":
            return figure("application_utilization")
        case "cpu_utilization", "cpuUtilization": return figure("cpu_utilization")
        case "mem_utilization", "memUtilization": return figure("mem_utilization")
        case "rps_fractional", "rpsFractional": return figure("rps_fractional")
        case "eps": return figure("eps")
        // What `rps_fractional` has taken the place of.
        case "rps": return takeNull() || number() != nil
        case "named_metrics", "namedMetrics": return figures("named_metrics")
        case "utilization": return figures("utilization")
        case "request_cost", "requestCost": return figures("request_cost")
        default: return false
        }
    }

    private mutating func figure(_ name: String) -> Bool {
        if takeNull() { return true }
        guard let value = number() else { return false }
        return report.add(name, value)
    }

    private mutating func figures(_ map: String) -> Bool {
        takeNull()
            || object { reader, name in
                guard let value = reader.number() else { return false }
                return reader.report.add("\(map).\(name)", value)
            }
    }

    // MARK: JSON

    /// - Parameter member: reads the value of the member of this name, and says whether it may be there.
    private mutating func object(_ member: (inout LoadReportJSON, String) -> Bool) -> Bool {
        guard take("{") else { return false }
        if take("}") { return true }
        repeat {
            skipSpace()
            guard let name = string(), take(":"), member(&self, name) else { return false }
        } while take(",")
        return take("}")
    }

    private mutating func number() -> Double? {
        skipSpace()
        if rest.first == UInt8(ascii: "\"") {
            return string().flatMap { LoadReportJSON.value($0[...]) }
        }
        let text = rest.prefix {
            switch $0 {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"),
                UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
                true
            default: false
            }
        }
        rest = rest[text.endIndex...]
        return LoadReportJSON.value(Substring(text))
    }

    /// What is a number by RFC 8259 §6; `Double` reads more than that.
    private static func value(_ text: Substring) -> Double? {
        var rest = text.utf8
        func skipDigits() -> Int {
            let digits = rest.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
            rest = rest[digits.endIndex...]
            return digits.count
        }
        if rest.first == UInt8(ascii: "-") { rest.removeFirst() }
        let startsWithZero = rest.first == UInt8(ascii: "0")
        let count = skipDigits()
        if count == 0 || (startsWithZero && count > 1) { return nil }
        if rest.first == UInt8(ascii: ".") {
            rest.removeFirst()
            if skipDigits() == 0 { return nil }
        }
        if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
            rest.removeFirst()
            if rest.first == UInt8(ascii: "-") || rest.first == UInt8(ascii: "+") {
                rest.removeFirst()
            }
            if skipDigits() == 0 { return nil }
        }
        return rest.isEmpty ? Double(text) : nil
    }

    private mutating func string() -> String? {
        guard rest.popFirst() == UInt8(ascii: "\"") else { return nil }
        var text = ""
        while true {
            let plain = rest.prefix {
                $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") && $0 >= 0x20
            }
            text += Substring(plain)
            rest = rest[plain.endIndex...]
            switch rest.popFirst() {
            case UInt8(ascii: "\""): return text
            case UInt8(ascii: "\\"):
                guard let scalar = escaped() else { return nil }
                text.unicodeScalars.append(scalar)
            default: return nil
            }
        }
    }

    private mutating func escaped() -> Unicode.Scalar? {
        switch rest.popFirst() {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            guard let unit = unit() else { return nil }
            if !UTF16.isLeadSurrogate(unit) { return Unicode.Scalar(unit) }
            guard rest.popFirst() == UInt8(ascii: "\\"), rest.popFirst() == UInt8(ascii: "u"),
                let trail = self.unit(), UTF16.isTrailSurrogate(trail)
            else { return nil }
            return Unicode.Scalar(0x10000 + (UInt32(unit & 0x3FF) << 10 | UInt32(trail & 0x3FF)))
        default: return nil
        }
    }

    /// The four digits of an escape.
    private mutating func unit() -> UInt16? {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard
                let digit = rest.popFirst().flatMap({ Character(Unicode.Scalar($0)).hexDigitValue })
            else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    private mutating func takeNull() -> Bool {
        skipSpace()
        guard rest.starts(with: "null".utf8) else { return false }
        rest = rest.dropFirst(4)
        return true
    }

    private mutating func take(_ mark: Unicode.Scalar) -> Bool {
        skipSpace()
        guard rest.first == UInt8(ascii: mark) else { return false }
        rest.removeFirst()
        return true
    }

    private mutating func skipSpace() {
        rest = rest.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
    }
}
