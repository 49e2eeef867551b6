/// The head of a request or response, or a block of trailers: the one form that both codecs,
/// the router, the filters and the log speak.
///
/// All fields lie in one byte array as HTTP/1 would write them, "name: value CR LF", in the order
/// in which they came; a field is a token and three numbers. So a head costs two allocations,
/// copying it costs none, neither a name nor a value becomes a `String` on the way through, and a
/// run of fields that goes out as it came is one copy. HTTP/1's request line and HTTP/2's
/// pseudo-headers are the same fields here; `host` becomes `authority` when it is parsed.
public struct MessageHead: Sendable {
    public struct Field: Sendable {
        public var name: HeaderName
        /// Its sender asked that no table on the way may remember it (RFC 7541 §7.1.3).
        public var isSensitive = false
        var start: UInt32
        var nameBytes: UInt32
        var valueBytes: UInt32

        /// For codecs that write the lines themselves.
        @inline(__always)
        public init(
            name: HeaderName, lineStart: Int, nameCount: Int, valueCount: Int,
            isSensitive: Bool = false
        ) {
            self.name = name
            self.isSensitive = isSensitive
            start = UInt32(truncatingIfNeeded: lineStart)
            nameBytes = UInt32(truncatingIfNeeded: nameCount)
            valueBytes = UInt32(truncatingIfNeeded: valueCount)
        }

        /// Where the field's line begins in the bytes of the head, and so its name.
        public var lineStart: Int { Int(start) }
        /// Of the line with its end.
        public var lineCount: Int { Int(nameBytes) &+ Int(valueBytes) &+ 4 }
        public var nameCount: Int { Int(nameBytes) }
        public var valueStart: Int { Int(start) &+ Int(nameBytes) &+ 2 }
        public var valueCount: Int { Int(valueBytes) }
    }

    private var bytes: [UInt8] = []
    public private(set) var fields: [Field] = []
    /// A bit for each token of which there is a field: most questions are for what isn't there.
    private var present: UInt64 = 0
    /// The characters of lines that begin before this were looked at by a codec: names are tokens, and
    /// no value can end its line.
    private var checkedBytes: UInt32 = 0

    /// Response status, 0 in a request or in trailers.
    public var status: Int = 0
    /// What the other side spoke: 10, 11 or 20.
    public var httpVersion: UInt8 = 11

    public init() {}

    /// A request head with its pseudo-headers.
    public init(
        method: StaticString, scheme: StaticString, authority: String, path: String
    ) {
        append(.method, method)
        append(.scheme, scheme)
        append(.authority, authority)
        append(.path, path)
    }

    public init(status: Int) {
        self.status = status
    }

    /// A head whose lines a codec has written and checked: "name: value CR LF" each. There is room
    /// for the few fields that a proxy adds.
    public init(lines: UnsafeBufferPointer<UInt8>, fields given: UnsafeBufferPointer<Field>) {
        bytes.reserveCapacity(lines.count + 224)
        bytes.append(contentsOf: lines)
        fields.reserveCapacity(given.count + 6)
        fields.append(contentsOf: given)
        for field in given { present |= 1 << UInt64(field.name.rawValue) }
        checkedBytes = UInt32(truncatingIfNeeded: lines.count)
    }

    /// Whether a codec has looked at this field's characters.
    @inline(__always)
    public func isChecked(_ field: Field) -> Bool { field.start < checkedBytes }

    // MARK: Adding

    /// Appends a field; the name keeps its case, its token is looked up.
    public mutating func append(
        name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>
    ) {
        append(token: HeaderName(name), name: name, value: value)
    }

    /// Appends a field whose token is known already.
    public mutating func append(
        token: HeaderName, name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>
    ) {
        let start = appendLine(name, value)
        present |= 1 << UInt64(token.rawValue)
        fields.append(
            Field(
                name: token, lineStart: Int(start), nameCount: name.count,
                valueCount: value.count))
    }

    /// - Returns: where the line begins.
    private mutating func appendLine(
        _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) -> UInt32 {
        let start = UInt32(bytes.count)
        let count = name.count + value.count + 4
        bytes.append(addingCapacity: count) { (free: inout OutputSpan<UInt8>) in
            free.withUnsafeMutableBufferPointer { buffer, used in
                var line = buffer.baseAddress! + used
                if let text = name.baseAddress { line.update(from: text, count: name.count) }
                line += name.count
                line[0] = 0x3A
                line[1] = 0x20
                line += 2
                if let text = value.baseAddress { line.update(from: text, count: value.count) }
                line += value.count
                line[0] = 0x0D
                line[1] = 0x0A
                used += count
            }
        }
        return start
    }

    public mutating func append(_ name: HeaderName, _ value: UnsafeBufferPointer<UInt8>) {
        precondition(name != .other)
        let text = name.text
        append(
            token: name,
            name: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount),
            value: value)
    }

    public mutating func append(_ name: HeaderName, _ value: StaticString) {
        append(
            name,
            UnsafeBufferPointer(start: value.utf8Start, count: value.utf8CodeUnitCount))
    }

    @_disfavoredOverload
    public mutating func append(_ name: HeaderName, _ value: String) {
        var value = value
        value.withUTF8 { append(name, $0) }
    }

    public mutating func append(_ name: String, _ value: String) {
        var name = name
        var value = value
        name.withUTF8 { name in value.withUTF8 { append(name: name, value: $0) } }
    }

    // MARK: Changing

    /// Replaces the first field of that name, or appends one; further ones of the name go.
    public mutating func set(_ name: HeaderName, _ value: UnsafeBufferPointer<UInt8>) {
        guard let index = firstIndex(of: name) else {
            append(name, value)
            return
        }
        let text = name.text
        fields[index].start = appendLine(
            UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount), value)
        fields[index].nameBytes = UInt32(text.utf8CodeUnitCount)
        fields[index].valueBytes = UInt32(value.count)
        var later = fields.count - 1
        while later > index {
            if fields[later].name == name { fields.remove(at: later) }
            later -= 1
        }
    }

    public mutating func set(_ name: HeaderName, _ value: String) {
        var value = value
        value.withUTF8 { set(name, $0) }
    }

    /// Replaces or appends by a name in lower case that may have no token.
    public mutating func set(_ name: String, _ value: String) {
        remove(name)
        append(name, value)
    }

    public mutating func remove(_ name: HeaderName) {
        if !contains(name) { return }
        fields.removeAll { $0.name == name }
        present &= ~(1 << UInt64(name.rawValue))
    }

    public mutating func removeAll(of names: HeaderNameSet) {
        if !containsAny(of: names) { return }
        fields.removeAll { names.bits & 1 << UInt64($0.name.rawValue) != 0 }
        present &= ~names.bits
    }

    /// Removes all fields of that name, compared without regard to case.
    public mutating func remove(_ name: String) {
        var name = name
        name.withUTF8 { wanted in
            var index = fields.count - 1
            while index >= 0 {
                if isNamed(fields[index], wanted) { remove(at: index) }
                index -= 1
            }
        }
    }

    public mutating func remove(at index: Int) {
        let name = fields.remove(at: index).name
        if !fields.contains(where: { $0.name == name }) {
            present &= ~(1 << UInt64(name.rawValue))
        }
    }

    // MARK: Looking

    public func firstIndex(of name: HeaderName) -> Int? {
        if !contains(name) { return nil }
        for index in fields.indices where fields[index].name == name { return index }
        return nil
    }

    public func contains(_ name: HeaderName) -> Bool {
        present & 1 << UInt64(name.rawValue) != 0
    }

    /// Whether there is a field of any of these names; one comparison.
    public func containsAny(of names: HeaderNameSet) -> Bool {
        present & names.bits != 0
    }

    /// The bytes in which the fields lie, valid during the call.
    public func withBytes<R>(_ body: (UnsafeBufferPointer<UInt8>) -> R) -> R {
        bytes.withUnsafeBufferPointer(body)
    }

    /// The value of the first field of that name, valid during the call.
    public func withValue<R>(
        _ name: HeaderName, _ body: (UnsafeBufferPointer<UInt8>) -> R
    ) -> R? {
        guard let index = firstIndex(of: name) else { return nil }
        return withField(fields[index]) { body($1) }
    }

    /// A field's name and value, valid during the call.
    public func withField<R>(
        _ field: Field, _ body: (UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<UInt8>) -> R
    ) -> R {
        bytes.withUnsafeBufferPointer { all in
            body(MessageHead.name(of: field, in: all), MessageHead.value(of: field, in: all))
        }
    }

    /// Every field in order: token, name as it came, value.
    public func forEach(
        _ body: (HeaderName, UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<UInt8>) -> Void
    ) {
        bytes.withUnsafeBufferPointer { all in
            for field in fields {
                body(
                    field.name, MessageHead.name(of: field, in: all),
                    MessageHead.value(of: field, in: all))
            }
        }
    }

    /// A field's name in the bytes of its head.
    public static func name(
        of field: Field, in bytes: UnsafeBufferPointer<UInt8>
    ) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(rebasing: bytes[field.lineStart..<field.lineStart + field.nameCount])
    }

    /// A field's value in the bytes of its head.
    public static func value(
        of field: Field, in bytes: UnsafeBufferPointer<UInt8>
    ) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(rebasing: bytes[field.valueStart..<field.valueStart + field.valueCount])
    }

    /// The first value of a known name as a `String`: for logs, tests and configuration only.
    public func string(_ name: HeaderName) -> String? {
        withValue(name) { String(decoding: $0, as: UTF8.self) }
    }

    /// The first value of any name, without regard to case, as a `String`.
    public func string(_ name: String) -> String? {
        strings(name).first
    }

    /// All values of a name, in order.
    public func strings(_ name: String) -> [String] {
        var name = name
        return name.withUTF8 { wanted in
            fields.filter { isNamed($0, wanted) }.map { field in
                withField(field) { String(decoding: $1, as: UTF8.self) }
            }
        }
    }

    /// Whether the first value of `name` is exactly `text`.
    public func value(_ name: HeaderName, equals text: StaticString) -> Bool {
        withValue(name) { value in
            value.count == text.utf8CodeUnitCount
                && value.elementsEqual(
                    UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
        } ?? false
    }

    /// Bytes that the head would take on HTTP/1: names, values and four for each field.
    public var byteCount: Int {
        fields.reduce(0) { $0 + $1.lineCount }
    }

    private func isNamed(_ field: Field, _ wanted: UnsafeBufferPointer<UInt8>) -> Bool {
        guard field.nameCount == wanted.count, let text = wanted.baseAddress else {
            return false
        }
        return withField(field) { name, _ in
            asciiEqualIgnoringCase(name.baseAddress!, text, count: wanted.count)
        }
    }
}
