import MeshBase
import Testing

@testable import Observability

struct ReasonTests {
    @Test("Every reason has a word for a log field and a sentence of advice")
    func complete() {
        for reason in Reason.allCases {
            #expect(reason.word.utf8.allSatisfy { $0 == 45 || (97...122).contains($0) })
            #expect(reason.advice.hasSuffix(".") || reason.advice.hasSuffix("?"))
        }
    }
}
