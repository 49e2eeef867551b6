import MeshBase
import Observability

/// The `date` header's text (RFC 9110 §5.6.7), made once a second.
struct HTTPDate {
    private var second: Int64 = -1
    private var text: [UInt8] = []

    mutating func advance(to time: UnixTime) {
        if time.seconds == second { return }
        second = time.seconds
        text = Array(HTTPDate.format(second).utf8)
    }

    func withBytes(_ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        text.withUnsafeBufferPointer(body)
    }

    /// "Sun, 06 Nov 1994 08:49:37 GMT", from seconds since 1970.
    static func format(_ seconds: Int64) -> String {
        let time = CivilTime(secondsSince1970: seconds)
        let weekday = CivilTime.weekdayNames[time.weekday].prefix(3)
        let month = CivilTime.monthNames[time.month - 1].prefix(3)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return
            "\(weekday), \(two(time.day)) \(month) \(time.year) "
            + "\(two(time.hour)):\(two(time.minute)):\(two(time.second)) GMT"
    }
}
