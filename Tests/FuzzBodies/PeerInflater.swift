import Glibc

/// nghttp2's reader of header blocks, as another opinion: it is looked for when it is wanted, and
/// without it what compares with it compares less.
final class PeerInflater {
    private typealias Make = @convention(c) (UnsafeMutablePointer<OpaquePointer?>) -> CInt
    private typealias Inflate =
        @convention(c) (
            OpaquePointer, UnsafeMutableRawPointer, UnsafeMutablePointer<CInt>,
            UnsafePointer<UInt8>?, Int, CInt
        ) -> Int
    private typealias End = @convention(c) (OpaquePointer) -> CInt
    private typealias Free = @convention(c) (OpaquePointer) -> Void
    private typealias Resize = @convention(c) (OpaquePointer, Int) -> CInt

    private struct Library {
        let make: Make
        let inflate: Inflate
        let end: End
        let free: Free
        let resize: Resize

        init?() {
            guard let handle = dlopen("libnghttp2.so.14", RTLD_NOW),
                let make = dlsym(handle, "nghttp2_hd_inflate_new"),
                let inflate = dlsym(handle, "nghttp2_hd_inflate_hd2"),
                let end = dlsym(handle, "nghttp2_hd_inflate_end_headers"),
                let free = dlsym(handle, "nghttp2_hd_inflate_del"),
                let resize = dlsym(handle, "nghttp2_hd_inflate_change_table_size")
            else { return nil }
            self.make = unsafeBitCast(make, to: Make.self)
            self.inflate = unsafeBitCast(inflate, to: Inflate.self)
            self.end = unsafeBitCast(end, to: End.self)
            self.free = unsafeBitCast(free, to: Free.self)
            self.resize = unsafeBitCast(resize, to: Resize.self)
        }
    }

    /// `nghttp2_nv`.
    private struct Pair {
        var name: UnsafePointer<UInt8>?
        var value: UnsafePointer<UInt8>?
        var nameCount = 0
        var valueCount = 0
        var flags: UInt8 = 0
    }

    private static let library = Library()
    private let library: Library
    private let inflater: OpaquePointer

    init?() {
        guard let library = PeerInflater.library else { return nil }
        var made: OpaquePointer?
        guard library.make(&made) == 0, let made else { return nil }
        self.library = library
        inflater = made
    }

    deinit { library.free(inflater) }

    /// The SETTINGS_HEADER_TABLE_SIZE that we told the peer.
    func resize(_ size: Int) { _ = library.resize(inflater, size) }

    /// - Returns: `nil` when the block can't be read.
    func read(_ block: [UInt8]) -> [PlainField]? {
        var fields: [PlainField] = []
        let isGood = block.withUnsafeBufferPointer { bytes in
            var at = 0
            while true {
                var pair = Pair()
                var flags: CInt = 0
                let start = bytes.baseAddress.map { $0 + at }
                let taken = library.inflate(inflater, &pair, &flags, start, bytes.count - at, 1)
                if taken < 0 { return false }
                at += taken
                if flags & 2 != 0 {
                    fields.append(
                        PlainField(
                            name: Array(
                                UnsafeBufferPointer(start: pair.name, count: pair.nameCount)),
                            value: Array(
                                UnsafeBufferPointer(start: pair.value, count: pair.valueCount))))
                }
                if flags & 1 != 0 { break }
                if flags & 2 == 0, at == bytes.count { break }
            }
            return true
        }
        _ = library.end(inflater)
        return isGood ? fields : nil
    }
}
