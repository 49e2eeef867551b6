import EventLoop
import MeshBase
import MeshSimulation
import Testing

/// What every `ByteStream` promises, told on real sockets and under simulated weather.
@Suite("The contract of a byte stream", .serialized)
struct ByteStreamContractTests {
    static let seeds: [UInt64?] = [nil] + (1...20).map { $0 }

    static func fixture(_ seed: UInt64?) -> any StreamFixture {
        if let seed { SimulatedFixture(seed: seed) } else { RealFixture() }
    }

    /// A client and a server that are connected.
    struct Pair {
        let fixture: any StreamFixture
        let client = Recorder()
        let server = Recorder()
        let listener: any StreamListener

        init(_ seed: UInt64?) throws {
            fixture = ByteStreamContractTests.fixture(seed)
            listener = try fixture.loop.listen(
                fixture.anyPort, options: ListenOptions(), acceptor: server)
            client.stream = fixture.loop.connect(
                listener.address, options: ConnectOptions(), handler: client)
            let (client, server) = (client, server)
            try #require(fixture.run { client.connected == 0 || server.stream == nil })
        }

        func run(while condition: () -> Bool) -> Bool { fixture.run(while: condition) }

        func end() {
            listener.close()
            client.stream?.abort()
            server.stream?.abort()
            #expect(!client.heardInsideACall && !server.heardInsideACall)
        }
    }

    static let large = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }

    @Test("An echo goes on after the client has ended its direction", arguments: seeds)
    func halfClose(_ seed: UInt64?) throws {
        let pair = try Pair(seed)
        pair.server.onEnd = { server in
            let heard = server.bytes
            server.write(heard)
            server.call { $0.finish() }
        }
        pair.client.write("hello")
        pair.client.call { $0.finish() }
        #expect(pair.run { pair.client.ends == 0 })
        #expect(pair.client.text == "hello" && pair.server.ends == 1)
        #expect(pair.client.closes == 0 && pair.server.closes == 0)
        pair.end()
    }

    @Test("A large transfer waits for its reader, drains and arrives whole", arguments: seeds)
    func backPressure(_ seed: UInt64?) throws {
        let pair = try Pair(seed)
        // More than any kernel holds by itself.
        let rounds = 6
        pair.server.call { $0.pauseReading(.backPressure) }
        for _ in 0..<rounds { pair.client.write(Self.large) }
        #expect((pair.client.stream?.queuedBytes ?? 0) > 256 * 1024)
        let paused = pair.server.bytes.count
        pair.server.call { $0.pauseReading(.inner) }
        pair.server.call { $0.resumeReading(.backPressure) }
        #expect(pair.server.bytes.count == paused)
        pair.server.call { $0.resumeReading(.inner) }
        pair.client.call { $0.finish() }
        #expect(pair.run { pair.server.ends == 0 })
        #expect(pair.client.drained == 1 && pair.client.stream?.queuedBytes == 0)
        #expect(pair.server.bytes.count == rounds * Self.large.count)
        #expect(pair.server.bytes.suffix(Self.large.count) == Self.large[...])
        pair.end()
    }

    @Test("A refused connect is told once, and later", arguments: seeds)
    func refused(_ seed: UInt64?) throws {
        let fixture = Self.fixture(seed)
        let client = Recorder()
        client.isInCall = true
        client.stream = fixture.loop.connect(
            fixture.unused, options: ConnectOptions(), handler: client)
        client.isInCall = false
        #expect(fixture.run { client.closes == 0 })
        #expect(client.failure?.kind == .connectRefused && client.connected == 0)
        #expect(client.failure?.detail.contains("ECONNREFUSED") == true)
        #expect(!client.heardInsideACall)
    }

    @Test("Close delivers the last bytes although input is unread", arguments: seeds)
    func closeDelivers(_ seed: UInt64?) throws {
        let pair = try Pair(seed)
        pair.server.call { $0.pauseReading(.notReady) }
        // In bad weather only as much as leaves within the time that closing may take.
        let reply = seed == nil ? Self.large : Array(Self.large.prefix(100_000))
        pair.client.write(Array(repeating: 7, count: 20_000))
        pair.server.write(reply)
        pair.server.call { $0.close() }
        #expect(pair.run { pair.client.ends == 0 && pair.client.closes == 0 })
        #expect(pair.client.bytes == reply && pair.client.failure == nil)
        #expect(pair.server.closes == 0)
        pair.end()
    }

    @Test("An abort arrives as a reset", arguments: seeds)
    func abort(_ seed: UInt64?) throws {
        let pair = try Pair(seed)
        pair.server.call { $0.abort() }
        #expect(pair.run { pair.client.closes == 0 })
        #expect(pair.client.failure?.kind == .reset && pair.client.ends == 0)
        #expect(pair.server.closes == 0)
        pair.end()
    }

    @Test("A reset is noticed while paused when writing", arguments: seeds)
    func resetWhilePaused(_ seed: UInt64?) throws {
        let pair = try Pair(seed)
        pair.client.call { $0.pauseReading(.backPressure) }
        pair.server.call { $0.abort() }
        var tries = 0
        let noticed = pair.run {
            tries += 1
            pair.client.write("x")
            return pair.client.closes == 0
        }
        #expect(noticed && pair.client.failure?.kind == .reset)
        pair.end()
    }

    @Test("What was answered before a reset is heard before it", arguments: seeds)
    func earlyAnswer(_ seed: UInt64?) throws {
        let pair = try Pair(seed)
        pair.client.call { $0.pauseReading(.notReady) }
        pair.server.write("413")
        pair.server.call { $0.finish() }
        pair.client.call { $0.resumeReading(.notReady) }
        #expect(pair.run { pair.client.ends == 0 })
        #expect(pair.client.text == "413")
        pair.end()
    }

    @Test("A literal address is answered without asking anybody, later", arguments: seeds)
    func literal(_ seed: UInt64?) {
        let fixture = Self.fixture(seed)
        var answer: [SocketAddress]?
        fixture.loop.resolve("::1") { answer = $0 }
        #expect(answer == nil)
        #expect(fixture.run { answer == nil })
        #expect(answer == [.ipv6(0, 1, port: 0)])
    }
}
