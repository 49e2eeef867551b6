import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing
import XDSClient

@testable import MeshProxy

/// Control planes, a control loop and a worker, in both variants of the protocol where they differ.
@Suite struct ControlStories {
    @Test("What a control plane serves is listened on and answered", arguments: [false, true])
    func start(incremental: Bool) {
        let mesh = SimulatedMesh(seed: 1)
        let a = mesh.upstream("a")
        let plane = mesh.controlPlane("east")
        plane.serve(ResourceText.service("svc", a))
        let proxy = mesh.controlledProxy(plane, incremental: incremental)
        mesh.run(for: .milliseconds(100))
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "a")
        #expect(proxy.source == "east" && proxy.control.isReady && proxy.problems == [])
        #expect(plane.openStreams == 1 && plane.refusals == [] && plane.malformed == [])
        #expect(mesh.finish() == [])
    }

    @Test("New endpoints take the traffic over", arguments: [false, true])
    func endpointsMove(incremental: Bool) {
        let mesh = SimulatedMesh(seed: 2)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        let plane = mesh.controlPlane("east")
        plane.serve(ResourceText.service("svc", a))
        let proxy = mesh.controlledProxy(plane, incremental: incremental)
        mesh.run(for: .milliseconds(100))
        let client = mesh.client(.http2, proxy)
        let before = client.get()
        #expect(mesh.run())
        plane.serve(ResourceText.service("svc", b))
        mesh.run(for: .milliseconds(100))
        let after = client.get()
        #expect(mesh.run())
        #expect(before.servedBy == "a" && after.isAnswered() && after.servedBy == "b")
        #expect(plane.refusals == [] && plane.opened.count == 1)
        #expect(mesh.finish() == [])
    }

    @Test("A cluster that can't be is refused with its reason, and those beside it are taken")
    func badCluster() {
        for incremental in [false, true] {
            let mesh = SimulatedMesh(seed: 3)
            let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
            let plane = mesh.controlPlane("east")
            plane.serve(ResourceText.service("svc", a))
            let proxy = mesh.controlledProxy(plane, incremental: incremental)
            mesh.run(for: .milliseconds(100))
            // Its name, and the type EDS without anything that says where to ask.
            let bad = RawResource(
                name: "bad", version: "1", typeURL: ResourceType.cluster.typeURL,
                value: [0x0A, 3] + Array("bad".utf8) + [0x10, 3])
            plane.serve(ResourceText.service("svc", b), besides: [bad])
            mesh.run(for: .milliseconds(100))
            let call = mesh.client(.http1, proxy).get()
            #expect(mesh.run())
            #expect(call.isAnswered() && call.servedBy == "b")
            #expect(plane.refusals.count == 1)
            #expect(plane.refusals.first?.contains("bad") == true)
            #expect(plane.refusals.first?.contains("eds_cluster_config") == true)
            #expect(proxy.clusterNames == ["svc"])
            #expect(mesh.finish() == [])
        }
    }

    @Test("A connection that is reset is made again, and nothing is deleted meanwhile")
    func streamReset() {
        for incremental in [false, true] {
            let mesh = SimulatedMesh(seed: 4)
            let a = mesh.upstream("a")
            let plane = mesh.controlPlane("east")
            plane.serve(ResourceText.service("svc", a))
            let proxy = mesh.controlledProxy(plane, incremental: incremental)
            mesh.run(for: .milliseconds(100))
            mesh.onStep = { [unowned mesh, unowned proxy] in
                if mesh.network.now > .zero + .milliseconds(100), proxy.isRunning {
                    #expect(proxy.clusterNames == ["svc"])
                    #expect(proxy.control.published.listeners.count == 1)
                }
            }
            let traffic = Traffic(mesh, mesh.client(.http2, proxy))
            plane.resetConnections()
            traffic.run(for: .seconds(1))
            #expect(plane.opened.count == 2 && plane.openStreams == 1)
            #expect(traffic.failed == 0 && traffic.lastServer == "a")
            mesh.onStep = nil
            #expect(mesh.finish() == [])
        }
    }

    @Test(
        "When a control plane dies the next takes over within 3 s; it is returned to after its hold"
    )
    func failover() {
        for incremental in [false, true] {
            let mesh = SimulatedMesh(seed: 5)
            let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
            let (east, west) = (mesh.controlPlane("east"), mesh.controlPlane("west"))
            east.serve(ResourceText.service("svc", a))
            west.serve(ResourceText.service("svc", b))
            let proxy = mesh.controlledProxy(east, west, incremental: incremental)
            mesh.run(for: .milliseconds(100))
            let traffic = Traffic(mesh, mesh.client(.http2, proxy))
            traffic.run(for: .seconds(1))
            #expect(traffic.lastServer == "a" && west.opened.isEmpty)
            east.die()
            traffic.run(for: .seconds(3))
            #expect(traffic.lastServer == "b" && proxy.source == "west")
            east.start()
            traffic.run(for: .milliseconds(1900))
            #expect(proxy.source == "west")
            traffic.run(for: .seconds(6))
            #expect(proxy.source == "east" && traffic.lastServer == "a")
            #expect(west.openStreams == 0 && traffic.failed == 0)
            #expect(mesh.finish() == [])
        }
    }

    @Test("With no control plane left traffic goes on by what is known")
    func allDead() {
        let mesh = SimulatedMesh(seed: 6)
        let a = mesh.upstream("a")
        let (east, west) = (mesh.controlPlane("east"), mesh.controlPlane("west"))
        east.serve(ResourceText.service("svc", a))
        west.serve(ResourceText.service("svc", a))
        let proxy = mesh.controlledProxy(east, west)
        mesh.run(for: .milliseconds(100))
        let traffic = Traffic(mesh, mesh.client(.http2, proxy))
        east.die()
        west.die()
        traffic.run(for: .seconds(30))
        #expect(traffic.failed == 0 && traffic.lastServer == "a" && proxy.clusterNames == ["svc"])
        west.start()
        traffic.run(for: .seconds(6))
        #expect(proxy.source == "west" && traffic.failed == 0)
        #expect(mesh.finish() == [])
    }

    @Test("What two control planes give is never mixed")
    func neverMixed() {
        let mesh = SimulatedMesh(seed: 7)
        let a = mesh.upstream("a")
        let planes = ["east", "west"].map { mesh.controlPlane($0) }
        for plane in planes {
            plane.serve(
                ResourceText.service("svc", a), ResourceText.cluster("only-\(plane.name)"),
                ResourceText.endpoints("only-\(plane.name)", [a]))
        }
        let proxy = mesh.controlledProxy(planes[0], planes[1])
        var sets: Set<[String]> = []
        mesh.onStep = { [unowned proxy] in
            if proxy.isRunning { sets.insert(proxy.clusterNames) }
        }
        for _ in 0..<3 {
            for plane in planes {
                mesh.run(for: .seconds(5))
                plane.die()
                mesh.run(for: .seconds(5))
                plane.start()
            }
        }
        mesh.onStep = nil
        #expect(!sets.contains { $0.contains("only-east") && $0.contains("only-west") })
        #expect(sets.contains(["only-east", "svc"]) && sets.contains(["only-west", "svc"]))
        #expect(mesh.finish() == [])
    }

    @Test("A message that can't be read ends the stream, and it is tried again with back-off")
    func garbage() {
        let mesh = SimulatedMesh(seed: 8)
        let a = mesh.upstream("a")
        let plane = mesh.controlPlane("east")
        plane.serve(ResourceText.service("svc", a))
        let proxy = mesh.controlledProxy(plane)
        mesh.run(for: .milliseconds(100))
        let traffic = Traffic(mesh, mesh.client(.http2, proxy))
        plane.sendGarbage()
        traffic.run(for: .milliseconds(500))
        #expect(plane.opened.count == 2 && plane.openStreams == 1)
        plane.answersGarbage = true
        plane.sendGarbage()
        traffic.run(for: .seconds(30))
        #expect((8...30).contains(plane.opened.count))
        plane.answersGarbage = false
        traffic.run(for: .seconds(6))
        #expect(plane.openStreams == 1 && traffic.failed == 0)
        #expect(mesh.finish() == [])
    }

    @Test("A listener that waits for its routes does not replace the one in force")
    func makeBeforeBreak() {
        for incremental in [false, true] {
            let mesh = SimulatedMesh(seed: 9)
            let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
            let plane = mesh.controlPlane("east")
            let clusters = [
                ResourceText.cluster("a"), ResourceText.endpoints("a", [a]),
                ResourceText.cluster("b"), ResourceText.endpoints("b", [b]),
                ResourceText.routes("old", to: "a"),
            ].joined(separator: "\n")
            plane.serve(clusters, ResourceText.listener(routes: "old"))
            let proxy = mesh.controlledProxy(plane, incremental: incremental)
            mesh.run(for: .milliseconds(100))
            let traffic = Traffic(mesh, mesh.client(.http2, proxy))
            plane.serve(clusters, ResourceText.listener(routes: "new"))
            traffic.run(for: .seconds(2))
            #expect(traffic.lastServer == "a")
            #expect(proxy.control.warmingNames("listener") == ["in"])
            plane.serve(
                clusters, ResourceText.listener(routes: "new"), ResourceText.routes("new", to: "b"))
            mesh.run(for: .milliseconds(100))
            let after = Traffic(mesh, mesh.client(.http2, proxy))
            after.run(for: .milliseconds(100))
            #expect(after.lastServer == "b" && after.failed + traffic.failed == 0)
            #expect(proxy.control.warming == [] && plane.refusals == [])
            #expect(mesh.finish() == [])
        }
    }

    @Test("A certificate over SDS is used as it comes, and its successor for new connections")
    func rotation() {
        for incremental in [false, true] {
            let mesh = SimulatedMesh(seed: 13)
            let trust = MeshTrust()
            let a = mesh.upstream("a")
            let plane = mesh.controlPlane("east")
            let rest = [
                ResourceText.listener(certificate: "identity"), ResourceText.routes(to: "svc"),
                ResourceText.cluster("svc"), ResourceText.endpoints("svc", [a]),
            ].joined(separator: "\n")
            plane.serve(rest, ResourceText.certificate("identity", trust.pemLeaf("one")))
            let proxy = mesh.controlledProxy(plane, incremental: incremental)
            mesh.run(for: .milliseconds(100))
            func client(expecting peer: String) -> ScriptedClient {
                let client = mesh.client(.http2, proxy)
                client.tls = trust.client("client", peer: peer)
                client.reconnects = false
                return client
            }
            let old = client(expecting: "one")
            let first = old.get()
            #expect(mesh.run())
            #expect(first.isAnswered())
            plane.serve(rest, ResourceText.certificate("identity", trust.pemLeaf("two")))
            mesh.run(for: .milliseconds(100))
            let calls = [
                old.get(), client(expecting: "two").get(), client(expecting: "one").get(),
            ]
            #expect(mesh.run())
            #expect(calls.map { $0.isAnswered() } == [true, true, false])
            #expect(plane.refusals == [] && proxy.problems == [])
            #expect(mesh.finish() == [])
        }
    }

    @Test(
        "Refused by all local pods, requests move to the remote within 200 ms, and back by a ramp")
    func localPodsRefuse() {
        let mesh = SimulatedMesh(seed: 10)
        let (a, b, c) = (mesh.upstream("a"), mesh.upstream("b"), mesh.remote("c"))
        let plane = mesh.controlPlane("east")
        plane.serve(ResourceText.service("svc", a, b, c))
        let proxy = mesh.controlledProxy(plane)
        mesh.run(for: .milliseconds(100))
        let traffic = Traffic(mesh, mesh.client(.http2, proxy))
        traffic.run(for: .seconds(1))
        #expect(c.requests.isEmpty && traffic.failed == 0)
        for pod in [a, b] {
            mesh.fault(pod, .refuse)
            mesh.resetConnections(to: pod.address)
        }
        traffic.run(for: .milliseconds(200))
        let (accepted, moved) = (a.requests.count + b.requests.count, c.requests.count)
        traffic.run(for: .seconds(10))
        #expect(moved > 0 && a.requests.count + b.requests.count == accepted)
        #expect(traffic.failed == 0 && traffic.slowest < .milliseconds(50))
        #expect(proxy.verdicts > 0)
        for pod in [a, b] { mesh.fault(pod, nil) }
        // Found to be well within 5 s, watched for the 10 s that they were away, 30 s of ramp.
        traffic.run(for: .seconds(48))
        let stayed = c.requests.count
        traffic.run(for: .seconds(1))
        #expect(c.requests.count == stayed && traffic.failed == 0)
        #expect(a.requests.count + b.requests.count > accepted)
        #expect(mesh.finish() == [])
    }

    @Test("A path that was ejected is used again after a connect probe that succeeds")
    func pathReturns() {
        let mesh = SimulatedMesh(seed: 11)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        let plane = mesh.controlPlane("east")
        plane.serve(ResourceText.service("svc", a, b))
        let proxy = mesh.controlledProxy(plane)
        mesh.run(for: .milliseconds(100))
        let traffic = Traffic(mesh, mesh.client(.http2, proxy))
        mesh.fault(a, .refuse)
        mesh.resetConnections(to: a.address)
        traffic.run(for: .seconds(4))
        let (served, connected) = (a.requests.count, a.accepted)
        mesh.fault(a, nil)
        // Nobody asks for anything: only a probe can find out.
        mesh.run(for: .seconds(8))
        #expect(a.accepted > connected && a.requests.count == served)
        traffic.run(for: .milliseconds(500))
        #expect(a.requests.count > served && traffic.failed == 0)
        #expect(mesh.finish() == [])
    }

    @Test("A pod whose health check answers 503 gets nothing, and its share when it answers 200")
    func healthCheck() {
        let mesh = SimulatedMesh(seed: 12)
        var isWell = true
        let a = mesh.upstream("a") { .reply($0.path == "/health" && !isWell ? 503 : 200) }
        let b = mesh.upstream("b")
        let plane = mesh.controlPlane("east")
        let check = """
            , health_checks: [{timeout: 0.5s, interval: 1s, no_traffic_interval: 1s,
              unhealthy_threshold: 2, healthy_threshold: 1, http_health_check: {path: /health}}]
            """
        plane.serve(ResourceText.service("svc", a, b, more: check))
        let proxy = mesh.controlledProxy(plane)
        mesh.run(for: .seconds(3))
        let traffic = Traffic(mesh, mesh.client(.http2, proxy))
        func servedByA() -> Int { a.requests.count { $0.path == "/" } }
        traffic.run(for: .seconds(1))
        #expect(servedByA() > 0)
        isWell = false
        traffic.run(for: .seconds(4))
        let before = servedByA()
        traffic.run(for: .seconds(2))
        #expect(servedByA() == before)
        isWell = true
        traffic.run(for: .seconds(3))
        #expect(servedByA() > before && traffic.failed == 0)
        #expect(mesh.finish() == [])
    }
}

/// A request every 10 ms, for as long as a test wants.
private final class Traffic {
    private let mesh: SimulatedMesh
    private let client: ScriptedClient
    private var calls: [Call] = []

    init(_ mesh: SimulatedMesh, _ client: ScriptedClient) {
        self.mesh = mesh
        self.client = client
    }

    func run(for duration: Duration) {
        let end = mesh.network.now + duration
        while mesh.network.now < end {
            calls.append(client.get())
            mesh.run(for: .milliseconds(10))
        }
        mesh.run()
    }

    var failed: Int { calls.count { !$0.isAnswered() } }
    var lastServer: String { calls.last?.servedBy ?? "" }
    var slowest: Duration { calls.map(\.took).max() ?? .zero }
}
