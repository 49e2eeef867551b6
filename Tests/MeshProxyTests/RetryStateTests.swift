import MeshBase
import MeshConfig
import Testing

@testable import MeshProxy

@Suite struct RetryStateTests {
    private func state(
        _ method: StaticString = "GET", _ policy: RetryPolicy? = nil,
        deadline: Instant = .distantFuture
    ) -> RetryState {
        RetryState(
            plan: RetryPlan(policy: policy),
            head: MessageHead(method: method, scheme: "http", authority: "a", path: "/"),
            deadline: deadline)
    }

    private func retries(
        _ state: RetryState, _ evidence: RetryState.Evidence, canReplay: Bool = true,
        budget: Bool = true
    ) -> RetryState.Decision {
        var state = state
        var random = SeededRandom(seed: 1)
        return state.decide(
            evidence, now: .zero, canReplay: canReplay, random: &random, beginRetry: { budget })
    }

    @Test(
        "Without a policy only what was not processed, or is idempotent, is retried",
        arguments: [
            ("POST", RetryState.Evidence.transport(.connectRefused, .unsent), true),
            ("POST", .transport(.reset, .refused), true),
            ("POST", .transport(.reset, .sent), false),
            ("GET", .transport(.reset, .sent), true), ("DELETE", .transport(.closed, .sent), true),
            ("GET", .transport(.reset, .responding), false),
            ("GET", .transport(.exhausted, .unsent), false),
            ("GET", .response(status: 503, grpc: nil), false), ("GET", .perTryTimeout, false),
        ])
    func armed(method: String, evidence: RetryState.Evidence, expected: Bool) {
        let state =
            switch method {
            case "POST": state("POST")
            case "DELETE": state("DELETE")
            default: state("GET")
            }
        #expect((retries(state, evidence) == .retry(at: .zero)) == expected)
    }

    @Test(
        "A policy adds what it names",
        arguments: [
            ("5xx", RetryState.Evidence.response(status: 500, grpc: nil), true),
            ("5xx", .transport(.reset, .sent), true), ("5xx", .perTryTimeout, true),
            ("gateway-error", .response(status: 500, grpc: nil), false),
            ("gateway-error", .response(status: 503, grpc: nil), true),
            ("retriable-4xx", .response(status: 409, grpc: nil), true),
            ("retriable-status-codes", .response(status: 418, grpc: nil), true),
            ("unavailable", .response(status: 200, grpc: 14), true),
            ("cancelled", .response(status: 200, grpc: 14), false),
            ("reset", .transport(.reset, .sent), true),
            ("connect-failure", .transport(.reset, .sent), false),
            ("connect-failure", .transport(.connectTimeout, .unsent), true),
            ("reset-before-request", .transport(.reset, .sent), false),
            ("reset-before-request", .transport(.reset, .unsent), true),
            ("refused-stream", .transport(.reset, .refused), true),
            ("5xx", .transport(.exhausted, .unsent), false),
            ("5xx", .response(status: 200, grpc: nil), false),
            ("gateway-error", .response(status: 505, grpc: nil), false),
            ("retriable-4xx", .response(status: 404, grpc: nil), false),
            (
                "retriable-headers", .response(status: 200, grpc: nil, hasRetriableHeader: true),
                true
            ),
            ("5xx", .response(status: 503, grpc: nil, isRateLimited: true), false),
            ("envoy-ratelimited", .response(status: 429, grpc: nil, isRateLimited: true), true),
            ("deadline-exceeded", .response(status: 200, grpc: 4), true),
            ("resource-exhausted", .response(status: 200, grpc: 8), true),
            ("internal", .response(status: 200, grpc: 13), true),
            ("http3-post-connect-failure", .response(status: 503, grpc: nil), false),
        ])
    func policy(word: String, evidence: RetryState.Evidence, expected: Bool) throws {
        let conditions = try #require(RetryPolicy.Conditions(word: word))
        let policy = RetryPolicy(conditions: conditions, retriableStatusCodes: [418])
        let decision = retries(state("POST", policy), evidence)
        #expect((decision != .giveUp(.notRetriable)) == expected)
    }

    @Test("The first transport retry is immediate, the second waits, and there is no third")
    func twice() {
        var state = state()
        var random = SeededRandom(seed: 1)
        let evidence = RetryState.Evidence.transport(.connectTimeout, .unsent)
        var decisions: [RetryState.Decision] = []
        for _ in 0..<3 {
            decisions.append(
                state.decide(
                    evidence, now: .zero, canReplay: true, random: &random, beginRetry: { true }))
        }
        #expect(decisions[0] == .retry(at: .zero) && decisions[2] == .giveUp(.attemptsSpent))
        guard case .retry(let at) = decisions[1] else {
            Issue.record("no second retry")
            return
        }
        #expect(at > .zero && at <= .zero + .milliseconds(25))
    }

    @Test("Body, budget and deadline can each forbid a retry")
    func forbidden() {
        let evidence = RetryState.Evidence.transport(.reset, .sent)
        #expect(retries(state(), evidence, canReplay: false) == .giveUp(.bodyGone))
        #expect(retries(state(), evidence, budget: false) == .giveUp(.budgetSpent))
        #expect(retries(state(deadline: .zero), evidence) == .giveUp(.deadline))
    }

    @Test("What the endpoint asks for is waited for, and up to half as long again")
    func rateLimited() {
        var policy = RetryPolicy(conditions: .retriableStatusCodes, retriableStatusCodes: [429])
        policy.rateLimitedBackoff = RateLimitedBackoff(resetHeaders: [])
        let evidence = RetryState.Evidence.response(
            status: 429, grpc: nil, resetsAfter: .seconds(4))
        guard case .retry(let at) = retries(state("GET", policy), evidence) else {
            Issue.record("no retry")
            return
        }
        #expect(at >= .zero + .seconds(4) && at <= .zero + .seconds(6))
        let late = state("GET", policy, deadline: .zero + .seconds(3))
        #expect(retries(late, evidence) == .giveUp(.deadline))
    }
}
