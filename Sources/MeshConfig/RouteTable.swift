public import MeshBase

/// A route configuration compiled for one worker: finds the route of a request.
///
/// **Hosts.** Search order is Envoy's: the exact name; the longest "*.x" whose part after the star
/// ends the name; the longest "x.*" whose part before it begins the name; "*". A star stands for
/// at least one byte. Names are kept in tables keyed by their bytes in lower case and hashed
/// straight from the request head, so the common path makes no `String` and allocates nothing.
///
/// **Routes** of the host found are tried in order; the first that matches is it. When none does, no
/// other virtual host is asked. Why the nearest miss missed is worked out only then.
///
/// Compiling is where a configuration can still be refused: domains given twice, patterns that are no
/// regular expressions, header formats that nobody knows. Requests meet no errors.
///
/// Compiled routes are classes that an exchange may hold; like the table they belong to one worker.
public final class RouteTable {
    public let configuration: RouteConfiguration
    public let virtualHosts: [CompiledVirtualHost]

    private var exactHosts = HostTable()
    private var suffixHosts = HostTable()
    private var prefixHosts = HostTable()
    /// Distinct lengths of wildcards, longest first.
    private var suffixLengths: [Int] = []
    private var prefixLengths: [Int] = []
    private var defaultHost: Int?

    public init(_ configuration: RouteConfiguration) throws(RouteTableError) {
        self.configuration = configuration
        var compiled: [CompiledVirtualHost] = []
        for (index, host) in configuration.virtualHosts.enumerated() {
            compiled.append(try CompiledVirtualHost(host, in: configuration))
            for domain in host.domains {
                let bytes = domain.utf8.map(asciiLowercase)
                let isNew: Bool
                if domain == "*" {
                    isNew = defaultHost == nil
                    defaultHost = index
                } else if bytes.isEmpty {
                    isNew = false
                } else if bytes.first == 42 {
                    isNew = suffixHosts.insert(Array(bytes.dropFirst()), index)
                    suffixLengths.append(bytes.count - 1)
                } else if bytes.last == 42 {
                    isNew = prefixHosts.insert(Array(bytes.dropLast()), index)
                    prefixLengths.append(bytes.count - 1)
                } else {
                    isNew = exactHosts.insert(bytes, index)
                }
                guard isNew else {
                    throw .duplicateDomain(domain: domain, virtualHost: host.name)
                }
            }
        }
        virtualHosts = compiled
        suffixLengths = Array(Set(suffixLengths)).sorted(by: >)
        prefixLengths = Array(Set(prefixLengths)).sorted(by: >)
    }

    /// Finds the route of a request.
    /// - Parameter random: decides routes that take only a share of their requests.
    public func match(
        _ head: borrowing MessageHead, isTLS: Bool, random: inout SeededRandom
    ) -> RouteMatchResult {
        let found = head.withValue(.authority) { virtualHost(for: $0) }
        guard let found else {
            return .none(RouteMiss(cause: .noAuthority))
        }
        guard let found else {
            return .none(RouteMiss(cause: .noVirtualHost))
        }
        let host = virtualHosts[found]
        if !isTLS {
            switch host.configuration.requireTLS {
            case .none: break
            case .all: return .redirectToTLS(host)
            case .externalOnly:
                if !head.value(.envoyInternal, equals: "true") { return .redirectToTLS(host) }
            }
        }
        let request = RequestShape(head)
        for route in host.routes where route.matches(head, request, &random) == nil {
            return .route(route, host)
        }
        return .none(nearestMiss(head, request, in: host))
    }

    /// The index of the virtual host for an `:authority`.
    func virtualHost(for authority: UnsafeBufferPointer<UInt8>) -> Int? {
        var name = authority
        if configuration.ignorePortInHostMatching { name = withoutPort(name) }
        if let index = exactHosts.find(name) { return index }
        for length in suffixLengths where length < name.count {
            let end = UnsafeBufferPointer(rebasing: name[(name.count - length)...])
            if let index = suffixHosts.find(end) { return index }
        }
        for length in prefixLengths where length < name.count {
            let start = UnsafeBufferPointer(rebasing: name[..<length])
            if let index = prefixHosts.find(start) { return index }
        }
        return defaultHost
    }

    /// The route that passed most of its tests, and the test at which it failed.
    private func nearestMiss(
        _ head: borrowing MessageHead, _ request: RequestShape, in host: CompiledVirtualHost
    ) -> RouteMiss {
        var nearest: (route: CompiledRoute, failure: RouteMiss.Test)?
        // No fraction is decided anew here: it counts as failed when all else matched.
        var random = SeededRandom(seed: 0)
        for route in host.routes {
            let failure = route.matches(head, request, &random) ?? .fraction
            if nearest == nil || failure.rank > nearest!.failure.rank {
                nearest = (route, failure)
            }
        }
        return RouteMiss(
            cause: .noRoute(virtualHost: host.configuration.name), nearest: nearest?.route,
            failed: nearest?.failure)
    }
}

/// Why a route configuration can't be used.
public enum RouteTableError: Error, Equatable, Sendable, CustomStringConvertible {
    case duplicateDomain(domain: String, virtualHost: String)
    case badPattern(pattern: String, reason: String, place: String)
    case badHeaderFormat(text: String, reason: String, place: String)

    public var description: String {
        switch self {
        case .duplicateDomain(let domain, let host):
            "domain \"\(domain)\" of virtual host \"\(host)\" is empty or given a second time"
        case .badPattern(let pattern, let reason, let place):
            "\(place): \"\(pattern)\" is no pattern: \(reason)"
        case .badHeaderFormat(let text, let reason, let place):
            "\(place): \"\(text)\": \(reason)"
        }
    }
}

public enum RouteMatchResult {
    case route(CompiledRoute, CompiledVirtualHost)
    /// The virtual host wants TLS and this came without: redirect to https (`RedirectTarget`).
    case redirectToTLS(CompiledVirtualHost)
    case none(RouteMiss)
}

/// Why no route was found, and how near the nearest one came.
public struct RouteMiss: CustomStringConvertible {
    public enum Cause: Equatable, Sendable {
        case noAuthority
        case noVirtualHost
        case noRoute(virtualHost: String)
    }
    /// One test of a route, with what it names.
    public enum Test: Equatable, Sendable {
        case path
        case header(String)
        case queryParameter(String)
        case grpc
        case fraction

        /// Tests run in this order, so a later failure is a nearer miss.
        var rank: Int {
            switch self {
            case .path: 0
            case .grpc: 1
            case .header: 2
            case .queryParameter: 3
            case .fraction: 4
            }
        }
    }

    public var cause: Cause
    public var nearest: CompiledRoute?
    public var failed: Test?

    init(cause: Cause, nearest: CompiledRoute? = nil, failed: Test? = nil) {
        self.cause = cause
        self.nearest = nearest
        self.failed = failed
    }

    public var description: String {
        switch cause {
        case .noAuthority: return "the request names no host"
        case .noVirtualHost: return "no virtual host has a domain for this host"
        case .noRoute(let host):
            guard let nearest, let failed else { return "virtual host \"\(host)\" has no routes" }
            let test =
                switch failed {
                case .path: "its path"
                case .header(let name): "header \"\(name)\""
                case .queryParameter(let name): "query parameter \"\(name)\""
                case .grpc: "gRPC only"
                case .fraction: "its share of requests"
                }
            let name = nearest.configuration.name
            let which = name.isEmpty ? "#\(nearest.index)" : "\"\(name)\""
            return "no route of \"\(host)\" matches; route \(which) fails at \(test)"
        }
    }
}

public final class CompiledVirtualHost {
    public let configuration: VirtualHost
    public let routes: [CompiledRoute]

    init(_ host: VirtualHost, in table: RouteConfiguration) throws(RouteTableError) {
        configuration = host
        var compiled: [CompiledRoute] = []
        for (index, route) in host.routes.enumerated() {
            compiled.append(try CompiledRoute(route, index: index, in: host, of: table))
        }
        routes = compiled
    }
}

/// What the tests of all routes want to know of a request, looked up once.
struct RequestShape {
    /// Bytes of `:path` before "?" and "#".
    var pathCount = 0
    var hasPath = false
    var isConnect: Bool
    var isGRPC: Bool

    init(_ head: borrowing MessageHead) {
        isConnect = head.value(.method, equals: "CONNECT")
        isGRPC =
            head.withValue(.contentType) { value in
                let wanted = RequestShape.grpcType
                return equal(value, at: 0, wanted, ignoringCase: false)
                    && (value.count == wanted.count || value[wanted.count] == 43)
            } ?? false
        if let count = head.withValue(.path, { pathLength($0) }) {
            pathCount = count
            hasPath = true
        }
    }

    private static let grpcType = Array("application/grpc".utf8)
}

/// Names of hosts in lower case, found by their bytes: open addressing over one key array.
struct HostTable {
    private var keys: [UInt8] = []
    private var entries: [(start: Int, count: Int, value: Int)] = []
    /// Index into `entries` plus one; 0 is free. Its count is a power of two.
    private var slots: [UInt32] = Array(repeating: 0, count: 8)

    /// - Returns: `false` when the key is there already.
    mutating func insert(_ key: [UInt8], _ value: Int) -> Bool {
        if key.withUnsafeBufferPointer({ find($0) }) != nil { return false }
        entries.append((keys.count, key.count, value))
        keys.append(contentsOf: key)
        if entries.count * 2 > slots.count {
            slots = Array(repeating: 0, count: slots.count * 2)
            for index in entries.indices { place(index) }
        } else {
            place(entries.count - 1)
        }
        return true
    }

    /// Finds a key that may be in any case.
    func find(_ key: UnsafeBufferPointer<UInt8>) -> Int? {
        if entries.isEmpty { return nil }
        var slot = HostTable.hash(key) & (slots.count - 1)
        while slots[slot] != 0 {
            let entry = entries[Int(slots[slot]) - 1]
            if entry.count == key.count {
                var index = 0
                while index < key.count, asciiLowercase(key[index]) == keys[entry.start + index] {
                    index += 1
                }
                if index == key.count { return entry.value }
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    private mutating func place(_ index: Int) {
        let entry = entries[index]
        let hash = keys.withUnsafeBufferPointer {
            HostTable.hash(
                UnsafeBufferPointer(rebasing: $0[entry.start..<entry.start + entry.count]))
        }
        var slot = hash & (slots.count - 1)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = UInt32(index + 1)
    }

    /// Keys come from configuration alone, so nobody can choose them to collide.
    private static func hash(_ key: UnsafeBufferPointer<UInt8>) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in key {
            hash = (hash ^ UInt64(asciiLowercase(byte))) &* 0x0000_0100_0000_01B3
        }
        return Int(truncatingIfNeeded: hash ^ (hash >> 29))
    }
}

/// An authority without its ":port"; colons inside the brackets of an IPv6 literal stay.
func withoutPort(_ authority: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
    guard let colon = authority.lastIndex(of: 58),
        authority.lastIndex(of: 93).map({ $0 < colon }) ?? true
    else { return authority }
    return UnsafeBufferPointer(rebasing: authority[..<colon])
}

/// The length of a request target's path: up to "?" or "#".
func pathLength(_ target: UnsafeBufferPointer<UInt8>) -> Int {
    target.firstIndex { $0 == 63 || $0 == 35 } ?? target.count
}
