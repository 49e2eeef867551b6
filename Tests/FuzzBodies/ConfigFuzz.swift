import MeshBase
import MeshConfig
import XDSClient

/// A bootstrap, strictly and leniently read: what is good strictly is good leniently, and a comment
/// that only libyaml can read changes nothing.
func fuzzBootstrap(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    let text = Array(bytes)
    let strict = try? BootstrapLoader.load(text: text, isStrict: true)
    let lenient = try? BootstrapLoader.load(text: text, isStrict: false)
    if strict != nil, lenient == nil { return "good strictly, and not leniently" }
    // A byte order mark belongs at the beginning.
    if text.first == 0xEF || text.first == 0xFE || text.first == 0xFF { return nil }
    let slowly = try? BootstrapLoader.load(text: Array("# \u{E9}\n".utf8) + text, isStrict: true)
    if (strict == nil) != (slowly == nil) {
        return strict == nil ? "libyaml takes it" : "libyaml does not take it"
    }
    // Dictionaries print their elements in any order.
    let (quick, slow) = (String(reflecting: strict), String(reflecting: slowly))
    if quick.utf8.sorted() != slow.utf8.sorted() {
        return "libyaml reads it otherwise: \(quick) against \(slow)"
    }
    return nil
}

/// Resources as text. What a file may hold a snapshot takes, and takes again.
func fuzzResources(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    guard let resources = try? ResourceFiles.parse(files: [(name: "f", text: Array(bytes))]) else {
        return nil
    }
    var builder = SnapshotBuilder(staticResources: Snapshot())
    for _ in 0..<2 {
        for type in ResourceType.allCases {
            let ofType = resources.filter { $0.typeURL == type.typeURL }
            if ofType.isEmpty { continue }
            let rejections = builder.apply(
                type: type, resources: ofType, isFullSet: true, now: UnixTime(microseconds: 1))
            if let first = rejections.first {
                return "parsed, but refused: \(first.path), expected \(first.expected)"
            }
        }
        _ = builder.takeSnapshot()
    }
    return nil
}

/// A control plane's message: the first byte says whose protocol, the rest is a response.
func fuzzDiscovery(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    var input = FuzzInput(bytes)
    let how = input.byte()
    var session = XDSSession(
        variant: how & 1 == 0 ? .stateOfTheWorld : .incremental, node: Node(),
        nodeOnFirstMessageOnly: how & 2 != 0)
    _ = session.begin()
    for type in ResourceType.allCases {
        _ = type.isWildcard ? session.subscribe(type) : session.subscribe(type, to: ["a", "c"])
    }
    guard case .update(let update) = session.received(input.rest()) else { return nil }
    var builder = SnapshotBuilder(staticResources: Snapshot())
    let rejections = builder.apply(
        type: update.type, resources: update.resources, removed: update.removed,
        isFullSet: update.isFullSet, version: update.version, now: UnixTime(microseconds: 1))
    _ = session.answer(update, rejected: rejections.map { ($0.name, $0.path) })
    _ = builder.takeSnapshot()
    return nil
}
