internal import CLibev
public import MeshBase

/// Facts about the machine and the process that the shell asks for once.
public enum Machine {
    public static let terminate = SIGTERM
    public static let interrupt = SIGINT
    public static let user1 = SIGUSR1

    /// CPUs that the process may run on and the cgroup's quota grants, rounded up; at most 2, which is
    /// enough for a sidecar.
    public static var workerCount: Int {
        var granted = max(1, Int(mesh_cpu_count()))
        if let text = try? Files.read("/sys/fs/cgroup/cpu.max") {
            let words = String(decoding: text, as: UTF8.self).split { $0 == " " || $0 == "\n" }
            if words.count == 2, let quota = Int(words[0]), let period = Int(words[1]), period > 0 {
                granted = min(granted, max(1, (quota + period - 1) / period))
            }
        }
        return min(granted, 2)
    }

    /// A seed for a loop's chance, from the kernel.
    public static func seed() -> UInt64 {
        var seed: UInt64 = 0
        withUnsafeMutableBytes(of: &seed) { bytes in
            if let base = bytes.baseAddress { _ = getentropy(base, bytes.count) }
        }
        return seed
    }

    /// Sets the allocator up for buffers that come and go. Before there are threads.
    public static func tuneMemory() { mesh_tune_malloc() }

    public static var processID: Int32 { getpid() }

    /// Resident set size in bytes.
    public static var residentBytes: Int {
        guard let text = try? Files.read("/proc/self/statm") else { return 0 }
        let words = String(decoding: text, as: UTF8.self).split(separator: " ")
        guard words.count > 1, let pages = Int(words[1]) else { return 0 }
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Gives memory that is free back to the system. Takes milliseconds for hundreds of megabytes, in
    /// which allocations of other threads wait.
    public static func giveBackMemory() { mesh_give_back_memory() }

    /// Start-up runs through most of the program once; what of its code is not wanted any more need not
    /// stay resident. What is wanted comes back from the system's cache by a fault for each sixteen pages.
    public static func forgetCode() {
        guard let text = try? Files.read("/proc/self/maps") else { return }
        for line in text.split(separator: 0x0A) {
            let words = String(decoding: line, as: UTF8.self).split(separator: " ")
            guard words.count == 6, words[1] == "r-xp", words[5].hasPrefix("/") else { continue }
            let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            guard bounds.count == 2, bounds[0] < bounds[1] else { continue }
            madvise(
                UnsafeMutableRawPointer(bitPattern: bounds[0]), Int(bounds[1] - bounds[0]),
                MADV_DONTNEED)
        }
    }

    /// Wall-clock time for what has no loop: log lines of any thread.
    public static var wallClock: UnixTime { Socket.wallClock }

    /// The machine's name, or the pod's; empty if the system does not say.
    public static var hostName: String {
        var name = [UInt8](repeating: 0, count: 256)
        let result = name.withUnsafeMutableBytes { bytes in
            bytes.assumingMemoryBound(to: CChar.self).baseAddress.map {
                gethostname($0, bytes.count - 1)
            }
        }
        return result == 0 ? String(decoding: name.prefix { $0 != 0 }, as: UTF8.self) : ""
    }

    public static func writeError(_ text: String) {
        var text = text
        text.withUTF8 { writeError($0) }
    }

    /// Writes to standard error in one call, so that lines of several threads don't mix. What the
    /// system refuses is lost.
    public static func writeError(_ bytes: UnsafeBufferPointer<UInt8>) {
        if let base = bytes.baseAddress { _ = mesh_write(2, base, bytes.count) }
    }
}
