internal import MeshBase
internal import MeshConfig
internal import FoundationEssentials
internal import SwiftProtobuf

// What the decoders of all resource types share: where one is, what was wrong, and the small
// messages that occur everywhere.
//
// A decoder goes on after a problem, so that one pass finds all of them; its result counts only when
// there is none. What grants or restricts must be understood whole: an unknown field there is a
// problem. Elsewhere it is a remark, as is everything on the list of what may be passed by.

struct Decoding {
    private enum Step {
        case field(String)
        case index(Int)
        case key(String)
    }

    private var path: [Step] = []
    private(set) var problems: [ConfigurationProblem] = []
    /// "path: remark".
    private(set) var remarks: [String] = []
    /// Secrets that are named, and whether they came with a `sds_config` (otherwise static).
    var secretNames: Set<String> = []

    private static let limit = 50

    mutating func within<T>(_ field: String, _ body: (inout Decoding) -> T) -> T {
        path.append(.field(field))
        defer { path.removeLast() }
        return body(&self)
    }

    mutating func each<S: Sequence, T>(
        _ field: String, _ items: S, _ body: (inout Decoding, S.Element) -> T
    ) -> [T] {
        var results: [T] = []
        results.reserveCapacity(items.underestimatedCount)
        path.append(.field(field))
        var index = 0
        for item in items {
            path.append(.index(index))
            results.append(body(&self, item))
            path.removeLast()
            index += 1
        }
        path.removeLast()
        return results
    }

    mutating func atIndex<T>(_ index: Int, _ body: (inout Decoding) -> T) -> T {
        path.append(.index(index))
        defer { path.removeLast() }
        return body(&self)
    }

    mutating func atKey<T>(_ key: String, _ body: (inout Decoding) -> T) -> T {
        path.append(.key(key))
        defer { path.removeLast() }
        return body(&self)
    }

    mutating func refuse(_ field: String = "", expected: String, got: String) {
        guard problems.count < Decoding.limit else { return }
        problems.append(
            ConfigurationProblem(path: place(field), expected: expected, got: got))
    }

    mutating func remark(_ field: String = "", _ text: String) {
        guard remarks.count < Decoding.limit else { return }
        let place = place(field)
        remarks.append(place.isEmpty ? text : "\(place): \(text)")
    }

    private func place(_ field: String) -> String {
        var result = ""
        for step in path {
            switch step {
            case .field(let name): result += (result.isEmpty ? "" : ".") + name
            case .index(let index): result += "[\(index)]"
            case .key(let key): result += "[\"\(key)\"]"
            }
        }
        return field.isEmpty ? result : result.isEmpty ? field : "\(result).\(field)"
    }

    // MARK: Unknown fields

    /// For messages that grant or restrict.
    mutating func requireWhole(_ message: some SwiftProtobuf.Message) {
        guard let number = Decoding.firstUnknown(message) else { return }
        refuse(expected: "only fields that are known here", got: "field number \(number)")
    }

    mutating func noteUnknown(_ message: some SwiftProtobuf.Message) {
        guard let number = Decoding.firstUnknown(message) else { return }
        remark("", "unknown field number \(number) is ignored")
    }

    private static func firstUnknown(_ message: some SwiftProtobuf.Message) -> UInt64? {
        if message.unknownFields.data.isEmpty { return nil }
        var tag: UInt64 = 0
        var shift: UInt64 = 0
        for byte in message.unknownFields.data {
            tag |= UInt64(byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 || shift > 56 { break }
        }
        return tag >> 3
    }

    // MARK: Any

    /// What an Any holds, out of a TypedStruct where it is in one.
    struct Opened {
        /// Without "type.googleapis.com/".
        var type: String
        var bytes: [UInt8]
        /// Nothing is set in it.
        var isEmpty: Bool { bytes.isEmpty }
    }

    mutating func open(_ any: Google_Protobuf_Any) -> Opened {
        let type = Decoding.typeName(any.typeURL)
        guard type == "xds.type.v3.TypedStruct" || type == "udpa.type.v1.TypedStruct" else {
            return Opened(type: type, bytes: [UInt8](any.value))
        }
        guard let wrapped = try? Xds_Type_V3_TypedStruct(serializedBytes: any.value) else {
            refuse(expected: "a TypedStruct", got: "bytes that are none")
            return Opened(type: type, bytes: [])
        }
        let inner = Decoding.typeName(wrapped.typeURL)
        if wrapped.value.fields.isEmpty { return Opened(type: inner, bytes: []) }
        guard Schema.shared.message(named: inner) != nil else {
            return Opened(type: inner, bytes: [UInt8](any.value))
        }
        do throws(ConfigurationError) {
            let tree = ConfigTree(structure: wrapped.value)
            let encoded = try TreeToMessage.encode(tree, as: inner, allowsUnknownFields: false)
            return Opened(type: inner, bytes: encoded.bytes)
        } catch {
            for problem in error.problems {
                refuse(problem.path, expected: problem.expected, got: problem.got)
            }
            return Opened(type: inner, bytes: [])
        }
    }

    mutating func parse<M: SwiftProtobuf.Message>(_ opened: Opened, as type: M.Type) -> M? {
        if let message = try? M(serializedBytes: opened.bytes) { return message }
        refuse(expected: "a \(M.protoMessageName)", got: "bytes that are none")
        return nil
    }

    static func typeName(_ url: String) -> String {
        guard let slash = url.utf8.lastIndex(of: UInt8(ascii: "/")) else { return url }
        return String(url[url.index(after: slash)...])
    }

    // MARK: Values

    mutating func duration(_ value: Google_Protobuf_Duration, _ field: String) -> Duration {
        if value.seconds < 0 || value.nanos < 0 || value.seconds > 315_576_000_000
            || value.nanos > 999_999_999
        {
            refuse(field, expected: "a duration from 0", got: "\(value.seconds)s \(value.nanos)ns")
            return .zero
        }
        // The monotonic clock counts nanoseconds in 63 bits: 292 years.
        return .seconds(min(value.seconds, 3_000_000_000)) + .nanoseconds(Int64(value.nanos))
    }

    mutating func positive(_ value: Google_Protobuf_Duration, _ field: String) -> Duration {
        if value.seconds == 0, value.nanos == 0 {
            refuse(field, expected: "more than 0s", got: "0s")
            return .zero
        }
        return duration(value, field)
    }

    mutating func port(_ value: UInt32, _ field: String) -> UInt16 {
        if let port = UInt16(exactly: value) { return port }
        refuse(field, expected: "a port up to 65535", got: "\(value)")
        return 0
    }

    /// An address to listen on, or to bind: no names.
    mutating func address(_ message: Envoy_Config_Core_V3_Address, _ field: String)
        -> SocketAddress?
    {
        within(field) { at in
            switch at.target(message) {
            case .address(let address): return address
            case .name(let name, _):
                at.refuse("socket_address.address", expected: "an IP address", got: "\"\(name)\"")
                return nil
            case nil: return nil
            }
        }
    }

    /// An address to connect to, which may be a name.
    mutating func target(_ message: Envoy_Config_Core_V3_Address) -> Endpoint.Target? {
        switch message.address {
        case .socketAddress(let socket):
            if socket.protocol != .tcp {
                refuse("socket_address.protocol", expected: "TCP", got: "UDP")
                return nil
            }
            guard case .portValue(let value)? = socket.portSpecifier else {
                refuse(
                    "socket_address.port_value", expected: "a port",
                    got: socket.namedPort.isEmpty ? "none" : "the name \"\(socket.namedPort)\"")
                return nil
            }
            let port = port(value, "socket_address.port_value")
            if let address = SocketAddress(ip: socket.address, port: port) {
                return .address(address)
            }
            if socket.address.isEmpty {
                refuse("socket_address.address", expected: "an address", got: "none")
                return nil
            }
            return .name(socket.address, port: port)
        case .pipe(let pipe):
            if pipe.path.isEmpty {
                refuse("pipe.path", expected: "a path", got: "none")
                return nil
            }
            return .address(.pipe(pipe.path))
        case .envoyInternalAddress:
            refuse(
                "envoy_internal_address", expected: "socket_address or pipe",
                got: "an internal address, which is not supported here")
            return nil
        case nil:
            refuse(expected: "socket_address or pipe", got: "none")
            return nil
        }
    }

    mutating func prefix(_ range: Envoy_Config_Core_V3_CidrRange) -> AddressPrefix? {
        requireWhole(range)
        let bits = range.hasPrefixLen ? Int(range.prefixLen.value) : 0
        if let prefix = AddressPrefix(ip: range.addressPrefix, bits: bits) { return prefix }
        refuse(
            expected: "an address and a prefix length that fits it",
            got: "\"\(range.addressPrefix)\"/\(bits)")
        return nil
    }

    mutating func dataSource(_ source: Envoy_Config_Core_V3_DataSource, _ field: String)
        -> DataSource?
    {
        switch source.specifier {
        case .filename(let path): return .file(path)
        case .inlineBytes(let bytes): return .inline([UInt8](bytes))
        case .inlineString(let text): return .inline([UInt8](text.utf8))
        case .environmentVariable:
            refuse(
                field, expected: "filename, inline_bytes or inline_string",
                got: "environment_variable")
            return nil
        case nil:
            refuse(field, expected: "filename, inline_bytes or inline_string", got: "none")
            return nil
        }
    }

    func locality(_ message: Envoy_Config_Core_V3_Locality) -> Locality {
        Locality(region: message.region, zone: message.zone, subZone: message.subZone)
    }

    func metadata(_ message: Envoy_Config_Core_V3_Metadata) -> Metadata {
        if message.filterMetadata.isEmpty { return Metadata() }
        return Metadata(message.filterMetadata.mapValues(Decoding.object))
    }

    static func object(_ message: Google_Protobuf_Struct) -> [String: MetadataValue] {
        message.fields.mapValues(value)
    }

    static func value(_ message: Google_Protobuf_Value) -> MetadataValue {
        switch message.kind {
        case .boolValue(let value): .bool(value)
        case .numberValue(let value): .number(value)
        case .stringValue(let value): .string(value)
        case .listValue(let list): .list(list.values.map(value))
        case .structValue(let structure): .object(object(structure))
        case .nullValue, nil: .null
        }
    }

    mutating func stringMatcher(_ message: Envoy_Type_Matcher_V3_StringMatcher) -> StringMatcher? {
        requireWhole(message)
        switch message.matchPattern {
        case .exact(let text):
            return StringMatcher(.exact(text), ignoreCase: message.ignoreCase)
        case .prefix(let text):
            return StringMatcher(.prefix(text), ignoreCase: message.ignoreCase)
        case .suffix(let text):
            return StringMatcher(.suffix(text), ignoreCase: message.ignoreCase)
        case .contains(let text):
            return StringMatcher(.contains(text), ignoreCase: message.ignoreCase)
        case .safeRegex(let regex):
            return self.regex(regex, "safe_regex").map { StringMatcher(.regex($0)) }
        case .custom:
            refuse(
                "custom", expected: "exact, prefix, suffix, contains or safe_regex", got: "custom")
            return nil
        case nil:
            refuse(expected: "exact, prefix, suffix, contains or safe_regex", got: "none")
            return nil
        }
    }

    mutating func regex(_ message: Envoy_Type_Matcher_V3_RegexMatcher, _ field: String) -> String? {
        within(field) { at in
            at.requireWhole(message)
            if message.regex.isEmpty {
                at.refuse("regex", expected: "a regular expression", got: "none")
                return nil
            }
            do {
                _ = try LinearRegex(message.regex)
            } catch {
                at.refuse("regex", expected: "a regular expression", got: "\"\(message.regex)\"")
                return nil
            }
            return message.regex
        }
    }

    mutating func fraction(_ message: Envoy_Type_V3_FractionalPercent) -> FractionalPercent {
        let factor: UInt64 =
            switch message.denominator {
            case .hundred: 10_000
            case .tenThousand: 100
            default: 1
            }
        return FractionalPercent(
            partsPerMillion: UInt32(min(UInt64(message.numerator) * factor, 1_000_000)))
    }

    mutating func headerChanges(
        add: [Envoy_Config_Core_V3_HeaderValueOption], remove: [String], _ side: String
    ) -> HeaderChanges {
        if add.isEmpty, remove.isEmpty { return HeaderChanges() }
        let additions = each("\(side)_headers_to_add", add) { at, option in at.addition(option) }
        return HeaderChanges(
            add: additions.compactMap { $0 }, remove: remove.map { $0.lowercased() })
    }

    mutating func addition(_ option: Envoy_Config_Core_V3_HeaderValueOption)
        -> HeaderChanges.Addition?
    {
        noteUnknown(option)
        let name = option.header.key.lowercased()
        guard Decoding.isHeaderName(name) else {
            refuse("header.key", expected: "the name of a header", got: "\"\(name)\"")
            return nil
        }
        let raw = String(decoding: option.header.rawValue, as: UTF8.self)
        let value = option.header.value.isEmpty ? raw : option.header.value
        if value.utf8.contains(where: { $0 == 10 || $0 == 13 || $0 == 0 }) {
            refuse("header.value", expected: "a header's value", got: "text with a line break")
            return nil
        }
        let append: HeaderChanges.Append
        if option.hasAppend {
            append = option.append.value ? .appendIfExistsOrAdd : .overwriteIfExistsOrAdd
        } else {
            switch option.appendAction {
            case .appendIfExistsOrAdd: append = .appendIfExistsOrAdd
            case .addIfAbsent: append = .addIfAbsent
            case .overwriteIfExistsOrAdd: append = .overwriteIfExistsOrAdd
            case .overwriteIfExists: append = .overwriteIfExists
            case .UNRECOGNIZED(let number):
                refuse("append_action", expected: "a known action", got: "\(number)")
                return nil
            }
        }
        return HeaderChanges.Addition(
            name: name, value: value, append: append, keepEmpty: option.keepEmptyValue)
    }

    static func isHeaderName(_ name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy { byte in
                switch byte {
                case 48...57, 65...90, 97...122: true
                case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: ":"),
                    UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"),
                    UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
                    UInt8(ascii: "^"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
                    true
                default: false
                }
            }
    }

    /// Loggers of type file, stdout and stderr; others are passed by with a remark.
    mutating func accessLogs(_ logs: [Envoy_Config_Accesslog_V3_AccessLog]) -> [AccessLogConfig] {
        each("access_log", logs) { at, log -> AccessLogConfig? in
            if log.hasFilter {
                at.remark("filter", "access log filters are not supported; this log stays silent")
                return nil
            }
            return at.within("typed_config") { at -> AccessLogConfig? in
                let opened = at.open(log.typedConfig)
                switch opened.type {
                case "envoy.extensions.access_loggers.file.v3.FileAccessLog":
                    guard
                        let file = at.parse(
                            opened, as: Envoy_Extensions_AccessLoggers_File_V3_FileAccessLog.self)
                    else { return AccessLogConfig?.none }
                    if file.path.isEmpty { at.refuse("path", expected: "a path", got: "none") }
                    var format = AccessLogConfig.Format.standard
                    switch file.accessLogFormat {
                    case .format(let text): format = text.isEmpty ? .standard : .text(text)
                    case .logFormat(let given): format = at.format(given)
                    case .jsonFormat(let json), .typedJsonFormat(let json):
                        format = at.json(json)
                    case nil: break
                    }
                    return AccessLogConfig(path: file.path, format: format)
                case "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog":
                    let stream = at.parse(
                        opened, as: Envoy_Extensions_AccessLoggers_Stream_V3_StdoutAccessLog.self)
                    guard let stream else { return nil }
                    guard case .logFormat(let format)? = stream.accessLogFormat else {
                        return AccessLogConfig(path: "/dev/stdout")
                    }
                    return AccessLogConfig(path: "/dev/stdout", format: at.format(format))
                case "envoy.extensions.access_loggers.stream.v3.StderrAccessLog":
                    let stream = at.parse(
                        opened, as: Envoy_Extensions_AccessLoggers_Stream_V3_StderrAccessLog.self)
                    guard let stream else { return nil }
                    guard case .logFormat(let format)? = stream.accessLogFormat else {
                        return AccessLogConfig(path: "/dev/stderr")
                    }
                    return AccessLogConfig(path: "/dev/stderr", format: at.format(format))
                default:
                    at.remark("", "access logger \(opened.type) is ignored")
                    return nil
                }
            }
        }.compactMap { $0 }
    }

    private mutating func format(_ message: Envoy_Config_Core_V3_SubstitutionFormatString)
        -> AccessLogConfig.Format
    {
        switch message.format {
        case .textFormat(let text): return text.isEmpty ? .standard : .text(text)
        case .jsonFormat(let json): return self.json(json)
        case .textFormatSource(let source):
            if case .inlineString(let text)? = source.specifier { return .text(text) }
            remark("log_format", "a format from a file is not supported; the default is used")
            return .standard
        case nil: return .standard
        }
    }

    private mutating func json(_ structure: Google_Protobuf_Struct) -> AccessLogConfig.Format {
        var pairs: [(String, String)] = []
        for (key, value) in structure.fields.sorted(by: { $0.key < $1.key }) {
            switch value.kind {
            case .stringValue(let text): pairs.append((key, text))
            case .numberValue(let number): pairs.append((key, "\(number)"))
            case .boolValue(let flag): pairs.append((key, "\(flag)"))
            default: remark("json_format", "\"\(key)\" is no text and is left out")
            }
        }
        return .json(pairs)
    }
}

extension ConfigTree {
    /// The tree that a Struct is.
    init(structure: Google_Protobuf_Struct) {
        self.init()
        setRoot(add(structure))
    }

    private mutating func add(_ structure: Google_Protobuf_Struct) -> NodeIndex {
        let map = add(.map)
        var children: [NodeIndex] = []
        for (key, value) in structure.fields.sorted(by: { $0.key < $1.key }) {
            children.append(add(.scalar, text: key))
            children.append(add(value))
        }
        link(children, to: map)
        return map
    }

    private mutating func add(_ value: Google_Protobuf_Value) -> NodeIndex {
        switch value.kind {
        case .structValue(let structure): return add(structure)
        case .listValue(let list):
            let index = add(.list)
            var children: [NodeIndex] = []
            for item in list.values { children.append(add(item)) }
            link(children, to: index)
            return index
        case .stringValue(let text): return add(.scalar, text: text)
        case .boolValue(let flag): return add(.scalar, text: flag ? "true" : "false", isPlain: true)
        case .numberValue(let number):
            let text = Int64(exactly: number).map(String.init) ?? "\(number)"
            return add(.scalar, text: text, isPlain: true)
        case .nullValue, nil: return add(.scalar, text: "null", isPlain: true)
        }
    }
}
