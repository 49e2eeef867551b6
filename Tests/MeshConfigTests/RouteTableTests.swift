import MeshBase
import Testing

@testable import MeshConfig

private func forward(_ cluster: String) -> RouteAction {
    .forward(ForwardAction(target: .cluster(cluster)))
}

private func table(_ match: RouteMatch, action: RouteAction = forward("c")) throws -> RouteTable {
    try RouteTable(
        RouteConfiguration(
            name: "t",
            virtualHosts: [
                VirtualHost(
                    name: "v", domains: ["*"], routes: [Route(match: match, action: action)])
            ]))
}

private func request(
    _ path: String, host: String = "a.com", headers: [(String, String)] = [],
    method: StaticString = "GET"
) -> MessageHead {
    var head = MessageHead(method: method, scheme: "http", authority: host, path: path)
    for (name, value) in headers { head.append(name, value) }
    return head
}

private func match(_ table: RouteTable, _ head: MessageHead) -> CompiledRoute? {
    var random = SeededRandom(seed: 1)
    if case .route(let route, _) = table.match(head, isTLS: false, random: &random) {
        return route
    }
    return nil
}

@Suite struct RouteTableTests {
    @Test(
        "Virtual hosts are searched as Envoy does",
        arguments: [
            ("a.com", "exact"), ("A.COM", "exact"), ("a.com:80", "default"),
            ("b.a.com", "suffix"), ("x.b.a.com", "long suffix"), ("y-b.a.com", "suffix"),
            ("api.x", "prefix"), ("api.x.y", "long prefix"), ("api.", "default"),
            (".a.com", "default"),
        ])
    func virtualHosts(authority: String, expected: String) throws {
        let domains = [
            "exact": "a.com", "suffix": "*.a.com", "long suffix": "*.b.a.com", "prefix": "api.*",
            "long prefix": "api.x.*", "default": "*",
        ]
        let table = try RouteTable(
            RouteConfiguration(
                name: "t",
                virtualHosts: domains.map {
                    VirtualHost(
                        name: $0.key, domains: [$0.value],
                        routes: [Route(match: RouteMatch(path: .prefix("/")), action: forward("c"))]
                    )
                }))
        var random = SeededRandom(seed: 1)
        guard
            case .route(_, let host) = table.match(
                request("/", host: authority), isTLS: true, random: &random)
        else {
            Issue.record("no route for \(authority)")
            return
        }
        #expect(host.configuration.name == expected)
    }

    @Test("A port is ignored when told to, but not inside an IPv6 literal")
    func ports() throws {
        let table = try RouteTable(
            RouteConfiguration(
                name: "t",
                virtualHosts: [VirtualHost(name: "v", domains: ["a.com", "[::1]"], routes: [])],
                ignorePortInHostMatching: true))
        for host in ["a.com:8080", "a.com", "[::1]:80", "[::1]"] {
            #expect(
                Array(host.utf8).withUnsafeBufferPointer { table.virtualHost(for: $0) } == 0)
        }
    }

    @Test("A domain given twice is refused, whatever its case")
    func duplicates() {
        let configuration = RouteConfiguration(
            name: "t",
            virtualHosts: [
                VirtualHost(name: "v", domains: ["a.com"], routes: []),
                VirtualHost(name: "w", domains: ["A.com"], routes: []),
            ])
        #expect(throws: RouteTableError.duplicateDomain(domain: "A.com", virtualHost: "w")) {
            try RouteTable(configuration)
        }
    }

    @Test(
        "Paths match by their kind, without the query",
        arguments: [
            (RouteMatch.Path.prefix("/a"), "/ab?x=1", true), (.prefix("/a"), "/b", false),
            (.exact("/a"), "/a?x", true), (.exact("/a"), "/a/", false),
            (.separatedPrefix("/a"), "/a/b", true), (.separatedPrefix("/a"), "/ab", false),
            (.separatedPrefix("/a"), "/a?q", true), (.regex("/v[0-9]+/.*"), "/v12/x?y", true),
            (.regex("/v[0-9]+"), "/v12/x", false), (.connect, "/", false),
        ])
    func paths(path: RouteMatch.Path, target: String, expected: Bool) throws {
        #expect((match(try table(RouteMatch(path: path)), request(target)) != nil) == expected)
    }

    @Test("Case counts only when it is to")
    func caseSensitivity() throws {
        let match = RouteMatch(path: .prefix("/Api"), caseSensitive: false)
        #expect(MeshConfigTests.match(try table(match), request("/aPI/x")) != nil)
        let strict = try table(RouteMatch(path: .prefix("/Api")))
        #expect(MeshConfigTests.match(strict, request("/api")) == nil)
    }

    @Test(
        "Headers are tested as Envoy tests them",
        arguments: [
            (HeaderMatcher.Test.string(StringMatcher(.exact("1,2"))), false, false, true),
            (.string(StringMatcher(.prefix("1"))), true, false, false),
            (.present(true), false, false, true), (.present(false), false, false, false),
            (.present(true), true, false, false), (.range(0..<5), false, false, false),
        ])
    func headers(test: HeaderMatcher.Test, inverted: Bool, missing: Bool, expected: Bool) throws {
        let matcher = HeaderMatcher(
            name: "x-a", test: test, inverted: inverted, treatMissingAsEmpty: missing)
        let table = try table(RouteMatch(path: .prefix("/"), headers: [matcher]))
        let head = request("/", headers: [("X-A", "1"), ("x-a", "2")])
        #expect((match(table, head) != nil) == expected)
    }

    @Test("A header that is missing fails even an inverted test, unless it counts as empty")
    func missingHeader() throws {
        func matches(_ treatMissingAsEmpty: Bool) throws -> Bool {
            let matcher = HeaderMatcher(
                name: "x", test: .string(StringMatcher(.exact("1"))), inverted: true,
                treatMissingAsEmpty: treatMissingAsEmpty)
            let table = try table(RouteMatch(path: .prefix("/"), headers: [matcher]))
            return match(table, request("/")) != nil
        }
        #expect(try !matches(false))
        #expect(try matches(true))
    }

    @Test(
        "Query parameters are decoded, and the first of a name decides",
        arguments: [("/?a=1", true), ("/?b&a=%31", true), ("/?a=2&a=1", false), ("/", false)])
    func query(target: String, expected: Bool) throws {
        let matcher = QueryParameterMatcher(name: "a", value: StringMatcher(.exact("1")))
        let table = try table(RouteMatch(path: .prefix("/"), queryParameters: [matcher]))
        #expect((match(table, request(target)) != nil) == expected)
    }

    @Test("The nearest miss is named with the test at which it failed")
    func nearestMiss() throws {
        let matcher = HeaderMatcher(name: "x-a", test: .present(true))
        let table = try table(RouteMatch(path: .prefix("/"), headers: [matcher]))
        var random = SeededRandom(seed: 1)
        guard case .none(let miss) = table.match(request("/"), isTLS: false, random: &random)
        else {
            Issue.record("matched")
            return
        }
        #expect(miss.description == "no route of \"v\" matches; route #0 fails at header \"x-a\"")
    }

    @Test("Weighted clusters get their shares")
    func weights() throws {
        let action = ForwardAction(
            target: .weighted([
                WeightedCluster(name: "a", weight: 1), WeightedCluster(name: "b", weight: 3),
            ]))
        let route = try #require(
            match(
                try table(RouteMatch(path: .prefix("/")), action: .forward(action)), request("/")))
        var random = SeededRandom(seed: 3)
        var toB = 0
        for _ in 0..<4000
        where route.chooseCluster(for: request("/"), random: &random) == .weighted("b", index: 1) {
            toB += 1
        }
        #expect(abs(toB - 3000) < 110)
    }

    @Test(
        "Paths are rewritten and the query stays",
        arguments: [
            (RouteMatch.Path.prefix("/api/"), ForwardAction.PathRewrite.prefix("/"), "/x?q=1"),
            (.prefix("/"), .regex(pattern: "/api/(.*)", substitution: "/v2/\\1"), "/v2/x?q=1"),
            (.exact("/api/x"), .prefix("/y"), "/y?q=1"),
        ])
    func rewrite(
        path: RouteMatch.Path, rewrite: ForwardAction.PathRewrite, expected: String
    ) throws {
        let action = ForwardAction(target: .cluster("c"), pathRewrite: rewrite)
        var head = request("/api/x?q=1")
        let route = try #require(
            match(try table(RouteMatch(path: path), action: .forward(action)), head))
        route.rewritePath(of: &head)
        #expect(head.string(.path) == expected)
        #expect(head.string(.envoyOriginalPath) == "/api/x?q=1")
    }

    @Test(
        "Redirects build the location as Envoy does",
        arguments: [
            (RedirectAction(scheme: "https"), "a.com:80", "https://a.com/p?q=1"),
            (RedirectAction(scheme: "https"), "a.com:81", "https://a.com:81/p?q=1"),
            (RedirectAction(port: 8443), "[::1]:80", "http://[::1]:8443/p?q=1"),
            (RedirectAction(host: "b.com", path: .replace("/z")), "a.com", "http://b.com/z?q=1"),
            (RedirectAction(path: .replace("/z?y"), stripQuery: true), "a.com", "http://a.com/z?y"),
            (
                RedirectAction(path: .prefix("/new/"), stripQuery: true), "a.com",
                "http://a.com/new/p"
            ),
        ])
    func redirect(action: RedirectAction, host: String, expected: String) throws {
        let head = request("/p?q=1", host: host)
        let route = try #require(
            match(try table(RouteMatch(path: .prefix("/")), action: .redirect(action)), head))
        #expect(route.redirectTarget(for: head, isTLS: false) == expected)
    }

    @Test("Header changes expand their commands, removals first")
    func headerChanges() throws {
        let list = try HeaderChangeList(
            HeaderChanges(
                add: [
                    .init(name: "x-from", value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%!"),
                    .init(name: "x-old", value: "%REQ(x-missing?x-b):2%", append: .addIfAbsent),
                    .init(name: "x-b", value: "100%%", append: .overwriteIfExistsOrAdd),
                    .init(name: "x-empty", value: "%UPSTREAM_HOST%"),
                    .init(name: "x-t", value: "%START_TIME%"),
                ], remove: ["x-old"]))
        var head = request("/", headers: [("x-old", "1"), ("x-b", "abc")])
        let before = head
        list.apply(
            to: &head, request: before,
            values: HeaderFormatValues(
                downstreamRemoteAddress: .loopback(port: 5),
                startTime: UnixTime(microseconds: 1_709_210_096_789_000)))
        #expect(head.strings("x-from") == ["127.0.0.1!"])
        #expect(head.strings("x-old") == ["ab"])
        #expect(head.strings("x-b") == ["100%"])
        #expect(head.strings("x-empty").isEmpty)
        #expect(head.strings("x-t") == ["2024-02-29T12:34:56.789Z"])
    }

    @Test("An unknown command is refused with its text", arguments: ["%NOPE%", "%REQ()%", "50%"])
    func unknownCommand(value: String) {
        #expect(throws: HeaderChangeList.FormatError.self) {
            try HeaderChangeList(HeaderChanges(add: [.init(name: "x", value: value)]))
        }
    }
}

@Suite struct RoutePatternTests {
    private func matches(_ pattern: String, _ text: String) throws -> Bool {
        let regex = try LinearRegex(pattern)
        return Array(text.utf8).withUnsafeBufferPointer { regex.matchesAll($0) }
    }

    @Test(
        "Patterns match whole texts",
        arguments: [
            ("a|bc", "bc", true), ("a|bc", "ab", false), ("(?i)AbC", "aBc", true),
            ("[^/]+/\\d{2,3}", "x/12", true), ("\\d{2,3}", "1234", false), ("a*?b", "aab", true),
            ("(a*)*", "aaa", true), ("[[:alpha:]_-]+", "a_b-c", true), ("^a$", "a", true),
            ("\\bfoo\\b.*", "foo bar", true), ("x{", "x{", true), ("", "", true),
            ("(?:a(?i:b))c", "aBc", true), ("(?:a(?i:b))c", "aBC", false), (".", "\n", false),
        ])
    func full(pattern: String, text: String, expected: Bool) throws {
        #expect(try matches(pattern, text) == expected)
    }

    @Test(
        "What is no RE2 pattern is refused",
        arguments: ["(", "a)", "[a", "*", "\\1", "(?=a)", "a**"])
    func refused(pattern: String) {
        #expect(throws: LinearRegex.SyntaxError.self) { try LinearRegex(pattern) }
    }

    @Test("A pattern that ruins backtracking costs no more than its text")
    func linear() throws {
        #expect(try !matches("(a|a)*(a|aa)*b", String(repeating: "a", count: 2000)))
    }

    @Test(
        "All matches are replaced, leftmost and preferred first",
        arguments: [
            ("a+", "b", "aaxa", "bxb"), ("(\\w)(\\w)", "\\2\\1", "abcd", "badc"),
            ("x*", "-", "ab", "-a-b-"), ("a|ab", "x", "ab", "xb"), ("^/", "\\\\", "/a/", "\\a/"),
        ])
    func replace(pattern: String, substitution: String, text: String, expected: String) throws {
        let regex = try LinearRegex(pattern)
        let result = Array(text.utf8).withUnsafeBufferPointer {
            regex.replacingAll(in: $0, with: Array(substitution.utf8))
        }
        #expect(result.map { String(decoding: $0, as: UTF8.self) } == expected)
    }
}
