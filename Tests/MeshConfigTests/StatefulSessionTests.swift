import MeshBase
import MeshConfig
import Testing

@Suite struct StatefulSessionTests {
    private let time = UnixTime(microseconds: 1_800_000_000_000_000)
    private let host = SocketAddress.ipv4(0x0102_0304, port: 80)

    private func cookie(path: String = "", life: Duration? = nil) -> StatefulSession {
        StatefulSession(
            carrier: .cookie(
                .init(
                    name: "s", life: life, path: path,
                    attributes: [
                        .init(name: "SameSite", value: "Lax"), .init(name: "Secure", value: ""),
                    ])))
    }

    private func named(
        _ session: StatefulSession, path: String = "/", _ headers: (String, String)...,
        at time: UnixTime? = nil
    ) -> StatefulSession.Named? {
        var head = MessageHead(method: "GET", scheme: "http", authority: "a", path: path)
        for (name, value) in headers { head.append(name, value) }
        return session.named(by: head, at: time ?? self.time)
    }

    /// What a response bears for a host: the whole field and the cookie's value.
    private func given(_ session: StatefulSession, _ host: SocketAddress) -> (String, String) {
        var head = MessageHead(status: 200)
        session.name(host, in: &head, at: time)
        let field = head.strings("set-cookie").first ?? ""
        return (field, String(field.prefix { $0 != ";" }))
    }

    @Test("A header bears the address in base64, both ways")
    func header() {
        let session = StatefulSession(carrier: .header("x-s"))
        var head = MessageHead(status: 200)
        head.append("x-s", "of the server")
        session.name(host, in: &head, at: time)
        #expect(head.strings("x-s") == ["MS4yLjMuNDo4MA=="])
        #expect(named(session, ("X-S", "MS4yLjMuNDo4MA==")) == .endpoint(host))
        #expect(named(session) == .nothing)
        #expect(named(session, ("x-s", "")) == .nothing)
        #expect(named(session, ("x-s", "1.2.3.4:80")) == .unknown)
        #expect(named(session, ("x-s", "aGVsbG8=")) == .unknown)
    }

    @Test("A cookie bears a message with the address, and says what the configuration says")
    func cookie() {
        let (field, pair) = given(cookie(path: "/p"), host)
        // 0A 0A "1.2.3.4:80"
        #expect(field == "s=\"CgoxLjIuMy40Ojgw\"; Path=/p; SameSite=Lax; Secure; HttpOnly")
        #expect(named(cookie(), ("cookie", "a=b; \(pair)")) == .endpoint(host))
        #expect(named(cookie()) == .nothing)
        #expect(named(cookie(), ("cookie", "s=\"MS4yLjMuNDo4MA==\"")) == .endpoint(host))
        #expect(named(cookie(), ("cookie", "s=%%%")) == .unknown)
        // A message that is cut short, and one of another address.
        #expect(named(cookie(), ("cookie", "s=CgoxLjI=")) == .unknown)
        let six = SocketAddress.ipv6(0, 1, port: 443)
        #expect(named(cookie(), ("cookie", given(cookie(), six).1)) == .endpoint(six))
    }

    @Test(
        "A cookie with a life expires by the wall clock; a time since somebody's start does not count"
    )
    func expiry() {
        let session = cookie(life: .seconds(60))
        let (field, pair) = given(session, host)
        #expect(field.contains("; Max-Age=60; "))
        func later(_ seconds: Int64) -> UnixTime {
            UnixTime(microseconds: time.microseconds + seconds * 1_000_000)
        }
        #expect(named(session, ("cookie", pair), at: later(60)) == .endpoint(host))
        #expect(named(session, ("cookie", pair), at: later(61)) == .nothing)
        // expires: 1000
        let message: [UInt8] = [0x0A, 10] + Array("1.2.3.4:80".utf8) + [0x10, 0xE8, 0x07]
        #expect(named(session, ("cookie", "s=\(Base64.encode(message))")) == .endpoint(host))
    }

    @Test("Only what lies below the cookie's path has the session")
    func paths() {
        for (path, isIn) in [
            ("/p", true), ("/p/q", true), ("/p?a", true), ("/p#a", true), ("/pq", false),
            ("/", false),
        ] {
            #expect((named(cookie(path: "/p"), path: path) != nil) == isIn, "\(path)")
        }
        #expect(named(cookie(path: "/p/"), path: "/p/q") == .nothing)
        #expect(named(cookie(path: "/p/"), path: "/p") == nil)
    }
}
