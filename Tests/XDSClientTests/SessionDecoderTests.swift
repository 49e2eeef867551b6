import MeshBase
import MeshConfig
import Testing
import XDSClient

@Suite struct SessionDecoderTests {
    private let filter =
        "\"@type\": x/envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
    private let prefix = "x/envoy.extensions.http.stateful_session"

    private func cookie(_ fields: String) -> String {
        """
        session_state: {name: envoy.http.stateful_session.cookie, typed_config:
         {"@type": \(prefix).cookie.v3.CookieBasedSessionState, cookie: {\(fields)}}}
        """
    }

    private func header(_ fields: String) -> String {
        """
        session_state: {name: envoy.http.stateful_session.header, typed_config:
         {"@type": \(prefix).header.v3.HeaderBasedSessionState, \(fields)}}
        """
    }

    /// The snapshot of a listener with these filters before its router, or what is wrong.
    private func decode(_ filters: [String], perRoute: String = "") -> (Listener?, String) {
        let list =
            (filters + [
                "{name: r, typed_config: {\"@type\": x/envoy.extensions.filters.http.router.v3.Router}}"
            ]).joined(separator: ", ")
        let text = """
            - "@type": x/envoy.config.listener.v3.Listener
              name: l
              address: {socket_address: {address: 127.0.0.1, port_value: 1}}
              filter_chains:
              - filters:
                - name: h
                  typed_config:
                    "@type": x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                    stat_prefix: h
                    http_filters: [\(list)]
                    route_config:
                      name: r
                      virtual_hosts:
                      - {name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: c}\(perRoute)}]}
            """
        do {
            let raw = try ResourceFiles.parse(files: [(name: "test", text: Array(text.utf8))])
            var builder = SnapshotBuilder(staticResources: Snapshot(), source: "cp")
            let rejections = builder.apply(
                type: .listener, resources: raw, isFullSet: true, now: UnixTime(microseconds: 1))
            return (
                builder.takeSnapshot()?.listeners.first, rejections.map { "\($0)" }.joined()
            )
        } catch {
            return (nil, "\(error)")
        }
    }

    private func manager(_ listener: Listener?) -> HTTPConnectionManager? {
        if case .http(let manager) = listener?.filterChains[0].filter { manager } else { nil }
    }

    private func session(_ listener: Listener?) -> SessionSetting? {
        guard case .inline(let routes) = manager(listener)?.routes else { return nil }
        return routes.virtualHosts[0].routes[0].session
    }

    @Test("The filter with a cookie, with a header, empty, and turned off")
    func filters() {
        let (listener, problems) = decode([
            """
            {name: s, typed_config: {\(filter), strict: true,
             \(cookie("name: sid, path: /p, ttl: 60s, attributes: [{name: SameSite, value: Lax}]"))}}
            """
        ])
        #expect(problems == "")
        let expected = StatefulSession(
            carrier: .cookie(
                .init(
                    name: "sid", life: .seconds(60), path: "/p",
                    attributes: [.init(name: "SameSite", value: "Lax")])), isStrict: true)
        #expect(manager(listener)?.filters == [.statefulSession(.on(expected)), .router])
        let named = header("name: X-Session, override_mode_config: {}")
        #expect(
            manager(decode(["{name: s, typed_config: {\(filter), \(named)}}"]).0)?.filters.first
                == .statefulSession(.on(StatefulSession(carrier: .header("x-session")))))
        for text in [
            "{name: s, typed_config: {\(filter)}}",
            "{name: s, disabled: true, typed_config: {\(filter), \(named)}}",
        ] {
            #expect(manager(decode([text]).0)?.filters == [.statefulSession(.off), .router])
        }
    }

    @Test("What a route says of it")
    func perRoute() {
        let type =
            "\"@type\": x/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute"
        func route(_ config: String) -> (Listener?, String) {
            decode(
                [],
                perRoute:
                    ", typed_per_filter_config: {envoy.filters.http.stateful_session: \(config)}")
        }
        #expect(session(route("{\(type), disabled: true}").0) == .off)
        let on = route("{\(type), stateful_session: {\(header("name: x-s"))}}").0
        #expect(session(on) == .on(StatefulSession(carrier: .header("x-s"))))
        let off = "{\"@type\": x/envoy.config.route.v3.FilterConfig, disabled: true}"
        #expect(session(route(off).0) == .off)
        #expect(
            route("{\(type)}").1.contains(
                "[\"envoy.filters.http.stateful_session\"]: expected disabled or stateful_session"))
    }

    @Test("What can't be honoured is refused with its path")
    func refusals() {
        for (state, problem) in [
            (cookie("path: /"), "typed_config.cookie.name: expected a name"),
            (header("name: \"a b\""), "name: expected the name of a header"),
            (
                header("name: a, packages_mode_config: {}"),
                "packages_mode_config: expected override_mode_config"
            ),
            (
                "session_state: {name: other}",
                "session_state.typed_config: expected a CookieBasedSessionState"
            ),
        ] {
            let problems = decode(["{name: s, typed_config: {\(filter), \(state)}}"]).1
            #expect(problems.contains(problem), "\(problems)")
        }
        let twice = "{name: s, typed_config: {\(filter)}}"
        #expect(decode([twice, twice]).1.contains("http_filters[1]: expected one filter"))
    }
}
