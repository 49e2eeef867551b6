import EventLoop
import Glibc
import MeshBase
import MeshConfig
import Observability
import Testing

@testable import MeshProxy

/// A directory of its own, gone with the test.
private final class Directory {
    let path: String

    init() {
        var template = Array("/tmp/access-log-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        precondition(made)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in ["log", "log.1"] { unlink(path + "/" + name) }
        rmdir(path)
    }

    func text(_ name: String) throws -> String {
        String(decoding: try Files.read(path + "/" + name), as: UTF8.self)
    }
}

@Suite struct AccessLogFileTests {
    private let directory = Directory()
    private let loop = LibevLoop(seed: 1)

    private func makeWriter(_ file: AccessLogFile) throws -> AccessLogWriter {
        AccessLogWriter(format: try AccessLogFormat(.text("%ROUTE_NAME%")), file: file)
    }

    private func record(_ name: String) -> AccessLogRecord {
        var record = AccessLogRecord()
        record.routeName = name
        return record
    }

    @Test("Lines of two loggers of one file are written together when the turn ends")
    func turnEnd() throws {
        let file = try AccessLogFile(path: directory.path + "/log", loop: loop)
        let (one, two) = (try makeWriter(file), try makeWriter(file))
        one.write(record("a"))
        two.write(record("b"))
        #expect(try directory.text("log") == "")
        file.turnEnded()
        #expect(try directory.text("log") == "a\nb\n")
    }

    @Test("A turn that writes much does not wait for its end")
    func large() throws {
        let file = try AccessLogFile(path: directory.path + "/log", loop: loop)
        let writer = try makeWriter(file)
        let name = String(repeating: "x", count: 1023)
        for _ in 0..<64 { writer.write(record(name)) }
        #expect(try directory.text("log").utf8.count == 64 * 1024)
    }

    @Test("After the file was moved away, reopening begins a new one and loses nothing")
    func rotation() throws {
        let file = try AccessLogFile(path: directory.path + "/log", loop: loop)
        let writer = try makeWriter(file)
        writer.write(record("before"))
        rename(directory.path + "/log", directory.path + "/log.1")
        file.reopen()
        writer.write(record("after"))
        file.turnEnded()
        #expect(try directory.text("log.1") == "before\n")
        #expect(try directory.text("log") == "after\n")
    }
}
