import Testing
import XDSClient

private func parse(_ text: String) throws(ConfigurationError) -> [RawResource] {
    try ResourceFiles.parse(files: [(name: "a.yaml", text: Array(text.utf8))])
}

@Suite("ResourceFiles")
struct ResourceFilesTests {
    @Test("A list, a map with resources and static_resources are the same to it")
    func forms() throws {
        let typed = "{\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}"
        let list = try parse("- \(typed)")
        #expect(list.map(\.name) == ["a"] && list[0].typeURL == ResourceType.cluster.typeURL)
        #expect(try parse("resources: [\(typed)]") == list)
        #expect(try parse("static_resources: {clusters: [{name: a}]}") == list)
    }

    @Test("Equal content has an equal version, other content another")
    func versions() throws {
        let a = try parse("static_resources: {clusters: [{name: a}]}")
        let b = try parse("static_resources: {clusters: [{name: a, connect_timeout: 2s}]}")
        #expect(a[0].version != b[0].version)
    }

    @Test("What a proxy would refuse is not served, and the file is named")
    func refused() {
        #expect {
            try parse("static_resources: {clusters: [{name: a, connect_timeout: 0s}]}")
        } throws: { error in
            (error as? ConfigurationError)?.description
                == "1:31: a.yaml: static_resources.clusters[0].connect_timeout: "
                + "expected more than 0s, got 0s"
        }
    }

    @Test("A name that two files give is refused")
    func twice() {
        let text = Array("static_resources: {clusters: [{name: a}]}".utf8)
        #expect(throws: ConfigurationError.self) {
            try ResourceFiles.parse(files: [(name: "a", text: text), (name: "b", text: text)])
        }
    }
}
