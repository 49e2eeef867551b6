import LoadBalancer
import Synchronization

/// The counts of circuit breakers that the workers of a process share, by cluster, and by endpoint where
/// those have limits of their own.
///
/// A worker that makes a cluster asks for its counts, and gives them back when the cluster has gone with
/// its last exchange; both are rare and take a lock, as with the blocks of `MetricsRegistry`. What
/// is counted between goes to the counts alone. A cluster that comes back while exchanges of the
/// old one still run goes on with what those hold.
final class BreakerTable: Sendable {
    private struct Entry: Sendable {
        var cells: BreakerCells
        var users = 0
    }

    private let workers: Int
    private let entries = Mutex<[String: Entry]>([:])

    /// - Parameter workers: those who may wait in it; their indices are below.
    init(workers: Int = 1) {
        self.workers = workers
    }

    func share(_ name: String) -> BreakerShare {
        let cells = entries.withLock { entries in
            var entry = entries[name] ?? Entry(cells: BreakerCells(workers: workers))
            entry.users += 1
            entries[name] = entry
            return entry.cells
        }
        return BreakerShare(cells: cells, name: name, table: self)
    }

    fileprivate func giveBack(_ name: String) {
        entries.withLock { entries in
            guard var entry = entries[name] else { return }
            entry.users -= 1
            entries[name] = entry.users == 0 ? nil : entry
        }
    }

    /// How many counts somebody has.
    var count: Int { entries.withLock { $0.count } }
}

/// One worker's share in counts, given back when it is let go.
final class BreakerShare {
    let cells: BreakerCells
    private let name: String
    private let table: BreakerTable

    fileprivate init(cells: BreakerCells, name: String, table: BreakerTable) {
        self.cells = cells
        self.name = name
        self.table = table
    }

    deinit { table.giveBack(name) }
}
