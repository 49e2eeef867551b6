internal import COpenSSL
import MeshBase

/// Where OpenSSL reads and writes: memory. One for each loop, because only one session of a loop is
/// inside OpenSSL at any time.
///
/// A BIO of our own rather than OpenSSL's memory BIO: input is read where the socket put it and
/// output is written where the socket will take it, so ciphertext is copied once less each way and
/// an idle session holds no BIO buffers. Between calls the pipe points nowhere.
public final class TLSPipe {
    let state: UnsafeMutablePointer<PipeState>

    public init() {
        state = .allocate(capacity: 1)
        state.initialize(to: PipeState())
    }

    deinit {
        state.deallocate()
    }

    /// Runs `body` with the pipe connected to these two ends.
    func connect<R>(
        input: UnsafeBufferPointer<UInt8>, output: inout ByteBuffer, _ body: () -> R
    ) -> R {
        precondition(state.pointee.output == nil, "a session is inside OpenSSL already")
        return withUnsafeMutablePointer(to: &output) { output in
            state.pointee = PipeState(input: input.baseAddress, count: input.count, output: output)
            defer { state.pointee = PipeState() }
            return body()
        }
    }

    var hasInput: Bool { state.pointee.count > 0 }
}

@available(*, unavailable)
extension TLSPipe: Sendable {}

struct PipeState {
    var input: UnsafePointer<UInt8>?
    var count = 0
    var output: UnsafeMutablePointer<ByteBuffer>?
}

/// Never written after it is made.
nonisolated(unsafe) let pipeMethod: OpaquePointer? = makePipeMethod()

private func makePipeMethod() -> OpaquePointer? {
    let type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK
    guard let method = BIO_meth_new(type, "mesh pipe") else { return nil }
    BIO_meth_set_create(method) { bio in
        BIO_set_init(bio, 1)
        return 1
    }
    BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
    BIO_meth_set_read_ex(method) { bio, target, size, done in
        guard let bio, let target, let done, let data = BIO_get_data(bio) else { return 0 }
        let pipe = data.assumingMemoryBound(to: PipeState.self)
        mesh_bio_clear_retry(bio)
        let count = min(size, pipe.pointee.count)
        done.pointee = count
        guard count > 0, let input = pipe.pointee.input else {
            mesh_bio_retry_read(bio)
            return 0
        }
        UnsafeMutableRawPointer(target).copyMemory(from: input, byteCount: count)
        pipe.pointee.input = input + count
        pipe.pointee.count -= count
        return 1
    }
    BIO_meth_set_write_ex(method) { bio, source, size, done in
        guard let bio, let source, let done, let data = BIO_get_data(bio),
            let output = data.assumingMemoryBound(to: PipeState.self).pointee.output
        else { return 0 }
        mesh_bio_clear_retry(bio)
        source.withMemoryRebound(to: UInt8.self, capacity: size) {
            output.pointee.append(UnsafeBufferPointer(start: $0, count: size))
        }
        done.pointee = size
        return 1
    }
    return method
}
