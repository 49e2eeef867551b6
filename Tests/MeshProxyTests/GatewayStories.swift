import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Two proxies in a row: client, sidecar, gateway of another network, pod.
@Suite struct GatewayStories {
    /// A sidecar, gateways (the first preferred), and pods behind all of them.
    struct TwoHops {
        let mesh: SimulatedMesh
        let sidecar: SimulatedProxy
        let gateways: [SimulatedProxy]
        let pods: [ScriptedServer]

        init(
            seed: UInt64, gateways count: Int = 2, pods: Int = 2, speaks: WireProtocol = .http2,
            trust: MeshTrust? = nil, retry: RetryPolicy? = nil,
            _ answer: @escaping (ReceivedRequest) -> Answer = { _ in .reply(200, "pod") }
        ) {
            let mesh = SimulatedMesh(seed: seed)
            self.mesh = mesh
            let servers = (0..<pods).map { mesh.upstream("pod\($0)", speaks, answer) }
            for server in servers { server.tls = trust?.server("pod", peer: "gateway") }
            self.pods = servers
            gateways = (0..<count).map { number in
                mesh.proxy(
                    "gateway\(number)",
                    clusters: [
                        .of("pods", servers) {
                            if let trust {
                                $0.transport = .tls(trust.client("gateway", peer: "pod"))
                            }
                        }
                    ], tls: trust?.server("gateway", peer: "sidecar"))
            }
            sidecar = mesh.proxy(
                "sidecar",
                clusters: [
                    .of(
                        "svc",
                        addresses: gateways.enumerated().map { number, gateway in
                            (gateway.address, "west", number)
                        }
                    ) {
                        if let trust {
                            $0.transport = .tls(trust.client("sidecar", peer: "gateway"))
                        }
                    }
                ], routes: [.forward(to: "svc", retry: retry)])
        }
    }

    @Test("Bodies of any length pass two proxies whole, in both directions")
    func bodies() {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let hops = TwoHops(seed: 1, speaks: speaks) { _ in .bytes(1_500_000) }
                let call = hops.mesh.client(wire, hops.sidecar).post("/", bytes: 2_000_000)
                #expect(hops.mesh.run())
                #expect(call.isAnswered() && call.body.isWhole(1_500_000))
                let requests = hops.pods.flatMap(\.requests)
                #expect(requests.count == 1 && requests[0].body.isWhole(2_000_000))
                #expect(hops.mesh.finish() == [])
            }
        }
    }

    @Test(
        "A gateway that becomes a black hole is found by PING within 2.5 s, and the other one serves"
    )
    func gatewayBlackHole() {
        let hops = TwoHops(seed: 2)
        let client = hops.mesh.client(.http1, hops.sidecar)
        let first = client.get()
        #expect(hops.mesh.run())
        #expect(first.isAnswered())
        hops.mesh.blackHole(hops.gateways[0].host, from: hops.sidecar.host)
        let second = client.get()
        #expect(hops.mesh.run())
        #expect(second.isAnswered() && second.took < .milliseconds(2500))
        let rest = (0..<20).map { _ in client.get() }
        #expect(hops.mesh.run())
        #expect(rest.allSatisfy { $0.isAnswered() && $0.took < .milliseconds(100) })
    }

    @Test("A gateway that is killed costs no GET and no time")
    func gatewayKilled() {
        let hops = TwoHops(seed: 3) { _ in .reply(200).after(.milliseconds(20)) }
        let client = hops.mesh.client(.http2, hops.sidecar)
        let calls = (0..<5).map { _ in client.get() }
        hops.mesh.run(for: .milliseconds(10))
        hops.gateways[0].host.die(kernelAlive: true)
        #expect(hops.mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.took < .milliseconds(60) })
    }

    @Test("A pod that refuses is the gateway's business: the client hears nothing of it")
    func podRefuses() {
        let hops = TwoHops(seed: 4)
        hops.mesh.fault(hops.pods[0], .refuse)
        let client = hops.mesh.client(.http1, hops.sidecar)
        let calls = (0..<10).map { _ in client.post("/", bytes: 10) }
        #expect(hops.mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "pod1" })
        #expect(hops.sidecar.reports.evidence.isEmpty)
        #expect(hops.mesh.finish() == [])
    }

    @Test("A gateway without pods says 503, and a policy takes the request to the other gateway")
    func gatewayWithoutPods() {
        for policy in [nil, RetryPolicy.on(.gatewayError)] {
            let hops = TwoHops(seed: 5, retry: policy)
            hops.gateways[0].push { $0.clusters[0].endpoints.localities = [] }
            let call = hops.mesh.client(.http1, hops.sidecar).get()
            #expect(hops.mesh.run())
            #expect(call.isAnswered(policy == nil ? 503 : 200))
            if policy == nil { #expect(call.text == "no healthy upstream") }
            #expect(hops.mesh.finish() == [])
        }
    }

    @Test("An answer that a pod breaks off is short for the client as well")
    func cutByPod() {
        for how in [Answer.Cut.reset, .close, .resetStream] {
            for wire in WireProtocol.allCases {
                let hops = TwoHops(seed: 6) { _ in
                    .bytes(500_000).cut(after: 300_000, by: how).chunked()
                }
                let call = hops.mesh.client(wire, hops.sidecar).get()
                #expect(hops.mesh.run())
                #expect(call.status == 200 && !call.isComplete && call.failure != nil)
                #expect(call.body.isIntact && call.body.count <= 300_000)
                #expect(hops.pods.flatMap(\.requests).count == 1)
                #expect(hops.mesh.finish() == [])
            }
        }
    }

    @Test("A client that gives up frees the pod behind two proxies")
    func clientAborts() {
        for wire in WireProtocol.allCases {
            for speaks in WireProtocol.allCases {
                let hops = TwoHops(seed: 7, speaks: speaks) { _ in .stall }
                let call = hops.mesh.client(wire, hops.sidecar).get()
                hops.mesh.run(for: .milliseconds(20))
                call.cancel()
                hops.mesh.run(for: .milliseconds(5))
                let requests = hops.pods.flatMap(\.requests)
                #expect(requests.count == 1 && requests[0].wasReset)
                #expect(hops.gateways[0].openWork == 0)
                #expect(hops.mesh.finish() == [])
            }
        }
    }

    @Test("A partition between the proxies that heals in time loses nothing")
    func partition() {
        let hops = TwoHops(seed: 8) { _ in .bytes(300_000).slowly(10_000, every: .milliseconds(5)) }
        let call = hops.mesh.client(.http1, hops.sidecar).post("/", bytes: 1000)
        hops.mesh.run(for: .milliseconds(50))
        hops.mesh.network.partition([hops.sidecar.host], from: [hops.gateways[0].host])
        hops.mesh.run(for: .milliseconds(1500))
        hops.mesh.network.heal()
        #expect(hops.mesh.run())
        #expect(call.isAnswered() && call.body.isWhole(300_000))
        #expect(hops.mesh.finish() == [])
    }

    @Test("Refused, unreachable, closed at once, reset at once: the next gateway serves")
    func gatewayConnectFaults() {
        for fault in [ConnectFault.refuse, .unreachable, .closeAtOnce, .resetAtOnce, .blackHole] {
            let hops = TwoHops(seed: 9)
            hops.mesh.network.connectFaults[hops.gateways[0].address] = fault
            let client = hops.mesh.client(.http1, hops.sidecar)
            let calls = (0..<5).map { _ in client.get() }
            #expect(hops.mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            let slowest = calls.map(\.took).max() ?? .zero
            #expect(slowest < (fault == .blackHole ? .milliseconds(5100) : .milliseconds(100)))
            #expect(hops.mesh.finish() == [])
        }
    }

    @Test("Mutual TLS on every leg: the request arrives, identities checked, every byte split")
    func mutualTLS() {
        for segment in [1, 64 * 1024] {
            let trust = MeshTrust()
            let hops = TwoHops(seed: 10, trust: trust) { _ in .bytes(1000) }
            hops.mesh.network.conditions.segmentBytes = segment
            let calls = (0..<3).map { _ in
                hops.mesh.client(.http2, hops.sidecar).post("/", bytes: 800)
            }
            #expect(hops.mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() && $0.body.isWhole(1000) })
            #expect(hops.pods.flatMap(\.requests).allSatisfy { $0.body.isWhole(800) })
            #expect(hops.mesh.finish() == [])
        }
    }

    @Test("Large bodies and broken legs under mutual TLS end as they do without")
    func mutualTLSBodies() {
        let trust = MeshTrust()
        let hops = TwoHops(seed: 11, trust: trust) { _ in .bytes(1_000_000) }
        let client = hops.mesh.client(.http2, hops.sidecar)
        let call = client.post("/", bytes: 1_000_000)
        #expect(hops.mesh.run())
        #expect(call.isAnswered() && call.body.isWhole(1_000_000))
        hops.mesh.blackHole(hops.gateways[0].host, from: hops.sidecar.host)
        let second = client.get()
        #expect(hops.mesh.run())
        #expect(second.isAnswered() && second.took < .milliseconds(2500))
    }
}
