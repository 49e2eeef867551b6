import EventLoop
import HTTPCodec
import HealthProbe
import MeshBase

/// What is open about a gRPC response between its head and its end: how it went is said by its trailers,
/// unless there is nothing but a head.
struct GRPCResponse {
    /// Outlier detection waits for the status.
    var awaitsStatus = false
    /// The head of a response that its policy might rather see retried. The client waits for it no longer
    /// than for what has come together with it.
    var heldHead: MessageHead?
}

extension Exchange {
    /// Says how the endpoint answered, or that this is still to come.
    func judge(_ head: borrowing MessageHead, endStream: Bool) {
        guard let cluster, let host else { return }
        grpc.awaitsStatus = !endStream && head.hasGRPCStatusToCome
        cluster.answered(
            host, head, took: worker.loop.now - attemptBegan, isLast: !grpc.awaitsStatus)
    }

    /// A response that was to say it with trailers ended without.
    func judgeWithoutStatus() {
        if let host { cluster?.observed(host, .status(200)) }
    }

    /// Keeps a head from the client while the status may come that leads to another attempt.
    /// - Returns: whether it does.
    func holds(_ head: MessageHead) -> Bool {
        guard head.hasGRPCStatusToCome, retryPlan.namesGRPC else { return false }
        grpc.heldHead = head
        let life = life
        worker.loop.atTurnEnd(
            Deferred { [weak self] in
                if let self, self.life == life { passHeldHead() }
            })
        return true
    }

    /// An empty part says nothing yet; anything else lets the head go.
    func keepsHolding(_ bytes: UnsafeBufferPointer<UInt8>, endStream: Bool) -> Bool {
        if grpc.heldHead == nil { return false }
        if bytes.isEmpty, !endStream { return true }
        passHeldHead()
        return false
    }

    private func passHeldHead() {
        guard let head = grpc.heldHead else { return }
        grpc.heldHead = nil
        pass(head, endStream: false)
    }

    /// Judges by a status in trailers, and tries again where that is possible yet.
    /// - Returns: whether it does, so that these trailers are nobody's.
    func takesStatus(from trailers: MessageHead) -> Bool {
        if grpc.awaitsStatus, let host {
            grpc.awaitsStatus = false
            cluster?.observed(host, .answered(trailers))
        }
        guard var answer = grpc.heldHead else { return false }
        if let status = trailers.string(.grpcStatus) { answer.set(.grpcStatus, status) }
        if tryAgain(after: answer, endStream: true) { return true }
        passHeldHead()
        return false
    }
}

extension MessageHead {
    /// Whether this is the head of a gRPC response that says with its trailers how it went.
    var hasGRPCStatusToCome: Bool { status == 200 && isGRPC && !contains(.grpcStatus) }

    var isGRPC: Bool {
        withValue(.contentType) { value in
            value.count >= 16 && value.prefix(16).elementsEqual("application/grpc".utf8)
        } ?? false
    }
}
