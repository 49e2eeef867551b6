import LoadBalancer
import MeshBase
import MeshConfig
import Testing

@Suite struct HealthModelTests {
    private let host = SocketAddress.loopback(port: 1)
    private let gateway = SocketAddress.loopback(port: 2)

    private func at(_ milliseconds: Int) -> Instant { .zero + .milliseconds(milliseconds) }

    @Test("Three refusals eject the path, and a connect after the hold returns it")
    func direct() {
        var model = HealthModel()
        let refused = TransportFailure(.connectRefused)
        var changes: [HealthModel.Change] = []
        for _ in 0..<3 {
            changes += model.failed(cluster: "c", host, gateway: nil, refused, now: at(0))
            model.checkInvariants()
        }
        #expect(changes == [.path(host, usable: false)])
        #expect(
            model.describe(.path(host), now: at(100))
                == "ejected: connect-refused ×3, probe in 0.9 s")
        #expect(model.nextDeadline == at(1000))
        let due = model.deadlineReached(at: at(1000))
        #expect(due.0 == [.wantsProbe(.path(host), host)] && model.nextDeadline == nil)
        #expect(
            model.connectProbed(.path(host), failure: .connectRefused, now: at(1000))
                == [.path(host, usable: false)])
        #expect(model.nextDeadline == at(3000))
        _ = model.deadlineReached(at: at(3000))
        #expect(
            model.connectProbed(.path(host), failure: nil, now: at(3000))
                == [.path(host, usable: true)])
        model.checkInvariants()
        #expect(model.phase(of: .path(host)) == .well)
    }

    @Test("A PING that is late makes suspect, its answer ends that, and its time-out ejects anew")
    func pingLate() {
        var model = HealthModel()
        let late = TransportFailure(.pingLate)
        for _ in 0..<5 {
            #expect(model.failed(cluster: "c", host, gateway: nil, late, now: at(0)) == [])
        }
        #expect(
            model.describe(.path(host), now: at(0)) == "suspect: ping-late ×1, probe in 1.0 s")
        #expect(model.answered(path: host) == [] && model.isEmpty == false)
        #expect(model.phase(of: .path(host)) == .well)
        _ = model.failed(cluster: "c", host, gateway: nil, late, now: at(100))
        let dead = TransportFailure(.pingTimeout)
        #expect(
            model.failed(cluster: "c", host, gateway: nil, dead, now: at(600))
                == [.path(host, usable: false)])
        #expect(
            model.describe(.path(host), now: at(600)) == "ejected: ping-timeout ×1, probe in 1.0 s")
        // What is out for a better reason is not excused by an answer.
        #expect(model.answered(path: host) == [])
        _ = model.failed(cluster: "c", host, gateway: nil, late, now: at(700))
        #expect(model.phase(of: .path(host)) == .ejected)
        model.checkInvariants()
    }

    @Test("A dead gateway is one event and says nothing on endpoints")
    func oneEvent() {
        var model = HealthModel()
        let dead = TransportFailure(.pingTimeout, layer: .path)
        let first = model.failed(cluster: "a", host, gateway: gateway, dead, now: at(0))
        let second = model.failed(cluster: "b", host, gateway: gateway, dead, now: at(1))
        #expect(first == [.path(gateway, usable: false)] && second.isEmpty)
        #expect(model.phase(of: .endpoint(cluster: "a", host)) == .well)
    }

    @Test(
        "An endpoint behind a gateway is returned for a trial, and a failure then doubles its hold")
    func trial() {
        var model = HealthModel()
        let reset = TransportFailure(.reset)
        for _ in 0..<3 {
            _ = model.failed(cluster: "c", host, gateway: gateway, reset, now: at(0))
        }
        let due = model.deadlineReached(at: at(1000))
        #expect(due.0.isEmpty && due.1 == [.endpoint(cluster: "c", host, .healthy)])
        let again = model.failed(cluster: "c", host, gateway: gateway, reset, now: at(1000))
        #expect(
            again == [.endpoint(cluster: "c", host, .ejected(until: at(3000), .transport(.reset)))])
        #expect(
            model.succeeded(cluster: "c", host, gateway: gateway)
                == [.endpoint(cluster: "c", host, .healthy)])
        model.checkInvariants()
    }

    @Test("A success between failures starts the count anew")
    func success() {
        var model = HealthModel()
        let reset = TransportFailure(.reset)
        var changes: [HealthModel.Change] = []
        for _ in 0..<4 {
            changes += model.failed(cluster: "c", host, gateway: nil, reset, now: at(0))
            changes += model.failed(cluster: "c", host, gateway: nil, reset, now: at(0))
            changes += model.succeeded(cluster: "c", host, gateway: nil)
        }
        #expect(changes.isEmpty)
    }

    @Test("Health checks and outlier detection object on their own")
    func beside() {
        var model = HealthModel()
        #expect(
            model.probesTurned(cluster: "c", host, .failed)
                == [.endpoint(cluster: "c", host, .failedProbe)])
        #expect(
            model.outlierTurned(cluster: "c", host, ejectedUntil: at(5), reason: "5xx").isEmpty)
        #expect(
            model.probesTurned(cluster: "c", host, .passed)
                == [.endpoint(cluster: "c", host, .ejected(until: at(5), .outlier("5xx")))])
        // Being degraded is the least that is said of it.
        #expect(model.probesTurned(cluster: "c", host, .degraded).isEmpty)
        #expect(
            model.outlierTurned(cluster: "c", host, ejectedUntil: nil, reason: "")
                == [.endpoint(cluster: "c", host, .degraded)])
        #expect(
            model.probesTurned(cluster: "c", host, .excluded)
                == [.endpoint(cluster: "c", host, .excluded)])
    }
}
