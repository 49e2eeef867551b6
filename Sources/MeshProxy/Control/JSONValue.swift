/// A JSON document for the admin pages. Objects keep the order in which they were written, so that a
/// page reads as Envoy's does.
enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case number(Int64)
    case decimal(Double)
    case string(String)
    case array([JSONValue])
    case object([(key: String, value: JSONValue)])

    /// An object without the fields that say nothing: null, "" and [] are left out, as protobuf's
    /// JSON leaves defaults out. One that has no other fields is null; to say {} write [:].
    static func message(_ fields: (String, JSONValue)...) -> JSONValue { message(fields) }

    static func message(_ fields: [(String, JSONValue)]) -> JSONValue {
        let said = fields.filter { !$0.1.isEmpty }.map { (key: $0.0, value: $0.1) }
        return said.isEmpty ? .null : .object(said)
    }

    var isEmpty: Bool {
        switch self {
        case .null: true
        case .string(let text): text.isEmpty
        case .array(let items): items.isEmpty
        case .bool, .number, .decimal, .object: false
        }
    }

    subscript(key: String) -> JSONValue? {
        guard case .object(let fields) = self else { return nil }
        return fields.first { $0.key == key }?.value
    }

    /// Indented by one space a level.
    var text: String {
        var text = ""
        write(to: &text, indent: "\n")
        return text + "\n"
    }

    /// Without a line's end inside or after it.
    var line: String {
        var text = ""
        write(to: &text, indent: "")
        return text
    }

    /// - Parameter indent: with the line's end before it; empty: all on one line.
    private func write(to text: inout String, indent: String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let value): text += "\(value)"
        case .decimal(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): JSONValue.write(value, to: &text)
        case .array(let items):
            if items.isEmpty {
                text += "[]"
                return
            }
            let inner = indent.isEmpty ? "" : indent + " "
            text += "["
            for (index, item) in items.enumerated() {
                text += index == 0 ? inner : "," + inner
                item.write(to: &text, indent: inner)
            }
            text += indent + "]"
        case .object(let fields):
            if fields.isEmpty {
                text += "{}"
                return
            }
            let inner = indent.isEmpty ? "" : indent + " "
            text += "{"
            for (index, field) in fields.enumerated() {
                text += index == 0 ? inner : "," + inner
                JSONValue.write(field.key, to: &text)
                text += indent.isEmpty ? ":" : ": "
                field.value.write(to: &text, indent: inner)
            }
            text += indent + "}"
        }
    }

    private static func write(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            default:
                if scalar.value < 32 || scalar.value == 127 {
                    let hex = String(scalar.value, radix: 16)
                    text += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        text += "\""
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByIntegerLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    init(stringLiteral value: String) { self = .string(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }
    init(integerLiteral value: Int64) { self = .number(value) }
    init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { (key: $0.0, value: $0.1) })
    }
}
