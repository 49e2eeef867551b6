import FuzzBodies
import Glibc

/// The one program for all targets; `FUZZ_TARGET` says which. Its `main` is libFuzzer's.
private let target: FuzzTarget = {
    let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        print("FUZZ_TARGET is one of", FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))
        exit(2)
    }
    return target
}()

@c(LLVMFuzzerTestOneInput)
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    if let problem = target.run(UnsafeBufferPointer(start: start, count: count)) {
        print(problem)
        fflush(nil)
        abort()
    }
    return 0
}
