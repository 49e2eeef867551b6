import EventLoop
import MeshBase
import MeshConfig

/// `/drill` and `/drill/stop`: a fault on one cluster for a time, and what came of it.
extension AdminPages {
    func drill(_ request: AdminServer.Request) throws(AdminQueryError) -> AdminServer.Reply {
        let now = control.loop.now
        if request.method != "POST" {
            guard let watch = control.drill else {
                return AdminServer.Reply("there was no drill\n")
            }
            return AdminServer.Reply(watch.status(at: now).text)
        }
        if let refusal = refusalOfChanges() { return refusal }
        let cluster = request.value("cluster") ?? ""
        let clusters = control.published.clusters
        guard let config = clusters.first(where: { $0.name == cluster }) else {
            throw AdminQueryError(key: "cluster", expected: "a cluster's name", given: cluster)
        }
        if config.members != nil {
            let members = config.leaves { name in clusters.first { $0.name == name } }.map(\.name)
            throw AdminQueryError(
                key: "cluster",
                expected: members.isEmpty
                    ? "a cluster with endpoints of its own"
                    : "a member of the aggregate, " + members.joined(separator: " or "),
                given: cluster)
        }
        let words = Drill.Fault.allCases.map(\.rawValue)
        let fault = Drill.Fault(rawValue: try request.choice("fault", words)) ?? .refuse
        let percent = try request.whole("percent", 1...100, otherwise: 100)
        let limit = Int(Drill.longest.milliseconds / 1000)
        let seconds = try request.whole("seconds", 1...limit, otherwise: 30)
        let delay = try request.whole("delay_ms", 1...60_000, otherwise: 1000)
        let errors = try request.whole("abort_at_errors", 0...100, otherwise: 5)
        if let running = control.drill, running.phase(at: now) != .over {
            return AdminServer.Reply(
                "drill \(running.drill.number) of \(running.drill.cluster) is not over yet\n",
                status: 409)
        }
        control.begin(
            Drill(
                number: (control.drill?.drill.number ?? 0) + 1, cluster: cluster, fault: fault,
                plane: fault.isOfControlPlane ? try controlPlane(of: request, cluster) : "",
                percent: percent, delay: .milliseconds(delay), abortAtErrors: errors, began: now,
                ends: now + .seconds(seconds)))
        return AdminServer.Reply(control.drill?.status(at: now).text ?? "")
    }

    /// The control plane that a fault is to be put on: the one that is asked for, else the one in force.
    private func controlPlane(
        of request: AdminServer.Request, _ cluster: String
    ) throws(AdminQueryError) -> String {
        let planes = control.controlPlanes
        let given = request.value("control_plane")
        guard
            let plane = planes.first(where: { given == nil ? $0.isInForce : $0.name == given })
        else {
            let names = planes.map(\.name).joined(separator: " or ")
            throw AdminQueryError(
                key: "control_plane",
                expected: names.isEmpty ? "a bootstrap with ads_config" : names, given: given ?? "")
        }
        let isStatic = control.bootstrap.staticResources.clusters.contains { $0.name == cluster }
        if isStatic, request.value("fault") == Drill.Fault.planeWrong.rawValue {
            throw AdminQueryError(
                key: "cluster", expected: "a cluster that a control plane gives", given: cluster)
        }
        return plane.name
    }

    func stopDrill() -> AdminServer.Reply {
        if let refusal = refusalOfChanges() { return refusal }
        let now = control.loop.now
        guard control.drill?.isRunning(at: now) == true else {
            return AdminServer.Reply("no drill is running\n", status: 404)
        }
        control.stopDrill("stopped by hand")
        return AdminServer.Reply(control.drill?.status(at: now).text ?? "")
    }
}
