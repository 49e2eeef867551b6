import EventLoop
import LoadBalancer
import MeshBase
import MeshConfig
import Observability

/// What an exchange writes into heads and into its log record.
extension Exchange {
    /// The head as it goes to this endpoint.
    func finishHead(_ head: inout MessageHead, _ host: Host) {
        guard let route else { return }
        route.rewriteHost(of: &head, endpointHostname: host.hostname)
        if !route.requestChanges.isEmpty || choice?.isWeighted == true {
            route.applyRequestChanges(to: &head, choice: choice, values: formatValues(host))
        }
        if virtualHost?.configuration.includeAttemptCount == true {
            head.set(.envoyAttemptCount, "\(log.attemptCount)")
        }
        let now = worker.loop.now
        let limit = timeLimit
        TimeLeft.write(
            to: &head,
            whole: limit == .zero ? nil : times.end == .distantFuture ? limit : times.end - now,
            perTry: perTryTimeout, elapsed: now - began,
            writesExpected: downstream?.manager.config.suppressEnvoyHeaders == false)
    }

    func applyResponseChanges(_ head: inout MessageHead) {
        guard let route else { return }
        if route.responseChanges.isEmpty, choice?.isWeighted != true { return }
        route.applyResponseChanges(
            to: &head, request: request, choice: choice, values: formatValues(host))
    }

    private func formatValues(_ host: Host?) -> HeaderFormatValues {
        HeaderFormatValues(
            downstreamRemoteAddress: downstream?.remoteAddress,
            downstreamPeerURISAN: downstream?.tls?.uri ?? "",
            requestedServerName: downstream?.tls?.serverName ?? "",
            upstreamHost: host?.address, startTime: worker.loop.wallClock,
            httpVersion: request.httpVersion)
    }

    /// Fills in what only the end of an exchange knows.
    func complete(_ record: inout AccessLogRecord, on connection: DownstreamConnection) {
        record.duration = worker.loop.now - began
        record.startTime = worker.loop.wallClock - record.duration
        record.request = request
        record.httpVersion = request.httpVersion
        record.routeName = route?.configuration.name ?? ""
        record.upstreamCluster = cluster?.name ?? ""
        record.describe(connection)
        if record.details.isEmpty, responseHasBegun { record.details = "via_upstream" }
    }

    func noteAttempt(_ failure: String?) {
        guard let picked, downstream?.manager.wantsLog == true else { return }
        let host = picked.host
        log.attempts.append(
            .init(
                locality: host.locality.region, address: host.address, decision: picked.decision,
                reason: failure, took: worker.loop.now - attemptBegan))
    }
}

extension ClusterChoice {
    fileprivate var isWeighted: Bool {
        if case .weighted = self { return true }
        return false
    }
}
