internal import MeshBase

/// The nine bytes before each frame (RFC 9113 §4.1).
struct HTTP2FrameHeader {
    static let count = 9
    static let defaultMaxPayload = 16384

    var length: Int
    var type: UInt8
    var flags: UInt8
    var stream: StreamID

    init(_ bytes: UnsafePointer<UInt8>) {
        length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
        type = bytes[3]
        flags = bytes[4]
        stream = StreamID(truncatingIfNeeded: bytes.bigEndian32(at: 5) & 0x7FFF_FFFF)
    }

    init(type: HTTP2FrameType, flags: UInt8, stream: StreamID, length: Int) {
        self.type = type.rawValue
        self.flags = flags
        self.stream = stream
        self.length = length
    }

    func has(_ flag: UInt8) -> Bool { flags & flag != 0 }

    @inline(__always)
    func write(to output: UnsafeMutablePointer<UInt8>) {
        output[0] = UInt8(truncatingIfNeeded: length >> 16)
        output[1] = UInt8(truncatingIfNeeded: length >> 8)
        output[2] = UInt8(truncatingIfNeeded: length)
        output[3] = type
        output[4] = flags
        (output + 5).putBigEndian32(UInt32(bitPattern: stream))
    }
}

/// RFC 9113 §6.
enum HTTP2FrameType: UInt8 {
    case data, headers, priority, rstStream, settings, pushPromise, ping, goAway, windowUpdate
    case continuation
}

enum HTTP2Flag {
    static let endStream: UInt8 = 1
    static let ack: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let padded: UInt8 = 8
    static let priority: UInt8 = 0x20
}

/// RFC 9113 §6.5.2.
enum HTTP2Setting: UInt16 {
    case headerTableSize = 1
    case enablePush, maxConcurrentStreams, initialWindowSize, maxFrameSize, maxHeaderListSize
}

extension UnsafePointer<UInt8> {
    @inline(__always)
    func bigEndian32(at offset: Int) -> UInt32 {
        UInt32(
            bigEndian: UnsafeRawPointer(self).loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        )
    }

    @inline(__always)
    func bigEndian16(at offset: Int) -> UInt16 {
        UInt16(
            bigEndian: UnsafeRawPointer(self).loadUnaligned(fromByteOffset: offset, as: UInt16.self)
        )
    }
}

extension UnsafeMutablePointer<UInt8> {
    @inline(__always)
    func putBigEndian32(_ value: UInt32) {
        UnsafeMutableRawPointer(self).storeBytes(of: value.bigEndian, as: UInt32.self)
    }

    @inline(__always)
    func putBigEndian16(_ value: UInt16) {
        UnsafeMutableRawPointer(self).storeBytes(of: value.bigEndian, as: UInt16.self)
    }
}

/// Writing of frames that are not messages.
extension ByteBuffer {
    @inline(__always)
    mutating func appendFrame(
        _ type: HTTP2FrameType, flags: UInt8 = 0, stream: StreamID, payload count: Int,
        _ fill: (UnsafeMutablePointer<UInt8>) -> Void
    ) {
        write(atLeast: HTTP2FrameHeader.count + count) { free in
            let start = free.baseAddress!
            HTTP2FrameHeader(type: type, flags: flags, stream: stream, length: count)
                .write(to: start)
            fill(start + HTTP2FrameHeader.count)
            return HTTP2FrameHeader.count + count
        }
    }

    mutating func appendRSTStream(_ stream: StreamID, _ code: HTTPErrorCode) {
        appendFrame(.rstStream, stream: stream, payload: 4) { $0.putBigEndian32(code.rawValue) }
    }

    mutating func appendWindowUpdate(_ stream: StreamID, _ increment: Int) {
        appendFrame(.windowUpdate, stream: stream, payload: 4) {
            $0.putBigEndian32(UInt32(truncatingIfNeeded: increment))
        }
    }

    mutating func appendSettings(_ settings: [(HTTP2Setting, Int)]) {
        appendFrame(.settings, stream: 0, payload: settings.count * 6) { payload in
            for (index, setting) in settings.enumerated() {
                (payload + index * 6).putBigEndian16(setting.0.rawValue)
                (payload + index * 6 + 2).putBigEndian32(UInt32(clamping: setting.1))
            }
        }
    }

    mutating func appendSettingsAck() {
        appendFrame(.settings, flags: HTTP2Flag.ack, stream: 0, payload: 0) { _ in }
    }

    mutating func appendPing(_ data: UnsafePointer<UInt8>?, isAck: Bool) {
        appendFrame(.ping, flags: isAck ? HTTP2Flag.ack : 0, stream: 0, payload: 8) {
            if let data {
                $0.update(from: data, count: 8)
            } else {
                $0.update(repeating: 0, count: 8)
            }
        }
    }

    mutating func appendGoAway(last: StreamID, _ code: HTTPErrorCode) {
        appendFrame(.goAway, stream: 0, payload: 8) {
            $0.putBigEndian32(UInt32(bitPattern: last))
            ($0 + 4).putBigEndian32(code.rawValue)
        }
    }
}
