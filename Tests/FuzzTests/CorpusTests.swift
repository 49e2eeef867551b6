import FuzzBodies
import Glibc
import Testing

/// Inputs that once broke something, or that lead deep into a parser, replayed: each file in
/// Corpus/<target> is one. `scripts/fuzz` begins from them, and what it finds is put here.
@Suite struct CorpusTests {
    @Test("Nothing in the corpus crashes or breaks a law", arguments: FuzzTarget.allCases)
    func replay(_ target: FuzzTarget) throws {
        let files = try names(in: directory + "/" + target.rawValue)
        #expect(!files.isEmpty, "no corpus for \(target.rawValue)")
        for name in files {
            let input = try bytes(of: directory + "/" + target.rawValue + "/" + name)
            #expect(target.run(input) == nil, "\(target.rawValue)/\(name)")
        }
    }

    /// `MESH_FUZZ_CORPUS=.build/fuzz-corpus` replays what `scripts/fuzz` has kept, for instance under a
    /// sanitizer that the fuzzer does not work with.
    @Test(
        "Nothing that the fuzzer has kept crashes or breaks a law", arguments: FuzzTarget.allCases)
    func replayKept(_ target: FuzzTarget) throws {
        guard let kept = getenv("MESH_FUZZ_CORPUS") else { return }
        let directory = String(cString: kept) + "/" + target.rawValue
        for name in try names(in: directory) {
            let problem = target.run(try bytes(of: directory + "/" + name))
            #expect(problem == nil, "\(target.rawValue)/\(name)")
        }
    }

    @Test("A law that is broken is seen: a message of another length is none")
    func lawsAreChecked() {
        // Two gRPC messages, then a flag that is neither 0 nor 1: refused the same however cut.
        let good: [UInt8] = [3, 0, 0, 0, 0, 2, 65, 66, 0, 0, 0, 0, 0, 7]
        #expect(FuzzTarget.grpc.run(good) == nil)
    }

    private var directory: String {
        #filePath.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/Corpus"
    }

    private func names(in path: String) throws -> [String] {
        let handle = try #require(opendir(path), "no directory \(path)")
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    private func bytes(of path: String) throws -> [UInt8] {
        let file = try #require(fopen(path, "r"), "no file \(path)")
        defer { fclose(file) }
        var all: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { return all }
            all += chunk[..<count]
        }
    }
}
