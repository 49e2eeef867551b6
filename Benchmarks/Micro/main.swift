import Count
import Glibc

// Parts of a request by themselves, to see which of them a change made slower.
//
//     Benchmarks/Micro/run [WORD...]       those whose names hold one of the words
//
// Each is run in rounds of a few milliseconds; the quickest round counts, since all that disturbs only
// adds. Allocations repeat exactly. An operation is one message, route, pick or line.

let words = CommandLine.arguments.dropFirst()
print("                                                     ns/op   allocations/op")
for benchmark in try codecBenchmarks() + decisionBenchmarks() {
    if !words.isEmpty, !words.contains(where: { benchmark.name.contains($0) }) { continue }
    benchmark.report()
}

struct Benchmark {
    let name: String
    /// Does it so many times.
    let run: (Int) -> Void

    func report() {
        run(100)
        var times = 100
        while measure(times) < 2_000_000 { times *= 2 }
        let before = mesh_allocations()
        run(times)
        let allocations = Double(mesh_allocations() - before) / Double(times)
        let best = (0..<25).map { _ in measure(times) }.min() ?? 0
        let name = self.name + String(repeating: " ", count: max(1, 48 - self.name.utf8.count))
        print(name + column(Double(best) / Double(times), 9) + column(allocations, 12))
    }

    private func measure(_ times: Int) -> UInt64 {
        let before = mesh_processor_time()
        run(times)
        return mesh_processor_time() - before
    }

    /// With one digit behind the point.
    private func column(_ value: Double, _ width: Int) -> String {
        let tenths = Int((value * 10).rounded())
        let text = "\(tenths / 10).\(tenths % 10)"
        return String(repeating: " ", count: max(1, width - text.utf8.count)) + text
    }
}

/// Keeps a result from being optimised away.
@inline(never)
func keep<T>(_ value: borrowing T) {}
