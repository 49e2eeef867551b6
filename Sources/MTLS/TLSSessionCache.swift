internal import COpenSSL

/// Sessions that our clients may resume, by endpoint; one for each worker or cluster.
///
/// A key holds what the context trusts besides the endpoint, so a session cannot be found by a
/// context with other trust, and those of a trust that is gone fall out as the oldest.
public final class TLSSessionCache {
    private struct Entry {
        let session: OpaquePointer
        /// Seconds since 1970.
        let deadline: Int64
    }

    private var entries: [String: [Entry]] = [:]
    private var order: [String] = []
    private let maxKeys: Int

    /// - Parameter maxKeys: how many endpoints are remembered; a session takes some 12 KiB.
    public init(maxKeys: Int = 256) {
        self.maxKeys = max(1, maxKeys)
    }

    deinit { removeAll() }

    /// Sessions held.
    public var count: Int { entries.values.reduce(0) { $0 + $1.count } }

    public func removeAll() {
        for list in entries.values { for entry in list { SSL_SESSION_free(entry.session) } }
        entries = [:]
        order = []
    }

    /// Takes over the reference.
    func add(_ session: OpaquePointer, key: String, deadline: Int64, limit: Int) {
        if entries[key] == nil {
            if order.count >= maxKeys { remove(order.removeFirst()) }
            order.append(key)
        }
        entries[key, default: []].append(Entry(session: session, deadline: deadline))
        while let list = entries[key], list.count > limit {
            SSL_SESSION_free(list[0].session)
            entries[key]?.removeFirst()
        }
    }

    /// The newest session; the caller frees it. One of TLS 1.3 is gone from here with that, as a
    /// ticket used twice lets an onlooker link connections (RFC 8446 C.4).
    func take(key: String) -> OpaquePointer? {
        while let entry = entries[key]?.last {
            if SSL_SESSION_is_resumable(entry.session) == 1, currentSeconds() <= entry.deadline {
                if SSL_SESSION_get_protocol_version(entry.session) == TLS1_3_VERSION {
                    removeLast(key)
                } else {
                    SSL_SESSION_up_ref(entry.session)
                }
                return entry.session
            }
            SSL_SESSION_free(entry.session)
            removeLast(key)
        }
        return nil
    }

    private func removeLast(_ key: String) {
        entries[key]?.removeLast()
        if entries[key]?.isEmpty == true {
            entries[key] = nil
            order.removeAll { $0 == key }
        }
    }

    private func remove(_ key: String) {
        for entry in entries[key] ?? [] { SSL_SESSION_free(entry.session) }
        entries[key] = nil
    }
}

@available(*, unavailable)
extension TLSSessionCache: Sendable {}
