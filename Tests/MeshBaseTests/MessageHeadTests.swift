import MeshBase
import Testing

struct MessageHeadTests {
    private func bytes(_ head: MessageHead) -> String {
        head.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test("Fields lie in the head as HTTP/1 writes them")
    func lines() {
        var head = MessageHead(status: 200)
        head.append("X-One", "1")
        head.append(.server, "a")
        #expect(bytes(head) == "X-One: 1\r\nserver: a\r\n")
        let field = head.fields[1]
        #expect(field.lineStart == 10 && field.lineCount == 11)
        #expect(field.valueStart == 18 && field.valueCount == 1)
    }

    @Test("A value that is set makes a new line and leaves the order")
    func set() {
        var head = MessageHead(status: 200)
        head.append(.server, "a")
        head.append(.date, "now")
        head.append(.server, "b")
        head.set(.server, "longer")
        #expect(head.fields.map(\.name) == [.server, .date])
        #expect(head.string(.server) == "longer" && head.byteCount == 16 + 11)
    }

    @Test("What was removed is no longer found, what is left of its name is")
    func remove() {
        var head = MessageHead(status: 200)
        head.append(.cookie, "a")
        head.append(.cookie, "b")
        head.remove(at: 0)
        #expect(head.contains(.cookie) && head.string(.cookie) == "b")
        head.remove("Cookie")
        #expect(!head.contains(.cookie) && head.firstIndex(of: .cookie) == nil)
        head.append(.cookie, "c")
        head.remove(.cookie)
        #expect(!head.contains(.cookie) && head.fields.isEmpty)
    }
}

struct HeaderNameTests {
    private func token(_ text: String) -> HeaderName {
        var text = text
        return text.withUTF8 { HeaderName($0) }
    }

    @Test("Every known name is found in any case", arguments: HeaderName.allCases)
    func known(name: HeaderName) {
        let text = "\(name.text)"
        #expect(token(text) == name && token(text.uppercased()) == name)
    }

    @Test("A name that only looks like a known one has no token")
    func unknown() {
        // Alike in length, first, middle and last byte; and what folds to "-" but isn't a letter.
        #expect(token("hxxt") == .other && token("x-requesT-ie") == .other)
        #expect(token("user\u{0D}agent") == .other && token("") == .other)
    }

    @Test("Only letters fold", arguments: 0...255)
    func folding(byte: Int) {
        let left = [UInt8](repeating: UInt8(byte), count: 9)
        for other in 0...255 {
            let right = [UInt8](repeating: UInt8(other), count: 9)
            let isLetter = (97...122).contains(byte | 0x20)
            let same = byte == other || (isLetter && byte | 0x20 == other | 0x20)
            #expect(asciiEqualIgnoringCase(left, right, count: 9) == same)
        }
    }
}

struct DurationTests {
    @Test(
        "Nanoseconds are whole, rounded towards zero, and saturate",
        arguments: [
            (Duration.seconds(300), 300_000_000_000), (.nanoseconds(-1), -1),
            (Duration(secondsComponent: 0, attosecondsComponent: 1_999_999_999), 1),
            (Duration(secondsComponent: 0, attosecondsComponent: -1_999_999_999), -1),
            (.seconds(Int64.max), .max), (.seconds(Int64.min), .min), (.zero, 0),
            (.seconds(9_223_372_036), 9_223_372_036_000_000_000),
        ] as [(Duration, Int64)])
    func nanoseconds(duration: Duration, expected: Int64) {
        #expect(duration.nanoseconds == expected)
    }
}
