internal import MeshBase

// What an `HTTP2Connection` makes of the frames that come (RFC 9113 §4 to §6).

extension HTTP2Connection {
    // MARK: Reading

    public func receive(_ bytes: Span<UInt8>) {
        if isDead { return }
        idleFrameBudget = min(
            HTTP2Connection.mostIdleFrames, idleFrameBudget + HTTP2Connection.idleFramesPerRead)
        bytes.withUnsafeBufferPointer { bytes in
            guard let start = bytes.baseAddress else { return }
            read(start, bytes.count)
        }
    }

    private func read(_ input: UnsafePointer<UInt8>, _ count: Int) {
        var at = 0
        while at < count, !isDead {
            if prefaceLeft > 0 {
                at += readPreface(input + at, count - at)
            } else if isInData {
                at += readData(input + at, count - at)
            } else if !partial.isEmpty {
                at += complete(input + at, count - at)
            } else if count - at < HTTP2FrameHeader.count {
                partial.append(UnsafeBufferPointer(start: input + at, count: count - at))
                return
            } else {
                let frame = HTTP2FrameHeader(input + at)
                guard mayFollow(frame) else { return }
                let total = HTTP2FrameHeader.count + frame.length
                if frame.type == HTTP2FrameType.data.rawValue {
                    at += HTTP2FrameHeader.count
                    beginData(frame)
                } else if count - at < total {
                    partial.append(UnsafeBufferPointer(start: input + at, count: count - at))
                    return
                } else {
                    take(frame, input + at + HTTP2FrameHeader.count)
                    at += total
                }
            }
        }
    }

    private func readPreface(_ input: UnsafePointer<UInt8>, _ count: Int) -> Int {
        let text = HTTP2Connection.preface
        let done = text.utf8CodeUnitCount - prefaceLeft
        let taken = min(count, prefaceLeft)
        for index in 0..<taken where input[index] != text.utf8Start[done + index] {
            endConnection(.protocolError)
            return count
        }
        prefaceLeft -= taken
        return taken
    }

    /// Takes what a frame that was cut still needs: its header first, then the rest.
    private func complete(_ input: UnsafePointer<UInt8>, _ count: Int) -> Int {
        var taken = 0
        func fill(to wanted: Int) -> Bool {
            let more = min(wanted - partial.count, count - taken)
            if more > 0 {
                partial.append(UnsafeBufferPointer(start: input + taken, count: more))
                taken += more
            }
            return partial.count == wanted
        }
        if partial.count < HTTP2FrameHeader.count {
            guard fill(to: HTTP2FrameHeader.count) else { return taken }
        }
        let frame = partial.withBytes { HTTP2FrameHeader($0.baseAddress!) }
        if partial.count == HTTP2FrameHeader.count {
            guard mayFollow(frame) else { return count }
            if frame.type == HTTP2FrameType.data.rawValue {
                partial.removeAll()
                partial.shrink()
                beginData(frame)
                return taken
            }
        }
        guard fill(to: HTTP2FrameHeader.count + frame.length) else { return taken }
        var whole = ByteBuffer()
        swap(&whole, &partial)
        whole.withBytes { take(frame, $0.baseAddress! + HTTP2FrameHeader.count) }
        return taken
    }

    /// What every frame must keep to (RFC 9113 §3.4, §4.2, §6.10).
    private func mayFollow(_ frame: HTTP2FrameHeader) -> Bool {
        if frame.length > HTTP2FrameHeader.defaultMaxPayload {
            endConnection(.frameSizeError)
            return false
        }
        if !sawSettings {
            guard frame.type == HTTP2FrameType.settings.rawValue, !frame.has(HTTP2Flag.ack) else {
                endConnection(.protocolError)
                return false
            }
            sawSettings = true
        }
        let isContinuation = frame.type == HTTP2FrameType.continuation.rawValue
        if isContinuation != (blockFrame != nil)
            || (isContinuation && blockFrame?.stream != frame.stream)
        {
            endConnection(.protocolError)
            return false
        }
        return true
    }

    private func take(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        switch HTTP2FrameType(rawValue: frame.type) {
        case .headers: takeHeaders(frame, payload)
        case .continuation: takeContinuation(frame, payload)
        case .rstStream: takeReset(frame, payload)
        case .windowUpdate: takeWindowUpdate(frame, payload)
        case .settings: takeSettings(frame, payload)
        case .ping: takePing(frame, payload)
        case .goAway: takeGoAway(frame, payload)
        case .priority: takePriority(frame, payload)
        // We never allow it (§6.6, §8.4).
        case .pushPromise: endConnection(.protocolError)
        case .data: break
        // Unknown types are passed over (§5.5).
        case nil: _ = spend()
        }
    }

    /// A frame that does nothing has come. - Returns: whether the connection is still there.
    private func spend(_ cost: Int = 1) -> Bool {
        idleFrameBudget -= cost
        if idleFrameBudget >= 0 { return true }
        endConnection(.enhanceYourCalm)
        return false
    }

    // MARK: DATA

    private func beginData(_ frame: HTTP2FrameHeader) {
        if frame.stream == 0 || isIdle(frame.stream) {
            endConnection(.protocolError)
            return
        }
        if frame.length > receiveWindow {
            endConnection(.flowControlError)
            return
        }
        receiveWindow -= frame.length
        if frame.length == 0, !frame.has(HTTP2Flag.endStream), !spend() { return }
        dataFrame = frame
        dataLeft = frame.length
        paddingLeft = 0
        isInData = true
        if frame.has(HTTP2Flag.padded) {
            if frame.length == 0 {
                endConnection(.frameSizeError)
                return
            }
            // Its length is the first byte of the payload.
            paddingLeft = -1
        }
        if let stream = streams[frame.stream], !stream.isClosed {
            judgeData(frame, stream)
        } else {
            judgeLate(frame)
        }
        if dataLeft == 0, isInData { endData() }
    }

    private func judgeData(_ frame: HTTP2FrameHeader, _ stream: HTTP2Stream) {
        if stream.remoteEnded {
            resetStream(stream, .streamClosed, tells: true)
        } else if !stream.headDelivered {
            resetStream(stream, .protocolError, tells: true)
        } else if frame.length > stream.receiveWindow {
            resetStream(stream, .flowControlError, tells: true)
        } else {
            stream.receiveWindow -= frame.length
        }
    }

    /// A frame of a message for a stream that is over.
    private func judgeLate(_ frame: HTTP2FrameHeader) {
        switch ending(of: frame.stream) {
        case .bothEnded: endConnection(.streamClosed)
        case .peerReset: output.appendRSTStream(frame.stream, .streamClosed)
        case .ourReset, nil: break
        }
    }

    private func readData(_ input: UnsafePointer<UInt8>, _ count: Int) -> Int {
        var taken = 0
        if paddingLeft < 0 {
            paddingLeft = Int(input[0])
            taken = 1
            dataLeft -= 1
            if paddingLeft > dataLeft {
                endConnection(.protocolError)
                return count
            }
            // Padding counts against the windows and nobody will consume it (§6.9.1).
            giveBack(paddingLeft + 1, to: streams[dataFrame.stream])
        }
        let body = min(count - taken, dataLeft - paddingLeft)
        if body > 0 {
            deliver(UnsafeBufferPointer(start: input + taken, count: body))
            taken += body
            dataLeft -= body
        }
        if dataLeft == paddingLeft {
            let padding = min(count - taken, paddingLeft)
            taken += padding
            dataLeft -= padding
            paddingLeft -= padding
            if dataLeft == 0 { endData() }
        }
        return taken
    }

    private func deliver(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let stream = streams[dataFrame.stream], !stream.isClosed, !stream.isSilent else {
            giveBack(bytes.count, to: nil)
            return
        }
        stream.receivedBytes += bytes.count
        if stream.expectedBytes >= 0, stream.receivedBytes > stream.expectedBytes {
            giveBack(bytes.count, to: nil)
            resetStream(stream, .protocolError, tells: true)
            return
        }
        stream.unconsumed += bytes.count
        events.append(.body(stream.id, bytes, endStream: false))
    }

    private func endData() {
        isInData = false
        guard dataFrame.has(HTTP2Flag.endStream), let stream = streams[dataFrame.stream],
            !stream.isClosed, !stream.remoteEnded
        else { return }
        if stream.expectedBytes >= 0, stream.receivedBytes != stream.expectedBytes,
            !stream.isSilent
        {
            resetStream(stream, .protocolError, tells: true)
            return
        }
        stream.remoteEnded = true
        if !stream.isSilent {
            if let last = events.indices.last, last >= eventsTaken,
                case .body(stream.id, let bytes, _) = events[last]
            {
                events[last] = .body(stream.id, bytes, endStream: true)
            } else {
                let nothing = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
                events.append(.body(stream.id, nothing, endStream: true))
            }
        }
        closeIfEnded(stream)
    }

    // MARK: HEADERS

    private func takeHeaders(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.stream == 0 || (role == .client && isIdle(frame.stream)) {
            endConnection(.protocolError)
            return
        }
        var start = 0
        var end = frame.length
        if frame.has(HTTP2Flag.padded) {
            if end < 1 {
                endConnection(.frameSizeError)
                return
            }
            end -= Int(payload[0])
            start = 1
        }
        var dependsOnItself = false
        if frame.has(HTTP2Flag.priority) {
            if start + 5 > frame.length {
                endConnection(.frameSizeError)
                return
            }
            let parent = StreamID(
                truncatingIfNeeded: payload.bigEndian32(at: start) & 0x7FFF_FFFF)
            dependsOnItself = parent == frame.stream
            start += 5
        }
        if end < start {
            endConnection(.protocolError)
            return
        }
        let fragment = UnsafeBufferPointer(start: payload + start, count: end - start)
        if frame.has(HTTP2Flag.endHeaders) {
            takeBlock(frame, fragment, dependsOnItself: dependsOnItself)
        } else {
            blockFrame = frame
            blockDependsOnItself = dependsOnItself
            continuations = 0
            block.append(fragment)
        }
    }

    private func takeContinuation(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        continuations += 1
        guard let first = blockFrame, continuations <= HTTP2Connection.mostContinuations,
            block.count + frame.length
                <= limits.maxHeaderBytes + HTTP2FrameHeader.defaultMaxPayload
        else {
            endConnection(.enhanceYourCalm)
            return
        }
        block.append(UnsafeBufferPointer(start: payload, count: frame.length))
        guard frame.has(HTTP2Flag.endHeaders) else { return }
        blockFrame = nil
        var whole = ByteBuffer()
        swap(&whole, &block)
        whole.withBytes { takeBlock(first, $0, dependsOnItself: blockDependsOnItself) }
    }

    /// A header block is there. It is read in any case, for the sake of the decoder's table.
    private func takeBlock(
        _ frame: HTTP2FrameHeader, _ block: UnsafeBufferPointer<UInt8>, dependsOnItself: Bool
    ) {
        let id = frame.stream
        var stream = streams[id]
        if stream?.isClosed == true { stream = nil }
        let isTrailers = stream?.headDelivered == true
        var head = HTTP2HeadBuilder(
            isTrailers ? .trailers : role == .server ? .request : .response, workspace, limits)
        guard decoder.decode(block, into: &head) else {
            endConnection(.compressionError)
            return
        }
        if let stream {
            if stream.remoteEnded {
                resetStream(stream, .streamClosed, tells: true)
            } else if isTrailers, !frame.has(HTTP2Flag.endStream) {
                resetStream(stream, .protocolError, tells: true)
            } else if isTrailers {
                takeTrailers(&head, stream)
            } else {
                takeResponse(&head, stream, frame)
            }
        } else if role == .server, id % 2 == 1, id > lastPeerStream {
            takeRequest(&head, frame, dependsOnItself: dependsOnItself)
        } else if role == .server, id % 2 == 0 || ending(of: id) == nil {
            // Numbers of clients are odd and only grow (§5.1.1).
            endConnection(.protocolError)
        } else {
            judgeLate(frame)
        }
    }

    private func takeRequest(
        _ head: inout HTTP2HeadBuilder, _ frame: HTTP2FrameHeader, dependsOnItself: Bool
    ) {
        lastPeerStream = frame.stream
        if shutDownTwice {
            // Above what our last GOAWAY named: it was under way (§6.8).
            remember(frame.stream, .ourReset)
            return
        }
        if openStreams >= limits.maxConcurrentStreams {
            remember(frame.stream, .ourReset)
            output.appendRSTStream(frame.stream, .refusedStream)
            return
        }
        let stream = open(frame.stream)
        stream.remoteEnded = frame.has(HTTP2Flag.endStream)
        guard !dependsOnItself, let request = head.finish() else {
            refuse(stream, dependsOnItself ? .malformed : head.fault ?? .malformed)
            return
        }
        if !request.value(.method, equals: "CONNECT") {
            stream.expectedBytes = head.contentLength
            if stream.remoteEnded, head.contentLength > 0 {
                refuse(stream, .malformed)
                return
            }
        }
        stream.headDelivered = true
        events.append(.head(stream.id, request, endStream: stream.remoteEnded))
    }

    private func takeResponse(
        _ head: inout HTTP2HeadBuilder, _ stream: HTTP2Stream, _ frame: HTTP2FrameHeader
    ) {
        let ends = frame.has(HTTP2Flag.endStream)
        if stream.isSilent {
            stream.remoteEnded = ends
            closeIfEnded(stream)
            return
        }
        guard var response = head.finish() else {
            refuse(stream, head.fault ?? .malformed)
            return
        }
        let isInterim = response.status < 200
        let isBodiless = isInterim || response.status == 204
        if isBodiless, isInterim ? head.contentLength >= 0 : head.contentLength > 0 {
            // RFC 9110 §8.6.
            refuse(stream, .malformed)
            return
        }
        if isInterim {
            stream.interims += 1
            if ends || stream.interims > HTTP2Connection.mostInterims {
                refuse(stream, .malformed)
                return
            }
            events.append(.interim(stream.id, response))
            return
        }
        if isBodiless { response.remove(.contentLength) }
        if !stream.isHead, response.status != 304 { stream.expectedBytes = head.contentLength }
        if ends, stream.expectedBytes > 0 {
            refuse(stream, .malformed)
            return
        }
        if stream.isHead || isBodiless || response.status == 304 { stream.expectedBytes = 0 }
        stream.remoteEnded = ends
        stream.headDelivered = true
        events.append(.head(stream.id, response, endStream: ends))
        closeIfEnded(stream)
    }

    private func takeTrailers(_ head: inout HTTP2HeadBuilder, _ stream: HTTP2Stream) {
        if !stream.isSilent {
            guard let trailers = head.finish() else {
                refuse(stream, head.fault ?? .malformed)
                return
            }
            if stream.expectedBytes >= 0, stream.receivedBytes != stream.expectedBytes {
                resetStream(stream, .protocolError, tells: true)
                return
            }
            events.append(.trailers(stream.id, trailers))
        }
        stream.remoteEnded = true
        closeIfEnded(stream)
    }

    /// A message that may not be passed on.
    private func refuse(_ stream: HTTP2Stream, _ fault: HTTP2HeadBuilder.Fault) {
        if role == .server, !stream.headDelivered, fault == .tooLarge {
            stream.isSilent = true
            stream.localEnding = true
            writeHead(MessageHead(status: 431), stream, endStream: true)
            sentEnd(stream)
            return
        }
        resetStream(stream, fault == .tooLarge ? .enhanceYourCalm : .protocolError, tells: true)
    }

    // MARK: Other frames

    private func takeReset(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.length != 4 {
            endConnection(.frameSizeError)
        } else if frame.stream == 0 || isIdle(frame.stream) {
            endConnection(.protocolError)
        } else if let stream = streams[frame.stream], !stream.isClosed {
            if role == .server, !stream.hasAnswered {
                resetBudget -= 1
                if resetBudget < 0 {
                    endConnection(.enhanceYourCalm)
                    return
                }
            }
            let code = HTTPErrorCode(rawValue: payload.bigEndian32(at: 0)) ?? .internalError
            close(stream, code, .peerReset)
        }
    }

    private func takeWindowUpdate(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.length != 4 {
            endConnection(.frameSizeError)
            return
        }
        let increment = Int(payload.bigEndian32(at: 0) & 0x7FFF_FFFF)
        if frame.stream == 0 {
            if increment == 0 || sendWindow + increment > HTTP2Connection.mostWindow {
                endConnection(increment == 0 ? .protocolError : .flowControlError)
                return
            }
            sendWindow += increment
            sendBlocked()
        } else if isIdle(frame.stream) {
            endConnection(.protocolError)
        } else if let stream = streams[frame.stream], !stream.isClosed {
            if increment == 0 || stream.sendWindow + increment > HTTP2Connection.mostWindow {
                resetStream(
                    stream, increment == 0 ? .protocolError : .flowControlError, tells: true)
                return
            }
            stream.sendWindow += increment
            sendQueued(stream)
        }
    }

    private func takeSettings(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.stream != 0 {
            endConnection(.protocolError)
            return
        }
        if frame.has(HTTP2Flag.ack) {
            if frame.length != 0 { endConnection(.frameSizeError) }
            return
        }
        if frame.length % 6 != 0 {
            endConnection(.frameSizeError)
            return
        }
        if !spend(4) { return }
        // What is said twice counts as said last; streams are walked once.
        var streamWindow = peerStreamWindow
        var maxStreams: Int?
        for at in stride(from: 0, to: frame.length, by: 6) {
            let value = Int(payload.bigEndian32(at: at + 2))
            switch HTTP2Setting(rawValue: payload.bigEndian16(at: at)) {
            case .headerTableSize:
                encoder.resize(to: value)
            case .enablePush:
                if value > 1 || (role == .client && value != 0) {
                    endConnection(.protocolError)
                    return
                }
            case .maxConcurrentStreams:
                maxStreams = value
            case .initialWindowSize:
                if value > HTTP2Connection.mostWindow {
                    endConnection(.flowControlError)
                    return
                }
                streamWindow = value
            case .maxFrameSize:
                if value < HTTP2FrameHeader.defaultMaxPayload || value > 0xFF_FFFF {
                    endConnection(.protocolError)
                    return
                }
            // Larger frames would gain nothing: a TLS record holds no more.
            case .maxHeaderListSize, nil:
                break
            }
        }
        if let maxStreams {
            peerMaxStreams = maxStreams
        } else if !peerHasSpoken {
            peerMaxStreams = Int(Int32.max)
        }
        peerHasSpoken = true
        output.appendSettingsAck()
        if streamWindow != peerStreamWindow { changeStreamWindows(to: streamWindow) }
    }

    private func changeStreamWindows(to size: Int) {
        let change = size - peerStreamWindow
        peerStreamWindow = size
        var overflows = false
        streams.forEach { stream in
            stream.sendWindow += change
            if stream.sendWindow > HTTP2Connection.mostWindow { overflows = true }
        }
        if overflows {
            endConnection(.flowControlError)
        } else if change > 0 {
            for stream in streams.sorted() where !stream.isClosed { sendQueued(stream) }
        }
    }

    private func takePing(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.stream != 0 {
            endConnection(.protocolError)
        } else if frame.length != 8 {
            endConnection(.frameSizeError)
        } else if frame.has(HTTP2Flag.ack) {
            events.append(.pong)
        } else if spend() {
            output.appendPing(payload, isAck: true)
        }
    }

    private func takeGoAway(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.stream != 0 {
            endConnection(.protocolError)
            return
        }
        if frame.length < 8 {
            endConnection(.frameSizeError)
            return
        }
        let last = StreamID(truncatingIfNeeded: payload.bigEndian32(at: 0) & 0x7FFF_FFFF)
        let code = HTTPErrorCode(rawValue: payload.bigEndian32(at: 4)) ?? .internalError
        peerGoesAway = true
        if role == .client {
            for stream in streams.sorted() where stream.id > last && !stream.isClosed {
                close(stream, .refusedStream, .peerReset)
            }
        }
        events.append(.goAway(lastStream: last, code))
    }

    /// Priorities are not ours to follow (RFC 9113 §5.3.2); only their form is looked at.
    private func takePriority(_ frame: HTTP2FrameHeader, _ payload: UnsafePointer<UInt8>) {
        if frame.stream == 0 {
            endConnection(.protocolError)
            return
        }
        var code: HTTPErrorCode?
        if frame.length != 5 {
            code = .frameSizeError
        } else if StreamID(truncatingIfNeeded: payload.bigEndian32(at: 0) & 0x7FFF_FFFF)
            == frame.stream
        {
            code = .protocolError
        }
        guard let code else {
            _ = spend()
            return
        }
        if let stream = streams[frame.stream], !stream.isClosed {
            resetStream(stream, code, tells: true)
        } else {
            endConnection(code)
        }
    }

    public func receiveEnd() {
        if isDead { return }
        isDead = true
        for stream in streams.sorted() where !stream.isClosed && !stream.isSilent {
            guard isKnown(stream) else { continue }
            stream.isSilent = true
            events.append(.reset(stream.id, .cancel))
        }
        openStreams = 0
    }
}
