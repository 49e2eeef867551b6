internal import CNGHTTP2
public import MeshBase

// HTTP/2 as an `HTTPConnection`: an nghttp2 session (RFC 9113) between the caller's messages and
// two byte streams.
//
// nghttp2 parses frames, HPACK, states and windows, and calls back; the callbacks make events.
// Everything that is sent goes through it at once: `sendBody` offers the caller's bytes to the
// session while they are still there, and the session's data callback writes frame header and
// bytes to `output`, one copy. Only what the peer's window refuses goes to the stream's own queue.
//
// Windows are ours to open: the session runs without automatic WINDOW_UPDATE, and `consumed` is
// what opens them. So a stream that was closed with bytes outstanding stays in the table until its
// bytes were consumed; else a peer could fill us through streams that it ends at once.
//
// nghttp2 checks messages by itself (pseudo-header fields, connection-specific fields, lengths).
// Added here: bounds on size and number of fields also in the number that we announce, characters
// of method, path and authority, Host against `:authority`, and that a field which nghttp2 would
// only have left out ends the stream.
//
// The session is never freed inside one of its callbacks: it lives as long as the connection, and
// callbacks only change state. `pump` runs outside of them.

public final class HTTP2Connection: HTTPConnection {
    public enum Role: Sendable {
        case client, server
    }

    private static let maxInterim = 16

    let role: Role
    let limits: HTTPLimits
    private var session: OpaquePointer?

    private var streams = HTTP2StreamTable()
    private var events: [HTTPEvent] = []
    private var eventsTaken = 0
    fileprivate var output = ByteBuffer()

    /// The head whose fields are arriving; HEADERS and its CONTINUATIONs are never interleaved.
    private var building = HTTP2HeadBuilder()

    /// The caller's bytes that `sendBody` is about to send.
    private var direct = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    private var directStream: StreamID = 0

    private var isDead = false
    private var isShuttingDown = false
    private var shutDownTwice = false
    private var peerGoesAway = false
    public private(set) var openStreams = 0

    public init(role: Role, limits: HTTPLimits = HTTPLimits()) {
        self.role = role
        self.limits = limits
        let context = Unmanaged.passUnretained(self).toOpaque()
        let status =
            role == .server
            ? nghttp2_session_server_new2(&session, shared.callbacks, context, shared.options)
            : nghttp2_session_client_new2(&session, shared.callbacks, context, shared.options)
        precondition(status == 0 && session != nil, "out of memory")
        start()
    }

    deinit {
        nghttp2_session_del(session)
    }

    private func start() {
        func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
            nghttp2_settings_entry(
                settings_id: Int32(id.rawValue), value: UInt32(clamping: value))
        }
        var settings = [
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindow),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.maxHeaderBytes),
        ]
        if role == .server {
            settings.append(
                entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.maxConcurrentStreams))
        } else {
            settings.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
        }
        nghttp2_submit_settings(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), settings, settings.count)
        nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(clamping: limits.connectionWindow))
    }

    // MARK: Receiving

    public func receive(_ bytes: Span<UInt8>) {
        if isDead { return }
        let read = bytes.withUnsafeBufferPointer {
            nghttp2_session_mem_recv(session, $0.baseAddress, $0.count)
        }
        pump()
        if read < 0 { violated(Int32(clamping: read)) }
    }

    public func receiveEnd() {
        if isDead { return }
        isDead = true
        cutAll()
    }

    private func cutAll() {
        streams.forEach { stream in
            if !stream.isClosed, !stream.isSilent, isKnown(stream) {
                stream.isSilent = true
                events.append(.reset(stream.id, .cancel))
            }
        }
        openStreams = 0
    }

    public func nextEvent() -> HTTPEvent? {
        if eventsTaken == events.count {
            if eventsTaken > 0 {
                events.removeAll(keepingCapacity: events.count <= 64)
                eventsTaken = 0
            }
            return nil
        }
        var event = HTTPEvent.pong
        swap(&event, &events[eventsTaken])
        eventsTaken += 1
        return event
    }

    public var wantsInput: Bool { !isDead }

    public func consumed(_ count: Int, on id: StreamID) {
        guard let stream = streams[id] else { return }
        let count = min(count, stream.unconsumed)
        if count <= 0 { return }
        stream.unconsumed -= count
        nghttp2_session_consume(session, id, count)
        if stream.isClosed, stream.unconsumed == 0 { streams.remove(id) }
    }

    /// Gives back to the connection's window what the caller will not consume any more.
    private func abandonBody(_ stream: HTTP2Stream) {
        if stream.unconsumed > 0 {
            nghttp2_session_consume(session, stream.id, stream.unconsumed)
            stream.unconsumed = 0
        }
    }

    /// Whether the caller knows of the stream.
    private func isKnown(_ stream: HTTP2Stream) -> Bool {
        role == .client || stream.headDelivered
    }

    /// Takes back events of a stream that the caller wants to hear no more of.
    private func forget(_ id: StreamID) {
        if eventsTaken == events.count { return }
        let waiting = events[eventsTaken...].filter { event in
            switch event {
            case .head(id, _, _), .interim(id, _), .body(id, _, _), .trailers(id, _),
                .reset(id, _), .drained(id):
                false
            default:
                true
            }
        }
        events = Array(waiting)
        eventsTaken = 0
    }

    private func violated(_ code: Int32) {
        if isDead { return }
        isDead = true
        openStreams = 0
        let reason = nghttp2_strerror(code).map { String(cString: $0) } ?? ""
        events.append(.violation(ProtocolViolation(status: 400, reason: reason)))
    }

    // MARK: Callbacks of reception

    fileprivate func headersBegan(_ id: StreamID, isRequest: Bool) -> Int32 {
        building.begin()
        if isRequest {
            streams.insert(HTTP2Stream(id: id))
            openStreams += 1
        }
        return 0
    }

    fileprivate func header(
        _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) -> Int32 {
        building.add(name, value, limits)
        return 0
    }

    fileprivate func headersComplete(_ id: StreamID, endStream: Bool) -> Int32 {
        guard let stream = streams[id] else { return 0 }
        if endStream { stream.remoteEnded = true }
        if stream.isSilent { return 0 }
        let isTrailers = stream.headDelivered
        if building.fault == nil, role == .server, !isTrailers, !building.finishRequest() {
            building.fault = .malformed
        }
        if let fault = building.fault {
            refuse(stream, fault)
            return 0
        }
        var head = building.take()
        if isTrailers {
            head.status = 0
            events.append(.trailers(id, head))
        } else if role == .client, head.status < 200 {
            stream.interims += 1
            if stream.interims > HTTP2Connection.maxInterim {
                refuse(stream, .malformed)
                return 0
            }
            events.append(.interim(id, head))
        } else {
            stream.headDelivered = true
            events.append(.head(id, head, endStream: endStream))
        }
        return 0
    }

    private func refuse(_ stream: HTTP2Stream, _ fault: HTTP2HeadBuilder.Fault) {
        if role == .server, !stream.headDelivered, fault == .tooLarge {
            stream.isSilent = true
            stream.localEnding = true
            submitResponse(MessageHead(status: 431), stream: stream, hasBody: false)
            return
        }
        // The caller is told at once: a stream whose both sides have ended closes without an error
        // before the reset is sent.
        let code: HTTPErrorCode = fault == .tooLarge ? .enhanceYourCalm : .protocolError
        if isKnown(stream) { events.append(.reset(stream.id, code)) }
        stream.isSilent = true
        resetStream(stream.id, code)
    }

    fileprivate func dataArrived(_ id: StreamID, _ bytes: UnsafeBufferPointer<UInt8>) {
        guard let stream = streams[id], !stream.isSilent else {
            nghttp2_session_consume(session, id, bytes.count)
            return
        }
        stream.unconsumed += bytes.count
        events.append(.body(id, bytes, endStream: false))
    }

    fileprivate func dataFrameEnded(_ id: StreamID) {
        guard let stream = streams[id] else { return }
        stream.remoteEnded = true
        if stream.isSilent { return }
        if let last = events.indices.last, last >= eventsTaken,
            case .body(id, let bytes, _) = events[last]
        {
            events[last] = .body(id, bytes, endStream: true)
        } else {
            let nothing = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
            events.append(.body(id, nothing, endStream: true))
        }
    }

    fileprivate func goAwayArrived(_ last: StreamID, _ code: UInt32) {
        peerGoesAway = true
        if role == .client {
            streams.forEach { stream in
                if stream.id > last, !stream.isClosed, !stream.isSilent {
                    stream.isSilent = true
                    events.append(.reset(stream.id, .refusedStream))
                }
            }
        }
        events.append(.goAway(lastStream: last, errorCode(code)))
    }

    fileprivate func pongArrived() {
        events.append(.pong)
    }

    fileprivate func streamClosed(_ id: StreamID, _ code: UInt32) {
        guard let stream = streams[id], !stream.isClosed else { return }
        openStreams -= 1
        let isClean = code == 0 && stream.remoteEnded && stream.localEnding
        if !stream.isSilent, isKnown(stream), !isClean {
            events.append(.reset(id, errorCode(code)))
            abandonBody(stream)
        }
        stream.queue.removeAll()
        stream.queue.shrink()
        if role == .server || stream.isSilent { abandonBody(stream) }
        if role == .server, isClean { forget(id) }
        if stream.unconsumed == 0 {
            streams.remove(id)
        } else {
            stream.isClosed = true
        }
    }

    // MARK: Sending

    /// Lets the session write all that it may write now.
    private func pump() {
        if isDead { return }
        while true {
            var data: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(session, &data)
            if count == 0 { return }
            if count < 0 {
                violated(Int32(clamping: count))
                return
            }
            output.append(UnsafeBufferPointer(start: data, count: count))
        }
    }

    fileprivate func frameSent(_ type: UInt32, _ id: StreamID, _ flags: UInt8, _ code: UInt32) {
        if type == NGHTTP2_GOAWAY.rawValue {
            if code != 0, !isDead {
                isDead = true
                openStreams = 0
                events.append(
                    .violation(
                        ProtocolViolation(
                            status: 400, reason: "HTTP/2 connection error \(errorCode(code))")))
            }
            return
        }
        guard flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
            let stream = streams[id]
        else { return }
        stream.localEnded = true
        if role == .server, !stream.remoteEnded {
            // The response is complete; nobody wants the rest of the request (RFC 9113 §8.1).
            stream.isSilent = true
            abandonBody(stream)
            forget(id)
            nghttp2_submit_rst_stream(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, NGHTTP2_NO_ERROR.rawValue)
        }
    }

    public func sendRequest(_ head: MessageHead, endStream: Bool) -> StreamID? {
        if streamsAvailable == 0 || !HTTP1Writer.isWritable(head) { return nil }
        let id = withFields(head) { fields, count in
            withUnsafePointer(to: bodyProvider) {
                nghttp2_submit_request(session, nil, fields, count, endStream ? nil : $0, nil)
            }
        }
        if id <= 0 { return nil }
        let stream = HTTP2Stream(id: id)
        stream.localEnding = endStream
        streams.insert(stream)
        openStreams += 1
        pump()
        return id
    }

    public func sendResponse(_ head: MessageHead, on id: StreamID, endStream: Bool) {
        guard role == .server, let stream = sendable(id) else { return }
        if !HTTP1Writer.isWritable(head) || head.status < 100 || head.status > 599
            || head.status == 101
        {
            fail(stream)
            return
        }
        if head.status < 200 {
            withFields(head) { fields, count in
                _ = nghttp2_submit_headers(
                    session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, nil, fields, count, nil)
            }
        } else {
            if endStream { stream.localEnding = true }
            submitResponse(head, stream: stream, hasBody: !endStream)
        }
        pump()
    }

    private func submitResponse(_ head: MessageHead, stream: HTTP2Stream, hasBody: Bool) {
        withFields(head) { fields, count in
            withUnsafePointer(to: bodyProvider) {
                _ = nghttp2_submit_response(
                    session, stream.id, fields, count, hasBody ? $0 : nil)
            }
        }
    }

    private var bodyProvider: nghttp2_data_provider {
        nghttp2_data_provider(source: nghttp2_data_source(), read_callback: onReadData)
    }

    /// The stream, if its message may still grow.
    private func sendable(_ id: StreamID) -> HTTP2Stream? {
        guard !isDead, let stream = streams[id], !stream.isClosed, !stream.isSilent,
            !stream.localEnding
        else { return nil }
        return stream
    }

    /// Our own side broke the message.
    private func fail(_ stream: HTTP2Stream) {
        resetStream(stream.id, .internalError)
        pump()
    }

    @discardableResult
    public func sendBody(_ bytes: Span<UInt8>, on id: StreamID, endStream: Bool) -> Bool {
        guard let stream = sendable(id) else { return true }
        if endStream { stream.localEnding = true }
        bytes.withUnsafeBufferPointer { bytes in
            if stream.queue.isEmpty {
                direct = bytes
                directStream = id
            } else {
                stream.queue.append(bytes)
            }
            nghttp2_session_resume_data(session, id)
            pump()
            if direct.count > 0, !stream.isClosed { stream.queue.append(direct) }
            direct = UnsafeBufferPointer(start: nil, count: 0)
            directStream = 0
        }
        if stream.queue.count > limits.sendLimit, !stream.isClosed { stream.isBlocked = true }
        return !stream.isBlocked
    }

    public func sendTrailers(_ trailers: MessageHead, on id: StreamID) {
        guard let stream = sendable(id) else { return }
        stream.localEnding = true
        if !trailers.fields.isEmpty, HTTP1Writer.isWritable(trailers) {
            stream.trailers = trailers
        }
        nghttp2_session_resume_data(session, id)
        pump()
    }

    /// The session asks how many bytes the next DATA frame of a stream can have.
    fileprivate func nextData(
        _ id: StreamID, _ most: Int, _ flags: UnsafeMutablePointer<UInt32>
    ) -> Int {
        guard let stream = streams[id] else { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
        let available = stream.queue.count + (directStream == id ? direct.count : 0)
        let count = min(available, most)
        if count == 0, !stream.localEnding { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
        if count > 0 { flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue }
        if count == available, stream.localEnding {
            flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
            if let trailers = stream.trailers {
                flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                stream.trailers = nil
                withFields(trailers) { fields, count in
                    _ = nghttp2_submit_trailer(session, id, fields, count)
                }
            }
        }
        return count
    }

    /// Writes a DATA frame that `nextData` promised.
    fileprivate func writeData(_ id: StreamID, _ header: UnsafePointer<UInt8>, _ count: Int) {
        output.reserve(count + 9)
        output.append(UnsafeBufferPointer(start: header, count: 9))
        guard let stream = streams[id] else { return }
        var left = count
        let queued = min(left, stream.queue.count)
        if queued > 0 {
            stream.queue.withBytes {
                output.append(UnsafeBufferPointer(rebasing: $0[0..<queued]))
            }
            stream.queue.consume(queued)
            if stream.queue.isEmpty { stream.queue.shrink() }
            left -= queued
            if stream.isBlocked, stream.queue.count <= limits.sendLimit / 2 {
                stream.isBlocked = false
                if !stream.isSilent { events.append(.drained(id)) }
            }
        }
        if left > 0 {
            precondition(directStream == id && direct.count >= left)
            output.append(UnsafeBufferPointer(rebasing: direct[0..<left]))
            direct = UnsafeBufferPointer(rebasing: direct[left...])
        }
    }

    public func queuedBytes(on id: StreamID) -> Int {
        streams[id]?.queue.count ?? 0
    }

    public var hasOutput: Bool {
        !output.isEmpty || (!isDead && nghttp2_session_want_write(session) != 0)
    }

    public func takeOutput(into other: inout ByteBuffer) {
        pump()
        move(&output, into: &other)
    }

    // MARK: Ending

    public func reset(_ id: StreamID, _ code: HTTPErrorCode) {
        guard let stream = streams[id] else { return }
        stream.isSilent = true
        forget(id)
        abandonBody(stream)
        if stream.isClosed {
            streams.remove(id)
            return
        }
        resetStream(id, code)
        pump()
    }

    private func resetStream(_ id: StreamID, _ code: HTTPErrorCode) {
        nghttp2_submit_rst_stream(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code.rawValue)
    }

    public func shutDown() {
        if isDead { return }
        if role == .server, !isShuttingDown {
            nghttp2_submit_shutdown_notice(session)
        } else if !shutDownTwice {
            shutDownTwice = true
            nghttp2_submit_goaway(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue),
                nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR.rawValue, nil, 0)
        }
        isShuttingDown = true
        pump()
    }

    public func ping() {
        nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
        pump()
    }

    public var streamsAvailable: Int {
        if role == .server || isDead || isShuttingDown || peerGoesAway { return 0 }
        if nghttp2_session_check_request_allowed(session) == 0 { return 0 }
        let allowed = nghttp2_session_get_remote_settings(
            session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        return max(0, Int(allowed) - openStreams)
    }

    public var isFinished: Bool {
        if isDead { return true }
        return openStreams == 0 && nghttp2_session_want_read(session) == 0
    }

    // MARK: Fields

    /// Makes nghttp2's form of a head: pseudo-header fields first, names in lower case, nothing
    /// that speaks of a connection. The form is valid during the call.
    @discardableResult
    private func withFields<R>(
        _ head: MessageHead, _ body: (UnsafePointer<nghttp2_nv>, Int) -> R
    ) -> R {
        head.withBytes { bytes in
            withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: head.fields.count + 2) {
                fields in
                withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 3) { digits in
                    var list = HTTP2FieldList(fields)
                    list.fill(from: head, bytes, digits)
                    return body(UnsafePointer(fields.baseAddress!), list.count)
                }
            }
        }
    }
}

@available(*, unavailable)
extension HTTP2Connection: Sendable {}

/// A head while its fields arrive.
private struct HTTP2HeadBuilder {
    enum Fault {
        case tooLarge, malformed
    }

    private var head = MessageHead()
    private var bytes = 0
    private var cookies = 0
    var fault: Fault?

    mutating func begin() {
        head = MessageHead()
        head.httpVersion = 20
        head.reserve(fields: 24, bytes: 896)
        bytes = 0
        cookies = 0
        fault = nil
    }

    mutating func add(
        _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>,
        _ limits: HTTPLimits
    ) {
        if fault != nil { return }
        bytes += name.count + value.count + 4
        if bytes > limits.maxHeaderBytes || head.fields.count >= limits.maxHeaderCount {
            fault = .tooLarge
            return
        }
        let token = HeaderName(name)
        switch token {
        case .status:
            var status = 0
            for digit in value where digit >= 48 && digit <= 57 {
                status = (status * 10 + Int(digit - 48)) % 1000
            }
            head.status = status
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade,
            .http2Settings:
            fault = .malformed
        case .te:
            head.append(.te, "trailers")
        default:
            if token == .cookie { cookies += 1 }
            head.append(token: token, name: name, value: value)
        }
    }

    mutating func take() -> MessageHead {
        if cookies > 1 { joinCookies() }
        var taken = MessageHead()
        swap(&taken, &head)
        return taken
    }

    /// Checks what nghttp2 does not, and makes `:authority` of a lone Host.
    mutating func finishRequest() -> Bool {
        var hosts = 0
        let isGood = head.withBytes { bytes in
            for field in head.fields {
                let value = MessageHead.value(of: field, in: bytes)
                switch field.name {
                case .method:
                    if !ByteClass.all(value, ByteClass.isToken) { return false }
                case .path:
                    if value.isEmpty || !ByteClass.all(value, ByteClass.isTarget) { return false }
                case .authority:
                    if !ByteClass.all(value, ByteClass.isAuthority) { return false }
                case .host:
                    hosts += 1
                    if !ByteClass.all(value, ByteClass.isAuthority) { return false }
                default:
                    break
                }
            }
            return true
        }
        if !isGood || hosts > 1 { return false }
        guard hosts == 1 else { return true }
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
    private mutating func joinCookies() {
        var joined: [UInt8] = []
        head.forEach { name, _, value in
            if name != .cookie { return }
            if !joined.isEmpty { joined.append(contentsOf: [0x3B, 0x20]) }
            joined.append(contentsOf: value)
        }
        joined.withUnsafeBufferPointer { head.set(.cookie, $0) }
    }
}

/// Fills nghttp2's array of fields. Names and values stay where they are: nghttp2 copies them and
/// puts names into lower case.
private struct HTTP2FieldList {
    private let fields: UnsafeMutableBufferPointer<nghttp2_nv>
    private(set) var count = 0

    init(_ fields: UnsafeMutableBufferPointer<nghttp2_nv>) {
        self.fields = fields
    }

    /// - Parameters:
    ///   - bytes: those of the head.
    ///   - digits: where the status is written, three of them.
    mutating func fill(
        from head: MessageHead, _ bytes: UnsafeBufferPointer<UInt8>,
        _ digits: UnsafeMutableBufferPointer<UInt8>
    ) {
        if head.status > 0 {
            digits[0] = UInt8(48 + head.status / 100 % 10)
            digits[1] = UInt8(48 + head.status / 10 % 10)
            digits[2] = UInt8(48 + head.status % 10)
            append(HeaderName.status.text, UnsafeBufferPointer(digits))
        }
        for field in head.fields where field.name.isPseudo && field.name != .status {
            append(field.name.text, MessageHead.value(of: field, in: bytes))
        }
        if let host = head.firstIndex(of: .host), head.contains(.method),
            !head.contains(.authority)
        {
            append(
                HeaderName.authority.text, MessageHead.value(of: head.fields[host], in: bytes))
        }
        for field in head.fields {
            let value = MessageHead.value(of: field, in: bytes)
            switch field.name {
            case .method, .scheme, .authority, .path, .status, .host, .connection, .keepAlive,
                .proxyConnection, .transferEncoding, .upgrade, .http2Settings:
                break
            case .te:
                if value.elementsEqual("trailers".utf8) { append(HeaderName.te.text, value) }
            default:
                append(MessageHead.name(of: field, in: bytes), value)
            }
        }
    }

    private mutating func append(_ name: StaticString, _ value: UnsafeBufferPointer<UInt8>) {
        append(
            UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount), value)
    }

    private mutating func append(
        _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) {
        fields.initializeElement(
            at: count,
            to: nghttp2_nv(
                name: UnsafeMutablePointer(mutating: name.baseAddress),
                value: UnsafeMutablePointer(mutating: value.baseAddress), namelen: name.count,
                valuelen: value.count, flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
        count += 1
    }
}

private func errorCode(_ code: UInt32) -> HTTPErrorCode {
    HTTPErrorCode(rawValue: code) ?? .internalError
}

// MARK: - nghttp2

/// Callbacks and options, the same for every session and never changed once made.
private struct SharedSettings {
    let callbacks: OpaquePointer
    let options: OpaquePointer

    init() {
        var callbacks: OpaquePointer?
        var options: OpaquePointer?
        nghttp2_session_callbacks_new(&callbacks)
        nghttp2_option_new(&options)
        guard let callbacks, let options else { preconditionFailure("out of memory") }
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, onBeginHeaders)
        nghttp2_session_callbacks_set_on_header_callback(callbacks, onHeader)
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, onInvalidHeader)
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, onDataChunk)
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, onFrame)
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, onStreamClose)
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, onFrameSent)
        nghttp2_session_callbacks_set_send_data_callback(callbacks, onSendData)
        nghttp2_option_set_no_auto_window_update(options, 1)
        nghttp2_option_set_no_closed_streams(options, 1)
        nghttp2_option_set_max_reserved_remote_streams(options, 0)
        nghttp2_option_set_stream_reset_rate_limit(options, 1000, 33)
        nghttp2_option_set_max_continuations(options, 8)
        self.callbacks = callbacks
        self.options = options
    }
}

nonisolated(unsafe) private let shared = SharedSettings()

private func connection<R>(
    _ context: UnsafeMutableRawPointer?, _ body: (HTTP2Connection) -> R
) -> R {
    // The connection owns the session, so it is alive while the session calls.
    Unmanaged<HTTP2Connection>.fromOpaque(context!)._withUnsafeGuaranteedRef { body($0) }
}

private func onBeginHeaders(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    connection(context) {
        $0.headersBegan(
            frame!.pointee.hd.stream_id,
            isRequest: frame!.pointee.headers.cat == NGHTTP2_HCAT_REQUEST)
    }
}

private func onHeader(
    _: OpaquePointer?, _: UnsafePointer<nghttp2_frame>?, _ name: UnsafePointer<UInt8>?,
    _ nameCount: Int, _ value: UnsafePointer<UInt8>?, _ valueCount: Int, _: UInt8,
    _ context: UnsafeMutableRawPointer?
) -> Int32 {
    connection(context) {
        $0.header(
            UnsafeBufferPointer(start: name, count: nameCount),
            UnsafeBufferPointer(start: value, count: valueCount))
    }
}

/// A field that nghttp2 would leave out: whoever sends such things gets nothing through.
private func onInvalidHeader(
    _ session: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _: UnsafePointer<UInt8>?,
    _: Int, _: UnsafePointer<UInt8>?, _: Int, _: UInt8, _: UnsafeMutableRawPointer?
) -> Int32 {
    nghttp2_submit_rst_stream(
        session, UInt8(NGHTTP2_FLAG_NONE.rawValue), frame!.pointee.hd.stream_id,
        NGHTTP2_PROTOCOL_ERROR.rawValue)
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
}

private func onDataChunk(
    _: OpaquePointer?, _: UInt8, _ id: Int32, _ bytes: UnsafePointer<UInt8>?, _ count: Int,
    _ context: UnsafeMutableRawPointer?
) -> Int32 {
    connection(context) {
        $0.dataArrived(id, UnsafeBufferPointer(start: bytes, count: count))
    }
    return 0
}

private func onFrame(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    let frame = frame!
    let flags = frame.pointee.hd.flags
    let endStream = flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch UInt32(frame.pointee.hd.type) {
    case NGHTTP2_HEADERS.rawValue:
        return connection(context) {
            $0.headersComplete(frame.pointee.hd.stream_id, endStream: endStream)
        }
    case NGHTTP2_DATA.rawValue where endStream:
        connection(context) { $0.dataFrameEnded(frame.pointee.hd.stream_id) }
    case NGHTTP2_GOAWAY.rawValue:
        connection(context) {
            $0.goAwayArrived(frame.pointee.goaway.last_stream_id, frame.pointee.goaway.error_code)
        }
    case NGHTTP2_PING.rawValue where flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0:
        connection(context) { $0.pongArrived() }
    default:
        break
    }
    return 0
}

private func onStreamClose(
    _: OpaquePointer?, _ id: Int32, _ code: UInt32, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    connection(context) { $0.streamClosed(id, code) }
    return 0
}

private func onFrameSent(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    let header = frame!.pointee.hd
    let type = UInt32(header.type)
    switch type {
    case NGHTTP2_DATA.rawValue, NGHTTP2_HEADERS.rawValue:
        connection(context) { $0.frameSent(type, header.stream_id, header.flags, 0) }
    case NGHTTP2_GOAWAY.rawValue:
        connection(context) { $0.frameSent(type, 0, 0, frame!.pointee.goaway.error_code) }
    default:
        break
    }
    return 0
}

private func onReadData(
    _: OpaquePointer?, _ id: Int32, _: UnsafeMutablePointer<UInt8>?, _ most: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _: UnsafeMutablePointer<nghttp2_data_source>?,
    _ context: UnsafeMutableRawPointer?
) -> Int {
    connection(context) { $0.nextData(id, most, flags!) }
}

private func onSendData(
    _: OpaquePointer?, _ frame: UnsafeMutablePointer<nghttp2_frame>?,
    _ header: UnsafePointer<UInt8>?, _ count: Int, _: UnsafeMutablePointer<nghttp2_data_source>?,
    _ context: UnsafeMutableRawPointer?
) -> Int32 {
    connection(context) { $0.writeData(frame!.pointee.hd.stream_id, header!, count) }
    return 0
}
