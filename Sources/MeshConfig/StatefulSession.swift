public import MeshBase

/// `envoy.filters.http.stateful_session`: requests of one session go to one endpoint, of which the client
/// carries the address.
///
/// **Whoever answers names itself.** A response bears the address of its endpoint where the request
/// named none, or another. The next request names it, and goes there if it still can.
///
/// **One form for a mixed fleet.** The value is base64. In a header it is the address as text. In a
/// cookie it is a protobuf message with the address (1) and the second in which it expires (2); plain
/// addresses, which older proxies wrote, are read as well. Envoy counts those seconds since its
/// machine started, which no other machine can judge; we count them since 1970, and pass by what can be
/// no such time. So each reads the other's sessions, and ours expire everywhere that we run.
public struct StatefulSession: Sendable, Equatable {
    public enum Carrier: Sendable, Equatable {
        /// Only requests below its path have the session.
        case cookie(HashPolicy.Cookie)
        /// By a name in lower case, in requests and in responses.
        case header(String)
    }
    /// What a request says of its endpoint.
    public enum Named: Equatable, Sendable {
        case nothing
        case endpoint(SocketAddress)
        /// Something that is no address: no endpoint can have it.
        case unknown
    }

    public var carrier: Carrier
    /// A request whose endpoint can't have it goes nowhere.
    public var isStrict: Bool

    public init(carrier: Carrier, isStrict: Bool = false) {
        self.carrier = carrier
        self.isStrict = isStrict
    }

    /// - Returns: `nil` when the session does not concern this request.
    public func named(by head: borrowing MessageHead, at time: UnixTime) -> Named? {
        switch carrier {
        case .header(let name):
            guard let value = head.strings(name).first, !value.isEmpty else { return .nothing }
            guard let bytes = Base64.decode(value) else { return .unknown }
            return StatefulSession.address(bytes[...])
        case .cookie(let cookie):
            guard StatefulSession.concerns(head, path: cookie.path) else { return nil }
            guard let value = HashKeyRule.cookie(named: cookie.name, in: head), !value.isEmpty
            else { return .nothing }
            guard let bytes = Base64.decode(value) else { return .unknown }
            return StatefulSession.message(bytes, at: time)
        }
    }

    /// Lets a response name the endpoint that gave it.
    public func name(
        _ endpoint: SocketAddress, in head: inout MessageHead, at time: UnixTime
    ) {
        switch carrier {
        case .header(let name):
            head.set(name, Base64.encode(endpoint.description.utf8))
        case .cookie(let cookie):
            let life = cookie.life ?? .zero
            let message = StatefulSession.message(
                endpoint, expires: life > .zero ? time.seconds + life.components.seconds : 0)
            head.append("set-cookie", cookie.field(value: Base64.encode(message)))
        }
    }

    /// RFC 6265 §5.1.4: the path itself and what lies below.
    private static func concerns(_ head: borrowing MessageHead, path: String) -> Bool {
        if path.isEmpty || path == "/" { return true }
        return head.withValue(.path) { target in
            let wanted = path.utf8
            guard target.starts(with: wanted) else { return false }
            if path.hasSuffix("/") || target.count == wanted.count { return true }
            return "/?#".utf8.contains(target[wanted.count])
        } ?? false
    }

    private static func address(_ bytes: ArraySlice<UInt8>) -> Named {
        SocketAddress(String(decoding: bytes, as: UTF8.self)).map { .endpoint($0) } ?? .unknown
    }

    private static func message(_ bytes: [UInt8], at time: UnixTime) -> Named {
        // An address begins with a digit, a bracket, a slash or "@", a message with its first key.
        guard bytes.first == 0x0A || bytes.first == 0x10 else { return address(bytes[...]) }
        var named = Named.nothing
        var fields = WireFields(bytes[...])
        while let field = fields.next() {
            switch field {
            case (1, .bytes(let text)): named = address(text)
            case (2, .varint(let expires)):
                if expires >= wallClockBegins, Int64(clamping: expires) < time.seconds {
                    return .nothing
                }
            default: break
            }
        }
        return fields.isMalformed ? .unknown : named
    }

    private static func message(_ address: SocketAddress, expires: Int64) -> [UInt8] {
        func varint(_ number: UInt64) -> [UInt8] {
            var bytes: [UInt8] = []
            var rest = number
            while rest >= 0x80 {
                bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            return bytes + [UInt8(rest)]
        }
        let text = Array(address.description.utf8)
        let message = [0x0A] + varint(UInt64(text.count)) + text
        return expires > 0 ? message + [0x10] + varint(UInt64(expires)) : message
    }

    /// 2001 in seconds since 1970: no machine has run for so long.
    private static let wallClockBegins: UInt64 = 1_000_000_000
}

/// What one place of a route configuration says of the filter; the most specific counts.
public enum SessionSetting: Sendable, Equatable {
    case off
    case on(StatefulSession)
}

extension HashPolicy.Cookie {
    /// The value of a `set-cookie` that gives it to the client.
    func field(value: String) -> String {
        var text = "\(name)=\"\(value)\""
        if let life, life >= .seconds(1) { text += "; Max-Age=\(life.components.seconds)" }
        if !path.isEmpty { text += "; Path=\(path)" }
        for attribute in attributes {
            text += "; \(attribute.name)"
            if !attribute.value.isEmpty { text += "=\(attribute.value)" }
        }
        return text + "; HttpOnly"
    }
}
