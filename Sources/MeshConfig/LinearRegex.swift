/// A regular expression in RE2's syntax that is matched in time proportional to the text.
///
/// Patterns come from configuration but the text comes from peers, so a backtracking engine would
/// hand them a lever: some patterns take exponential time on chosen input. This one runs all
/// alternatives side by side (a list of threads over a small program, each place in the program at
/// most once per byte), so the cost is at most text × program.
///
/// Threads are kept in order of preference and the first that finishes wins, as in RE2 and Perl.
/// It works on bytes: `.` and a negated class match one byte, which differs from RE2 only
/// where a pattern counts characters outside ASCII. Unicode classes, look-around and back
/// references are refused, the latter two as in RE2. An instance belongs to one worker, for it
/// keeps its scratch memory between calls.
public final class LinearRegex {
    public struct SyntaxError: Error, Equatable, Sendable {
        public let reason: String
    }

    private enum Instruction {
        case byte(UInt8)
        case set(Int)
        case split(first: Int, second: Int)
        case jump(Int)
        case save(Int)
        case textStart, textEnd, wordBoundary, notWordBoundary
        case match
    }

    /// 256 bits.
    struct ByteSet: Equatable {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

        static func == (left: ByteSet, right: ByteSet) -> Bool { left.words == right.words }

        func contains(_ byte: UInt8) -> Bool {
            let word =
                switch byte >> 6 {
                case 0: words.0
                case 1: words.1
                case 2: words.2
                default: words.3
                }
            return word >> UInt64(byte & 63) & 1 == 1
        }

        mutating func insert(_ byte: UInt8) {
            let bit: UInt64 = 1 << UInt64(byte & 63)
            switch byte >> 6 {
            case 0: words.0 |= bit
            case 1: words.1 |= bit
            case 2: words.2 |= bit
            default: words.3 |= bit
            }
        }

        mutating func insert(_ range: ClosedRange<UInt8>) {
            for byte in range { insert(byte) }
        }

        mutating func formUnion(_ other: ByteSet) {
            words.0 |= other.words.0
            words.1 |= other.words.1
            words.2 |= other.words.2
            words.3 |= other.words.3
        }

        var inverted: ByteSet {
            ByteSet(words: (~words.0, ~words.1, ~words.2, ~words.3))
        }
    }

    private var program: [Instruction] = []
    private var sets: [ByteSet] = []
    /// Capture groups, without the whole match.
    public let groupCount: Int

    private struct ThreadList {
        var places: [Int] = []
        /// `slotCount` capture positions for each thread, in step with `places`.
        var slots: [Int] = []
        /// The step in which a place of the program was last put on this list.
        var seen: [Int]
    }
    private var current: ThreadList
    private var next: ThreadList
    private var step = 0
    private var best: [Int] = []
    /// The captures of the thread that is being followed.
    private var trail: [Int] = []

    /// The largest program that a pattern may become; a counted repetition is written out.
    public static let maxProgram = 10_000

    /// - Throws: `SyntaxError` with what is wrong, for a pattern that is not RE2's, that needs what
    ///   is left out here, or that becomes too large.
    public init(_ pattern: String) throws(SyntaxError) {
        var parser = RegexParser(pattern)
        let tree = try parser.parse()
        groupCount = parser.groups
        current = ThreadList(seen: [])
        next = ThreadList(seen: [])
        var code: [Instruction] = []
        var table: [ByteSet] = []
        try LinearRegex.emit(.group(tree, 0), into: &code, &table)
        code.append(.match)
        program = code
        sets = table
        current.seen = Array(repeating: 0, count: code.count)
        next.seen = current.seen
    }

    /// Whether the whole of `text` matches.
    public func matchesAll(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        run(text, from: 0, anchored: true, wholeText: true, slotCount: 0)
    }

    /// Whether any part of `text` matches.
    public func matchesPart(of text: UnsafeBufferPointer<UInt8>) -> Bool {
        run(text, from: 0, anchored: false, wholeText: false, slotCount: 0)
    }

    /// Replaces every match, as RE2's `GlobalReplace`: in `substitution`, `\0` to `\9` stand for
    /// groups and `\\` for a backslash.
    /// - Returns: `nil` when nothing matched.
    public func replacingAll(
        in text: UnsafeBufferPointer<UInt8>, with substitution: [UInt8]
    ) -> [UInt8]? {
        var result: [UInt8] = []
        var position = 0
        var found = false
        var lastEnd = -1
        while position <= text.count {
            let matched = run(
                text, from: position, anchored: false, wholeText: false,
                slotCount: 2 * (groupCount + 1))
            guard matched else { break }
            let start = best[0]
            let end = best[1]
            if start == end, start == lastEnd {
                // An empty match right behind another is none.
                if position < text.count { result.append(text[position]) }
                position += 1
                continue
            }
            found = true
            result.append(contentsOf: text[position..<start])
            expand(substitution, text, into: &result)
            lastEnd = end
            position = end
            if start == end {
                if end < text.count { result.append(text[end]) }
                position += 1
            }
        }
        guard found else { return nil }
        if position < text.count { result.append(contentsOf: text[position...]) }
        return result
    }

    /// Checks a substitution's references.
    public func accepts(substitution: [UInt8]) -> Bool {
        var index = 0
        while index < substitution.count {
            if substitution[index] == 92 {
                index += 1
                guard index < substitution.count else { return false }
                let byte = substitution[index]
                if byte != 92, byte < 48 || byte > 57 || Int(byte) - 48 > groupCount {
                    return false
                }
            }
            index += 1
        }
        return true
    }

    private func expand(
        _ substitution: [UInt8], _ text: UnsafeBufferPointer<UInt8>, into result: inout [UInt8]
    ) {
        var index = 0
        while index < substitution.count {
            let byte = substitution[index]
            index += 1
            guard byte == 92, index < substitution.count else {
                result.append(byte)
                continue
            }
            let reference = substitution[index]
            index += 1
            if reference == 92 {
                result.append(92)
            } else if reference >= 48, reference <= 57 {
                let group = Int(reference) - 48
                if group <= groupCount, best[2 * group] >= 0, best[2 * group + 1] >= 0 {
                    result.append(contentsOf: text[best[2 * group]..<best[2 * group + 1]])
                }
            }
        }
    }

    // MARK: Running

    private func run(
        _ text: UnsafeBufferPointer<UInt8>, from start: Int, anchored: Bool, wholeText: Bool,
        slotCount: Int
    ) -> Bool {
        current.places.removeAll(keepingCapacity: true)
        current.slots.removeAll(keepingCapacity: true)
        var matched = false
        var position = start
        step += 1
        while true {
            if !matched, !anchored || position == start {
                trail.removeAll(keepingCapacity: true)
                for _ in 0..<slotCount { trail.append(-1) }
                LinearRegex.follow(
                    0, position, text, program, &current, step, &trail, slotCount)
            }
            if current.places.isEmpty {
                if matched || anchored || position == text.count { return matched }
                // An assertion failed here; it may hold further on.
                position += 1
                step += 1
                continue
            }
            next.places.removeAll(keepingCapacity: true)
            next.slots.removeAll(keepingCapacity: true)
            step += 1
            var index = 0
            while index < current.places.count {
                let place = current.places[index]
                let goesOn: Bool
                switch program[place] {
                case .byte(let wanted):
                    goesOn = position < text.count && text[position] == wanted
                case .set(let set):
                    goesOn = position < text.count && sets[set].contains(text[position])
                default:
                    goesOn = false
                    if !wholeText || position == text.count {
                        matched = true
                        if slotCount > 0 {
                            let base = index * slotCount
                            best.removeAll(keepingCapacity: true)
                            best.append(contentsOf: current.slots[base..<base + slotCount])
                        }
                        if wholeText { return true }
                    }
                }
                if goesOn {
                    trail.removeAll(keepingCapacity: true)
                    let base = index * slotCount
                    trail.append(contentsOf: current.slots[base..<base + slotCount])
                    LinearRegex.follow(
                        place + 1, position + 1, text, program, &next, step, &trail, slotCount)
                } else if matched, case .match = program[place] {
                    // Threads behind the one that matched are less preferred.
                    break
                }
                index += 1
            }
            swap(&current, &next)
            if position == text.count { return matched }
            position += 1
        }
    }

    /// Puts all places that are reached from `place` without a byte onto the list.
    private static func follow(
        _ place: Int, _ position: Int, _ text: UnsafeBufferPointer<UInt8>,
        _ program: [Instruction], _ list: inout ThreadList, _ step: Int, _ trail: inout [Int],
        _ slotCount: Int
    ) {
        var place = place
        while true {
            if list.seen[place] == step { return }
            list.seen[place] = step
            switch program[place] {
            case .jump(let target):
                place = target
            case .split(let first, let second):
                follow(first, position, text, program, &list, step, &trail, slotCount)
                place = second
            case .save(let slot):
                guard slot < slotCount else {
                    place += 1
                    continue
                }
                let old = trail[slot]
                trail[slot] = position
                follow(place + 1, position, text, program, &list, step, &trail, slotCount)
                trail[slot] = old
                return
            case .textStart:
                if position != 0 { return }
                place += 1
            case .textEnd:
                if position != text.count { return }
                place += 1
            case .wordBoundary, .notWordBoundary:
                let before = position > 0 && isWord(text[position - 1])
                let after = position < text.count && isWord(text[position])
                if case .wordBoundary = program[place] {
                    if before == after { return }
                } else if before != after {
                    return
                }
                place += 1
            case .byte, .set, .match:
                list.places.append(place)
                list.slots.append(contentsOf: trail)
                return
            }
        }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        byte == 95 || (48...57).contains(byte) || (65...90).contains(byte)
            || (97...122).contains(byte)
    }

    // MARK: Compiling

    private static func emit(
        _ node: RegexNode, into code: inout [Instruction], _ sets: inout [ByteSet]
    ) throws(SyntaxError) {
        if code.count > maxProgram { throw SyntaxError(reason: "the pattern becomes too large") }
        switch node {
        case .empty:
            break
        case .byte(let byte):
            code.append(.byte(byte))
        case .set(let set):
            let index = sets.firstIndex(of: set) ?? sets.count
            if index == sets.count { sets.append(set) }
            code.append(.set(index))
        case .textStart: code.append(.textStart)
        case .textEnd: code.append(.textEnd)
        case .wordBoundary: code.append(.wordBoundary)
        case .notWordBoundary: code.append(.notWordBoundary)
        case .group(let inner, let number):
            code.append(.save(2 * number))
            try emit(inner, into: &code, &sets)
            code.append(.save(2 * number + 1))
        case .sequence(let nodes):
            for node in nodes { try emit(node, into: &code, &sets) }
        case .alternatives(let nodes):
            var exits: [Int] = []
            for (index, node) in nodes.enumerated() {
                if index == nodes.count - 1 {
                    try emit(node, into: &code, &sets)
                } else {
                    let split = code.count
                    code.append(.jump(0))
                    try emit(node, into: &code, &sets)
                    exits.append(code.count)
                    code.append(.jump(0))
                    code[split] = .split(first: split + 1, second: code.count)
                }
            }
            for exit in exits { code[exit] = .jump(code.count) }
        case .repetition(let inner, let least, let most, let greedy):
            for _ in 0..<least { try emit(inner, into: &code, &sets) }
            guard let most else {
                let split = code.count
                code.append(.jump(0))
                try emit(inner, into: &code, &sets)
                code.append(.jump(split))
                code[split] = branch(split + 1, code.count, greedy)
                return
            }
            var splits: [Int] = []
            for _ in least..<most {
                splits.append(code.count)
                code.append(.jump(0))
                try emit(inner, into: &code, &sets)
            }
            for split in splits { code[split] = branch(split + 1, code.count, greedy) }
        }
    }

    private static func branch(_ inside: Int, _ past: Int, _ greedy: Bool) -> Instruction {
        greedy ? .split(first: inside, second: past) : .split(first: past, second: inside)
    }
}

indirect enum RegexNode {
    case empty
    case byte(UInt8)
    case set(LinearRegex.ByteSet)
    case textStart, textEnd, wordBoundary, notWordBoundary
    case group(RegexNode, Int)
    case sequence([RegexNode])
    case alternatives([RegexNode])
    case repetition(RegexNode, least: Int, most: Int?, greedy: Bool)
}

/// Recursive descent over RE2's grammar.
struct RegexParser {
    typealias Problem = LinearRegex.SyntaxError

    private let pattern: [UInt8]
    private var position = 0
    private var depth = 0
    private var ignoreCase = false
    private var dotTakesNewline = false
    private(set) var groups = 0

    init(_ pattern: String) {
        self.pattern = Array(pattern.utf8)
    }

    mutating func parse() throws(Problem) -> RegexNode {
        let node = try alternatives()
        if position < pattern.count { throw Problem(reason: "unmatched ) at \(position)") }
        return node
    }

    private var peek: UInt8? { position < pattern.count ? pattern[position] : nil }

    private mutating func take(_ byte: Character) -> Bool {
        guard let next = peek, next == byte.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func alternatives() throws(Problem) -> RegexNode {
        depth += 1
        defer { depth -= 1 }
        if depth > 100 { throw Problem(reason: "groups are nested too deeply") }
        // Flags set inside a group end with it.
        let outer = (ignoreCase, dotTakesNewline)
        defer { (ignoreCase, dotTakesNewline) = outer }
        var branches = [try sequence()]
        while take("|") { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .alternatives(branches)
    }

    private mutating func sequence() throws(Problem) -> RegexNode {
        var nodes: [RegexNode] = []
        while let next = peek, next != 124, next != 41 {
            guard let atom = try atom() else { continue }
            nodes.append(try repetition(of: atom))
        }
        return nodes.count == 1 ? nodes[0] : (nodes.isEmpty ? .empty : .sequence(nodes))
    }

    private mutating func repetition(of atom: RegexNode) throws(Problem) -> RegexNode {
        var least = 1
        var most: Int? = 1
        if take("*") {
            (least, most) = (0, nil)
        } else if take("+") {
            (least, most) = (1, nil)
        } else if take("?") {
            (least, most) = (0, 1)
        } else if let counts = try counted() {
            (least, most) = counts
        } else {
            return atom
        }
        let greedy = !take("?")
        if let next = peek, next == 42 || next == 43 || next == 63 {
            throw Problem(reason: "bad repetition at \(position)")
        }
        return .repetition(atom, least: least, most: most, greedy: greedy)
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else after "{" is a literal brace, as in RE2.
    private mutating func counted() throws(Problem) -> (Int, Int?)? {
        guard peek == 123 else { return nil }
        let start = position
        position += 1
        guard let least = number() else {
            position = start
            return nil
        }
        var most: Int? = least
        if take(",") {
            most = peek == 125 ? nil : number()
            if most == nil, peek != 125 {
                position = start
                return nil
            }
        }
        guard take("}") else {
            position = start
            return nil
        }
        if least > 1000 || (most ?? 0) > 1000 || least > (most ?? least) {
            throw Problem(reason: "bad repetition count at \(start)")
        }
        return (least, most)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let next = peek, (48...57).contains(next) {
            value = min((value ?? 0) * 10 + Int(next) - 48, 100_000)
            position += 1
        }
        return value
    }

    private mutating func atom() throws(Problem) -> RegexNode? {
        let byte = pattern[position]
        position += 1
        switch byte {
        case 40: return try group()
        case 91: return .set(try bracket())
        case 46:
            var newline = LinearRegex.ByteSet()
            if !dotTakesNewline { newline.insert(10) }
            return .set(newline.inverted)
        case 94: return .textStart
        case 36: return .textEnd
        case 42, 43, 63: throw Problem(reason: "nothing to repeat at \(position - 1)")
        case 92: return try escape()
        default: return literal(byte)
        }
    }

    private func literal(_ byte: UInt8) -> RegexNode {
        guard ignoreCase, (65...90).contains(byte & 0xDF) else { return .byte(byte) }
        var both = LinearRegex.ByteSet()
        both.insert(byte | 0x20)
        both.insert(byte & 0xDF)
        return .set(both)
    }

    private mutating func group() throws(Problem) -> RegexNode? {
        var number: Int?
        if take("?") {
            if take("P") || peek == 60 {
                guard take("<") else { throw Problem(reason: "bad group at \(position)") }
                while let next = peek, next != 62 {
                    guard (48...57).contains(next) || next == 95 || (65...90).contains(next & 0xDF)
                    else { throw Problem(reason: "bad group name at \(position)") }
                    position += 1
                }
                guard take(">") else { throw Problem(reason: "bad group name") }
                groups += 1
                number = groups
            } else {
                let outer = (ignoreCase, dotTakesNewline)
                var value = true
                flags: while true {
                    if take("i") {
                        ignoreCase = value
                    } else if take("s") {
                        dotTakesNewline = value
                    } else if take("-") {
                        value = false
                    } else if take(":") {
                        break flags
                    } else if take(")") {
                        return nil
                    } else {
                        throw Problem(reason: "unsupported group at \(position)")
                    }
                }
                let inner = try alternatives()
                (ignoreCase, dotTakesNewline) = outer
                guard take(")") else { throw Problem(reason: "missing )") }
                return inner
            }
        } else {
            groups += 1
            number = groups
        }
        let inner = try alternatives()
        guard take(")") else { throw Problem(reason: "missing )") }
        return .group(inner, number ?? 0)
    }

    private mutating func escape() throws(Problem) -> RegexNode {
        guard let byte = peek else { throw Problem(reason: "trailing backslash") }
        position += 1
        switch byte {
        case 65: return .textStart
        case 122: return .textEnd
        case 98: return .wordBoundary
        case 66: return .notWordBoundary
        default:
            if let set = perlClass(byte) { return .set(set) }
            return literal(try escapedByte(byte))
        }
    }

    private func perlClass(_ byte: UInt8) -> LinearRegex.ByteSet? {
        var set = LinearRegex.ByteSet()
        switch byte | 0x20 {
        case 100:
            set.insert(48...57)
        case 119:
            set.insert(48...57)
            set.insert(65...90)
            set.insert(97...122)
            set.insert(95)
        case 115:
            for space: UInt8 in [9, 10, 12, 13, 32] { set.insert(space) }
        default:
            return nil
        }
        return byte & 0x20 == 0 ? set.inverted : set
    }

    private mutating func escapedByte(_ byte: UInt8) throws(Problem) -> UInt8 {
        switch byte {
        case 110: return 10
        case 114: return 13
        case 116: return 9
        case 102: return 12
        case 118: return 11
        case 97: return 7
        case 120:
            var value = 0
            for _ in 0..<2 {
                guard let next = peek,
                    let digit = Character(UnicodeScalar(next)).hexDigitValue
                else { throw Problem(reason: "bad \\x escape at \(position)") }
                value = value * 16 + digit
                position += 1
            }
            return UInt8(truncatingIfNeeded: value)
        default:
            let isAlphanumeric = (48...57).contains(byte) || (65...90).contains(byte & 0xDF)
            if isAlphanumeric || byte >= 128 {
                throw Problem(reason: "unsupported escape at \(position - 1)")
            }
            return byte
        }
    }

    private mutating func bracket() throws(Problem) -> LinearRegex.ByteSet {
        var set = LinearRegex.ByteSet()
        let negated = take("^")
        var first = true
        while first || peek != 93 {
            guard let byte = peek else { throw Problem(reason: "missing ]") }
            first = false
            position += 1
            if byte == 91, peek == 58 {
                set.formUnion(try posixClass())
                continue
            }
            var low = byte
            if byte == 92 {
                guard let escaped = peek else { throw Problem(reason: "trailing backslash") }
                position += 1
                if let perl = perlClass(escaped) {
                    set.formUnion(perl)
                    continue
                }
                low = try escapedByte(escaped)
            }
            var high = low
            if peek == 45, position + 1 < pattern.count, pattern[position + 1] != 93 {
                position += 1
                high = pattern[position]
                position += 1
                if high == 92 {
                    guard let escaped = peek else { throw Problem(reason: "trailing backslash") }
                    position += 1
                    high = try escapedByte(escaped)
                }
            }
            guard low <= high else { throw Problem(reason: "bad class range at \(position)") }
            set.insert(low...high)
        }
        position += 1
        if ignoreCase {
            for letter: UInt8 in 97...122 {
                if set.contains(letter) || set.contains(letter & 0xDF) {
                    set.insert(letter)
                    set.insert(letter & 0xDF)
                }
            }
        }
        return negated ? set.inverted : set
    }

    private mutating func posixClass() throws(Problem) -> LinearRegex.ByteSet {
        position += 1
        let negated = take("^")
        var name = ""
        while let next = peek, (97...122).contains(next) {
            name.unicodeScalars.append(UnicodeScalar(next))
            position += 1
        }
        guard take(":"), take("]") else { throw Problem(reason: "bad class at \(position)") }
        var set = LinearRegex.ByteSet()
        let ranges: [ClosedRange<UInt8>]
        switch name {
        case "alpha": ranges = [65...90, 97...122]
        case "digit": ranges = [48...57]
        case "alnum": ranges = [48...57, 65...90, 97...122]
        case "upper": ranges = [65...90]
        case "lower": ranges = [97...122]
        case "space": ranges = [9...13, 32...32]
        case "xdigit": ranges = [48...57, 65...70, 97...102]
        case "word": ranges = [48...57, 65...90, 95...95, 97...122]
        case "punct": ranges = [33...47, 58...64, 91...96, 123...126]
        case "print": ranges = [32...126]
        case "graph": ranges = [33...126]
        case "blank": ranges = [9...9, 32...32]
        case "cntrl": ranges = [0...31, 127...127]
        case "ascii": ranges = [0...127]
        default: throw Problem(reason: "unknown class \(name)")
        }
        for range in ranges { set.insert(range) }
        return negated ? set.inverted : set
    }
}
