import Testing

@testable import Observability

struct CounterBlockTests {
    @Test("Metrics of a block do not touch one another")
    func metricsAreApart() {
        let block = CounterBlock<ClusterMetric>()
        for metric in ClusterMetric.allCases { block.add(metric, UInt64(metric.rawValue) + 1) }
        for metric in ClusterMetric.allCases {
            #expect(block.value(metric) == UInt64(metric.rawValue) + 1)
        }
    }

    @Test("A gauge that was set to zero is used, one never written is not")
    func zeroIsUsed() {
        let block = CounterBlock<ServerMetric>()
        block.set(.state, 0)
        #expect(block.isUsed(.state) && !block.isUsed(.live))
    }

    @Test("A gauge does not fall below zero")
    func gaugeStopsAtZero() {
        let block = CounterBlock<HTTPMetric>()
        block.add(.downstreamRqActive)
        block.subtract(.downstreamRqActive, 2)
        #expect(block.value(.downstreamRqActive) == 0)
    }

    @Test("Another thread never sees a counter run backwards")
    func readsFromAnotherThread() async {
        let block = CounterBlock<TCPMetric>()
        let reader = Task.detached {
            var last: UInt64 = 0
            for _ in 0..<20_000 {
                let now = block.value(.downstreamCxTotal)
                if now < last { return false }
                last = now
            }
            return true
        }
        for _ in 0..<20_000 { block.add(.downstreamCxTotal) }
        #expect(await reader.value)
        #expect(block.value(.downstreamCxTotal) == 20_000)
    }

    @Test("A duration on a bound belongs to the bucket below it, one beyond all to the last")
    func bucketBounds() {
        let histogram = HistogramBlock()
        histogram.record(microseconds: 500)
        histogram.record(microseconds: 501)
        histogram.record(microseconds: 3_600_000_001)
        #expect(histogram.counts.first == 1 && histogram.counts[1] == 1)
        #expect(histogram.counts.last == 1)
        #expect(histogram.sumMicroseconds == 3_600_001_002)
    }

    @Test("The names that pilot-agent waits for are spelt as Envoy spells them")
    func serverNames() {
        #expect(ServerMetric.state.name == "server.state")
        #expect(ServerMetric.workersStarted.name == "listener_manager.workers_started")
        #expect(ServerMetric.cdsUpdateSuccess.name == "cluster_manager.cds.update_success")
        #expect(ServerMetric.ldsUpdateRejected.name == "listener_manager.lds.update_rejected")
        #expect(ClusterMetric.upstreamRq5xx.name == "upstream_rq_5xx")
        #expect(
            ServerMetric.daysUntilFirstCertExpiring.name == "server.days_until_first_cert_expiring")
        #expect(ListenerMetric.sslHandshake.name == "ssl.handshake")
    }
}
