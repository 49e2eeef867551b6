import EventLoop
import MeshBase
import MeshSimulation
import Observability
import Testing

@testable import MeshProxy

/// An operator beside a proxy, with `meshproxy drill` and the proxy's admin port.
final class DrillDesk {
    private(set) var printed = ""
    private(set) var status: Int32?
    private let admin: AdminServer
    private let loop: any IOLoop
    private var session: DrillSession?

    init(_ mesh: SimulatedMesh, _ proxy: ControlledProxy) throws {
        let control = try #require(proxy.control)
        admin = try AdminServer(
            loop: control.loop, address: proxy.address.with(port: 15000)
        ) { [unowned proxy] request in
            AdminPages(control: proxy.control, registry: MetricsHub(), log: ProxyLog()).answer(
                request)
        }
        loop = mesh.makeHost("operator").makeLoop("operator")
    }

    /// Ten seconds of a drill of "svc", unless it is changed.
    func begin(_ change: (inout DrillOptions) -> Void = { _ in }) {
        var options = DrillOptions(cluster: "svc")
        options.seconds = 10
        change(&options)
        printed = ""
        let session = DrillSession(
            options, admin: admin.address, loop: loop,
            print: { [unowned self] in printed += $0 },
            finished: { [unowned self] in status = $0 })
        self.session = session
        session.start()
    }

    /// The operator's machine is gone, in the middle of it.
    func abandon() { session = nil }

    func close() { admin.close() }
}
