import LoadBalancer
import MeshBase
import MeshConfig
import Testing

@Suite struct SilenceWatchTests {
    private let east = Locality(region: "east", zone: "1")
    private let west = Locality(region: "west", zone: "1")

    /// What it said to hops that fell silent one after the other.
    private func asks(_ hops: [(port: UInt16, locality: Locality, milliseconds: Int)]) -> [Bool] {
        var watch = SilenceWatch()
        return hops.map { hop in
            let now = Instant.zero + .milliseconds(hop.milliseconds)
            watch.prune(now: now)
            return watch.fellSilent(.loopback(port: hop.port), in: hop.locality, now: now)
        }
    }

    @Test("The second hop of a locality is the sign, the same hop twice is not")
    func second() {
        #expect(
            asks([(1, east, 0), (1, east, 100), (2, west, 200), (2, east, 300)])
                == [false, false, false, true])
    }

    @Test("More of the same is no news for a second")
    func pause() {
        #expect(
            asks([(1, east, 0), (2, east, 0), (3, east, 999), (4, east, 1000)])
                == [false, true, false, true])
    }

    @Test("Ten seconds apart two hops have nothing to do with each other")
    func window() {
        #expect(
            asks([(1, east, 0), (2, east, 10_000), (1, east, 19_999)]) == [false, false, true])
        // Whether or not somebody has tidied up.
        var watch = SilenceWatch()
        let answers = [0, 10_000, 19_999].enumerated().map { index, milliseconds in
            watch.fellSilent(
                .loopback(port: 1 + UInt16(index % 2)), in: east,
                now: Instant.zero + .milliseconds(milliseconds))
        }
        #expect(answers == [false, false, true])
    }

    @Test("Refusals and resets are no silence")
    func kinds() {
        #expect(TransportFailure.Kind.connectTimeout.isSilence)
        #expect(TransportFailure.Kind.pingTimeout.isSilence)
        #expect(TransportFailure.Kind.pingLate.isSilence)
        #expect(!TransportFailure.Kind.connectRefused.isSilence)
        #expect(!TransportFailure.Kind.reset.isSilence)
        #expect(!TransportFailure.Kind.connectLate.isSilence)
    }
}
