import LoadBalancer
import MeshBase
import MeshConfig
import Testing

@Suite struct RetryBudgetTests {
    private var budget = RetryBudget()
    private let start = Instant.zero + .seconds(1000)

    private mutating func begin(
        _ count: Int, of active: Int, leavesDomain: Bool = false, after time: Duration = .zero
    ) -> Int {
        (0..<count).count { _ in
            budget.begin(activeRequests: active, leavesDomain: leavesDomain, now: start + time)
        }
    }

    @Test("A retry budget is a fifth of what is active, and at least three")
    mutating func share() {
        #expect(begin(5, of: 1) == 3)
        #expect(begin(30, of: 50) == 7)
        budget.ended()
        #expect(begin(2, of: 50) == 1)
    }

    @Test("Beyond it only retries that leave the failure domain run, up to the burst in all")
    mutating func burst() {
        #expect(begin(5, of: 1) == 3)
        #expect(begin(200, of: 1, leavesDomain: true) == 97)
        #expect(begin(5, of: 1) == 0)
    }

    @Test("A share that is larger than the burst is not enlarged by it")
    mutating func largeShare() {
        #expect(begin(1000, of: 1000, leavesDomain: true) == 200)
    }

    @Test("In ten seconds the burst is used up, however short retries are; then there is another")
    mutating func window() {
        #expect(begin(3, of: 1) == 3)
        var used = 0
        for millisecond in Int64(0)..<1000 {
            let took = begin(
                1, of: 1, leavesDomain: true, after: .milliseconds(millisecond))
            if took == 1 { budget.ended() }
            used += took
        }
        #expect(used == 100)
        #expect(begin(1, of: 1, leavesDomain: true, after: .milliseconds(9999)) == 0)
        #expect(begin(1, of: 1, leavesDomain: true, after: .seconds(10)) == 1)
    }

    @Test("A budget that was configured has no burst where it says so")
    mutating func configured() {
        var breakers = CircuitBreakers(retryBudgetPercent: 0, retryBudgetMinimum: 2)
        breakers.retryBurst = 0
        budget = RetryBudget(breakers)
        #expect(begin(10, of: 100, leavesDomain: true) == 2)
    }
}
