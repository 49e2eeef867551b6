import EventLoop
import HTTPCodec
import LoadBalancer
import MeshBase
import MeshConfig

/// A plan that a request asks for. It is large and rare, so it lies apart: to see that there is none costs a
/// word, not a copy.
final class RequestWishes {
    let plan: RetryPlan

    init(_ plan: RetryPlan) {
        self.plan = plan
    }
}

/// Where an exchange goes, how it may be tried again and how long it may take: what its route says, or
/// its request.
extension Exchange {
    /// Reads what a trusted client asks for with x-envoy headers.
    func takeWishes() {
        let takesExpected = downstream?.manager.config.respectsExpectedTimeout ?? false
        guard request.containsAny(of: RetryPlan.asking) || takesExpected else { return }
        var plan = RetryPlan(forward)
        plan.take(from: &request, takesExpected: takesExpected)
        asked = RequestWishes(plan)
    }

    /// Chooses the endpoint for an attempt, and takes a place there.
    func chooseHost(in cluster: UpstreamCluster) -> UpstreamCluster.Choice {
        let override = session?.override(isRetry: !attempted.isEmpty)
        let request = PickContext(
            now: worker.loop.now, key: hashKey, attempted: attempted, override: override,
            subset: forward?.subset(for: choice), place: .init(.requests, places.priority))
        let choice =
            attempted.isEmpty || override != nil
            ? cluster.pick(request, holding: &places.heldMember)
            : cluster.pickAgain(request, forward?.retryPolicy, holding: &places.heldMember)
        if places.member != nil { settle(on: choice) }
        return choice
    }

    var retryPlan: RetryPlan { asked?.plan ?? RetryPlan(forward) }

    var retryState: RetryState {
        retry ?? RetryState(plan: retryPlan, head: request, deadline: times.end)
    }

    /// From the end of the request to the end of the response; zero is for ever.
    var timeLimit: Duration {
        guard let forward else { return .zero }
        if let limit = asked?.plan.timeout { return limit }
        if let cap = forward.action.maxGRPCTimeout,
            let asked = request.withValue(.grpcTimeout, { RequestHeaders.grpcTimeout($0) }) ?? nil
        {
            return cap == .zero ? asked : min(asked, cap)
        }
        return forward.action.timeout
    }

    var perTryTimeout: Duration? {
        asked.map(\.plan.perTryTimeout) ?? forward?.perTryTimeout
    }
}
