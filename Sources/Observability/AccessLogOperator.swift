import MeshBase

/// The operators of a format, `%NAME%`, that take no argument, and those that do.
enum AccessLogOperator: UInt8, CaseIterable {
    // What stands for itself, and what needs an argument.
    case literal, request, response, trailer, time
    case startTime, httpProtocol, responseCode, responseCodeDetails, responseFlags
    case bytesReceived, bytesSent, duration, attempts, attemptCount
    case upstreamHost, upstreamCluster, upstreamLocalAddress, transportFailure
    case localAddress, localHost, remoteAddress, remoteHost, directRemoteAddress, directRemoteHost
    case requestedServerName, routeName, terminationDetails, peerURI, tlsVersion, connectionID
    case hostname

    /// Printed in JSON without quotes when it stands alone.
    var isNumeric: Bool {
        switch self {
        case .responseCode, .bytesReceived, .bytesSent, .duration, .attemptCount, .connectionID:
            true
        default: false
        }
    }

    static let byName: [String: AccessLogOperator] = [
        "REQ": .request, "RESP": .response, "TRAILER": .trailer, "START_TIME": .startTime,
        "PROTOCOL": .httpProtocol, "RESPONSE_CODE": .responseCode,
        "RESPONSE_CODE_DETAILS": .responseCodeDetails, "RESPONSE_FLAGS": .responseFlags,
        "BYTES_RECEIVED": .bytesReceived, "BYTES_SENT": .bytesSent, "DURATION": .duration,
        "ATTEMPTS": .attempts, "UPSTREAM_REQUEST_ATTEMPT_COUNT": .attemptCount,
        "UPSTREAM_HOST": .upstreamHost, "UPSTREAM_CLUSTER": .upstreamCluster,
        "UPSTREAM_CLUSTER_RAW": .upstreamCluster, "UPSTREAM_LOCAL_ADDRESS": .upstreamLocalAddress,
        "UPSTREAM_TRANSPORT_FAILURE_REASON": .transportFailure,
        "DOWNSTREAM_LOCAL_ADDRESS": .localAddress,
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": .localHost,
        "DOWNSTREAM_REMOTE_ADDRESS": .remoteAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": .remoteHost,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": .directRemoteAddress,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": .directRemoteHost,
        "REQUESTED_SERVER_NAME": .requestedServerName, "ROUTE_NAME": .routeName,
        "CONNECTION_TERMINATION_DETAILS": .terminationDetails,
        "DOWNSTREAM_PEER_URI_SAN": .peerURI, "DOWNSTREAM_TLS_VERSION": .tlsVersion,
        "CONNECTION_ID": .connectionID, "HOSTNAME": .hostname,
    ]
}

/// Why a format could not be compiled.
public struct AccessLogFormatError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Reason: Equatable, Sendable {
        case unknownOperator
        /// A `%` that begins nothing; a real one is written twice.
        case malformed
        /// An argument or a length where none may stand, or none where one must.
        case badArgument
        case badTimeFormat
    }

    public var reason: Reason
    /// The operator as it was written.
    public var text: String
    /// Where it begins, in bytes.
    public var position: Int
    /// Of JSON: in which value.
    public var key: String?

    public init(reason: Reason, text: String, position: Int, key: String? = nil) {
        self.reason = reason
        self.text = text
        self.position = position
        self.key = key
    }

    public var description: String {
        let what =
            switch reason {
            case .unknownOperator: "unknown operator"
            case .malformed: "malformed operator"
            case .badArgument: "wrong argument"
            case .badTimeFormat: "unknown conversion in time format"
            }
        let place = key.map { " of \"\($0)\"" } ?? ""
        return "access log format: \(what) \"\(text)\" at byte \(position)\(place)"
    }
}

/// Takes a format string apart.
struct AccessLogScanner {
    enum Token: Equatable {
        case literal([UInt8])
        case word(AccessLogOperator, argument: String?, limit: Int?, text: String, position: Int)
    }

    private let bytes: [UInt8]
    private var index = 0

    init(_ text: String) {
        bytes = Array(text.utf8)
    }

    /// - Returns: `nil` at the end.
    mutating func next() throws(AccessLogFormatError) -> Token? {
        var literal: [UInt8] = []
        while index < bytes.count {
            if bytes[index] != 37 {
                literal.append(bytes[index])
                index += 1
            } else if index + 1 < bytes.count, bytes[index + 1] == 37 {
                literal.append(37)
                index += 2
            } else {
                return literal.isEmpty ? try word() : .literal(literal)
            }
        }
        return literal.isEmpty ? nil : .literal(literal)
    }

    private mutating func word() throws(AccessLogFormatError) -> Token {
        let start = index
        index += 1
        let name = take { (65...90).contains($0) || (48...57).contains($0) || $0 == 95 }
        var argument: String?
        if index < bytes.count, bytes[index] == 40 {
            index += 1
            argument = take { $0 != 41 }
            guard index < bytes.count else { throw malformed(start) }
            index += 1
        }
        var limit: Int?
        if index < bytes.count, bytes[index] == 58 {
            index += 1
            let digits = take { (48...57).contains($0) }
            guard digits.utf8.count <= 9, let value = Int(digits) else { throw malformed(start) }
            limit = value
        }
        guard index < bytes.count, bytes[index] == 37, !name.isEmpty else { throw malformed(start) }
        index += 1
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        guard let word = AccessLogOperator.byName[name] else {
            throw AccessLogFormatError(reason: .unknownOperator, text: text, position: start)
        }
        return .word(word, argument: argument, limit: limit, text: text, position: start)
    }

    private mutating func take(while wanted: (UInt8) -> Bool) -> String {
        let start = index
        while index < bytes.count, wanted(bytes[index]) { index += 1 }
        return String(decoding: bytes[start..<index], as: UTF8.self)
    }

    private func malformed(_ start: Int) -> AccessLogFormatError {
        let end = min(bytes.count, max(index + 1, start + 1))
        return AccessLogFormatError(
            reason: .malformed, text: String(decoding: bytes[start..<end], as: UTF8.self),
            position: start)
    }
}
