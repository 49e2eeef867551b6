import LoadBalancer
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@testable import MeshProxy

/// Sessions that stick to the endpoint that a cookie or header names.
@Suite struct SessionStories {
    private final class Scene {
        let mesh: SimulatedMesh
        let servers: [ScriptedServer]
        let proxy: SimulatedProxy
        /// What the client keeps.
        var cookie: String?

        init(
            _ seed: UInt64, strict: Bool = false, routes: [Route]? = nil,
            change: (inout Cluster) -> Void = { _ in }
        ) {
            mesh = SimulatedMesh(seed: seed)
            servers = [0, 1, 2, 3].map { [mesh] in mesh.upstream("s\($0)") }
            let session = StatefulSession(
                carrier: .cookie(.init(name: "sid", life: .seconds(60), path: "/")),
                isStrict: strict)
            proxy = mesh.proxy(
                clusters: [.of("svc", servers, change)],
                routes: routes ?? [.forward(to: "svc", retry: .on(.connectFailure))],
                manager: { $0.filters = [.statefulSession(.on(session)), .router] })
        }

        /// One request of the session, which keeps what it is given.
        func ask(_ path: String = "/") -> Call {
            let call = mesh.client(.http1, proxy).get(path, cookie.map { [("cookie", $0)] } ?? [])
            mesh.run()
            if let given = call.head?.strings("set-cookie").first {
                cookie = String(given.prefix { $0 != ";" })
            }
            return call
        }

        func server(_ name: String) -> ScriptedServer? { servers.first { $0.name == name } }

        func set(_ server: ScriptedServer, _ verdict: Verdict) {
            let change = HealthModel.Change.endpoint(
                cluster: "svc", server.address, verdict)
            proxy.worker.received(.health([change]))
        }
    }

    private func gave(_ call: Call) -> Bool { call.head?.strings("set-cookie").isEmpty == false }

    @Test(
        "A session sticks to the endpoint that answered first, and survives a change of endpoints")
    func sticks() {
        let scene = Scene(1)
        let first = scene.ask()
        #expect(first.isAnswered() && gave(first))
        for _ in 0..<8 {
            let next = scene.ask()
            #expect(next.servedBy == first.servedBy && !gave(next))
        }
        // Others are shared among all.
        let others = (0..<8).map { _ in scene.mesh.client(.http1, scene.proxy).get() }
        #expect(scene.mesh.run())
        #expect(Set(others.map(\.servedBy)).count == 4)
        let more = scene.mesh.upstream("s4")
        let kept = scene.servers.filter { $0.name != "s0" || $0.name == first.servedBy }
        scene.proxy.push { $0.clusters[0].endpoints = .of([more] + kept) }
        for _ in 0..<8 { #expect(scene.ask().servedBy == first.servedBy) }
        #expect(scene.mesh.finish() == [])
    }

    @Test("It moves when its endpoint is ejected or gone, and sticks to the next")
    func moves() throws {
        let scene = Scene(2)
        let first = scene.ask()
        let home = try #require(scene.server(first.servedBy))
        scene.set(home, .ejected(until: .distantFuture, .outlier("5xx")))
        let second = scene.ask()
        #expect(second.isAnswered() && second.servedBy != home.name && gave(second))
        scene.set(home, .healthy)
        for _ in 0..<5 { #expect(scene.ask().servedBy == second.servedBy) }
        scene.proxy.push {
            $0.clusters[0].endpoints = .of(scene.servers.filter { $0.name != second.servedBy })
        }
        let third = scene.ask()
        #expect(third.isAnswered() && third.servedBy != second.servedBy && gave(third))
        #expect(scene.ask().servedBy == third.servedBy)
        #expect(scene.mesh.finish() == [])
    }

    @Test("A retry leaves the session's endpoint, and the client is told where it went")
    func retries() throws {
        let scene = Scene(3)
        let first = scene.ask()
        try #require(scene.server(first.servedBy)).kill()
        let second = scene.ask()
        #expect(second.isAnswered() && second.servedBy != first.servedBy && gave(second))
        #expect(scene.ask().servedBy == second.servedBy)
        #expect(scene.mesh.finish() == [])
    }

    @Test(
        "An attempt asks for the endpoint that was named; a retry only where there may be no other")
    func override() {
        let address = SocketAddress.loopback(port: 80)
        func wish(
            _ named: StatefulSession.Named, strict: Bool, isRetry: Bool = false
        ) -> HostOverride? {
            RequestSession(
                session: StatefulSession(carrier: .header("x-session"), isStrict: strict),
                named: named
            ).override(isRetry: isRetry)
        }
        for strict in [false, true] {
            let first = wish(.endpoint(address), strict: strict)
            #expect(first?.address == address && first?.isStrict == strict)
            #expect(wish(.nothing, strict: strict) == nil)
            // No endpoint can have it, which is for the balancer to say.
            let unknown = wish(.unknown, strict: strict)
            #expect(unknown != nil && unknown?.address == nil && unknown?.isStrict == strict)
            let retry = wish(.endpoint(address), strict: strict, isRetry: true)
            #expect((retry != nil) == strict && retry?.address == (strict ? address : nil))
            #expect((wish(.unknown, strict: strict, isRetry: true) != nil) == strict)
        }
    }

    @Test("A retry of an answer leaves the session's endpoint, too; one that nobody has is nowhere")
    func answers() throws {
        let scene = Scene(7, routes: [.forward(to: "svc", retry: .on(.serverError))])
        let first = scene.ask()
        try #require(scene.server(first.servedBy)).answer = { _ in .reply(503) }
        let second = scene.ask()
        #expect(second.isAnswered() && second.servedBy != first.servedBy && gave(second))
        for strict in [false, true] {
            let other = Scene(8, strict: strict)
            other.cookie = "sid=nobody"
            #expect(other.ask().isAnswered(strict ? 503 : 200) && other.mesh.finish() == [])
        }
        #expect(scene.mesh.finish() == [])
    }

    @Test("A strict session goes to its endpoint or nowhere, retries as well")
    func strict() throws {
        let scene = Scene(4, strict: true)
        let first = scene.ask()
        let home = try #require(scene.server(first.servedBy))
        scene.set(home, .ejected(until: .distantFuture, .outlier("5xx")))
        #expect(scene.ask().isAnswered(503))
        scene.set(home, .healthy)
        #expect(scene.ask().servedBy == home.name)
        home.kill()
        #expect(scene.ask().isAnswered(503))
        home.listen()
        #expect(scene.ask().servedBy == home.name)
        scene.proxy.push {
            $0.clusters[0].endpoints = .of(scene.servers.filter { $0 !== home })
        }
        let lost = scene.ask()
        #expect(lost.isAnswered(503) && lost.text == "no healthy upstream")
        scene.cookie = nil
        #expect(scene.ask().isAnswered())
        #expect(scene.mesh.finish() == [])
    }

    @Test("Routes, virtual hosts and weighted clusters say otherwise, the most specific first")
    func perRoute() {
        var off = Route.forward(to: "svc", prefix: "/off")
        off.session = .off
        var header = Route.forward(to: "svc", prefix: "/header")
        header.session = .on(StatefulSession(carrier: .header("x-session")))
        var part = WeightedCluster(name: "svc")
        part.session = .on(StatefulSession(carrier: .header("x-part")))
        var weighted = Route(
            match: RouteMatch(path: .prefix("/part")),
            action: .forward(ForwardAction(target: .weighted([part]))))
        weighted.session = .off
        let scene = Scene(5, routes: [off, header, weighted, .forward(to: "svc")])
        let client = scene.mesh.client(.http1, scene.proxy)
        func ask(_ path: String, _ headers: [(String, String)] = []) -> Call {
            let call = client.get(path, headers)
            scene.mesh.run()
            return call
        }
        #expect(gave(ask("/")))
        #expect(!gave(ask("/off")))
        for (path, name) in [("/header", "x-session"), ("/part", "x-part")] {
            let first = ask(path)
            let value = first.head?.string(name) ?? ""
            #expect(!gave(first) && !value.isEmpty)
            for _ in 0..<5 {
                let next = ask(path, [(name, value)])
                #expect(next.servedBy == first.servedBy && next.head?.string(name) == nil)
            }
        }
        #expect(scene.mesh.finish() == [])
    }

    @Test("A manager without the filter knows no sessions, whatever its routes say")
    func withoutFilter() {
        let mesh = SimulatedMesh(seed: 6)
        var route = Route.forward(to: "svc")
        route.session = .on(StatefulSession(carrier: .header("x-session")))
        let proxy = mesh.proxy(clusters: [.of("svc", mesh.upstream("a"))], routes: [route])
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.head?.string("x-session") == nil)
        #expect(mesh.finish() == [])
    }
}
