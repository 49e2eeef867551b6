import EventLoop
import MeshBase
import MeshSimulation
import Testing

@testable import MeshProxy

/// A client that sends some bytes and keeps what comes.
private final class RawClient: ByteStreamHandler {
    var stream: (any ByteStream)?
    var received = ""
    var isClosed = false
    private let request: String

    init(_ request: String) {
        self.request = request
    }

    func streamConnected() { stream?.write(Array(request.utf8).span) }
    func streamReceived(_ bytes: Span<UInt8>) {
        for index in bytes.indices { received.unicodeScalars.append(Unicode.Scalar(bytes[index])) }
    }
    func streamReceivedEnd() {}
    func streamDrained() {}
    func streamClosed(_ failure: TransportFailure) { isClosed = true }
}

@Suite struct AdminServerTests {
    /// What a client hears that sends `request` to a server that answers with the path.
    private func answer(_ request: String) throws -> String {
        let network = SimulatedNetwork(seed: 1)
        let loop = network.makeLoop("proxy", addresses: ["10.0.0.1"])
        let server = try AdminServer(loop: loop, address: .ipv4(0x0A00_0001, port: 15000)) {
            AdminServer.Reply("\($0.method) \($0.path)\n")
        }
        let client = RawClient(request)
        let other = network.makeLoop("client", addresses: ["10.0.0.2"])
        client.stream = other.connect(
            server.address, options: ConnectOptions(), handler: client)
        network.run(for: .seconds(1))
        server.close()
        client.stream?.close()
        return client.received
    }

    @Test("Requests on one connection are answered in turn, and it rests between them")
    func keepAlive() throws {
        let one = "GET //stats HTTP/1.1\r\nhost: localhost\r\n\r\n"
        let two = "POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi"
        let text = try answer(one + two)
        #expect(text.contains("GET /stats\n") && text.hasSuffix("POST /x\n"))
    }

    @Test("HEAD is told the length and gets no body")
    func head() throws {
        let text = try answer("HEAD /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        #expect(text.contains("content-length: 12\r\n") && text.hasSuffix("\r\n\r\n"))
    }

    @Test("A name that could be rebound to this address is refused")
    func hostName() throws {
        #expect(
            try answer("GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n").hasPrefix("HTTP/1.1 403"))
    }
}
