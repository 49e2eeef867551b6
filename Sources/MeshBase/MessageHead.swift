/// The head of a request or response, or a block of trailers: the one form that both codecs,
/// the router, the filters and the log speak.
///
/// All names and values lie in one byte array, in the order in which they came; a field is a
/// token and four numbers. So a head costs two allocations, copying it costs none, and neither
/// a name nor a value becomes a `String` on the way through. HTTP/1's request line and HTTP/2's
/// pseudo-headers are the same fields here; `host` becomes `authority` when it is parsed.
public struct MessageHead: Sendable {
    public struct Field: Sendable {
        public var name: HeaderName
        var nameStart: UInt32
        var nameCount: UInt32
        var valueStart: UInt32
        var valueCount: UInt32
    }

    private var bytes: [UInt8] = []
    public private(set) var fields: [Field] = []

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

    public mutating func reserve(fields fieldCount: Int, bytes byteCount: Int) {
        fields.reserveCapacity(fieldCount)
        bytes.reserveCapacity(byteCount)
    }

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
        let nameStart = bytes.count
        bytes.append(contentsOf: name)
        bytes.append(contentsOf: value)
        fields.append(
            Field(
                name: token, nameStart: UInt32(nameStart), nameCount: UInt32(name.count),
                valueStart: UInt32(nameStart + name.count), valueCount: UInt32(value.count)))
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
        fields[index].valueStart = UInt32(bytes.count)
        fields[index].valueCount = UInt32(value.count)
        bytes.append(contentsOf: value)
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
        if firstIndex(of: name) != nil { fields.removeAll { $0.name == name } }
    }

    /// Removes all fields of that name, compared without regard to case.
    public mutating func remove(_ name: String) {
        var name = name
        name.withUTF8 { wanted in
            var index = fields.count - 1
            while index >= 0 {
                if isNamed(fields[index], wanted) { fields.remove(at: index) }
                index -= 1
            }
        }
    }

    public mutating func remove(at index: Int) {
        fields.remove(at: index)
    }

    // MARK: Looking

    public func firstIndex(of name: HeaderName) -> Int? {
        for index in fields.indices where fields[index].name == name { return index }
        return nil
    }

    public func contains(_ name: HeaderName) -> Bool { firstIndex(of: name) != nil }

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
            body(
                UnsafeBufferPointer(
                    rebasing: all[Int(field.nameStart)..<Int(field.nameStart + field.nameCount)]),
                UnsafeBufferPointer(
                    rebasing: all[
                        Int(field.valueStart)..<Int(field.valueStart + field.valueCount)]))
        }
    }

    /// Every field in order: token, name as it came, value.
    public func forEach(
        _ body: (HeaderName, UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<UInt8>) -> Void
    ) {
        bytes.withUnsafeBufferPointer { all in
            for field in fields {
                body(
                    field.name,
                    UnsafeBufferPointer(
                        rebasing: all[
                            Int(field.nameStart)..<Int(field.nameStart + field.nameCount)]),
                    UnsafeBufferPointer(
                        rebasing: all[
                            Int(field.valueStart)..<Int(field.valueStart + field.valueCount)]))
            }
        }
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
        fields.reduce(0) { $0 + Int($1.nameCount + $1.valueCount) + 4 }
    }

    private func isNamed(_ field: Field, _ wanted: UnsafeBufferPointer<UInt8>) -> Bool {
        guard Int(field.nameCount) == wanted.count, let text = wanted.baseAddress else {
            return false
        }
        return withField(field) { name, _ in
            asciiEqualIgnoringCase(name.baseAddress!, text, count: wanted.count)
        }
    }
}
