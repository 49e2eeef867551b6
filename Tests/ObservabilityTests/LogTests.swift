import Logging
import MeshBase
import Synchronization
import Testing

@testable import Observability

/// Keeps the lines of a log whose clock stands still.
final class KeptLines: Sendable {
    private let lines = Mutex<[String]>([])

    var output: LogOutput {
        LogOutput(
            now: { UnixTime(microseconds: 1_795_252_440_123_456) },
            write: { line in
                let text = String(decoding: line, as: UTF8.self)
                self.lines.withLock { $0.append(text) }
            })
    }

    var all: [String] { lines.withLock { $0 } }
}

struct LogTests {
    @Test("A line has time, level, component, message and fields by name")
    func layout() {
        let kept = KeptLines()
        kept.output.log(
            .info, component: "xds", "taken over",
            ["version": "7", "name": "two words", "empty": "", "pair": "a=b"])
        #expect(
            kept.all == [
                "[2026-11-21T09:14:00.123Z][info][xds] taken over "
                    + "empty=\"\" name=\"two words\" pair=\"a=b\" version=7\n"
            ])
    }

    @Test("Nothing that is logged can begin another line or field")
    func escapes() {
        let kept = KeptLines()
        kept.output.log(.error, component: "xds", "a\nb", ["k\n": "x\" y=\"\r\n[fake]"])
        #expect(
            kept.all == [
                "[2026-11-21T09:14:00.123Z][error][xds] a\\nb "
                    + "k\\n=\"x\\\" y=\\\"\\r\\n[fake]\"\n"
            ])
    }

    @Test("A long value is cut")
    func long() {
        let kept = KeptLines()
        kept.output.log(.info, component: "c", "m", ["k": String(repeating: "x", count: 5000)])
        #expect(kept.all[0].hasSuffix(String(repeating: "x", count: 4096) + "...\n"))
    }

    @Test("A swift-log logger writes into the same log, at the component's level")
    func swiftLog() {
        let kept = KeptLines()
        let levels = LogLevels(level: .warning)
        var logger = Logger(label: "grpc") {
            MeshLogHandler(label: $0, levels: levels, output: kept.output)
        }
        logger[metadataKey: "stream"] = "1"
        logger.info("unsaid")
        logger.warning("said", metadata: ["code": "14"])
        #expect(levels.set(.debug, for: "grpc"))
        logger.debug("said too")
        levels.set(.off)
        logger.critical("unsaid")
        #expect(
            kept.all == [
                "[2026-11-21T09:14:00.123Z][warning][grpc] said code=14 stream=1\n",
                "[2026-11-21T09:14:00.123Z][debug][grpc] said too stream=1\n",
            ])
    }
}

struct LogLevelsTests {
    @Test("Levels have Envoy's names, and \"warn\"")
    func names() {
        for level in LogLevel.allCases { #expect(LogLevel(level.name) == level) }
        #expect(LogLevel("warn") == .warning)
        #expect(LogLevel("loud") == nil)
        #expect(LogLevel("") == nil)
    }

    @Test("A component says what is at its level or above, and nothing when off")
    func says() {
        let component = LogLevels(level: .warning).component("xds")
        #expect(!component.says(.info) && component.says(.warning) && component.says(.critical))
        component.level = .off
        #expect(!component.says(.critical))
    }

    @Test("A list sets levels of components that exist and of those to come")
    func list() throws {
        let levels = LogLevels(level: .info)
        let known = levels.component("a")
        try levels.apply("a:debug,b:error")
        #expect(known.level == .debug && levels.component("b").level == .error)
        #expect(levels.component("c").level == .info)
        #expect(levels.listing.map(\.name) == ["a", "b", "c"])
        try levels.apply("")
    }

    @Test("A bad list changes nothing", arguments: ["a", "a:", ":debug", "a:loud", "a:debug:b"])
    func badList(_ entry: String) {
        let levels = LogLevels(level: .info)
        #expect(throws: LogLevelError(text: entry)) { try levels.apply("z:debug,\(entry)") }
        #expect(levels.listing.isEmpty)
    }

    @Test("The common level reaches every component; an unknown name is refused")
    func common() {
        let levels = LogLevels(level: .info)
        let known = levels.component("a")
        levels.set(.trace)
        #expect(known.level == .trace && levels.component("b").level == .trace)
        #expect(!levels.set(.debug, for: "c"))
        #expect(levels.listing.count == 2)
    }
}
