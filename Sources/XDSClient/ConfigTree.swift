internal import CYAML

// YAML and JSON as one tree, made in one pass over libyaml's events.
//
// The nodes lie in one array and point at each other by position, and all scalars lie in one byte
// array, so that a tree of a million nodes is two allocations and not a million. JSON is read as the
// YAML that it almost is; a trailing comma is allowed. An alias is a node that points at its anchor;
// it is not copied, and whoever walks the tree has a budget of nodes (`walkBudget`), so that a file
// of nested aliases cannot grow without bound.

/// Where text stops being YAML.
struct TextProblem: Error, Equatable {
    var line: Int
    var column: Int
    var message: String
}

/// A document: a value with lines and columns.
struct ConfigTree {
    typealias NodeIndex = Int32

    enum Kind: UInt8 {
        case map, list, scalar, alias
    }

    struct Node: Equatable {
        var kind: Kind
        /// Written without quotes: may be a number, true, or null.
        var isPlain: Bool
        var line: UInt32
        var column: UInt32
        /// Next element, or the next key or value of the map, in turn; -1: the last.
        var next: NodeIndex = -1
        /// First child, or the target of an alias; -1: none.
        var child: NodeIndex = -1
        var start: UInt32 = 0
        var length: UInt32 = 0
    }

    private(set) var nodes: [Node] = []
    private(set) var bytes: [UInt8] = []
    private(set) var root: NodeIndex = -1

    /// Nodes that a walk may visit: generous for honest merge keys, final for bombs.
    var walkBudget: Int { nodes.count * 8 + 100_000 }

    private static let maxDepth = 128

    /// - Parameter text: UTF-8. Only the first document is read; an empty one is an empty map.
    init(_ text: [UInt8]) throws(TextProblem) {
        if let plain = ConfigTree(plain: text) {
            self = plain
        } else {
            try self.init(withLibyaml: text)
        }
    }

    /// Reads all of YAML.
    init(withLibyaml text: [UInt8]) throws(TextProblem) {
        nodes.reserveCapacity(text.count / 12)
        bytes.reserveCapacity(text.count)
        if let problem = text.withUnsafeBufferPointer({ read($0) }) { throw problem }
        if root < 0 {
            nodes.append(Node(kind: .map, isPlain: true, line: 1, column: 1))
            root = 0
        }
    }

    /// An empty tree, to be filled by `add`.
    init() {}

    /// What another reader made, root first.
    init(nodes: [Node], bytes: [UInt8]) {
        self.nodes = nodes
        self.bytes = bytes
        root = 0
    }

    func resolved(_ index: NodeIndex) -> NodeIndex {
        var at = index
        while nodes[Int(at)].kind == .alias { at = nodes[Int(at)].child }
        return at
    }

    func text(_ index: NodeIndex) -> String {
        let node = nodes[Int(index)]
        let start = Int(node.start)
        return String(decoding: bytes[start..<start + Int(node.length)], as: UTF8.self)
    }

    func equals(_ index: NodeIndex, _ word: StaticString) -> Bool {
        let node = nodes[Int(index)]
        guard Int(node.length) == word.utf8CodeUnitCount else { return false }
        return bytes.withUnsafeBufferPointer { all in
            word.withUTF8Buffer { wanted in
                for offset in 0..<wanted.count where all[Int(node.start) + offset] != wanted[offset]
                {
                    return false
                }
                return true
            }
        }
    }

    /// A scalar that says that nothing is there.
    func isNull(_ index: NodeIndex) -> Bool {
        let node = nodes[Int(index)]
        guard node.kind == .scalar, node.isPlain else { return false }
        return node.length == 0 || equals(index, "null") || equals(index, "~")
            || equals(index, "Null") || equals(index, "NULL")
    }

    /// The value of the first entry with this key in a map.
    func value(of key: StaticString, in map: NodeIndex) -> NodeIndex? {
        let map = resolved(map)
        guard nodes[Int(map)].kind == .map else { return nil }
        var at = nodes[Int(map)].child
        while at >= 0 {
            let value = nodes[Int(at)].next
            if nodes[Int(at)].kind == .scalar, equals(at, key) { return value }
            at = nodes[Int(value)].next
        }
        return nil
    }

    /// The elements of a list; of anything else, itself.
    func items(_ list: NodeIndex) -> [NodeIndex] {
        let list = resolved(list)
        guard nodes[Int(list)].kind == .list else { return [list] }
        var items: [NodeIndex] = []
        var item = nodes[Int(list)].child
        while item >= 0 {
            items.append(item)
            item = nodes[Int(item)].next
        }
        return items
    }

    mutating func add(_ kind: Kind, text: String = "", isPlain: Bool = false) -> NodeIndex {
        let start = bytes.count
        bytes += text.utf8
        nodes.append(
            Node(
                kind: kind, isPlain: isPlain, line: 0, column: 0, start: UInt32(start),
                length: UInt32(bytes.count - start)))
        return NodeIndex(nodes.count - 1)
    }

    mutating func link(_ children: [NodeIndex], to parent: NodeIndex) {
        nodes[Int(parent)].child = children.first ?? -1
        for (left, right) in zip(children, children.dropFirst()) { nodes[Int(left)].next = right }
    }

    mutating func setRoot(_ index: NodeIndex) { root = index }

    private mutating func read(_ text: UnsafeBufferPointer<UInt8>) -> TextProblem? {
        var parser = yaml_parser_t()
        guard yaml_parser_initialize(&parser) == 1 else {
            return TextProblem(line: 0, column: 0, message: "out of memory")
        }
        defer { yaml_parser_delete(&parser) }
        yaml_parser_set_input_string(&parser, text.baseAddress, text.count)
        var open: [(node: NodeIndex, last: NodeIndex)] = []
        var anchors: [String: NodeIndex] = [:]
        var documents = 0
        while true {
            var event = yaml_event_t()
            guard yaml_parser_parse(&parser, &event) == 1 else {
                return TextProblem(
                    line: Int(parser.problem_mark.line) + 1,
                    column: Int(parser.problem_mark.column) + 1,
                    message: parser.problem.map { String(cString: $0) } ?? "not YAML")
            }
            defer { yaml_event_delete(&event) }
            let line = UInt32(truncatingIfNeeded: event.start_mark.line + 1)
            let column = UInt32(truncatingIfNeeded: event.start_mark.column + 1)
            func problem(_ message: String) -> TextProblem {
                TextProblem(line: Int(line), column: Int(column), message: message)
            }
            var node = Node(kind: .scalar, isPlain: false, line: line, column: column)
            var anchor: UnsafeMutablePointer<yaml_char_t>?
            switch event.type {
            case YAML_STREAM_END_EVENT:
                return nil
            case YAML_DOCUMENT_START_EVENT:
                documents += 1
                if documents > 1 { return problem("expected one document, got another") }
                continue
            case YAML_MAPPING_END_EVENT, YAML_SEQUENCE_END_EVENT:
                let closed = open.removeLast().node
                if nodes[Int(closed)].kind == .map, let twice = duplicateKey(in: closed) {
                    return twice
                }
                continue
            case YAML_MAPPING_START_EVENT:
                node.kind = .map
                anchor = event.data.mapping_start.anchor
            case YAML_SEQUENCE_START_EVENT:
                node.kind = .list
                anchor = event.data.sequence_start.anchor
            case YAML_SCALAR_EVENT:
                let scalar = event.data.scalar
                anchor = scalar.anchor
                node.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
                node.start = UInt32(truncatingIfNeeded: bytes.count)
                node.length = UInt32(truncatingIfNeeded: scalar.length)
                bytes.append(
                    contentsOf: UnsafeBufferPointer(start: scalar.value, count: scalar.length))
                if bytes.count > Int(UInt32.max) { return problem("too large") }
            case YAML_ALIAS_EVENT:
                let name = event.data.alias.anchor.map { String(cString: $0) } ?? ""
                guard let target = anchors[name] else {
                    return problem("no anchor is called \(name)")
                }
                if open.contains(where: { $0.node == target }) {
                    return problem("the alias \(name) is inside its own anchor")
                }
                node.kind = .alias
                node.child = target
            default:
                continue
            }
            let index = NodeIndex(truncatingIfNeeded: nodes.count)
            nodes.append(node)
            if let anchor { anchors[String(cString: anchor)] = index }
            if let last = open.indices.last {
                if open[last].last >= 0 {
                    nodes[Int(open[last].last)].next = index
                } else {
                    nodes[Int(open[last].node)].child = index
                }
                open[last].last = index
            } else {
                root = index
            }
            if node.kind == .map || node.kind == .list {
                open.append((index, -1))
                if open.count > ConfigTree.maxDepth { return problem("nested too deep") }
            }
        }
    }

    /// Two values under one name are a mistake that neither reader should settle by itself.
    private func duplicateKey(in map: NodeIndex) -> TextProblem? {
        var first: Set<String>?
        var count = 0
        var at = nodes[Int(map)].child
        while at >= 0 {
            let key = nodes[Int(at)]
            let value = nodes[Int(key.next)]
            if key.kind != .scalar {
                return TextProblem(
                    line: Int(key.line), column: Int(key.column), message: "a key must be a scalar")
            }
            count += 1
            if count <= 8 {
                var other = nodes[Int(map)].child
                while other != at {
                    if sameText(other, at) { return twice(at) }
                    other = nodes[Int(nodes[Int(other)].next)].next
                }
            } else {
                if first == nil {
                    var names: Set<String> = []
                    var other = nodes[Int(map)].child
                    while other != at {
                        names.insert(text(other))
                        other = nodes[Int(nodes[Int(other)].next)].next
                    }
                    first = names
                }
                if first?.insert(text(at)).inserted == false { return twice(at) }
            }
            at = value.next
        }
        return nil
    }

    private func sameText(_ a: NodeIndex, _ b: NodeIndex) -> Bool {
        let left = nodes[Int(a)]
        let right = nodes[Int(b)]
        guard left.length == right.length else { return false }
        for offset in 0..<Int(left.length)
        where bytes[Int(left.start) + offset] != bytes[Int(right.start) + offset] {
            return false
        }
        return true
    }

    private func twice(_ key: NodeIndex) -> TextProblem {
        TextProblem(
            line: Int(nodes[Int(key)].line), column: Int(nodes[Int(key)].column),
            message: "\(text(key)) is given twice")
    }
}
