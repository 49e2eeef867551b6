internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

extension Decoding {
    mutating func routes(_ message: Envoy_Config_Route_V3_RouteConfiguration) -> RouteConfiguration
    {
        noteUnknown(message)
        if message.hasVhds {
            refuse("vhds", expected: "virtual_hosts in full", got: "on-demand virtual hosts")
        }
        var result = RouteConfiguration(name: message.name)
        var owners: [String: String] = [:]
        result.virtualHosts = each("virtual_hosts", message.virtualHosts) { at, host in
            for domain in host.domains {
                if let other = owners.updateValue(host.name, forKey: domain.lowercased()) {
                    at.refuse(
                        "domains", expected: "domains that no other virtual host has",
                        got: "\"\(domain)\", which is \"\(other)\"'s too")
                }
            }
            return at.virtualHost(host)
        }
        result.requestHeaders = headerChanges(
            add: message.requestHeadersToAdd, remove: message.requestHeadersToRemove, "request")
        result.responseHeaders = headerChanges(
            add: message.responseHeadersToAdd, remove: message.responseHeadersToRemove, "response")
        result.ignorePortInHostMatching = message.ignorePortInHostMatching
        result.session = perFilter(message.typedPerFilterConfig)
        return result
    }

    private mutating func virtualHost(_ message: Envoy_Config_Route_V3_VirtualHost) -> VirtualHost {
        noteUnknown(message)
        if message.name.isEmpty { refuse("name", expected: "a name", got: "none") }
        if message.domains.isEmpty { refuse("domains", expected: "one or more", got: "none") }
        for domain in message.domains {
            let stars = domain.utf8.filter { $0 == UInt8(ascii: "*") }.count
            if domain.isEmpty || stars > 1
                || stars == 1 && !domain.hasPrefix("*") && !domain.hasSuffix("*")
            {
                refuse("domains", expected: "a.com, *.a.com, a.* or *", got: "\"\(domain)\"")
            }
        }
        if message.hasMatcher {
            refuse("matcher", expected: "routes", got: "a matcher tree")
        }
        var host = VirtualHost(name: message.name, domains: message.domains, routes: [])
        host.routes = each("routes", message.routes) { $0.route($1) }.compactMap { $0 }
        if message.hasRetryPolicy {
            host.retryPolicy = within("retry_policy") { $0.retryPolicy(message.retryPolicy) }
        }
        refuseTypedRetryPolicy(message.hasRetryPolicyTypedConfig, message.retryPolicyTypedConfig)
        if message.hasHedgePolicy {
            host.hedgePolicy = within("hedge_policy") { $0.hedgePolicy(message.hedgePolicy) }
        }
        host.requestHeaders = headerChanges(
            add: message.requestHeadersToAdd, remove: message.requestHeadersToRemove, "request")
        host.responseHeaders = headerChanges(
            add: message.responseHeadersToAdd, remove: message.responseHeadersToRemove, "response")
        switch message.requireTls {
        case .none: host.requireTLS = .none
        case .externalOnly: host.requireTLS = .externalOnly
        case .all: host.requireTLS = .all
        case .UNRECOGNIZED(let number):
            refuse("require_tls", expected: "a known name", got: "\(number)")
        }
        host.includeAttemptCount = message.includeRequestAttemptCount
        host.session = perFilter(message.typedPerFilterConfig)
        return host
    }

    /// What a route changes about a filter acts only when that filter is there, and may restrict.
    /// - Returns: what it says of sessions.
    private mutating func perFilter(_ configs: [String: Google_Protobuf_Any]) -> SessionSetting? {
        var session: SessionSetting?
        for (key, any) in configs.sorted(by: { $0.key < $1.key }) {
            within("typed_per_filter_config") { at in
                at.atKey(key) { at in
                    var opened = at.open(any)
                    if opened.type == "envoy.config.route.v3.FilterConfig",
                        let config = at.parse(opened, as: Envoy_Config_Route_V3_FilterConfig.self)
                    {
                        opened = at.open(config.config)
                        let isSession =
                            opened.type == Decoding.sessionPerRoute
                            || key == "envoy.filters.http.stateful_session"
                        if config.disabled {
                            if isSession { session = .off }
                            return
                        }
                        if config.isOptional, !isSession { return }
                    }
                    if let setting = at.sessionPerRoute(opened) {
                        session = setting
                    } else if Decoding.passedBy.contains(opened.type)
                        || opened.isEmpty && Decoding.passedByWhenEmpty.contains(opened.type)
                    {
                        at.remark("", "\(opened.type) is ignored")
                    } else {
                        at.refuse(
                            expected: "configuration of a filter known here",
                            got: opened.type.isEmpty ? "none" : opened.type)
                    }
                }
            }
        }
        return session
    }

    private mutating func route(_ message: Envoy_Config_Route_V3_Route) -> Route? {
        noteUnknown(message)
        let session = perFilter(message.typedPerFilterConfig)
        let match = within("match") { $0.routeMatch(message.match) }
        let action: RouteAction?
        switch message.action {
        case .route(let forward):
            action = within("route") { $0.forward(forward) }.map { .forward($0) }
        case .redirect(let redirect):
            action = within("redirect") { .redirect($0.redirect(redirect)) }
        case .directResponse(let response):
            action = within("direct_response") { at in
                if !(200..<600).contains(response.status) {
                    at.refuse("status", expected: "200 to 599", got: "\(response.status)")
                }
                var body: [UInt8] = []
                if response.hasBody {
                    switch at.dataSource(response.body, "body") {
                    case .inline(let bytes): body = bytes
                    case .file:
                        at.refuse(
                            "body", expected: "inline_string or inline_bytes", got: "filename")
                    case nil: break
                    }
                }
                if response.hasBodyFormat { at.remark("body_format", "is ignored") }
                return .respond(DirectResponse(status: Int(response.status), body: body))
            }
        case .nonForwardingAction, .filterAction:
            refuse(expected: "route, redirect or direct_response", got: "another action")
            action = nil
        case nil:
            refuse(expected: "route, redirect or direct_response", got: "none")
            action = nil
        }
        let requestHeaders = headerChanges(
            add: message.requestHeadersToAdd, remove: message.requestHeadersToRemove, "request")
        let responseHeaders = headerChanges(
            add: message.responseHeadersToAdd, remove: message.responseHeadersToRemove, "response")
        guard let match, let action else { return nil }
        var route = Route(
            name: message.name, match: match, action: action, requestHeaders: requestHeaders,
            responseHeaders: responseHeaders)
        route.session = session
        return route
    }

    private mutating func routeMatch(_ message: Envoy_Config_Route_V3_RouteMatch) -> RouteMatch? {
        requireWhole(message)
        let path: RouteMatch.Path?
        switch message.pathSpecifier {
        case .prefix(let text): path = .prefix(text)
        case .path(let text): path = .exact(text)
        case .pathSeparatedPrefix(let text):
            if !text.hasPrefix("/") || text.hasSuffix("/") || text.contains("?") {
                refuse("path_separated_prefix", expected: "/a/b", got: "\"\(text)\"")
            }
            path = .separatedPrefix(text)
        case .safeRegex(let regex): path = self.regex(regex, "safe_regex").map { .regex($0) }
        case .connectMatcher: path = .connect
        case .pathMatchPolicy:
            refuse(
                "path_match_policy", expected: "prefix, path, path_separated_prefix or safe_regex",
                got: "a path match policy")
            path = nil
        case nil:
            refuse(
                expected: "prefix, path, path_separated_prefix, safe_regex or connect_matcher",
                got: "none")
            path = nil
        }
        let headers = each("headers", message.headers) { $0.headerMatcher($1) }
        let parameters = each("query_parameters", message.queryParameters) {
            at, parameter -> QueryParameterMatcher? in
            at.requireWhole(parameter)
            if parameter.name.isEmpty { at.refuse("name", expected: "a name", got: "none") }
            switch parameter.queryParameterMatchSpecifier {
            case .stringMatch(let matcher):
                return at.within("string_match") { $0.stringMatcher(matcher) }
                    .map { QueryParameterMatcher(name: parameter.name, value: $0) }
            case .presentMatch(let isPresent):
                if !isPresent {
                    at.refuse("present_match", expected: "true", got: "false")
                }
                return QueryParameterMatcher(name: parameter.name, value: nil)
            case nil: return QueryParameterMatcher(name: parameter.name, value: nil)
            }
        }
        for (isUsed, name) in [
            (!message.dynamicMetadata.isEmpty, "dynamic_metadata"),
            (message.hasTlsContext, "tls_context"), (!message.filterState.isEmpty, "filter_state"),
        ] where isUsed {
            refuse(name, expected: "none (not supported here)", got: "a condition")
        }
        guard let path else { return nil }
        return RouteMatch(
            path: path,
            caseSensitive: message.hasCaseSensitive ? message.caseSensitive.value : true,
            headers: headers.compactMap { $0 }, queryParameters: parameters.compactMap { $0 },
            grpcOnly: message.hasGrpc,
            fraction: message.hasRuntimeFraction
                ? fraction(message.runtimeFraction.defaultValue) : nil)
    }

    private mutating func headerMatcher(_ message: Envoy_Config_Route_V3_HeaderMatcher)
        -> HeaderMatcher?
    {
        requireWhole(message)
        let name = message.name.lowercased()
        if !Decoding.isHeaderName(name) {
            refuse("name", expected: "the name of a header", got: "\"\(name)\"")
        }
        let test: HeaderMatcher.Test?
        switch message.headerMatchSpecifier {
        case .exactMatch(let text): test = .string(StringMatcher(.exact(text)))
        case .prefixMatch(let text): test = .string(StringMatcher(.prefix(text)))
        case .suffixMatch(let text): test = .string(StringMatcher(.suffix(text)))
        case .containsMatch(let text): test = .string(StringMatcher(.contains(text)))
        case .safeRegexMatch(let regex):
            test = self.regex(regex, "safe_regex_match").map { .string(StringMatcher(.regex($0))) }
        case .stringMatch(let matcher):
            test = within("string_match") { $0.stringMatcher(matcher) }.map { .string($0) }
        case .rangeMatch(let range):
            if range.start < range.end {
                test = .range(range.start..<range.end)
            } else {
                refuse(
                    "range_match", expected: "start below end", got: "\(range.start)..\(range.end)")
                test = nil
            }
        case .presentMatch(let isPresent): test = .present(isPresent)
        case nil: test = .present(true)
        }
        return test.map {
            HeaderMatcher(
                name: name, test: $0, inverted: message.invertMatch,
                treatMissingAsEmpty: message.treatMissingHeaderAsEmpty)
        }
    }

    private mutating func forward(_ message: Envoy_Config_Route_V3_RouteAction) -> ForwardAction? {
        noteUnknown(message)
        let subset = subsetCriteria(message.metadataMatch)
        let target: ForwardAction.Target
        switch message.clusterSpecifier {
        case .cluster(let name):
            if name.isEmpty { refuse("cluster", expected: "a name", got: "none") }
            target = .cluster(name)
        case .clusterHeader(let name):
            if !Decoding.isHeaderName(name) {
                refuse("cluster_header", expected: "the name of a header", got: "\"\(name)\"")
            }
            target = .clusterHeader(name.lowercased())
        case .weightedClusters(let weighted):
            target = .weighted(
                within("weighted_clusters") { at in
                    let clusters = at.each("clusters", weighted.clusters) {
                        at, cluster -> WeightedCluster in
                        at.noteUnknown(cluster)
                        let session = at.perFilter(cluster.typedPerFilterConfig)
                        if cluster.name.isEmpty {
                            at.refuse("name", expected: "a name", got: "none")
                        }
                        var part = WeightedCluster(
                            name: cluster.name, weight: cluster.weight.value,
                            requestHeaders: at.headerChanges(
                                add: cluster.requestHeadersToAdd,
                                remove: cluster.requestHeadersToRemove, "request"),
                            responseHeaders: at.headerChanges(
                                add: cluster.responseHeadersToAdd,
                                remove: cluster.responseHeadersToRemove, "response"),
                            subset: subset.merging(at.subsetCriteria(cluster.metadataMatch)) {
                                $1
                            })
                        part.session = session
                        return part
                    }
                    let sum = clusters.reduce(UInt64(0)) { $0 + UInt64($1.weight) }
                    if sum == 0 || sum > UInt64(UInt32.max) {
                        at.refuse(
                            "clusters", expected: "weights from 1 to 4294967295 together",
                            got: "\(sum)")
                    }
                    return clusters
                })
        case .clusterSpecifierPlugin, .inlineClusterSpecifierPlugin:
            refuse(
                expected: "cluster, cluster_header or weighted_clusters", got: "a specifier plugin")
            return nil
        case nil:
            refuse(expected: "cluster, cluster_header or weighted_clusters", got: "none")
            return nil
        }
        var action = ForwardAction(target: target, subset: subset)
        if message.hasTimeout { action.timeout = duration(message.timeout, "timeout") }
        if message.hasIdleTimeout {
            action.idleTimeout = duration(message.idleTimeout, "idle_timeout")
        }
        if message.hasMaxStreamDuration {
            let limits = message.maxStreamDuration
            if limits.hasMaxStreamDuration, !message.hasTimeout {
                action.timeout = duration(
                    limits.maxStreamDuration, "max_stream_duration.max_stream_duration")
            }
            if limits.hasGrpcTimeoutHeaderMax {
                action.maxGRPCTimeout = duration(
                    limits.grpcTimeoutHeaderMax, "max_stream_duration.grpc_timeout_header_max")
            }
        }
        if message.hasMaxGrpcTimeout {
            action.maxGRPCTimeout = duration(message.maxGrpcTimeout, "max_grpc_timeout")
        }
        if message.hasRetryPolicy {
            action.retryPolicy = within("retry_policy") { $0.retryPolicy(message.retryPolicy) }
        }
        refuseTypedRetryPolicy(message.hasRetryPolicyTypedConfig, message.retryPolicyTypedConfig)
        if message.hasHedgePolicy {
            action.hedgePolicy = within("hedge_policy") { $0.hedgePolicy(message.hedgePolicy) }
        }
        switch message.hostRewriteSpecifier {
        case .hostRewriteLiteral(let host): action.hostRewrite = .literal(host)
        case .autoHostRewrite(let flag): action.hostRewrite = flag.value ? .endpoint : .none
        case .hostRewriteHeader(let name): action.hostRewrite = .header(name.lowercased())
        case nil: break
        default:
            refuse(
                expected: "host_rewrite_literal, auto_host_rewrite or host_rewrite_header",
                got: "another way to rewrite the host")
        }
        action.appendXForwardedHost = message.appendXForwardedHost
        if !message.prefixRewrite.isEmpty {
            action.pathRewrite = .prefix(message.prefixRewrite)
        } else if message.hasRegexRewrite {
            if let pattern = regex(message.regexRewrite.pattern, "regex_rewrite.pattern") {
                action.pathRewrite = .regex(
                    pattern: pattern, substitution: message.regexRewrite.substitution)
            }
        } else if message.hasPathRewritePolicy {
            refuse(
                "path_rewrite_policy", expected: "prefix_rewrite or regex_rewrite", got: "a policy")
        }
        action.hashPolicy = hashPolicies(message.hashPolicy)
        switch message.clusterNotFoundResponseCode {
        case .serviceUnavailable: break
        case .notFound: action.clusterNotFoundStatus = 404
        case .internalServerError: action.clusterNotFoundStatus = 500
        case .UNRECOGNIZED(let number):
            refuse("cluster_not_found_response_code", expected: "a known name", got: "\(number)")
        }
        action.highPriority = message.priority == .high
        if !message.requestMirrorPolicies.isEmpty {
            remark("request_mirror_policies", "requests are not mirrored")
        }
        for upgrade in message.upgradeConfigs where upgrade.hasConnectConfig {
            refuse(
                "upgrade_configs", expected: "none with connect_config",
                got: "\(upgrade.upgradeType)")
        }
        return action
    }

    mutating func hashPolicies(
        _ messages: [Envoy_Config_Route_V3_RouteAction.HashPolicy]
    ) -> [HashPolicy] {
        each("hash_policy", messages) { at, message -> HashPolicy? in
            at.noteUnknown(message)
            switch message.policySpecifier {
            case .header(let header):
                if !Decoding.isHeaderName(header.headerName) {
                    at.refuse(
                        "header.header_name", expected: "the name of a header",
                        got: "\"\(header.headerName)\"")
                }
                var rewrite: HashPolicy.Rewrite?
                if header.hasRegexRewrite {
                    rewrite = at.regex(
                        header.regexRewrite.pattern, "header.regex_rewrite.pattern"
                    ).map {
                        HashPolicy.Rewrite(
                            pattern: $0, substitution: header.regexRewrite.substitution)
                    }
                }
                return HashPolicy(
                    source: .header(header.headerName.lowercased(), rewrite: rewrite),
                    terminal: message.terminal)
            case .cookie(let cookie):
                if cookie.name.isEmpty {
                    at.refuse("cookie.name", expected: "a name", got: "none")
                }
                let life = cookie.hasTtl ? at.duration(cookie.ttl, "cookie.ttl") : nil
                return HashPolicy(
                    source: .cookie(
                        HashPolicy.Cookie(
                            name: cookie.name, life: life, path: cookie.path,
                            attributes: cookie.attributes.map {
                                .init(name: $0.name, value: $0.value)
                            }
                        )), terminal: message.terminal)
            case .connectionProperties(let properties):
                guard properties.sourceIp else { return nil }
                return HashPolicy(source: .sourceIP, terminal: message.terminal)
            case .queryParameter(let parameter):
                if parameter.name.isEmpty {
                    at.refuse("query_parameter.name", expected: "a name", got: "none")
                }
                return HashPolicy(
                    source: .queryParameter(parameter.name), terminal: message.terminal)
            case .filterState:
                at.remark("filter_state", "is ignored: there is none")
                return nil
            case nil:
                at.refuse(
                    expected: "header, cookie, connection_properties or query_parameter",
                    got: "none")
                return nil
            }
        }.compactMap { $0 }
    }

    private mutating func redirect(_ message: Envoy_Config_Route_V3_RedirectAction)
        -> RedirectAction
    {
        noteUnknown(message)
        var result = RedirectAction()
        switch message.responseCode {
        case .movedPermanently: result.status = 301
        case .found: result.status = 302
        case .seeOther: result.status = 303
        case .temporaryRedirect: result.status = 307
        case .permanentRedirect: result.status = 308
        case .UNRECOGNIZED(let number):
            refuse("response_code", expected: "a known name", got: "\(number)")
        }
        switch message.schemeRewriteSpecifier {
        case .httpsRedirect(let isHTTPS): result.scheme = isHTTPS ? "https" : nil
        case .schemeRedirect(let scheme): result.scheme = scheme
        case nil: break
        }
        if !message.hostRedirect.isEmpty { result.host = message.hostRedirect }
        if message.portRedirect != 0 { result.port = port(message.portRedirect, "port_redirect") }
        switch message.pathRewriteSpecifier {
        case .pathRedirect(let path): result.path = .replace(path)
        case .prefixRewrite(let prefix): result.path = .prefix(prefix)
        case .regexRewrite:
            refuse("regex_rewrite", expected: "path_redirect or prefix_rewrite", got: "a regex")
        case nil: break
        }
        result.stripQuery = message.stripQuery
        return result
    }

    private mutating func retryPolicy(_ message: Envoy_Config_Route_V3_RetryPolicy) -> RetryPolicy {
        noteUnknown(message)
        var policy = RetryPolicy()
        for word in message.retryOn.split(whereSeparator: { $0 == "," || $0 == " " }) {
            if let condition = RetryPolicy.Conditions(word: String(word)) {
                policy.conditions.insert(condition)
            } else if let status = Int(word), (100..<600).contains(status) {
                policy.conditions.insert(.retriableStatusCodes)
                policy.retriableStatusCodes.append(status)
            } else {
                remark("retry_on", "\"\(word)\" is not known and is ignored")
            }
        }
        if message.hasNumRetries { policy.maxRetries = Int(message.numRetries.value) }
        if message.hasPerTryTimeout {
            let limit = duration(message.perTryTimeout, "per_try_timeout")
            policy.perTryTimeout = limit == .zero ? nil : limit
        }
        if message.hasPerTryIdleTimeout {
            policy.perTryIdleTimeout = duration(message.perTryIdleTimeout, "per_try_idle_timeout")
        }
        if message.hasRetryBackOff {
            policy.backoffBase = duration(
                message.retryBackOff.baseInterval, "retry_back_off.base_interval")
            if policy.backoffBase == .zero {
                refuse("retry_back_off.base_interval", expected: "more than 0s", got: "0s")
            }
            policy.backoffCap =
                message.retryBackOff.hasMaxInterval
                ? duration(message.retryBackOff.maxInterval, "retry_back_off.max_interval")
                : policy.backoffBase * 10
            if policy.backoffCap < policy.backoffBase {
                refuse(
                    "retry_back_off.max_interval", expected: "base_interval or more", got: "less")
            }
        }
        policy.retriableStatusCodes += message.retriableStatusCodes.map { Int($0) }
        policy.avoidsPreviousHosts = true
        _ = each("retry_host_predicate", message.retryHostPredicate) { at, predicate in
            at.hostPredicate(predicate, &policy)
        }
        if message.hasRetryPriority {
            within("retry_priority.typed_config") { at in
                let opened = at.open(message.retryPriority.typedConfig)
                guard
                    opened.type
                        == "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                    let config = at.parse(
                        opened,
                        as:
                            Envoy_Extensions_Retry_Priority_PreviousPriorities_V3_PreviousPrioritiesConfig
                            .self)
                else {
                    at.refuse(
                        expected: "a PreviousPrioritiesConfig",
                        got: opened.type.isEmpty ? message.retryPriority.name : opened.type)
                    return
                }
                if config.updateFrequency < 1 {
                    at.refuse(
                        "update_frequency", expected: "1 or more",
                        got: "\(config.updateFrequency)")
                }
                policy.previousPrioritiesUpdateFrequency = Int(max(config.updateFrequency, 0))
            }
        }
        if message.hostSelectionRetryMaxAttempts > 0 {
            policy.hostSelectionAttempts = Int(min(message.hostSelectionRetryMaxAttempts, 1000))
        }
        policy.retriableHeaders = each("retriable_headers", message.retriableHeaders) {
            $0.headerMatcher($1)
        }.compactMap { $0 }
        policy.retriableRequestHeaders = each(
            "retriable_request_headers", message.retriableRequestHeaders
        ) { $0.headerMatcher($1) }.compactMap { $0 }
        if message.hasRateLimitedRetryBackOff {
            policy.rateLimitedBackoff = within("rate_limited_retry_back_off") {
                $0.rateLimitedBackoff(message.rateLimitedRetryBackOff)
            }
        }
        for option in message.retryOptionsPredicates {
            refuse(
                "retry_options_predicates", expected: "none (not supported here)",
                got: "\(option.name)")
        }
        return policy
    }

    private mutating func hostPredicate(
        _ message: Envoy_Config_Route_V3_RetryPolicy.RetryHostPredicate,
        _ policy: inout RetryPolicy
    ) {
        let prefix = "envoy.extensions.retry.host."
        let opened = within("typed_config") { $0.open(message.typedConfig) }
        switch (opened.type, message.name) {
        case (prefix + "previous_hosts.v3.PreviousHostsPredicate", _),
            ("", "envoy.retry_host_predicates.previous_hosts"):
            policy.avoidsPreviousHosts = true
        case (prefix + "omit_canary_hosts.v3.OmitCanaryHostsPredicate", _),
            ("", "envoy.retry_host_predicates.omit_canary_hosts"):
            policy.omitsCanaryHosts = true
        case (prefix + "omit_host_metadata.v3.OmitHostMetadataConfig", _):
            guard
                let config = within(
                    "typed_config",
                    {
                        $0.parse(
                            opened,
                            as:
                                Envoy_Extensions_Retry_Host_OmitHostMetadata_V3_OmitHostMetadataConfig
                                .self)
                    })
            else { return }
            policy.omittedHostMetadata = metadata(config.metadataMatch)
        default:
            refuse(
                expected: "previous_hosts, omit_canary_hosts or omit_host_metadata",
                got: opened.type.isEmpty ? message.name : opened.type)
        }
    }

    private mutating func rateLimitedBackoff(
        _ message: Envoy_Config_Route_V3_RetryPolicy.RateLimitedRetryBackOff
    ) -> RateLimitedBackoff {
        if message.resetHeaders.isEmpty {
            refuse("reset_headers", expected: "one or more", got: "none")
        }
        let headers = each("reset_headers", message.resetHeaders) {
            at, header -> RateLimitedBackoff.ResetHeader in
            if !Decoding.isHeaderName(header.name) {
                at.refuse("name", expected: "the name of a header", got: "\"\(header.name)\"")
            }
            var format = RateLimitedBackoff.Format.seconds
            switch header.format {
            case .seconds: break
            case .unixTimestamp: format = .unixTimestamp
            case .UNRECOGNIZED(let number):
                at.refuse("format", expected: "SECONDS or UNIX_TIMESTAMP", got: "\(number)")
            }
            return RateLimitedBackoff.ResetHeader(name: header.name.lowercased(), format: format)
        }
        var result = RateLimitedBackoff(resetHeaders: headers)
        if message.hasMaxInterval {
            result.maxInterval = positive(message.maxInterval, "max_interval")
        }
        return result
    }

    /// A retry policy behind `typed_config` is a plug-in of the one who built that Envoy.
    private mutating func refuseTypedRetryPolicy(_ isSet: Bool, _ any: Google_Protobuf_Any) {
        if !isSet { return }
        refuse(
            "retry_policy_typed_config", expected: "retry_policy (no plug-in is known here)",
            got: Decoding.typeName(any.typeURL))
    }

    private mutating func hedgePolicy(_ message: Envoy_Config_Route_V3_HedgePolicy) -> HedgePolicy {
        noteUnknown(message)
        var policy = HedgePolicy(onPerTryTimeout: message.hedgeOnPerTryTimeout)
        if message.hasInitialRequests {
            policy.initialRequests = Int(message.initialRequests.value)
            if !(1...8).contains(policy.initialRequests) {
                refuse("initial_requests", expected: "1 to 8", got: "\(policy.initialRequests)")
            }
            if policy.initialRequests > 1 {
                remark("initial_requests", "is not in force, as in Envoy: one request is sent")
            }
        }
        if message.hasAdditionalRequestChance {
            policy.additionalChance = within("additional_request_chance") {
                $0.fraction(message.additionalRequestChance)
            }
            remark("additional_request_chance", "is not in force, as in Envoy")
        }
        return policy
    }
}
