internal import MeshBase

/// Memory that all connections of a loop use in turn, so that an idle one holds none.
///
/// The fields of a head lie here while it is read, since a head is read in one go; what is found to be good
/// becomes a `MessageHead` by two copies. And output buffers are lent from here from a codec's first byte
/// until its output is taken.
public final class HeadWorkspace {
    private(set) var lines: UnsafeMutablePointer<UInt8>
    private var lineCapacity = 4096
    var used = 0
    private(set) var fields: UnsafeMutablePointer<MessageHead.Field>
    private var fieldCapacity = 64
    var fieldCount = 0

    private let spares = UnsafeMutablePointer<ByteBuffer>.allocate(
        capacity: HeadWorkspace.mostSpares)
    private var spareCount = 0
    private var spareBytes = 0

    private static let mostSpares = 64
    private static let mostSpareBytes = 1024 * 1024

    public init() {
        lines = .allocate(capacity: lineCapacity)
        fields = .allocate(capacity: fieldCapacity)
    }

    deinit {
        lines.deallocate()
        fields.deallocate()
        spares.deinitialize(count: spareCount)
        spares.deallocate()
    }

    // MARK: Output buffers

    /// Gives an empty buffer memory, if it has none and there is some.
    @inline(__always)
    func lend(_ buffer: inout ByteBuffer) {
        if buffer.capacity > 0 || spareCount == 0 { return }
        spareCount -= 1
        buffer = (spares + spareCount).move()
        spareBytes -= buffer.capacity
    }

    /// Moves a codec's output into another buffer, and takes its memory back.
    func take(_ output: inout ByteBuffer, into other: inout ByteBuffer) {
        if other.isEmpty {
            swap(&output, &other)
        } else {
            output.withBytes { other.append($0) }
            output.removeAll()
        }
        if output.capacity == 0 { return }
        guard spareCount < HeadWorkspace.mostSpares,
            spareBytes + output.capacity <= HeadWorkspace.mostSpareBytes
        else {
            output.shrink()
            return
        }
        spareBytes += output.capacity
        var spare = ByteBuffer()
        swap(&spare, &output)
        (spares + spareCount).initialize(to: spare)
        spareCount += 1
    }

    // MARK: Heads

    /// Makes room for so many more bytes.
    @inline(__always)
    func reserve(_ count: Int) {
        if lineCapacity - used < count { grow(count) }
    }

    private func grow(_ count: Int) {
        var capacity = lineCapacity
        while capacity - used < count { capacity *= 2 }
        let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        fresh.update(from: lines, count: used)
        lines.deallocate()
        lines = fresh
        lineCapacity = capacity
    }

    /// Forgets what was read before.
    func begin() {
        used = 0
        fieldCount = 0
    }

    /// Adds a field; a line that lies as "name: value" is copied whole.
    @inline(__always)
    func append(
        _ token: HeaderName, name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>
    ) {
        let count = name.count &+ value.count &+ 4
        reserve(count)
        let start = used
        let line = lines + start
        if let text = name.baseAddress {
            let behind = text + name.count
            if value.baseAddress == behind + 2, behind[1] == 0x20 {
                line.update(from: text, count: count &- 2)
            } else {
                line.update(from: text, count: name.count)
                let end = (line + name.count).put(0x3A).put(0x20)
                if let text = value.baseAddress { end.update(from: text, count: value.count) }
            }
        }
        _ = (line + (count &- 2)).put(0x0D).put(0x0A)
        used = start &+ count
        append(
            MessageHead.Field(
                name: token, lineStart: start, nameCount: name.count, valueCount: value.count))
    }

    func append(_ token: HeaderName, _ value: UnsafeBufferPointer<UInt8>) {
        let text = token.text
        append(
            token,
            name: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount),
            value: value)
    }

    func append(_ token: HeaderName, _ value: StaticString) {
        append(
            token, UnsafeBufferPointer(start: value.utf8Start, count: value.utf8CodeUnitCount))
    }

    /// What was read, as a head whose characters were looked at.
    func head() -> MessageHead {
        MessageHead(
            lines: UnsafeBufferPointer(start: lines, count: used),
            fields: UnsafeBufferPointer(start: fields, count: fieldCount))
    }

    @inline(__always)
    func append(_ field: MessageHead.Field) {
        if fieldCount == fieldCapacity { growFields() }
        fields[fieldCount] = field
        fieldCount += 1
    }

    private func growFields() {
        let fresh = UnsafeMutablePointer<MessageHead.Field>.allocate(capacity: fieldCapacity * 2)
        fresh.update(from: fields, count: fieldCount)
        fields.deallocate()
        fields = fresh
        fieldCapacity *= 2
    }
}

@available(*, unavailable)
extension HeadWorkspace: Sendable {}
