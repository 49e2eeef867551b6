internal import CLibev

/// A thread that owns a loop. All signals are blocked on it; the main thread has them.
public final class LoopThread: Sendable {
    private let thread: pthread_t

    /// Starts the thread; `body` sets things up on the loop and calls `run`.
    ///
    /// What only a local variable holds may be freed before `run` returns: keep it with
    /// `withExtendedLifetime`.
    /// - Parameter name: at most 15 bytes are shown by tools.
    /// - Throws: `SocketError` when the system has no thread to give.
    public init(
        name: String, seed: UInt64, body: @escaping @Sendable (LibevLoop) -> Void
    ) throws(SocketError) {
        thread = try startThread(name: name) {
            let loop = LibevLoop(seed: seed)
            body(loop)
            loop.close()
        }
    }

    /// Waits until `body` has returned; called once.
    public func join() {
        pthread_join(thread, nil)
    }
}

private final class ThreadStart: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

func startThread(
    name: String, body: @escaping @Sendable () -> Void
) throws(SocketError) -> pthread_t {
    let start = Unmanaged.passRetained(
        ThreadStart(name: String(decoding: name.utf8.prefix(15), as: UTF8.self), body: body))
    var thread = pthread_t()
    let result = pthread_create(&thread, nil, threadBody, start.toOpaque())
    if result != 0 {
        start.release()
        throw SocketError(operation: "pthread_create", errno: result)
    }
    return thread
}

private func threadBody(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
    mesh_block_signals()
    mesh_name_thread(start.name)
    start.body()
    return nil
}
