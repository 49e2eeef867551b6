import LoadBalancer
import MeshBase
import MeshConfig
import Observability

func decisionBenchmarks() throws -> [Benchmark] {
    var benchmarks: [Benchmark] = []
    for count in [1, 100] {
        let table = try routes(count)
        var head = request()
        head.set(.path, "/service-\(count - 1)/items")
        benchmarks.append(
            Benchmark(name: "the last of \(count) routes matched") { times in
                var random = SeededRandom(seed: 1)
                for _ in 0..<times { keep(table.match(head, isTLS: false, random: &random)) }
            })
    }
    for (name, policy) in [
        ("round robin", LoadBalancing.Policy.roundRobin),
        ("least request", .leastRequest(choices: 2)),
        ("random", .random),
    ] {
        for count in [10, 1000] {
            benchmarks.append(picks(name, policy, count))
        }
    }
    let format = try AccessLogFormat(.standard, hostname: "node-1")
    benchmarks.append(
        Benchmark(name: "an access log line in the default format") { times in
            let record = record()
            var clock = LogClock()
            var buffer = ByteBuffer()
            for _ in 0..<times {
                format.write(record, clock: &clock, to: &buffer)
                buffer.removeAll()
            }
        })
    return benchmarks
}

private func routes(_ count: Int) throws -> RouteTable {
    try RouteTable(
        RouteConfiguration(
            name: "r",
            virtualHosts: [
                VirtualHost(
                    name: "v", domains: ["shop.example"],
                    routes: (0..<count).map {
                        Route(
                            match: RouteMatch(path: .prefix("/service-\($0)/")),
                            action: .forward(ForwardAction(target: .cluster("c\($0)"))))
                    })
            ]))
}

private func picks(_ name: String, _ policy: LoadBalancing.Policy, _ count: Int) -> Benchmark {
    var configuration = LoadBalancing()
    configuration.policy = policy
    let balancer = Balancer(
        configuration: configuration, paths: PathHealth(), settings: Settings(),
        random: SeededRandom(seed: 7))
    _ = balancer.update(
        endpoints: (0..<count).map { number in
            let address = SocketAddress.ipv4(0x0A00_0000 + UInt32(number), port: 80)
            return ResolvedEndpoint(
                endpoint: Endpoint(target: .address(address)), address: address, gateway: nil,
                priority: 0, locality: Locality(region: "r", zone: "z"), localityWeight: nil)
        })
    let context = PickContext(now: .zero)
    return Benchmark(name: "an endpoint of \(count) picked, \(name)") { times in
        for _ in 0..<times {
            if case .host(let pick) = balancer.pick(context) {
                balancer.release(pick, .abandoned, now: .zero)
            }
        }
    }
}

private func record() -> AccessLogRecord {
    var record = AccessLogRecord()
    record.startTime = UnixTime(microseconds: 1_795_252_440_123_456)
    record.duration = .milliseconds(42)
    record.request = request()
    record.response = response()
    record.status = 200
    record.bytesSent = 1024
    record.upstreamCluster = "outbound|80||cart"
    record.upstreamHost = SocketAddress(ip: "10.0.2.1", port: 80)
    return record
}
