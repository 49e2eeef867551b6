public import MeshBase

/// One route of a `RouteTable`: its tests, its header changes, and what its action does to a head.
public final class CompiledRoute {
    public let configuration: Route
    /// The configuration's action when it is to forward.
    public let forward: CompiledForward?
    /// Its place in its virtual host.
    public let index: Int
    /// In the order in which Envoy applies them: route, virtual host, configuration. Those of the
    /// weighted cluster come before (`ClusterChoice`). Empty ones are left out.
    public let requestChanges: [HeaderChangeList]
    public let responseChanges: [HeaderChangeList]

    private enum PathTest {
        case prefix([UInt8])
        case exact([UInt8])
        case separatedPrefix([UInt8])
        case regex(LinearRegex)
        case connect
    }
    private struct QueryTest {
        var name: [UInt8]
        var value: TextTest?
    }
    private struct WeightedPart {
        var requestChanges: HeaderChangeList
        var responseChanges: HeaderChangeList
        /// Sum of the weights up to and with this one.
        var upTo: UInt64
    }

    /// What the route, or else its virtual host, or else the configuration says of sessions.
    private let session: SessionSetting?
    private let path: PathTest
    private let headers: [HeaderTest]
    private let queryParameters: [QueryTest]
    private let weighted: [WeightedPart]
    private let rewrite: (regex: LinearRegex, substitution: [UInt8])?

    init(
        _ route: Route, index: Int, in host: VirtualHost, of table: RouteConfiguration
    ) throws(RouteTableError) {
        configuration = route
        self.index = index
        session = route.session ?? host.session ?? table.session
        let place =
            route.name.isEmpty
            ? "route \(index) of virtual host \"\(host.name)\"" : "route \"\(route.name)\""
        func regex(_ pattern: String) throws(RouteTableError) -> LinearRegex {
            do throws(LinearRegex.SyntaxError) {
                return try LinearRegex(pattern)
            } catch {
                throw .badPattern(pattern: pattern, reason: error.reason, place: place)
            }
        }
        func text(_ matcher: StringMatcher) throws(RouteTableError) -> TextTest {
            do throws(LinearRegex.SyntaxError) {
                return try TextTest(matcher)
            } catch {
                throw .badPattern(
                    pattern: "\(matcher.pattern)", reason: error.reason, place: place)
            }
        }
        func changes(_ changes: HeaderChanges) throws(RouteTableError) -> HeaderChangeList {
            do throws(HeaderChangeList.FormatError) {
                return try HeaderChangeList(changes)
            } catch {
                throw .badHeaderFormat(text: error.text, reason: error.reason, place: place)
            }
        }
        switch route.match.path {
        case .prefix(let prefix): path = .prefix(Array(prefix.utf8))
        case .exact(let exact): path = .exact(Array(exact.utf8))
        case .separatedPrefix(let prefix): path = .separatedPrefix(Array(prefix.utf8))
        case .regex(let pattern): path = .regex(try regex(pattern))
        case .connect: path = .connect
        }
        var headers: [HeaderTest] = []
        for matcher in route.match.headers {
            do throws(LinearRegex.SyntaxError) {
                headers.append(try HeaderTest(matcher))
            } catch {
                throw .badPattern(
                    pattern: "\(matcher.test)", reason: error.reason, place: place)
            }
        }
        self.headers = headers
        var queries: [QueryTest] = []
        for matcher in route.match.queryParameters {
            var value: TextTest?
            if let matcher = matcher.value { value = try text(matcher) }
            queries.append(QueryTest(name: Array(matcher.name.utf8), value: value))
        }
        queryParameters = queries
        requestChanges = [
            try changes(route.requestHeaders), try changes(host.requestHeaders),
            try changes(table.requestHeaders),
        ].filter { !$0.isEmpty }
        responseChanges = [
            try changes(route.responseHeaders), try changes(host.responseHeaders),
            try changes(table.responseHeaders),
        ].filter { !$0.isEmpty }
        var parts: [WeightedPart] = []
        var rewrite: (LinearRegex, [UInt8])?
        var forward: CompiledForward?
        if case .forward(let action) = route.action {
            do throws(LinearRegex.SyntaxError) {
                forward = try CompiledForward(action, in: host)
            } catch {
                throw .badPattern(
                    pattern: "retry_policy or hash_policy", reason: error.reason, place: place)
            }
            if case .weighted(let clusters) = action.target {
                var sum: UInt64 = 0
                for cluster in clusters {
                    sum += UInt64(cluster.weight)
                    parts.append(
                        WeightedPart(
                            requestChanges: try changes(cluster.requestHeaders),
                            responseChanges: try changes(cluster.responseHeaders), upTo: sum))
                }
            }
            if case .regex(let pattern, let substitution) = action.pathRewrite {
                let compiled = try regex(pattern)
                guard compiled.accepts(substitution: Array(substitution.utf8)) else {
                    throw .badPattern(
                        pattern: substitution, reason: "a group that is not there", place: place)
                }
                rewrite = (compiled, Array(substitution.utf8))
            }
        }
        weighted = parts
        self.rewrite = rewrite
        self.forward = forward
    }

    // MARK: Matching

    /// - Returns: `nil` when all tests pass, otherwise the first that fails.
    func matches(
        _ head: borrowing MessageHead, _ request: RequestShape, _ random: inout SeededRandom
    ) -> RouteMiss.Test? {
        guard pathMatches(head, request) else { return .path }
        if configuration.match.grpcOnly, !request.isGRPC { return .grpc }
        for test in headers where !test.passes(head) {
            return .header(String(decoding: test.name, as: UTF8.self))
        }
        for test in queryParameters where !CompiledRoute.passes(test, head, request.pathCount) {
            return .queryParameter(String(decoding: test.name, as: UTF8.self))
        }
        if let fraction = configuration.match.fraction,
            random.below(1_000_000) >= Int(fraction.partsPerMillion)
        {
            return .fraction
        }
        return nil
    }

    private func pathMatches(_ head: borrowing MessageHead, _ request: RequestShape) -> Bool {
        if case .connect = path { return request.isConnect }
        guard request.hasPath else { return false }
        let ignoringCase = !configuration.match.caseSensitive
        return head.withValue(.path) { target in
            let text = UnsafeBufferPointer(rebasing: target[..<request.pathCount])
            switch path {
            case .prefix(let wanted):
                return equal(text, at: 0, wanted, ignoringCase: ignoringCase)
            case .exact(let wanted):
                return text.count == wanted.count
                    && equal(text, at: 0, wanted, ignoringCase: ignoringCase)
            case .separatedPrefix(let wanted):
                return equal(text, at: 0, wanted, ignoringCase: ignoringCase)
                    && (text.count == wanted.count || text[wanted.count] == 47)
            case .regex(let regex):
                return regex.matchesAll(text)
            case .connect:
                return false
            }
        } ?? false
    }

    /// The first parameter of that name decides, after percent-decoding, as in Envoy.
    private static func passes(
        _ test: QueryTest, _ head: borrowing MessageHead, _ pathCount: Int
    ) -> Bool {
        head.withValue(.path) { target in
            guard pathCount < target.count, target[pathCount] == 63 else { return false }
            var query = target[(pathCount + 1)...]
            if let hash = query.firstIndex(of: 35) { query = query[..<hash] }
            while !query.isEmpty {
                let end = query.firstIndex(of: 38) ?? query.endIndex
                let pair = query[..<end]
                query = end == query.endIndex ? query[end...] : query[(end + 1)...]
                let equals = pair.firstIndex(of: 61)
                let name = pair[..<(equals ?? pair.endIndex)]
                let isNamed = withDecoded(UnsafeBufferPointer(rebasing: name)) {
                    $0.count == test.name.count
                        && equal($0, at: 0, test.name, ignoringCase: false)
                }
                guard isNamed else { continue }
                guard let wanted = test.value else { return true }
                let value = equals.map { pair[($0 + 1)...] } ?? pair[pair.endIndex...]
                return withDecoded(UnsafeBufferPointer(rebasing: value)) { wanted.matches($0) }
            }
            return false
        } ?? false
    }

    private static func withDecoded(
        _ text: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Bool
    ) -> Bool {
        guard text.contains(37) else { return body(text) }
        func hex(_ byte: UInt8) -> UInt8? {
            switch byte {
            case 48...57: byte - 48
            case 65...70: byte - 55
            case 97...102: byte - 87
            default: nil
            }
        }
        var decoded: [UInt8] = []
        var index = 0
        while index < text.count {
            if text[index] == 37, index + 2 < text.count, let high = hex(text[index + 1]),
                let low = hex(text[index + 2])
            {
                decoded.append(high << 4 | low)
                index += 3
            } else {
                decoded.append(text[index])
                index += 1
            }
        }
        return decoded.withUnsafeBufferPointer(body)
    }

    // MARK: Choosing the cluster

    /// The cluster of a request on this route; `nil` unless the action is to forward.
    public func chooseCluster(
        for head: borrowing MessageHead, random: inout SeededRandom
    ) -> ClusterChoice? {
        guard let forward else { return nil }
        switch forward.action.target {
        case .cluster(let name): return .cluster(name)
        case .clusterHeader(let name):
            let token = HeaderChangeList.token(of: name)
            let value = token == .other ? head.string(name) : head.string(token)
            guard let value, !value.isEmpty else { return .headerMissing(name) }
            return .cluster(value)
        case .weighted(let clusters):
            guard let total = weighted.last?.upTo, total > 0 else { return nil }
            let draw = random.next().multipliedFullWidth(by: total).high
            let index = weighted.firstIndex { draw < $0.upTo } ?? 0
            return .weighted(clusters[index].name, index: index)
        }
    }

    /// What is said of sessions for a request that goes to this cluster; `nil`: nothing.
    public func session(for choice: ClusterChoice?) -> SessionSetting? {
        guard let index = choice?.weightedIndex,
            case .weighted(let clusters) = forward?.action.target
        else { return session }
        return clusters[index].session ?? session
    }

    /// Changes the head that goes to the cluster: the weighted cluster's changes first, then the
    /// route's, the virtual host's and the configuration's.
    public func applyRequestChanges(
        to head: inout MessageHead, choice: ClusterChoice?, values: HeaderFormatValues
    ) {
        let isWeighted = choice?.weightedIndex.map { !weighted[$0].requestChanges.isEmpty } ?? false
        if requestChanges.isEmpty, !isWeighted { return }
        let original = head
        if let index = choice?.weightedIndex {
            weighted[index].requestChanges.apply(to: &head, request: original, values: values)
        }
        for changes in requestChanges {
            changes.apply(to: &head, request: original, values: values)
        }
    }

    public func applyResponseChanges(
        to head: inout MessageHead, request: borrowing MessageHead, choice: ClusterChoice?,
        values: HeaderFormatValues
    ) {
        if let index = choice?.weightedIndex {
            weighted[index].responseChanges.apply(to: &head, request: request, values: values)
        }
        for changes in responseChanges {
            changes.apply(to: &head, request: request, values: values)
        }
    }

    // MARK: Rewriting

    /// Rewrites `:path` as the forward action says; the old one is kept in
    /// `x-envoy-original-path`. The query stays.
    public func rewritePath(of head: inout MessageHead) {
        guard let forward else { return }
        let rewritten: [UInt8]?
        switch forward.action.pathRewrite {
        case .none: return
        case .prefix(let replacement):
            rewritten = pathReplacingMatch(head, with: replacement)
        case .regex:
            rewritten =
                head.withValue(.path) { target -> [UInt8]? in
                    guard let rewrite else { return nil }
                    let count = pathLength(target)
                    let path = UnsafeBufferPointer(rebasing: target[..<count])
                    guard var new = rewrite.regex.replacingAll(in: path, with: rewrite.substitution)
                    else { return nil }
                    new.append(contentsOf: target[count...])
                    return new
                } ?? nil
        }
        guard let rewritten else { return }
        if let original = head.string(.path) { head.set(.envoyOriginalPath, original) }
        rewritten.withUnsafeBufferPointer { head.set(.path, $0) }
    }

    /// The request target with the part that the route matched replaced: the prefix, or the whole
    /// path of an exact or regex route.
    private func pathReplacingMatch(
        _ head: borrowing MessageHead, with replacement: String
    ) -> [UInt8]? {
        head.withValue(.path) { target -> [UInt8]? in
            let matched: Int
            switch path {
            case .prefix(let prefix), .separatedPrefix(let prefix): matched = prefix.count
            case .exact, .regex: matched = pathLength(target)
            case .connect: return nil
            }
            guard matched <= target.count else { return nil }
            return Array(replacement.utf8) + target[matched...]
        } ?? nil
    }

    /// Rewrites `:authority` as the forward action says.
    /// - Parameter endpointHostname: the chosen endpoint's; empty leaves the authority alone.
    public func rewriteHost(of head: inout MessageHead, endpointHostname: String) {
        guard let forward else { return }
        let host: String
        switch forward.action.hostRewrite {
        case .none: return
        case .literal(let literal): host = literal
        case .endpoint: host = endpointHostname
        case .header(let name):
            let token = HeaderChangeList.token(of: name)
            host = (token == .other ? head.string(name) : head.string(token)) ?? ""
        }
        if host.isEmpty { return }
        if forward.action.appendXForwardedHost, let old = head.string(.authority), old != host,
            head.strings("x-forwarded-host").last != old
        {
            head.append("x-forwarded-host", old)
        }
        head.set(.authority, host)
    }

    /// `Location` for a redirect route.
    public func redirectTarget(for head: borrowing MessageHead, isTLS: Bool) -> String? {
        guard case .redirect(let action) = configuration.action else { return nil }
        let target = head.string(.path) ?? "/"
        var path: String
        switch action.path {
        case .unchanged: path = target
        case .replace(let replacement):
            path = replacement
            if !replacement.contains("?"), let query = target.firstIndex(of: "?"),
                !action.stripQuery
            {
                path += target[query...]
            }
            return RedirectTarget.location(
                action, path: path, head: head, isTLS: isTLS)
        case .prefix(let replacement):
            path =
                pathReplacingMatch(head, with: replacement).map {
                    String(decoding: $0, as: UTF8.self)
                } ?? target
        }
        if action.stripQuery, let query = path.firstIndex(of: "?") { path = String(path[..<query]) }
        return RedirectTarget.location(action, path: path, head: head, isTLS: isTLS)
    }
}

/// Which cluster a request goes to.
public enum ClusterChoice: Equatable, Sendable {
    case cluster(String)
    case weighted(String, index: Int)
    /// The route takes its cluster from this header, and the request has none.
    case headerMissing(String)

    var weightedIndex: Int? {
        if case .weighted(_, let index) = self { index } else { nil }
    }
}

/// Builds the `Location` of redirects.
public enum RedirectTarget {
    /// The same URL with scheme https: for virtual hosts that require TLS.
    public static func https(for head: borrowing MessageHead) -> String {
        location(
            RedirectAction(scheme: "https"), path: head.string(.path) ?? "/", head: head,
            isTLS: false)
    }

    static func location(
        _ action: RedirectAction, path: String, head: borrowing MessageHead, isTLS: Bool
    ) -> String {
        let current = head.string(.xForwardedProto) ?? (isTLS ? "https" : "http")
        let scheme = action.scheme ?? current
        var host = action.host ?? ""
        if host.isEmpty {
            host = head.string(.authority) ?? ""
            let port = portStart(host)
            if let port {
                // A port that was right for the old scheme only goes; one that is replaced, too.
                let text = host[port...]
                let isOldDefault =
                    scheme != current
                    && (current == "https" && text == ":443" || current == "http" && text == ":80")
                if action.port != nil || isOldDefault { host = String(host[..<port]) }
            }
        }
        let port = action.port.map { ":\($0)" } ?? ""
        return "\(scheme)://\(host)\(port)\(path)"
    }

    private static func portStart(_ host: String) -> String.Index? {
        guard let colon = host.lastIndex(of: ":") else { return nil }
        if let bracket = host.lastIndex(of: "]"), bracket > colon { return nil }
        return colon
    }
}

/// A forward action behind one reference. An exchange holds on to it, and to copy the value would
/// count a reference for each of its names and lists.
public final class CompiledForward {
    public let action: ForwardAction
    /// The action's, or else its virtual host's.
    public let retryPolicy: RetryPolicy?
    public let hasRetryPolicy: Bool
    public let perTryTimeout: Duration?
    public let perTryIdleTimeout: Duration?
    /// A response with any of these is retried, where the policy asks for `retriable-headers`.
    public let retriableHeaders: [HeaderTest]
    /// Only a request with one of these is retried by the policy, where there are any.
    public let retriableRequestHeaders: [HeaderTest]
    /// The action's, or else its virtual host's.
    public let hedgePolicy: HedgePolicy?
    /// `nil` without hash policies.
    public let hashKey: HashKeyRule?

    init(_ action: ForwardAction, in host: VirtualHost) throws(LinearRegex.SyntaxError) {
        self.action = action
        hashKey = try HashKeyRule(action.hashPolicy)
        retryPolicy = action.retryPolicy ?? host.retryPolicy
        hasRetryPolicy = retryPolicy != nil
        perTryTimeout = retryPolicy?.perTryTimeout
        perTryIdleTimeout = retryPolicy?.perTryIdleTimeout
        hedgePolicy = action.hedgePolicy ?? host.hedgePolicy
        var tests: [HeaderTest] = []
        for matcher in retryPolicy?.retriableHeaders ?? [] {
            tests.append(try HeaderTest(matcher))
        }
        retriableHeaders = tests
        tests = []
        for matcher in retryPolicy?.retriableRequestHeaders ?? [] {
            tests.append(try HeaderTest(matcher))
        }
        retriableRequestHeaders = tests
    }
}
