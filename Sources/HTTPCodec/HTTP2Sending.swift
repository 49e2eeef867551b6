public import MeshBase

// How an `HTTP2Connection` writes messages: heads at once, bodies as far as the windows let it, the rest from
// the stream's queue when they open.

extension HTTP2Connection {
    // MARK: Writing

    public func sendRequest(_ head: MessageHead, endStream: Bool) -> StreamID? {
        if streamsAvailable == 0 || !HTTP1Writer.isWritable(head) { return nil }
        let stream = open(nextStream)
        nextStream &+= 2
        stream.isHead = head.value(.method, equals: "HEAD")
        stream.localEnding = endStream
        stream.localEnded = endStream
        writeHead(head, stream, endStream: endStream)
        return stream.id
    }

    public func sendResponse(_ head: MessageHead, on id: StreamID, endStream: Bool) {
        guard role == .server, let stream = sendable(id) else { return }
        if !HTTP1Writer.isWritable(head) || head.status < 100 || head.status > 599
            || head.status == 101
        {
            resetStream(stream, .internalError, tells: true)
            return
        }
        if head.status < 200 {
            writeHead(head, stream, endStream: false)
            return
        }
        stream.hasAnswered = true
        if endStream { stream.localEnding = true }
        writeHead(head, stream, endStream: endStream)
        if endStream { sentEnd(stream) }
    }

    /// Writes HEADERS, and CONTINUATION where one frame is too small.
    func writeHead(_ head: MessageHead, _ stream: HTTP2Stream, endStream: Bool) {
        workspace.lend(&output)
        let flags = HTTP2Flag.endHeaders | (endStream ? HTTP2Flag.endStream : 0)
        var long: [UInt8]?
        output.write(atLeast: HTTP2FrameHeader.count + HPACKEncoder.most(head)) { free in
            let start = free.baseAddress!
            let count = encoder.encode(head, into: start + HTTP2FrameHeader.count)
            if count > HTTP2FrameHeader.defaultMaxPayload {
                long = Array(
                    UnsafeBufferPointer(start: start + HTTP2FrameHeader.count, count: count))
                return 0
            }
            HTTP2FrameHeader(type: .headers, flags: flags, stream: stream.id, length: count)
                .write(to: start)
            return HTTP2FrameHeader.count + count
        }
        guard let long else { return }
        var at = 0
        while at < long.count {
            let count = min(HTTP2FrameHeader.defaultMaxPayload, long.count - at)
            var flags: UInt8 = at == 0 && endStream ? HTTP2Flag.endStream : 0
            if at + count == long.count { flags |= HTTP2Flag.endHeaders }
            output.appendFrame(
                at == 0 ? .headers : .continuation, flags: flags, stream: stream.id, payload: count
            ) { payload in
                long.withUnsafeBufferPointer {
                    payload.update(from: $0.baseAddress! + at, count: count)
                }
            }
            at += count
        }
    }

    /// The last frame of our message is out.
    func sentEnd(_ stream: HTTP2Stream) {
        stream.localEnded = true
        if role == .server, !stream.remoteEnded {
            // The response is complete; nobody wants the rest of the request (RFC 9113 §8.1).
            forget(stream.id)
            resetStream(stream, .noError, tells: false)
            return
        }
        closeIfEnded(stream)
    }

    /// The stream, if its message may still grow.
    private func sendable(_ id: StreamID) -> HTTP2Stream? {
        guard !isDead, let stream = streams[id], !stream.isClosed, !stream.isSilent,
            !stream.localEnding
        else { return nil }
        return stream
    }

    @discardableResult
    public func sendBody(_ bytes: Span<UInt8>, on id: StreamID, endStream: Bool) -> Bool {
        guard let stream = sendable(id) else { return true }
        if endStream { stream.localEnding = true }
        bytes.withUnsafeBufferPointer { bytes in
            if !stream.queue.isEmpty {
                stream.queue.append(bytes)
                return
            }
            let sent = write(bytes, stream, endStream: endStream)
            if sent < bytes.count {
                stream.queue.append(UnsafeBufferPointer(rebasing: bytes[sent...]))
                waitForConnection(stream)
            }
        }
        if stream.isClosed { return true }
        if stream.queue.count > limits.sendLimit { stream.isBlocked = true }
        return !stream.isBlocked
    }

    /// Writes DATA as far as the windows let it.
    /// - Returns: how many bytes went out.
    private func write(
        _ bytes: UnsafeBufferPointer<UInt8>, _ stream: HTTP2Stream, endStream: Bool
    ) -> Int {
        workspace.lend(&output)
        let most = min(bytes.count, max(0, min(stream.sendWindow, sendWindow)))
        output.reserve(
            most + (most / HTTP2FrameHeader.defaultMaxPayload + 1) * HTTP2FrameHeader.count)
        var sent = 0
        if bytes.count > 4096 {
            // At once, or the output would grow by doubling, each time with a copy of all before.
            let frames = bytes.count / HTTP2FrameHeader.defaultMaxPayload + 1
            output.reserve(bytes.count + frames * HTTP2FrameHeader.count)
        }
        repeat {
            let left = bytes.count - sent
            let window = max(0, min(stream.sendWindow, sendWindow))
            let count = min(left, window, HTTP2FrameHeader.defaultMaxPayload)
            if count == 0, left > 0 { return sent }
            let ends = endStream && count == left
            if count > 0 || ends {
                output.appendFrame(
                    .data, flags: ends ? HTTP2Flag.endStream : 0, stream: stream.id, payload: count
                ) {
                    if count > 0 { $0.update(from: bytes.baseAddress! + sent, count: count) }
                }
            }
            sent += count
            stream.sendWindow -= count
            sendWindow -= count
            if ends {
                sentEnd(stream)
                return sent
            }
        } while sent < bytes.count
        return sent
    }

    public func sendTrailers(_ trailers: MessageHead, on id: StreamID) {
        guard let stream = sendable(id) else { return }
        stream.localEnding = true
        if !trailers.fields.isEmpty, HTTP1Writer.isWritable(trailers) {
            stream.trailers = trailers
        }
        if stream.queue.isEmpty { finishMessage(stream) }
    }

    /// All of the body is out: ends the message with its trailers, or with an empty frame.
    private func finishMessage(_ stream: HTTP2Stream) {
        if let trailers = stream.trailers {
            stream.trailers = nil
            writeHead(trailers, stream, endStream: true)
        } else {
            output.appendFrame(
                .data, flags: HTTP2Flag.endStream, stream: stream.id, payload: 0
            ) { _ in }
        }
        sentEnd(stream)
    }

    /// Sends what waits in a stream's queue, as far as the windows let it.
    func sendQueued(_ stream: HTTP2Stream, most: Int = .max) {
        if stream.queue.isEmpty || stream.isClosed { return }
        // Its end may close the stream, which lets the stream's queue go.
        var queue = ByteBuffer()
        swap(&queue, &stream.queue)
        var sent = 0
        queue.withBytes { bytes in
            let part = UnsafeBufferPointer(rebasing: bytes[..<min(most, bytes.count)])
            let ends = stream.localEnding && stream.trailers == nil && part.count == bytes.count
            sent = write(part, stream, endStream: ends)
        }
        if stream.isClosed { return }
        queue.consume(sent)
        if queue.isEmpty {
            if stream.localEnding, !stream.localEnded { finishMessage(stream) }
            if stream.isClosed { return }
        } else {
            swap(&queue, &stream.queue)
            waitForConnection(stream)
        }
        if stream.isBlocked, stream.queue.count <= limits.sendLimit / 2 {
            stream.isBlocked = false
            if !stream.isSilent { events.append(.drained(stream.id)) }
        }
    }

    /// Its own window is open, so the connection's is not.
    private func waitForConnection(_ stream: HTTP2Stream) {
        if stream.isListed || stream.sendWindow <= 0 { return }
        stream.isListed = true
        blocked.append(stream)
    }

    /// The connection's window has opened: those who wait get a frame each, in turn.
    func sendBlocked() {
        while sendWindow > 0, !blocked.isEmpty {
            let waiting = blocked
            blocked.removeAll(keepingCapacity: true)
            for stream in waiting {
                stream.isListed = false
                if stream.isClosed || isDead { continue }
                if sendWindow > 0 {
                    sendQueued(stream, most: HTTP2FrameHeader.defaultMaxPayload)
                } else {
                    waitForConnection(stream)
                }
            }
        }
    }

    public func queuedBytes(on id: StreamID) -> Int {
        streams[id]?.queue.count ?? 0
    }

    public var hasOutput: Bool { !output.isEmpty }

    public func takeOutput(into other: inout ByteBuffer) {
        workspace.take(&output, into: &other)
    }
}
