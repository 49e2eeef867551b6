public import MeshBase

/// The day and second that the last lines were written in, so that a date is made once a second.
public struct LogClock: ~Copyable {
    private var second = Int64.min
    var civil = CivilTime(secondsSince1970: 0)
    /// "2026-11-21T09:14:00."
    private var prefix = ByteBuffer()

    public init() {}

    mutating func advance(to time: UnixTime) {
        let now = flooredSecond(of: time)
        if now == second { return }
        second = now
        civil = CivilTime(secondsSince1970: now)
        prefix.removeAll()
        prefix.append(padded: civil.year, to: 4)
        prefix.append(byte: 45)
        prefix.append(padded: civil.month, to: 2)
        prefix.append(byte: 45)
        prefix.append(padded: civil.day, to: 2)
        prefix.append(byte: 84)
        prefix.append(padded: civil.hour, to: 2)
        prefix.append(byte: 58)
        prefix.append(padded: civil.minute, to: 2)
        prefix.append(byte: 58)
        prefix.append(padded: civil.second, to: 2)
        prefix.append(byte: 46)
    }

    /// Appends "2026-11-21T09:14:00.123Z".
    public mutating func writeISO(_ time: UnixTime, to buffer: inout ByteBuffer) {
        advance(to: time)
        prefix.withBytes { buffer.append($0) }
        buffer.append(padded: microsecond(of: time) / 1000, to: 3)
        buffer.append(byte: 90)
    }
}

/// The format of a moment, as `strftime` has it; a subset, in UTC, with Envoy's fractions of a
/// second (`%3f`, `%6f`, `%9f`, and `%f` for all nine digits).
struct TimeFormat: Sendable, Equatable {
    enum Piece: Equatable {
        case byte(UInt8)
        case year, yearOfCentury, century, month, day, dayPadded, dayOfYear
        case hour, hourOfHalf, halfDay, minute, second
        case monthName, monthShort, weekdayName, weekdayShort, weekday, weekdayFromMonday
        case epoch, fraction(digits: Int)
    }

    private let pieces: [Piece]

    /// - Returns: `nil` for a conversion that we don't have.
    init?(_ text: String) {
        var pieces: [Piece] = []
        guard TimeFormat.parse(Array(text.utf8), into: &pieces) else { return nil }
        self.pieces = pieces
    }

    private static func parse(_ text: [UInt8], into pieces: inout [Piece]) -> Bool {
        var index = 0
        while index < text.count {
            let byte = text[index]
            index += 1
            if byte != 37 {
                pieces.append(.byte(byte))
                continue
            }
            guard index < text.count else { return false }
            var letter = text[index]
            index += 1
            if (49...57).contains(letter) {
                guard index < text.count, text[index] == UInt8(ascii: "f") else { return false }
                index += 1
                pieces.append(.fraction(digits: Int(letter - 48)))
                continue
            }
            // Seconds with a fraction in one, as some libraries spell it: %E3S.
            if letter == UInt8(ascii: "E") {
                guard index + 1 < text.count, (49...57).contains(text[index]),
                    text[index + 1] == UInt8(ascii: "S")
                else { return false }
                pieces += [.second, .byte(46), .fraction(digits: Int(text[index] - 48))]
                index += 2
                continue
            }
            if letter == UInt8(ascii: "h") { letter = UInt8(ascii: "b") }
            guard let single = single(letter) else {
                guard let several = several(letter) else { return false }
                guard parse(Array(several.utf8), into: &pieces) else { return false }
                continue
            }
            pieces.append(single)
        }
        return true
    }

    private static func single(_ letter: UInt8) -> Piece? {
        switch Unicode.Scalar(letter) {
        case "Y": .year
        case "y": .yearOfCentury
        case "C": .century
        case "m": .month
        case "d": .day
        case "e": .dayPadded
        case "j": .dayOfYear
        case "H": .hour
        case "I": .hourOfHalf
        case "p": .halfDay
        case "M": .minute
        case "S": .second
        case "B": .monthName
        case "b": .monthShort
        case "A": .weekdayName
        case "a": .weekdayShort
        case "w": .weekday
        case "u": .weekdayFromMonday
        case "s": .epoch
        case "f": .fraction(digits: 9)
        case "%": .byte(37)
        case "t": .byte(9)
        default: nil
        }
    }

    private static func several(_ letter: UInt8) -> String? {
        switch Unicode.Scalar(letter) {
        case "F": "%Y-%m-%d"
        case "T": "%H:%M:%S"
        case "R": "%H:%M"
        case "D": "%m/%d/%y"
        case "z": "+0000"
        case "Z": "UTC"
        default: nil
        }
    }

    func write(_ time: UnixTime, _ clock: inout LogClock, to buffer: inout ByteBuffer) {
        clock.advance(to: time)
        let civil = clock.civil
        for piece in pieces {
            switch piece {
            case .byte(let byte): buffer.append(byte: byte)
            case .year: buffer.append(padded: civil.year, to: 4)
            case .yearOfCentury: buffer.append(padded: civil.year % 100, to: 2)
            case .century: buffer.append(padded: civil.year / 100, to: 2)
            case .month: buffer.append(padded: civil.month, to: 2)
            case .day: buffer.append(padded: civil.day, to: 2)
            case .dayPadded:
                if civil.day < 10 { buffer.append(byte: 32) }
                buffer.append(decimal: civil.day)
            case .dayOfYear: buffer.append(padded: civil.dayOfYear, to: 3)
            case .hour: buffer.append(padded: civil.hour, to: 2)
            case .hourOfHalf: buffer.append(padded: (civil.hour + 11) % 12 + 1, to: 2)
            case .halfDay: buffer.append(civil.hour < 12 ? "AM" : "PM" as StaticString)
            case .minute: buffer.append(padded: civil.minute, to: 2)
            case .second: buffer.append(padded: civil.second, to: 2)
            case .monthName: buffer.append(CivilTime.monthNames[civil.month - 1])
            case .monthShort: buffer.append(String(CivilTime.monthNames[civil.month - 1].prefix(3)))
            case .weekdayName: buffer.append(CivilTime.weekdayNames[civil.weekday])
            case .weekdayShort:
                buffer.append(String(CivilTime.weekdayNames[civil.weekday].prefix(3)))
            case .weekday: buffer.append(decimal: civil.weekday)
            case .weekdayFromMonday: buffer.append(decimal: (civil.weekday + 6) % 7 + 1)
            case .epoch: buffer.append(signed: Int(flooredSecond(of: time)))
            case .fraction(let digits):
                var value = microsecond(of: time) * 1000
                for _ in digits..<9 { value /= 10 }
                buffer.append(padded: value, to: digits)
            }
        }
    }
}

private func flooredSecond(of time: UnixTime) -> Int64 {
    time.microseconds % 1_000_000 < 0 ? time.seconds - 1 : time.seconds
}

private func microsecond(of time: UnixTime) -> Int {
    let rest = Int(time.microseconds % 1_000_000)
    return rest < 0 ? rest + 1_000_000 : rest
}

extension ByteBuffer {
    /// Appends at least `width` digits; below zero is taken as zero.
    mutating func append(padded value: Int, to width: Int) {
        let value = max(value, 0)
        var bound = 10
        for _ in 1..<max(width, 1) {
            if value < bound { append(byte: 48) }
            bound *= 10
        }
        append(decimal: value)
    }

    mutating func append(signed value: Int) {
        if value < 0 { append(byte: 45) }
        append(decimal: Int(clamping: value.magnitude))
    }
}
