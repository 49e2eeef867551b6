public import MeshBase
public import MeshConfig

/// An access log's format, taken apart once and then written for every request.
///
/// **Compiled.** A format becomes a row of `Piece`s: an operator and four numbers that point into
/// one array of bytes, where all literal text and all header names lie. So writing a line walks
/// plain memory: no strings are made, and nothing is counted by reference. A date is made once a
/// second by the `LogClock` that the caller keeps beside its file.
///
/// **Text and JSON** are the same row. In JSON the keys, braces and quotes are literals, and a
/// piece that stands alone as a value writes its own quotes, because it may turn out to be a
/// number or `null`.
///
/// **Harmless.** All that is not ours (headers, names, paths, reasons) passes `LogText`: no peer
/// can end a line or a quoted value. A missing value is "-" in text and `null` alone in JSON.
///
/// Left out of Envoy's language: metadata and filter state, since no filter here has any, and the
/// parts of certificates beyond the URI name.
public struct AccessLogFormat: Sendable {
    private struct Piece {
        var word: AccessLogOperator
        /// A JSON value by itself.
        var isAlone = false
        /// Literal text, or a header's name; for a time the index of its format.
        var start: Int32 = 0
        var count: Int32 = 0
        var name = HeaderName.other
        /// The header to take when the first one is missing.
        var otherCount: Int32 = 0
        var otherName = HeaderName.other
        /// How many bytes of a header's value are printed at most.
        var limit = Int32.max
    }

    private var pieces: [Piece] = []
    private var bytes: [UInt8] = []
    private var timeFormats: [TimeFormat] = []
    private let style: LogText.Style
    private let hostname: String

    /// Envoy's default.
    public static let standardText = """
        [%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" \
        %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
        %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" \
        "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"
        """

    /// - Parameter hostname: what `%HOSTNAME%` prints.
    public init(
        _ format: AccessLogConfig.Format, hostname: String = ""
    ) throws(AccessLogFormatError) {
        self.hostname = hostname
        switch format {
        case .standard:
            style = .text
            try add(AccessLogFormat.standardText)
        case .text(let text):
            style = .text
            try add(text)
        case .json(let members):
            style = .json
            for (index, (key, value)) in members.enumerated() {
                addLiteral(index == 0 ? "{\"" : ",\"")
                addEscaped(Array(key.utf8))
                addLiteral("\":")
                do {
                    try addValue(value)
                } catch {
                    var error = error
                    error.key = key
                    throw error
                }
            }
            addLiteral(members.isEmpty ? "{}" : "}")
        }
        // Many formats end their lines themselves.
        let endsLine = pieces.last?.word == .literal && bytes.last == 10
        if !endsLine { addLiteral("\n") }
    }

    // MARK: Compiling

    private mutating func add(_ text: String) throws(AccessLogFormatError) {
        var scanner = AccessLogScanner(text)
        while let token = try scanner.next() {
            switch token {
            case .literal(let text):
                if style == .json { addEscaped(text) } else { addLiteral(text) }
            case .word:
                pieces.append(try piece(token))
            }
        }
    }

    private mutating func addValue(_ text: String) throws(AccessLogFormatError) {
        var scanner = AccessLogScanner(text)
        if let token = try scanner.next(), case .word = token, try scanner.next() == nil {
            var piece = try piece(token)
            piece.isAlone = true
            pieces.append(piece)
            return
        }
        addLiteral("\"")
        try add(text)
        addLiteral("\"")
    }

    private mutating func addLiteral(_ text: String) {
        addLiteral(Array(text.utf8))
    }

    private mutating func addLiteral(_ text: [UInt8]) {
        if let last = pieces.indices.last, pieces[last].word == .literal {
            pieces[last].count += Int32(text.count)
        } else {
            var piece = Piece(word: .literal)
            piece.start = Int32(bytes.count)
            piece.count = Int32(text.count)
            pieces.append(piece)
        }
        bytes += text
    }

    private mutating func addEscaped(_ text: [UInt8]) {
        var buffer = ByteBuffer()
        text.withUnsafeBufferPointer { LogText.append($0, .json, to: &buffer) }
        addLiteral(buffer.withBytes { Array($0) })
    }

    private mutating func piece(
        _ token: AccessLogScanner.Token
    ) throws(AccessLogFormatError) -> Piece {
        guard case .word(let word, let argument, let limit, let text, let position) = token else {
            return Piece(word: .literal)
        }
        func failure(_ reason: AccessLogFormatError.Reason) -> AccessLogFormatError {
            AccessLogFormatError(reason: reason, text: text, position: position)
        }
        var piece = Piece(word: word)
        switch word {
        case .request, .response, .trailer:
            let names = (argument ?? "").split(
                separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = names.first, !first.isEmpty, names.last?.isEmpty == false else {
                throw failure(.badArgument)
            }
            if let limit { piece.limit = Int32(limit) }
            piece.start = Int32(bytes.count)
            (piece.name, piece.count) = addName(first, in: word)
            if names.count > 1 { (piece.otherName, piece.otherCount) = addName(names[1], in: word) }
        case .startTime:
            guard limit == nil else { throw failure(.badArgument) }
            if let argument, !argument.isEmpty {
                guard let format = TimeFormat(argument) else { throw failure(.badTimeFormat) }
                piece.word = .time
                piece.start = Int32(timeFormats.count)
                timeFormats.append(format)
            }
        default:
            guard argument == nil, limit == nil else { throw failure(.badArgument) }
        }
        return piece
    }

    /// A name lies at `start`, an alternative right behind it.
    private mutating func addName(
        _ text: Substring, in word: AccessLogOperator
    ) -> (HeaderName, Int32) {
        let name = Array(text.utf8)
        bytes += name
        var token = name.withUnsafeBufferPointer { HeaderName($0) }
        // The parser of either protocol has made it the authority.
        if token == .host, word == .request { token = .authority }
        return (token, Int32(name.count))
    }

    // MARK: Writing

    /// Appends the record's line, with its line end.
    public func write(
        _ record: borrowing AccessLogRecord, clock: inout LogClock, to buffer: inout ByteBuffer
    ) {
        for piece in pieces {
            switch piece.word {
            case .literal:
                bytes.withUnsafeBufferPointer { all in
                    let range = Int(piece.start)..<Int(piece.start + piece.count)
                    buffer.append(UnsafeBufferPointer(rebasing: all[range]))
                }
            case .request: writeHeader(piece, record.request, to: &buffer)
            case .trailer: writeHeader(piece, record.trailers, to: &buffer)
            case .response:
                if piece.name == .status {
                    quote(piece, to: &buffer)
                    buffer.append(decimal: max(record.status, 0))
                    quote(piece, to: &buffer)
                } else {
                    writeHeader(piece, record.response, to: &buffer)
                }
            case .startTime:
                quote(piece, to: &buffer)
                clock.writeISO(record.startTime, to: &buffer)
                quote(piece, to: &buffer)
            case .time:
                quote(piece, to: &buffer)
                timeFormats[Int(piece.start)].write(record.startTime, &clock, to: &buffer)
                quote(piece, to: &buffer)
            case .httpProtocol: writeProtocol(piece, record.httpVersion, to: &buffer)
            case .responseCode: buffer.append(decimal: max(record.status, 0))
            case .bytesReceived: buffer.append(decimal: max(record.bytesReceived, 0))
            case .bytesSent: buffer.append(decimal: max(record.bytesSent, 0))
            case .attemptCount: buffer.append(decimal: max(record.attemptCount, 0))
            case .connectionID:
                buffer.append(decimal: Int(clamping: record.connectionNumber))
            case .duration:
                buffer.append(decimal: max(Int(clamping: record.duration.milliseconds), 0))
            case .responseFlags:
                quote(piece, to: &buffer)
                record.flags.write(to: &buffer)
                quote(piece, to: &buffer)
            case .attempts: writeAttempts(piece, record, to: &buffer)
            case .responseCodeDetails: writeWords(piece, record.details, to: &buffer)
            case .terminationDetails: writeWords(piece, record.terminationDetails, to: &buffer)
            case .transportFailure: write(piece, record.transportFailure, to: &buffer)
            case .upstreamCluster: write(piece, record.upstreamCluster, to: &buffer)
            case .requestedServerName: write(piece, record.requestedServerName, to: &buffer)
            case .routeName: write(piece, record.routeName, to: &buffer)
            case .peerURI: write(piece, record.peerURI, to: &buffer)
            case .tlsVersion: write(piece, record.tlsVersion, to: &buffer)
            case .hostname: write(piece, hostname, to: &buffer)
            case .upstreamHost: write(piece, record.upstreamHost, to: &buffer)
            case .upstreamLocalAddress: write(piece, record.upstreamLocalAddress, to: &buffer)
            case .localAddress: write(piece, record.localAddress, to: &buffer)
            case .remoteAddress: write(piece, record.remoteAddress, to: &buffer)
            case .directRemoteAddress: write(piece, record.directRemoteAddress, to: &buffer)
            case .localHost: write(piece, record.localAddress, port: false, to: &buffer)
            case .remoteHost: write(piece, record.remoteAddress, port: false, to: &buffer)
            case .directRemoteHost:
                write(piece, record.directRemoteAddress, port: false, to: &buffer)
            }
        }
    }

    private func quote(_ piece: Piece, to buffer: inout ByteBuffer) {
        if piece.isAlone { buffer.append(byte: 34) }
    }

    private func writeMissing(_ piece: Piece, to buffer: inout ByteBuffer) {
        if piece.isAlone { buffer.append("null") } else { buffer.append(byte: 45) }
    }

    private func write(_ piece: Piece, _ text: String, to buffer: inout ByteBuffer) {
        if text.isEmpty { return writeMissing(piece, to: &buffer) }
        quote(piece, to: &buffer)
        LogText.append(text, style, to: &buffer)
        quote(piece, to: &buffer)
    }

    /// Text of several words, joined so that a reader who splits at spaces takes it for one.
    private func writeWords(_ piece: Piece, _ text: String, to buffer: inout ByteBuffer) {
        if text.isEmpty { return writeMissing(piece, to: &buffer) }
        quote(piece, to: &buffer)
        var text = text
        text.withUTF8 { bytes in
            var start = 0
            for index in bytes.indices where bytes[index] == 32 {
                LogText.append(
                    UnsafeBufferPointer(rebasing: bytes[start..<index]), style, to: &buffer)
                buffer.append(byte: 95)
                start = index + 1
            }
            LogText.append(UnsafeBufferPointer(rebasing: bytes[start...]), style, to: &buffer)
        }
        quote(piece, to: &buffer)
    }

    private func write(
        _ piece: Piece, _ address: SocketAddress?, port: Bool = true, to buffer: inout ByteBuffer
    ) {
        guard let address else { return writeMissing(piece, to: &buffer) }
        quote(piece, to: &buffer)
        append(address, port: port, to: &buffer)
        quote(piece, to: &buffer)
    }

    private func append(_ address: SocketAddress, port: Bool, to buffer: inout ByteBuffer) {
        guard case .ipv4(let value, let number) = address else {
            LogText.append(port ? address.description : address.host, style, to: &buffer)
            return
        }
        var shift: UInt32 = 24
        while true {
            buffer.append(decimal: Int(value >> shift & 255))
            if shift == 0 { break }
            buffer.append(byte: 46)
            shift -= 8
        }
        if port {
            buffer.append(byte: 58)
            buffer.append(decimal: Int(number))
        }
    }

    private func writeProtocol(_ piece: Piece, _ version: UInt8, to buffer: inout ByteBuffer) {
        if version == 0 { return writeMissing(piece, to: &buffer) }
        quote(piece, to: &buffer)
        buffer.append(version >= 20 ? "HTTP/2" : version == 10 ? "HTTP/1.0" : "HTTP/1.1")
        quote(piece, to: &buffer)
    }

    /// `[east/10.0.1.7:80 connect-refused 1ms; west/10.0.2.1:80 ok 200 38ms]`
    private func writeAttempts(
        _ piece: Piece, _ record: borrowing AccessLogRecord, to buffer: inout ByteBuffer
    ) {
        if record.attempts.isEmpty { return writeMissing(piece, to: &buffer) }
        quote(piece, to: &buffer)
        for (index, attempt) in record.attempts.enumerated() {
            buffer.append(index == 0 ? "[" : "; ")
            if !attempt.locality.isEmpty {
                LogText.append(attempt.locality, style, to: &buffer)
                buffer.append(byte: 47)
            }
            append(attempt.address, port: true, to: &buffer)
            buffer.append(byte: 32)
            if let decision = attempt.decision {
                LogText.append(decision, style, to: &buffer)
                buffer.append(byte: 32)
            }
            if let reason = attempt.reason {
                LogText.append(reason, style, to: &buffer)
            } else {
                // An error that was passed on is not "ok", and a TCP connection has no status.
                if record.status < 500 { buffer.append(record.status > 0 ? "ok " : "ok") }
                if record.status > 0 { buffer.append(decimal: record.status) }
            }
            buffer.append(byte: 32)
            buffer.append(decimal: max(Int(clamping: attempt.took.milliseconds), 0))
            buffer.append("ms")
        }
        buffer.append(byte: 93)
        quote(piece, to: &buffer)
    }

    private func writeHeader(
        _ piece: Piece, _ head: borrowing MessageHead, to buffer: inout ByteBuffer
    ) {
        let start = Int(piece.start)
        if writeHeader(piece, head, piece.name, start, Int(piece.count), to: &buffer) { return }
        if piece.otherCount > 0 {
            let otherStart = start + Int(piece.count)
            if writeHeader(
                piece, head, piece.otherName, otherStart, Int(piece.otherCount), to: &buffer)
            {
                return
            }
        }
        writeMissing(piece, to: &buffer)
    }

    /// - Returns: `false` if the head has no such field.
    private func writeHeader(
        _ piece: Piece, _ head: borrowing MessageHead, _ token: HeaderName, _ start: Int,
        _ count: Int, to buffer: inout ByteBuffer
    ) -> Bool {
        for field in head.fields where field.name == token {
            let isWritten = head.withField(field) { name, value in
                if token == .other, !isNamed(name, start, count) { return false }
                quote(piece, to: &buffer)
                LogText.append(LogText.prefix(value, Int(piece.limit)), style, to: &buffer)
                quote(piece, to: &buffer)
                return true
            }
            if isWritten { return true }
        }
        return false
    }

    private func isNamed(_ name: UnsafeBufferPointer<UInt8>, _ start: Int, _ count: Int) -> Bool {
        guard name.count == count, let found = name.baseAddress else { return false }
        return bytes.withUnsafeBufferPointer { all in
            guard let base = all.baseAddress else { return false }
            return asciiEqualIgnoringCase(found, base + start, count: count)
        }
    }
}
