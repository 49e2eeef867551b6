import LoadBalancer
import MeshBase
import Testing

@Suite struct LoadReportTests {
    private func report(_ name: String, _ value: String) -> LoadReport? {
        var head = MessageHead(status: 200)
        head.append(name, value)
        return LoadReport(head)
    }

    private func text(_ value: String) -> LoadReport? { report("endpoint-load-metrics", value) }

    @Test("The text form, with either sign and names that are the application's own")
    func text() {
        var wanted = LoadReport()
        (wanted.cpu, wanted.memory, wanted.application) = (0.3, 0.5, 0.9)
        (wanted.requestsPerSecond, wanted.errorsPerSecond) = (120, 2.5)
        wanted.others = ["named_metrics.queue": 7]
        let given = text(
            "TEXT cpu_utilization=0.3, mem_utilization:0.5,application_utilization=0.9,"
                + "rps_fractional=120, eps:2.5,named_metrics.queue=7")
        #expect(given == wanted)
    }

    @Test("The message in Base64, in a header of its own or behind a word")
    func binary() {
        // cpu_utilization 0.5, rps_fractional 100, eps 2, utilization {"disk": 0.75}, named_metrics {"q": 3}
        let bytes: [UInt8] = [
            0x09, 0, 0, 0, 0, 0, 0, 0xE0, 0x3F, 0x31, 0, 0, 0, 0, 0, 0, 0x59, 0x40,
            0x39, 0, 0, 0, 0, 0, 0, 0, 0x40,
            0x2A, 15, 0x0A, 4, 0x64, 0x69, 0x73, 0x6B, 0x11, 0, 0, 0, 0, 0, 0, 0xE8, 0x3F,
            0x42, 12, 0x0A, 1, 0x71, 0x11, 0, 0, 0, 0, 0, 0, 0x08, 0x40,
        ]
        var wanted = LoadReport()
        (wanted.cpu, wanted.requestsPerSecond, wanted.errorsPerSecond) = (0.5, 100, 2)
        wanted.others = ["utilization.disk": 0.75, "named_metrics.q": 3]
        #expect(report("endpoint-load-metrics-bin", Base64.encode(bytes)) == wanted)
        #expect(text("BIN " + Base64.encode(bytes)) == wanted)
        for count in 1..<bytes.count where ![9, 18, 27, 44].contains(count) {
            let cut = Base64.encode(bytes.prefix(count))
            #expect(report("endpoint-load-metrics-bin", cut) == nil, "\(count)")
        }
    }

    @Test("Each number of the message stands for itself, and none of them is infinite")
    func numbers() {
        func field(_ number: UInt8, _ value: Double) -> [UInt8] {
            [number << 3 | 1] + withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        }
        func report(_ bytes: [UInt8]) -> LoadReport? { text("BIN " + Base64.encode(bytes)) }
        var wanted = LoadReport()
        (wanted.memory, wanted.application) = (0.25, 0.75)
        // Fields that are no numbers of ours are passed by.
        #expect(report(field(2, 0.25) + field(9, 0.75) + [0x18, 5] + field(15, 1)) == wanted)
        let entry: [UInt8] = [0x0A, 1, 0x71] + field(2, 3)
        for (key, name) in [
            (0x22, "request_cost.q"), (0x2A, "utilization.q"), (0x42, "named_metrics.q"),
        ] {
            #expect(report([UInt8(key), UInt8(entry.count)] + entry)?.others == [name: 3])
        }
        for odd in [Double.infinity, .nan] {
            let bad: [UInt8] = [0x0A, 1, 0x71] + field(2, odd)
            #expect(report(field(6, odd)) == nil)
            #expect(report([0x2A, UInt8(bad.count)] + bad) == nil)
        }
    }

    @Test(
        "The message in JSON, with either name of a field, numbers in strings, and null for nothing"
    )
    func json() {
        var wanted = LoadReport()
        (wanted.cpu, wanted.memory, wanted.application) = (0.3, 0.5, 0.9)
        (wanted.requestsPerSecond, wanted.errorsPerSecond) = (1200, 2.5)
        wanted.others = [
            "named_metrics.queue": -7, "utilization.disk": 0.75, "request_cost.a.b": 3,
        ]
        let snake = """
            JSON {"cpu_utilization": 0.3, "mem_utilization": 0.5, "application_utilization": 0.9, \
            "rps_fractional": 1.2e3, "eps": 2.5, "rps": "1200", "named_metrics": {"queue": -7}, \
            "utilization": {"disk": 0.75}, "request_cost": {"a.b": 3}}
            """
        #expect(text(snake) == wanted)
        let camel = """
            JSON { "cpuUtilization":"0.3","memUtilization":5E-1,"applicationUtilization":"9e-1",\
            "rpsFractional":1200,"eps":"25.0e-1","rps":null,"namedMetrics":{"\\u0071ueue":"-7"},\
            "utilization":{"disk" :0.75} , "requestCost":{"a\\u002eb":3} }\t
            """
        #expect(text(camel) == wanted)
        #expect(text("JSON {}") == LoadReport())
        let nothing = #"JSON {"cpu_utilization":null,"named_metrics":null,"utilization":{}}"#
        #expect(text(nothing) == LoadReport())
    }

    @Test("Names in JSON are any text")
    func jsonNames() {
        let names = [
            #"\"\\\/\b\f\n\r\t"#: "\"\\/\u{8}\u{C}\n\r\t", "né": "né", #"\u00E9"#: "é",
            #"\ud83D\uDe00"#: "😀",
        ]
        for (written, name) in names {
            let given = text(#"JSON {"named_metrics":{""# + written + #"":1}}"#)
            #expect(given?.others == ["named_metrics." + name: 1], "\(written)")
        }
        for odd in [
            #"\ud83d"#, #"\ud83d\u0041"#, #"\ude00"#, #"\u00g0"#, #"\u12"#, #"\x"#, "a\tb", "",
        ] {
            #expect(text(#"JSON {"named_metrics":{""# + odd + #"":1}}"#) == nil, "\(odd)")
        }
    }

    @Test(
        "What can't be read is no report",
        arguments: [
            "", "cpu_utilization=1", "TEXT cpu_utilization", "TEXT eps=nan", "TEXT eps=inf",
            "TEXT eps=1=2", "TEXT eps=x", "BIN ?", "TEXT eps=1,eps=2", "TEXT eps=-1", "TEXT rps=1",
            "TEXT named_metrics.=1", "TEXT utilization.a=1,utilization.a=1", "TEXT other.a=1",
            "TEXT cpu=1",
            "JSON", "JSON ", "JSON null", "JSON []", "JSON 1", "JSON {", "JSON {}}", "JSON {} x",
            #"JSON {"eps"}"#, #"JSON {"eps":}"#, #"JSON {"eps":1,}"#, #"JSON {"eps":1 "cpu":2}"#,
            #"JSON {"eps" 1}"#, #"JSON {eps:1}"#, #"JSON {"eps":1"#, #"JSON {"eps":01}"#,
            #"JSON {"eps":+1}"#, #"JSON {"eps":.5}"#, #"JSON {"eps":1.}"#, #"JSON {"eps":1e}"#,
            #"JSON {"eps":1e+}"#, #"JSON {"eps":-}"#, #"JSON {"eps":0x1}"#, #"JSON {"eps":1e999}"#,
            #"JSON {"eps":-1}"#, #"JSON {"eps":true}"#, #"JSON {"eps":nul}"#, #"JSON {"eps":NaN}"#,
            #"JSON {"eps":"NaN"}"#, #"JSON {"eps":"Infinity"}"#, #"JSON {"eps":" 1"}"#,
            #"JSON {"eps":""}"#, #"JSON {"eps":[1]}"#, #"JSON {"eps":{}}"#,
            #"JSON {"eps":1,"eps":1}"#, #"JSON {"cpuUtilization":1,"cpu_utilization":1}"#,
            #"JSON {"other":1}"#, #"JSON {"named_metrics":1}"#, #"JSON {"named_metrics":[]}"#,
            #"JSON {"named_metrics":{"a":null}}"#, #"JSON {"named_metrics":{"a":{"b":1}}}"#,
            #"JSON {"named_metrics":{"a":1,"a":1}}"#, #"JSON {"rps":x}"#,
        ])
    func refused(value: String) {
        #expect(text(value) == nil)
        #expect(report("endpoint-load", value) == nil)
    }

    @Test(
        "However deep or long, it is refused and nothing more",
        arguments: ["{", "[", "\"", "\\u", "9", " "])
    func hostile(part: String) {
        for start in [#"JSON {"eps":"#, #"JSON {"named_metrics":{""#, "JSON ", "TEXT "] {
            #expect(text(start + String(repeating: part, count: 8000)) == nil)
        }
    }

    @Test("Longer than 16 KiB it is not looked at")
    func length() {
        func padded(_ count: Int) -> LoadReport? {
            text("JSON {" + String(repeating: " ", count: count - 2) + "}")
        }
        #expect(padded(16 * 1024) != nil && padded(16 * 1024 + 1) == nil)
    }

    @Test("What is spoilt at random is read whole or not at all", arguments: 0..<20)
    func spoilt(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let good = Array(
            #"JSON {"cpuUtilization":0.25,"eps":"1e1","named_metrics":{"a\u00e9":1.5,"b":-2},"rps":null}"#
                .utf8)
        for _ in 0..<500 {
            var bytes = good
            for _ in 0...random.below(3) {
                let place = 5 + random.below(bytes.count - 5)
                switch random.below(3) {
                case 0: bytes[place] = bytes[random.below(bytes.count)]
                case 1: bytes.remove(at: place)
                default: bytes.insert(UInt8(random.below(256)), at: place)
                }
            }
            guard let report = text(String(decoding: bytes, as: UTF8.self)) else { continue }
            let figures =
                [
                    report.cpu, report.memory, report.application, report.requestsPerSecond,
                    report.errorsPerSecond,
                ]
            #expect(figures.allSatisfy { $0.map { $0 >= 0 && $0.isFinite } ?? true })
            #expect(report.others.values.allSatisfy { $0.isFinite })
        }
    }
}
