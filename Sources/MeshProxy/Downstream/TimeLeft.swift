import MeshBase

/// What an endpoint is told of the time that is left: `x-envoy-expected-rq-timeout-ms`, and a
/// `grpc-timeout` that the request came with, shortened by what has passed.
enum TimeLeft {
    /// - Parameters:
    ///   - whole: left until the exchange must be over; `nil`: for ever.
    ///   - perTry: what one attempt may take.
    ///   - elapsed: since the request came.
    static func write(
        to head: inout MessageHead, whole: Duration?, perTry: Duration?, elapsed: Duration,
        writesExpected: Bool
    ) {
        var left = whole
        if let perTry { left = min(perTry, left ?? perTry) }
        if let left, writesExpected {
            // Zero would mean for ever.
            ResponseHeaders.withDecimal(max(1, left.milliseconds)) {
                head.set(.envoyExpectedTimeout, $0)
            }
        }
        guard head.contains(.grpcTimeout),
            let asked = head.withValue(.grpcTimeout, { RequestHeaders.grpcTimeout($0) }) ?? nil
        else { return }
        let rest = min(asked - elapsed, left ?? asked)
        if asked - rest >= .milliseconds(1) { head.set(.grpcTimeout, text(rest)) }
    }

    /// At most eight digits, in the finest unit in which they do.
    static func text(_ timeout: Duration) -> String {
        let nanoseconds = max(1, timeout.nanoseconds)
        for (unit, size) in [("u", Int64(1000)), ("m", 1_000_000), ("S", 1_000_000_000)]
        where nanoseconds / size < 100_000_000 {
            return "\(max(1, nanoseconds / size))\(unit)"
        }
        return "\(nanoseconds / 3_600_000_000_000)H"
    }
}
