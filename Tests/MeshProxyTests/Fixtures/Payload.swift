import Glibc
import MeshBase

/// A body of any length that follows from a number, so that whoever receives it can tell whether
/// it is whole, without either side keeping it.
struct Payload {
    let seed: UInt64
    let count: Int

    /// Calls `body` with bytes `offset ..< offset + count`; at most `Payload.mostAtOnce` of them.
    func withBytes<R>(
        at offset: Int, count: Int, _ body: (UnsafeBufferPointer<UInt8>) -> R
    ) -> R {
        precondition(count <= Payload.mostAtOnce && offset + count <= self.count)
        let start = Payload.start(seed, offset)
        return Payload.table.withUnsafeBufferPointer {
            body(UnsafeBufferPointer(rebasing: $0[start..<start + count]))
        }
    }

    static let mostAtOnce = 65521
    /// Two periods of a prime length, so that a part never wraps.
    private static let table: [UInt8] = {
        var random = SeededRandom(seed: 7)
        let period = (0..<mostAtOnce).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        return period + period
    }()

    fileprivate static func start(_ seed: UInt64, _ offset: Int) -> Int {
        Int((seed &* 7919 &+ UInt64(offset)) % UInt64(mostAtOnce))
    }

    fileprivate static func matches(
        _ bytes: UnsafeBufferPointer<UInt8>, _ seed: UInt64, at offset: Int
    ) -> Bool {
        let start = start(seed, offset)
        return table.withUnsafeBufferPointer {
            memcmp($0.baseAddress! + start, bytes.baseAddress!, bytes.count) == 0
        }
    }
}

/// Compares what comes with the payload of a seed.
struct PayloadReader {
    let seed: UInt64
    private(set) var count = 0
    private(set) var isIntact = true
    /// The first bytes, for bodies that are text.
    private(set) var beginning: [UInt8] = []

    init(seed: UInt64) {
        self.seed = seed
    }

    mutating func take(_ bytes: UnsafeBufferPointer<UInt8>) {
        if beginning.count < 256 { beginning.append(contentsOf: bytes.prefix(256)) }
        var done = 0
        while done < bytes.count {
            let piece = min(Payload.mostAtOnce, bytes.count - done)
            let part = UnsafeBufferPointer(rebasing: bytes[done..<done + piece])
            if !Payload.matches(part, seed, at: count) { isIntact = false }
            count += piece
            done += piece
        }
    }

    func isWhole(_ expected: Int) -> Bool { isIntact && count == expected }
}

/// So many bytes, so often.
struct Pace {
    var bytes: Int
    var every: Duration
}
