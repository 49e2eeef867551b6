import HTTPCodec

/// Finds the owner of a stream by its number: an open-addressed table that allocates once, and not
/// at all for one stream at a time, so that an idle connection of HTTP/1 holds no table.
///
/// HTTP/1 has one stream at a time and HTTP/2 numbers its own by twos, so the number itself,
/// halved, is a good hash.
struct StreamTable<Owner> {
    /// The only stream, while there is no table.
    private var sole: Owner?
    private var soleKey: StreamID = 0
    private var keys: [StreamID] = []
    private var owners: [Owner?] = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    subscript(stream: StreamID) -> Owner? {
        if keys.isEmpty { return stream == soleKey ? sole : nil }
        var slot = firstSlot(stream)
        while slot < keys.count {
            if owners[slot] == nil { return nil }
            if keys[slot] == stream { return owners[slot] }
            slot = (slot + 1) & (keys.count - 1)
        }
        return nil
    }

    /// The stream must not be in the table yet.
    mutating func insert(_ owner: Owner, at stream: StreamID) {
        if keys.isEmpty, sole == nil {
            sole = owner
            soleKey = stream
            count = 1
            return
        }
        if (count + 1) * 4 > keys.count * 3 { grow() }
        var slot = firstSlot(stream)
        while owners[slot] != nil {
            assert(keys[slot] != stream)
            slot = (slot + 1) & (keys.count - 1)
        }
        keys[slot] = stream
        owners[slot] = owner
        count += 1
    }

    @discardableResult
    mutating func remove(_ stream: StreamID) -> Owner? {
        if keys.isEmpty {
            guard stream == soleKey, let owner = sole else { return nil }
            sole = nil
            count = 0
            return owner
        }
        var slot = firstSlot(stream)
        while slot < keys.count, owners[slot] != nil, keys[slot] != stream {
            slot = (slot + 1) & (keys.count - 1)
        }
        guard slot < keys.count, let owner = owners[slot] else { return nil }
        owners[slot] = nil
        count -= 1
        closeGap(at: slot)
        return owner
    }

    /// All owners, in no order that means anything.
    func all() -> [Owner] {
        if let sole { return [sole] }
        return owners.compactMap { $0 }
    }

    mutating func removeAll() {
        sole = nil
        keys = []
        owners = []
        count = 0
    }

    private func firstSlot(_ stream: StreamID) -> Int {
        Int(truncatingIfNeeded: UInt32(bitPattern: stream) >> 1) & (keys.count - 1)
    }

    /// Moves later entries of a run back, so that a search may stop at the first free slot.
    private mutating func closeGap(at start: Int) {
        let mask = keys.count - 1
        var gap = start
        var slot = (start + 1) & mask
        while owners[slot] != nil {
            let home = firstSlot(keys[slot])
            if (slot &- home) & mask >= (slot &- gap) & mask {
                keys[gap] = keys[slot]
                owners[gap] = owners[slot]
                owners[slot] = nil
                gap = slot
            }
            slot = (slot + 1) & mask
        }
    }

    private mutating func grow() {
        let old = zip(keys, owners)
        let first = sole
        sole = nil
        let capacity = max(4, keys.count * 2)
        keys = Array(repeating: 0, count: capacity)
        owners = Array(repeating: nil, count: capacity)
        count = 0
        if let first { insert(first, at: soleKey) }
        for (key, owner) in old {
            if let owner { insert(owner, at: key) }
        }
    }
}
