import EventLoop
import HTTPCodec
import MTLS
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

/// Connections that are relayed byte by byte, and how a connection finds its filter chain.
@Suite struct RelayStories {
    private func relay(
        _ mesh: SimulatedMesh, _ servers: [RawServer]
    ) -> SimulatedProxy {
        mesh.tcpProxy(
            clusters: [
                .of("tcp", addresses: servers.map { ($0.address, "east", 0) }) {
                    $0.connectTimeout = .milliseconds(500)
                }
            ])
    }

    @Test("Bytes pass both ways, and each direction ends by itself")
    func halfClose() {
        for endsFirst in ["client", "server"] {
            let mesh = SimulatedMesh(seed: 1)
            let server = mesh.rawServer("server")
            let client = mesh.rawClient(relay(mesh, [server]))
            client.write("to the server")
            mesh.run(for: .milliseconds(10))
            #expect(server.end.text == "to the server")
            let (first, second) =
                endsFirst == "client" ? (client, server.end) : (server.end, client)
            first.finish()
            mesh.run(for: .milliseconds(10))
            #expect(second.sawEnd && !first.sawEnd)
            second.write("still heard")
            mesh.run(for: .milliseconds(10))
            #expect(first.text.hasSuffix("still heard"))
            second.finish()
            mesh.run(for: .milliseconds(10))
            #expect(first.sawEnd && first.failure == nil && second.failure == nil)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A reset on either side is a reset on the other")
    func reset() {
        for resets in ["client", "server"] {
            let mesh = SimulatedMesh(seed: 2)
            let server = mesh.rawServer("server")
            let client = mesh.rawClient(relay(mesh, [server]))
            client.write("hello")
            mesh.run(for: .milliseconds(10))
            let (first, second) = resets == "client" ? (client, server.end) : (server.end, client)
            first.abort()
            mesh.run(for: .milliseconds(10))
            #expect(second.failure?.kind == .reset)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A connect that fails is tried on another endpoint; without one the client hears an end")
    func connectFails() {
        let mesh = SimulatedMesh(seed: 3)
        let (a, b) = (mesh.rawServer("a"), mesh.rawServer("b") { $0.echoes = true })
        mesh.network.connectFaults[a.address] = .refuse
        let proxy = relay(mesh, [a, b])
        let clients = (0..<4).map { _ in
            let client = mesh.rawClient(proxy)
            client.write("ping")
            mesh.run(for: .milliseconds(10))
            return client
        }
        #expect(clients.allSatisfy { $0.text == "ping" })
        mesh.network.connectFaults[b.address] = .blackHole
        let lost = mesh.rawClient(proxy)
        lost.write("ping")
        mesh.run(for: .seconds(5))
        #expect(lost.isOver && lost.text == "")
        for client in clients { client.close() }
        #expect(mesh.finish() == [])
    }

    @Test("A receiver that does not read stops the sender, and all arrives once it does")
    func backPressure() {
        let mesh = SimulatedMesh(seed: 4)
        let server = mesh.rawServer("server") { $0.keeps = 0 }
        let proxy = relay(mesh, [server])
        let client = mesh.rawClient(proxy)
        mesh.run(for: .milliseconds(10))
        client.write("x")
        mesh.run(for: .milliseconds(10))
        server.end.stream?.pauseReading(.notReady)
        for _ in 0..<100 { client.write([UInt8](repeating: 7, count: 50_000)) }
        mesh.run(for: .seconds(2))
        // One queue in the proxy, besides what kernels hold and the client itself.
        let clientQueue = client.stream?.queuedBytes ?? 0
        #expect(mesh.network.queuedBytes - clientQueue < 600_000)
        #expect(clientQueue > 3_000_000)
        server.end.stream?.resumeReading(.notReady)
        mesh.run(for: .seconds(5))
        #expect(server.end.count == 5_000_001)
        #expect(mesh.finish() == [])
    }

    @Test("A cluster that is not there ends the connection")
    func noCluster() {
        let mesh = SimulatedMesh(seed: 5)
        let server = mesh.rawServer("server")
        let proxy = relay(mesh, [server])
        proxy.push { $0.clusters = [] }
        let client = mesh.rawClient(proxy)
        mesh.run(for: .milliseconds(50))
        #expect(client.isOver && server.end.accepted == 0)
        #expect(mesh.finish() == [])
    }

    @Test("A relay that nothing comes over ends after the idle time")
    func idle() {
        let mesh = SimulatedMesh(seed: 6)
        let server = mesh.rawServer("server")
        let proxy = mesh.tcpProxy(clusters: [.of("tcp", addresses: [(server.address, "east", 0)])])
        {
            $0.idleTimeout = .seconds(5)
        }
        let client = mesh.rawClient(proxy)
        mesh.run(for: .seconds(4))
        client.write("x")
        mesh.run(for: .seconds(4))
        #expect(!client.isOver && server.end.text == "x")
        mesh.run(for: .seconds(2))
        #expect(client.isOver && server.end.isOver)
        #expect(mesh.finish() == [])
    }

    /// Chains that answer with their name.
    private func chained(
        _ mesh: SimulatedMesh, _ chains: [(String, FilterChainMatch, DownstreamTLS?)]
    ) -> SimulatedProxy {
        let listener = Listener(
            name: "chains", address: .loopback(port: 8080),
            filterChains: chains.map { name, match, tls in
                let routes = RouteConfiguration(
                    name: name,
                    virtualHosts: [
                        VirtualHost(name: name, domains: ["*"], routes: [.respond(200, name)])
                    ])
                return FilterChain(
                    name: name, match: match, tls: tls,
                    filter: .http(HTTPConnectionManager(statPrefix: name, routes: .inline(routes))))
            }, inspectsTLS: true, inspectsHTTP: true)
        return mesh.proxy("proxy", snapshot: Snapshot(listeners: [listener]))
    }

    @Test("SNI, ALPN and plaintext lead to their chains, with every byte alone")
    func chains() {
        for segment in [1, 64 * 1024] {
            var conditions = LinkConditions()
            conditions.segmentBytes = segment
            let mesh = SimulatedMesh(seed: 7, conditions: conditions)
            let trust = MeshTrust()
            let tls = trust.server("proxy")
            let proxy = chained(
                mesh,
                [
                    ("one", FilterChainMatch(serverNames: ["one.mesh"]), tls),
                    ("wild", FilterChainMatch(serverNames: ["*.mesh"]), tls),
                    (
                        "istio",
                        FilterChainMatch(transportProtocol: "tls", applicationProtocols: ["istio"]),
                        trust.server("proxy", alpn: ["h2"])
                    ),
                    (
                        "h2c",
                        FilterChainMatch(
                            transportProtocol: "raw_buffer", applicationProtocols: ["h2c"]), nil
                    ),
                    ("plain", FilterChainMatch(transportProtocol: "raw_buffer"), nil),
                ])
            func ask(_ wire: WireProtocol, _ tls: UpstreamTLS?) -> Call {
                let client = mesh.client(wire, proxy)
                client.tls = tls
                return client.get()
            }
            let calls = [
                ask(.http2, trust.client("client", sni: "one.mesh")),
                ask(.http2, trust.client("client", sni: "two.mesh")),
                ask(.http2, trust.client("client", sni: "elsewhere", alpn: ["istio", "h2"])),
                ask(.http2, nil), ask(.http1, nil),
                ask(.http2, trust.client("client", sni: "elsewhere")),
            ]
            #expect(mesh.run())
            #expect(calls.map(\.text) == ["one", "wild", "istio", "h2c", "plain", ""])
            #expect(calls.last?.failure != nil)
            #expect(mesh.finish() == [])
        }
    }

    @Test("A client without the right certificate, or the right server, is not spoken to")
    func identities() {
        let mesh = SimulatedMesh(seed: 8)
        let (trust, stranger) = (MeshTrust(), MeshTrust())
        let proxy = chained(
            mesh, [("all", FilterChainMatch(), trust.server("proxy", peer: "friend"))])
        func ask(_ tls: UpstreamTLS?) -> Call {
            let client = mesh.client(.http2, proxy)
            client.tls = tls
            return client.get()
        }
        var bare = trust.client("friend")
        bare.common.certificates = []
        let calls = [
            ask(trust.client("friend", peer: "proxy")), ask(trust.client("other")),
            ask(stranger.client("friend")), ask(trust.client("friend", peer: "impostor")),
            ask(bare), ask(nil),
        ]
        #expect(mesh.run())
        #expect(calls.map { $0.isAnswered() } == [true, false, false, false, false, false])
        #expect(calls.dropFirst().allSatisfy { $0.failure != nil && $0.took < .seconds(1) })
        #expect(mesh.finish() == [])
    }

    @Test("Wrong identity of an endpoint: the request goes to another, and the reason is known")
    func wrongEndpoint() {
        let mesh = SimulatedMesh(seed: 9)
        let trust = MeshTrust()
        let (a, b) = (mesh.upstream("a", .http2), mesh.upstream("b", .http2))
        a.tls = trust.server("impostor")
        b.tls = trust.server("app")
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", a, b) { $0.transport = .tls(trust.client("proxy", peer: "app")) }
            ])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<6).map { _ in client.post("/", bytes: 10) }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
        #expect(proxy.reports.failures == [.tlsWrongIdentity])
        #expect(mesh.finish() == [])
    }

    @Test("Secrets are rotated under way: no request is lost, and new connections use the new ones")
    func rotation() {
        let mesh = SimulatedMesh(seed: 10)
        let (old, new) = (MeshTrust(), MeshTrust())
        let a = mesh.upstream("a", .http2) { _ in .reply(200).after(.milliseconds(10)) }
        a.tls = old.server("app")
        let client = old.client("proxy", peer: "app")
        func secrets(_ trust: MeshTrust) -> [String: Secret] {
            [
                "cert": Secret(name: "cert", content: .certificate(trust.material("proxy"))),
                "trust": Secret(name: "trust", content: .validation(trust.validation(peer: "app"))),
            ]
        }
        var tls = client
        tls.common.certificates = [.secret("cert")]
        tls.common.validation = .secret("trust")
        let proxy = mesh.proxy("proxy", snapshot: Snapshot())
        let template = SimulatedMesh.httpSnapshot(
            clusters: [.of("svc", a) { $0.transport = .tls(tls) }])
        proxy.push {
            $0 = template
            $0.secrets = secrets(old)
        }
        let caller = mesh.client(.http2, proxy)
        var calls: [Call] = []
        for step in 0..<60 {
            calls.append(caller.post("/", bytes: 10))
            if step == 20 {
                // The endpoint changes over for new connections at the same moment.
                a.tls = new.server("app")
                proxy.push { $0.secrets = secrets(new) }
            }
            if step == 40 { a.shutDown() }
            mesh.run(for: .milliseconds(5))
        }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(a.accepted == 2)
        #expect(mesh.finish() == [])
    }

    @Test("A connection that no chain matches is closed")
    func noChain() {
        let mesh = SimulatedMesh(seed: 11)
        let proxy = chained(
            mesh,
            [
                (
                    "far",
                    FilterChainMatch(sourcePrefixes: [AddressPrefix(ip: "192.0.2.0", bits: 24)!]),
                    nil
                )
            ])
        let client = mesh.rawClient(proxy)
        client.write("GET / HTTP/1.1\r\nhost: svc\r\n\r\n")
        mesh.run(for: .milliseconds(50))
        #expect(client.isOver && client.text == "")
        #expect(mesh.finish() == [])
    }
}
