internal import MeshBase

/// Header blocks of one direction, read (RFC 7541 §3.1, §6): the dynamic table that the peer fills,
/// and the walk through a block.
///
/// A block is always walked to its end, even if its message is refused on the way: what it does to
/// the table counts for all later ones. Only what makes the table's state unknown is an error.
struct HPACKDecoder: ~Copyable {
    private var table: HPACKTable
    private let limit: Int

    /// - Parameter limit: what our SETTINGS_HEADER_TABLE_SIZE says.
    init(limit: Int = 4096) {
        self.limit = limit
        table = HPACKTable(maxSize: limit)
    }

    /// Walks a whole block and hands its fields over.
    /// - Returns: `false` when it can't be read; the connection must end with COMPRESSION_ERROR.
    mutating func decode(
        _ block: UnsafeBufferPointer<UInt8>, into head: inout HTTP2HeadBuilder
    ) -> Bool {
        guard let start = block.baseAddress else { return true }
        var input = HPACKInput(start, block.count)
        var mayResize = true
        while let byte = input.peek {
            if byte & 0x80 != 0 {
                guard let index = input.integer(prefix: 7) else { return false }
                if index >= 1, index <= HPACKStaticTable.count {
                    let entry = hpackStatic[index]
                    head.add(
                        line: entry.line, entry.nameCount, entry.valueCount, entry.name,
                        isFaulty: false)
                } else {
                    guard let entry = table.entry(age: index - HPACKStaticTable.count - 1) else {
                        return false
                    }
                    head.add(
                        line: table.line(entry), Int(entry.nameCount), Int(entry.valueCount),
                        entry.name, isFaulty: entry.isFaulty)
                }
            } else if byte & 0xE0 == 0x20 {
                // Only at the beginning of a block, and not beyond what we allow (§4.2, §6.3).
                guard mayResize, let size = input.integer(prefix: 5), size <= limit else {
                    return false
                }
                table.resize(to: size)
                continue
            } else {
                let isIndexed = byte & 0x40 != 0
                let isSensitive = byte & 0xF0 == 0x10
                guard let index = input.integer(prefix: isIndexed ? 6 : 4),
                    literal(index, &input, &head, isIndexed, isSensitive)
                else { return false }
            }
            mayResize = false
        }
        return true
    }

    private mutating func literal(
        _ index: Int, _ input: inout HPACKInput, _ head: inout HTTP2HeadBuilder,
        _ isIndexed: Bool, _ isSensitive: Bool
    ) -> Bool {
        head.beginField()
        let token: HeaderName
        if index == 0 {
            guard let count = input.string(into: head.workspace) else { return false }
            token = head.endName(count)
        } else if index <= HPACKStaticTable.count {
            let entry = hpackStatic[index]
            head.copyName(entry.line, entry.nameCount)
            token = entry.name
        } else {
            guard let entry = table.entry(age: index - HPACKStaticTable.count - 1) else {
                return false
            }
            head.copyName(table.line(entry), Int(entry.nameCount))
            token = entry.name
        }
        guard let count = input.string(into: head.workspace) else { return false }
        let field = head.endField(token, valueCount: count, isSensitive: isSensitive)
        if isIndexed {
            table.insert(
                head.workspace.lines + Int(field.start), nameCount: field.nameCount,
                valueCount: field.valueCount, name: token, isFaulty: field.isFaulty)
        }
        head.add(field)
        return true
    }
}

/// The rest of a block.
struct HPACKInput {
    private var at: UnsafePointer<UInt8>
    private let end: UnsafePointer<UInt8>

    init(_ start: UnsafePointer<UInt8>, _ count: Int) {
        at = start
        end = start + count
    }

    @inline(__always)
    var peek: UInt8? { at < end ? at.pointee : nil }

    /// RFC 7541 §5.1. - Returns: `nil` when it is cut short, or beyond any number that makes sense.
    @inline(__always)
    mutating func integer(prefix: UInt8) -> Int? {
        if at >= end { return nil }
        let mask = UInt8(1) << prefix &- 1
        let first = Int(at.pointee & mask)
        at += 1
        return first < Int(mask) ? first : longInteger(first)
    }

    private mutating func longInteger(_ first: Int) -> Int? {
        var value = first
        var shift = 0
        while at < end, shift <= 21 {
            let byte = at.pointee
            at += 1
            value += Int(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
        }
        return nil
    }

    /// RFC 7541 §5.2: writes a string behind what the workspace holds.
    /// - Returns: how many bytes it has.
    mutating func string(into workspace: HeadWorkspace) -> Int? {
        guard let first = peek, let count = integer(prefix: 7), count <= end - at else {
            return nil
        }
        if first & 0x80 == 0 {
            workspace.reserve(count)
            (workspace.lines + workspace.used).update(from: at, count: count)
            at += count
            workspace.used += count
            return count
        }
        workspace.reserve(HPACKHuffman.most(count))
        let decoded = hpackHuffman.decode(at, count, into: workspace.lines + workspace.used)
        if decoded < 0 { return nil }
        at += count
        workspace.used += decoded
        return decoded
    }
}
