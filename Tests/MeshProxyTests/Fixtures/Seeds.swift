import Glibc
import Testing

/// The seeds of a sweep: `MESH_SEED=n` in the environment is one alone, `MESH_SEEDS=n` so many.
enum Seeds {
    /// Runs a check for each seed; what it returns is what was wrong.
    static func each(_ count: Int = 200, _ check: (UInt64) -> [String]) {
        let seeds: [UInt64]
        if let one = number("MESH_SEED") {
            seeds = [UInt64(one)]
        } else {
            seeds = (0..<(number("MESH_SEEDS") ?? count)).map(UInt64.init)
        }
        for seed in seeds {
            let problems = check(seed)
            if problems.isEmpty { continue }
            Issue.record("MESH_SEED=\(seed): \(problems.prefix(8).joined(separator: "\n  "))")
        }
    }

    static func number(_ name: String) -> Int? {
        getenv(name).flatMap { Int(String(cString: $0)) }
    }
}
