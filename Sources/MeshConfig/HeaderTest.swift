public import MeshBase

/// A `HeaderMatcher` compiled for one worker: tests a head as Envoy does.
public struct HeaderTest {
    private enum Test {
        case text(TextTest)
        case range(Range<Int64>)
        case present(Bool)
    }

    /// In lower case.
    let name: [UInt8]
    private let token: HeaderName
    private let test: Test
    private let inverted: Bool
    private let treatMissingAsEmpty: Bool

    public init(_ matcher: HeaderMatcher) throws(LinearRegex.SyntaxError) {
        name = matcher.name.utf8.map(asciiLowercase)
        token = HeaderChangeList.token(of: matcher.name)
        inverted = matcher.inverted
        treatMissingAsEmpty = matcher.treatMissingAsEmpty
        switch matcher.test {
        case .string(let matcher): test = .text(try TextTest(matcher))
        case .range(let range): test = .range(range)
        case .present(let present): test = .present(present)
        }
    }

    /// Several fields of the name are tested as one value, joined by commas.
    public func passes(_ head: borrowing MessageHead) -> Bool {
        var count = 0
        var first = 0
        for (index, field) in head.fields.enumerated() where isNamed(field, head) {
            if count == 0 { first = index }
            count += 1
        }
        if case .present(let wanted) = test {
            return ((count > 0 || treatMissingAsEmpty) == wanted) != inverted
        }
        let passed: Bool
        if count == 0 {
            // A value that isn't there passes no test of it, not even an inverted one.
            guard treatMissingAsEmpty else { return false }
            passed = value(UnsafeBufferPointer(start: nil, count: 0), passes: test)
        } else if count == 1 {
            passed = head.withField(head.fields[first]) { value($1, passes: test) }
        } else {
            var joined: [UInt8] = []
            for (index, field) in head.fields.enumerated() where isNamed(field, head) {
                if index > first { joined.append(44) }
                head.withField(field) { joined.append(contentsOf: $1) }
            }
            passed = joined.withUnsafeBufferPointer { value($0, passes: test) }
        }
        return passed != inverted
    }

    private func isNamed(_ field: MessageHead.Field, _ head: borrowing MessageHead) -> Bool {
        if token != .other { return field.name == token }
        return field.name == .other
            && head.withField(field) { text, _ in
                text.count == name.count && equal(text, at: 0, name, ignoringCase: true)
            }
    }

    private func value(_ value: UnsafeBufferPointer<UInt8>, passes test: Test) -> Bool {
        switch test {
        case .text(let test): return test.matches(value)
        case .range(let range): return HeaderTest.decimal(value).map(range.contains) ?? false
        case .present(let wanted): return wanted
        }
    }

    /// A whole decimal number with an optional sign.
    private static func decimal(_ text: UnsafeBufferPointer<UInt8>) -> Int64? {
        guard let sign = text.first, text.count <= 20 else { return nil }
        let isSigned = sign == 45 || sign == 43
        if isSigned, text.count == 1 { return nil }
        var value: Int64 = 0
        for byte in text.dropFirst(isSigned ? 1 : 0) {
            guard (48...57).contains(byte) else { return nil }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = scaled.subtractingReportingOverflow(Int64(byte) - 48)
            if overflow || carry { return nil }
            value = sum
        }
        // Digits were subtracted, for there is one more negative number than positive ones.
        if sign == 45 { return value }
        return value == .min ? nil : -value
    }
}
