/// A `StringMatcher` compiled for one worker: compares bytes, and allocates nothing.
public enum TextTest {
    case exact([UInt8])
    case prefix([UInt8])
    case suffix([UInt8])
    case contains([UInt8])
    case exactIgnoringCase([UInt8])
    case prefixIgnoringCase([UInt8])
    case suffixIgnoringCase([UInt8])
    case containsIgnoringCase([UInt8])
    case regex(LinearRegex)

    public init(_ matcher: StringMatcher) throws(LinearRegex.SyntaxError) {
        switch (matcher.pattern, matcher.ignoreCase) {
        case (.exact(let text), false): self = .exact(Array(text.utf8))
        case (.exact(let text), true): self = .exactIgnoringCase(Array(text.utf8))
        case (.prefix(let text), false): self = .prefix(Array(text.utf8))
        case (.prefix(let text), true): self = .prefixIgnoringCase(Array(text.utf8))
        case (.suffix(let text), false): self = .suffix(Array(text.utf8))
        case (.suffix(let text), true): self = .suffixIgnoringCase(Array(text.utf8))
        case (.contains(let text), false): self = .contains(Array(text.utf8))
        case (.contains(let text), true): self = .containsIgnoringCase(Array(text.utf8))
        case (.regex(let pattern), _): self = .regex(try LinearRegex(pattern))
        }
    }

    public func matches(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        switch self {
        case .exact(let wanted):
            return text.count == wanted.count && equal(text, at: 0, wanted, ignoringCase: false)
        case .prefix(let wanted):
            return equal(text, at: 0, wanted, ignoringCase: false)
        case .suffix(let wanted):
            return equal(text, at: text.count - wanted.count, wanted, ignoringCase: false)
        case .contains(let wanted):
            return found(wanted, in: text, ignoringCase: false)
        case .exactIgnoringCase(let wanted):
            return text.count == wanted.count && equal(text, at: 0, wanted, ignoringCase: true)
        case .prefixIgnoringCase(let wanted):
            return equal(text, at: 0, wanted, ignoringCase: true)
        case .suffixIgnoringCase(let wanted):
            return equal(text, at: text.count - wanted.count, wanted, ignoringCase: true)
        case .containsIgnoringCase(let wanted):
            return found(wanted, in: text, ignoringCase: true)
        case .regex(let regex):
            return regex.matchesAll(text)
        }
    }
}

/// Whether `wanted` stands in `text` at `offset`; `false` when it would not fit.
func equal(
    _ text: UnsafeBufferPointer<UInt8>, at offset: Int, _ wanted: [UInt8], ignoringCase: Bool
) -> Bool {
    guard offset >= 0, text.count - offset >= wanted.count else { return false }
    for index in 0..<wanted.count {
        let a = text[offset + index]
        let b = wanted[index]
        if a == b { continue }
        guard ignoringCase, asciiLowercase(a) == asciiLowercase(b) else { return false }
    }
    return true
}

func asciiLowercase(_ byte: UInt8) -> UInt8 {
    byte &- 65 < 26 ? byte | 0x20 : byte
}

private func found(
    _ wanted: [UInt8], in text: UnsafeBufferPointer<UInt8>, ignoringCase: Bool
) -> Bool {
    var offset = 0
    while text.count - offset >= wanted.count {
        if equal(text, at: offset, wanted, ignoringCase: ignoringCase) { return true }
        offset += 1
    }
    return false
}
