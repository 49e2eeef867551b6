import HTTPCodec
import MeshBase
import Testing

@testable import MeshProxy

@Suite struct StreamTableTests {
    @Test("One stream at a time is found, and only under its own number")
    func one() {
        var table = StreamTable<Int>()
        for stream in stride(from: StreamID(1), to: 9, by: 2) {
            #expect(table[stream] == nil)
            table.insert(Int(stream) * 10, at: stream)
            #expect(table[stream] == Int(stream) * 10 && table[stream + 2] == nil)
            #expect(table.count == 1 && table.all() == [Int(stream) * 10])
            #expect(table.remove(stream + 2) == nil)
            #expect(table.remove(stream) == Int(stream) * 10)
            #expect(table.isEmpty && table.remove(stream) == nil)
        }
    }

    @Test("It holds what a dictionary holds, whatever comes and goes", arguments: 1...8)
    func model(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        var table = StreamTable<Int>()
        var model: [StreamID: Int] = [:]
        for step in 0..<600 {
            let stream = StreamID(random.next() % 24) * 2 + 1
            if model[stream] == nil, random.next() % 2 == 0 {
                table.insert(step, at: stream)
                model[stream] = step
            } else {
                #expect(table.remove(stream) == model.removeValue(forKey: stream))
            }
            #expect(table[stream] == model[stream] && table.count == model.count)
            if random.next() % 100 == 0 {
                table.removeAll()
                model = [:]
            }
            #expect(table.all().sorted() == model.values.sorted())
        }
    }
}
