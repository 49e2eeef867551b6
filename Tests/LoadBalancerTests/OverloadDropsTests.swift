import LoadBalancer
import MeshBase
import MeshConfig
import Testing

private func drops(_ categories: (String, UInt32)...) -> OverloadDrops? {
    OverloadDrops(
        categories.map {
            EndpointSet.Drop(category: $0.0, share: FractionalPercent(partsPerMillion: $0.1))
        })
}

@Suite struct OverloadDropsTests {
    @Test("Of what one category lets by the next takes its part, within five standard deviations")
    func inTurn() throws {
        let rule = try #require(drops(("first", 300_000), ("second", 500_000)))
        var random = SeededRandom(seed: 9)
        var counts: [String?: Int] = [:]
        for _ in 0..<100_000 { counts[rule.drops(&random), default: 0] += 1 }
        let expected: [(String?, Double)] = [("first", 0.3), ("second", 0.35), (nil, 0.35)]
        for (category, share) in expected {
            let deviation = (100_000 * share * (1 - share)).squareRoot()
            #expect(abs(Double(counts[category] ?? 0) - 100_000 * share) < 5 * deviation)
        }
        #expect(!rule.isTotal)
    }

    @Test("All is all, and none is no rule")
    func bounds() throws {
        let all = try #require(drops(("a", 0), ("b", 1_000_000)))
        var random = SeededRandom(seed: 9)
        #expect(all.isTotal && (0..<1000).allSatisfy { _ in all.drops(&random) == "b" })
        #expect(drops() == nil && drops(("a", 0)) == nil)
        #expect(drops(("a", 1), ("b", 1_000_000))?.isTotal == true)
    }
}
