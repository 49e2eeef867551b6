import MeshBase
import MeshConfig
import Testing
import XDSClient

@Suite struct AggregateDecoderTests {
    private let type = "x/envoy.extensions.clusters.aggregate.v3.ClusterConfig"

    private func aggregate(_ name: String, _ members: String..., more: String = "") -> String {
        """
        - {"@type": x/envoy.config.cluster.v3.Cluster, name: \(name), lb_policy: CLUSTER_PROVIDED,
           cluster_type: {name: envoy.clusters.aggregate, typed_config: {"@type": \(type),
           clusters: [\(members.joined(separator: ", "))]}}\(more)}

        """
    }

    private func plain(_ name: String) -> String {
        """
        - {"@type": x/envoy.config.cluster.v3.Cluster, name: \(name), type: STATIC,
           load_assignment: {cluster_name: \(name)}}

        """
    }

    private func apply(_ text: String, to builder: inout SnapshotBuilder) throws -> [String] {
        let raw = try ResourceFiles.parse(files: [(name: "test", text: Array(text.utf8))])
        return builder.apply(
            type: .cluster, resources: raw, isFullSet: true, now: UnixTime(microseconds: 1)
        ).map { "\($0)" }
    }

    private func members(_ builder: inout SnapshotBuilder) -> [String: [String]] {
        var result: [String: [String]] = [:]
        for cluster in builder.takeSnapshot()?.clusters ?? [] {
            result[cluster.name] = cluster.members
        }
        return result
    }

    @Test("An aggregate names its members, and is in force before they are")
    func decoded() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot(), source: "cp")
        #expect(
            try apply(aggregate("a", "b", "c", more: ", outlier_detection: {}"), to: &builder) == []
        )
        #expect(builder.isComplete && members(&builder) == ["a": ["b", "c"]])
        #expect(builder.takeRemarks().contains { $0.contains("outlier_detection: is ignored") })
    }

    @Test("Without members, with itself, or with endpoints it is refused")
    func refused() {
        for (text, problem) in [
            (aggregate("a"), "cluster_type.typed_config.clusters: expected one or more names"),
            (
                aggregate("a", "b", "a"),
                "cluster_type.typed_config.clusters[1]: expected the name of another cluster, got its own"
            ),
            (
                aggregate("a", "b", more: ", load_assignment: {cluster_name: a}"),
                "load_assignment: expected none for an aggregate"
            ),
        ] {
            let error = #expect(throws: ConfigurationError.self) {
                try ResourceFiles.parse(files: [(name: "test", text: Array(text.utf8))])
            }
            let problems = error.map { "\($0)" } ?? ""
            #expect(problems.contains(problem), "\(problems)")
        }
    }

    @Test("Aggregates that go round are refused, the version before stays")
    func circles() throws {
        var builder = SnapshotBuilder(staticResources: Snapshot(), source: "cp")
        #expect(
            try apply(aggregate("a", "b") + aggregate("b", "c") + plain("c"), to: &builder) == [])
        #expect(members(&builder) == ["a": ["b"], "b": ["c"]])
        let problems = try apply(
            aggregate("a", "b") + aggregate("b", "c", "a") + plain("c"), to: &builder)
        #expect(
            problems.count == 1
                && problems[0].contains(
                    "clusters: expected clusters that do not lead back, got b → a → b"),
            "\(problems)")
        // Their order in one answer does not matter: b is plain by then.
        #expect(try apply(plain("b") + aggregate("a", "b") + plain("c"), to: &builder) == [])
        #expect(try apply(aggregate("b", "a") + plain("a"), to: &builder) == [])
        #expect(members(&builder) == ["b": ["a"]])
    }

    @Test("Static ones must lead to clusters that exist, and not round")
    func fixed() {
        func problems(_ clusters: String) -> String {
            let text =
                "static_resources:\n  clusters:\n"
                + clusters
                .replacing("\"@type\": x/envoy.config.cluster.v3.Cluster, ", with: "")
                .split(separator: "\n").map { "  " + $0 }.joined(separator: "\n")
            do {
                _ = try BootstrapLoader.load(text: Array(text.utf8))
                return ""
            } catch {
                return "\(error)"
            }
        }
        #expect(problems(aggregate("a", "b") + plain("b")) == "")
        let gone = problems(aggregate("a", "b", "c") + plain("b"))
        #expect(
            gone.contains(
                "static_resources.clusters[\"a\"].cluster_type.typed_config.clusters: expected clusters that exist, got \"c\""
            ), "\(gone)")
        let round = problems(aggregate("a", "b") + aggregate("b", "a"))
        #expect(round.contains("got a → b → a"), "\(round)")
    }
}
