import MeshBase
import Testing

@testable import Observability

struct ResponseFlagsTests {
    private func text(_ flags: ResponseFlags) -> String {
        var buffer = ByteBuffer()
        flags.write(to: &buffer)
        return buffer.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test("Flags are printed in Envoy's order, with commas")
    func order() {
        #expect(text([]) == "-")
        #expect(text([.noClusterFound, .noHealthyUpstream, .streamIdleTimeout]) == "UH,SI,NC")
    }

    @Test("Each flag has its own word")
    func words() {
        let words = (0..<17).map { text(ResponseFlags(rawValue: 1 << $0)) }
        #expect(
            words == [
                "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DC", "URX", "SI", "DPE", "DT",
                "UPE", "NC", "OM", "DF",
            ])
        #expect(text(.upstreamRequestTimeout) == "UT" && text(.noRouteFound) == "NR")
        #expect(text(.downstreamConnectionTermination) == "DC")
        #expect(text(.upstreamRetryLimitExceeded) == "URX")
        #expect(text(.dnsResolutionFailed) == "DF")
    }
}
