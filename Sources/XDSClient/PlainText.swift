// The YAML that configurations are written in, read at several times libyaml's speed.
//
// Start-up with thousands of clusters is mostly reading, and nearly all of such a file is maps, lists and
// scalars on one line, in block or flow form; JSON is the latter. This reader knows these and nothing
// else. At the first thing that it does not know (anchors, tags, block scalars, a scalar that goes on in
// the next line, an empty value, tabs, anything but ASCII) or that is wrong, it gives up, and libyaml
// reads the text from its beginning. So whatever is read here must come out as libyaml has it, to
// the column, and no problem is ever told from here; a test holds both readers to that with thousands of
// mutated texts.

extension ConfigTree {
    /// The tree of a plain text; `nil` when it is for libyaml.
    init?(plain text: [UInt8]) {
        var reader = PlainReader(capacity: text.count)
        guard text.withUnsafeBufferPointer({ reader.read($0) }) else { return nil }
        self.init(nodes: reader.nodes, bytes: reader.bytes)
    }
}

private struct PlainReader {
    typealias Node = ConfigTree.Node
    typealias NodeIndex = ConfigTree.NodeIndex

    /// A block map or list that may go on.
    private struct Block {
        var node: NodeIndex
        var last: NodeIndex = -1
        /// The column of its keys or dashes.
        var indent: Int
        var isMap: Bool
        /// A key or a dash came, and its value is still to come.
        var isWaiting = false
    }

    private struct Scalar {
        var isPlain: Bool
        var column: Int
        var start: Int
        var length: Int
    }

    private(set) var nodes: [Node] = []
    private(set) var bytes: [UInt8] = []
    private var text = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    private var at = 0
    private var line = 1
    private var lineStart = 0
    private var open: [Block] = []

    private static let maxDepth = 64
    /// libyaml's limit is 1024 characters.
    private static let maxKeyBytes = 1000

    init(capacity: Int) {
        nodes.reserveCapacity(capacity / 20)
        bytes.reserveCapacity(capacity / 2)
    }

    mutating func read(_ source: UnsafeBufferPointer<UInt8>) -> Bool {
        text = source
        while at < text.count {
            skipSpaces()
            if !isAtEndOfLine, peek != hash {
                guard readLine() else { return false }
            }
            guard endLine() else { return false }
        }
        while !open.isEmpty {
            guard closeLast() else { return false }
        }
        return !nodes.isEmpty
    }

    // MARK: Blocks

    /// Reads the content of a line, from its first character on.
    private mutating func readLine() -> Bool {
        if at == lineStart, startsMarker { return false }
        guard close(for: at - lineStart) else { return false }
        var isFirst = true
        while peek == dash, isBlank(at + 1) {
            guard beginEntry(at - lineStart, isFirst) else { return false }
            isFirst = false
            at += 1
            skipSpaces()
            if isAtEndOfLine || peek == hash { return true }
        }
        let column = at - lineStart
        if isFlowStart { return awaitsValue(at: column) && readFlow() }
        guard let scalar = readScalar(inFlow: false) else { return false }
        skipSpaces()
        guard peek == colon else { return awaitsValue(at: column) && put(scalar) }
        guard isBlank(at + 1), scalar.length <= PlainReader.maxKeyBytes, beginKey(column, isFirst)
        else { return false }
        let key = add(scalar)
        link(key)
        open[open.count - 1].isWaiting = true
        at += 1
        skipSpaces()
        if isAtEndOfLine || peek == hash { return true }
        return readValueOfKey()
    }

    private mutating func readValueOfKey() -> Bool {
        if isFlowStart { return readFlow() }
        if peek == dash, isBlank(at + 1) { return false }
        guard let value = readScalar(inFlow: false) else { return false }
        skipSpaces()
        return peek != colon && put(value)
    }

    /// A value that is not a block: it may only stand deeper than what waits for it.
    private func awaitsValue(at column: Int) -> Bool {
        guard let top = open.last else { return nodes.isEmpty && isFlowStart }
        return top.isWaiting && top.indent < column
    }

    private mutating func beginEntry(_ column: Int, _ isFirst: Bool) -> Bool {
        if let top = open.last, top.indent == column, !top.isMap {
            guard isFirst, !top.isWaiting else { return false }
            open[open.count - 1].isWaiting = true
            return true
        }
        if let top = open.last {
            // A list may stand at the column of the key that it belongs to.
            let isIndented = top.indent < column || (top.indent == column && top.isMap && isFirst)
            guard top.isWaiting, isIndented else { return false }
        }
        guard begin(isMap: false, column) else { return false }
        open[open.count - 1].isWaiting = true
        return true
    }

    private mutating func beginKey(_ column: Int, _ isFirst: Bool) -> Bool {
        guard let top = open.last else { return begin(isMap: true, column) }
        if top.indent == column { return top.isMap && isFirst && !top.isWaiting }
        return top.isWaiting && top.indent < column && begin(isMap: true, column)
    }

    private mutating func begin(isMap: Bool, _ column: Int) -> Bool {
        if open.isEmpty, !nodes.isEmpty { return false }
        if open.count >= PlainReader.maxDepth { return false }
        let node = add(isMap ? .map : .list, column)
        if !open.isEmpty { link(node) }
        open.append(Block(node: node, indent: column, isMap: isMap))
        return true
    }

    /// Ends the blocks that a line at this column is outside of.
    private mutating func close(for column: Int) -> Bool {
        while let top = open.last, top.indent > column {
            guard closeLast() else { return false }
        }
        guard open.count > 1, let top = open.last, top.indent == column, !top.isMap else {
            return true
        }
        let isEntry = peek == dash && isBlank(at + 1)
        return isEntry || open[open.count - 2].indent != column || closeLast()
    }

    private mutating func closeLast() -> Bool {
        guard let top = open.popLast(), !top.isWaiting else { return false }
        return !top.isMap || hasDistinctKeys(top.node)
    }

    private mutating func put(_ scalar: Scalar) -> Bool {
        link(add(scalar))
        return true
    }

    /// Makes a node the next child of the innermost block.
    private mutating func link(_ node: NodeIndex) {
        let top = open.count - 1
        if open[top].last < 0 {
            nodes[Int(open[top].node)].child = node
        } else {
            nodes[Int(open[top].last)].next = node
        }
        open[top].last = node
        open[top].isWaiting = false
    }

    // MARK: Flow

    private mutating func readFlow() -> Bool {
        guard let node = readFlowValue(depth: 0) else { return false }
        if !open.isEmpty { link(node) }
        return true
    }

    private mutating func readFlowValue(depth: Int) -> NodeIndex? {
        if depth >= PlainReader.maxDepth { return nil }
        guard isFlowStart else {
            guard let scalar = readScalar(inFlow: true) else { return nil }
            return add(scalar)
        }
        let isMap = peek == UInt8(ascii: "{")
        let end = isMap ? UInt8(ascii: "}") : UInt8(ascii: "]")
        let node = add(isMap ? .map : .list, at - lineStart)
        at += 1
        var last: NodeIndex = -1
        while true {
            guard skipFlowBlank() else { return nil }
            if peek == end { break }
            if isMap {
                guard let key = readFlowKey(), skipFlowBlank() else { return nil }
                chain(key, after: &last, in: node)
            }
            guard let value = readFlowValue(depth: depth + 1), skipFlowBlank() else { return nil }
            chain(value, after: &last, in: node)
            if peek == UInt8(ascii: ",") {
                at += 1
            } else if peek != end {
                return nil
            }
        }
        at += 1
        if isMap, !hasDistinctKeys(node) { return nil }
        return node
    }

    /// A key and its colon.
    private mutating func readFlowKey() -> NodeIndex? {
        guard let key = readScalar(inFlow: true), key.length <= PlainReader.maxKeyBytes else {
            return nil
        }
        skipSpaces()
        guard peek == colon, !key.isPlain || isBlank(at + 1) else { return nil }
        at += 1
        return add(key)
    }

    private mutating func chain(
        _ node: NodeIndex, after last: inout NodeIndex, in parent: NodeIndex
    ) {
        if last < 0 { nodes[Int(parent)].child = node } else { nodes[Int(last)].next = node }
        last = node
    }

    /// Goes to the next character of content, over ends of lines.
    private mutating func skipFlowBlank() -> Bool {
        skipSpaces()
        while at < text.count, text[at] == newline {
            at += 1
            line += 1
            lineStart = at
            if startsMarker { return false }
            skipSpaces()
        }
        return at < text.count
    }

    // MARK: Scalars

    private mutating func readScalar(inFlow: Bool) -> Scalar? {
        var scalar = Scalar(
            isPlain: false, column: at - lineStart, start: bytes.count, length: 0)
        let isRead: Bool
        switch peek {
        case UInt8(ascii: "\""): isRead = readDoubleQuoted()
        case UInt8(ascii: "'"): isRead = readSingleQuoted()
        default:
            scalar.isPlain = true
            isRead = inFlow ? readPlainInFlow() : readPlain()
        }
        guard isRead else { return nil }
        scalar.length = bytes.count - scalar.start
        return scalar
    }

    /// Up to a colon or a comment, both set off by a blank, or the end of the line.
    private mutating func readPlain() -> Bool {
        guard startsPlain else { return false }
        let start = at
        var end = at
        while at < text.count {
            let byte = text[at]
            if byte == newline || byte == colon && isBlank(at + 1) { break }
            if byte == hash, text[at - 1] == space { break }
            if byte < space || byte > 0x7E { return false }
            at += 1
            if byte != space { end = at }
        }
        bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[start..<end]))
        at = end
        return true
    }

    /// One word.
    private mutating func readPlainInFlow() -> Bool {
        guard startsPlain else { return false }
        let start = at
        scan: while at < text.count {
            switch text[at] {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."),
                UInt8(ascii: "/"), dash, UInt8(ascii: "+"), UInt8(ascii: "*"), UInt8(ascii: "@"):
                at += 1
            default: break scan
            }
        }
        let end = at
        // What follows decides whether the word ends here; it may go on in the next line.
        var next = at
        while next < text.count, text[next] == space || text[next] == newline { next += 1 }
        guard next < text.count else { return false }
        switch text[next] {
        case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"): break
        case colon where isBlank(next + 1): break
        default: return false
        }
        bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[start..<end]))
        return true
    }

    private mutating func readDoubleQuoted() -> Bool {
        at += 1
        var start = at
        while at < text.count {
            let byte = text[at]
            if byte == UInt8(ascii: "\"") {
                bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[start..<at]))
                at += 1
                return true
            }
            if byte < space || byte > 0x7E { return false }
            if byte == UInt8(ascii: "\\") {
                guard at + 1 < text.count else { return false }
                bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[start..<at]))
                switch text[at + 1] {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
                    bytes.append(text[at + 1])
                case UInt8(ascii: "n"): bytes.append(newline)
                case UInt8(ascii: "r"): bytes.append(13)
                case UInt8(ascii: "t"): bytes.append(9)
                default: return false
                }
                at += 2
                start = at
                continue
            }
            at += 1
        }
        return false
    }

    private mutating func readSingleQuoted() -> Bool {
        at += 1
        let quote = UInt8(ascii: "'")
        while at < text.count {
            let byte = text[at]
            if byte < space || byte > 0x7E { return false }
            at += 1
            if byte == quote {
                guard at < text.count, text[at] == quote else { return true }
                at += 1
            }
            bytes.append(byte)
        }
        return false
    }

    // MARK: Characters

    private var peek: UInt8 { at < text.count ? text[at] : 0 }
    private var isAtEndOfLine: Bool { at >= text.count || text[at] == newline }
    private var isFlowStart: Bool { peek == UInt8(ascii: "{") || peek == UInt8(ascii: "[") }

    private mutating func skipSpaces() {
        while at < text.count, text[at] == space { at += 1 }
    }

    /// A blank, or the end of the line or the text.
    private func isBlank(_ index: Int) -> Bool {
        index >= text.count || text[index] == space || text[index] == newline
    }

    /// Begins with "---", "..." or something like them.
    private var startsMarker: Bool {
        guard at + 1 < text.count else { return false }
        return (peek == dash || peek == UInt8(ascii: ".")) && text[at + 1] == peek
    }

    /// What begins a plain scalar beyond doubt.
    private var startsPlain: Bool {
        switch peek {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "/"), UInt8(ascii: "+"), UInt8(ascii: "<"), UInt8(ascii: "("),
            UInt8(ascii: "^"), UInt8(ascii: "~"), UInt8(ascii: "$"):
            true
        case dash:
            at + 1 < text.count && (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[at + 1])
        default: false
        }
    }

    /// Only blanks and a comment may be left.
    private mutating func endLine() -> Bool {
        let end = at
        skipSpaces()
        if peek == hash {
            guard at > end || at == lineStart || text[at - 1] == space else { return false }
            while at < text.count, text[at] != newline {
                if text[at] < space || text[at] > 0x7E { return false }
                at += 1
            }
        }
        if at >= text.count { return true }
        guard text[at] == newline else { return false }
        at += 1
        line += 1
        lineStart = at
        return true
    }

    // MARK: Nodes

    private mutating func add(_ kind: ConfigTree.Kind, _ column: Int) -> NodeIndex {
        nodes.append(
            Node(
                kind: kind, isPlain: false, line: UInt32(truncatingIfNeeded: line),
                column: UInt32(truncatingIfNeeded: column + 1)))
        return NodeIndex(truncatingIfNeeded: nodes.count - 1)
    }

    private mutating func add(_ scalar: Scalar) -> NodeIndex {
        nodes.append(
            Node(
                kind: .scalar, isPlain: scalar.isPlain, line: UInt32(truncatingIfNeeded: line),
                column: UInt32(truncatingIfNeeded: scalar.column + 1),
                start: UInt32(truncatingIfNeeded: scalar.start),
                length: UInt32(truncatingIfNeeded: scalar.length)))
        return NodeIndex(truncatingIfNeeded: nodes.count - 1)
    }

    private func hasDistinctKeys(_ map: NodeIndex) -> Bool {
        var count = 0
        var key = nodes[Int(map)].child
        while key >= 0 {
            count += 1
            // So many keys are few maps; libyaml's reader has a set for them.
            if count > 64 { return false }
            var other = nodes[Int(map)].child
            while other != key {
                if sameText(other, key) { return false }
                other = nodes[Int(nodes[Int(other)].next)].next
            }
            key = nodes[Int(nodes[Int(key)].next)].next
        }
        return true
    }

    private func sameText(_ a: NodeIndex, _ b: NodeIndex) -> Bool {
        let (left, right) = (nodes[Int(a)], nodes[Int(b)])
        guard left.length == right.length else { return false }
        for offset in 0..<Int(left.length)
        where bytes[Int(left.start) + offset] != bytes[Int(right.start) + offset] {
            return false
        }
        return true
    }
}

private let space = UInt8(ascii: " ")
private let newline = UInt8(ascii: "\n")
private let hash = UInt8(ascii: "#")
private let colon = UInt8(ascii: ":")
private let dash = UInt8(ascii: "-")
