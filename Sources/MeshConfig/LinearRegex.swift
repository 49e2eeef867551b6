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
