import MeshBase
import MeshConfig
import Testing

@testable import Observability

/// A request that an endpoint in the east refused and one in the west answered.
func exampleRecord() -> AccessLogRecord {
    var record = AccessLogRecord()
    record.startTime = UnixTime(microseconds: 1_795_252_440_123_456)
    record.duration = .milliseconds(42)
    record.request = MessageHead(
        method: "GET", scheme: "https", authority: "shop.example", path: "/cart?id=1")
    record.request.append(.userAgent, "curl/8")
    record.request.append(.xRequestID, "6f1c2c2e-0000-4000-8000-000000000001")
    record.request.append("X-Team", "blue")
    record.response = MessageHead(status: 200)
    record.response.append(.envoyUpstreamServiceTime, "38")
    record.trailers.append(.grpcStatus, "0")
    record.httpVersion = 20
    record.status = 200
    record.details = "via_upstream"
    record.flags = [.upstreamConnectionFailure, .upstreamRetryLimitExceeded]
    record.bytesReceived = 5
    record.bytesSent = 1024
    record.attemptCount = 2
    record.attempts = [
        .init(
            locality: "east", address: SocketAddress(ip: "10.0.1.7", port: 80)!,
            reason: "connect-refused", took: .milliseconds(1)),
        .init(
            locality: "west", address: SocketAddress(ip: "10.0.2.1", port: 80)!, reason: nil,
            took: .milliseconds(38)),
    ]
    record.routeName = "cart"
    record.upstreamCluster = "outbound|80||cart"
    record.upstreamHost = SocketAddress(ip: "10.0.2.1", port: 80)
    record.upstreamLocalAddress = SocketAddress(ip: "10.0.0.9", port: 40000)
    record.transportFailure = "errno 111"
    record.connectionNumber = 7
    record.localAddress = SocketAddress(ip: "10.0.0.9", port: 15001)
    record.remoteAddress = SocketAddress(ip: "2001:db8::1", port: 5000)
    record.directRemoteAddress = SocketAddress(ip: "10.9.9.9", port: 6000)
    record.requestedServerName = "shop.example"
    record.peerURI = "spiffe://mesh.local/ns/default/sa/web"
    record.tlsVersion = "TLSv1.3"
    record.terminationDetails = "idle timeout"
    return record
}

func line(
    _ format: AccessLogConfig.Format, _ record: AccessLogRecord, hostname: String = "node-1"
) throws -> String {
    let format = try AccessLogFormat(format, hostname: hostname)
    var buffer = ByteBuffer()
    var clock = LogClock()
    format.write(record, clock: &clock, to: &buffer)
    return buffer.withBytes { String(decoding: $0, as: UTF8.self) }
}

func value(_ text: String, _ record: AccessLogRecord = exampleRecord()) throws -> String {
    String(try line(.text(text), record).dropLast())
}

struct AccessLogFormatTests {
    @Test("The default line is Envoy's")
    func standard() throws {
        #expect(
            try line(.standard, exampleRecord()) == """
                [2026-11-21T09:14:00.123Z] "GET /cart?id=1 HTTP/2" 200 UF,URX 5 1024 42 38 "-" \
                "curl/8" "6f1c2c2e-0000-4000-8000-000000000001" "shop.example" "10.0.2.1:80"

                """)
    }

    @Test(
        "Every operator prints its value",
        arguments: [
            ("%START_TIME%", "2026-11-21T09:14:00.123Z"),
            ("%REQ(:METHOD)%", "GET"), ("%REQ(x-team)%", "blue"), ("%REQ(Host)%", "shop.example"),
            ("%RESP(X-Envoy-Upstream-Service-Time)%", "38"), ("%RESP(:STATUS)%", "200"),
            ("%TRAILER(grpc-status)%", "0"), ("%PROTOCOL%", "HTTP/2"), ("%RESPONSE_CODE%", "200"),
            ("%RESPONSE_CODE_DETAILS%", "via_upstream"), ("%RESPONSE_FLAGS%", "UF,URX"),
            ("%BYTES_RECEIVED%", "5"), ("%BYTES_SENT%", "1024"), ("%DURATION%", "42"),
            ("%UPSTREAM_HOST%", "10.0.2.1:80"), ("%UPSTREAM_CLUSTER%", "outbound|80||cart"),
            ("%UPSTREAM_CLUSTER_RAW%", "outbound|80||cart"),
            ("%UPSTREAM_LOCAL_ADDRESS%", "10.0.0.9:40000"),
            ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "errno 111"),
            ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2"),
            ("%DOWNSTREAM_LOCAL_ADDRESS%", "10.0.0.9:15001"),
            ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "10.0.0.9"),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", "[2001:db8::1]:5000"),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "2001:db8::1"),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.9.9.9:6000"),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "10.9.9.9"),
            ("%REQUESTED_SERVER_NAME%", "shop.example"), ("%ROUTE_NAME%", "cart"),
            ("%CONNECTION_TERMINATION_DETAILS%", "idle_timeout"),
            ("%DOWNSTREAM_PEER_URI_SAN%", "spiffe://mesh.local/ns/default/sa/web"),
            ("%DOWNSTREAM_TLS_VERSION%", "TLSv1.3"), ("%CONNECTION_ID%", "7"),
            ("%HOSTNAME%", "node-1"),
            (
                "%ATTEMPTS%",
                "[east/10.0.1.7:80 connect-refused 1ms; west/10.0.2.1:80 ok 200 38ms]"
            ),
            ("100%% of %DURATION%%%", "100% of 42%"),
        ])
    func operators(_ format: String, _ expected: String) throws {
        #expect(try value(format) == expected)
    }

    @Test("The table above leaves no operator out")
    func allOperators() {
        let named = Set(AccessLogOperator.byName.values)
        let implied: Set<AccessLogOperator> = [.literal, .time]
        #expect(named.union(implied) == Set(AccessLogOperator.allCases))
    }

    @Test("What is not known is a dash")
    func missing() throws {
        let words = AccessLogOperator.byName.keys.filter {
            !["REQ", "RESP", "TRAILER", "START_TIME", "HOSTNAME"].contains($0)
                && !AccessLogOperator.byName[$0]!.isNumeric
        }
        for word in words { #expect(try value("%\(word)%", AccessLogRecord()) == "-") }
        #expect(try value("%REQ(:PATH)% %RESP(a)% %TRAILER(b)%", AccessLogRecord()) == "- - -")
        #expect(try value("%RESPONSE_CODE% %BYTES_SENT%", AccessLogRecord()) == "0 0")
    }

    @Test("The alternative header is taken when the first one is missing")
    func alternative() throws {
        var record = exampleRecord()
        let format = "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(a?x-team)% %REQ(a?b)%"
        #expect(try value(format, record) == "/cart?id=1 blue -")
        record.request.append(.envoyOriginalPath, "/before")
        #expect(try value(format, record) == "/before blue -")
    }

    @Test("A length limit cuts the value, not inside a character and not inside an escape")
    func limits() throws {
        var record = exampleRecord()
        record.request.append("note", "a\"é漢z")
        let expected = [
            0: "", 1: "a", 2: "a\\\"", 3: "a\\\"", 4: "a\\\"é", 6: "a\\\"é", 7: "a\\\"é漢",
            8: "a\\\"é漢z", 99: "a\\\"é漢z",
        ]
        for (limit, text) in expected { #expect(try value("%REQ(note):\(limit)%", record) == text) }
    }

    @Test("A format that ends its line itself gets no second line end")
    func lineEnds() throws {
        #expect(try line(.text("%DURATION%\n"), exampleRecord()) == "42\n")
        #expect(try line(.text("%DURATION%"), exampleRecord()) == "42\n")
        #expect(try line(.text(""), exampleRecord()) == "\n")
    }

    @Test("An error that is passed on is no success among the attempts")
    func failedAttempt() throws {
        var record = exampleRecord()
        record.status = 503
        record.attempts[0].locality = ""
        record.attempts[0].reason = "try-timeout"
        let expected = "[10.0.1.7:80 try-timeout 1ms; west/10.0.2.1:80 503 38ms]"
        #expect(try value("%ATTEMPTS%", record) == expected)
        record.attempts[0].decision = "zone-own"
        #expect(
            try value("%ATTEMPTS%", record)
                == "[10.0.1.7:80 zone-own try-timeout 1ms; west/10.0.2.1:80 503 38ms]")
        record.attempts[0].decision = nil
        record.status = 0
        let connection = "[10.0.1.7:80 try-timeout 1ms; west/10.0.2.1:80 ok 38ms]"
        #expect(try value("%ATTEMPTS%", record) == connection)
    }

    @Test(
        "A format that cannot be understood is refused with the place",
        arguments: [
            ("a %NO_SUCH_THING% b", .unknownOperator, "%NO_SUCH_THING%", 2),
            ("%%%DURATION", .malformed, "%DURATION", 2),
            ("50% of all", .malformed, "% ", 2),
            ("%REQ(:PATH", .malformed, "%REQ(:PATH", 0),
            ("%", .malformed, "%", 0),
            ("%REQ(a):99999999999%", .malformed, "%REQ(a):99999999999%", 0),
            ("%REQ()%", .badArgument, "%REQ()%", 0),
            ("%REQ%", .badArgument, "%REQ%", 0),
            ("%REQ(a?)%", .badArgument, "%REQ(a?)%", 0),
            ("x%DURATION(a)%", .badArgument, "%DURATION(a)%", 1),
            ("%DURATION:3%", .badArgument, "%DURATION:3%", 0),
            ("%START_TIME(%Q)%", .badTimeFormat, "%START_TIME(%Q)%", 0),
        ] as [(String, AccessLogFormatError.Reason, String, Int)])
    func errors(
        _ format: String, _ reason: AccessLogFormatError.Reason, _ text: String, _ position: Int
    ) {
        let expected = AccessLogFormatError(reason: reason, text: text, position: position)
        #expect(throws: expected) { try AccessLogFormat(.text(format)) }
    }

    @Test("An error in JSON names the member")
    func errorInJSON() {
        let expected = AccessLogFormatError(
            reason: .unknownOperator, text: "%X%", position: 0, key: "b")
        #expect(throws: expected) {
            try AccessLogFormat(.json([("a", "%DURATION%"), ("b", "%X%")]))
        }
    }
}

struct AccessLogEscapingTests {
    private func record(_ agent: [UInt8]) -> AccessLogRecord {
        var record = AccessLogRecord()
        agent.withUnsafeBufferPointer { record.request.append(.userAgent, $0) }
        return record
    }

    @Test(
        "A peer cannot end a value or a line",
        arguments: [
            (Array("a\" 200 \"b".utf8), #"a\" 200 \"b"#),
            (Array("a\n[2026] \"GET".utf8), #"a\n[2026] \"GET"#),
            (Array("a\\\"".utf8), #"a\\\""#),
            (Array("\r\t\u{1B}[2J\u{0}\u{7F}".utf8), #"\r\t\x1b[2J\x00\x7f"#),
            (Array("é 漢 🦊".utf8), "é 漢 🦊"),
            (Array("\u{85}\u{2028}\u{202E}".utf8), #"\xc2\x85\xe2\x80\xa8\xe2\x80\xae"#),
            ([0xFF, 0x61, 0xC3], #"\xffa\xc3"#),
            // Overlong forms and surrogates are not UTF-8.
            ([0xC0, 0x8A], #"\xc0\x8a"#), ([0xE0, 0x80, 0x8A], #"\xe0\x80\x8a"#),
            ([0xED, 0xA0, 0x80], #"\xed\xa0\x80"#),
            ([0xF5, 0x80, 0x80, 0x80], #"\xf5\x80\x80\x80"#),
            ([0xE6, 0x22, 0xA2], #"\xe6\"\xa2"#),
        ])
    func attacks(_ agent: [UInt8], _ expected: String) throws {
        #expect(try value("\"%REQ(USER-AGENT)%\"", record(agent)) == "\"\(expected)\"")
    }

    @Test("A byte is judged alike wherever it stands among others")
    func everyPlace() throws {
        for byte in UInt8.min...UInt8.max {
            let alone = try value("%REQ(USER-AGENT)%", record([byte]))
            for place in 0..<17 {
                let before = [UInt8](repeating: 97, count: place)
                let after = [UInt8](repeating: 126, count: 17 - place)
                let expected =
                    String(decoding: before, as: UTF8.self) + alone
                    + String(decoding: after, as: UTF8.self)
                #expect(
                    try value("%REQ(USER-AGENT)%", record(before + [byte] + after)) == expected)
            }
        }
    }

    @Test("Words of a reason become one")
    func words() throws {
        var record = AccessLogRecord()
        record.details = "no route\nyet"
        #expect(try value("%RESPONSE_CODE_DETAILS%", record) == #"no_route\nyet"#)
    }

    @Test("Names that a peer presents are escaped as well")
    func names() throws {
        var record = AccessLogRecord()
        record.requestedServerName = "a\"\n"
        record.peerURI = "b\"\n"
        record.transportFailure = "c\"\n"
        record.upstreamHost = .pipe("/d\"\n")
        #expect(
            try value(
                "%REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_URI_SAN% "
                    + "%UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_HOST%", record)
                == #"a\"\n b\"\n c\"\n /d\"\n"#)
    }

    @Test("JSON keeps numbers, says null, and quotes the rest")
    func json() throws {
        let format = AccessLogConfig.Format.json([
            ("status", "%RESPONSE_CODE%"), ("took", "%DURATION% ms"), ("ua", "%REQ(USER-AGENT)%"),
            ("none", "%REQ(x)%"), ("both", "%REQ(x)%/%DURATION%"), ("flags", "%RESPONSE_FLAGS%"),
            ("at", "%START_TIME%"), ("attempts", "%ATTEMPTS%"), ("k\"\n", "v\"\n"), ("e", ""),
        ])
        #expect(
            try line(format, exampleRecord()) == #"""
                {"status":200,"took":"42 ms","ua":"curl/8","none":null,"both":"-/42",\#
                "flags":"UF,URX","at":"2026-11-21T09:14:00.123Z","attempts":\#
                "[east/10.0.1.7:80 connect-refused 1ms; west/10.0.2.1:80 ok 200 38ms]",\#
                "k\"\n":"v\"\n","e":""}

                """#)
        #expect(try line(.json([]), exampleRecord()) == "{}\n")
    }

    @Test("JSON stays JSON whatever a peer sends")
    func jsonAttacks() throws {
        let format = AccessLogConfig.Format.json([("ua", "%REQ(USER-AGENT)%")])
        let agent: [UInt8] = Array("\",\"x\":1\\\n\u{1}\u{2028}é".utf8) + [0xFF]
        #expect(
            try line(format, record(agent))
                == #"{"ua":"\",\"x\":1\\\n\u0001\u2028é\ufffd"}"# + "\n")
    }
}
