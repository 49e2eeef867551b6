import Testing

@testable import MeshConfig
@testable import Observability

struct MetricsRegistryTests {
    private let registry = MetricsRegistry()

    private func value(_ name: String, in registry: MetricsRegistry) -> UInt64? {
        for entry in StatsText().entries(registry.read()) where entry.name == name {
            if case .number(let value) = entry.value { return value }
        }
        return nil
    }

    @Test("Counters and gauges of two workers add up, what both know alike is taken once")
    func merging() {
        for requests in [UInt64(3), 4] {
            let block = registry.clusters.makeBlock("web")
            block.counters.add(.upstreamRqTotal, requests)
            block.counters.add(.upstreamCxActive)
            block.counters.set(.membershipTotal, 5)
        }
        #expect(value("cluster.web.upstream_rq_total", in: registry) == 7)
        #expect(value("cluster.web.upstream_cx_active", in: registry) == 2)
        #expect(value("cluster.web.membership_total", in: registry) == 5)
    }

    @Test("What a worker counted stays while another has the subject, and goes with the last")
    func retiring() {
        let first = registry.http.makeBlock("in")
        let second = registry.http.makeBlock("in")
        first.counters.add(.downstreamRqTotal, 10)
        first.counters.add(.downstreamRqActive)
        second.counters.add(.downstreamRqTotal)
        registry.http.retire(first)
        #expect(value("http.in.downstream_rq_total", in: registry) == 11)
        #expect(value("http.in.downstream_rq_active", in: registry) == 0)
        registry.http.retire(second)
        #expect(value("http.in.downstream_rq_total", in: registry) == nil)
    }

    @Test("Only what was written is used, a zero that was set included")
    func usedOnly() {
        let block = registry.listeners.makeBlock("127.0.0.1:80")
        block.counters.add(.downstreamCxActive)
        block.counters.subtract(.downstreamCxActive)
        registry.server.set(.state, 0)
        #expect(
            StatsText(usedOnly: true).text(registry.read())
                == "listener.127.0.0.1_80.downstream_cx_active: 0\nserver.state: 0\n")
    }

    @Test("A filter matches parts of names, as pilot-agent asks for")
    func filter() throws {
        registry.server.set(.workersStarted, 1)
        registry.server.set(.state, 0)
        let filter = try LinearRegex("^(server\\.state|listener_manager\\.workers_started)")
        #expect(
            StatsText(usedOnly: true, filter: filter).text(registry.read())
                == "listener_manager.workers_started: 1\nserver.state: 0\n")
    }

    @Test("Subjects without room in the budget are added up, and those within stay within")
    func budget() {
        let small = MetricsRegistry(seriesBudget: 2)
        let late = small.tcp.makeBlock("late")
        let blocks = ["b", "a", "c"].map { small.tcp.makeBlock($0) }
        for block in blocks { block.counters.add(.downstreamCxTotal) }
        _ = small.read()
        late.counters.add(.downstreamCxTotal, 5)
        #expect(value("tcp.a.downstream_cx_total", in: small) == 1)
        #expect(value("tcp.b.downstream_cx_total", in: small) == 1)
        #expect(value("tcp.c.downstream_cx_total", in: small) == nil)
        #expect(value("tcp._overflow.downstream_cx_total", in: small) == 6)
        #expect(small.read().families.map(\.overflowed).reduce(0, +) == 2)
    }

    @Test("Subjects come and go on several threads while they are read")
    func threads() async {
        let registry = MetricsRegistry()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for index in 0..<200 {
                        let block = registry.clusters.makeBlock("c\(index % 7)")
                        block.counters.add(.upstreamRqTotal)
                        registry.clusters.retire(block)
                    }
                }
            }
            for _ in 0..<20 { _ = registry.read() }
        }
        #expect(registry.clusters.makeBlock("c").subject == "c")
        #expect(registry.read().families.flatMap(\.subjects).map(\.name) == ["", "c"])
    }

    @Test("Quantiles lie inside the bucket of their rank")
    func quantiles() {
        let block = registry.clusters.makeBlock("q")
        for _ in 0..<4 { block.durations[0].record(microseconds: 700) }
        let subject = registry.read().families[1].subjects[0]
        #expect(StatsText.estimate(0, subject.durations[0]) == 0.5)
        #expect(StatsText.estimate(50, subject.durations[0]) == 0.75)
        #expect(StatsText.estimate(100, subject.durations[0]) == 1)
        #expect(StatsText.short(0.75) == "0.75" && StatsText.short(12.005) == "12.005")
    }
}
