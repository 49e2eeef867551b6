import MeshBase
import Testing

@testable import Observability

struct TimeFormatTests {
    private func text(_ format: String, _ microseconds: Int64) throws -> String {
        let format = try #require(TimeFormat(format))
        var buffer = ByteBuffer()
        var clock = LogClock()
        format.write(UnixTime(microseconds: microseconds), &clock, to: &buffer)
        return buffer.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test(
        "Each conversion prints its part",
        arguments: [
            ("%Y/%m/%dT%H:%M:%S%z %s", "2026/11/01T09:04:00+0000 1793523840"),
            ("%3f %6f %9f %f %1f", "045 045678 045678000 045678000 0"),
            ("%E3S", "00.045"), ("%e %j %y %C", " 1 305 26 20"), ("%I %p", "09 AM"),
            ("%B %b %h %A %a %w %u", "November Nov Nov Sunday Sun 0 7"),
            ("%F %T %R %D %Z %%", "2026-11-01 09:04:00 09:04 11/01/26 UTC %"),
        ])
    func conversions(_ format: String, _ expected: String) throws {
        #expect(try text(format, 1_793_523_840_045_678) == expected)
    }

    @Test("Midnight and noon are twelve")
    func twelve() throws {
        #expect(try text("%I %p", 0) == "12 AM")
        #expect(try text("%I %p", 43_200_000_000) == "12 PM")
    }

    @Test(
        "What is no conversion makes no format", arguments: ["%", "%Q", "%3", "%3d", "%E", "%ES"])
    func malformed(_ format: String) {
        #expect(TimeFormat(format) == nil)
    }

    @Test("Leap days, centuries and times before 1970 are found")
    func civil() {
        func day(_ seconds: Int64) -> [Int] {
            let time = CivilTime(secondsSince1970: seconds)
            return [time.year, time.month, time.day, time.dayOfYear, time.weekday]
        }
        #expect(day(951_782_400) == [2000, 2, 29, 60, 2])
        #expect(day(951_868_800) == [2000, 3, 1, 61, 3])
        #expect(day(4_107_542_400) == [2100, 3, 1, 60, 1])
        #expect(day(0) == [1970, 1, 1, 1, 4])
        #expect(day(-1) == [1969, 12, 31, 365, 3])
    }

    @Test("A clock that is asked for an older second goes back to it")
    func clock() {
        var clock = LogClock()
        var buffer = ByteBuffer()
        for microseconds: Int64 in [1_999_999, 2_000_000, 1_000_000, -1] {
            clock.writeISO(UnixTime(microseconds: microseconds), to: &buffer)
            buffer.append(" ")
        }
        #expect(
            buffer.withBytes { String(decoding: $0, as: UTF8.self) }
                == "1970-01-01T00:00:01.999Z 1970-01-01T00:00:02.000Z "
                + "1970-01-01T00:00:01.000Z 1969-12-31T23:59:59.999Z ")
    }
}
