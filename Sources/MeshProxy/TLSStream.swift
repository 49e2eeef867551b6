import EventLoop
import MTLS
import MeshBase

/// TLS over any byte stream, as a byte stream: for the layers above, nothing has changed but who is
/// known to be at the other end.
///
/// The session works on memory; ciphertext of one call is written to the stream below at once.
/// `streamConnected` is told when the handshake is done, on accepted connections too.
final class TLSStream: ByteStream, ByteStreamHandler {
    var handler: (any ByteStreamHandler)?
    private let session: TLSSession
    private let clusters: ClusterSet
    private var inner: (any ByteStream)?
    private var pauses: ReadPause = []
    /// Plaintext that came while reading was paused: at most what was under way.
    private var held = ByteBuffer()
    private var isEstablished = false
    private var receivedEnd = false
    private var isClosed = false
    private(set) var peerDetails: PeerDetails?
    private(set) var negotiatedProtocol: String?

    /// To be connected with `connect`, or to be fed an accepted stream with `accept`.
    init(session: TLSSession, clusters: ClusterSet, handler: (any ByteStreamHandler)?) {
        self.session = session
        self.clusters = clusters
        self.handler = handler
    }

    var remoteAddress: SocketAddress? { inner?.remoteAddress }
    var localAddress: SocketAddress? { inner?.localAddress }
    var queuedBytes: Int { inner?.queuedBytes ?? 0 }
    var isResumed: Bool { session.isResumed }

    func connect(_ address: SocketAddress, options: ConnectOptions) {
        inner = clusters.loop.connect(address, options: options, handler: self)
    }

    /// Serves TLS on a stream whose first bytes were read already.
    func accept(_ stream: any ByteStream, firstBytes: Span<UInt8>) {
        inner = stream
        stream.handler = self
        if firstBytes.count > 0 { streamReceived(firstBytes) }
    }

    // MARK: ByteStream

    func write(_ bytes: Span<UInt8>) {
        guard let inner, !isClosed else { return }
        clusters.withCiphertext { output in
            session.send(bytes, output: &output)
            output.withBytes { inner.write($0.span) }
        }
    }

    func finish() {
        guard let inner, !isClosed else { return }
        clusters.withCiphertext { output in
            session.sendClose(output: &output)
            output.withBytes { inner.write($0.span) }
        }
        inner.finish()
    }

    func pauseReading(_ reason: ReadPause) {
        let wasRunning = pauses.isEmpty
        pauses.insert(reason)
        if wasRunning, isEstablished { inner?.pauseReading(.inner) }
    }

    func resumeReading(_ reason: ReadPause) {
        guard pauses.contains(reason) else { return }
        pauses.remove(reason)
        if pauses.isEmpty {
            if !held.isEmpty || receivedEnd {
                // Never from inside a call made to us.
                clusters.loop.atTurnEnd(DeferredDelivery(stream: self))
            } else {
                inner?.resumeReading(.inner)
            }
        }
    }

    func close() {
        guard !isClosed else { return }
        if let inner, isEstablished {
            clusters.withCiphertext { output in
                session.sendClose(output: &output)
                output.withBytes { inner.write($0.span) }
            }
        }
        let inner = inner
        end()
        inner?.close()
    }

    func abort() {
        let inner = inner
        end()
        inner?.abort()
    }

    // MARK: What the stream below says

    func streamConnected() {
        guard let inner else { return }
        clusters.withCiphertext { output in
            session.start(output: &output)
            output.withBytes { inner.write($0.span) }
        }
    }

    func streamReceived(_ bytes: Span<UInt8>) {
        guard let inner, !isClosed else { return }
        let outcome = clusters.withPlaintext { plaintext in
            let outcome = clusters.withCiphertext { output in
                let outcome = session.receive(bytes, plaintext: &plaintext, output: &output)
                output.withBytes { if $0.count > 0 { inner.write($0.span) } }
                return outcome
            }
            if !isEstablished, session.isEstablished { established() }
            if plaintext.count > 0 { deliver(&plaintext) }
            return outcome
        }
        switch outcome {
        case .progress:
            break
        case .closed:
            ended()
        case .failed(let failure):
            fail(failure)
        }
    }

    func streamReceivedEnd() {
        if isEstablished, session.receivedCloseNotify {
            ended()
        } else {
            fail(
                TransportFailure(
                    isEstablished ? .closed : .tlsHandshake,
                    detail: isEstablished
                        ? "TLS was cut off without close_notify" : "closed during the handshake"))
        }
    }

    func streamDrained() { handler?.streamDrained() }

    func streamClosed(_ failure: TransportFailure) {
        inner = nil
        fail(failure)
    }

    // MARK: Inside

    private func established() {
        isEstablished = true
        peerDetails = PeerDetails(session)
        negotiatedProtocol = session.negotiatedProtocol
        handler?.streamConnected()
        if !pauses.isEmpty { inner?.pauseReading(.inner) }
    }

    private func deliver(_ plaintext: inout ByteBuffer) {
        if isClosed { return }
        if pauses.isEmpty, held.isEmpty {
            plaintext.withBytes { handler?.streamReceived($0.span) }
        } else {
            plaintext.withBytes { held.append($0) }
        }
    }

    fileprivate func deliverHeld() {
        guard pauses.isEmpty, !isClosed else { return }
        if !held.isEmpty {
            var bytes = ByteBuffer()
            swap(&bytes, &held)
            bytes.withBytes { handler?.streamReceived($0.span) }
        }
        if receivedEnd, pauses.isEmpty, held.isEmpty, !isClosed {
            receivedEnd = false
            handler?.streamReceivedEnd()
        }
        if pauses.isEmpty { inner?.resumeReading(.inner) }
    }

    private func ended() {
        if pauses.isEmpty, held.isEmpty {
            handler?.streamReceivedEnd()
        } else {
            receivedEnd = true
        }
    }

    private func fail(_ failure: TransportFailure) {
        guard !isClosed else { return }
        let (handler, inner) = (handler, inner)
        end()
        inner?.close()
        handler?.streamClosed(failure)
    }

    private func end() {
        isClosed = true
        handler = nil
        inner = nil
        held = ByteBuffer()
    }
}

private final class DeferredDelivery: TurnEndTask {
    private let stream: TLSStream

    init(stream: TLSStream) {
        self.stream = stream
    }

    func turnEnded() { stream.deliverHeld() }
}

/// A stream that could not even be begun; it says so in a later call, as streams must.
final class FailedStream: ByteStream, TurnEndTask {
    var handler: (any ByteStreamHandler)?
    private let failure: TransportFailure

    init(loop: any IOLoop, failure: TransportFailure, handler: any ByteStreamHandler) {
        self.failure = failure
        self.handler = handler
        loop.atTurnEnd(self)
    }

    var remoteAddress: SocketAddress? { nil }
    var localAddress: SocketAddress? { nil }
    var queuedBytes: Int { 0 }
    func write(_ bytes: Span<UInt8>) {}
    func finish() {}
    func pauseReading(_ reason: ReadPause) {}
    func resumeReading(_ reason: ReadPause) {}
    func close() { handler = nil }
    func abort() { handler = nil }

    func turnEnded() {
        let handler = handler
        self.handler = nil
        handler?.streamClosed(failure)
    }
}
