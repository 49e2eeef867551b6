// What the text reader knows of the messages: names, numbers and types of their fields.
//
// `Generated/Schema.swift` holds it as one text, a line to a message (`@name`; `~name` for one whose
// content is tolerated and not looked into) and a line to a field:
//
//     name number cardinality type oneof
//
// where cardinality is `-`, `*` (repeated) or `%` with the type of a map's key, and type is a letter
// for a scalar, or `m` or `e` with the position of a message or an enum. It is read once, into flat
// tables and one open-addressed index from (message, field name) to field, so that reading a
// configuration makes no String and no dictionary for a node.

/// The type of a field's value.
enum FieldType: Equatable {
    case double, float, int64, uint64, int32, uint32, fixed64, fixed32, sfixed32, sfixed64
    case sint32, sint64, bool, string, bytes
    case message(Int)
    case enumeration(Int)

    fileprivate init?(_ text: Substring) {
        guard let letter = text.first else { return nil }
        switch letter {
        case "d": self = .double
        case "f": self = .float
        case "I": self = .int64
        case "U": self = .uint64
        case "i": self = .int32
        case "u": self = .uint32
        case "x": self = .fixed64
        case "w": self = .fixed32
        case "W": self = .sfixed32
        case "X": self = .sfixed64
        case "z": self = .sint32
        case "Z": self = .sint64
        case "o": self = .bool
        case "s": self = .string
        case "b": self = .bytes
        case "m": self = .message(Int(text.dropFirst()) ?? 0)
        case "e": self = .enumeration(Int(text.dropFirst()) ?? 0)
        default: return nil
        }
    }

    /// What a person is told that belongs there.
    var word: String {
        switch self {
        case .double, .float: "a number"
        case .int64, .int32, .sint32, .sint64, .sfixed32, .sfixed64: "a whole number"
        case .uint64, .uint32, .fixed64, .fixed32: "a whole number from 0"
        case .bool: "true or false"
        case .string: "text"
        case .bytes: "base64 text"
        case .message(let index): "a \(Schema.shared.messages[index].shortName)"
        case .enumeration: "a name"
        }
    }
}

struct FieldSchema {
    enum Cardinality: Equatable {
        case single, repeated
        case map(key: FieldType)
    }

    var name: String
    var number: UInt32
    var cardinality: Cardinality
    var type: FieldType
    /// Position among the message's oneofs; -1: none.
    var oneof: Int
}

struct MessageSchema {
    /// Types of google.protobuf with a text form of their own.
    enum Form {
        case plain, any, duration, timestamp, structure, value, list, wrapper
    }

    var name: String
    var fields: Range<Int>
    var form: Form
    var isOpaque: Bool

    var shortName: String {
        String(name.split(separator: ".").last ?? "")
    }
}

struct EnumSchema {
    var name: String
    var values: [(name: String, number: Int32)]
}

struct Schema {
    static let shared = Schema()

    private(set) var messages: [MessageSchema] = []
    private(set) var fields: [FieldSchema] = []
    private(set) var enums: [EnumSchema] = []
    private var byName: [String: Int] = [:]
    private var slots: [Slot] = []
    private var nameBytes: [UInt8] = []

    private struct Slot {
        var message: Int32 = -1
        var field: Int32 = 0
        var start: Int32 = 0
        var count: Int32 = 0
    }

    private init() {
        var owners: [Int] = []
        for line in Schema.lines(SchemaText.messages) {
            if line.hasPrefix("@") || line.hasPrefix("~") {
                let name = String(line.dropFirst())
                byName[name] = messages.count
                messages.append(
                    MessageSchema(
                        name: name, fields: fields.count..<fields.count,
                        form: Schema.form(of: name),
                        isOpaque: line.hasPrefix("~")))
                continue
            }
            let parts = Schema.split(line, at: " ")
            guard parts.count == 5, let number = UInt32(parts[1]), let type = FieldType(parts[3])
            else { preconditionFailure("Generated/Schema.swift does not fit this reader") }
            var cardinality = FieldSchema.Cardinality.single
            if parts[2] == "*" {
                cardinality = .repeated
            } else if parts[2].hasPrefix("%"), let key = FieldType(parts[2].dropFirst()) {
                cardinality = .map(key: key)
            }
            let last = messages.count - 1
            fields.append(
                FieldSchema(
                    name: String(parts[0]), number: number, cardinality: cardinality, type: type,
                    oneof: Int(parts[4]) ?? -1))
            messages[last].fields = messages[last].fields.lowerBound..<fields.count
            owners.append(last)
        }
        for line in Schema.lines(SchemaText.enums) {
            if line.hasPrefix("@") {
                enums.append(EnumSchema(name: String(line.dropFirst()), values: []))
            } else {
                let parts = Schema.split(line, at: " ")
                guard parts.count == 2, let number = Int32(parts[1]) else { continue }
                enums[enums.count - 1].values.append((String(parts[0]), number))
            }
        }
        var size = 1024
        while size < fields.count * 4 { size *= 2 }
        slots = [Slot](repeating: Slot(), count: size)
        for index in fields.indices {
            let snake = Array(fields[index].name.utf8)
            let camel = Schema.camelCase(snake)
            insert(snake, message: owners[index], field: index)
            if camel != snake { insert(camel, message: owners[index], field: index) }
        }
    }

    func message(named name: String) -> Int? { byName[name] }

    /// The field of `message` that is called so, in snake_case or lowerCamelCase.
    func field(of message: Int, named name: UnsafeRawBufferPointer) -> Int? {
        var at = Schema.hash(name, message) & (slots.count - 1)
        while slots[at].message >= 0 {
            let slot = slots[at]
            if slot.message == message, Int(slot.count) == name.count, matches(slot, name) {
                return Int(slot.field)
            }
            at = (at + 1) & (slots.count - 1)
        }
        return nil
    }

    func fieldIndex(_ name: String, of message: String) -> Int {
        guard let message = byName[message],
            let index = messages[message].fields.first(where: { fields[$0].name == name })
        else { preconditionFailure("no field \(name) of \(message) in the schema") }
        return index
    }

    func field(of message: Int, number: UInt32) -> FieldSchema? {
        fields[messages[message].fields].first { $0.number == number }
    }

    /// The name among `candidates` that is one or two slips away from `name`.
    static func near(_ name: String, among candidates: some Sequence<String>) -> String? {
        let wanted = Array(name.lowercased().utf8.prefix(64))
        var best: (String, Int)?
        for candidate in candidates {
            let distance = editDistance(wanted, Array(candidate.lowercased().utf8.prefix(64)))
            if distance <= max(1, wanted.count / 4), distance < (best?.1 ?? .max) {
                best = (candidate, distance)
            }
        }
        return best?.0
    }

    private static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let replaced = diagonal + (a[i] == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(replaced, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[b.count]
    }

    private mutating func insert(_ name: [UInt8], message: Int, field: Int) {
        let start = nameBytes.count
        nameBytes += name
        var at = name.withUnsafeBytes { Schema.hash($0, message) } & (slots.count - 1)
        while slots[at].message >= 0 { at = (at + 1) & (slots.count - 1) }
        slots[at] = Slot(
            message: Int32(message), field: Int32(field), start: Int32(start),
            count: Int32(name.count))
    }

    private func matches(_ slot: Slot, _ name: UnsafeRawBufferPointer) -> Bool {
        for offset in 0..<name.count where nameBytes[Int(slot.start) + offset] != name[offset] {
            return false
        }
        return true
    }

    private static func hash(_ name: UnsafeRawBufferPointer, _ message: Int) -> Int {
        var hash: UInt32 = 2_166_136_261 ^ UInt32(truncatingIfNeeded: message &* 40503)
        for byte in name { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        return Int(hash ^ (hash >> 15))
    }

    private static func camelCase(_ name: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var raise = false
        for byte in name {
            if byte == UInt8(ascii: "_") {
                raise = true
            } else {
                let lower = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
                result.append(raise && lower ? byte - 32 : byte)
                raise = false
            }
        }
        return result
    }

    private static func form(of name: String) -> MessageSchema.Form {
        switch name {
        case "google.protobuf.Any": .any
        case "google.protobuf.Duration": .duration
        case "google.protobuf.Timestamp": .timestamp
        case "google.protobuf.Struct": .structure
        case "google.protobuf.Value": .value
        case "google.protobuf.ListValue": .list
        case "google.protobuf.DoubleValue", "google.protobuf.FloatValue",
            "google.protobuf.Int64Value", "google.protobuf.UInt64Value",
            "google.protobuf.Int32Value", "google.protobuf.UInt32Value",
            "google.protobuf.BoolValue", "google.protobuf.StringValue",
            "google.protobuf.BytesValue":
            .wrapper
        default: .plain
        }
    }

    private static func lines(_ text: StaticString) -> [Substring] {
        split(text.withUTF8Buffer { Substring(decoding: $0, as: UTF8.self) }, at: "\n")
    }

    /// By bytes: to find the characters of a text costs several times as much.
    private static func split(_ text: Substring, at separator: Unicode.Scalar) -> [Substring] {
        text.utf8.split(separator: UInt8(ascii: separator)).map { Substring($0) }
    }
}
