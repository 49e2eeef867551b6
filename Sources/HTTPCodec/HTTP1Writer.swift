internal import MeshBase

// Writing of HTTP/1 heads. What an HTTP/2 peer, a filter or a configuration put into a head must
// not become two lines here, so every name and value is looked at before a byte is written; a head
// that fails leaves the output as it was.

enum HTTP1Writer {
    /// How the body that follows a head is delimited.
    enum Framing: Equatable {
        /// There is none, whatever the head says of a length (HEAD, 204, 304).
        case none
        case length(Int)
        case chunked
        case untilClose
    }

    /// What the head's own fields say: no length (`nil`), one, or nonsense (-1).
    static func declaredLength(_ head: MessageHead) -> Int? {
        if !head.contains(.contentLength) { return nil }
        var length: Int?
        head.forEach { name, _, value in
            if name != .contentLength { return }
            if length != nil || value.count == 0 || value.count > 18 {
                length = -1
                return
            }
            var sum = 0
            for byte in value {
                if byte < 48 || byte > 57 {
                    length = -1
                    return
                }
                sum = sum * 10 + Int(byte - 48)
            }
            length = sum
        }
        return length
    }

    /// Whether every field can be written without changing what the lines mean.
    static func isWritable(_ head: MessageHead) -> Bool {
        head.withBytes { bytes in
            for field in head.fields where !head.isChecked(field) {
                let value = MessageHead.value(of: field, in: bytes)
                switch field.name {
                case .method:
                    if value.isEmpty || !ByteClass.all(value, ByteClass.isToken) { return false }
                case .path:
                    if value.isEmpty || !ByteClass.all(value, ByteClass.isTarget) { return false }
                case .authority:
                    if !ByteClass.all(value, ByteClass.isAuthority) { return false }
                case .scheme, .status:
                    break
                case .other:
                    let name = MessageHead.name(of: field, in: bytes)
                    if name.isEmpty || !ByteClass.all(name, ByteClass.isToken) { return false }
                    if !ByteClass.isValue(value) { return false }
                default:
                    if !ByteClass.isValue(value) { return false }
                }
            }
            return true
        }
    }

    /// - Returns: `false`, with nothing written, when the head lacks what a request line needs or
    ///   holds what can't be written.
    static func writeRequest(
        _ head: MessageHead, framing: Framing, into output: inout ByteBuffer
    ) -> Bool {
        guard isWritable(head), let method = head.firstIndex(of: .method),
            let path = head.firstIndex(of: .path)
        else { return false }
        output.reserve(head.byteCount + 128)
        head.withField(head.fields[method]) { output.append($1) }
        output.append(byte: 0x20)
        head.withField(head.fields[path]) { output.append($1) }
        output.append(" HTTP/1.1\r\nhost: ")
        if let authority = head.firstIndex(of: .authority) ?? head.firstIndex(of: .host) {
            head.withField(head.fields[authority]) { output.append($1) }
        }
        output.append("\r\n")
        let holdsTE = writeFields(head, dropLength: framing != .none && isOpen(framing), &output)
        if holdsTE { output.append("te: trailers\r\nconnection: te\r\n") }
        if case .chunked = framing { output.append("transfer-encoding: chunked\r\n") }
        if framing == .length(0), !head.contains(.contentLength) {
            output.append("content-length: 0\r\n")
        }
        output.append("\r\n")
        return true
    }

    /// What a response says of the connection.
    enum Persistence {
        case unsaid, close, keepAlive
    }

    static func writeResponse(
        _ head: MessageHead, framing: Framing, persistence: Persistence,
        into output: inout ByteBuffer
    ) -> Bool {
        guard isWritable(head), head.status >= 100, head.status <= 599 else { return false }
        output.reserve(head.byteCount + 128)
        writeStatusLine(head.status, &output)
        let hasLength = head.status >= 200 && head.status != 204 && !isOpen(framing)
        _ = writeFields(head, dropLength: !hasLength, &output)
        if case .chunked = framing { output.append("transfer-encoding: chunked\r\n") }
        if framing == .length(0), hasLength, !head.contains(.contentLength) {
            output.append("content-length: 0\r\n")
        }
        switch persistence {
        case .unsaid: break
        case .close: output.append("connection: close\r\n")
        case .keepAlive: output.append("connection: keep-alive\r\n")
        }
        output.append("\r\n")
        return true
    }

    /// The last chunk and the trailers behind it; trailers that can't be written are left out.
    static func writeTrailers(_ trailers: MessageHead, into output: inout ByteBuffer) {
        output.append("0\r\n")
        if isWritable(trailers) { _ = writeFields(trailers, dropLength: true, &output) }
        output.append("\r\n")
    }

    static func writeChunkSize(_ size: Int, into output: inout ByteBuffer) {
        var shift = 60
        while shift > 0, size >> shift == 0 { shift -= 4 }
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: (size >> shift) & 15)
            output.append(byte: digit < 10 ? 48 + digit : 87 + digit)
            shift -= 4
        }
        output.append("\r\n")
    }

    private static func isOpen(_ framing: Framing) -> Bool {
        framing == .chunked || framing == .untilClose
    }

    /// Fields that lie side by side in the head are copied together.
    /// - Returns: whether the head asks for trailers by `te`.
    private static func writeFields(
        _ head: MessageHead, dropLength: Bool, _ output: inout ByteBuffer
    ) -> Bool {
        head.withBytes { bytes in
            var run = 0..<0
            func writeRun() {
                output.append(UnsafeBufferPointer(rebasing: bytes[run]))
            }
            for field in head.fields {
                switch field.name {
                case .method, .scheme, .authority, .path, .status, .host, .connection, .keepAlive,
                    .proxyConnection, .transferEncoding, .upgrade, .http2Settings, .te:
                    continue
                case .contentLength where dropLength:
                    continue
                default:
                    break
                }
                let line = field.lineStart..<field.lineStart + field.lineCount
                if line.lowerBound == run.upperBound {
                    run = run.lowerBound..<line.upperBound
                } else {
                    writeRun()
                    run = line
                }
            }
            writeRun()
        }
        return head.contains(.te)
    }

    private static func writeStatusLine(_ status: Int, _ output: inout ByteBuffer) {
        if status == 200 {
            output.append("HTTP/1.1 200 OK\r\n")
            return
        }
        output.append("HTTP/1.1 ")
        output.append(decimal: status)
        output.append(byte: 0x20)
        output.append(reasonPhrase(status))
        output.append("\r\n")
    }

    /// The phrases of the IANA registry; empty for a status that has none.
    static func reasonPhrase(_ status: Int) -> StaticString {
        switch status {
        case 100: "Continue"
        case 102: "Processing"
        case 103: "Early Hints"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 203: "Non-Authoritative Information"
        case 204: "No Content"
        case 205: "Reset Content"
        case 206: "Partial Content"
        case 207: "Multi-Status"
        case 300: "Multiple Choices"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 402: "Payment Required"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 406: "Not Acceptable"
        case 407: "Proxy Authentication Required"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 410: "Gone"
        case 411: "Length Required"
        case 412: "Precondition Failed"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 416: "Range Not Satisfiable"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 422: "Unprocessable Content"
        case 425: "Too Early"
        case 426: "Upgrade Required"
        case 428: "Precondition Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 451: "Unavailable For Legal Reasons"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}
