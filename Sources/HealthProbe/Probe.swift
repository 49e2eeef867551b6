public import HTTPCodec
public import MeshBase
public import MeshConfig

/// A checker: short conversations with an endpoint, over bytes, each of which ends in a result. The
/// deadline is the shell's.
public protocol Probe: AnyObject {
    /// The connection is open, or is used again; writes what is to be sent first.
    /// - Returns: a result when there is nothing to wait for.
    func start(_ output: inout ByteBuffer) -> ProbeResult?
    /// Bytes came, which between two conversations have no result; may write more.
    func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult?
    /// The peer closed before there was a result.
    func closed() -> ProbeResult
    /// After a result: another conversation may follow on this connection.
    var canContinue: Bool { get }
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
        answer = []
        output.append(send)
        return expected.isEmpty ? .passed : nil
    }

    public func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult? {
        guard answer.count + bytes.count <= TCPProbe.maxAnswer else {
            return .failed(.network, "the answer is longer than any expected one")
        }
        bytes.withUnsafeBufferPointer { answer.append(contentsOf: $0) }
        return answer.hasPieces(expected) ? .passed : nil
    }

    public func closed() -> ProbeResult { .failed(.network, "closed before the expected bytes") }
    // A connect is all that is asked for where nothing is expected.
    public var canContinue: Bool { !expected.isEmpty }
}

extension [UInt8] {
    /// Whether it has all of these, one after the other.
    fileprivate func hasPieces(_ pieces: [[UInt8]]) -> Bool {
        var offset = 0
        for piece in pieces where !piece.isEmpty {
            while true {
                guard offset + piece.count <= count else { return false }
                if self[offset..<offset + piece.count].elementsEqual(piece) { break }
                offset += 1
            }
            offset += piece.count
        }
        return true
    }
}

/// One request; the status of its answer decides, and what else is expected of it.
public final class HTTPProbe: Probe {
    private let connection: any HTTPConnection
    private let config: HTTPProbeConfig
    private let authority: String
    private let isTLS: Bool
    private let serviceTest: TextTest?
    /// What the head of the answer says, while its body is still to come.
    private var verdict: ProbeResult?
    private var answer: [UInt8] = []
    private var hasBegun = false

    /// - Parameter host: the endpoint's name for checks, which comes first; empty: none.
    /// - Parameter connection: a fresh client connection of the configured protocol.
    public init(
        _ config: HTTPProbeConfig, cluster: String, host: String = "", isTLS: Bool = false,
        connection: any HTTPConnection
    ) {
        self.config = config
        self.connection = connection
        self.isTLS = isTLS
        serviceTest = config.serviceName.flatMap { try? TextTest($0) }
        authority = !host.isEmpty ? host : config.host.isEmpty ? cluster : config.host
    }

    public func start(_ output: inout ByteBuffer) -> ProbeResult? {
        verdict = nil
        answer = []
        hasBegun = true
        var head = MessageHead()
        head.append(.method, config.method)
        head.append(.scheme, isTLS ? "https" : "http")
        head.append(.authority, authority)
        head.append(.path, config.path)
        head.append(.userAgent, "meshproxy-probe")
        if let changes = try? HeaderChangeList(config.requestHeaders) {
            let original = head
            changes.apply(to: &head, request: original, values: HeaderFormatValues())
        }
        guard connection.sendRequest(head, endStream: true) != nil else {
            return .failed(.network, "the connection takes no request")
        }
        connection.takeOutput(into: &output)
        return nil
    }

    public var canContinue: Bool { connection.openStreams == 0 && connection.streamsAvailable > 0 }

    public func received(_ bytes: Span<UInt8>, _ output: inout ByteBuffer) -> ProbeResult? {
        connection.receive(bytes)
        defer { connection.takeOutput(into: &output) }
        return result()
    }

    public func closed() -> ProbeResult {
        connection.receiveEnd()
        return result() ?? .failed(.network, "closed before a response")
    }

    private func result() -> ProbeResult? {
        while let event = connection.nextEvent() {
            switch event {
            case .head(_, let head, let endStream):
                let judged = judge(head)
                if endStream { return finish(judged) }
                verdict = judged
            case .body(let stream, let bytes, let endStream):
                answer += bytes.prefix(config.bodyLimit - answer.count)
                connection.consumed(bytes.count, on: stream)
                if endStream, let verdict { return finish(verdict) }
            case .trailers:
                if let verdict { return finish(verdict) }
            case .reset(_, let code): return failed("reset: \(code)")
            // One that is open when it comes is answered yet.
            case .goAway where connection.openStreams > 0: continue
            case .goAway(_, let code): return failed("GOAWAY: \(code)")
            case .violation(let violation): return failed(violation.reason)
            case .interim, .drained, .pong: continue
            }
        }
        return nil
    }

    private func failed(_ reason: String) -> ProbeResult? {
        hasBegun ? finish(.failed(.network, reason)) : nil
    }

    private func finish(_ result: ProbeResult) -> ProbeResult {
        hasBegun = false
        guard result == .passed || result == .degraded, !answer.hasPieces(config.receive) else {
            return result
        }
        return .failed(.wrongAnswer, "the body has not what is expected")
    }

    private func judge(_ head: borrowing MessageHead) -> ProbeResult {
        let status = head.status
        if head.string("x-envoy-immediate-health-check-fail") != nil {
            return .failed(.wrongAnswer, "it said so: x-envoy-immediate-health-check-fail")
        }
        let isExpected =
            config.expectedStatuses.isEmpty
            ? status == 200 : config.expectedStatuses.contains { $0.contains(status) }
        guard isExpected else {
            let isRetriable = config.retriableStatuses.contains { $0.contains(status) }
            return .failed(isRetriable ? .retriableAnswer : .wrongAnswer, "status \(status)")
        }
        if let serviceTest {
            let name = head.string("x-envoy-upstream-healthchecked-cluster") ?? ""
            guard Array(name.utf8).withUnsafeBufferPointer({ serviceTest.matches($0) }) else {
                return .failed(.wrongAnswer, "the service \"\(name)\" answered")
            }
        }
        return head.string(.envoyDegraded) != nil ? .degraded : .passed
    }
}

/// `grpc.health.v1.Health/Check`: passed when the answer is SERVING.
public final class GRPCProbe: Probe {
    private let connection: any HTTPConnection
    private let service: String
    private let authority: String
    private let metadata: HeaderChanges
    private let isTLS: Bool
    private var answer: [UInt8] = []
    private var hasBegun = false
    private static let maxAnswer = 4096

    /// - Parameter host: the endpoint's name for checks, which comes first; empty: none.
    /// - Parameter connection: a fresh HTTP/2 client connection.
    public init(
        service: String, authority: String, metadata: HeaderChanges = HeaderChanges(),
        cluster: String, host: String = "", isTLS: Bool = false, connection: any HTTPConnection
    ) {
        self.service = service
        self.authority = !host.isEmpty ? host : authority.isEmpty ? cluster : authority
        self.metadata = metadata
        self.isTLS = isTLS
        self.connection = connection
    }

    public var canContinue: Bool { connection.openStreams == 0 && connection.streamsAvailable > 0 }

    public func start(_ output: inout ByteBuffer) -> ProbeResult? {
        answer = []
        hasBegun = true
        var head = MessageHead(
            method: "POST", scheme: isTLS ? "https" : "http", authority: authority,
            path: "/grpc.health.v1.Health/Check")
        head.append(.contentType, "application/grpc")
        head.append(.te, "trailers")
        if let changes = try? HeaderChangeList(metadata) {
            let original = head
            changes.apply(to: &head, request: original, values: HeaderFormatValues())
        }
        guard let stream = connection.sendRequest(head, endStream: false) else {
            return .failed(.network, "the connection takes no request")
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
        return result() ?? .failed(.network, "closed before a response")
    }

    private func result() -> ProbeResult? {
        while let event = connection.nextEvent() {
            switch event {
            case .head(_, let head, let endStream):
                guard head.status == 200 else {
                    return finish(.failed(.wrongAnswer, "status \(head.status)"))
                }
                if endStream { return finish(judge(head)) }
            case .body(let stream, let bytes, let endStream):
                guard answer.count + bytes.count <= GRPCProbe.maxAnswer else {
                    return finish(.failed(.wrongAnswer, "the answer is too long"))
                }
                answer.append(contentsOf: bytes)
                connection.consumed(bytes.count, on: stream)
                if endStream { return finish(.failed(.wrongAnswer, "no grpc-status")) }
            case .trailers(_, let trailers): return finish(judge(trailers))
            case .reset(_, let code): return failed("reset: \(code)")
            case .goAway where connection.openStreams > 0: continue
            case .goAway(_, let code): return failed("GOAWAY: \(code)")
            case .violation(let violation): return failed(violation.reason)
            case .interim, .drained, .pong: continue
            }
        }
        return nil
    }

    private func failed(_ reason: String) -> ProbeResult? {
        hasBegun ? finish(.failed(.network, reason)) : nil
    }

    private func finish(_ result: ProbeResult) -> ProbeResult {
        hasBegun = false
        return result
    }

    private func judge(_ trailers: borrowing MessageHead) -> ProbeResult {
        let status = trailers.string(.grpcStatus) ?? ""
        guard status == "0" else { return .failed(.wrongAnswer, "grpc-status \(status)") }
        switch GRPCProbe.servingStatus(answer) {
        case 1: return .passed
        case let value?: return .failed(.wrongAnswer, "serving status \(value)")
        case nil: return .failed(.wrongAnswer, "the answer is no HealthCheckResponse")
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
