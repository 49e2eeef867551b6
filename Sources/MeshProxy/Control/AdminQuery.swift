import MeshConfig

/// A query value that can't be used: what was expected and what came.
struct AdminQueryError: Error {
    let key: String
    let expected: String
    let given: String

    var text: String { "query \"\(key)\": expected \(expected), got \"\(given)\"\n" }
}

extension AdminServer.Request {
    /// `?key`, `?key=true` and `?key=false`.
    func flag(_ key: String) throws(AdminQueryError) -> Bool {
        switch value(key) {
        case nil, "false", "0": return false
        case "", "true", "1", "on": return true
        case .some(let given):
            throw AdminQueryError(key: key, expected: "nothing, true or false", given: given)
        }
    }

    /// One of some words; the first when nothing is given.
    func choice(_ key: String, _ words: [String]) throws(AdminQueryError) -> String {
        guard let given = value(key) else { return words[0] }
        if words.contains(given) { return given }
        throw AdminQueryError(
            key: key, expected: words.joined(separator: " or "), given: given)
    }

    /// A regular expression in RE2's syntax; `nil` when none is given.
    func pattern(_ key: String) throws(AdminQueryError) -> LinearRegex? {
        guard let given = value(key), !given.isEmpty else { return nil }
        do {
            return try LinearRegex(given)
        } catch {
            throw AdminQueryError(
                key: key, expected: "a regular expression in RE2's syntax (\(error.reason))",
                given: given)
        }
    }
}
