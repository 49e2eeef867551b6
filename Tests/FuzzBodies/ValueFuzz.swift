import HTTPCodec
import LoadBalancer
import MTLS
import MeshBase
import MeshConfig
import Observability

/// More bytes never turn a refusal into a hello, nor one hello into another.
func fuzzClientHello(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    let whole = ClientHello.parse(bytes.span)
    for end in Set([1, 5, 6, 9, bytes.count / 2, bytes.count - 1])
    where end >= 0 && end <= bytes.count {
        let part = ClientHello.parse(UnsafeBufferPointer(rebasing: bytes[..<end]).span)
        switch (part, whole) {
        case (.needMore, _), (.notTLS, .notTLS), (.hello, .notTLS): break
        case (.hello(let some), .hello(let all)) where some == all: break
        default: return "\(end) bytes are \(part), all \(bytes.count) are \(whole)"
        }
    }
    if case .hello(let hello) = whole, hello.serverName?.contains("\0") == true {
        return "a NUL in a server name"
    }
    return nil
}

/// An identity is written as it was read, and only so.
func fuzzSPIFFE(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let identity = SPIFFEIdentity(text) else { return nil }
    if identity.description != text { return "\(text) became \(identity)" }
    if SPIFFEIdentity(identity.description) != identity { return "\(identity) is not itself" }
    if text.contains("//../") || text.contains("%") || text.dropFirst(9).contains("//") {
        return "\(text) is no identity"
    }
    return nil
}

/// The first byte is the size of a piece; the same messages come however the bytes are cut.
func fuzzGRPC(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    var input = FuzzInput(bytes)
    let size = Int(input.byte())
    let wire = input.rest()
    func read(_ size: Int) -> (messages: [[UInt8]], failure: GRPCReader.Failure?) {
        var reader = GRPCReader(maxMessageBytes: 4096)
        var messages: [[UInt8]] = []
        do throws(GRPCReader.Failure) {
            for part in pieces(wire, of: size) {
                try reader.receive(part.span) { messages.append($0) }
            }
            return (messages, nil)
        } catch {
            return (messages, error)
        }
    }
    let whole = read(0)
    let cut = read(size)
    if whole.messages != cut.messages || whole.failure != cut.failure {
        return "cut into pieces of \(size) it reads differently"
    }
    let framed = whole.messages.flatMap { GRPCWriter.frame($0) }
    return wire.starts(with: framed) ? nil : "messages are not what was framed"
}

/// A pattern, a line feed, a text. What matches wholly matches in part, and what matches in part
/// is replaced.
func fuzzRegex(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    let parts = bytes.split(separator: 10, maxSplits: 1, omittingEmptySubsequences: false)
    let pattern = String(decoding: parts[0], as: UTF8.self)
    guard pattern.utf8.count <= 100, let regex = try? LinearRegex(pattern) else { return nil }
    let text = parts.count > 1 ? Array(parts[1].prefix(100)) : []
    return text.withUnsafeBufferPointer { text in
        let all = regex.matchesAll(text)
        let part = regex.matchesPart(of: text)
        let replaced = regex.replacingAll(in: text, with: Array("<\\0>".utf8))
        if all, !part { return "\(pattern) matches all of the text, and no part" }
        if part != (replaced != nil) {
            return "\(pattern) matches: \(part), and replaces otherwise"
        }
        if let replaced, !all, replaced.count < text.count { return "\(pattern) lost text" }
        return nil
    }
}

/// What is read is written the same, but for the flags that nobody defined.
func fuzzTraceContext(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard let context = TraceContext(bytes) else { return nil }
    var buffer = ByteBuffer()
    context.write(to: &buffer)
    return buffer.withBytes { written in
        guard let again = TraceContext(written), again == context else {
            return "\(String(decoding: bytes, as: UTF8.self)) does not come back"
        }
        return nil
    }
}

/// The value of `endpoint-load-metrics`. Every figure is a number, and written as JSON they are read the same.
func fuzzLoadReport(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    func read(_ text: String) -> LoadReport? {
        var head = MessageHead(status: 200)
        head.append("endpoint-load-metrics", text)
        return LoadReport(head)
    }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let report = read(text) else { return nil }
    let figures: [(name: String, value: Double?)] = [
        ("cpuUtilization", report.cpu), ("mem_utilization", report.memory),
        ("eps", report.errorsPerSecond),
        ("rpsFractional", report.requestsPerSecond), ("applicationUtilization", report.application),
    ]
    if figures.contains(where: { $0.value.map { !($0 >= 0 && $0.isFinite) } ?? false }) {
        return "\(report) is no load"
    }
    var members = figures.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }
    for map in ["named_metrics", "utilization", "request_cost"] {
        let entries = report.others.filter { $0.key.hasPrefix(map + ".") }.map { name, value in
            let escaped = name.dropFirst(map.count + 1).utf16.map { unit in
                let digits = String(unit, radix: 16)
                return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            }
            return "\"\(escaped.joined())\":\"\(value)\""
        }
        members.append("\"\(map)\":{\(entries.joined(separator: ","))}")
    }
    let json = "JSON {\(members.joined(separator: ","))}"
    if json.utf8.count > 16 * 1024 { return nil }
    return read(json) == report ? nil : "\(text) does not come back from \(json)"
}
