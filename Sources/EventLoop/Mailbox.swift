internal import CLibev
internal import Synchronization

/// The only way from one thread into the loop of another: values, in the order of posting.
///
/// It may be made before its loop exists and be handed to both threads; what is posted before
/// `receive` waits. A burst of messages wakes the loop once.
public final class Mailbox<Message: Sendable>: Sendable {
    private let state = Mutex(State())

    private struct State {
        var waiting: [Message] = []
        var waker: Waker?
        var closed = false
    }

    public init() {}

    /// Hands a message over, from any thread. It never blocks for longer than another post takes.
    /// - Returns: `false` when the receiving loop is gone; the message is then dropped.
    @discardableResult
    public func post(_ message: Message) -> Bool {
        state.withLock { state in
            if state.closed { return false }
            state.waiting.append(message)
            // Inside the lock, so that the loop cannot go away meanwhile.
            if state.waiting.count == 1 { state.waker?.wake() }
            return true
        }
    }

    /// Delivers messages on `loop`, for as long as that lives or until `close`; called once, on
    /// the loop's thread.
    public func receive(on loop: LibevLoop, _ received: @escaping (Message) -> Void) {
        let receiver = Receiver(self, loop, received)
        loop.keep(receiver)
        state.withLock { state in
            precondition(state.waker == nil && !state.closed, "a mailbox has one receiver")
            state.waker = receiver.waker
            if !state.waiting.isEmpty { receiver.waker.wake() }
        }
    }

    /// Takes no more messages and drops those that wait.
    public func close() {
        state.withLock { state in
            state.closed = true
            state.waiting = []
            state.waker = nil
        }
    }

    fileprivate func take() -> [Message] {
        state.withLock { state in
            var taken: [Message] = []
            swap(&taken, &state.waiting)
            return taken
        }
    }

    private final class Receiver: MailboxReceiver {
        let waker: Waker
        private let mailbox: Mailbox<Message>
        private let async = UnsafeMutablePointer<ev_async>.allocate(capacity: 1)
        private let received: (Message) -> Void

        init(
            _ mailbox: Mailbox<Message>, _ loop: LibevLoop, _ received: @escaping (Message) -> Void
        ) {
            self.mailbox = mailbox
            self.received = received
            waker = Waker(loop: loop.raw, async: async)
            super.init()
            mesh_async_start(
                loop.raw, async, mailboxWoken, Unmanaged.passUnretained(self).toOpaque())
        }

        override func deliver() {
            for message in mailbox.take() { received(message) }
        }

        override func stop(_ raw: OpaquePointer) {
            mailbox.close()
            ev_async_stop(raw, async)
        }

        deinit {
            async.deallocate()
        }
    }
}

/// The loop's side of a mailbox, whatever it carries.
class MailboxReceiver {
    func deliver() {}
    func stop(_: OpaquePointer) {}
}

/// The one thing of a loop that other threads may touch: `ev_async_send` is documented to be safe
/// from any thread. It is used under the mailbox's lock, and taken away before the loop ends.
private struct Waker: @unchecked Sendable {
    let loop: OpaquePointer
    let async: UnsafeMutablePointer<ev_async>

    func wake() {
        ev_async_send(loop, async)
    }
}

private func mailboxWoken(_: OpaquePointer, _ watcher: UnsafeMutablePointer<ev_async>, _: Int32) {
    Unmanaged<MailboxReceiver>.fromOpaque(watcher.pointee.data).takeUnretainedValue().deliver()
}
