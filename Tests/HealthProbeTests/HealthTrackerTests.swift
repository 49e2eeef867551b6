import HTTPCodec
import MeshBase
import MeshConfig
import Testing

@testable import HealthProbe

@Suite struct HealthTrackerTests {
    @Test("The first result decides at once, later ones need a run")
    func thresholds() {
        var tracker = HealthTracker(failuresToEject: 3, successesToReturn: 2)
        let bad = ProbeResult.failed("x")
        #expect(tracker.record(.passed) == .becameHealthy)
        let changes = [bad, bad, .passed, bad, bad, bad, .passed, .passed].map {
            tracker.record($0)
        }
        #expect(
            changes == [
                .none, .none, .none, .none, .none, .becameUnhealthy, .none, .becameHealthy,
            ])
        var other = HealthTracker(failuresToEject: 3, successesToReturn: 2)
        #expect(other.record(bad) == .becameUnhealthy)
    }
}

@Suite struct ProbeScheduleTests {
    @Test("First probes are spread, and each next is due an interval after the last ended")
    func schedule() throws {
        var config = ProbeConfig(kind: .tcp(send: [], receive: []), interval: .seconds(5))
        config.unhealthyInterval = .seconds(2)
        var schedule = ProbeSchedule(config, random: SeededRandom(seed: 1))
        let addresses = (1...50).map { SocketAddress.loopback(port: $0) }
        schedule.update(addresses, now: .zero)
        let first = schedule.due(now: .zero + .milliseconds(500))
        #expect((10...40).contains(first.count))
        #expect(schedule.due(now: .zero + .seconds(1)).count == 50 - first.count)
        #expect(schedule.nextDeadline == nil)
        let ended = Instant.zero + .seconds(3)
        schedule.ended(addresses[0], isHealthy: true, hasTraffic: true, now: ended)
        #expect(schedule.nextDeadline == ended + .seconds(5))
        schedule.ended(addresses[1], isHealthy: false, hasTraffic: true, now: ended)
        #expect(schedule.nextDeadline == ended + .seconds(2))
        schedule.update([addresses[0]], now: ended)
        schedule.ended(addresses[2], isHealthy: true, hasTraffic: true, now: ended)
        #expect(schedule.nextDeadline == ended + .seconds(5))
    }
}

@Suite struct ProbeTests {
    @Test("A TCP probe wants all pieces in order, however they are split")
    func tcp() {
        let probe = TCPProbe(send: [1], receive: [[2, 3], [4]])
        var output = ByteBuffer()
        #expect(probe.start(&output) == nil && output.count == 1)
        let parts: [[UInt8]] = [[2], [9, 4, 2], [3], [4]]
        #expect(parts.map { probe.received($0.span, &output) } == [nil, nil, nil, .passed])
        #expect(TCPProbe().start(&output) == .passed)
        #expect(TCPProbe(receive: [[1]]).closed() != .passed)
    }

    @Test("Health messages of gRPC are read strictly")
    func grpc() {
        #expect(GRPCProbe.framed(GRPCProbe.request("ab")) == [0, 0, 0, 0, 4, 10, 2, 97, 98])
        #expect(GRPCProbe.servingStatus([0, 0, 0, 0, 2, 8, 1]) == 1)
        #expect(GRPCProbe.servingStatus([0, 0, 0, 0, 0]) == 0)
        #expect(GRPCProbe.servingStatus([0, 0, 0, 0, 2, 8]) == nil)
        #expect(GRPCProbe.servingStatus([0, 0, 0, 0, 2, 8, 129]) == nil)
        #expect(GRPCProbe.servingStatus([1, 0, 0, 0, 0]) == nil)
    }

    /// Answers with what the test says; notes what was asked.
    private final class Script: HTTPConnection {
        var events: [HTTPEvent]
        var request: MessageHead?
        init(_ events: [HTTPEvent]) { self.events = events }
        func receive(_ bytes: Span<UInt8>) {}
        func receiveEnd() {}
        func nextEvent() -> HTTPEvent? { events.isEmpty ? nil : events.removeFirst() }
        var wantsInput: Bool { true }
        func sendRequest(_ head: MessageHead, endStream: Bool) -> StreamID? {
            request = head
            return 1
        }
        func sendResponse(_ head: MessageHead, on stream: StreamID, endStream: Bool) {}
        func sendBody(_ bytes: Span<UInt8>, on stream: StreamID, endStream: Bool) -> Bool { true }
        func sendTrailers(_ trailers: MessageHead, on stream: StreamID) {}
        func reset(_ stream: StreamID, _ code: HTTPErrorCode) {}
        func consumed(_ count: Int, on stream: StreamID) {}
        func queuedBytes(on stream: StreamID) -> Int { 0 }
        func shutDown() {}
        func ping() {}
        func takeOutput(into output: inout ByteBuffer) {}
        var hasOutput: Bool { false }
        var openStreams: Int { 1 }
        var streamsAvailable: Int { 0 }
        var isFinished: Bool { false }
    }

    @Test(
        "An HTTP probe goes by the status",
        arguments: [
            (200, [], true), (204, [], false), (204, [200..<300], true), (503, [200..<300], false),
        ] as [(Int, [Range<Int>], Bool)])
    func http(status: Int, expected: [Range<Int>], passes: Bool) {
        let script = Script([
            .interim(1, MessageHead(status: 103)),
            .head(1, MessageHead(status: status), endStream: true),
        ])
        let probe = HTTPProbe(
            HTTPProbeConfig(path: "/ready", expectedStatuses: expected), cluster: "c",
            connection: script)
        var output = ByteBuffer()
        #expect(probe.start(&output) == nil)
        #expect(script.request?.string(.authority) == "c")
        let none: [UInt8] = []
        #expect((probe.received(none.span, &output) == .passed) == passes)
    }

    @Test(
        "A gRPC probe passes only when the answer is SERVING",
        arguments: [(UInt8(1), true), (2, false)])
    func serving(status: UInt8, passes: Bool) {
        let answer: [UInt8] = [0, 0, 0, 0, 2, 8, status]
        var trailers = MessageHead()
        trailers.append(.grpcStatus, "0")
        answer.withUnsafeBufferPointer { bytes in
            let script = Script([
                .head(1, MessageHead(status: 200), endStream: false),
                .body(1, bytes, endStream: false), .trailers(1, trailers),
            ])
            let probe = GRPCProbe(service: "", authority: "", cluster: "c", connection: script)
            var output = ByteBuffer()
            _ = probe.start(&output)
            let none: [UInt8] = []
            #expect((probe.received(none.span, &output) == .passed) == passes)
        }
    }
}
