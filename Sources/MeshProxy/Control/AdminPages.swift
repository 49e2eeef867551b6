struct AdminPages {
    let control: ControlLoop
    let registry: MetricsHub
    let loaded: LoadedBootstrap
    let log: ProxyLog

    func answer(_ request: AdminServer.Request) -> AdminServer.Reply {
        AdminServer.Reply("not found\n", status: 404)
    }
}
