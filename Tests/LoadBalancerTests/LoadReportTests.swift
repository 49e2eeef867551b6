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
        #expect(report([0x2A, UInt8(entry.count)] + entry)?.others == ["utilization.q": 3])
        for odd in [Double.infinity, .nan] {
            let bad: [UInt8] = [0x0A, 1, 0x71] + field(2, odd)
            #expect(report(field(6, odd)) == nil)
            #expect(report([0x2A, UInt8(bad.count)] + bad) == nil)
        }
    }

    @Test(
        "What can't be read is no report",
        arguments: [
            "", "cpu_utilization=1", "JSON {}", "TEXT cpu_utilization", "TEXT eps=nan",
            "TEXT eps=inf",
            "TEXT eps=1=2", "TEXT eps=x", "BIN ?",
        ])
    func refused(value: String) {
        #expect(text(value) == nil)
        #expect(report("endpoint-load", value) == nil)
    }
}
