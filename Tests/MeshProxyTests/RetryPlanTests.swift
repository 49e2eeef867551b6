import MeshBase
import MeshConfig
import Testing

@testable import MeshProxy

@Suite struct RetryPlanTests {
    private func head(_ fields: [(String, String)]) -> MessageHead {
        var head = MessageHead(method: "GET", scheme: "http", authority: "a", path: "/")
        for (name, value) in fields { head.append(name, value) }
        return head
    }

    private func response(_ status: Int, _ fields: [(String, String)] = []) -> MessageHead {
        var head = MessageHead(status: status)
        for (name, value) in fields { head.append(name, value) }
        return head
    }

    @Test("A request's own words add to the policy, and are not passed on")
    func taken() {
        var plan = RetryPlan(policy: nil)
        var request = head([
            ("x-envoy-retry-on", "5xx, unavailable, nonsense"),
            ("x-envoy-retry-grpc-on", "cancelled,5xx"), ("x-envoy-max-retries", "4"),
            ("x-envoy-retriable-status-codes", "418,420"),
            ("x-envoy-retriable-header-names", "x-again"),
            ("x-envoy-upstream-rq-timeout-ms", "700"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "90"), ("x-other", "1"),
        ])
        plan.take(from: &request, takesExpected: false)
        // Each header has its own words: "unavailable" is none of x-envoy-retry-on's.
        #expect(plan.conditions == [.serverError, .grpcCancelled])
        #expect(plan.maxRetries == 4 && plan.statusCodes == [418, 420])
        #expect(plan.headerNames == ["x-again"])
        #expect(plan.timeout == .milliseconds(700) && plan.perTryTimeout == .milliseconds(90))
        #expect(request.fields.count == 5 && request.string("x-other") == "1")
    }

    @Test("A request may ask for hedging, or not to be hedged")
    func hedging() {
        for (word, hedges) in [("true", true), ("false", false), ("soon", false)] {
            var plan = RetryPlan(policy: nil)
            var request = head([("x-envoy-hedge-rq-on-per-try-timeout", word)])
            plan.take(from: &request, takesExpected: false)
            #expect(plan.hedgesOnTimeout == hedges)
            #expect(request.string("x-envoy-hedge-rq-on-per-try-timeout") == nil)
        }
    }

    @Test("Without a word to retry on, the number of retries means nothing; bad numbers neither")
    func numbers() {
        var plan = RetryPlan(policy: nil)
        var request = head([
            ("x-envoy-max-retries", "9"), ("x-envoy-upstream-rq-timeout-ms", "-5"),
        ])
        plan.take(from: &request, takesExpected: false)
        #expect(plan.maxRetries == 1 && plan.timeout == nil)
    }

    @Test("The deadline that the proxy before left counts where the router respects it")
    func expected() {
        for takes in [false, true] {
            var plan = RetryPlan(policy: nil)
            var request = head([
                ("x-envoy-expected-rq-timeout-ms", "40"),
                ("x-envoy-upstream-rq-timeout-ms", "700"),
            ])
            plan.take(from: &request, takesExpected: takes)
            #expect(plan.timeout == .milliseconds(takes ? 40 : 700))
        }
    }

    @Test("Retriable headers count when the policy asks for them")
    func retriableHeaders() throws {
        let test = try HeaderTest(
            HeaderMatcher(name: "x-again", test: .string(StringMatcher(.exact("yes")))))
        for (conditions, value, expected) in [
            (RetryPolicy.Conditions.retriableHeaders, "yes", true),
            (.retriableHeaders, "no", false), (.serverError, "yes", false),
        ] {
            let plan = RetryPlan(
                policy: RetryPolicy(conditions: conditions), retriableHeaders: [test])
            let evidence = plan.evidence(
                of: response(200, [("x-again", value)]), at: UnixTime(microseconds: 0))
            #expect(
                evidence == .response(status: 200, grpc: nil, hasRetriableHeader: expected))
        }
    }

    @Test(
        "The first reset header that holds a wait within bounds says how long",
        arguments: [
            ([("retry-after", "7")], Duration.seconds(7)),
            ([("retry-after", "700"), ("x-ratelimit-reset", "1012")], .seconds(12)),
            ([("x-ratelimit-reset", "990")], nil),
            ([("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], nil), ([], nil),
        ] as [([(String, String)], Duration?)])
    func resets(fields: [(String, String)], expected: Duration?) {
        var policy = RetryPolicy(conditions: .retriableStatusCodes)
        policy.rateLimitedBackoff = RateLimitedBackoff(resetHeaders: [
            .init(name: "retry-after", format: .seconds),
            .init(name: "x-ratelimit-reset", format: .unixTimestamp),
        ])
        let evidence = RetryPlan(policy: policy).evidence(
            of: response(429, fields), at: UnixTime(microseconds: 1_000_000_000))
        #expect(evidence == .response(status: 429, grpc: nil, resetsAfter: expected))
    }

    @Test("Only requests with a retriable header are covered, where the policy names any")
    func covers() throws {
        let test = try HeaderTest(HeaderMatcher(name: "x-safe", test: .present(true)))
        let plan = RetryPlan(
            policy: RetryPolicy(conditions: .serverError), retriableRequestHeaders: [test])
        #expect(!plan.covers(head([])) && plan.covers(head([("x-safe", "1")])))
        #expect(RetryPlan(policy: nil).covers(head([])))
    }
}

@Suite struct TimeLeftTests {
    private func written(
        whole: Int64?, perTry: Int64? = nil, elapsed: Int64 = 0, grpc: String? = nil
    ) -> (String?, String?) {
        var head = MessageHead(method: "GET", scheme: "http", authority: "a", path: "/")
        if let grpc { head.append(.grpcTimeout, grpc) }
        TimeLeft.write(
            to: &head, whole: whole.map { .milliseconds($0) },
            perTry: perTry.map { .milliseconds($0) }, elapsed: .milliseconds(elapsed),
            writesExpected: true)
        return (head.string(.envoyExpectedTimeout), head.string(.grpcTimeout))
    }

    @Test("An endpoint is told the least of what is left and what one try may take, never zero")
    func expected() {
        #expect(written(whole: 250, perTry: 100).0 == "100")
        #expect(written(whole: 50, perTry: 100).0 == "50")
        #expect(written(whole: 0, perTry: 100).0 == "1")
        #expect(written(whole: nil, perTry: 100).0 == "100")
        #expect(written(whole: nil).0 == nil)
    }

    @Test("A gRPC time-out is shortened by what has passed and what is left, never lengthened")
    func grpc() {
        #expect(written(whole: nil, grpc: "1S").1 == "1S")
        #expect(written(whole: nil, elapsed: 200, grpc: "1S").1 == "800000u")
        #expect(written(whole: 300, elapsed: 200, grpc: "1S").1 == "300000u")
        #expect(written(whole: 5000, grpc: "1S").1 == "1S")
        #expect(TimeLeft.text(.seconds(3600)) == "3600000m")
        #expect(TimeLeft.text(.seconds(1_000_000)) == "1000000S")
    }
}
