internal import MeshBase

/// Header blocks of one direction, written (RFC 7541 §6).
///
/// **What goes into the table.** A field is put in when it is seen for the second time: what every
/// request repeats (host, user agent, content type) soon costs one byte, and what is new each time
/// (request ids, trace ids, lengths) never throws anything out. Which fields were seen is remembered by a
/// few bits of their hash; to be wrong there costs some bytes, no more. A known name that has no index from
/// the start is put in once with its first value, so that later values need not spell the name.
///
/// **What is found in it** is found by hash and then compared byte by byte.
///
/// Sensitive fields (credentials, and what came as never-indexed) are sent as such and remembered
/// nowhere (§7.1.3). Strings go out as they are, without Huffman coding (see `HPACKHuffman`).
struct HPACKEncoder: ~Copyable {
    private var table = HPACKTable(maxSize: 4096)
    /// Where in the table a hash was put last, as the low bits of its number; four slots in a row
    /// are looked at.
    private var places: UnsafeMutablePointer<UInt16>?
    /// The high bits of hashes that were seen.
    private var seen: UnsafeMutablePointer<UInt16>?
    /// The entry that holds a known name, as its number and one.
    private var names: UnsafeMutablePointer<Int32>?
    /// Table sizes that the next block must announce: the least in between, and the last (§4.2).
    private var pendingSizes: (least: Int, last: Int)?

    private static let placeCount = 256
    private static let seenCount = 128
    private static let mostBytes = 4096

    init() {}

    deinit {
        places?.deallocate()
        seen?.deallocate()
        names?.deallocate()
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    mutating func resize(to size: Int) {
        let size = min(size, HPACKEncoder.mostBytes)
        if size == table.maxSize, pendingSizes == nil { return }
        pendingSizes = (min(pendingSizes?.least ?? size, size), size)
        table.resize(to: size)
    }

    /// The most bytes that `encode` writes for this head.
    static func most(_ head: MessageHead) -> Int {
        head.withBytes { $0.count } + head.fields.count * 12 + 48
    }

    /// Writes a head's block: pseudo-header fields first, names in lower case, nothing that speaks of
    /// a connection.
    /// - Parameter output: has room for `most(head)`.
    /// - Returns: how many bytes were written.
    mutating func encode(_ head: MessageHead, into output: UnsafeMutablePointer<UInt8>) -> Int {
        if places == nil { prepare() }
        var end = output
        if let sizes = pendingSizes {
            pendingSizes = nil
            if sizes.least < sizes.last {
                end = HPACKEncoder.integer(sizes.least, prefix: 5, 0x20, end)
            }
            end = HPACKEncoder.integer(sizes.last, prefix: 5, 0x20, end)
        }
        if head.status > 0 { end = status(head.status, end) }
        head.withBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            for field in head.fields where field.name.isPseudo && field.name != .status {
                end = pseudo(field, base, end)
            }
            if head.contains(.host), head.contains(.method), !head.contains(.authority),
                let host = head.firstIndex(of: .host)
            {
                end = authority(ofHost: head.fields[host], base, end)
            }
            for field in head.fields {
                switch field.name {
                case .method, .scheme, .authority, .path, .status, .host, .connection, .keepAlive,
                    .proxyConnection, .transferEncoding, .upgrade, .http2Settings:
                    break
                case .te:
                    if field.valueCount == 8 { end = put(field, base, end) }
                default:
                    end = put(field, base, end)
                }
            }
        }
        return end - output
    }

    private mutating func prepare() {
        places = .allocate(capacity: HPACKEncoder.placeCount)
        places!.initialize(repeating: 0, count: HPACKEncoder.placeCount)
        seen = .allocate(capacity: HPACKEncoder.seenCount)
        seen!.initialize(repeating: 0, count: HPACKEncoder.seenCount)
        names = .allocate(capacity: 64)
        names!.initialize(repeating: 0, count: 64)
    }

    // MARK: Pseudo-header fields

    private func status(
        _ status: Int, _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        let index: UInt8
        switch status {
        case 200: index = 8
        case 204: index = 9
        case 206: index = 10
        case 304: index = 11
        case 400: index = 12
        case 404: index = 13
        case 500: index = 14
        default:
            return output.put(8).put(3).put(UInt8(48 + status / 100 % 10))
                .put(UInt8(48 + status / 10 % 10)).put(UInt8(48 + status % 10))
        }
        return output.put(0x80 | index)
    }

    private mutating func pseudo(
        _ field: MessageHead.Field, _ base: UnsafePointer<UInt8>,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        let value = base + field.valueStart
        // The static table's own values: GET and POST, "/" and "/index.html", http and https.
        let first: Int
        switch field.name {
        case .method: first = 2
        case .path: first = 4
        case .scheme: first = 6
        default: return put(field, base, output)
        }
        for index in first...first + 1 {
            let known = hpackStatic[index]
            if known.valueCount == field.valueCount,
                isSame(known.line + known.nameCount + 2, value, field.valueCount)
            {
                return output.put(0x80 | UInt8(index))
            }
        }
        return put(field, base, output)
    }

    private mutating func authority(
        ofHost field: MessageHead.Field, _ base: UnsafePointer<UInt8>,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        let end = HPACKEncoder.integer(1, prefix: 4, 0, output)
        return HPACKEncoder.string(base + field.valueStart, field.valueCount, end)
    }

    // MARK: Fields

    private mutating func put(
        _ field: MessageHead.Field, _ base: UnsafePointer<UInt8>,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        let line = base + field.lineStart
        let value = base + field.valueStart
        var nameIndex =
            field.name == .other
            ? hpackStatic.index(of: line, field.nameCount) : hpackStatic.index(of: field.name)
        // 23 is `authorization`, 49 `proxy-authorization`. Short cookies could be guessed.
        if field.isSensitive || nameIndex == 23 || nameIndex == 49
            || (field.name == .cookie && field.valueCount < 20)
        {
            return literal(0x10, prefix: 4, nameIndex, field, line, value, output)
        }
        let hash = hash(of: field, line, value)
        if let age = find(hash, field, line, value) {
            return HPACKEncoder.integer(HPACKStaticTable.count + 1 + age, prefix: 7, 0x80, output)
        }
        var isNew = true
        if nameIndex == 0, field.name != .other {
            let number = Int(names![Int(field.name.rawValue)]) - 1
            if number >= 0, number >= table.inserted - table.count {
                nameIndex = HPACKStaticTable.count + table.inserted - number
            } else {
                isNew = false
            }
        }
        let slot = Int(hash) & (HPACKEncoder.seenCount - 1)
        let mark = UInt16(truncatingIfNeeded: hash >> 16) | 1
        if seen![slot] == mark { isNew = false }
        seen![slot] = mark
        // What would fill a quarter of the table has to be worth it; it is not looked for.
        if isNew || field.lineCount > HPACKEncoder.mostBytes / 4 {
            return literal(0, prefix: 4, nameIndex, field, line, value, output)
        }
        let end = literal(0x40, prefix: 6, nameIndex, field, line, value, output)
        remember(hash, field, line)
        return end
    }

    private func find(
        _ hash: UInt32, _ field: MessageHead.Field, _ line: UnsafePointer<UInt8>,
        _ value: UnsafePointer<UInt8>
    ) -> Int? {
        if table.count == 0 { return nil }
        for step in 0..<4 {
            let slot = (Int(hash) &+ step) & (HPACKEncoder.placeCount - 1)
            let age = Int(UInt16(truncatingIfNeeded: table.inserted) &- places![slot]) - 1
            guard age >= 0, let entry = table.entry(age: age), entry.hash == hash,
                entry.name == field.name, Int(entry.valueCount) == field.valueCount,
                Int(entry.nameCount) == field.nameCount
            else { continue }
            let known = table.line(entry)
            if isSame(known + field.nameCount + 2, value, field.valueCount),
                field.name != .other
                    || asciiEqualIgnoringCase(known, line, count: field.nameCount)
            {
                return age
            }
        }
        return nil
    }

    private mutating func remember(
        _ hash: UInt32, _ field: MessageHead.Field, _ line: UnsafePointer<UInt8>
    ) {
        let before = table.inserted
        table.insert(
            line, nameCount: field.nameCount, valueCount: field.valueCount, name: field.name,
            hash: hash)
        if table.inserted == before { return }
        if field.name != .other {
            names![Int(field.name.rawValue)] = Int32(truncatingIfNeeded: table.inserted)
        }
        // The first free one of four; else the first.
        var place = Int(hash) & (HPACKEncoder.placeCount - 1)
        for step in 0..<4 {
            let slot = (Int(hash) &+ step) & (HPACKEncoder.placeCount - 1)
            let age = Int(UInt16(truncatingIfNeeded: table.inserted) &- places![slot]) - 1
            let entry = table.entry(age: age)
            if entry == nil || entry?.hash == hash {
                place = slot
                break
            }
        }
        places![place] = UInt16(truncatingIfNeeded: table.inserted - 1)
    }

    private func hash(
        of field: MessageHead.Field, _ line: UnsafePointer<UInt8>, _ value: UnsafePointer<UInt8>
    ) -> UInt32 {
        var state = UInt64(field.name.rawValue) &+ 0x9E37_79B9_7F4A_7C15
        if field.name == .other {
            state = mix(state, line, field.nameCount, fold: 0x2020_2020_2020_2020)
        }
        state = mix(state, value, field.valueCount, fold: 0)
        return UInt32(truncatingIfNeeded: state ^ state >> 32)
    }

    /// - Parameter fold: bits that do not count, so that upper and lower case are one.
    @inline(__always)
    private func mix(
        _ state: UInt64, _ bytes: UnsafePointer<UInt8>, _ count: Int, fold: UInt64
    ) -> UInt64 {
        var state = (state ^ UInt64(truncatingIfNeeded: count)) &* 0x9DDF_EA08_EB38_2D69
        let raw = UnsafeRawPointer(bytes)
        var at = 0
        while at &+ 8 <= count {
            let word = raw.loadUnaligned(fromByteOffset: at, as: UInt64.self) | fold
            state = (state ^ word) &* 0x9DDF_EA08_EB38_2D69
            state ^= state >> 29
            at &+= 8
        }
        var rest: UInt64 = 0
        while at < count {
            rest = rest << 8 | UInt64(bytes[at] | UInt8(truncatingIfNeeded: fold))
            at &+= 1
        }
        state = (state ^ rest) &* 0x9DDF_EA08_EB38_2D69
        return state ^ state >> 29
    }

    @inline(__always)
    private func isSame(
        _ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, _ count: Int
    ) -> Bool {
        let (a, b) = (UnsafeRawPointer(left), UnsafeRawPointer(right))
        var at = 0
        while at &+ 8 <= count {
            if a.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                != b.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            {
                return false
            }
            at &+= 8
        }
        while at < count {
            if left[at] != right[at] { return false }
            at &+= 1
        }
        return true
    }

    // MARK: Representations

    private func literal(
        _ pattern: UInt8, prefix: UInt8, _ nameIndex: Int, _ field: MessageHead.Field,
        _ line: UnsafePointer<UInt8>, _ value: UnsafePointer<UInt8>,
        _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        var end = HPACKEncoder.integer(nameIndex, prefix: prefix, pattern, output)
        if nameIndex == 0 {
            end = HPACKEncoder.integer(field.nameCount, prefix: 7, 0, end)
            for index in 0..<field.nameCount {
                let byte = line[index]
                end[index] = byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
            }
            end += field.nameCount
        }
        return HPACKEncoder.string(value, field.valueCount, end)
    }

    private static func string(
        _ bytes: UnsafePointer<UInt8>, _ count: Int, _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        integer(count, prefix: 7, 0, output).put(bytes, count)
    }

    /// RFC 7541 §5.1.
    @inline(__always)
    private static func integer(
        _ value: Int, prefix: UInt8, _ pattern: UInt8, _ output: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        let most = 1 << Int(prefix) &- 1
        if value < most { return output.put(pattern | UInt8(truncatingIfNeeded: value)) }
        var end = output.put(pattern | UInt8(truncatingIfNeeded: most))
        var rest = value - most
        while rest >= 128 {
            end = end.put(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return end.put(UInt8(truncatingIfNeeded: rest))
    }
}
