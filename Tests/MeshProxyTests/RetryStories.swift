import HTTPCodec
import MeshBase
import MeshConfig
import MeshSimulation
import Testing

@Suite struct RetryStories {
    @Test("A retry leaves the region that failed")
    func otherDomain() {
        let mesh = SimulatedMesh(seed: 1)
        let a = mesh.upstream("a") { _ in .resetConnection }
        let b = mesh.upstream("b") { _ in .resetConnection }
        let c = mesh.remote("c")
        let proxy = mesh.proxy(clusters: [.of("svc", a, b, c)])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<4).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "c" })
        #expect(a.requests.count + b.requests.count == 4 && c.requests.count == 4)
        #expect(mesh.finish() == [])
    }

    @Test("503 is passed on without a policy, and retried with one")
    func status() {
        for retries in [false, true] {
            let mesh = SimulatedMesh(seed: 2)
            let a = mesh.upstream("a") { $0.number < 1 ? .reply(503, "busy") : .reply(200, "a") }
            let b = mesh.upstream("b") { $0.number < 1 ? .reply(503, "busy") : .reply(200, "b") }
            let c = mesh.upstream("c")
            let policy = retries ? RetryPolicy.on(.serverError, times: 3) : nil
            let proxy = mesh.proxy(
                clusters: [.of("svc", a, b, c)], routes: [.forward(to: "svc", retry: policy)])
            let client = mesh.client(.http2, proxy)
            let calls = (0..<3).map { client.post("/\($0)", bytes: 1000) }
            #expect(mesh.run())
            #expect(calls.filter { $0.isAnswered(503) }.count == (retries ? 0 : 2))
            #expect(calls.filter { $0.isAnswered() }.count == (retries ? 3 : 1))
            #expect(mesh.finish() == [])
        }
    }

    @Test("When the retries are spent the last answer is passed on as it is")
    func retriesSpent() {
        let mesh = SimulatedMesh(seed: 3)
        let servers = ["a", "b", "c", "d"].map { name in
            mesh.upstream(name) { _ in .reply(502, "no").header("x-why", "tired") }
        }
        let proxy = mesh.proxy(
            clusters: [.of("svc", servers)],
            routes: [.forward(to: "svc", retry: .on(.serverError, times: 2))])
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered(502) && call.text == "no" && call.head?.string("x-why") == "tired")
        #expect(servers.map { $0.requests.count }.reduce(0, +) == 3)
        #expect(mesh.finish() == [])
    }

    @Test("A try that takes too long is left for another endpoint")
    func perTry() {
        let mesh = SimulatedMesh(seed: 4)
        let a = mesh.upstream("a", .http2) { _ in .stall }
        let b = mesh.remote("b", .http2)
        let proxy = mesh.proxy(
            clusters: [.of("svc", a, b)],
            routes: [
                .forward(
                    to: "svc", retry: .on(.gatewayError, times: 1, perTry: .milliseconds(200)))
            ])
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "b")
        #expect(call.took >= .milliseconds(200) && call.took < .milliseconds(240))
        mesh.run(for: .milliseconds(5))
        #expect(a.requests.count == 1 && a.requests[0].wasReset)
        #expect(mesh.finish() == [])
    }

    @Test("All tries together keep the deadline")
    func deadline() {
        let mesh = SimulatedMesh(seed: 5)
        let servers = ["a", "b", "c"].map { mesh.upstream($0) { _ in .stall } }
        let proxy = mesh.proxy(
            clusters: [.of("svc", servers)],
            routes: [
                .forward(
                    to: "svc", timeout: .seconds(1),
                    retry: .on(.gatewayError, times: 9, perTry: .milliseconds(400)))
            ])
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered(504))
        #expect(call.took >= .seconds(1) && call.took < .milliseconds(1005))
        #expect(servers.map { $0.requests.count }.reduce(0, +) == 3)
        #expect(mesh.finish() == [])
    }

    @Test("Retries of what may have been processed wait for their place in the budget")
    func budget() {
        let mesh = SimulatedMesh(seed: 6)
        let a = mesh.upstream("a", .http2) { _ in .resetConnection.after(.milliseconds(20)) }
        let b = mesh.remote("b", .http2) { _ in .reply(200).after(.milliseconds(100)) }
        let proxy = mesh.proxy(
            clusters: [
                .of("svc", a, b) {
                    $0.circuitBreakers.retryBudgetPercent = 0
                    $0.circuitBreakers.retryBudgetMinimum = 2
                    $0.circuitBreakers.retryBurst = 0
                }
            ])
        let client = mesh.client(.http2, proxy)
        let calls = (0..<10).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(a.requests.count == 10 && b.requests.count == 10)
        for (earlier, later) in zip(b.requests, b.requests.dropFirst(2)) {
            #expect(later.at - earlier.at >= .milliseconds(100))
        }
        #expect(mesh.finish() == [])
    }

    @Test("What an endpoint says it did not process is repeated, whatever the method")
    func unprocessed() {
        for answer in [Answer.resetStream(.refusedStream), .refuseWithGoAway] {
            let mesh = SimulatedMesh(seed: 7)
            let a = mesh.upstream("a", .http2) { _ in answer }
            let b = mesh.upstream("b", .http2)
            let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
            let client = mesh.client(.http2, proxy)
            let calls = (0..<4).map { _ in client.post("/", bytes: 5000) }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "b" })
            #expect(b.requests.count == 4 && b.requests.allSatisfy { $0.body.isWhole(5000) })
            #expect(mesh.finish() == [])
        }
    }

    @Test("A body within the replay limit is sent again whole; a longer one is not retried")
    func bodyReplay() {
        for (bytes, status) in [(60_000, 200), (200_000, 503)] {
            for speaks in WireProtocol.allCases {
                let mesh = SimulatedMesh(seed: 8)
                let a = mesh.upstream("a", speaks) { _ in .resetConnection }
                let b = mesh.remote("b", speaks)
                let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
                let call = mesh.client(.http1, proxy).send("PUT", bytes: bytes)
                #expect(mesh.run())
                #expect(call.isAnswered(status))
                #expect(a.requests.count == 1 && b.requests.count == (status == 200 ? 1 : 0))
                #expect(b.requests.allSatisfy { $0.body.isWhole(bytes) })
                #expect(mesh.finish() == [])
            }
        }
    }

    @Test("A body of any length is sent elsewhere when no connection could be had")
    func bodyOfUnsentRequest() {
        for wire in WireProtocol.allCases {
            let mesh = SimulatedMesh(seed: 9)
            let a = mesh.upstream("a", .http2)
            mesh.fault(a, .blackHole)
            let b = mesh.remote("b", .http2)
            let proxy = mesh.proxy(
                clusters: [.of("svc", a, b) { $0.connectTimeout = .milliseconds(300) }])
            let call = mesh.client(wire, proxy).post("/", bytes: 3_000_000)
            #expect(mesh.run())
            #expect(call.isAnswered() && b.requests.count == 1)
            #expect(b.requests[0].body.isWhole(3_000_000) && call.took < .milliseconds(700))
            #expect(mesh.finish() == [])
        }
    }

    @Test("All local endpoints refuse: the remote ones answer, no request fails, none waits long")
    func localGone() {
        let mesh = SimulatedMesh(seed: 10)
        let local = ["a", "b", "c"].map { mesh.upstream($0, .http2) }
        let remote = ["d", "e"].map { mesh.remote($0, .http2) }
        let proxy = mesh.proxy(clusters: [.of("svc", local + remote)])
        let client = mesh.client(.http2, proxy)
        var calls: [Call] = []
        for step in 0..<200 {
            if step == 50 { for server in local { server.kill() } }
            calls.append(client.get())
            calls.append(client.post("/", bytes: 100))
            mesh.run(for: .milliseconds(5))
        }
        #expect(mesh.run())
        let failed = calls.filter { !$0.isAnswered() }
        #expect(failed.count <= 1 && failed.allSatisfy { $0.method == "POST" })
        #expect(calls.allSatisfy { $0.took < .milliseconds(20) })
        #expect(calls.last?.servedBy == "d" || calls.last?.servedBy == "e")
        #expect(mesh.finish() == [])
    }

    @Test("Every endpoint gone: 503 at once, and service as soon as one is back and its hold over")
    func allGone() {
        let mesh = SimulatedMesh(seed: 11)
        let servers = ["a", "b"].map { mesh.upstream($0) }
        for server in servers { mesh.fault(server, .refuse) }
        let proxy = mesh.proxy(clusters: [.of("svc", servers)])
        let client = mesh.client(.http1, proxy)
        let first = client.get()
        #expect(mesh.run())
        #expect(first.isAnswered(503) && first.took < .milliseconds(100))
        mesh.fault(servers[0], nil)
        let second = client.get()
        #expect(mesh.run())
        #expect(second.isAnswered() && second.servedBy == "a" && second.took < .milliseconds(100))
        #expect(mesh.finish() == [])
    }

    @Test("A suspect is left alone for its hold, then tried by one request, then trusted again")
    func suspectReturns() {
        let mesh = SimulatedMesh(seed: 12)
        let (a, b) = (mesh.upstream("a"), mesh.upstream("b"))
        mesh.fault(a, .refuse)
        let proxy = mesh.proxy(clusters: [.of("svc", a, b)])
        let client = mesh.client(.http1, proxy)
        func serve(_ count: Int) -> [Call] {
            let calls = (0..<count).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            return calls
        }
        #expect(serve(4).allSatisfy { $0.servedBy == "b" })
        mesh.fault(a, nil)
        #expect(serve(10).allSatisfy { $0.servedBy == "b" })
        mesh.run(for: .milliseconds(1050))
        #expect(serve(1).allSatisfy { $0.servedBy == "a" })
        #expect(serve(10).filter { $0.servedBy == "a" }.count == 5)
        #expect(mesh.finish() == [])
    }

    @Test("With too few healthy endpoints all are used, unless panic is off")
    func panic() {
        for threshold in [50.0, 0] {
            let mesh = SimulatedMesh(seed: 13)
            let servers = ["a", "b", "c", "d"].map { mesh.upstream($0) }
            for server in servers.dropFirst() { server.status = .unhealthy }
            let proxy = mesh.proxy(
                clusters: [.of("svc", servers) { $0.loadBalancing.panicThreshold = threshold }])
            let client = mesh.client(.http1, proxy)
            let calls = (0..<40).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.isAnswered() })
            let counts = servers.map { $0.requests.count }
            #expect(counts == (threshold > 0 ? [10, 10, 10, 10] : [40, 0, 0, 0]))
            #expect(mesh.finish() == [])
        }
    }

    @Test("Endpoints that EDS calls draining get nothing; unhealthy ones leave the load to others")
    func endpointStatus() {
        let mesh = SimulatedMesh(seed: 14)
        let servers = ["a", "b", "c"].map { mesh.upstream($0) }
        servers[0].status = .draining
        servers[1].status = .unhealthy
        let far = mesh.remote("far")
        let proxy = mesh.proxy(clusters: [.of("svc", servers + [far])])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<300).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() })
        #expect(servers[0].requests.isEmpty && servers[1].requests.isEmpty)
        // One of three in priority 0 is healthy: a third times 1.4 is 47 %.
        #expect((120...165).contains(servers[2].requests.count))
        #expect(servers[2].requests.count + far.requests.count == 300)
        #expect(mesh.finish() == [])
    }

    @Test("Deadline 250 ms, tries of 100 ms: the third is given what is left, and all are told so")
    func timeLeft() {
        let mesh = SimulatedMesh(seed: 16)
        let servers = ["a", "b", "c"].map { mesh.upstream($0, .http2) { _ in .stall } }
        var policy = RetryPolicy.on(.gatewayError, times: 5, perTry: .milliseconds(100))
        policy.backoffBase = .milliseconds(1)
        policy.backoffCap = .milliseconds(1)
        let proxy = mesh.proxy(
            clusters: [.of("svc", servers)],
            routes: [.forward(to: "svc", timeout: .milliseconds(250), retry: policy)])
        let call = mesh.client(.http1, proxy).get("/", [("grpc-timeout", "10S")])
        #expect(mesh.run())
        #expect(call.isAnswered(504))
        #expect(call.took >= .milliseconds(250) && call.took < .milliseconds(252))
        let requests = servers.flatMap(\.requests).sorted { $0.at < $1.at }
        let told = requests.compactMap {
            $0.head.string(.envoyExpectedTimeout).flatMap { Int($0) }
        }
        #expect(told.count == 3 && told[0] == 100 && told[1] == 100)
        #expect((45...50).contains(told[2]), "\(told)")
        let grpc = requests.compactMap { $0.head.string(.grpcTimeout)?.dropLast() }
            .compactMap { Int($0) }
        #expect(grpc == grpc.sorted(by: >) && grpc[0] == 100_000 && grpc[2] < 51_000)
        #expect(mesh.finish() == [])
    }

    @Test("A client's own words on retries count when it is internal, and end here in any case")
    func requestHeaders() {
        for (source, expected) in [
            ("10.1.1.1", 200), ("8.8.8.8", 503), ("10.1.1.1, 10.1.1.2", 503),
        ] {
            let mesh = SimulatedMesh(seed: 17)
            let servers = ["a", "b", "c"].map { name in
                mesh.upstream(name) { _ in
                    mesh.servers.reduce(0) { $0 + $1.requests.count } < 3
                        ? .reply(503) : .reply(200)
                }
            }
            let proxy = mesh.proxy(clusters: [.of("svc", servers)])
            let call = mesh.client(.http1, proxy).get(
                "/",
                [
                    ("x-forwarded-for", source), ("x-envoy-retry-on", "5xx"),
                    ("x-envoy-max-retries", "2"), ("x-envoy-upstream-rq-timeout-ms", "3000"),
                ])
            #expect(mesh.run())
            #expect(call.isAnswered(expected), "\(source)")
            let requests = servers.flatMap(\.requests)
            #expect(requests.count == (expected == 200 ? 3 : 1))
            for request in requests {
                #expect(request.head.string(.envoyRetryOn) == nil)
                #expect(request.head.string(.envoyUpstreamTimeout) == nil)
                let told = Int(request.head.string(.envoyExpectedTimeout) ?? "") ?? 0
                #expect(expected == 200 ? told <= 3000 : told > 14_900, "\(told)")
            }
            #expect(mesh.finish() == [])
        }
    }

    @Test("A try that falls silent is left for another endpoint")
    func perTryIdle() {
        let mesh = SimulatedMesh(seed: 18)
        let a = mesh.upstream("a", .http2) { _ in .stall }
        let b = mesh.remote("b", .http2)
        var policy = RetryPolicy.on(.gatewayError, times: 1)
        policy.perTryIdleTimeout = .milliseconds(300)
        let proxy = mesh.proxy(
            clusters: [.of("svc", a, b)], routes: [.forward(to: "svc", retry: policy)])
        let call = mesh.client(.http1, proxy).get()
        #expect(mesh.run())
        #expect(call.isAnswered() && call.servedBy == "b")
        #expect(call.took >= .milliseconds(300) && call.took < .milliseconds(400))
        a.answer = { _ in .bytes(10_000).cut(after: 2000, by: .stall) }
        b.stopListening()
        b.closeAll()
        let cut = mesh.client(.http2, proxy).get()
        #expect(mesh.run())
        #expect(!cut.isComplete && cut.failure != nil && cut.took < .milliseconds(700))
        #expect(mesh.finish() == [])
    }

    @Test("Retries pass by what the policy's predicates omit, while there is anything else")
    func predicates() {
        for omits in [false, true] {
            let mesh = SimulatedMesh(seed: 19)
            let a = mesh.upstream("a") { _ in .reply(503) }
            // Farther away, and so the first choice of a retry without the predicate.
            let canary = mesh.remote("canary")
            let b = mesh.upstream("b", zone: "2", priority: 1)
            var policy = RetryPolicy.on(.serverError, times: 1)
            policy.omitsCanaryHosts = omits
            policy.hostSelectionAttempts = 5
            let proxy = mesh.proxy(
                clusters: [
                    .of("svc", a, canary, b) {
                        for index in $0.endpoints.localities.indices
                        where $0.endpoints.localities[index].locality.region == "west" {
                            $0.endpoints.localities[index].endpoints[0].metadata = Metadata([
                                "envoy.lb": ["canary": .bool(true)]
                            ])
                        }
                    }
                ], routes: [.forward(to: "svc", retry: policy)])
            let client = mesh.client(.http1, proxy)
            let calls = (0..<5).map { _ in client.get() }
            #expect(mesh.run())
            #expect(calls.allSatisfy { $0.servedBy == (omits ? "b" : "canary") })
            #expect(mesh.finish() == [])
        }
    }

    @Test(
        "Previous priorities: so many tries as usual, then the priorities that they went to are left"
    )
    func previousPriorities() {
        let mesh = SimulatedMesh(seed: 20)
        let near = ["a", "b"].map { mesh.upstream($0) { _ in .reply(503) } }
        let far = mesh.remote("far")
        var policy = RetryPolicy.on(.serverError, times: 3)
        policy.previousPrioritiesUpdateFrequency = 2
        policy.hostSelectionAttempts = 5
        let proxy = mesh.proxy(
            clusters: [.of("svc", near + [far])], routes: [.forward(to: "svc", retry: policy)])
        let client = mesh.client(.http1, proxy)
        let calls = (0..<4).map { _ in client.get() }
        #expect(mesh.run())
        #expect(calls.allSatisfy { $0.isAnswered() && $0.servedBy == "far" })
        #expect(near.map { $0.requests.count } == [4, 4] && far.requests.count == 4)
        #expect(mesh.finish() == [])
    }
}
