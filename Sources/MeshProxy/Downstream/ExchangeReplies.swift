import EventLoop
import HTTPCodec
import MeshBase
import MeshConfig
import Observability

/// Replies of our own: errors, direct responses and redirects.
extension Exchange {
    func reply(_ error: ErrorReply) {
        guard let downstream, !isFinished else { return }
        log.flags.formUnion(error.flags)
        log.details = error.details
        log.status = error.status
        var head = error.head(for: request)
        if case .overflow = error, !downstream.manager.config.suppressEnvoyHeaders {
            head.append("x-envoy-overloaded", "true")
        }
        ResponseHeaders.finish(
            &head, manager: downstream.manager, serviceTime: nil, date: worker.date)
        send(head, error.body(for: request), to: downstream)
    }

    /// Neither side has given a sign of life for too long.
    func idled() {
        log.flags.insert(.streamIdleTimeout)
        log.details = "stream_idle_timeout"
        dropAttempt()
        if responseHasBegun {
            downstream?.reset(id, .cancel)
            finish()
        } else {
            reply(requestIsComplete ? .timeout : .requestTimeout)
        }
    }

    func respondDirectly(_ response: DirectResponse) {
        guard let downstream else { return }
        log.status = response.status
        log.details = "direct_response"
        var head = MessageHead(status: response.status)
        if !response.body.isEmpty { head.append(.contentType, "text/plain") }
        ResponseHeaders.finish(
            &head, manager: downstream.manager, serviceTime: nil, date: worker.date)
        applyResponseChanges(&head)
        send(head, response.body, to: downstream)
    }

    func redirect(to location: String, status: Int) {
        guard let downstream else { return }
        log.status = status
        log.details = "direct_response"
        var head = MessageHead(status: status)
        head.append(.location, location)
        ResponseHeaders.finish(
            &head, manager: downstream.manager, serviceTime: nil, date: worker.date)
        applyResponseChanges(&head)
        send(head, [], to: downstream)
    }

    private func send(_ head: MessageHead, _ body: [UInt8], to downstream: DownstreamConnection) {
        var head = head
        let bodiless = head.status == 204 || head.status == 304
        if !bodiless { head.set(.contentLength, "\(body.count)") }
        let hasBody = !body.isEmpty && !bodiless && !request.value(.method, equals: "HEAD")
        responseHasBegun = true
        responseIsComplete = true
        downstream.send(head, on: id, endStream: !hasBody)
        if hasBody {
            log.bytesSent += body.count
            _ = downstream.sendBody(body.span, on: id, endStream: true)
        }
        if !requestIsComplete { downstream.reset(id, .noError) }
        finish()
    }
}
