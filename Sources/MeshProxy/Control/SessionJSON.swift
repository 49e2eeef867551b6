import MeshConfig

extension ConfigJSON {
    private static let sessionName = "envoy.filters.http.stateful_session"
    private static let sessionType =
        types + "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"

    static func sessionFilter(_ setting: SessionSetting) -> JSONValue {
        .message(
            ("name", .string(sessionName)),
            ("typed_config", .message([("@type", .string(sessionType))] + state(setting))))
    }

    static func perFilter(_ setting: SessionSetting?) -> (String, JSONValue) {
        guard let setting else { return ("", .null) }
        let override: (String, JSONValue) =
            switch setting {
            case .off: ("disabled", true)
            case .on: ("stateful_session", .message(state(setting)))
            }
        return (
            "typed_per_filter_config",
            .object([
                (
                    key: sessionName,
                    value: .message(("@type", .string(sessionType + "PerRoute")), override)
                )
            ])
        )
    }

    private static func state(_ setting: SessionSetting) -> [(String, JSONValue)] {
        guard case .on(let session) = setting else { return [] }
        let prefix = "envoy.extensions.http.stateful_session."
        let (kind, type, field): (String, String, (String, JSONValue)) =
            switch session.carrier {
            case .cookie(let cookie):
                ("cookie", "CookieBasedSessionState", ("cookie", self.cookie(cookie)))
            case .header(let name):
                ("header", "HeaderBasedSessionState", ("name", .string(name)))
            }
        let config = JSONValue.message(
            ("@type", .string("\(types)\(prefix)\(kind).v3.\(type)")), field)
        return [
            (
                "session_state",
                ["name": .string("envoy.http.stateful_session.\(kind)"), "typed_config": config]
            ), ("strict", flag(session.isStrict)),
        ]
    }
}
