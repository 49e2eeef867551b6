import MeshBase
import MeshConfig
import Testing

@testable import LoadBalancer

private func address(_ number: Int) -> SocketAddress {
    .ipv4(0x0A00_0000 + UInt32(number), port: 80)
}

private func endpoint(
    _ number: Int, weight: UInt32 = 1, priority: Int = 0, zone: String = "",
    localityWeight: UInt32? = nil, status: Endpoint.Status = .unknown, hostname: String = "",
    key: String? = nil
) -> ResolvedEndpoint {
    var endpoint = Endpoint(
        target: .address(address(number)), hostname: hostname, weight: weight, status: status)
    if let key { endpoint.metadata = Metadata(["envoy.lb": ["hash_key": .string(key)]]) }
    return ResolvedEndpoint(
        endpoint: endpoint, address: address(number), priority: priority,
        locality: Locality(zone: zone), localityWeight: localityWeight)
}

/// That each key has the endpoint that Envoy gives it is shown in Tests/Interop/test_hashing.py.
@Suite struct ConsistentHashingTests {
    static let policies: [LoadBalancing.Policy] = [
        .ringHash(.init()), .ringHash(.init(function: .murmurHash2)),
        .maglev(.init(tableSize: 1009)),
    ]

    private func balancer(
        _ endpoints: [ResolvedEndpoint], _ policy: LoadBalancing.Policy,
        _ change: (inout LoadBalancing) -> Void = { _ in }
    ) -> Balancer {
        var configuration = LoadBalancing(policy: policy)
        change(&configuration)
        let balancer = Balancer(
            configuration: configuration, paths: PathHealth(), random: SeededRandom(seed: 3))
        _ = balancer.update(endpoints: endpoints)
        return balancer
    }

    private func pick(_ balancer: Balancer, _ key: UInt64?) -> Host? {
        guard case .host(let pick) = balancer.pick(PickContext(now: .zero, key: key)) else {
            return nil
        }
        balancer.release(pick, .abandoned, now: .zero)
        return pick.host
    }

    private func owners(_ balancer: Balancer, _ keys: Int = 4000) -> [SocketAddress?] {
        (0..<keys).map { pick(balancer, StableHash.xxHash64("key \($0)"))?.address }
    }

    private func counts(_ balancer: Balancer, _ keys: Int = 4000) -> [SocketAddress: Int] {
        owners(balancer, keys).reduce(into: [:]) { if let host = $1 { $0[host, default: 0] += 1 } }
    }

    @Test("A key stays with its host, whatever order hosts are listed in", arguments: policies)
    func stable(policy: LoadBalancing.Policy) {
        let hosts = (1...5).map { endpoint($0) }
        let first = owners(balancer(hosts, policy))
        #expect(first == owners(balancer(hosts.reversed(), policy)))
        #expect(Set(first).count == 5)
    }

    @Test("Shares follow weights", arguments: policies)
    func weights(policy: LoadBalancing.Policy) {
        let counts = counts(balancer([endpoint(1), endpoint(2, weight: 3)], policy))
        #expect(abs(counts[address(2), default: 0] - 3000) < 200, "\(counts)")
    }

    @Test("When a host leaves a ring on which the others keep their places, only its own keys move")
    func ringLosesOne() {
        // As in Envoy the number of places follows the share: only small rings keep it at one each.
        var ring = LoadBalancing.RingHash()
        ring.minimumSize = 4
        let policy = LoadBalancing.Policy.ringHash(ring)
        let all = owners(balancer((1...5).map { endpoint($0) }, policy))
        let rest = owners(balancer([1, 2, 4, 5].map { endpoint($0) }, policy))
        for (before, after) in zip(all, rest) where before != address(3) {
            #expect(before == after)
        }
        #expect(!rest.contains(address(3)))
    }

    @Test("Hostname or metadata stands for a host where it is told to", arguments: policies)
    func names(policy: LoadBalancing.Policy) {
        func named(_ shift: Int) -> [ResolvedEndpoint] {
            (1...4).map { endpoint($0 + shift, key: "shard-\($0)") }
        }
        func shift(_ addresses: [SocketAddress?]) -> [SocketAddress?] {
            addresses.map { host in
                guard case .ipv4(let ip, let port)? = host else { return nil }
                return .ipv4(ip + 10, port: port)
            }
        }
        let before = owners(balancer(named(0), policy))
        #expect(shift(before) == owners(balancer(named(10), policy)))
        let plain = owners(balancer((1...4).map { endpoint($0) }, policy))
        #expect(plain != before)
    }

    @Test("Localities share one table by their weights", arguments: policies)
    func localities(policy: LoadBalancing.Policy) {
        let hosts = [
            endpoint(1, zone: "b", localityWeight: 1), endpoint(2, zone: "b", localityWeight: 1),
            endpoint(3, zone: "a", localityWeight: 2), endpoint(4, zone: "c"),
        ]
        let balancer = balancer(hosts, policy) { $0.localityMode = .weighted }
        let counts = counts(balancer)
        #expect(counts[address(4)] == nil)
        // A weight is the whole locality's, not each of its hosts': 2 of 3.
        #expect(abs(counts[address(3), default: 0] - 2667) < 200, "\(counts)")
    }

    @Test("A locality's share is of all the weights that count, in panic of those that can be used")
    func localityShares() {
        // Of three places that are wanted a half comes to two for each host, a third to one.
        var ring = LoadBalancing.RingHash()
        ring.minimumSize = 3
        let policy = LoadBalancing.Policy.ringHash(ring)
        func zones(
            _ status: Endpoint.Status, _ more: ResolvedEndpoint...
        ) -> [SocketAddress?] {
            let hosts = [1, 2].map {
                endpoint($0, zone: "\($0)", localityWeight: 1, status: status)
            }
            return owners(balancer(hosts + more, policy) { $0.localityMode = .weighted }, 500)
        }
        let halves = owners(balancer([endpoint(1), endpoint(2)], policy), 500)
        #expect(zones(.healthy) == halves && Set(halves).count == 2)
        #expect(
            zones(.unhealthy, endpoint(3, zone: "3", localityWeight: 1, status: .draining))
                == halves)
        #expect(
            zones(.healthy, endpoint(3, zone: "3", localityWeight: 1, status: .unhealthy))
                != halves)
    }

    @Test("The key decides the priority too")
    func priority() {
        let hosts = [
            endpoint(1), endpoint(2, status: .unhealthy), endpoint(3, priority: 1),
        ]
        let balancer = balancer(hosts, .maglev(.init(tableSize: 251)))
        for key in UInt64(0)..<400 {
            #expect(pick(balancer, key)?.address == address(key % 100 < 70 ? 1 : 3))
        }
    }

    @Test("Without a key every host gets its share", arguments: policies)
    func noKey(policy: LoadBalancing.Policy) {
        let balancer = balancer([endpoint(1), endpoint(2)], policy)
        let first = (0..<2000).count { _ in pick(balancer, nil)?.address == address(1) }
        #expect(abs(first - 1000) < 150)
    }

    @Test("A bounded host passes what is over its share on, always to the same other")
    func bounded() {
        let hashing = LoadBalancing.ConsistentHashing(balanceFactor: 150)
        let balancer = balancer(
            (1...4).map { endpoint($0) }, .ringHash(.init(hashing: hashing)))
        var held: [Pick] = []
        for _ in 0..<40 {
            if case .host(let pick) = balancer.pick(PickContext(now: .zero, key: 77)) {
                held.append(pick)
            }
        }
        let most = balancer.hosts.map(\.activeRequests).max() ?? 0
        // 150 % of a quarter of 40, and one that came when it was just full.
        #expect(held.count == 40 && most <= 16 && most >= 14)
        #expect(balancer.hosts.count { $0.activeRequests > 0 } >= 3)
    }
}
