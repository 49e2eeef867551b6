/// Cuts a gRPC byte stream into messages: a flag byte, a big-endian length, and as many bytes.
///
/// No compression is negotiated by us, so a set flag is an error, as the gRPC protocol has it.
public struct GRPCReader: Sendable {
    public enum Failure: Error, Equatable, Sendable {
        /// The compressed flag is set, or is neither 0 nor 1.
        case compressed
        case tooLarge(bytes: Int)
    }

    private let maxMessageBytes: Int
    private var prefix: (count: Int, length: Int) = (0, 0)
    private var message: [UInt8] = []

    public init(maxMessageBytes: Int = 64 * 1024 * 1024) {
        self.maxMessageBytes = maxMessageBytes
    }

    /// Whether bytes of an unfinished message are held; at the end of a stream that is an error.
    public var isInsideMessage: Bool { prefix.count > 0 }

    /// Takes bytes in and hands each message that they complete to `deliver`, in order.
    public mutating func receive(
        _ bytes: Span<UInt8>, _ deliver: ([UInt8]) -> Void
    ) throws(Failure) {
        var at = 0
        while at < bytes.count || (prefix.count == 5 && message.count == prefix.length) {
            if prefix.count < 5 {
                try takePrefix(bytes[at])
                at += 1
                continue
            }
            let count = min(prefix.length - message.count, bytes.count - at)
            bytes.extracting(at..<at + count).withUnsafeBufferPointer {
                message.append(contentsOf: $0)
            }
            at += count
            if message.count == prefix.length {
                deliver(message)
                message = []
                prefix = (0, 0)
            }
        }
    }

    private mutating func takePrefix(_ byte: UInt8) throws(Failure) {
        prefix.count += 1
        if prefix.count == 1 {
            if byte != 0 { throw .compressed }
            return
        }
        prefix.length = prefix.length << 8 | Int(byte)
        // What is announced is not allocated until it comes.
        if prefix.count == 5, prefix.length > maxMessageBytes {
            throw .tooLarge(bytes: prefix.length)
        }
    }
}

/// Writes the prefix of gRPC messages.
public enum GRPCWriter {
    /// A message with its five bytes in front, uncompressed.
    public static func frame(_ message: [UInt8]) -> [UInt8] {
        precondition(message.count <= UInt32.max)
        let length = UInt32(message.count)
        var framed: [UInt8] = []
        framed.reserveCapacity(5 + message.count)
        framed.append(0)
        for shift in [24, 16, 8, 0] as [UInt32] {
            framed.append(UInt8(truncatingIfNeeded: length >> shift))
        }
        framed.append(contentsOf: message)
        return framed
    }
}
