internal import CLibev
public import MeshBase

/// Whole files, read at once: certificates, configuration. Blocks; for the control loop only.
public enum Files {
    /// - Throws: `SocketError` with "open" or "read" and the errno; EFBIG beyond `limit` bytes.
    public static func read(
        _ path: String, limit: Int = 64 * 1024 * 1024
    ) throws(SocketError) -> [UInt8] {
        let descriptor = mesh_open_read(path)
        guard descriptor >= 0 else {
            throw SocketError(operation: "open \(path)", errno: -descriptor)
        }
        defer { _ = mesh_close(descriptor) }
        var status = stat()
        var content: [UInt8] = []
        if fstat(descriptor, &status) == 0, status.st_size <= limit {
            content.reserveCapacity(Int(status.st_size))
        }
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = chunk.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { mesh_read(descriptor, $0, buffer.count) } ?? 0
            }
            if count == 0 { return content }
            guard count > 0 else {
                throw SocketError(operation: "read \(path)", errno: Int32(-count))
            }
            content.append(contentsOf: chunk[..<count])
            if content.count > limit {
                throw SocketError(operation: "read \(path)", errno: EFBIG)
            }
        }
    }

    /// Names in a directory, sorted, without those that begin with a dot.
    public static func list(_ directory: String) throws(SocketError) -> [String] {
        guard let handle = opendir(directory) else {
            throw SocketError(operation: "opendir \(directory)", errno: mesh_errno())
        }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
}

/// A file that lines are appended to, through a buffer of its own.
public final class AppendFile {
    public let path: String
    private var descriptor: Int32
    private var buffer = ByteBuffer()

    /// Opens or makes the file; "/dev/stdout" and "/dev/stderr" are ours already.
    public init(path: String) throws(SocketError) {
        self.path = path
        descriptor = try AppendFile.open(path)
    }

    deinit {
        flush()
        if descriptor > 2 { _ = mesh_close(descriptor) }
    }

    private static func open(_ path: String) throws(SocketError) -> Int32 {
        if path == "/dev/stdout" { return 1 }
        if path == "/dev/stderr" { return 2 }
        let descriptor = mesh_open_append(path)
        if descriptor < 0 { throw SocketError(operation: "open \(path)", errno: -descriptor) }
        return descriptor
    }

    public var waiting: Int { buffer.count }

    /// Bytes to be written with the next `flush`.
    public func append(_ fill: (inout ByteBuffer) -> Void) {
        fill(&buffer)
    }

    /// Writes what waits. What a full disk or pipe refuses is dropped: a log must not stop traffic.
    public func flush() {
        while !buffer.isEmpty {
            let written = buffer.withBytes { bytes in
                bytes.baseAddress.map { mesh_write(descriptor, $0, bytes.count) } ?? 0
            }
            if written > 0 {
                buffer.consume(written)
            } else if written != -Int(EINTR) {
                buffer.removeAll()
            }
        }
        buffer.shrink(keeping: 16 * 1024)
    }

    /// Opens the path anew, after somebody moved the file away. Keeps the old one on failure.
    public func reopen() {
        flush()
        guard descriptor > 2, let fresh = try? AppendFile.open(path) else { return }
        _ = mesh_close(descriptor)
        descriptor = fresh
    }
}

/// Tells when anything in some directories changes. Kubernetes swaps a symlink beside the files,
/// so it is the directory that must be watched.
public final class DirectoryWatch {
    private let loop: LibevLoop
    private let changed: () -> Void
    private let descriptor: Int32
    private let watcher = UnsafeMutablePointer<ev_io>.allocate(capacity: 1)
    private var watched: Set<String> = []

    /// - Parameter changed: called on the loop, once for a burst of changes at most a turn.
    public init(loop: LibevLoop, changed: @escaping () -> Void) throws(SocketError) {
        let descriptor = mesh_inotify()
        guard descriptor >= 0 else {
            throw SocketError(operation: "inotify_init", errno: -descriptor)
        }
        self.descriptor = descriptor
        self.loop = loop
        self.changed = changed
        mesh_io_init(
            watcher, directoryChanged, descriptor, Int32(EV_READ),
            Unmanaged.passUnretained(self).toOpaque())
        ev_io_start(loop.raw, watcher)
    }

    deinit {
        ev_io_stop(loop.raw, watcher)
        _ = mesh_close(descriptor)
        watcher.deallocate()
    }

    /// Begins to watch a directory; again is harmless.
    public func watch(_ directory: String) throws(SocketError) {
        if watched.contains(directory) { return }
        let result = mesh_watch_directory(descriptor, directory)
        if result < 0 { throw SocketError(operation: "inotify \(directory)", errno: -result) }
        watched.insert(directory)
    }

    fileprivate func readable() {
        var events = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = events.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { mesh_read(descriptor, $0, buffer.count) } ?? 0
            }
            if count <= 0 { break }
        }
        changed()
    }
}

private func directoryChanged(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_io>, _: Int32) {
    Unmanaged<DirectoryWatch>.fromOpaque(watcher.pointee.data).takeUnretainedValue().readable()
}
