import MeshBase
import MeshConfig

extension ConfigJSON {
    /// `envoy.config.route.v3.RouteConfiguration`.
    static func routeConfiguration(_ configuration: RouteConfiguration) -> JSONValue {
        .message(
            ("@type", .string(types + "envoy.config.route.v3.RouteConfiguration")),
            ("name", .string(configuration.name)),
            ("virtual_hosts", .array(configuration.virtualHosts.map(virtualHost))),
            additions("request_headers_to_add", configuration.requestHeaders),
            removals("request_headers_to_remove", configuration.requestHeaders),
            additions("response_headers_to_add", configuration.responseHeaders),
            removals("response_headers_to_remove", configuration.responseHeaders),
            ("ignore_port_in_host_matching", flag(configuration.ignorePortInHostMatching)),
            perFilter(configuration.session))
    }

    private static func virtualHost(_ host: VirtualHost) -> JSONValue {
        let requireTLS: JSONValue =
            switch host.requireTLS {
            case .none: .null
            case .externalOnly: "EXTERNAL_ONLY"
            case .all: "ALL"
            }
        return .message(
            ("name", .string(host.name)), ("domains", strings(host.domains)),
            ("routes", .array(host.routes.map(route))), ("require_tls", requireTLS),
            additions("request_headers_to_add", host.requestHeaders),
            removals("request_headers_to_remove", host.requestHeaders),
            additions("response_headers_to_add", host.responseHeaders),
            removals("response_headers_to_remove", host.responseHeaders),
            ("retry_policy", host.retryPolicy.map(retryPolicy) ?? .null),
            ("include_request_attempt_count", flag(host.includeAttemptCount)),
            perFilter(host.session))
    }

    private static func route(_ route: Route) -> JSONValue {
        let action: (String, JSONValue) =
            switch route.action {
            case .forward(let forward): ("route", forwardAction(forward))
            case .redirect(let redirect): ("redirect", redirectAction(redirect))
            case .respond(let response):
                (
                    "direct_response",
                    .message(
                        ("status", .number(Int64(response.status))),
                        (
                            "body",
                            response.body.isEmpty
                                ? .null : ["inline_bytes": .string(Base64.encode(response.body))]
                        ))
                )
            }
        return .message(
            ("name", .string(route.name)), ("match", routeMatch(route.match)), action,
            additions("request_headers_to_add", route.requestHeaders),
            removals("request_headers_to_remove", route.requestHeaders),
            additions("response_headers_to_add", route.responseHeaders),
            removals("response_headers_to_remove", route.responseHeaders),
            perFilter(route.session))
    }

    private static func routeMatch(_ match: RouteMatch) -> JSONValue {
        let path: (String, JSONValue) =
            switch match.path {
            case .prefix(let text): ("prefix", .string(text))
            case .exact(let text): ("path", .string(text))
            case .separatedPrefix(let text): ("path_separated_prefix", .string(text))
            case .regex(let text): ("safe_regex", ["regex": .string(text)])
            case .connect: ("connect_matcher", [:])
            }
        return .message(
            path, ("case_sensitive", match.caseSensitive ? .null : false),
            ("headers", .array(match.headers.map(headerMatcher))),
            (
                "query_parameters",
                .array(
                    match.queryParameters.map { parameter in
                        .message(
                            ("name", .string(parameter.name)),
                            parameter.value.map { ("string_match", string($0)) }
                                ?? ("present_match", true))
                    })
            ),
            ("grpc", match.grpcOnly ? [:] : .null),
            (
                "runtime_fraction",
                match.fraction.map {
                    [
                        "default_value": [
                            "numerator": .number(Int64($0.partsPerMillion)),
                            "denominator": "MILLION",
                        ]
                    ]
                } ?? .null
            ))
    }

    private static func headerMatcher(_ matcher: HeaderMatcher) -> JSONValue {
        let test: (String, JSONValue) =
            switch matcher.test {
            case .string(let text): ("string_match", string(text))
            case .range(let range):
                (
                    "range_match",
                    ["start": .number(range.lowerBound), "end": .number(range.upperBound)]
                )
            case .present(let value): ("present_match", .bool(value))
            }
        return .message(
            ("name", .string(matcher.name)), test, ("invert_match", flag(matcher.inverted)),
            ("treat_missing_header_as_empty", flag(matcher.treatMissingAsEmpty)))
    }

    private static func forwardAction(_ action: ForwardAction) -> JSONValue {
        let target: (String, JSONValue) =
            switch action.target {
            case .cluster(let name): ("cluster", .string(name))
            case .clusterHeader(let name): ("cluster_header", .string(name))
            case .weighted(let clusters):
                ("weighted_clusters", ["clusters": .array(clusters.map { weighted($0) })])
            }
        let host: (String, JSONValue) =
            switch action.hostRewrite {
            case .none: ("", .null)
            case .literal(let text): ("host_rewrite_literal", .string(text))
            case .endpoint: ("auto_host_rewrite", true)
            case .header(let name): ("host_rewrite_header", .string(name))
            }
        let path: (String, JSONValue) =
            switch action.pathRewrite {
            case .none: ("", .null)
            case .prefix(let text): ("prefix_rewrite", .string(text))
            case .regex(let pattern, let substitution):
                (
                    "regex_rewrite",
                    [
                        "pattern": ["regex": .string(pattern)],
                        "substitution": .string(substitution),
                    ]
                )
            }
        return .message(
            target, path, host, ("timeout", duration(action.timeout)),
            ("idle_timeout", optional(action.idleTimeout)),
            ("retry_policy", action.retryPolicy.map(retryPolicy) ?? .null),
            ("hash_policy", .array(action.hashPolicy.map(hashPolicy))),
            ("append_x_forwarded_host", flag(action.appendXForwardedHost)),
            ("priority", action.highPriority ? "HIGH" : .null))
    }

    private static func hashPolicy(_ policy: HashPolicy) -> JSONValue {
        let source: (String, JSONValue) =
            switch policy.source {
            case .header(let name, let rewrite):
                (
                    "header",
                    .message(
                        ("header_name", .string(name)),
                        (
                            "regex_rewrite",
                            rewrite.map {
                                [
                                    "pattern": ["regex": .string($0.pattern)],
                                    "substitution": .string($0.substitution),
                                ]
                            } ?? .null
                        ))
                )
            case .cookie(let cookie): ("cookie", self.cookie(cookie))
            case .sourceIP: ("connection_properties", ["source_ip": true])
            case .queryParameter(let name): ("query_parameter", ["name": .string(name)])
            }
        return .message(source, ("terminal", flag(policy.terminal)))
    }

    static func cookie(_ cookie: HashPolicy.Cookie) -> JSONValue {
        .message(
            ("name", .string(cookie.name)), ("ttl", optional(cookie.life)),
            ("path", .string(cookie.path)),
            (
                "attributes",
                .array(
                    cookie.attributes.map {
                        ["name": .string($0.name), "value": .string($0.value)]
                    })
            ))
    }

    private static func redirectAction(_ action: RedirectAction) -> JSONValue {
        let path: (String, JSONValue) =
            switch action.path {
            case .unchanged: ("", .null)
            case .replace(let text): ("path_redirect", .string(text))
            case .prefix(let text): ("prefix_rewrite", .string(text))
            }
        let code: JSONValue =
            switch action.status {
            case 302: "FOUND"
            case 303: "SEE_OTHER"
            case 307: "TEMPORARY_REDIRECT"
            case 308: "PERMANENT_REDIRECT"
            default: .null
            }
        return .message(
            ("scheme_redirect", .string(action.scheme ?? "")),
            ("host_redirect", .string(action.host ?? "")),
            ("port_redirect", action.port.map { .number(Int64($0)) } ?? .null), path,
            ("response_code", code), ("strip_query", flag(action.stripQuery)))
    }

    private static func retryPolicy(_ policy: RetryPolicy) -> JSONValue {
        let words = [
            "5xx", "gateway-error", "reset", "connect-failure", "refused-stream",
            "retriable-4xx", "retriable-status-codes", "retriable-headers",
            "reset-before-request", "envoy-ratelimited", "cancelled", "deadline-exceeded",
            "internal", "resource-exhausted", "unavailable", "http3-post-connect-failure",
        ].filter { word in
            RetryPolicy.Conditions(word: word).map(policy.conditions.contains) ?? false
        }
        return .message(
            ("retry_on", .string(words.joined(separator: ","))),
            ("num_retries", .number(Int64(policy.maxRetries))),
            ("per_try_timeout", optional(policy.perTryTimeout)),
            ("per_try_idle_timeout", optional(policy.perTryIdleTimeout)),
            (
                "retriable_status_codes",
                .array(policy.retriableStatusCodes.map { .number(Int64($0)) })
            ),
            ("retriable_headers", .array(policy.retriableHeaders.map(headerMatcher))),
            (
                "retriable_request_headers",
                .array(policy.retriableRequestHeaders.map(headerMatcher))
            ),
            (
                "retry_back_off",
                [
                    "base_interval": duration(policy.backoffBase),
                    "max_interval": duration(policy.backoffCap),
                ]
            ))
    }

    private static func additions(
        _ key: String, _ changes: HeaderChanges
    ) -> (String, JSONValue) {
        (
            key,
            .array(
                changes.add.map { addition in
                    let action: JSONValue =
                        switch addition.append {
                        case .appendIfExistsOrAdd: .null
                        case .addIfAbsent: "ADD_IF_ABSENT"
                        case .overwriteIfExistsOrAdd: "OVERWRITE_IF_EXISTS_OR_ADD"
                        case .overwriteIfExists: "OVERWRITE_IF_EXISTS"
                        }
                    return .message(
                        (
                            "header",
                            ["key": .string(addition.name), "value": .string(addition.value)]
                        ),
                        ("append_action", action),
                        ("keep_empty_value", flag(addition.keepEmpty)))
                })
        )
    }

    private static func removals(
        _ key: String, _ changes: HeaderChanges
    ) -> (String, JSONValue) {
        (key, strings(changes.remove))
    }
}
