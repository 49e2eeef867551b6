public import MeshBase

/// What `%COMMANDS%` in header values stand for; the shell fills it in for one exchange.
public struct HeaderFormatValues: Sendable {
    public var downstreamRemoteAddress: SocketAddress?
    public var downstreamPeerURISAN: String
    public var requestedServerName: String
    public var upstreamHost: SocketAddress?
    /// The machine's name.
    public var hostname: String
    public var startTime: UnixTime
    /// 10, 11 or 20.
    public var httpVersion: UInt8

    public init(
        downstreamRemoteAddress: SocketAddress? = nil, downstreamPeerURISAN: String = "",
        requestedServerName: String = "", upstreamHost: SocketAddress? = nil,
        hostname: String = "", startTime: UnixTime = UnixTime(microseconds: 0),
        httpVersion: UInt8 = 11
    ) {
        self.downstreamRemoteAddress = downstreamRemoteAddress
        self.downstreamPeerURISAN = downstreamPeerURISAN
        self.requestedServerName = requestedServerName
        self.upstreamHost = upstreamHost
        self.hostname = hostname
        self.startTime = startTime
        self.httpVersion = httpVersion
    }
}

/// `HeaderChanges` compiled: removals first, then additions, as Envoy applies them.
///
/// A command whose value is missing yields nothing, and an addition that comes out empty is left
/// out unless it says `keepEmpty`.
public struct HeaderChangeList: Sendable {
    public struct FormatError: Error, Equatable, Sendable {
        /// The command or value that is not understood.
        public let text: String
        public let reason: String
    }

    enum Piece: Sendable, Equatable {
        case text(String)
        case remoteAddress(withPort: Bool)
        case request(name: String, fallback: String, limit: Int?)
        case protocolName
        case upstreamHost
        case startTime(StartTimeFormat)
        case hostname
        case peerURISAN
        case serverName
    }
    enum StartTimeFormat: Sendable, Equatable {
        case iso8601, seconds, secondsWithMilliseconds
    }

    private struct Addition: Sendable {
        var name: String
        var token: HeaderName
        var pieces: [Piece]
        var append: HeaderChanges.Append
        var keepEmpty: Bool
    }
    private struct Removal: Sendable {
        var name: String
        var token: HeaderName
    }

    private var additions: [Addition] = []
    private var removals: [Removal] = []

    public init(_ changes: HeaderChanges) throws(FormatError) {
        for name in changes.remove {
            removals.append(Removal(name: name, token: HeaderChangeList.token(of: name)))
        }
        for addition in changes.add {
            additions.append(
                Addition(
                    name: addition.name, token: HeaderChangeList.token(of: addition.name),
                    pieces: try HeaderChangeList.parse(addition.value), append: addition.append,
                    keepEmpty: addition.keepEmpty))
        }
    }

    public var isEmpty: Bool { additions.isEmpty && removals.isEmpty }

    /// Changes `head`. `request` is what `%REQ(…)%` reads: for a request the head as it was before
    /// any change.
    public func apply(
        to head: inout MessageHead, request: borrowing MessageHead, values: HeaderFormatValues
    ) {
        for removal in removals {
            // Pseudo-headers are what a message is; Envoy refuses to remove them, too.
            if removal.token.isPseudo { continue }
            if removal.token == .other {
                head.remove(removal.name)
            } else {
                head.remove(removal.token)
            }
        }
        for addition in additions {
            var value = ""
            for piece in addition.pieces {
                HeaderChangeList.append(piece, to: &value, request, values)
            }
            if value.isEmpty, !addition.keepEmpty { continue }
            apply(addition, value, to: &head)
        }
    }

    private func apply(_ addition: Addition, _ value: String, to head: inout MessageHead) {
        let exists =
            addition.token == .other
            ? head.string(addition.name) != nil : head.contains(addition.token)
        let replaces: Bool
        switch addition.append {
        // There is only ever one of each pseudo-header.
        case .appendIfExistsOrAdd: replaces = addition.token.isPseudo
        case .addIfAbsent:
            if exists { return }
            replaces = false
        case .overwriteIfExistsOrAdd: replaces = exists
        case .overwriteIfExists:
            if !exists { return }
            replaces = true
        }
        if addition.token == .other {
            if replaces {
                head.set(addition.name, value)
            } else {
                head.append(addition.name, value)
            }
        } else if replaces {
            head.set(addition.token, value)
        } else {
            head.append(addition.token, value)
        }
    }

    private static func append(
        _ piece: Piece, to value: inout String, _ request: borrowing MessageHead,
        _ values: HeaderFormatValues
    ) {
        switch piece {
        case .text(let text):
            value += text
        case .remoteAddress(let withPort):
            guard let address = values.downstreamRemoteAddress else { return }
            value += withPort ? address.description : address.host
        case .request(let name, let fallback, let limit):
            var found = headerText(name, request)
            if found == nil, !fallback.isEmpty { found = headerText(fallback, request) }
            guard let found else { return }
            if let limit, found.utf8.count > limit {
                value += String(decoding: found.utf8.prefix(limit), as: UTF8.self)
            } else {
                value += found
            }
        case .protocolName:
            switch values.httpVersion {
            case 10: value += "HTTP/1.0"
            case 20: value += "HTTP/2"
            default: value += "HTTP/1.1"
            }
        case .upstreamHost:
            if let address = values.upstreamHost { value += address.description }
        case .startTime(let format):
            appendTime(values.startTime, format, to: &value)
        case .hostname: value += values.hostname
        case .peerURISAN: value += values.downstreamPeerURISAN
        case .serverName: value += values.requestedServerName
        }
    }

    private static func headerText(_ name: String, _ head: borrowing MessageHead) -> String? {
        let token = token(of: name)
        return token == .other ? head.string(name) : head.string(token)
    }

    private static func appendTime(
        _ time: UnixTime, _ format: StartTimeFormat, to value: inout String
    ) {
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
        }
        let seconds = max(0, time.seconds)
        let milliseconds = max(0, time.microseconds) / 1000 % 1000
        switch format {
        case .seconds:
            value += String(seconds)
        case .secondsWithMilliseconds:
            value += "\(seconds).\(padded(milliseconds, 3))"
        case .iso8601:
            // Days are counted from 1 March of the year 0, so that the leap day ends a year.
            let days = seconds / 86400 + 719_468
            let era = days / 146_097
            let dayOfEra = days % 146_097
            let yearOfEra =
                (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
            let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
            let shifted = (5 * dayOfYear + 2) / 153
            let day = dayOfYear - (153 * shifted + 2) / 5 + 1
            let month = shifted < 10 ? shifted + 3 : shifted - 9
            let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
            let clock = seconds % 86400
            value += "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
            value += "\(padded(clock / 3600, 2)):\(padded(clock / 60 % 60, 2)):"
            value += "\(padded(clock % 60, 2)).\(padded(milliseconds, 3))Z"
        }
    }

    // MARK: Parsing

    /// Takes a value apart into text and commands.
    static func parse(_ value: String) throws(FormatError) -> [Piece] {
        var pieces: [Piece] = []
        var text: [UInt8] = []
        let bytes = Array(value.utf8)
        var index = 0
        func flush() {
            if !text.isEmpty { pieces.append(.text(String(decoding: text, as: UTF8.self))) }
            text.removeAll()
        }
        while index < bytes.count {
            if bytes[index] != 37 {
                text.append(bytes[index])
                index += 1
                continue
            }
            if index + 1 < bytes.count, bytes[index + 1] == 37 {
                text.append(37)
                index += 2
                continue
            }
            // A "%" inside parentheses belongs to the argument.
            var end = index + 1
            var inParentheses = false
            while end < bytes.count, inParentheses || bytes[end] != 37 {
                if bytes[end] == 40 { inParentheses = true }
                if bytes[end] == 41 { inParentheses = false }
                end += 1
            }
            guard end < bytes.count else {
                throw FormatError(text: value, reason: "a % without its partner")
            }
            flush()
            pieces.append(
                try command(String(decoding: bytes[index + 1..<end], as: UTF8.self)))
            index = end + 1
        }
        flush()
        return pieces
    }

    private static func command(_ text: String) throws(FormatError) -> Piece {
        var name = text[...]
        var argument: Substring?
        var limit: Int?
        if let open = text.firstIndex(of: "(") {
            guard let close = text.lastIndex(of: ")"), open < close else {
                throw FormatError(text: text, reason: "parentheses do not match")
            }
            name = text[..<open]
            argument = text[text.index(after: open)..<close]
            let rest = text[text.index(after: close)...]
            if rest.first == ":", let number = Int(rest.dropFirst()), number >= 0 {
                limit = number
            } else if !rest.isEmpty {
                throw FormatError(text: text, reason: "expected :LENGTH after the argument")
            }
        }
        switch (String(name), argument) {
        case ("DOWNSTREAM_REMOTE_ADDRESS", nil): return .remoteAddress(withPort: true)
        case ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", nil):
            return .remoteAddress(withPort: false)
        case ("PROTOCOL", nil): return .protocolName
        case ("UPSTREAM_HOST", nil): return .upstreamHost
        case ("HOSTNAME", nil): return .hostname
        case ("DOWNSTREAM_PEER_URI_SAN", nil): return .peerURISAN
        case ("REQUESTED_SERVER_NAME", nil): return .serverName
        case ("START_TIME", nil): return .startTime(.iso8601)
        case ("START_TIME", "%s"?): return .startTime(.seconds)
        case ("START_TIME", "%s.%3f"?): return .startTime(.secondsWithMilliseconds)
        case ("REQ", let argument?) where !argument.isEmpty:
            let names = argument.split(separator: "?", omittingEmptySubsequences: false)
            guard names.count <= 2, !names.contains("") else {
                throw FormatError(text: text, reason: "expected REQ(name) or REQ(name?other)")
            }
            return .request(
                name: names[0].lowercased(),
                fallback: names.count == 2 ? names[1].lowercased() : "", limit: limit)
        default: throw FormatError(text: text, reason: "unknown command")
        }
    }

    static func token(of name: String) -> HeaderName {
        var name = name
        let token = name.withUTF8 { HeaderName($0) }
        return token == .host ? .authority : token
    }
}
