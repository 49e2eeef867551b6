internal import COpenSSL
import Glibc

/// From now on OpenSSL draws on this thread from a generator with this seed, so that a handshake
/// replays byte for byte. Other threads keep their own source: tests beside this one do not disturb
/// it.
public func installSeededRandom(seed: UInt64) {
    let state: UnsafeMutablePointer<UInt64>
    if let known = pthread_getspecific(threadState) {
        state = known.assumingMemoryBound(to: UInt64.self)
    } else {
        state = .allocate(capacity: 1)
        pthread_setspecific(threadState, state)
    }
    state.pointee = seed
    _ = replaced
}

/// Gives this thread OpenSSL's own source back.
public func removeSeededRandom() {
    guard let known = pthread_getspecific(threadState) else { return }
    pthread_setspecific(threadState, nil)
    known.deallocate()
}

private let threadState: pthread_key_t = {
    var key = pthread_key_t()
    let result = pthread_key_create(&key) { $0?.deallocate() }
    precondition(result == 0)
    return key
}()

private let replaced: Void = mesh_set_random(drawBytes)

private func drawBytes(_ target: UnsafeMutablePointer<UInt8>?, _ count: Int32) -> Int32 {
    guard let target, let raw = pthread_getspecific(threadState) else {
        return mesh_usual_random(target, count)
    }
    let state = raw.assumingMemoryBound(to: UInt64.self)
    var word: UInt64 = 0
    for index in 0..<Int(max(0, count)) {
        if index % 8 == 0 {
            // SplitMix64.
            state.pointee &+= 0x9E37_79B9_7F4A_7C15
            word = state.pointee
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            word ^= word >> 31
        }
        target[index] = UInt8(truncatingIfNeeded: word)
        word >>= 8
    }
    return 1
}
