internal import CLibev
internal import MeshBase

/// A socket's descriptor and each system call that the loop makes on it, once.
///
/// Failures stay what they are, a negative errno, where they happen for each read and write;
/// `SocketError` where they are rare.
struct Socket {
    let descriptor: Int32

    enum Family {
        case ipv4
        case ipv6
        case unix

        var number: Int32 {
            switch self {
            case .ipv4: AF_INET
            case .ipv6: AF_INET6
            case .unix: AF_UNIX
            }
        }
    }

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    init(_ family: Family, for address: SocketAddress) throws(SocketError) {
        descriptor = mesh_socket(family.number)
        try check(descriptor, "socket", address)
    }

    // MARK: Setting up

    func bind(_ address: SocketAddress) throws(SocketError) {
        var raw = try mesh_address(address)
        try check(mesh_bind(descriptor, &raw), "bind", address)
    }

    func listen(backlog: Int32, _ address: SocketAddress) throws(SocketError) {
        try check(mesh_listen(descriptor, backlog), "listen", address)
    }

    /// Starts to connect. The end is told by the socket's becoming writable, even when it is
    /// there at once.
    func connect(_ address: SocketAddress) throws(SocketError) {
        var raw = try mesh_address(address)
        let result = mesh_connect(descriptor, &raw)
        if result != -EINPROGRESS { try check(result, "connect", address) }
    }

    /// How the connect ended: 0 or an errno.
    func takePendingError() -> Int32 { -mesh_pending_error(descriptor) }

    func set(_ option: Option, _ value: Int32, for address: SocketAddress? = nil)
        throws(SocketError)
    {
        let (level, number) = option.numbers
        try check(
            mesh_set_option(descriptor, level, number, value), "setsockopt \(option)", address)
    }

    enum Option {
        case reuseAddress, reusePort, noDelay, userTimeoutMilliseconds, ipv6Only
        case keepAlive, keepAliveIdleSeconds, keepAliveIntervalSeconds, keepAliveProbes
        case sendBuffer

        fileprivate var numbers: (Int32, Int32) {
            switch self {
            case .reuseAddress: (SOL_SOCKET, SO_REUSEADDR)
            case .reusePort: (SOL_SOCKET, SO_REUSEPORT)
            case .sendBuffer: (SOL_SOCKET, SO_SNDBUF)
            case .noDelay: (tcpLevel, TCP_NODELAY)
            case .userTimeoutMilliseconds: (tcpLevel, TCP_USER_TIMEOUT)
            case .ipv6Only: (Int32(IPPROTO_IPV6), IPV6_V6ONLY)
            case .keepAlive: (SOL_SOCKET, SO_KEEPALIVE)
            case .keepAliveIdleSeconds: (tcpLevel, TCP_KEEPIDLE)
            case .keepAliveIntervalSeconds: (tcpLevel, TCP_KEEPINTVL)
            case .keepAliveProbes: (tcpLevel, TCP_KEEPCNT)
            }
        }

        private var tcpLevel: Int32 { Int32(IPPROTO_TCP) }
    }

    func setTransparent(_ family: Family, for address: SocketAddress) throws(SocketError) {
        try check(
            mesh_set_transparent(descriptor, family.number), "setsockopt transparent", address)
    }

    // MARK: Using

    /// - Returns: the new connection and its peer, or an errno.
    func accept() -> Result<(Socket, SocketAddress?), SocketError> {
        var from = CLibev.mesh_address()
        let result = mesh_accept(descriptor, &from)
        if result < 0 { return .failure(SocketError(operation: "accept", errno: -result)) }
        return .success((Socket(descriptor: result), SocketAddress(from)))
    }

    /// - Returns: the number of bytes, 0 at the end, or -errno.
    func receive(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        while true {
            let result = mesh_recv(descriptor, base, buffer.count)
            if result != -Int(EINTR) { return result }
        }
    }

    /// - Returns: the number of bytes taken, 0 when the kernel's buffer is full, or -errno.
    func send(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        while true {
            let result = mesh_send(descriptor, base, bytes.count)
            if result == -Int(EAGAIN) { return 0 }
            if result != -Int(EINTR) { return result }
        }
    }

    func finishWriting() {
        // It fails only when the connection is gone, which reading tells.
        _ = mesh_finish_writing(descriptor)
    }

    func close() {
        _ = mesh_close(descriptor)
    }

    /// Closes with a RST where there is such a thing.
    func reset() {
        _ = mesh_set_reset_on_close(descriptor)
        close()
    }

    var localAddress: SocketAddress? {
        var raw = CLibev.mesh_address()
        return mesh_local_address(descriptor, &raw) < 0 ? nil : SocketAddress(raw)
    }

    /// Where the client wanted to go before netfilter redirected it: the address, or an errno.
    func originalDestination(_ family: Family) -> Result<SocketAddress?, SocketError> {
        var raw = CLibev.mesh_address()
        let result = mesh_original_destination(descriptor, family.number, &raw)
        if result < 0 {
            return .failure(SocketError(operation: "getsockopt", errno: -result))
        }
        return .success(SocketAddress(raw))
    }

    static func unlink(_ path: String) {
        _ = mesh_unlink(path)
    }

    static func changeMode(_ path: String, _ mode: UInt32, _ address: SocketAddress)
        throws(SocketError)
    {
        try check(mesh_chmod(path, mode), "chmod", address)
    }

    static var monotonicNow: Instant { Instant(nanoseconds: mesh_monotonic()) }

    static var wallClock: UnixTime { UnixTime(microseconds: mesh_realtime()) }

    /// Asks the system's resolver and waits for it.
    static func lookUp(_ host: String) -> [SocketAddress] {
        var first: UnsafeMutablePointer<addrinfo>?
        guard mesh_lookup(host, &first) == 0 else { return [] }
        defer { freeaddrinfo(first) }
        var found: [SocketAddress] = []
        var next = first
        while let info = next {
            var raw = CLibev.mesh_address()
            mesh_address_copy(&raw, info)
            if let address = SocketAddress(raw), !found.contains(address) {
                found.append(address)
            }
            next = info.pointee.ai_next
        }
        return found
    }
}

private func check(
    _ result: Int32, _ operation: @autoclosure () -> String, _ address: SocketAddress?
) throws(SocketError) {
    if result < 0 {
        throw SocketError(operation: operation(), errno: -result, address: address)
    }
}

extension mesh_address {
    fileprivate init(_ address: SocketAddress) throws(SocketError) {
        self.init()
        switch address {
        case .ipv4(let ip, let port): mesh_address_ipv4(&self, ip, port)
        case .ipv6(let high, let low, let port): mesh_address_ipv6(&self, high, low, port)
        case .pipe(let path):
            var name = Array(path.utf8)
            if name.first == UInt8(ascii: "@") { name[0] = 0 }
            try check(mesh_address_unix(&self, name, name.count), "address", address)
        }
    }
}

extension SocketAddress {
    /// - Returns: `nil` for families that we do not speak and for unnamed unix sockets.
    fileprivate init?(_ raw: mesh_address) {
        var raw = raw
        switch mesh_address_family(&raw) {
        case AF_INET:
            self = .ipv4(mesh_address_get_ipv4(&raw), port: mesh_address_port(&raw))
        case AF_INET6:
            self = .ipv6(
                mesh_address_get_ipv6(&raw, 0), mesh_address_get_ipv6(&raw, 1),
                port: mesh_address_port(&raw))
        case AF_UNIX:
            let count = mesh_address_path_count(&raw)
            guard count > 0 else { return nil }
            var name = withUnsafePointer(to: &raw) { pointer in
                let path = UnsafeRawBufferPointer(
                    start: mesh_address_get_path(pointer), count: count)
                return Array(path)
            }
            if name[0] == 0 {
                name[0] = UInt8(ascii: "@")
            } else if let end = name.firstIndex(of: 0) {
                name.removeSubrange(end...)
            }
            self = .pipe(String(decoding: name, as: UTF8.self))
        default:
            return nil
        }
    }

    var family: Socket.Family {
        switch self {
        case .ipv4: .ipv4
        case .ipv6: .ipv6
        case .pipe: .unix
        }
    }
}

extension SocketError {
    /// The symbol of an errno, such as "ECONNREFUSED".
    static func name(of errno: Int32) -> String {
        strerrorname_np(errno).map { String(cString: $0) } ?? "unknown"
    }

    /// The same as evidence about the peer: while connecting, or afterwards.
    func transportFailure(connecting: Bool) -> TransportFailure {
        let kind: TransportFailure.Kind
        switch errno {
        // A unix socket that is missing or whose backlog is full refuses as well.
        case ECONNREFUSED, ENOENT, EAGAIN: kind = .connectRefused
        case ETIMEDOUT: kind = connecting ? .connectTimeout : .reset
        case ENETUNREACH, EHOSTUNREACH, ENETDOWN, EACCES, EPERM: kind = .unreachable
        case ECONNRESET, EPIPE, ECONNABORTED: kind = .reset
        case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL: kind = .exhausted
        default: kind = connecting ? .unreachable : .reset
        }
        return TransportFailure(kind, detail: "\(operation): \(SocketError.name(of: errno))")
    }

    /// Out of descriptors or memory: waiting helps, trying again at once does not.
    var isExhaustion: Bool {
        switch errno {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: true
        default: false
        }
    }

    var isWouldBlock: Bool { errno == EAGAIN }

    var isRefused: Bool { errno == ECONNREFUSED }

    var isAddressInUse: Bool { errno == EADDRINUSE }

    /// The listener can never answer this question: no netfilter here, or not for this family.
    var isUnsupported: Bool {
        switch errno {
        case ENOPROTOOPT, EOPNOTSUPP: true
        default: false
        }
    }
}
