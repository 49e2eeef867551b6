internal import MeshBase
internal import SwiftProtobuf

// A tree of text to the wire bytes of a message, led by the schema.
//
// It writes bytes and not messages, so one walk serves each type, and SwiftProtobuf then reads the
// bytes as it would read those of a server: static and dynamic configuration are one from there on.
// All problems of a text are found in one walk, each with the path to its field and its place.
//
// It is more lenient than protobuf's JSON, because bootstraps in the field are (trailing commas and
// names in both spellings within one file): a single value for a list, numbers as text, enums by
// name in any case or by number. What is ambiguous is refused: two fields of one oneof, one field
// under both of its names.
//
// The length of a nested message is not known before it is written. One byte is left for it, and
// the rest moved up when it takes more; a move costs less than measuring first.

struct TreeToMessage {
    typealias NodeIndex = ConfigTree.NodeIndex

    private enum Step {
        case field(Int)
        case index(Int)
        case key(NodeIndex)
    }

    private let tree: ConfigTree
    private let schema: Schema
    private let allowsUnknownFields: Bool
    private var out: [UInt8] = []
    private var path: [Step] = []
    private var budget: Int
    private var parts: Parts?
    private var partField = -1
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []

    /// The items of a field that is too large to be held as bytes, as messages and as values at once.
    struct Parts {
        var message: String
        var field: String
        /// Gets each item's bytes, with its index.
        var take: (Int, [UInt8]) -> Void
    }

    private static let maxProblems = 50
    private static let typedStruct = "xds.type.v3.TypedStruct"

    /// What `node` (the root where none is named) says, as the bytes of a message called `name`.
    ///
    /// - Parameter parts: these are left out and handed over one by one.
    static func encode(
        _ tree: ConfigTree, node: NodeIndex? = nil, as name: String, allowsUnknownFields: Bool,
        parts: Parts? = nil
    ) throws(ConfigurationError) -> (bytes: [UInt8], warnings: [ConfigurationProblem]) {
        var walk = TreeToMessage(tree, allowsUnknownFields)
        guard let message = walk.schema.message(named: name) else {
            preconditionFailure("no message \(name) in the schema")
        }
        if let parts {
            walk.parts = parts
            walk.partField = walk.schema.fieldIndex(parts.field, of: parts.message)
        }
        walk.writeContent(node ?? tree.root, message)
        if !walk.problems.isEmpty { throw ConfigurationError(problems: walk.problems) }
        return (walk.out, walk.warnings)
    }

    private init(_ tree: ConfigTree, _ allowsUnknownFields: Bool) {
        self.tree = tree
        self.allowsUnknownFields = allowsUnknownFields
        schema = Schema.shared
        budget = tree.walkBudget
        out.reserveCapacity(tree.bytes.count)
    }

    // MARK: Messages

    private mutating func writeContent(_ node: NodeIndex, _ message: Int) {
        let node = tree.resolved(node)
        if isOverBudget(node) { return }
        if schema.messages[message].isOpaque { return }
        switch schema.messages[message].form {
        case .any: writeAny(node, message)
        case .duration: writeDuration(node)
        case .timestamp:
            refuse(node, expected: "nothing (a time is not read here)", got: word(node))
        case .structure: writeStruct(node)
        case .value: writeValue(node)
        case .list: writeList(node)
        case .wrapper:
            let field = schema.fields[schema.messages[message].fields.lowerBound]
            writeScalar(node, field)
        case .plain:
            guard kind(node) == .map else {
                refuse(
                    node, expected: "a map (\(schema.messages[message].shortName))", got: word(node)
                )
                return
            }
            var seen = Seen()
            writeFields(node, message, &seen, isMerged: false)
        }
    }

    private struct Seen {
        var fields: UInt128 = 0
        var oneofs: UInt64 = 0
    }

    private mutating func writeFields(
        _ map: NodeIndex, _ message: Int, _ seen: inout Seen, isMerged: Bool
    ) {
        if isOverBudget(map) { return }
        let first = schema.messages[message].fields.lowerBound
        var merge: NodeIndex = -1
        var key = tree.nodes[Int(map)].child
        while key >= 0 {
            let value = tree.nodes[Int(key)].next
            let next = tree.nodes[Int(value)].next
            defer { key = next }
            let node = tree.nodes[Int(key)]
            let found = tree.bytes.withUnsafeBytes { bytes in
                schema.field(
                    of: message,
                    named: UnsafeRawBufferPointer(
                        rebasing: bytes[Int(node.start)..<Int(node.start) + Int(node.length)]))
            }
            guard let found else {
                if node.isPlain, tree.equals(key, "<<") {
                    merge = value
                } else if node.length == 0 || tree.bytes[Int(node.start)] != UInt8(ascii: "@") {
                    unknown(key, message)
                }
                continue
            }
            let bit = UInt128(1) << UInt128(found - first)
            let field = schema.fields[found]
            let group = field.oneof >= 0 ? UInt64(1) << UInt64(field.oneof) : 0
            if isMerged, seen.fields & bit != 0 || seen.oneofs & group != 0 { continue }
            if isNull(value, field) { continue }
            path.append(.field(found))
            defer { path.removeLast() }
            if seen.fields & bit != 0 {
                refuse(key, expected: "one spelling of \(field.name)", got: "both")
            } else if seen.oneofs & group != 0 {
                let others = schema.fields[schema.messages[message].fields]
                    .filter { $0.oneof == field.oneof }.map(\.name).joined(separator: ", ")
                refuse(key, expected: "only one of \(others)", got: "two of them")
            }
            seen.fields |= bit
            seen.oneofs |= group
            if found == partField {
                writeParts(tree.resolved(value), field)
            } else {
                write(tree.resolved(value), field)
            }
        }
        if merge >= 0 { writeMerged(merge, message, &seen) }
    }

    private mutating func writeMerged(_ node: NodeIndex, _ message: Int, _ seen: inout Seen) {
        let node = tree.resolved(node)
        switch kind(node) {
        case .map:
            writeFields(node, message, &seen, isMerged: true)
        case .list:
            var item = tree.nodes[Int(node)].child
            while item >= 0 {
                let map = tree.resolved(item)
                if kind(map) == .map { writeFields(map, message, &seen, isMerged: true) }
                item = tree.nodes[Int(item)].next
            }
        default:
            refuse(node, expected: "a map to merge", got: word(node))
        }
    }

    private func isNull(_ node: NodeIndex, _ field: FieldSchema) -> Bool {
        guard tree.isNull(tree.resolved(node)) else { return false }
        if case .message(let index) = field.type, schema.messages[index].form == .value {
            return false
        }
        return true
    }

    private mutating func unknown(_ key: NodeIndex, _ message: Int) {
        let name = tree.text(key)
        let fields = schema.fields[schema.messages[message].fields].map(\.name)
        let near = Schema.near(name, among: fields).map { " (did you mean \($0)?)" } ?? ""
        let node = tree.nodes[Int(key)]
        let problem = ConfigurationProblem(
            path: joined(path, with: name),
            expected: "a field of \(schema.messages[message].shortName)",
            got: "unknown field \(name)\(near)", line: Int(node.line), column: Int(node.column))
        if allowsUnknownFields {
            if warnings.count < TreeToMessage.maxProblems { warnings.append(problem) }
        } else if problems.count < TreeToMessage.maxProblems {
            problems.append(problem)
        }
    }

    // MARK: Fields

    private mutating func write(_ node: NodeIndex, _ field: FieldSchema) {
        switch field.cardinality {
        case .single:
            if kind(node) == .list, !isListLike(field.type) {
                refuse(node, expected: field.type.word, got: "a list")
            } else {
                writeOne(node, field)
            }
        case .repeated:
            guard kind(node) == .list else {
                writeOne(node, field)
                return
            }
            var item = tree.nodes[Int(node)].child
            var index = 0
            while item >= 0 {
                path.append(.index(index))
                writeOne(tree.resolved(item), field)
                path.removeLast()
                index += 1
                item = tree.nodes[Int(item)].next
            }
        case .map(let keyType):
            writeMap(node, field, keyType)
        }
    }

    private mutating func writeParts(_ node: NodeIndex, _ field: FieldSchema) {
        guard case .message(let message) = field.type, kind(node) == .list else {
            write(node, field)
            return
        }
        var item = tree.nodes[Int(node)].child
        var index = 0
        let start = out.count
        while item >= 0 {
            path.append(.index(index))
            writeContent(tree.resolved(item), message)
            path.removeLast()
            if problems.isEmpty { parts?.take(index, Array(out[start...])) }
            out.removeSubrange(start...)
            index += 1
            item = tree.nodes[Int(item)].next
        }
    }

    private func isListLike(_ type: FieldType) -> Bool {
        guard case .message(let index) = type else { return false }
        let form = schema.messages[index].form
        return form == .value || form == .list || schema.messages[index].isOpaque
    }

    private mutating func writeOne(_ node: NodeIndex, _ field: FieldSchema) {
        guard case .message(let message) = field.type else {
            writeScalar(node, field)
            return
        }
        let start = open(field.number)
        writeContent(node, message)
        close(start)
    }

    private mutating func writeMap(_ node: NodeIndex, _ field: FieldSchema, _ keyType: FieldType) {
        guard kind(node) == .map else {
            refuse(node, expected: "a map", got: word(node))
            return
        }
        let keyField = FieldSchema(
            name: "key", number: 1, cardinality: .single, type: keyType, oneof: -1)
        let valueField = FieldSchema(
            name: "value", number: 2, cardinality: .single, type: field.type, oneof: -1)
        entries(node) { walk, key, value in
            let start = walk.open(field.number)
            walk.writeScalar(key, keyField)
            if !walk.isNull(value, valueField) { walk.writeOne(value, valueField) }
            walk.close(start)
        }
    }

    /// Each entry of a free map, those merged into it included; the nearest wins.
    private mutating func entries(
        _ map: NodeIndex, _ body: (inout TreeToMessage, NodeIndex, NodeIndex) -> Void
    ) {
        var merged: [NodeIndex] = []
        var key = tree.nodes[Int(map)].child
        while key >= 0 {
            let value = tree.nodes[Int(key)].next
            if tree.nodes[Int(key)].isPlain, tree.equals(key, "<<") {
                merged.append(tree.resolved(value))
            } else {
                path.append(.key(key))
                body(&self, key, tree.resolved(value))
                path.removeLast()
            }
            key = tree.nodes[Int(value)].next
        }
        for other in merged where kind(other) == .map && budget > 0 {
            budget -= 1
            var key = tree.nodes[Int(other)].child
            while key >= 0 {
                let value = tree.nodes[Int(key)].next
                let name = tree.text(key)
                var own = tree.nodes[Int(map)].child
                var isOwn = false
                while own >= 0, !isOwn {
                    isOwn = tree.text(own) == name
                    own = tree.nodes[Int(tree.nodes[Int(own)].next)].next
                }
                if !isOwn {
                    path.append(.key(key))
                    body(&self, key, tree.resolved(value))
                    path.removeLast()
                }
                key = tree.nodes[Int(value)].next
            }
        }
    }

    private mutating func writeScalar(_ node: NodeIndex, _ field: FieldSchema) {
        guard kind(node) == .scalar else {
            refuse(node, expected: field.type.word, got: word(node))
            return
        }
        switch field.type {
        case .string:
            tag(field.number, 2)
            let scalar = tree.nodes[Int(node)]
            varint(UInt64(scalar.length))
            out += tree.bytes[Int(scalar.start)..<Int(scalar.start) + Int(scalar.length)]
        case .bytes:
            guard let bytes = Base64.decode(tree.text(node)) else {
                refuse(node, expected: field.type.word, got: word(node))
                return
            }
            tag(field.number, 2)
            varint(UInt64(bytes.count))
            out += bytes
        case .bool:
            guard let value = bool(node) else {
                refuse(node, expected: field.type.word, got: word(node))
                return
            }
            tag(field.number, 0)
            out.append(value ? 1 : 0)
        case .enumeration(let index):
            guard let value = enumValue(node, index) else {
                let names = schema.enums[index].values.map(\.name)
                let near = Schema.near(tree.text(node), among: names)
                    .map { " (did you mean \($0)?)" }
                refuse(
                    node, expected: "one of \(names.joined(separator: ", "))",
                    got: word(node) + (near ?? ""))
                return
            }
            tag(field.number, 0)
            varint(UInt64(bitPattern: Int64(value)))
        case .double:
            guard let value = Double(tree.text(node)) else { return refuse(node, field) }
            tag(field.number, 1)
            fixed(value.bitPattern, 8)
        case .float:
            guard let value = Float(tree.text(node)) else { return refuse(node, field) }
            tag(field.number, 5)
            fixed(UInt64(value.bitPattern), 4)
        case .int64, .int32:
            let isSmall = field.type == .int32
            guard let value = integer(node), !isSmall || Int32(exactly: value) != nil else {
                return refuse(node, field)
            }
            tag(field.number, 0)
            varint(UInt64(bitPattern: value))
        case .sint64, .sint32:
            let isSmall = field.type == .sint32
            guard let value = integer(node), !isSmall || Int32(exactly: value) != nil else {
                return refuse(node, field)
            }
            tag(field.number, 0)
            varint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
        case .uint32, .fixed32:
            guard let value = integer(node), UInt32(exactly: value) != nil else {
                return refuse(node, field)
            }
            tag(field.number, field.type == .uint32 ? 0 : 5)
            if field.type == .uint32 { varint(UInt64(value)) } else { fixed(UInt64(value), 4) }
        case .uint64, .fixed64:
            guard
                let value = integer(node).flatMap(UInt64.init(exactly:)) ?? UInt64(tree.text(node))
            else { return refuse(node, field) }
            tag(field.number, field.type == .uint64 ? 0 : 1)
            if field.type == .uint64 { varint(value) } else { fixed(value, 8) }
        case .sfixed32:
            guard let value = integer(node), let small = Int32(exactly: value) else {
                return refuse(node, field)
            }
            tag(field.number, 5)
            fixed(UInt64(UInt32(bitPattern: small)), 4)
        case .sfixed64:
            guard let value = integer(node) else { return refuse(node, field) }
            tag(field.number, 1)
            fixed(UInt64(bitPattern: value), 8)
        case .message:
            preconditionFailure("a message is no scalar")
        }
    }

    private func bool(_ node: NodeIndex) -> Bool? {
        switch tree.text(node).lowercased() {
        case "true", "yes", "on": true
        case "false", "no", "off": false
        default: nil
        }
    }

    private func integer(_ node: NodeIndex) -> Int64? {
        let scalar = tree.nodes[Int(node)]
        let start = Int(scalar.start)
        let end = start + Int(scalar.length)
        if scalar.length > 0, scalar.length < 18 {
            var value: Int64 = 0
            var isSimple = true
            for offset in start..<end {
                let digit = tree.bytes[offset] &- 48
                if digit > 9 {
                    isSimple = false
                    break
                }
                value = value * 10 + Int64(digit)
            }
            if isSimple { return value }
        }
        let text = tree.text(node)
        if let value = Int64(text) { return value }
        if text.hasPrefix("0x") { return Int64(text.dropFirst(2), radix: 16) }
        return Double(text).flatMap { Int64(exactly: $0) }
    }

    private func enumValue(_ node: NodeIndex, _ index: Int) -> Int32? {
        let text = tree.text(node)
        let values = schema.enums[index].values
        if let exact = values.first(where: { $0.name == text }) { return exact.number }
        if let number = Int32(text) {
            return values.contains { $0.number == number } ? number : nil
        }
        let lower = text.lowercased()
        return values.first { $0.name.lowercased() == lower }?.number
    }

    // MARK: Types of google.protobuf

    private mutating func writeAny(_ node: NodeIndex, _ message: Int) {
        guard kind(node) == .map else {
            refuse(node, expected: "a map with @type", got: word(node))
            return
        }
        guard let typeNode = tree.value(of: "@type", in: node) else {
            if tree.nodes[Int(node)].child < 0 { return }
            if tree.value(of: "type_url", in: node) != nil
                || tree.value(of: "typeUrl", in: node) != nil
            {
                var seen = Seen()
                writeFields(node, message, &seen, isMerged: false)
            } else {
                refuse(node, expected: "@type", got: "none")
            }
            return
        }
        let url = tree.text(tree.resolved(typeNode))
        let name = String(url.split(separator: "/").last ?? "")
        guard let inner = schema.message(named: name) else {
            // Whether it is needed is for the decoder to say. As a TypedStruct it keeps its content.
            string(1, "type.googleapis.com/" + TreeToMessage.typedStruct)
            let outer = open(2)
            string(1, url)
            let start = open(2)
            writeStruct(node)
            close(start)
            close(outer)
            return
        }
        string(1, url)
        let start = open(2)
        switch schema.messages[inner].form {
        case .plain: writeContent(node, inner)
        default:
            if let value = tree.value(of: "value", in: node) { writeContent(value, inner) }
        }
        close(start)
    }

    private mutating func writeDuration(_ node: NodeIndex) {
        if kind(node) == .map {
            for (name, number) in [("seconds", UInt32(1)), ("nanos", UInt32(2))] {
                let value =
                    name == "seconds"
                    ? tree.value(of: "seconds", in: node)
                    : tree.value(of: "nanos", in: node)
                guard let value else { continue }
                guard let count = integer(tree.resolved(value)) else {
                    refuse(value, expected: "a whole number", got: word(value))
                    continue
                }
                tag(number, 0)
                varint(UInt64(bitPattern: count))
            }
            return
        }
        guard kind(node) == .scalar, let (seconds, nanos) = DurationText.parse(tree.text(node))
        else {
            refuse(node, expected: "a duration such as 0.25s", got: word(node))
            return
        }
        tag(1, 0)
        varint(UInt64(bitPattern: seconds))
        if nanos != 0 {
            tag(2, 0)
            varint(UInt64(bitPattern: Int64(nanos)))
        }
    }

    private mutating func writeStruct(_ node: NodeIndex) {
        guard kind(node) == .map else {
            refuse(node, expected: "a map", got: word(node))
            return
        }
        entries(node) { walk, key, value in
            if walk.tree.equals(key, "@type") { return }
            let entry = walk.open(1)
            walk.string(1, walk.tree.text(key))
            let start = walk.open(2)
            walk.writeValue(value)
            walk.close(start)
            walk.close(entry)
        }
    }

    private mutating func writeList(_ node: NodeIndex) {
        guard kind(node) == .list else {
            refuse(node, expected: "a list", got: word(node))
            return
        }
        var item = tree.nodes[Int(node)].child
        while item >= 0 {
            let start = open(1)
            writeValue(tree.resolved(item))
            close(start)
            item = tree.nodes[Int(item)].next
        }
    }

    private mutating func writeValue(_ node: NodeIndex) {
        if isOverBudget(node) { return }
        switch kind(node) {
        case .map:
            let start = open(5)
            writeStruct(node)
            close(start)
        case .list:
            let start = open(6)
            writeList(node)
            close(start)
        case .scalar:
            let text = tree.text(node)
            let isPlain = tree.nodes[Int(node)].isPlain
            if tree.isNull(node) {
                tag(1, 0)
                varint(0)
            } else if isPlain, text == "true" || text == "false" {
                tag(4, 0)
                varint(text == "true" ? 1 : 0)
            } else if isPlain, let first = text.utf8.first,
                first == 45 || first == 43 || first == 46 || (48...57).contains(first),
                let number = Double(text)
            {
                tag(2, 1)
                fixed(number.bitPattern, 8)
            } else {
                string(3, text)
            }
        case .alias:
            preconditionFailure("an alias is resolved before it is written")
        }
    }

    // MARK: Wire

    private mutating func tag(_ number: UInt32, _ type: UInt32) {
        varint(UInt64(number << 3 | type))
    }

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        out.append(UInt8(truncatingIfNeeded: rest))
    }

    private mutating func fixed(_ value: UInt64, _ count: Int) {
        for index in 0..<count { out.append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
    }

    private mutating func string(_ number: UInt32, _ text: String) {
        tag(number, 2)
        varint(UInt64(text.utf8.count))
        out += text.utf8
    }

    private mutating func open(_ number: UInt32) -> Int {
        tag(number, 2)
        out.append(0)
        return out.count
    }

    private mutating func close(_ start: Int) {
        let length = out.count - start
        if length < 0x80 {
            out[start - 1] = UInt8(length)
            return
        }
        let extra = (Int.bitWidth - length.leadingZeroBitCount - 1) / 7
        for _ in 0..<extra { out.append(0) }
        out.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            (base + start + extra).copyMemory(from: base + start, byteCount: length)
            var rest = length
            for at in start - 1..<start - 1 + extra {
                bytes[at] = UInt8(truncatingIfNeeded: rest) | 0x80
                rest >>= 7
            }
            bytes[start - 1 + extra] = UInt8(rest)
        }
    }

    // MARK: Words

    private func kind(_ node: NodeIndex) -> ConfigTree.Kind { tree.nodes[Int(node)].kind }

    private func word(_ node: NodeIndex) -> String {
        let node = tree.resolved(node)
        switch kind(node) {
        case .map: return "a map"
        case .list: return "a list"
        case .scalar, .alias:
            let text = tree.text(node)
            return text.count > 60 ? "\"\(text.prefix(60))…\"" : "\"\(text)\""
        }
    }

    /// Counts a visit. What is over the budget is said once, and nothing is written from there on.
    private mutating func isOverBudget(_ node: NodeIndex) -> Bool {
        budget -= 1
        if budget == -1 {
            refuse(node, expected: "a text without aliases that multiply", got: "too many nodes")
        }
        return budget < 0
    }

    private mutating func refuse(_ node: NodeIndex, _ field: FieldSchema) {
        refuse(node, expected: field.type.word, got: word(node))
    }

    private mutating func refuse(_ node: NodeIndex, expected: String, got: String) {
        guard problems.count < TreeToMessage.maxProblems else { return }
        let place = tree.nodes[Int(node)]
        problems.append(
            ConfigurationProblem(
                path: joined(path), expected: expected, got: got, line: Int(place.line),
                column: Int(place.column)))
    }

    private func joined(_ steps: [Step], with last: String? = nil) -> String {
        var result = ""
        for step in steps {
            switch step {
            case .field(let field):
                result += (result.isEmpty ? "" : ".") + schema.fields[field].name
            case .index(let index): result += "[\(index)]"
            case .key(let key): result += "[\"\(tree.text(key))\"]"
            }
        }
        if let last { result += (result.isEmpty ? "" : ".") + last }
        return result
    }
}
