/// A byte queue with one owner: bytes are appended at the tail and consumed from the head.
///
/// It owns raw memory that it gives back when it is empty and told to (`shrink`), so an idle
/// connection holds none. Growth doubles; the readable part is moved to the front instead when
/// that makes room. Appending never fails; bounding the size is the owner's business.
public struct ByteBuffer: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>?
    private var head = 0
    private var tail = 0
    public private(set) var capacity = 0

    public init() {}

    public init(capacity: Int) {
        reserve(capacity)
    }

    deinit {
        base?.deallocate()
    }

    /// How many bytes wait to be consumed.
    public var count: Int { tail - head }
    public var isEmpty: Bool { tail == head }

    /// Makes room for at least `free` more bytes.
    @inline(__always)
    public mutating func reserve(_ free: Int) {
        if capacity - tail < free { makeRoom(free) }
    }

    /// Kept apart so that the test before it is all that an append costs.
    @inline(never)
    private mutating func makeRoom(_ free: Int) {
        let used = tail - head
        if head > 0, capacity - used >= free, head >= used {
            base!.update(from: base! + head, count: used)
        } else {
            var grown = max(capacity, 512)
            while grown - used < free { grown *= 2 }
            let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: grown)
            if let base {
                fresh.update(from: base + head, count: used)
                base.deallocate()
            }
            base = fresh
            capacity = grown
        }
        head = 0
        tail = used
    }

    public mutating func append(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBufferPointer { append($0) }
    }

    public mutating func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        reserve(bytes.count)
        (base! + tail).update(from: source, count: bytes.count)
        tail += bytes.count
    }

    public mutating func append(_ text: StaticString) {
        append(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// A literal is a `StaticString` here, which needs no reference count and no transcoding.
    @_disfavoredOverload
    public mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { append($0) }
    }

    public mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBufferPointer { append($0) }
    }

    public mutating func append(byte: UInt8) {
        reserve(1)
        base![tail] = byte
        tail += 1
    }

    public mutating func append(decimal value: Int) {
        precondition(value >= 0)
        if value < 10 {
            append(byte: UInt8(48 + value))
            return
        }
        reserve(20)
        var digits = 1
        var bound: UInt = 10
        let number = UInt(value)
        // Ends before 10^19, which is beyond every Int, and so before the bound overflows.
        while digits < 19, number >= bound {
            digits += 1
            bound *= 10
        }
        var rest = number
        var index = tail + digits
        repeat {
            index -= 1
            base![index] = UInt8(truncatingIfNeeded: 48 + rest % 10)
            rest /= 10
        } while index > tail
        tail += digits
    }

    /// Hands out at least `minimum` bytes of free space; the closure says how many it filled.
    @discardableResult
    public mutating func write(
        atLeast minimum: Int, _ body: (UnsafeMutableBufferPointer<UInt8>) -> Int
    ) -> Int {
        reserve(minimum)
        let written = body(
            UnsafeMutableBufferPointer(start: base! + tail, count: capacity - tail))
        precondition(written >= 0 && written <= capacity - tail)
        tail += written
        return written
    }

    /// The bytes that wait, valid during the call.
    public func withBytes<R>(_ body: (UnsafeBufferPointer<UInt8>) throws -> R) rethrows -> R {
        guard let base else { return try body(UnsafeBufferPointer(start: nil, count: 0)) }
        return try body(UnsafeBufferPointer(start: base + head, count: tail - head))
    }

    public mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= tail - head)
        head += count
        if head == tail {
            head = 0
            tail = 0
        }
    }

    public mutating func removeAll() {
        head = 0
        tail = 0
    }

    /// Gives the memory back if nothing waits and more than `keeping` bytes are held.
    public mutating func shrink(keeping: Int = 0) {
        if tail == head, capacity > keeping {
            base?.deallocate()
            base = nil
            capacity = 0
            head = 0
            tail = 0
        }
    }
}
