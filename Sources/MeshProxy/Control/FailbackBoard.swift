import LoadBalancer

/// What workers said last of priorities that are not whole, for people to see.
///
/// Workers balance on their own, so each returns in its own time; the one that has come least far
/// is what is shown.
final class FailbackBoard {
    private struct Key: Hashable {
        var cluster: String
        var priority: Int
    }

    private var states: [Key: [Int: FailbackRamp.Event]] = [:]

    func note(_ change: FailbackRamp.Change, cluster: String, worker: Int) {
        let key = Key(cluster: cluster, priority: change.priority)
        let isWhole = change.event == .finished
        states[key, default: [:]][worker] = isWhole ? nil : change.event
        if states[key]?.isEmpty == true { states[key] = nil }
    }

    /// Priority and words, in order.
    func states(of cluster: String) -> [(priority: Int, words: String)] {
        states.filter { $0.key.cluster == cluster }.sorted { $0.key.priority < $1.key.priority }
            .compactMap { key, workers in
                workers.values.min { $0.percent < $1.percent }.map { (key.priority, $0.words) }
            }
    }
}

extension FailbackRamp.Event {
    fileprivate var percent: Int {
        switch self {
        case .out: -1
        case .holding: 0
        case .forward(let percent), .back(let percent): percent
        case .finished: 100
        }
    }
}
