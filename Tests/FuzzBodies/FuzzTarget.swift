/// What is fuzzed: a parser of bytes that others send, and what must hold whatever they are.
///
/// A crash is a finding; so is a sentence that `run` returns. The checks are of three kinds: the
/// same bytes cut differently say the same; a message that was let in is one message when it goes
/// out, and means what it meant; and laws of the value itself. `scripts/fuzz NAME` looks for new
/// inputs, `FuzzTests` replays those in its Corpus.
public enum FuzzTarget: String, CaseIterable, Sendable {
    case http1Request = "http1-request"
    case http1Response = "http1-response"
    case http2Server = "http2-server"
    case http2Client = "http2-client"
    case hpackDecoder = "hpack-decoder"
    case hpackEncoder = "hpack-encoder"
    case clientHello = "client-hello"
    case spiffe
    case bootstrap
    case resources
    case discovery
    case grpc
    case regex
    case traceContext = "trace-context"
    case loadReport = "load-report"

    /// - Returns: what is wrong, or `nil`.
    public func run(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        switch self {
        case .http1Request: fuzzHTTP1Request(bytes)
        case .http1Response: fuzzHTTP1Response(bytes)
        case .http2Server: fuzzHTTP2(bytes, asServer: true)
        case .http2Client: fuzzHTTP2(bytes, asServer: false)
        case .hpackDecoder: fuzzHPACKDecoder(bytes)
        case .hpackEncoder: fuzzHPACKEncoder(bytes)
        case .clientHello: fuzzClientHello(bytes)
        case .spiffe: fuzzSPIFFE(bytes)
        case .bootstrap: fuzzBootstrap(bytes)
        case .resources: fuzzResources(bytes)
        case .discovery: fuzzDiscovery(bytes)
        case .grpc: fuzzGRPC(bytes)
        case .regex: fuzzRegex(bytes)
        case .traceContext: fuzzTraceContext(bytes)
        case .loadReport: fuzzLoadReport(bytes)
        }
    }

    public func run(_ bytes: [UInt8]) -> String? {
        bytes.withUnsafeBufferPointer { run($0) }
    }
}

/// Reads an input from its front: first how to try it, then what to try.
struct FuzzInput {
    let bytes: UnsafeBufferPointer<UInt8>
    private(set) var position = 0

    init(_ bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
    }

    var isEmpty: Bool { position == bytes.count }

    /// 0 past the end.
    mutating func byte() -> UInt8 {
        if isEmpty { return 0 }
        position += 1
        return bytes[position - 1]
    }

    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(bytes.count, position + count)
        defer { position = end }
        return Array(bytes[position..<end])
    }

    mutating func rest() -> [UInt8] { take(bytes.count) }
}

/// `bytes` in pieces of `size`; 0 is one piece.
func pieces(_ bytes: [UInt8], of size: Int) -> [ArraySlice<UInt8>] {
    if size == 0 || bytes.isEmpty { return [bytes[...]] }
    return stride(from: 0, to: bytes.count, by: size).map {
        bytes[$0..<min($0 + size, bytes.count)]
    }
}
