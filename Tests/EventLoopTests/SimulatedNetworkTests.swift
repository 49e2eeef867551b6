import EventLoop
import MeshBase
import MeshSimulation
import Testing

@Suite("The simulated network")
struct SimulatedNetworkTests {
    final class World {
        let network: SimulatedNetwork
        let left: SimulatedHost
        let right: SimulatedHost
        let client: SimulatedLoop
        let server: SimulatedLoop
        let near = Recorder()
        let far = Recorder()
        let address = SocketAddress.ipv4(0x0A00_0002, port: 80)
        var listener: (any StreamListener)?

        init(seed: UInt64, weather: Bool = false) {
            network = SimulatedNetwork(seed: seed)
            if weather { network.conditions = .weather(&network.random) }
            left = network.makeHost("left", addresses: ["10.0.0.1"])
            right = network.makeHost("right", addresses: ["10.0.0.2"])
            client = left.makeLoop("client")
            server = right.makeLoop("server")
            listener = try? server.listen(address, options: ListenOptions(), acceptor: far)
        }

        func connect(_ options: ConnectOptions = ConnectOptions()) {
            near.stream = client.connect(address, options: options, handler: near)
        }

        func talk() {
            far.onBytes = { far in
                far.write(far.bytes)
                far.bytes = []
            }
            connect()
            near.write(Array(repeating: 5, count: 50_000))
            network.run(while: { near.bytes.count < 50_000 }, limit: .seconds(60))
        }
    }

    @Test("The same seed gives the same trace, another seed another")
    func determinism() {
        func digest(_ seed: UInt64) -> UInt64 {
            let world = World(seed: seed, weather: true)
            world.talk()
            return world.network.trace.digest
        }
        #expect(digest(7) == digest(7))
        #expect(digest(7) != digest(8))
    }

    @Test("Everything closed leaves nothing behind")
    func noLeaks() {
        let world = World(seed: 3)
        world.talk()
        world.near.stream?.close()
        world.far.stream?.close()
        #expect(world.network.runUntilIdle())
        #expect(world.network.liveStreams == 0 && world.network.bytesInFlight == 0)
        weak let stream = world.near.stream
        world.near.stream = nil
        #expect(stream == nil)
    }

    @Test(
        "A new connection meets what its address is told to be",
        arguments: [
            (ConnectFault.refuse, TransportFailure.Kind.connectRefused),
            (.unreachable, .unreachable), (.blackHole, .connectTimeout), (.resetAtOnce, .reset),
        ])
    func connectFaults(_ fault: ConnectFault, _ kind: TransportFailure.Kind) {
        let world = World(seed: 1)
        world.network.connectFaults[world.address] = fault
        world.connect()
        world.network.run(for: .seconds(6))
        #expect(world.near.failure?.kind == kind)
        #expect(world.network.liveStreams == 0)
    }

    @Test("A partition holds bytes back, and healing lets them through in order")
    func partition() {
        let world = World(seed: 1, weather: true)
        world.connect()
        world.network.run(for: .seconds(1))
        world.network.partition([world.left], from: [world.right])
        world.near.write("one")
        world.near.write(" two")
        world.near.call { $0.finish() }
        world.network.run(for: .seconds(30))
        #expect(world.far.bytes.isEmpty && world.far.ends == 0)
        world.network.heal()
        world.network.run(for: .seconds(1))
        #expect(world.far.text == "one two" && world.far.ends == 1)
    }

    @Test("The user time-out ends a connection whose bytes are lost")
    func userTimeout() {
        let world = World(seed: 1)
        var options = ConnectOptions()
        options.userTimeout = .seconds(3)
        world.connect(options)
        world.network.run(for: .seconds(1))
        world.network.between([world.left], [world.right]) { $0.carriage = .losing }
        world.near.write("into the void")
        world.network.run(for: .seconds(5))
        #expect(world.near.failure?.kind == .reset)
    }

    @Test("A killed process ends its connections; a host without power says nothing")
    func dying() {
        for kernelAlive in [true, false] {
            let world = World(seed: 1)
            world.connect()
            world.network.run(for: .seconds(1))
            world.right.die(kernelAlive: kernelAlive)
            world.network.run(for: .seconds(1))
            #expect(world.near.ends == (kernelAlive ? 1 : 0))
            world.near.stream?.abort()
            world.connect()
            world.network.run(for: .seconds(10))
            #expect(world.near.failure?.kind == (kernelAlive ? .connectRefused : .connectTimeout))
        }
    }

    @Test("Posts arrive on the loop in order, and names as the table has them")
    func postsAndNames() {
        let world = World(seed: 1)
        var got: [Int] = []
        let post = world.server.outlet { got.append($0) }
        for number in 0..<50 { post(number) }
        world.network.names["db"] = [world.address.with(port: 0)]
        var answers: [[SocketAddress]] = []
        world.client.resolve("db") { answers.append($0) }
        world.client.resolve("nowhere") { answers.append($0) }
        #expect(got.isEmpty && answers.isEmpty)
        world.network.run(for: .seconds(1))
        #expect(got == Array(0..<50))
        #expect(answers == [[world.address.with(port: 0)], []])
    }
}
