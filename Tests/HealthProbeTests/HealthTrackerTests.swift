import HTTPCodec
import MeshBase
import MeshConfig
import Testing

@testable import HealthProbe

@Suite struct HealthTrackerTests {
    @Test("The first result decides at once, later ones need a run")
    func thresholds() {
        var tracker = HealthTracker(failuresToEject: 3, successesToReturn: 2)
        let bad = ProbeResult.failed(.network, "x")
        #expect(tracker.record(.passed) == .becameHealthy)
        let changes = [bad, bad, .passed, bad, bad, bad, .passed, .passed].map {
            tracker.record($0)
        }
        #expect(
            changes == [
                .pending, .pending, .none, .pending, .pending, .becameUnhealthy, .pending,
                .becameHealthy,
            ])
        var other = HealthTracker(failuresToEject: 3, successesToReturn: 2)
        #expect(other.record(bad) == .none && other.hasResult && !other.isHealthy)
    }

    @Test("An answer that says no turns at once, a retriable one and the network take a run")
    func kinds() {
        for (failure, turns) in [
            (ProbeResult.Failure.wrongAnswer, true), (.retriableAnswer, false), (.network, false),
            (.timeout, false),
        ] {
            var tracker = HealthTracker(failuresToEject: 2, successesToReturn: 1)
            _ = tracker.record(.passed)
            let first = tracker.record(.failed(failure, "x"))
            #expect(first == (turns ? .becameUnhealthy : .pending), "\(failure)")
            _ = tracker.record(.failed(failure, "x"))
            #expect(!tracker.isHealthy && tracker.failures == 2 && tracker.lastFailure == "x")
        }
    }

    @Test("Degraded is healthy, and ends with the next check that does not say so")
    func degraded() {
        var tracker = HealthTracker(failuresToEject: 2, successesToReturn: 2)
        #expect(tracker.record(.degraded) == .becameHealthy)
        #expect(tracker.isDegraded)
        #expect(tracker.record(.passed) == .none)
        #expect(!tracker.isDegraded)
    }

    @Test("What an endpoint says of itself turns it at once, and checks turn it back in a run")
    func said() {
        var tracker = HealthTracker(failuresToEject: 5, successesToReturn: 2)
        _ = tracker.record(.passed)
        #expect(tracker.saidUnhealthy() == .becameUnhealthy)
        #expect(tracker.saidUnhealthy() == .none)
        #expect([tracker.record(.passed), tracker.record(.passed)] == [.pending, .becameHealthy])
    }
}

@Suite struct ProbeScheduleTests {
    @Test("First probes are spread, and each next is due an interval after the last ended")
    func schedule() throws {
        var config = ProbeConfig(kind: .tcp(send: [], receive: []), interval: .seconds(5))
        config.unhealthyInterval = .seconds(2)
        var schedule = ProbeSchedule(config, hasTraffic: true, random: SeededRandom(seed: 1))
        let addresses = (1...50).map { SocketAddress.loopback(port: $0) }
        schedule.update(addresses, now: .zero)
        let first = schedule.due(now: .zero + .milliseconds(500))
        #expect((10...40).contains(first.count))
        #expect(schedule.due(now: .zero + .seconds(1)).count == 50 - first.count)
        #expect(schedule.nextDeadline == nil)
        let ended = Instant.zero + .seconds(3)
        schedule.ended(addresses[0], passed: true, .none, now: ended)
        #expect(schedule.nextDeadline == ended + .seconds(5))
        schedule.ended(addresses[1], passed: false, .none, now: ended)
        #expect(schedule.nextDeadline == ended + .seconds(2))
        schedule.update([addresses[0]], now: ended)
        schedule.ended(addresses[2], passed: true, .none, now: ended)
        #expect(schedule.nextDeadline == ended + .seconds(5))
    }

    /// What follows a result, in seconds.
    private func gap(
        _ config: ProbeConfig, hasTraffic: Bool = true, passed: Bool, _ change: HealthTracker.Change
    ) -> Int64 {
        var schedule = ProbeSchedule(
            config, hasTraffic: hasTraffic, random: SeededRandom(seed: 1))
        let address = SocketAddress.loopback(port: 1)
        let now = Instant.zero + .seconds(10)
        schedule.update([address], now: .zero)
        _ = schedule.due(now: now)
        schedule.ended(address, passed: passed, change, now: now)
        return ((schedule.nextDeadline ?? .zero) - now).milliseconds / 1000
    }

    @Test("Six intervals: by result, by whether it only began a run, and before there is traffic")
    func intervals() {
        var config = ProbeConfig(kind: .tcp(send: [], receive: []), interval: .seconds(5))
        #expect(gap(config, passed: true, .pending) == 5)
        #expect(gap(config, passed: false, .pending) == 5)
        #expect(gap(config, hasTraffic: false, passed: true, .none) == 60)
        config.unhealthyInterval = .seconds(7)
        #expect(gap(config, passed: false, .none) == 7)
        #expect(gap(config, passed: false, .pending) == 7)
        config.unhealthyEdgeInterval = .seconds(2)
        config.healthyEdgeInterval = .seconds(3)
        #expect(gap(config, passed: false, .pending) == 2)
        #expect(gap(config, passed: false, .becameUnhealthy) == 7)
        #expect(gap(config, passed: true, .pending) == 3)
        #expect(gap(config, passed: true, .becameHealthy) == 5)
        config.noTrafficInterval = .seconds(30)
        config.noTrafficHealthyInterval = .seconds(90)
        #expect(gap(config, hasTraffic: false, passed: true, .becameHealthy) == 90)
        #expect(gap(config, hasTraffic: false, passed: true, .pending) == 30)
        #expect(gap(config, hasTraffic: false, passed: false, .none) == 30)
    }

    @Test("The first traffic brings the next check forward")
    func trafficBegins() {
        let config = ProbeConfig(kind: .tcp(send: [], receive: []), interval: .seconds(5))
        var schedule = ProbeSchedule(config, random: SeededRandom(seed: 1))
        let address = SocketAddress.loopback(port: 1)
        schedule.update([address], now: .zero)
        let now = Instant.zero + .seconds(1)
        _ = schedule.due(now: now)
        schedule.ended(address, passed: true, .becameHealthy, now: now)
        #expect(schedule.nextDeadline == now + .seconds(60))
        schedule.trafficBegan(now: now + .seconds(2))
        #expect(schedule.nextDeadline == now + .seconds(7))
        schedule.trafficBegan(now: now + .seconds(3))
        #expect(schedule.due(address) == now + .seconds(7))
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

    private func probe(
        _ config: HTTPProbeConfig, host: String = "", _ events: [HTTPEvent]
    ) -> (result: ProbeResult?, request: MessageHead?) {
        let script = Script(events)
        let probe = HTTPProbe(config, cluster: "c", host: host, connection: script)
        var output = ByteBuffer()
        _ = probe.start(&output)
        let none: [UInt8] = []
        return (probe.received(none.span, &output), script.request)
    }

    private func answer(_ status: Int, _ fields: (String, String)...) -> [HTTPEvent] {
        var head = MessageHead(status: status)
        for (name, value) in fields { head.append(name, value) }
        return [.head(1, head, endStream: true)]
    }

    @Test("What an HTTP probe makes of statuses and headers")
    func headers() {
        var config = HTTPProbeConfig(path: "/", host: "given")
        config.retriableStatuses = [500..<600]
        #expect(probe(config, answer(503)).result == .failed(.retriableAnswer, "status 503"))
        #expect(probe(config, answer(404)).result == .failed(.wrongAnswer, "status 404"))
        #expect(probe(config, answer(200, ("x-envoy-degraded", ""))).result == .degraded)
        let fails = answer(200, ("x-envoy-immediate-health-check-fail", "1"))
        #expect(probe(config, fails).result != .passed)
        #expect(probe(config, answer(200)).request?.string(.authority) == "given")
        #expect(probe(config, host: "own", answer(200)).request?.string(.authority) == "own")
        config.serviceName = StringMatcher(.prefix("shop"))
        let name = "x-envoy-upstream-healthchecked-cluster"
        #expect(probe(config, answer(200, (name, "shop-7"))).result == .passed)
        #expect(probe(config, answer(200, (name, "bank"))).result != .passed)
        #expect(probe(config, answer(200)).result != .passed)
    }

    @Test("The answer is judged when it is over, and its body is looked at where that is asked for")
    func body() {
        var config = HTTPProbeConfig(path: "/")
        config.receive = [Array("he".utf8), Array("o".utf8)]
        let head = HTTPEvent.head(1, MessageHead(status: 200), endStream: false)
        #expect(probe(config, [head]).result == nil)
        for (text, passes) in [("hello", true), ("oh, he", false)] {
            Array(text.utf8).withUnsafeBufferPointer { bytes in
                let result = probe(config, [head, .body(1, bytes, endStream: true)]).result
                #expect((result == .passed) == passes)
            }
        }
        config.bodyLimit = 3
        Array("hello".utf8).withUnsafeBufferPointer { bytes in
            let result = probe(config, [head, .body(1, bytes, endStream: true)]).result
            #expect(result != .passed)
        }
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
