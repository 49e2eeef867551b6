public import HTTPCodec
public import MeshBase
public import MeshConfig

/// A checker: one short conversation with an endpoint, over bytes, that ends in a result. The deadline is
/// the shell's: when it passes first the result is `.failed("timed out")`.
public protocol Probe: AnyObject {
    /// The connection is open; writes what is to be sent first.
    /// - Returns: a result when there is nothing to wait for.
    func start(_ output: inout ByteBuffer) -> ProbeResult?
    /// Bytes came; may write more.
    func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult?
    /// The peer closed before there was a result.
    func closed() -> ProbeResult
}

/// Connecting is enough, or sending something and finding the expected pieces, in order, in the answer.
public final class TCPProbe: Probe {
    private let send: [UInt8]
    private let expected: [[UInt8]]
    private var answer: [UInt8] = []
    private static let maxAnswer = 64 * 1024

    public init(send: [UInt8] = [], receive: [[UInt8]] = []) {
        self.send = send
        expected = receive.filter { !$0.isEmpty }
    }

    public func start(_ output: inout ByteBuffer) -> ProbeResult? {
        output.append(send)
        return expected.isEmpty ? .passed : nil
    }

    public func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult? {
        guard answer.count + bytes.count <= TCPProbe.maxAnswer else {
            return .failed("the answer is longer than any expected one")
        }
        bytes.withUnsafeBufferPointer { answer.append(contentsOf: $0) }
        var position = 0
        for piece in expected {
            guard let end = find(piece, from: position) else { return nil }
            position = end
        }
        return .passed
    }

    public func closed() -> ProbeResult { .failed("closed before the expected bytes") }

    private func find(_ piece: [UInt8], from start: Int) -> Int? {
        var offset = start
        while offset + piece.count <= answer.count {
            if answer[offset..<offset + piece.count].elementsEqual(piece) {
                return offset + piece.count
            }
            offset += 1
        }
        return nil
    }
}

/// One request; its status decides.
public final class HTTPProbe: Probe {
    private let connection: any HTTPConnection
    private let config: HTTPProbeConfig
    private let authority: String

    /// - Parameter connection: a fresh client connection of the configured protocol.
    public init(_ config: HTTPProbeConfig, cluster: String, connection: any HTTPConnection) {
        self.config = config
        self.connection = connection
        authority = config.host.isEmpty ? cluster : config.host
    }

    public func start(_ output: inout ByteBuffer) -> ProbeResult? {
        var head = MessageHead()
        head.append(.method, config.method)
        head.append(.scheme, "http")
        head.append(.authority, authority)
        head.append(.path, config.path)
        head.append(.userAgent, "meshproxy-probe")
        if let changes = try? HeaderChangeList(config.requestHeaders) {
            let original = head
            changes.apply(to: &head, request: original, values: HeaderFormatValues())
        }
        guard connection.sendRequest(head, endStream: true) != nil else {
            return .failed("the connection takes no request")
        }
        connection.takeOutput(into: &output)
        return nil
    }

    public func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult? {
        connection.receive(bytes)
        defer { connection.takeOutput(into: &output) }
        return result()
    }

    public func closed() -> ProbeResult {
        connection.receiveEnd()
        return result() ?? .failed("closed before a response")
    }

    private func result() -> ProbeResult? {
        while let event = connection.nextEvent() {
            switch event {
            case .head(_, let head, _):
                let wanted = config.expectedStatuses
                let isExpected =
                    wanted.isEmpty
                    ? head.status == 200 : wanted.contains { $0.contains(head.status) }
                return isExpected ? .passed : .failed("status \(head.status)")
            case .reset(_, let code): return .failed("reset: \(code)")
            case .goAway(_, let code): return .failed("GOAWAY: \(code)")
            case .violation(let violation): return .failed(violation.reason)
            case .body, .trailers, .interim, .drained, .pong: continue
            }
        }
        return nil
    }
}

/// `grpc.health.v1.Health/Check`: passed when the answer is SERVING.
public final class GRPCProbe: Probe {
    private let connection: any HTTPConnection
    private let service: String
    private let authority: String
    private var answer: [UInt8] = []
    private static let maxAnswer = 4096

    /// - Parameter connection: a fresh HTTP/2 client connection.
    public init(
        service: String, authority: String, cluster: String, connection: any HTTPConnection
    ) {
        self.service = service
        self.authority = authority.isEmpty ? cluster : authority
        self.connection = connection
    }

    public func start(_ output: inout ByteBuffer) -> ProbeResult? {
        var head = MessageHead(
            method: "POST", scheme: "http", authority: authority,
            path: "/grpc.health.v1.Health/Check")
        head.append(.contentType, "application/grpc")
        head.append(.te, "trailers")
        guard let stream = connection.sendRequest(head, endStream: false) else {
            return .failed("the connection takes no request")
        }
        let message = GRPCProbe.framed(GRPCProbe.request(service))
        connection.sendBody(message.span, on: stream, endStream: true)
        connection.takeOutput(into: &output)
        return nil
    }

    public func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult? {
        connection.receive(bytes)
        defer { connection.takeOutput(into: &output) }
        return result()
    }

    public func closed() -> ProbeResult {
        connection.receiveEnd()
        return result() ?? .failed("closed before a response")
    }

    private func result() -> ProbeResult? {
        while let event = connection.nextEvent() {
            switch event {
            case .head(_, let head, let endStream):
                guard head.status == 200 else { return .failed("status \(head.status)") }
                if endStream { return judge(head) }
            case .body(let stream, let bytes, let endStream):
                guard answer.count + bytes.count <= GRPCProbe.maxAnswer else {
                    return .failed("the answer is too long")
                }
                answer.append(contentsOf: bytes)
                connection.consumed(bytes.count, on: stream)
                if endStream { return .failed("no grpc-status") }
            case .trailers(_, let trailers): return judge(trailers)
            case .reset(_, let code): return .failed("reset: \(code)")
            case .goAway(_, let code): return .failed("GOAWAY: \(code)")
            case .violation(let violation): return .failed(violation.reason)
            case .interim, .drained, .pong: continue
            }
        }
        return nil
    }

    private func judge(_ trailers: borrowing MessageHead) -> ProbeResult {
        let status = trailers.string(.grpcStatus) ?? ""
        guard status == "0" else { return .failed("grpc-status \(status)") }
        switch GRPCProbe.servingStatus(answer) {
        case 1: return .passed
        case let value?: return .failed("serving status \(value)")
        case nil: return .failed("the answer is no HealthCheckResponse")
        }
    }

    /// `HealthCheckRequest`: field 1 is the service's name, and left out when empty.
    static func request(_ service: String) -> [UInt8] {
        let name = Array(service.utf8.prefix(1 << 14))
        if name.isEmpty { return [] }
        let length =
            name.count < 128
            ? [UInt8(name.count)] : [UInt8(name.count & 127 | 128), UInt8(name.count >> 7)]
        return [10] + length + name
    }

    /// gRPC's prefix: not compressed, length in four bytes.
    static func framed(_ message: [UInt8]) -> [UInt8] {
        let count = UInt32(message.count)
        return [0] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) } + message
    }

    /// Field 1 of a framed `HealthCheckResponse`; 0 where it is left out, `nil` for anything else.
    static func servingStatus(_ framed: [UInt8]) -> UInt64? {
        guard framed.count >= 5, framed[0] == 0 else { return nil }
        let length = framed[1...4].reduce(0) { $0 << 8 | Int($1) }
        guard framed.count == 5 + length else { return nil }
        var status: UInt64 = 0
        var index = 5
        while index < framed.count {
            // Only varints are known here; health responses hold nothing else.
            guard framed[index] & 7 == 0 else { return nil }
            let isStatus = framed[index] == 8
            index += 1
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while true {
                guard index < framed.count, shift < 64 else { return nil }
                value |= UInt64(framed[index] & 127) << shift
                index += 1
                if framed[index - 1] & 128 == 0 { break }
                shift += 7
            }
            if isStatus { status = value }
        }
        return status
    }
}
