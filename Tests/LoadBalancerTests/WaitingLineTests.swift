import LoadBalancer
import MeshBase
import Testing

@Suite struct WaitingLineTests {
    private var line = WaitingLine<String>()

    private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

    @Test("First come, first served")
    mutating func order() {
        for ticket in UInt64(0)..<100 { line.join("\(ticket)", ticket: ticket, until: at(1)) }
        for ticket in UInt64(0)..<100 {
            #expect(line.first == ticket && line.count == 100 - Int(ticket))
            #expect(line.next() == "\(ticket)")
        }
        #expect(line.isEmpty && line.next() == nil && line.first == nil)
    }

    @Test("Who leaves is passed over, wherever he stood")
    mutating func leave() {
        for ticket in UInt64(0)..<5 { line.join("\(ticket)", ticket: ticket, until: at(1)) }
        #expect(line.next() == "0")
        #expect(line.leave { $0 == "1" } && line.leave { $0 == "3" })
        #expect(!line.leave { $0 == "0" } && !line.leave { $0 == "3" })
        #expect(line.first == 2)
        #expect([line.next(), line.next(), line.next()] == ["2", "4", nil])
    }

    @Test("Whose time is over goes, in order, and nobody before who came earlier")
    mutating func expire() {
        line.join("a", ticket: 1, until: at(10))
        line.join("b", ticket: 2, until: at(20))
        line.join("c", ticket: 3, until: at(5))
        #expect(line.nextDeadline == at(10))
        #expect(line.expire(at: at(9)) == [])
        #expect(line.expire(at: at(10)) == ["a"])
        #expect(line.nextDeadline == at(20))
        #expect(line.expire(at: at(20)) == ["b", "c"])
        #expect(line.nextDeadline == nil)
    }
}
