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
            policy: policy,
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
}
