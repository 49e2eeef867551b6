internal import CLibev
internal import MeshBase
internal import Synchronization

/// Names to addresses through the system's resolver, which blocks and therefore has a thread.
///
/// One thread for each loop, started with the first question; questions are answered in order.
final class Resolver {
    private let questions: Questions
    private var waiting: [Int: ([SocketAddress]) -> Void] = [:]
    private var nextNumber = 0

    /// - Returns: `nil` when descriptors or threads are used up.
    init?(_ loop: LibevLoop) {
        let answers = Mailbox<Answer>()
        questions = Questions(answers)
        if !questions.start() { return nil }
        answers.receive(on: loop) { [weak self] answer in
            self?.waiting.removeValue(forKey: answer.number)?(answer.addresses)
        }
    }

    func ask(_ host: String, _ completion: @escaping ([SocketAddress]) -> Void) {
        nextNumber += 1
        waiting[nextNumber] = completion
        questions.add(Question(number: nextNumber, host: host))
    }

    /// The thread ends when the question in hand is answered; nobody waits for it.
    func stop() {
        questions.add(nil)
    }
}

private struct Question: Sendable {
    let number: Int
    let host: String
}

private struct Answer: Sendable {
    let number: Int
    let addresses: [SocketAddress]
}

/// What the loop's thread and the resolver's share: a queue, counted by a semaphore.
private final class Questions: Sendable {
    private let waiting = Mutex<[Question?]>([])
    private let semaphore: Int32
    private let answers: Mailbox<Answer>

    init(_ answers: Mailbox<Answer>) {
        self.answers = answers
        semaphore = mesh_semaphore()
    }

    deinit {
        if semaphore >= 0 { _ = mesh_close(semaphore) }
    }

    func start() -> Bool {
        guard semaphore >= 0 else { return false }
        guard let thread = try? startThread(name: "resolver", body: { self.answerAll() }) else {
            return false
        }
        pthread_detach(thread)
        return true
    }

    /// `nil` ends the thread.
    func add(_ question: Question?) {
        waiting.withLock { $0.append(question) }
        mesh_semaphore_post(semaphore)
    }

    private func answerAll() {
        while true {
            mesh_semaphore_wait(semaphore)
            guard let next = waiting.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else {
                return
            }
            answers.post(Answer(number: next.number, addresses: Socket.lookUp(next.host)))
        }
    }
}
