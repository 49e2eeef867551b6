/// What a filter chain is chosen by, read from a TLS ClientHello that nobody has answered yet.
///
/// A reader of bytes that anyone may send: every length is checked against what encloses it
/// (RFC 8446 §4.1.2), nothing is kept beyond two fields, and the hello may come in several records
/// (§5.1) and in any number of reads. Anything that is not exactly a ClientHello is `notTLS`; OpenSSL
/// will judge what passes here once more, and more strictly.
public struct ClientHello: Equatable, Sendable {
    public enum Result: Equatable, Sendable {
        /// All well so far; call again with more bytes (all of them, from the first).
        case needMore
        case notTLS
        case hello(ClientHello)
    }

    /// SNI in lower case; `nil` when not sent.
    public var serverName: String?
    /// In the client's order.
    public var alpn: [String]

    public init(serverName: String? = nil, alpn: [String] = []) {
        self.serverName = serverName
        self.alpn = alpn
    }

    /// A longer hello is `notTLS`.
    public static let maxBytes = 32 * 1024

    /// Reads the first bytes of a connection. Its cost is one pass over them.
    public static func parse(_ bytes: Span<UInt8>) -> Result {
        var message: [UInt8] = []
        var offset = 0
        var isComplete = false
        while !isComplete {
            guard offset < bytes.count else { return .needMore }
            guard bytes[offset] == 22 else { return .notTLS }
            if offset + 1 < bytes.count, bytes[offset + 1] != 3 { return .notTLS }
            guard offset + 5 <= bytes.count else { return .needMore }
            let length = Int(bytes[offset + 3]) << 8 | Int(bytes[offset + 4])
            guard length > 0, length <= 16384 else { return .notTLS }
            offset += 5
            let end = min(offset + length, bytes.count)
            for index in offset..<end { message.append(bytes[index]) }
            if let first = message.first, first != 1 { return .notTLS }
            if message.count >= 4 {
                let size = Int(message[1]) << 16 | Int(message[2]) << 8 | Int(message[3])
                guard size <= maxBytes else { return .notTLS }
                isComplete = message.count >= 4 + size
                // A hello shares its record with nothing.
                if isComplete, message.count > 4 + size { return .notTLS }
            }
            offset += length
        }
        var reader = Reader(bytes: message, position: 4, end: message.count)
        guard let hello = read(&reader) else { return .notTLS }
        return .hello(hello)
    }

    private static func read(_ reader: inout Reader) -> ClientHello? {
        // Version, random; session id, cipher suites and compression methods by their lengths.
        guard reader.skip(34), let session = reader.vector(lengthBytes: 1), session.count <= 32,
            let suites = reader.vector(lengthBytes: 2), suites.count >= 2, suites.count % 2 == 0,
            let compressions = reader.vector(lengthBytes: 1), compressions.count >= 1
        else { return nil }
        var hello = ClientHello()
        if reader.isAtEnd { return hello }
        guard var extensions = reader.vector(lengthBytes: 2), reader.isAtEnd else { return nil }
        var seenName = false
        var seenALPN = false
        while !extensions.isAtEnd {
            guard let type = extensions.integer(bytes: 2),
                var body = extensions.vector(lengthBytes: 2)
            else { return nil }
            switch type {
            case 0:
                guard !seenName, let name = serverName(&body) else { return nil }
                seenName = true
                hello.serverName = name
            case 16:
                guard !seenALPN, let protocols = protocolNames(&body) else { return nil }
                seenALPN = true
                hello.alpn = protocols
            default:
                break
            }
        }
        return hello
    }

    /// RFC 6066 §3: a list that in practice holds one host name.
    private static func serverName(_ body: inout Reader) -> String? {
        guard var list = body.vector(lengthBytes: 2), body.isAtEnd,
            list.integer(bytes: 1) == 0, let name = list.vector(lengthBytes: 2), list.isAtEnd,
            name.count > 0, name.count <= 255
        else { return nil }
        var lowered: [UInt8] = []
        lowered.reserveCapacity(name.count)
        for byte in name.slice {
            guard byte > 0x20, byte < 0x7F else { return nil }
            lowered.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
        }
        return String(decoding: lowered, as: UTF8.self)
    }

    /// RFC 7301 §3.1. A name that is not text (GREASE) is passed over: nothing matches it.
    private static func protocolNames(_ body: inout Reader) -> [String]? {
        guard var list = body.vector(lengthBytes: 2), body.isAtEnd, list.count >= 2 else {
            return nil
        }
        var names: [String] = []
        while !list.isAtEnd {
            guard let name = list.vector(lengthBytes: 1), name.count > 0 else { return nil }
            if name.slice.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
                names.append(String(decoding: name.slice, as: UTF8.self))
            }
        }
        return names
    }

    /// A range of bytes that can only shrink.
    private struct Reader {
        let bytes: [UInt8]
        var position: Int
        let end: Int

        var count: Int { end - position }
        var isAtEnd: Bool { position == end }
        var slice: ArraySlice<UInt8> { bytes[position..<end] }

        mutating func skip(_ count: Int) -> Bool {
            guard self.count >= count else { return false }
            position += count
            return true
        }

        mutating func integer(bytes width: Int) -> Int? {
            guard count >= width else { return nil }
            var value = 0
            for _ in 0..<width {
                value = value << 8 | Int(bytes[position])
                position += 1
            }
            return value
        }

        mutating func vector(lengthBytes: Int) -> Reader? {
            guard let length = integer(bytes: lengthBytes), count >= length else { return nil }
            defer { position += length }
            return Reader(bytes: bytes, position: position, end: position + length)
        }
    }
}
