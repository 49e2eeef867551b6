internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

// The filter for sessions, in a connection manager and in routes.

extension Decoding {
    static let sessionFilter = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
    static let sessionPerRoute = sessionFilter + "PerRoute"

    mutating func statefulSession(_ opened: Opened) -> SessionSetting {
        parse(opened, as: Envoy_Extensions_Filters_Http_StatefulSession_V3_StatefulSession.self)
            .map { setting($0) } ?? .off
    }

    /// - Returns: `nil` when it is the configuration of another filter.
    mutating func sessionPerRoute(_ opened: Opened) -> SessionSetting? {
        guard opened.type == Decoding.sessionPerRoute else { return nil }
        let message = parse(
            opened,
            as: Envoy_Extensions_Filters_Http_StatefulSession_V3_StatefulSessionPerRoute.self)
        guard let message else { return .off }
        requireWhole(message)
        switch message.override {
        case .disabled(let isDisabled):
            if !isDisabled { refuse("disabled", expected: "true", got: "false") }
            return .off
        case .statefulSession(let session):
            return within("stateful_session") { $0.setting(session) }
        case nil:
            refuse(expected: "disabled or stateful_session", got: "none")
            return .off
        }
    }

    private mutating func setting(
        _ message: Envoy_Extensions_Filters_Http_StatefulSession_V3_StatefulSession
    ) -> SessionSetting {
        noteUnknown(message)
        guard message.hasSessionState else { return .off }
        let carrier = within("session_state.typed_config") { at in
            at.carrier(at.open(message.sessionState.typedConfig), named: message.sessionState.name)
        }
        return carrier.map { .on(StatefulSession(carrier: $0, isStrict: message.strict)) } ?? .off
    }

    private mutating func carrier(_ opened: Opened, named name: String) -> StatefulSession.Carrier?
    {
        let prefix = "envoy.extensions.http.stateful_session."
        switch opened.type {
        case prefix + "cookie.v3.CookieBasedSessionState":
            let message = parse(
                opened,
                as: Envoy_Extensions_Http_StatefulSession_Cookie_V3_CookieBasedSessionState.self)
            guard let message else { return nil }
            requireWhole(message)
            return within("cookie") { .cookie($0.sessionCookie(message.cookie)) }
        case prefix + "header.v3.HeaderBasedSessionState":
            let message = parse(
                opened,
                as: Envoy_Extensions_Http_StatefulSession_Header_V3_HeaderBasedSessionState.self)
            guard let message else { return nil }
            requireWhole(message)
            if !Decoding.isHeaderName(message.name.lowercased()) {
                refuse("name", expected: "the name of a header", got: "\"\(message.name)\"")
            }
            if message.hasPackagesModeConfig {
                refuse(
                    "packages_mode_config", expected: "override_mode_config, or none", got: "one")
            }
            return .header(message.name.lowercased())
        default:
            refuse(
                expected: "a CookieBasedSessionState or a HeaderBasedSessionState",
                got: opened.type.isEmpty ? "\"\(name)\" without one" : opened.type)
            return nil
        }
    }

    private mutating func sessionCookie(_ message: Envoy_Type_Http_V3_Cookie) -> HashPolicy.Cookie {
        requireWhole(message)
        if message.name.isEmpty { refuse("name", expected: "a name", got: "none") }
        return HashPolicy.Cookie(
            name: message.name, life: message.hasTtl ? duration(message.ttl, "ttl") : nil,
            path: message.path,
            attributes: each("attributes", message.attributes) { at, attribute in
                if attribute.name.isEmpty { at.refuse("name", expected: "a name", got: "none") }
                return .init(name: attribute.name, value: attribute.value)
            })
    }

    /// `common_lb_config.override_host_status`.
    mutating func overrideStatuses(_ message: Envoy_Config_Core_V3_HealthStatusSet)
        -> Set<Endpoint.Status>
    {
        Set(each("override_host_status.statuses", message.statuses) { $0.status($1, "") })
    }
}
