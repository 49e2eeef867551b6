// The YAML that configurations are written in, read at several times libyaml's speed.
//
// Start-up with thousands of clusters is mostly reading, and nearly all of such a file is maps, lists and
// scalars on one line, in block or flow form; JSON is the latter. This reader knows these and nothing
// else. At the first thing that it does not know (anchors, tags, block scalars, a scalar that goes on in
// the next line, an empty value, tabs, anything but ASCII) or that is wrong, it gives up, and libyaml
// reads the text from its beginning. So whatever is read here must come out as libyaml has it, to
// the column, and no problem is ever told from here; a test holds both readers to that with thousands of
// mutated texts.
//
// **Fast because** scalars stay where they are in the text, and nodes go one after another into memory that
// is there from the beginning. A quoted scalar with escapes is written out in its own place in a copy.

extension ConfigTree {
    /// The tree of a plain text; `nil` when it is for libyaml.
    init?(plain text: [UInt8]) {
        var isPlain = false
        var unescaped: [UInt8]?
        let nodes = text.withUnsafeBufferPointer { text in
            [Node](unsafeUninitializedCapacity: PlainReader.mostNodes(text.count)) { room, count in
                var reader = PlainReader(text, room)
                isPlain = reader.read()
                count = reader.count
                unescaped = reader.unescapedBytes
            }
        }
        guard isPlain else { return nil }
        self.init(nodes: nodes, bytes: unescaped ?? text)
    }
}

private struct PlainReader: ~Copyable {
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

    private let text: UnsafeBufferPointer<UInt8>
    private let nodes: UnsafeMutableBufferPointer<Node>
    /// Nodes made so far.
    private(set) var count = 0
    /// The text with escapes written out; made at the first one.
    private var unescaped: UnsafeMutableBufferPointer<UInt8>?
    private var at = 0
    private var line = 1
    private var lineStart = 0
    private var open: [Block] = []

    private static let maxDepth = 64
    /// libyaml's limit is 1024 characters.
    private static let maxKeyBytes = 1000

    /// Room for as many nodes as a text has in all likelihood; memory that is not used is not touched.
    static func mostNodes(_ bytes: Int) -> Int { bytes / 5 + 2 * mostAtOnce }

    /// More nodes than are made before `hasRoom` is asked again.
    private static let mostAtOnce = maxDepth + 8
    private var hasRoom: Bool { nodes.count - count > PlainReader.mostAtOnce }

    init(
        _ text: UnsafeBufferPointer<UInt8>, _ nodes: UnsafeMutableBufferPointer<Node>
    ) {
        self.text = text
        self.nodes = nodes
        open.reserveCapacity(PlainReader.maxDepth)
    }

    deinit {
        unescaped?.deallocate()
    }

    var unescapedBytes: [UInt8]? { unescaped.map { Array($0) } }

    mutating func read() -> Bool {
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
        return count > 0
    }

    // MARK: Blocks

    /// Reads the content of a line, from its first character on.
    private mutating func readLine() -> Bool {
        if !hasRoom || at == lineStart && startsMarker { return false }
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
        link(add(scalar))
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
        guard let top = open.last else { return count == 0 && isFlowStart }
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
        if open.isEmpty, count > 0 { return false }
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
        open[top].last = chain(node, after: open[top].last, in: open[top].node)
        open[top].isWaiting = false
    }

    /// - Returns: the node, as the last child so far.
    private func chain(
        _ node: NodeIndex, after last: NodeIndex, in parent: NodeIndex
    ) -> NodeIndex {
        if last < 0 { nodes[Int(parent)].child = node } else { nodes[Int(last)].next = node }
        return node
    }

    // MARK: Flow

    private mutating func readFlow() -> Bool {
        guard let node = readFlowValue(depth: 0) else { return false }
        if !open.isEmpty { link(node) }
        return true
    }

    private mutating func readFlowValue(depth: Int) -> NodeIndex? {
        if depth >= PlainReader.maxDepth || !hasRoom { return nil }
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
                last = chain(key, after: last, in: node)
            }
            guard let value = readFlowValue(depth: depth + 1), skipFlowBlank() else { return nil }
            last = chain(value, after: last, in: node)
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
        let column = at - lineStart
        let range: Range<Int>?
        switch peek {
        case UInt8(ascii: "\""): range = readDoubleQuoted()
        case UInt8(ascii: "'"): range = readSingleQuoted()
        default:
            guard let range = inFlow ? readPlainInFlow() : readPlain() else { return nil }
            return Scalar(
                isPlain: true, column: column, start: range.lowerBound, length: range.count)
        }
        guard let range else { return nil }
        return Scalar(
            isPlain: false, column: column, start: range.lowerBound, length: range.count)
    }

    /// Up to a colon or a comment, both set off by a blank, or the end of the line.
    private mutating func readPlain() -> Range<Int>? {
        guard startsPlain else { return nil }
        let start = at
        var end = at
        var here = at
        while here < text.count {
            let byte = text[here]
            // Most bytes are none of those below, and are seen in one or two comparisons.
            if byte &- 0x24 > 0x5A || byte == colon {
                if byte == newline || byte == colon && isBlank(here + 1) { break }
                if byte == hash, text[here - 1] == space { break }
                if byte < space || byte > 0x7E { return nil }
            }
            here += 1
            if byte != space { end = here }
        }
        at = end
        return start..<end
    }

    /// One word.
    private mutating func readPlainInFlow() -> Range<Int>? {
        guard startsPlain else { return nil }
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
        // What follows decides whether the word ends here; it may go on in the next line.
        var next = at
        while next < text.count, text[next] == space || text[next] == newline { next += 1 }
        guard next < text.count else { return nil }
        switch text[next] {
        case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"): return start..<at
        case colon where isBlank(next + 1): return start..<at
        default: return nil
        }
    }

    private mutating func readDoubleQuoted() -> Range<Int>? {
        let start = at + 1
        var here = start
        /// Where the next byte of the scalar goes, once it has an escape.
        var end: Int?
        while here < text.count {
            var byte = text[here]
            if byte == UInt8(ascii: "\"") {
                at = here + 1
                return start..<(end ?? here)
            }
            if byte < space || byte > 0x7E { return nil }
            here += 1
            if byte == UInt8(ascii: "\\") {
                guard here < text.count else { return nil }
                if end == nil { end = here - 1 }
                switch text[here] {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): byte = text[here]
                case UInt8(ascii: "n"): byte = newline
                case UInt8(ascii: "r"): byte = 13
                case UInt8(ascii: "t"): byte = 9
                default: return nil
                }
                here += 1
            }
            if let place = end {
                writeOut(byte, at: place)
                end = place + 1
            }
        }
        return nil
    }

    private mutating func readSingleQuoted() -> Range<Int>? {
        let quote = UInt8(ascii: "'")
        let start = at + 1
        var here = start
        var end: Int?
        while here < text.count {
            let byte = text[here]
            if byte < space || byte > 0x7E { return nil }
            here += 1
            if byte == quote {
                guard here < text.count, text[here] == quote else {
                    at = here
                    return start..<(end ?? here - 1)
                }
                if end == nil { end = here - 1 }
                here += 1
            }
            if let place = end {
                writeOut(byte, at: place)
                end = place + 1
            }
        }
        return nil
    }

    /// A byte of a scalar that is shorter than what stands for it.
    private mutating func writeOut(_ byte: UInt8, at place: Int) {
        if unescaped == nil {
            let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: text.count)
            _ = copy.initialize(from: text)
            unescaped = copy
        }
        unescaped?[place] = byte
    }

    // MARK: Characters

    private var peek: UInt8 { at < text.count ? text[at] : 0 }
    private var isAtEndOfLine: Bool { at >= text.count || text[at] == newline }
    private var isFlowStart: Bool { peek == UInt8(ascii: "{") || peek == UInt8(ascii: "[") }

    private mutating func skipSpaces() {
        guard let base = UnsafeRawPointer(text.baseAddress) else { return }
        var here = at
        // Indentation is a good part of a text: eight at a time.
        while here + 8 <= text.count,
            base.loadUnaligned(fromByteOffset: here, as: UInt64.self) == 0x2020_2020_2020_2020
        {
            here += 8
        }
        while here < text.count, text[here] == space { here += 1 }
        at = here
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
        add(
            Node(
                kind: kind, isPlain: false, line: UInt32(truncatingIfNeeded: line),
                column: UInt32(truncatingIfNeeded: column + 1)))
    }

    private mutating func add(_ scalar: Scalar) -> NodeIndex {
        add(
            Node(
                kind: .scalar, isPlain: scalar.isPlain, line: UInt32(truncatingIfNeeded: line),
                column: UInt32(truncatingIfNeeded: scalar.column + 1),
                start: UInt32(truncatingIfNeeded: scalar.start),
                length: UInt32(truncatingIfNeeded: scalar.length)))
    }

    private mutating func add(_ node: Node) -> NodeIndex {
        nodes.initializeElement(at: count, to: node)
        count += 1
        return NodeIndex(truncatingIfNeeded: count - 1)
    }

    private func hasDistinctKeys(_ map: NodeIndex) -> Bool {
        var seen = 0
        var key = nodes[Int(map)].child
        while key >= 0 {
            seen += 1
            // So many keys are few maps; libyaml's reader has a set for them.
            if seen > 64 { return false }
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
        let length = Int(nodes[Int(a)].length)
        guard length == Int(nodes[Int(b)].length) else { return false }
        let bytes = unescaped.map { UnsafeBufferPointer($0) } ?? text
        let (left, right) = (Int(nodes[Int(a)].start), Int(nodes[Int(b)].start))
        for offset in 0..<length where bytes[left + offset] != bytes[right + offset] {
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
