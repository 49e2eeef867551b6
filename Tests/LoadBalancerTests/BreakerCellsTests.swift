import LoadBalancer
import MeshBase
import MeshConfig
import Testing

@Suite struct BreakerCellsTests {
    private let cells = BreakerCells()

    @Test("There are as many places as the limit says, and a place given back is free")
    func limit() {
        for resource in BreakerCells.Resource.allCases {
            let taken = (0..<5).count { _ in cells.reserve(resource, .normal, limit: 2) }
            #expect(taken == 2)
            _ = cells.release(resource, .normal)
            #expect(cells.count(resource, .normal) == 1)
            #expect(cells.reserve(resource, .normal, limit: 2))
            #expect(!cells.reserve(resource, .normal, limit: 2))
        }
    }

    @Test("A limit of zero has no place")
    func zero() {
        #expect(!cells.reserve(.requests, .normal, limit: 0))
    }

    @Test("Priorities and resources are counted apart")
    func apart() {
        #expect(cells.reserve(.requests, .normal, limit: 1))
        #expect(!cells.reserve(.requests, .normal, limit: 1))
        #expect(cells.reserve(.requests, .high, limit: 1))
        #expect(cells.reserve(.pending, .normal, limit: 1))
        #expect(cells.count(.connections, .normal) == 0 && cells.count(.retries, .high) == 0)
    }

    @Test("What is taken beyond the limit counts, and under a lowered limit nothing is free")
    func beyond() {
        for _ in 0..<3 { cells.force(.connections, .normal) }
        #expect(!cells.reserve(.connections, .normal, limit: 2))
        _ = cells.release(.connections, .normal)
        #expect(!cells.reserve(.connections, .normal, limit: 2))
        _ = cells.release(.connections, .normal)
        #expect(cells.reserve(.connections, .normal, limit: 2))
    }

    @Test("A burst bounds retries at a time, and in a window of time, for each priority")
    func burst() {
        let now = Instant.zero + .seconds(70)
        #expect(cells.reserve(.retries, .normal, limit: 1))
        #expect((0..<9).count { _ in cells.reserveBurst(.normal, limit: 4, now: now) } == 3)
        for _ in 0..<4 { _ = cells.release(.retries, .normal) }
        #expect(cells.hasBurst(.normal, limit: 4, now: now))
        #expect((0..<9).count { _ in cells.reserveBurst(.normal, limit: 4, now: now) } == 1)
        #expect(!cells.hasBurst(.normal, limit: 4, now: now))
        #expect(cells.count(.retries, .normal) == 1)
        #expect(cells.reserveBurst(.high, limit: 4, now: now))
        #expect(cells.reserveBurst(.normal, limit: 4, now: now + .seconds(10)))
    }

    @Test("Who gives a place back hears whether somebody waits for one")
    func waiting() {
        #expect(cells.reserve(.requests, .normal, limit: 1))
        #expect(cells.startWaiting(.requests, .normal, limit: 1) != nil)
        #expect(cells.startWaiting(.requests, .normal, limit: 1) == nil)
        #expect(cells.startWaiting(.requests, .high, limit: 1) != nil)
        #expect(cells.release(.requests, .normal))
        cells.stopWaiting(.requests, .normal)
        #expect(cells.reserve(.requests, .normal, limit: 1))
        #expect(!cells.release(.requests, .normal))
    }

    @Test("Of all workers the one is told in which somebody has waited for longest")
    func order() {
        let cells = BreakerCells(workers: 3)
        #expect(cells.workerOfFirst(.retries, .normal) == nil)
        let tickets = (0..<3).compactMap { _ in
            cells.startWaiting(.retries, .normal, limit: 9)
        }
        #expect(tickets == tickets.sorted() && Set(tickets).count == 3)
        cells.show(first: tickets[1], of: 0, .retries, .normal)
        cells.show(first: tickets[0], of: 2, .retries, .normal)
        #expect(cells.workerOfFirst(.retries, .normal) == 2)
        cells.show(first: tickets[2], of: 2, .retries, .normal)
        #expect(cells.workerOfFirst(.retries, .normal) == 0)
        cells.show(first: nil, of: 0, .retries, .normal)
        #expect(cells.workerOfFirst(.retries, .normal) == 2)
        #expect(cells.workerOfFirst(.retries, .high) == nil)
    }

    @Test("However many ask at once, never more have a place than there are, and none stays taken")
    func together() async {
        let cells = cells
        let most = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var most = 0
                    for _ in 0..<20_000 where cells.reserve(.requests, .normal, limit: 3) {
                        most = max(most, cells.count(.requests, .normal))
                        _ = cells.release(.requests, .normal)
                    }
                    return most
                }
            }
            return await group.reduce(0) { max($0, $1) }
        }
        #expect(most <= 3 && most > 0 && cells.count(.requests, .normal) == 0)
    }
}
