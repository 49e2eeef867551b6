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
