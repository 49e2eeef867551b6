internal import MeshBase

// The dynamic table of HPACK (RFC 7541 §2.3.2), the same for both directions.
//
// Entries lie as HTTP/1 lines, "name: value CR LF", one behind the other in one block of memory, as
// they do in a `MessageHead`: a field that is in the table becomes part of a head by one copy. The
// oldest lie in front; when the block is full the live part is moved to its start, and since a block
// is twice what the table may hold that is seldom. A connection that sent no header has no block.

struct HPACKTable: ~Copyable {
    struct Entry {
        /// Where its line begins, counted from the first byte that was ever put in.
        fileprivate(set) var start: Int
        var nameCount: UInt32
        var valueCount: UInt32
        /// The encoder's, to find it again.
        var hash: UInt32
        var name: HeaderName
        /// It may be named by index like all others, but a message that holds it is malformed.
        var isFaulty: Bool

        var lineCount: Int { Int(nameCount) &+ Int(valueCount) &+ 4 }
        /// As RFC 7541 §4.1 counts it.
        fileprivate var size: Int { Int(nameCount) &+ Int(valueCount) &+ 32 }
    }

    private var block: UnsafeMutablePointer<UInt8>?
    private var blockCapacity = 0
    /// The number of the block's first byte, counted as in `Entry.start`.
    private var base = 0
    private var end = 0
    private var entries: UnsafeMutablePointer<Entry>?
    private var entryCapacity = 0
    /// How many were ever put in: the newest has this number less one.
    private(set) var inserted = 0
    private(set) var count = 0
    private(set) var size = 0
    private(set) var maxSize: Int

    init(maxSize: Int) {
        self.maxSize = maxSize
    }

    deinit {
        block?.deallocate()
        entries?.deallocate()
    }

    /// - Parameter age: 0 is the newest.
    /// - Returns: `nil` if there is none so old.
    @inline(__always)
    func entry(age: Int) -> Entry? {
        if age < 0 || age >= count { return nil }
        return entries![(inserted - 1 - age) & (entryCapacity - 1)]
    }

    /// - Parameter number: counted from the first that was ever put in.
    @inline(__always)
    func entry(number: Int) -> Entry? { entry(age: inserted - 1 - number) }

    /// The entry's line, valid until the next insertion.
    @inline(__always)
    func line(_ entry: Entry) -> UnsafePointer<UInt8> {
        UnsafePointer(block! + (entry.start - base))
    }

    mutating func resize(to maxSize: Int) {
        self.maxSize = maxSize
        evict(for: 0)
    }

    private mutating func evict(for size: Int) {
        while count > 0, self.size + size > maxSize {
            self.size -= entries![(inserted - count) & (entryCapacity - 1)].size
            count -= 1
        }
    }

    /// Puts a line in, which must not lie in the table, and throws out the oldest for it. One that is
    /// larger than the table leaves it empty (RFC 7541 §4.4).
    mutating func insert(
        _ line: UnsafePointer<UInt8>, nameCount: Int, valueCount: Int, name: HeaderName,
        hash: UInt32 = 0, isFaulty: Bool = false
    ) {
        var entry = Entry(
            start: 0, nameCount: UInt32(nameCount), valueCount: UInt32(valueCount), hash: hash,
            name: name, isFaulty: isFaulty)
        evict(for: entry.size)
        if entry.size > maxSize { return }
        makeRoom(entry.lineCount)
        entry.start = end
        (block! + (end - base)).update(from: line, count: entry.lineCount)
        end += entry.lineCount
        if count == entryCapacity { growEntries() }
        entries![inserted & (entryCapacity - 1)] = entry
        inserted += 1
        count += 1
        size += entry.size
    }

    private mutating func makeRoom(_ bytes: Int) {
        if end - base + bytes <= blockCapacity { return }
        let first = count > 0 ? entries![(inserted - count) & (entryCapacity - 1)].start : end
        let live = end - first
        var capacity = max(blockCapacity, 512)
        while capacity < live + bytes
            || (live + bytes > capacity / 2 && capacity < maxSize * 2)
        {
            capacity *= 2
        }
        if capacity == blockCapacity {
            if live > 0 { block!.update(from: block! + (first - base), count: live) }
        } else {
            let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
            if let block {
                fresh.update(from: block + (first - base), count: live)
                block.deallocate()
            }
            block = fresh
            blockCapacity = capacity
        }
        base = first
    }

    private mutating func growEntries() {
        let capacity = max(8, entryCapacity * 2)
        let fresh = UnsafeMutablePointer<Entry>.allocate(capacity: capacity)
        if let entries {
            for number in inserted - count..<inserted {
                fresh[number & (capacity - 1)] = entries[number & (entryCapacity - 1)]
            }
            entries.deallocate()
        }
        entries = fresh
        entryCapacity = capacity
    }
}

/// The static table with its lines and tokens; made once, never written again.
struct HPACKStaticTable {
    struct Entry {
        let line: UnsafePointer<UInt8>
        let nameCount: Int
        let valueCount: Int
        let name: HeaderName

        var lineCount: Int { nameCount &+ valueCount &+ 4 }
    }
    static let count = 61
    private let entries: UnsafeMutablePointer<Entry>
    private let byToken: UnsafeMutablePointer<UInt8>
    /// First indices of names that have no token, by `slot`.
    private let byName: UnsafeMutablePointer<UInt8>
    private static let slots = 512

    init() {
        entries = .allocate(capacity: HPACKStaticTable.count + 1)
        byToken = .allocate(capacity: 256)
        byToken.initialize(repeating: 0, count: 256)
        byName = .allocate(capacity: HPACKStaticTable.slots)
        byName.initialize(repeating: 0, count: HPACKStaticTable.slots)
        for (offset, field) in hpackStaticFields.enumerated() {
            let name = UnsafeBufferPointer(
                start: field.name.utf8Start, count: field.name.utf8CodeUnitCount)
            let value = UnsafeBufferPointer(
                start: field.value.utf8Start, count: field.value.utf8CodeUnitCount)
            let line = UnsafeMutablePointer<UInt8>.allocate(capacity: name.count + value.count + 4)
            var end = line
            for byte in name { end = end.put(byte) }
            end = end.put(0x3A).put(0x20)
            for byte in value { end = end.put(byte) }
            _ = end.put(0x0D).put(0x0A)
            let token = HeaderName(name)
            (entries + offset + 1).initialize(
                to: Entry(
                    line: UnsafePointer(line), nameCount: name.count, valueCount: value.count,
                    name: token))
            if token != .other {
                if byToken[Int(token.rawValue)] == 0 {
                    byToken[Int(token.rawValue)] = UInt8(offset + 1)
                }
            } else {
                // Two names of one slot: the later is written out when it is sent.
                let slot = HPACKStaticTable.slot(name.baseAddress!, name.count)
                if byName[slot] == 0 { byName[slot] = UInt8(offset + 1) }
            }
        }
    }

    /// - Parameter index: 1 to `count`.
    @inline(__always)
    subscript(index: Int) -> Entry { entries[index] }

    /// The first index with this name, or 0.
    @inline(__always)
    func index(of name: HeaderName) -> Int { Int(byToken[Int(name.rawValue)]) }

    /// The same for a name that has no token, in any case.
    func index(of name: UnsafePointer<UInt8>, _ count: Int) -> Int {
        if count == 0 { return 0 }
        let index = Int(byName[HPACKStaticTable.slot(name, count)])
        guard index > 0, entries[index].nameCount == count,
            asciiEqualIgnoringCase(entries[index].line, name, count: count)
        else { return 0 }
        return index
    }

    private static func slot(_ name: UnsafePointer<UInt8>, _ count: Int) -> Int {
        let bytes = UInt32(name[0] | 0x20) | UInt32(name[count - 1] | 0x20) << 8
        let key = bytes | UInt32(name[count / 2] | 0x20) << 16
        return Int(((key ^ UInt32(truncatingIfNeeded: count) << 24) &* 0x9E37_79B1) >> 23)
    }
}

extension UnsafeMutablePointer<UInt8> {
    /// Writes a byte. - Returns: where the next one goes.
    @inline(__always)
    func put(_ byte: UInt8) -> UnsafeMutablePointer<UInt8> {
        pointee = byte
        return self + 1
    }

    @inline(__always)
    func put(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UnsafeMutablePointer<UInt8> {
        update(from: bytes, count: count)
        return self + count
    }
}

/// Never written after they are made.
nonisolated(unsafe) let hpackStatic = HPACKStaticTable()
nonisolated(unsafe) let hpackHuffman = HPACKHuffman()
