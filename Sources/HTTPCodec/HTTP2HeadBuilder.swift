internal import MeshBase

/// A head while its block is read (RFC 9113 §8.2, §8.3): collects its lines and judges each field.
///
/// The characters of a field are looked at where it comes as a literal. A field that is named by
/// index was looked at when it went into the table, so most fields of most heads are one copy.
struct HTTP2HeadBuilder {
    enum Fault {
        case tooLarge, malformed
    }
    enum Kind {
        case request, response, trailers
    }
    /// A literal whose line is written and that is not part of the head yet.
    struct Literal {
        var start: UInt32
        var nameCount: Int
        var valueCount: Int
        var name: HeaderName
        var isFaulty: Bool
        var isSensitive: Bool
    }

    let workspace: HeadWorkspace
    private let kind: Kind
    private let maxBytes: Int
    private let maxFields: Int
    private(set) var fault: Fault?
    private var present: UInt64 = 0
    private var byteCount = 0
    private var sawRegular = false
    private var cookies = 0
    private var hosts = 0
    private(set) var status = 0
    /// What the head says of the body's length; -1: nothing.
    private(set) var contentLength = -1

    private var lineStart = 0
    private var nameCount = 0
    private var isNameFaulty = false

    init(_ kind: Kind, _ workspace: HeadWorkspace, _ limits: HTTPLimits) {
        self.kind = kind
        self.workspace = workspace
        maxBytes = limits.maxHeaderBytes
        maxFields = limits.maxHeaderCount
        workspace.begin()
    }

    // MARK: Fields by index

    /// Adds a field that lies in a table.
    @inline(__always)
    mutating func add(
        line: UnsafePointer<UInt8>, _ nameCount: Int, _ valueCount: Int, _ name: HeaderName,
        isFaulty: Bool
    ) {
        if fault != nil { return }
        let count = nameCount &+ valueCount &+ 4
        workspace.reserve(count)
        let start = workspace.used
        (workspace.lines + start).update(from: line, count: count)
        workspace.used = start &+ count
        add(
            Literal(
                start: UInt32(truncatingIfNeeded: start), nameCount: nameCount,
                valueCount: valueCount, name: name, isFaulty: isFaulty, isSensitive: false))
    }

    // MARK: Literals

    mutating func beginField() {
        // What was refused is not kept; it was only needed for the table.
        if fault != nil { workspace.used = 0 }
        lineStart = workspace.used
        isNameFaulty = false
    }

    /// The name was written out and lies behind the lines.
    mutating func endName(_ count: Int) -> HeaderName {
        let name = UnsafeBufferPointer(start: workspace.lines + lineStart, count: count)
        nameCount = count
        let token = HeaderName(name)
        isNameFaulty = token == .other && !HTTP2HeadBuilder.isRegularName(name)
        if token != .other { isNameFaulty = !HTTP2HeadBuilder.isLowercase(name) }
        separate()
        return token
    }

    @inline(__always)
    mutating func copyName(_ name: UnsafePointer<UInt8>, _ count: Int) {
        workspace.reserve(count)
        (workspace.lines + lineStart).update(from: name, count: count)
        workspace.used = lineStart + count
        nameCount = count
        separate()
    }

    private mutating func separate() {
        workspace.reserve(2)
        workspace.lines[workspace.used] = 0x3A
        workspace.lines[workspace.used + 1] = 0x20
        workspace.used += 2
    }

    /// The value lies behind the name: ends the line and looks at it.
    mutating func endField(_ name: HeaderName, valueCount: Int, isSensitive: Bool) -> Literal {
        workspace.reserve(2)
        workspace.lines[workspace.used] = 0x0D
        workspace.lines[workspace.used + 1] = 0x0A
        workspace.used += 2
        let value = UnsafeBufferPointer(
            start: workspace.lines + lineStart + nameCount + 2, count: valueCount)
        return Literal(
            start: UInt32(truncatingIfNeeded: lineStart), nameCount: nameCount,
            valueCount: valueCount, name: name,
            isFaulty: isNameFaulty || !HTTP2HeadBuilder.isGood(value, of: name),
            isSensitive: isSensitive)
    }

    private static func isRegularName(_ name: UnsafeBufferPointer<UInt8>) -> Bool {
        if name.isEmpty { return false }
        for byte in name where !ByteClass.isToken(byte) || (byte >= 0x41 && byte <= 0x5A) {
            return false
        }
        return true
    }

    private static func isLowercase(_ name: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in name where byte >= 0x41 && byte <= 0x5A { return false }
        return true
    }

    private static func isGood(_ value: UnsafeBufferPointer<UInt8>, of name: HeaderName) -> Bool {
        switch name {
        case .method: return !value.isEmpty && ByteClass.all(value, ByteClass.isToken)
        case .path: return !value.isEmpty && ByteClass.all(value, ByteClass.isTarget)
        case .authority, .host: return ByteClass.all(value, ByteClass.isAuthority)
        case .scheme: return isScheme(value)
        case .status:
            return value.count == 3 && value[0] != 0x30
                && value.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
        default:
            guard let first = value.first, let last = value.last else { return true }
            // RFC 9113 §8.2.1: no blank at either end.
            if first == 0x20 || first == 9 || last == 0x20 || last == 9 { return false }
            return ByteClass.isValue(value)
        }
    }

    /// RFC 3986 §3.1.
    private static func isScheme(_ value: UnsafeBufferPointer<UInt8>) -> Bool {
        for (index, byte) in value.enumerated() {
            let isLetter = byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A
            let isOther = (byte >= 0x30 && byte <= 0x39) || byte == 0x2B || byte == 0x2D
            if !isLetter, index == 0 || !(isOther || byte == 0x2E) { return false }
        }
        return !value.isEmpty
    }

    // MARK: The head

    /// Adds the field whose line was written last.
    @inline(__always)
    mutating func add(_ field: Literal) {
        if fault != nil { return }
        byteCount &+= field.nameCount &+ field.valueCount &+ 4
        if byteCount > maxBytes || workspace.fieldCount >= maxFields {
            fault = .tooLarge
            return
        }
        if field.isFaulty || !isWelcome(field) {
            fault = .malformed
            return
        }
        if field.name == .status { return }
        present |= 1 << UInt64(field.name.rawValue)
        workspace.append(
            MessageHead.Field(
                name: field.name, lineStart: Int(field.start), nameCount: field.nameCount,
                valueCount: field.valueCount, isSensitive: field.isSensitive))
    }

    /// What a field means for the message, beyond its characters.
    @inline(__always)
    private mutating func isWelcome(_ field: Literal) -> Bool {
        if field.name.rawValue <= HeaderName.status.rawValue { return isWelcomePseudo(field) }
        sawRegular = true
        switch field.name {
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade,
            .http2Settings:
            return false
        case .te, .contentLength, .host, .cookie:
            return isWelcomeSpecial(field)
        default:
            return true
        }
    }

    private mutating func isWelcomePseudo(_ field: Literal) -> Bool {
        let bit: UInt64 = 1 << UInt64(field.name.rawValue)
        if sawRegular || present & bit != 0 { return false }
        if field.name == .status {
            if kind != .response { return false }
            present |= bit
            let digits = value(field)
            status = digits.reduce(0) { $0 * 10 + Int($1 & 15) }
            return true
        }
        return kind == .request
    }

    private mutating func isWelcomeSpecial(_ field: Literal) -> Bool {
        let value = value(field)
        switch field.name {
        case .te:
            let trailers: StaticString = "trailers"
            return value.count == trailers.utf8CodeUnitCount
                && asciiEqualIgnoringCase(
                    value.baseAddress!, trailers.utf8Start, count: value.count)
        case .contentLength:
            if contentLength >= 0 || value.isEmpty || value.count > 18 { return false }
            var length = 0
            for byte in value {
                if byte < 0x30 || byte > 0x39 { return false }
                length = length * 10 + Int(byte - 0x30)
            }
            contentLength = length
            return true
        case .host:
            hosts += 1
            return hosts == 1
        default:
            cookies += 1
            return true
        }
    }

    private func value(_ field: Literal) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(
            start: workspace.lines + Int(field.start) + field.nameCount + 2,
            count: field.valueCount)
    }

    private func has(_ name: HeaderName) -> Bool { present & 1 << UInt64(name.rawValue) != 0 }

    /// The whole head, or `nil` with `fault` set.
    mutating func finish() -> MessageHead? {
        if fault != nil { return nil }
        let isComplete =
            switch kind {
            case .request: isRequestComplete
            case .response: status != 0 && status != 101
            case .trailers: true
            }
        if !isComplete {
            fault = .malformed
            return nil
        }
        var head = workspace.head()
        head.httpVersion = 20
        head.status = status
        if cookies > 1 { HTTP2HeadBuilder.joinCookies(&head) }
        if hosts > 0, kind == .request, !HTTP2HeadBuilder.mergeHost(&head) {
            fault = .malformed
            return nil
        }
        return head
    }

    /// RFC 9113 §8.3.1 and, for CONNECT, §8.5.
    private var isRequestComplete: Bool {
        guard has(.method) else { return false }
        var method = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
        var path = method
        var scheme = method
        for index in 0..<workspace.fieldCount {
            let field = workspace.fields[index]
            if !field.name.isPseudo { break }
            let value = UnsafeBufferPointer(
                start: workspace.lines + field.valueStart, count: field.valueCount)
            switch field.name {
            case .method: method = value
            case .path: path = value
            case .scheme: scheme = value
            default: break
            }
        }
        if HTTP2HeadBuilder.isEqual(method, "CONNECT") {
            return !has(.scheme) && !has(.path) && has(.authority)
        }
        guard has(.scheme), has(.path), has(.authority) || has(.host) else { return false }
        guard scheme.count >= 4, scheme.count <= 5, let first = path.first else { return true }
        guard HTTP2HeadBuilder.isEqual(scheme, "http") || HTTP2HeadBuilder.isEqual(scheme, "https")
        else { return true }
        return first == 0x2F
            || (path.count == 1 && first == 0x2A && HTTP2HeadBuilder.isEqual(method, "OPTIONS"))
    }

    private static func isEqual(
        _ bytes: UnsafeBufferPointer<UInt8>, _ text: StaticString
    ) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount, let base = bytes.baseAddress else {
            return false
        }
        for index in 0..<bytes.count where base[index] != text.utf8Start[index] { return false }
        return true
    }

    /// Makes `:authority` of a lone Host; one beside it must say the same.
    private static func mergeHost(_ head: inout MessageHead) -> Bool {
        let host = head.withValue(.host) { Array($0) } ?? []
        if let authority = head.withValue(.authority, { Array($0) }) {
            let same =
                authority.count == host.count
                && asciiEqualIgnoringCase(authority, host, count: host.count)
            if !same { return false }
        } else if !host.isEmpty {
            host.withUnsafeBufferPointer { head.append(.authority, $0) }
        }
        head.remove(.host)
        return true
    }

    /// HTTP/2 lets a client send one `cookie` in parts (RFC 9113 §8.2.3).
    private static func joinCookies(_ head: inout MessageHead) {
        var joined: [UInt8] = []
        head.forEach { name, _, value in
            if name != .cookie { return }
            if !joined.isEmpty { joined.append(contentsOf: [0x3B, 0x20]) }
            joined.append(contentsOf: value)
        }
        joined.withUnsafeBufferPointer { head.set(.cookie, $0) }
    }
}
