import MeshBase
import Testing

@testable import HTTPCodec

/// Bytes from hexadecimal digits; blanks are passed over.
private func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.compactMap { $0.hexDigitValue }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// A decoder and what it makes of blocks, as "name: value" lines.
private final class Reader {
    private var decoder: HPACKDecoder
    private let workspace = HeadWorkspace()

    init(limit: Int = 4096) {
        decoder = HPACKDecoder(limit: limit)
    }

    /// - Returns: `nil` when the block can't be read, `["!"]` when its message is refused.
    func read(_ block: [UInt8], _ kind: HTTP2HeadBuilder.Kind = .trailers) -> [String]? {
        guard let head = head(block, kind) else { return nil }
        guard let head = head else { return ["!"] }
        var lines = head.status > 0 ? ["\(head.status)"] : []
        head.forEach { _, name, value in
            lines.append(
                "\(String(decoding: name, as: UTF8.self)): \(String(decoding: value, as: UTF8.self))"
            )
        }
        return lines
    }

    func head(_ block: [UInt8], _ kind: HTTP2HeadBuilder.Kind) -> MessageHead?? {
        var builder = HTTP2HeadBuilder(kind, workspace, HTTPLimits())
        let isReadable = block.withUnsafeBufferPointer { decoder.decode($0, into: &builder) }
        return isReadable ? .some(builder.finish()) : nil
    }
}

private final class Writer {
    private var encoder = HPACKEncoder()

    func resize(_ size: Int) { encoder.resize(to: size) }

    func write(_ head: MessageHead) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: HPACKEncoder.most(head)) { buffer, count in
            count = encoder.encode(head, into: buffer.baseAddress!)
        }
    }
}

@Suite("HPACK")
struct HPACKTests {
    @Test(
        "The requests of RFC 7541, appendix C.3 and C.4",
        arguments: [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ])
    func requests(_ blocks: [String]) {
        let reader = Reader()
        let authority = ":authority: www.example.com"
        #expect(
            reader.read(bytes(blocks[0]), .request)
                == [":method: GET", ":scheme: http", ":path: /", authority])
        #expect(
            reader.read(bytes(blocks[1]), .request)
                == [
                    ":method: GET", ":scheme: http", ":path: /", authority,
                    "cache-control: no-cache",
                ])
        #expect(
            reader.read(bytes(blocks[2]), .request)
                == [
                    ":method: GET", ":scheme: https", ":path: /index.html", authority,
                    "custom-key: custom-value",
                ])
    }

    @Test(
        "The responses of RFC 7541, appendix C.5 and C.6: a table of 256 bytes throws out the oldest",
        arguments: [
            [
                """
                4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
                2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
                6c65 2e63 6f6d
                """,
                "4803 3330 37c1 c0bf",
                """
                88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
                54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
                5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
                3d31
                """,
            ],
            [
                """
                4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
                2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3
                """,
                "4883 640e ffc1 c0bf",
                """
                88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
                77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
                9587 3160 65c0 03ed 4ee5 b106 3d50 07
                """,
            ],
        ])
    func responses(_ blocks: [String]) {
        let reader = Reader(limit: 256)
        let fields = [
            "cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ]
        #expect(reader.read(bytes(blocks[0]), .response) == ["302"] + fields)
        #expect(reader.read(bytes(blocks[1]), .response) == ["307"] + fields)
        #expect(
            reader.read(bytes(blocks[2]), .response)
                == [
                    "200", fields[0], "date: Mon, 21 Oct 2013 20:13:22 GMT", fields[2],
                    "content-encoding: gzip",
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                ])
        // 302 went out for 307, and that for 200's date; 66 is one more than there are.
        #expect(reader.read([0xC2]) == nil)
    }

    @Test(
        "What makes the table's state unknown can't be read",
        arguments: [
            ("80", "index 0"), ("be", "an index into an empty table"),
            ("ffffffffff7f", "an integer beyond all bounds"),
            ("ff", "an integer that is cut short"),
            ("0003 6162", "a name that is cut short"),
            ("0001 6102 62", "a value that is cut short"),
            ("3fe2 1f", "a table of 4,097 bytes"),
            ("0001 6101 62 20", "a new table size behind a field"),
            ("0001 6181 00", "a code that ends in zeros"),
            ("0001 6182 1fff", "a whole byte of padding"),
            ("0001 6184 ffff ffff", "the code for the end of a string"),
        ])
    func unreadable(_ hex: String, _ what: String) {
        #expect(Reader().read(bytes(hex)) == nil, "\(what)")
    }

    @Test("Every byte value has its code, and strings of any length come out as they went in")
    func huffman() {
        // The code is canonical: made here by the rule, apart from the decoder's tables.
        var codes: [(code: UInt32, length: Int)] = Array(repeating: (0, 0), count: 257)
        var next: UInt32 = 0
        for length in 1...30 {
            next <<= 1
            for symbol in 0..<257 where Int(hpackCodeLengths[symbol]) == length {
                codes[symbol] = (next, length)
                next += 1
            }
        }
        #expect(codes[256].code == 0x3FFF_FFFF && codes[256].length == 30)
        for count in [0, 1, 2, 5, 256, 1000] {
            let text = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            var bits: [UInt8] = []
            for byte in text {
                let (code, length) = codes[Int(byte)]
                for place in (0..<length).reversed() { bits.append(UInt8(code >> place & 1)) }
            }
            while bits.count % 8 != 0 { bits.append(1) }
            let coded = stride(from: 0, to: bits.count, by: 8).map { start in
                bits[start..<start + 8].reduce(UInt8(0)) { $0 << 1 | $1 }
            }
            let decoded = [UInt8](unsafeUninitializedCapacity: HPACKHuffman.most(coded.count)) {
                buffer, count in
                count = max(
                    0,
                    coded.withUnsafeBufferPointer { coded in
                        coded.isEmpty
                            ? 0
                            : hpackHuffman.decode(
                                coded.baseAddress!, coded.count, into: buffer.baseAddress!)
                    })
            }
            #expect(decoded == text)
        }
    }

    @Test("A refused message still changes the table, and its field is refused by index as well")
    func refusedMessages() {
        let reader = Reader()
        // An upper-case name, put into the table; then a good one.
        #expect(reader.read(bytes("4001 4101 62 4001 6301 64")) == ["!"])
        #expect(reader.read(bytes("be")) == ["c: d"])
        #expect(reader.read(bytes("bf")) == ["!"])
        #expect(reader.read(bytes("be")) == ["c: d"])
    }

    @Test("A table that shrinks to nothing and grows again is empty")
    func resizing() {
        let reader = Reader()
        #expect(reader.read(bytes("4001 6101 62")) == ["a: b"])
        #expect(reader.read(bytes("20 3fe1 1f 4001 6301 64")) == ["c: d"])
        #expect(reader.read(bytes("be")) == ["c: d"])
        #expect(reader.read(bytes("bf")) == nil)
    }

    @Test("What repeats becomes an index; what is new each time never throws anything out")
    func indexing() {
        let writer = Writer()
        let reader = Reader()
        var sizes: [Int] = []
        for number in 0..<200 {
            let head = request(
                "GET", "/same", ("x-tenant", "blue"), ("x-request-id", "id-\(number)"))
            let block = writer.write(head)
            sizes.append(block.count)
            #expect(
                reader.read(block, .request)
                    == [
                        ":method: GET", ":scheme: http", ":authority: a.b", ":path: /same",
                        "x-tenant: blue", "x-request-id: id-\(number)",
                    ])
        }
        // Five indices; the index of a name, a length, an id.
        #expect(sizes.suffix(100).allSatisfy { $0 == 5 + 2 + 1 + 6 })
    }

    @Test("Credentials go out as never-indexed, come back as such, and stay out of the table")
    func sensitive() {
        let writer = Writer()
        let reader = Reader()
        for _ in 0..<3 {
            let block = writer.write(
                request(
                    "GET", "/", ("authorization", "Bearer abc"), ("cookie", "a=b"),
                    ("x-plain", "v")))
            guard case .some(.some(let head)) = reader.head(block, .request) else {
                Issue.record("not read")
                return
            }
            #expect(
                head.fields.map(\.isSensitive) == [false, false, false, false, true, true, false])
            #expect(String(decoding: block, as: UTF8.self).contains("Bearer abc"))
        }
    }

    @Test("What came as never-indexed goes on as never-indexed, whatever its name")
    func passedOn() {
        let reader = Reader()
        guard case .some(.some(let head)) = reader.head(bytes("1003 782d 6b01 76"), .trailers)
        else {
            Issue.record("not read")
            return
        }
        let writer = Writer()
        for _ in 0..<3 { #expect(writer.write(head) == bytes("1003 782d 6b01 76")) }
    }

    @Test("A smaller table is announced, with the least size in between")
    func announcedSizes() {
        let writer = Writer()
        let reader = Reader()
        let head = request("GET", "/", ("x-tenant", "blue"))
        for _ in 0..<3 { _ = reader.read(writer.write(head), .request) }
        writer.resize(0)
        writer.resize(100)
        let block = writer.write(head)
        #expect(Array(block.prefix(3)) == [0x20, 0x3F, 100 - 31])
        #expect(
            reader.read(block, .request)
                == [
                    ":method: GET", ":scheme: http", ":authority: a.b", ":path: /",
                    "x-tenant: blue",
                ])
        writer.resize(0)
        for _ in 0..<3 {
            #expect(reader.read(writer.write(head), .request)?.last == "x-tenant: blue")
        }
    }

    @Test("Writer and reader agree over many heads of a small world", arguments: 1...20)
    func agreement(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let writer = Writer()
        let reader = Reader()
        for _ in 0..<300 {
            if random.next() % 40 == 0 { writer.resize(Int(random.next() % 5000)) }
            var head = request("GET", "/p\(random.next() % 8)")
            for _ in 0..<random.next() % 12 {
                let name = [
                    "x-a", "x-b", "user-agent", "accept", "x-request-id", "traceparent", "Date",
                    "grpc-timeout", "via",
                ][Int(random.next() % 9)]
                let length = random.next() % 20 == 0 ? Int(random.next() % 3000) : 4
                head.append(
                    name, String(repeating: "v", count: length) + "\(random.next() % 6)")
            }
            var expected: [String] = []
            head.forEach { _, name, value in
                expected.append(
                    String(decoding: name, as: UTF8.self).lowercased() + ": "
                        + String(decoding: value, as: UTF8.self))
            }
            #expect(reader.read(writer.write(head), .request) == expected)
        }
    }
}
