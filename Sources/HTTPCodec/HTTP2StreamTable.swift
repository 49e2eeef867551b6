internal import MeshBase

/// What one HTTP/2 stream has beside what nghttp2 knows of it.
final class HTTP2Stream {
    let id: StreamID
    /// The final head was delivered.
    var headDelivered = false
    var remoteEnded = false
    /// The end of our side was handed over, and perhaps not sent yet.
    var localEnding = false
    /// It was sent.
    var localEnded = false
    /// The caller gave the stream up or was told that it is over: no further event.
    var isSilent = false
    /// nghttp2 has forgotten it; it is kept for what is not consumed yet.
    var isClosed = false
    var isBlocked = false
    var interims = 0
    /// Body bytes delivered and not given back.
    var unconsumed = 0
    /// Body bytes that the peer's window doesn't let out.
    var queue = ByteBuffer()
    var trailers: MessageHead?

    init(id: StreamID) {
        self.id = id
    }
}

/// Streams by number: open addressing, made for numbers that grow by two.
struct HTTP2StreamTable {
    private var slots: [HTTP2Stream?] = []
    private(set) var count = 0

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

    mutating func insert(_ stream: HTTP2Stream) {
        if (count + 1) * 2 > slots.count { grow() }
        place(stream)
        count += 1
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
}
