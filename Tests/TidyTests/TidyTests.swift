import Glibc
import Testing

/// The style that can be checked: what house rules say of files, imports and names.
@Suite struct TidyTests {
    let sources = SourceTree.load("Sources")
    let tests = SourceTree.load("Tests")

    @Test("@unchecked Sendable stands in Mailbox.swift alone")
    func uncheckedSendable() {
        let places = (sources + tests).filter {
            $0.code.contains("@unchecked Sendable") && !$0.path.hasSuffix("/Mailbox.swift")
                && !$0.path.hasSuffix("/TidyTests.swift")
        }
        #expect(places.map(\.path) == [])
    }

    @Test("Foundation, Dispatch and other event loops are imported nowhere in the product")
    func bannedImports() {
        let banned = ["Foundation", "FoundationEssentials", "Dispatch", "NIO", "NIOCore", "Yams"]
        for file in sources {
            for name in file.imports where banned.contains(name) {
                // SwiftProtobuf's bytes are `Data`; it goes no further than the decoders.
                if name == "FoundationEssentials", file.module == "XDSClient" { continue }
                Issue.record("\(file.path) imports \(name)")
            }
        }
    }

    @Test("C modules are imported by their own module only, and never re-exported")
    func cModules() {
        let owners = [
            "CLibev": "EventLoop", "COpenSSL": "MTLS",
            "CYAML": "XDSClient",
        ]
        for file in sources {
            for (library, owner) in owners where file.imports.contains(library) {
                #expect(file.path.hasPrefix("Sources/\(owner)/"), "\(file.path) imports \(library)")
                #expect(!file.code.contains("public import \(library)"), "\(file.path)")
            }
        }
    }

    @Test("Pure modules read no clock, no environment, and draw no system randomness")
    func purity() {
        let pure = ["MeshConfig", "LoadBalancer", "HealthProbe", "HTTPCodec", "XDSClient"]
        let banned = [
            "ContinuousClock", "clock_gettime", "SystemRandomNumberGenerator", ".random(in:",
            "getenv(", "async ", "await ", "Task {",
        ]
        for file in sources where pure.contains(file.module) {
            for word in banned where file.code.contains(word) {
                Issue.record("\(file.path) holds \(word)")
            }
        }
    }

    @Test("Nothing on the path of peer data can trap by try!, as! or fatalError")
    func traps() {
        for file in sources {
            for word in ["try!", "as!", "fatalError(", "unowned(unsafe)"] {
                #expect(!file.code.contains(word), "\(file.path) holds \(word)")
            }
        }
    }

    @Test("No type bears the name of its module, and no name says nothing")
    func names() {
        let empty = ["Manager", "Helper", "Util", "Utils", "Impl"]
        // Envoy's own words.
        let allowed = ["HTTPConnectionManager", "HTTPManager", "TCPManager"]
        for file in sources {
            for type in file.declaredTypes {
                #expect(type != file.module, "\(file.path) declares \(type)")
                let ending = empty.first { type.hasSuffix($0) }
                #expect(ending == nil || allowed.contains(type), "\(file.path) declares \(type)")
            }
        }
    }

    @Test("Every name in the walks of docs/ARCHITECTURE.md is in the sources")
    func walks() throws {
        let text = try #require(SourceTree.read("docs/ARCHITECTURE.md"))
        let walks = text.between("## Three walks", "## Decisions")
        let names = walks.split(separator: "`").enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
        #expect(names.count > 20)
        let all = sources
        for name in names where name != "TidyTests" {
            let parts = name.split(separator: ".").map(String.init)
            guard let type = parts.first, type.first?.isUppercase == true else {
                #expect(all.contains { $0.declares(function: parts[0]) }, "no function \(name)")
                continue
            }
            let homes = all.filter { $0.declaredTypes.contains(type) || $0.extends(type) }
            #expect(!homes.isEmpty, "no type \(type)")
            if parts.count > 1 {
                #expect(homes.contains { $0.declares(function: parts[1]) }, "no \(name)")
            }
        }
    }

    /// A ratchet, not a wall: what is longer than a screen today is named here with its length
    /// and may only shrink.
    @Test("No file outgrows one idea")
    func fileLengths() {
        for file in sources {
            let limit = SourceTree.longFiles[file.path] ?? 700
            #expect(file.lineCount <= limit, "\(file.path) has \(file.lineCount) lines")
        }
    }

    @Test("No file is empty or left over")
    func deadFiles() {
        for file in sources + tests {
            #expect(file.lineCount > 3, "\(file.path) holds nothing")
        }
    }
}

struct SourceFile {
    let path: String
    /// Without whole-line comments; enough for looking words up.
    let code: String

    var module: String { String(path.split(separator: "/").dropFirst().first ?? "") }
    var lineCount: Int { code.split(separator: "\n", omittingEmptySubsequences: false).count }

    var imports: [String] {
        code.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let index = words.firstIndex(of: "import"), index + 1 < words.count, index <= 1
            else { return nil }
            return String(words[index + 1].split(separator: ".")[0])
        }
    }

    var declaredTypes: [String] {
        let keywords: Set<Substring> = [
            "struct", "class", "enum", "protocol", "typealias", "actor",
        ]
        var found: [String] = []
        for line in code.split(separator: "\n") {
            let words = line.split(whereSeparator: { " <:({".contains($0) })
            for (index, word) in words.enumerated()
            where keywords.contains(word) && index + 1 < words.count {
                found.append(String(words[index + 1]))
            }
        }
        return found
    }

    func extends(_ type: String) -> Bool { code.contains("extension \(type) ") }

    func declares(function name: String) -> Bool {
        for form in ["func \(name)(", "func \(name)<", "init(", "var \(name)", "case \(name)"] {
            if form == "init(" ? name == "init" && code.contains(form) : code.contains(form) {
                return true
            }
        }
        return false
    }
}

enum SourceTree {
    static let longFiles: [String: Int] = [
        "Sources/HTTPCodec/HTTP2Connection.swift": 910,
        "Sources/MeshProxy/Downstream/Exchange.swift": 716,
        "Sources/MeshConfig/LinearRegex.swift": 715,
    ]

    static var root: String {
        #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }
    }

    static func read(_ path: String) -> String? {
        guard let file = fopen(root + "/" + path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func load(_ directory: String) -> [SourceFile] {
        var files: [SourceFile] = []
        guard let handle = opendir(root + "/" + directory) else { return [] }
        defer { closedir(handle) }
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasPrefix(".") { continue }
            let path = directory + "/" + name
            if entry.pointee.d_type == UInt8(DT_DIR) {
                // Made by a tool, and not for reading.
                if name != "Generated" { files += load(path) }
            } else if name.hasSuffix(".swift"), let text = read(path) {
                files.append(SourceFile(path: path, code: withoutComments(text)))
            }
        }
        return files.sorted { $0.path < $1.path }
    }

    private static func withoutComments(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.utf8.drop { $0 == 32 }.starts(with: "//".utf8) ? "" : String(line)
        }.joined(separator: "\n")
    }
}

extension Substring {
    fileprivate func range(of text: String) -> Index? {
        var index = startIndex
        while index < endIndex {
            if self[index...].hasPrefix(text) { return index }
            index = self.index(after: index)
        }
        return nil
    }
}

extension String {
    fileprivate func between(_ start: String, _ end: String) -> String {
        guard let from = self[...].range(of: start), let to = self[...].range(of: end), from < to
        else { return "" }
        return String(self[from..<to])
    }
}
