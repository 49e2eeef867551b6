internal import MeshBase

/// One HTTP/2 stream (RFC 9113 §5.1).
final class HTTP2Stream {
    fileprivate(set) var id: StreamID
    /// The final head was delivered.
    var headDelivered = false
    /// The peer has ended its side.
    var remoteEnded = false
    /// The end of our side was handed over, and perhaps not sent yet.
    var localEnding = false
    /// It was sent.
    var localEnded = false
    /// Our final head was sent.
    var hasAnswered = false
    /// The caller gave the stream up or was told that it is over: no further event.
    var isSilent = false
    /// It is over; it is kept for what is not consumed yet.
    var isClosed = false
    /// Its queue is beyond the limit and the caller waits for `.drained`.
    var isBlocked = false
    /// It waits for a window among the connection's `blocked`.
    var isListed = false
    /// The response is to a HEAD: its length speaks of no body.
    var isHead = false
    var interims = 0
    /// Body bytes delivered and not given back.
    var unconsumed = 0
    /// Given back, and not told to the peer yet.
    var toReturn = 0
    /// What the peer may still send.
    var receiveWindow = 0
    /// What we may still send; may be below zero (§6.9.2).
    var sendWindow = 0
    /// What the message's head says of its body, -1 for nothing, and what came.
    var expectedBytes = -1
    var receivedBytes = 0
    /// Body bytes that wait for a window.
    var queue = ByteBuffer()
    var trailers: MessageHead?

    init(id: StreamID) {
        self.id = id
    }

    /// Makes a closed stream ready to be another.
    fileprivate func reset(id: StreamID) {
        self.id = id
        headDelivered = false
        remoteEnded = false
        localEnding = false
        localEnded = false
        hasAnswered = false
        isSilent = false
        isClosed = false
        isBlocked = false
        isListed = false
        isHead = false
        interims = 0
        unconsumed = 0
        toReturn = 0
        expectedBytes = -1
        receivedBytes = 0
        queue.removeAll()
        trailers = nil
    }
}

/// Streams by number: open addressing, made for numbers that grow by two. Streams that were removed
/// are used again.
struct HTTP2StreamTable {
    private var slots: [HTTP2Stream?] = []
    private(set) var count = 0
    private var free: [HTTP2Stream] = []

    private func home(_ id: StreamID) -> Int { Int(id >> 1) & (slots.count - 1) }

    private func slot(of id: StreamID) -> Int? {
        if count == 0 { return nil }
        var index = home(id)
        while let stream = slots[index] {
            if stream.id == id { return index }
            index = (index + 1) & (slots.count - 1)
        }
        return nil
    }

    subscript(id: StreamID) -> HTTP2Stream? {
        slot(of: id).flatMap { slots[$0] }
    }

    /// Makes a stream that is not there yet.
    mutating func open(_ id: StreamID) -> HTTP2Stream {
        let stream: HTTP2Stream
        if let old = free.popLast() {
            old.reset(id: id)
            stream = old
        } else {
            stream = HTTP2Stream(id: id)
        }
        if (count + 1) * 2 > slots.count { grow() }
        place(stream)
        count += 1
        return stream
    }

    private mutating func place(_ stream: HTTP2Stream) {
        var index = home(stream.id)
        while slots[index] != nil { index = (index + 1) & (slots.count - 1) }
        slots[index] = stream
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: nil, count: max(8, old.count * 2))
        for stream in old {
            if let stream { place(stream) }
        }
    }

    mutating func remove(_ id: StreamID) {
        guard var hole = slot(of: id) else { return }
        // One that still stands in a list is let go: it must not become another meanwhile.
        if free.count < 4, let stream = slots[hole], !stream.isListed { free.append(stream) }
        slots[hole] = nil
        count -= 1
        // Streams behind the hole that probed past it move up, so that no search ends at it.
        let mask = slots.count - 1
        var index = (hole + 1) & mask
        while let stream = slots[index] {
            if (index &- home(stream.id)) & mask >= (index &- hole) & mask {
                slots[hole] = stream
                slots[index] = nil
                hole = index
            }
            index = (index + 1) & mask
        }
    }

    /// All streams, in no order.
    func forEach(_ body: (HTTP2Stream) -> Void) {
        if count == 0 { return }
        for stream in slots {
            if let stream { body(stream) }
        }
    }

    /// All streams by number.
    func sorted() -> [HTTP2Stream] {
        slots.compactMap { $0 }.sorted { $0.id < $1.id }
    }
}
