internal import MeshBase

// Parsing of one HTTP/1 head, in one pass over bytes that hold all of it (RFC 9112).
//
// A proxy that reads a message differently from its neighbour can be made to smuggle one request
// inside another. So nothing is repaired here: a line ends with CR LF and with nothing else, a name
// ends at its colon, a value holds no control byte, a length is digits, a coding is `chunked`, and
// whatever says its framing twice must say the same or is refused. There are two indulgences, both
// of the RFC: one empty line before a request (§2.2), and equal copies of a Content-Length (§6.3).
//
// What comes out is end-to-end: the hop-by-hop fields (RFC 9110 §7.6.1) have been read for what
// they say about this connection and are left out of the head, with those that `Connection` names.
// `Host` has become `.authority`.
//
// When the bytes end before the head does, the answer is `nil` and nothing is remembered; the
// connection keeps the bytes, and asks again only when another line is complete.

/// Classes of bytes, as bits of two words: no table in memory, no bounds to check.
enum ByteClass {
    @inline(__always)
    private static func holds(_ byte: UInt8, _ low: UInt64, _ high: UInt64) -> Bool {
        byte < 128 && ((byte < 64 ? low : high) >> UInt64(byte & 63)) & 1 == 1
    }

    /// `tchar` of RFC 9110 §5.6.2.
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool {
        holds(byte, 0x03FF_6CFA_0000_0000, 0x57FF_FFFF_C7FF_FFFE)
    }

    /// What a field value may hold: visible characters, space, tab and bytes above ASCII.
    @inline(__always)
    static func isValue(_ byte: UInt8) -> Bool {
        (byte >= 0x20 && byte != 0x7F) || byte == 9
    }

    /// What a request target may hold: visible ASCII without "#". Characters that RFC 3986 would
    /// have encoded but that clients send as they are ("|", "\"") are let through.
    @inline(__always)
    static func isTarget(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7F && byte != 0x23
    }

    /// Host and port of RFC 3986 §3.2, without user information.
    @inline(__always)
    static func isAuthority(_ byte: UInt8) -> Bool {
        holds(byte, 0x2FFF_7FF2_0000_0000, 0x47FF_FFFE_AFFF_FFFE)
    }

    static func all(
        _ bytes: UnsafeBufferPointer<UInt8>, _ test: (UInt8) -> Bool
    ) -> Bool {
        for byte in bytes where !test(byte) { return false }
        return true
    }

    static func isValue(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        endOfValue(bytes, from: 0) == bytes.count
    }

    /// Where the first byte lies that a field value can't hold; eight are looked at together.
    static func endOfValue(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var at = start
        guard let base = UnsafeRawPointer(bytes.baseAddress) else { return at }
        let ones: UInt64 = 0x0101_0101_0101_0101
        while bytes.count - at >= 8 {
            let word = base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let delete = word ^ ones &* 0x7F
            // High bits of bytes below 0x20 and of 0x7F. What a borrow adds lies above one of
            // these, so the lowest is right.
            let found =
                (((word &- ones &* 0x20) & ~word) | ((delete &- ones) & ~delete))
                & (ones &* 0x80)
            if found == 0 {
                at += 8
                continue
            }
            at += found.trailingZeroBitCount / 8
            if bytes[at] != 9 { return at }
            at += 1
        }
        while at < bytes.count, isValue(bytes[at]) { at += 1 }
        return at
    }

    /// Where the first byte lies that a token can't hold.
    static func endOfToken(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var at = start
        while at < bytes.count, isToken(bytes[at]) { at += 1 }
        return at
    }
}

struct HTTP1Parser {
    enum Method {
        case head, connect, other
    }

    private(set) var status = 0
    private(set) var httpVersion: UInt8 = 11
    private(set) var method = Method.other
    private(set) var isChunked = false
    private(set) var contentLength: Int?
    /// `Connection` holds `close`, `keep-alive`.
    private(set) var saysClose = false
    private(set) var saysKeepAlive = false
    private(set) var expectsContinue = false

    private let workspace: HeadWorkspace
    private let maxBytes: Int
    private let maxCount: Int
    private var count = 0
    private var hostSeen = false
    private var authorityFromTarget = false
    private var namesOthers = false
    private var connectionNames: [String] = []

    init(limits: HTTPLimits, workspace: HeadWorkspace) {
        self.workspace = workspace
        workspace.begin()
        maxBytes = limits.maxHeaderBytes
        maxCount = limits.maxHeaderCount
    }

    /// What was parsed, until the workspace is used again.
    func head() -> MessageHead {
        var head = workspace.head()
        head.status = status
        head.httpVersion = httpVersion
        for name in connectionNames where !name.hasPrefix(":") { head.remove(name) }
        return head
    }

    var isEmpty: Bool { workspace.fieldCount == 0 }

    /// - Returns: how many bytes the head takes, or `nil` when there must be more.
    mutating func parseRequest(
        _ bytes: Span<UInt8>, scheme: StaticString
    ) throws(ProtocolViolation) -> Int? {
        var at = 0
        if bytes.count > 0, bytes[0] == 13 {
            if bytes.count == 1 { return nil }
            if bytes[1] == 10 { at = 2 }
        }
        guard let afterLine = try parseRequestLine(bytes, from: at, scheme: scheme) else {
            return try incomplete(bytes)
        }
        at = afterLine
        guard let end = try parseFields(bytes, from: at, isTrailer: false) else {
            return try incomplete(bytes)
        }
        if !hostSeen, httpVersion == 11 { throw bad("request without Host") }
        if isChunked, contentLength != nil {
            throw bad("Content-Length beside Transfer-Encoding")
        }
        return end
    }

    /// - Returns: how many bytes the head takes, or `nil` when there must be more.
    mutating func parseResponse(_ bytes: Span<UInt8>) throws(ProtocolViolation) -> Int? {
        guard let afterLine = try parseStatusLine(bytes),
            let end = try parseFields(bytes, from: afterLine, isTrailer: false)
        else { return try incomplete(bytes) }
        if isChunked, contentLength != nil {
            throw bad("Content-Length beside Transfer-Encoding")
        }
        return end
    }

    /// - Returns: how many bytes the trailers and the empty line take, or `nil`.
    mutating func parseTrailers(_ bytes: Span<UInt8>) throws(ProtocolViolation) -> Int? {
        guard let end = try parseFields(bytes, from: 0, isTrailer: true) else {
            return try incomplete(bytes)
        }
        return end
    }

    private func incomplete(_ bytes: Span<UInt8>) throws(ProtocolViolation) -> Int? {
        if bytes.count > maxBytes { throw tooLarge() }
        return nil
    }

    private func bad(_ reason: StaticString) -> ProtocolViolation {
        ProtocolViolation(status: 400, reason: "\(reason)")
    }

    private func tooLarge() -> ProtocolViolation {
        ProtocolViolation(status: 431, reason: "head larger than the limit")
    }

    // MARK: First lines

    private mutating func parseRequestLine(
        _ bytes: Span<UInt8>, from start: Int, scheme: StaticString
    ) throws(ProtocolViolation) -> Int? {
        let end = bytes.count
        var at = start
        while at < end, ByteClass.isToken(bytes[at]) { at += 1 }
        if at - start > 32 { throw bad("method too long") }
        if at == end { return nil }
        if bytes[at] != 0x20 || at == start { throw bad("malformed method") }
        let methodRange = start..<at
        at += 1
        let targetStart = at
        while at < end, ByteClass.isTarget(bytes[at]) { at += 1 }
        if at == end { return nil }
        if bytes[at] != 0x20 || at == targetStart { throw bad("malformed request target") }
        let targetRange = targetStart..<at
        at += 1
        guard let version = try parseVersion(bytes, from: at) else { return nil }
        at += 8
        if at < end, bytes[at] != 13 { throw bad("malformed version") }
        if at + 1 < end, bytes[at + 1] != 10 { throw bad("CR without LF") }
        if at + 1 >= end { return nil }
        httpVersion = version
        try take(bytes, method: methodRange, target: targetRange, scheme: scheme)
        return at + 2
    }

    private mutating func take(
        _ bytes: Span<UInt8>, method methodRange: Range<Int>, target targetRange: Range<Int>,
        scheme: StaticString
    ) throws(ProtocolViolation) {
        let target = bytes.extracting(targetRange)
        let isOptions = isSame(bytes.extracting(methodRange), "OPTIONS")
        if methodRange.count == 4, isSame(bytes.extracting(methodRange), "HEAD") { method = .head }
        if isSame(bytes.extracting(methodRange), "CONNECT") { method = .connect }
        append(.method, bytes.extracting(methodRange))
        if method == .connect {
            guard isAuthority(target), target.count > 0 else {
                throw bad("CONNECT wants host and port")
            }
            append(.authority, target)
            authorityFromTarget = true
            return
        }
        workspace.append(.scheme, scheme)
        if target[0] == 0x2F {
            append(.path, target)
            return
        }
        if target.count == 1, target[0] == 0x2A, isOptions {
            append(.path, target)
            return
        }
        // absolute-form: its authority counts, and Host is ignored (RFC 9112 §3.2.2).
        let skip: Int
        if hasPrefix(target, "http://") {
            skip = 7
        } else if hasPrefix(target, "https://") {
            skip = 8
        } else {
            throw bad("unknown form of request target")
        }
        var slash = skip
        while slash < target.count, target[slash] != 0x2F, target[slash] != 0x3F { slash += 1 }
        let authority = target.extracting(skip..<slash)
        guard authority.count > 0, isAuthority(authority) else {
            throw bad("malformed authority in request target")
        }
        append(.authority, authority)
        authorityFromTarget = true
        if slash == target.count {
            workspace.append(.path, isOptions ? "*" : "/")
        } else if target[slash] == 0x2F {
            append(.path, target.extracting(slash..<target.count))
        } else {
            // "http://host?query" has an empty path, which origin-form writes as "/".
            var path: [UInt8] = [0x2F]
            for index in slash..<target.count { path.append(target[index]) }
            path.withUnsafeBufferPointer { workspace.append(.path, $0) }
        }
    }

    private mutating func append(_ name: HeaderName, _ value: Span<UInt8>) {
        value.withUnsafeBufferPointer { workspace.append(name, $0) }
    }

    private mutating func parseStatusLine(_ bytes: Span<UInt8>) throws(ProtocolViolation) -> Int? {
        guard let version = try parseVersion(bytes, from: 0) else { return nil }
        httpVersion = version
        if bytes.count < 14 {
            // The shortest status line, without a phrase, and what must follow it.
            return nil
        }
        if bytes[8] != 0x20 { throw bad("malformed status line") }
        var status = 0
        for index in 9..<12 {
            guard bytes[index] >= 48, bytes[index] <= 57 else { throw bad("malformed status") }
            status = status * 10 + Int(bytes[index] - 48)
        }
        guard status >= 100, status <= 599 else { throw bad("status out of range") }
        self.self.status = status
        var at = 12
        if bytes[at] == 0x20 {
            at += 1
            at = bytes.withUnsafeBufferPointer { ByteClass.endOfValue($0, from: at) }
        }
        if at + 1 >= bytes.count { return nil }
        guard bytes[at] == 13, bytes[at + 1] == 10 else { throw bad("malformed status line") }
        return at + 2
    }

    /// Eight bytes "HTTP/1.0" or "HTTP/1.1".
    private func parseVersion(
        _ bytes: Span<UInt8>, from start: Int
    ) throws(ProtocolViolation) -> UInt8? {
        let prefix: StaticString = "HTTP/"
        for index in 0..<min(5, bytes.count - start)
        where bytes[start + index] != prefix.utf8Start[index] {
            throw bad("malformed version")
        }
        if bytes.count - start < 8 { return nil }
        let major = bytes[start + 5]
        let minor = bytes[start + 7]
        guard bytes[start + 6] == 0x2E, major >= 48, major <= 57, minor >= 48, minor <= 57 else {
            throw bad("malformed version")
        }
        if major == 49, minor == 49 { return 11 }
        if major == 49, minor == 48 { return 10 }
        throw ProtocolViolation(status: 505, reason: "HTTP version other than 1.0 and 1.1")
    }

    // MARK: Fields

    private mutating func parseFields(
        _ bytes: Span<UInt8>, from start: Int, isTrailer: Bool
    ) throws(ProtocolViolation) -> Int? {
        let end = bytes.count
        var at = start
        while true {
            if at == end { return nil }
            if bytes[at] == 13 {
                if at + 1 == end { return nil }
                if bytes[at + 1] != 10 { throw bad("CR without LF") }
                if at + 2 > maxBytes { throw tooLarge() }
                return at + 2
            }
            let nameStart = at
            at = bytes.withUnsafeBufferPointer { ByteClass.endOfToken($0, from: at) }
            if at == end { return nil }
            if bytes[at] != 0x3A || at == nameStart {
                throw bad(
                    nameStart == at && (bytes[at] == 0x20 || bytes[at] == 9)
                        ? "folded header line" : "malformed header name")
            }
            let nameEnd = at
            at += 1
            while at < end, bytes[at] == 0x20 || bytes[at] == 9 { at += 1 }
            let valueStart = at
            at = bytes.withUnsafeBufferPointer { ByteClass.endOfValue($0, from: at) }
            if at + 1 >= end {
                if at < end, bytes[at] != 13 { throw bad("control byte in header value") }
                return nil
            }
            if bytes[at] != 13 || bytes[at + 1] != 10 {
                throw bad("control byte in header value")
            }
            var valueEnd = at
            while valueEnd > valueStart, bytes[valueEnd - 1] == 0x20 || bytes[valueEnd - 1] == 9 {
                valueEnd -= 1
            }
            at += 2
            count += 1
            if count > maxCount || at > maxBytes { throw tooLarge() }
            let name = bytes.extracting(nameStart..<nameEnd)
            let value = bytes.extracting(valueStart..<valueEnd)
            if isTrailer {
                takeTrailer(name, value)
            } else {
                try takeField(name, value)
            }
        }
    }

    /// Fields that say how a message is framed or routed have no place after it (RFC 9110 §6.5.1).
    private mutating func takeTrailer(_ name: Span<UInt8>, _ value: Span<UInt8>) {
        let token = name.withUnsafeBufferPointer { HeaderName($0) }
        switch token {
        case .host, .connection, .contentLength, .transferEncoding, .te, .trailer, .upgrade,
            .keepAlive, .proxyConnection, .http2Settings, .expect:
            return
        default:
            append(token, name, value)
        }
    }

    private mutating func append(_ token: HeaderName, _ name: Span<UInt8>, _ value: Span<UInt8>) {
        name.withUnsafeBufferPointer { name in
            value.withUnsafeBufferPointer { value in
                workspace.append(token, name: name, value: value)
            }
        }
    }

    private mutating func takeField(
        _ name: Span<UInt8>, _ value: Span<UInt8>
    ) throws(ProtocolViolation) {
        let token = name.withUnsafeBufferPointer { HeaderName($0) }
        switch token {
        case .host where status == 0:
            if hostSeen { throw bad("more than one Host") }
            hostSeen = true
            guard isAuthority(value) else { throw bad("malformed Host") }
            if !authorityFromTarget, value.count > 0 { append(.authority, value) }
        case .contentLength:
            let length = try parseLength(value)
            if let contentLength {
                if contentLength != length { throw bad("differing Content-Length") }
                return
            }
            contentLength = length
            append(token, name, value)
        case .transferEncoding:
            if isChunked { throw bad("more than one Transfer-Encoding") }
            if httpVersion == 10 { throw bad("Transfer-Encoding in HTTP/1.0") }
            guard value.count == 7, hasPrefix(value, "chunked") else {
                throw ProtocolViolation(status: 501, reason: "unknown transfer coding")
            }
            isChunked = true
        case .connection:
            takeConnection(value)
        case .te:
            if holdsTrailers(value) { workspace.append(.te, "trailers") }
        case .keepAlive, .proxyConnection, .upgrade, .http2Settings:
            break
        case .expect:
            expectsContinue = value.count == 12 && hasPrefix(value, "100-continue")
            append(token, name, value)
        default:
            append(token, name, value)
        }
    }

    private func parseLength(_ value: Span<UInt8>) throws(ProtocolViolation) -> Int {
        if value.count == 0 || value.count > 18 { throw bad("malformed Content-Length") }
        var length = 0
        for index in value.indices {
            let byte = value[index]
            if byte < 48 || byte > 57 { throw bad("malformed Content-Length") }
            length = length * 10 + Int(byte - 48)
        }
        return length
    }

    private mutating func takeConnection(_ value: Span<UInt8>) {
        forEachElement(value) { element in
            if element.count == 5, hasPrefix(element, "close") {
                saysClose = true
            } else if element.count == 10, hasPrefix(element, "keep-alive") {
                saysKeepAlive = true
            } else {
                let token = element.withUnsafeBufferPointer { HeaderName($0) }
                switch token {
                case .te, .upgrade, .http2Settings, .keepAlive, .host, .contentLength,
                    .transferEncoding, .connection:
                    // Dealt with already, or not a peer's to take away.
                    break
                default:
                    connectionNames.append(
                        element.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) })
                }
            }
        }
    }

    private func holdsTrailers(_ value: Span<UInt8>) -> Bool {
        var found = false
        forEachElement(value) { element in
            if element.count == 8, hasPrefix(element, "trailers") { found = true }
        }
        return found
    }
}

// MARK: Comparing

private func isSame(_ bytes: Span<UInt8>, _ text: StaticString) -> Bool {
    if bytes.count != text.utf8CodeUnitCount { return false }
    for index in bytes.indices where bytes[index] != text.utf8Start[index] { return false }
    return true
}

/// Whether `bytes` begin with `text`, which is in lower case, in any case.
private func hasPrefix(_ bytes: Span<UInt8>, _ text: StaticString) -> Bool {
    let count = text.utf8CodeUnitCount
    if bytes.count < count { return false }
    return bytes.withUnsafeBufferPointer { bytes in
        guard let base = bytes.baseAddress else { return count == 0 }
        return asciiEqualIgnoringCase(base, text.utf8Start, count: count)
    }
}

private func isAuthority(_ bytes: Span<UInt8>) -> Bool {
    for index in bytes.indices where !ByteClass.isAuthority(bytes[index]) { return false }
    return true
}

/// The elements of a comma-separated list, without the white space around them.
private func forEachElement(_ value: Span<UInt8>, _ body: (Span<UInt8>) -> Void) {
    var at = 0
    while at < value.count {
        var start = at
        while at < value.count, value[at] != 0x2C { at += 1 }
        var end = at
        while start < end, value[start] == 0x20 || value[start] == 9 { start += 1 }
        while end > start, value[end - 1] == 0x20 || value[end - 1] == 9 { end -= 1 }
        if start < end { body(value.extracting(start..<end)) }
        at += 1
    }
}
