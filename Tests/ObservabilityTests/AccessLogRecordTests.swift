import MeshBase
import Testing

@testable import Observability

@Suite("A log record that is used again")
struct AccessLogRecordTests {
    /// Each field, as text.
    private func fields(_ record: AccessLogRecord) -> [String] {
        Mirror(reflecting: record).children.map {
            "\($0.label ?? "") \(String(reflecting: $0.value))"
        }
    }

    /// Those that are as a new record has them.
    private func same(_ record: AccessLogRecord) -> [String] {
        zip(fields(record), fields(AccessLogRecord())).filter { $0 == $1 }.map(\.0)
    }

    @Test("What was filled in is gone, whatever it was")
    func clear() {
        let all = fields(AccessLogRecord()).count
        var record = exampleRecord()
        #expect(same(record) == [], "the example leaves a field as it was")
        record.clear()
        #expect(same(record).count == all)
    }

    @Test("So is what has no text, and each single text")
    func plain() {
        let all = fields(AccessLogRecord()).count
        let texts: [(inout AccessLogRecord) -> Void] = [
            { $0.details = "" }, { $0.routeName = "" }, { $0.upstreamCluster = "" },
            { $0.transportFailure = "" }, { $0.requestedServerName = "" }, { $0.peerURI = "" },
            { $0.tlsVersion = "" }, { $0.terminationDetails = "" }, { $0.attempts = [] },
            { $0.request = MessageHead() }, { $0.response = MessageHead() },
            { $0.trailers = MessageHead() },
        ]
        var plain = exampleRecord()
        for text in texts { text(&plain) }
        #expect(same(plain).count == texts.count)
        plain.clear()
        #expect(same(plain).count == all)
        for kept in texts.indices {
            var record = exampleRecord()
            for index in texts.indices where index != kept { texts[index](&record) }
            record.clear()
            #expect(same(record).count == all, "\(kept)")
        }
    }
}
