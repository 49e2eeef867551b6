internal import CLibev

extension SocketError {
    /// The symbolic text of an errno.
    static func name(of errno: Int32) -> String {
        String(cString: strerror(errno))
    }
}
