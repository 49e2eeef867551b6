import MeshBase
import Testing

@testable import Observability

struct TraceContextTests {
    static let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    private func parse(_ text: String) -> TraceContext? {
        Array(text.utf8).withUnsafeBufferPointer { TraceContext($0) }
    }

    private func text(_ body: (inout ByteBuffer) -> Void) -> String {
        var buffer = ByteBuffer()
        body(&buffer)
        return buffer.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test("A traceparent is written as it was read")
    func roundTrip() throws {
        let context = try #require(parse(TraceContextTests.good))
        #expect(context.isSampled)
        #expect(text { context.write(to: &$0) } == TraceContextTests.good)
    }

    @Test(
        "A malformed traceparent is none",
        arguments: [
            "", "00", "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        ])
    func malformed(_ text: String) {
        #expect(parse(text) == nil)
    }

    @Test("A later version may be longer")
    func laterVersion() {
        #expect(parse("01" + TraceContextTests.good.dropFirst(2) + "-more") != nil)
    }

    @Test("A child keeps the trace and has a parent of its own")
    func child() {
        var random = SeededRandom(seed: 1)
        let context = TraceContext(sampled: false, random: &random)
        let child = context.child(random: &random)
        #expect(child.traceLow == context.traceLow && child.parent != context.parent)
    }

    @Test("A request id is a UUID of version 4")
    func requestID() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<50 {
            let id = Array(text { appendRequestID(to: &$0, random: &random) }.utf8)
            #expect(id.count == 36 && id[14] == 52 && [56, 57, 97, 98].contains(id[19]))
            #expect([8, 13, 18, 23].allSatisfy { id[$0] == 45 })
        }
    }
}
