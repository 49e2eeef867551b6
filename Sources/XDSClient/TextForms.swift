/// Protobuf's text form of a duration: "1.5s". Milliseconds, "250ms", are taken as well.
enum DurationText {
    static func parse(_ text: String) -> (seconds: Int64, nanos: Int32)? {
        if text.hasSuffix("ms") {
            guard let count = Int64(text.dropLast(2)) else { return nil }
            return (count / 1000, Int32(count % 1000) * 1_000_000)
        }
        guard text.hasSuffix("s") else { return nil }
        var digits = text.dropLast()
        let isNegative = digits.hasPrefix("-")
        if isNegative { digits = digits.dropFirst() }
        let parts = digits.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, !whole.isEmpty || parts.count == 2,
            whole.utf8.allSatisfy({ (48...57).contains($0) }),
            let seconds = whole.isEmpty ? 0 : Int64(whole), seconds <= 315_576_000_000
        else { return nil }
        var nanos: Int32 = 0
        if parts.count == 2 {
            guard (1...9).contains(parts[1].count),
                parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
                let fraction = Int32(parts[1])
            else { return nil }
            nanos = fraction
            for _ in parts[1].count..<9 { nanos *= 10 }
        }
        return isNegative ? (-seconds, -nanos) : (seconds, nanos)
    }
}
