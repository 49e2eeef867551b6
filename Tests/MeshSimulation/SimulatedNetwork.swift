public import EventLoop
internal import Glibc
public import MeshBase

/// A network of hosts on virtual time: everything that happens in it follows from its seed.
///
/// Nothing runs by itself. `run` takes the next event in the order of virtual time (then of its
/// making), moves the clock there, and lets one loop have one turn: one or a few events, the
/// timers that are due, and the turn-end tasks, as `LibevLoop` does it. Streams are EventLoop's own
/// `SocketStream`; simulated is only the kernel under them (`SimulatedSocket`): segments on the
/// way, receive buffers with an end, orders of arrival, resets.
///
/// Faults are fields that can be set at any moment: `Link` for what happens on the way between two
/// hosts, `connectFaults` for what a new connection meets at an address, `names` for the resolver,
/// and methods here for single events such as resets. Chance comes from `random` alone.
public final class SimulatedNetwork {
    public private(set) var now = Instant(nanoseconds: 1_000_000_000)
    public var random: SeededRandom

    /// What new links start with.
    public var conditions = LinkConditions()
    /// What a new connection to an address meets, instead of its listener.
    public var connectFaults: [SocketAddress: ConnectFault] = [:]
    /// The resolver's table, with ports of 0. A name that is missing does not resolve.
    public var names: [String: [SocketAddress]] = [:]
    public var nameDelay = Duration.milliseconds(2)
    /// Called after every turn of a loop: the place for invariants.
    public var onStep: (() -> Void)?
    public var trace = EventTrace()
    /// Turns of loops since the start.
    public private(set) var steps = 0

    private var events = EventHeap()
    private var runnable: [Runnable] = []
    private var nextRunnable = 0
    private var loops: [SimulatedLoop] = []
    private var hosts: [SocketAddress: SimulatedHost] = [:]
    private var links: [LinkKey: Link] = [:]
    private(set) var sockets: [Int: SimulatedSocket] = [:]
    private var nextSocket = 0
    private var stepsAtNow = 0
    private var nextHost = 0
    let scratch = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 64 * 1024)

    /// Wall-clock time of instant 0.
    public var wallClockStart = UnixTime(microseconds: 1_750_000_000_000_000)

    private struct LinkKey: Hashable {
        let from: Int
        let to: Int
    }

    public init(seed: UInt64) {
        random = SeededRandom(seed: seed)
    }

    deinit {
        scratch.deallocate()
    }

    // MARK: Building

    /// A host with its addresses. Each host has loopback and unix sockets of its own.
    public func makeHost(_ name: String, addresses: [String]) -> SimulatedHost {
        let parsed = addresses.compactMap { SocketAddress(ip: $0, port: 0) }
        precondition(parsed.count == addresses.count, "not an IP address among \(addresses)")
        let host = SimulatedHost(self, name, number: nextHost, parsed)
        nextHost += 1
        for address in parsed {
            precondition(hosts[address] == nil, "\(address.host) has an owner already")
            hosts[address] = host
        }
        return host
    }

    /// A host with one loop.
    public func makeLoop(_ name: String, addresses: [String]) -> SimulatedLoop {
        makeHost(name, addresses: addresses).makeLoop(name)
    }

    func add(_ loop: SimulatedLoop) -> Int {
        loops.append(loop)
        return loops.count - 1
    }

    func host(of address: SocketAddress) -> SimulatedHost? { hosts[address.with(port: 0)] }

    // MARK: Faults

    /// The way from one host to another, one direction.
    public func link(_ from: SimulatedHost, _ to: SimulatedHost) -> Link {
        let key = LinkKey(from: from.number, to: to.number)
        if let link = links[key] { return link }
        let link = Link(self, conditions)
        links[key] = link
        return link
    }

    /// Changes both directions of all ways between two sets of hosts.
    public func between(
        _ left: [SimulatedHost], _ right: [SimulatedHost], _ change: (Link) -> Void
    ) {
        for a in left {
            for b in right where a !== b {
                change(link(a, b))
                change(link(b, a))
            }
        }
    }

    /// Nothing gets through until `heal`; what is on its way then waits, as TCP repeats it.
    public func partition(_ left: [SimulatedHost], from right: [SimulatedHost]) {
        between(left, right) { $0.carriage = .waiting }
    }

    /// Every link carries again.
    public func heal() {
        for key in links.keys.sorted(by: { ($0.from, $0.to) < ($1.from, $1.to) }) {
            links[key]?.carriage = .carrying
        }
    }

    /// Resets both ends of every connection that `matches` (local and remote address of its
    /// connecting end), as a box in the middle does.
    public func resetConnections(
        where matches: (_ client: SocketAddress, _ server: SocketAddress) -> Bool = { _, _ in true }
    ) {
        for number in sockets.keys.sorted() {
            guard let socket = sockets[number], socket.isClient,
                let client = socket.localAddress, matches(client, socket.remoteAddress)
            else { continue }
            socket.breakConnection(ECONNRESET)
        }
    }

    /// Does something at a time of its own, as an event of no loop.
    public func after(_ delay: Duration, _ action: @escaping () -> Void) {
        schedule(at: now + delay, .action(action))
    }

    // MARK: Looking

    /// Sockets that are not closed. 0 when everything was given back.
    public var liveStreams: Int { sockets.count }

    /// Bytes in the write queues of all streams.
    public var queuedBytes: Int {
        sockets.values.reduce(0) { $0 + ($1.stream?.queuedBytes ?? 0) }
    }

    /// Bytes taken by simulated kernels and not yet read.
    public var bytesInFlight: Int { sockets.values.reduce(0) { $0 + $1.unreadBytes } }

    /// Calls `body` with the handler of every stream that is open, by order of making.
    public func visitHandlers(_ body: (any ByteStreamHandler) -> Void) {
        for number in sockets.keys.sorted() {
            if let handler = sockets[number]?.stream?.handler { body(handler) }
        }
    }

    // MARK: Running

    public func run(for duration: Duration) {
        run(until: now + duration)
    }

    /// Lets everything happen that is due until then, and moves the clock there.
    public func run(until end: Instant) {
        while step(notAfter: end) {}
        if now < end { now = end }
        for loop in loops { loop.now = now }
    }

    /// - Returns: whether `condition` became false within the time.
    @discardableResult
    public func run(
        while condition: () -> Bool, limit: Duration = .seconds(600)
    ) -> Bool {
        let end = now + limit
        while condition() {
            if !step(notAfter: end) { return !condition() }
        }
        return true
    }

    /// - Returns: whether nothing at all, timers included, was left to happen within the time.
    @discardableResult
    public func runUntilIdle(limit: Duration = .seconds(600)) -> Bool {
        let end = now + limit
        while step(notAfter: end) {}
        return nextTime() == nil
    }

    private func nextTime() -> Instant? {
        var earliest = events.first
        for loop in loops where !loop.isDead {
            if loop.hasTurnEndWork { return now }
            if let deadline = loop.timers.nextDeadline(), earliest.map({ deadline < $0 }) ?? true {
                earliest = deadline
            }
        }
        return earliest
    }

    /// One event.
    private func step(notAfter end: Instant) -> Bool {
        if nextRunnable < runnable.count {
            stepsAtNow += 1
            precondition(stepsAtNow < 1_000_000, "time stands still:\n\(trace.text)")
            runReady()
            return true
        }
        guard let time = nextTime(), time <= end else { return false }
        if time > now {
            now = time
            stepsAtNow = 0
        }
        stepsAtNow += 1
        precondition(stepsAtNow < 1_000_000, "time stands still:\n\(trace.text)")
        // Work that was left from outside a turn, and timers, before what arrives.
        for loop in loops where !loop.isDead {
            let due = loop.timers.nextDeadline().map { $0 <= now } ?? false
            if due || loop.hasTurnEndWork {
                loop.now = now
                endTurn(of: loop)
                return true
            }
        }
        if let event = events.pop(notAfter: now) { carryOut(event) }
        return true
    }

    private func runReady() {
        let loop = runnable[nextRunnable].loop
        loop.now = now
        repeat {
            let next = runnable[nextRunnable]
            nextRunnable += 1
            if !loop.isDead { next.run() }
            // Often, but not always, a turn has more than one event.
        } while nextRunnable < runnable.count && runnable[nextRunnable].loop === loop
            && random.below(4) != 0
        if nextRunnable == runnable.count {
            runnable.removeAll(keepingCapacity: true)
            nextRunnable = 0
        }
        endTurn(of: loop)
    }

    private func endTurn(of loop: SimulatedLoop) {
        if !loop.isDead { loop.endTurn() }
        steps += 1
        onStep?()
    }

    private func carryOut(_ event: NetworkEvent) {
        switch event {
        case .segment(let socket): socket.segmentArrives()
        case .writable(let socket): socket.roomKnown()
        case .connectArrives(let socket): socket.connectArrives()
        case .connectAnswered(let socket, let error): socket.connectAnswered(error)
        case .timeout(let socket, let cut): socket.userTimeoutPassed(cut)
        case .delivery(let loop, let deliver): makeRunnable(.delivery(loop, deliver))
        case .action(let action):
            action()
            steps += 1
            onStep?()
        }
    }

    func schedule(at time: Instant, _ event: NetworkEvent) {
        events.push(time < now ? now : time, event)
    }

    func makeRunnable(_ item: Runnable) {
        runnable.append(item)
    }

    func register(_ socket: SimulatedSocket) -> Int {
        nextSocket += 1
        sockets[nextSocket] = socket
        return nextSocket
    }

    func forget(_ socket: SimulatedSocket) {
        sockets[socket.number] = nil
    }

    func record(_ what: StaticString, _ socket: Int, _ count: Int = 0) {
        trace.add(EventTrace.Entry(time: now, what: what, socket: socket, count: count))
    }
}

/// Something that a loop has to do now.
enum Runnable {
    case socket(SimulatedSocket)
    case listener(SimulatedListener)
    case delivery(SimulatedLoop, () -> Void)

    var loop: SimulatedLoop {
        switch self {
        case .socket(let socket): socket.loop
        case .listener(let listener): listener.loop
        case .delivery(let loop, _): loop
        }
    }

    func run() {
        switch self {
        case .socket(let socket): socket.runReady()
        case .listener(let listener): listener.runReady()
        case .delivery(_, let deliver): deliver()
        }
    }
}

/// Something that the network does later.
enum NetworkEvent {
    /// The next segment on the way to this socket is there.
    case segment(SimulatedSocket)
    /// This socket's peer has read, and it knows.
    case writable(SimulatedSocket)
    case connectArrives(SimulatedSocket)
    case connectAnswered(SimulatedSocket, Int32)
    case timeout(SimulatedSocket, Int)
    case delivery(SimulatedLoop, () -> Void)
    case action(() -> Void)
}

/// Events by time, then by order of making.
private struct EventHeap {
    private struct Entry {
        let time: Int64
        let order: UInt64
        let event: NetworkEvent
    }

    private var entries: [Entry] = []
    private var nextOrder: UInt64 = 0

    var first: Instant? { entries.first.map { Instant(nanoseconds: $0.time) } }

    mutating func push(_ time: Instant, _ event: NetworkEvent) {
        nextOrder += 1
        entries.append(Entry(time: time.nanoseconds, order: nextOrder, event: event))
        var index = entries.count - 1
        while index > 0, precedes(index, (index - 1) / 2) {
            entries.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    mutating func pop(notAfter time: Instant) -> NetworkEvent? {
        guard let top = entries.first, top.time <= time.nanoseconds else { return nil }
        let last = entries.removeLast()
        if entries.isEmpty { return top.event }
        entries[0] = last
        var index = 0
        while true {
            var smallest = index
            let left = 2 * index + 1
            if left < entries.count, precedes(left, smallest) { smallest = left }
            if left + 1 < entries.count, precedes(left + 1, smallest) { smallest = left + 1 }
            if smallest == index { return top.event }
            entries.swapAt(index, smallest)
            index = smallest
        }
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        entries[left].time != entries[right].time
            ? entries[left].time < entries[right].time
            : entries[left].order < entries[right].order
    }
}
