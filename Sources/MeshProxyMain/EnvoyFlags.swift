/// Envoy's flags that have no meaning here. Starters such as pilot-agent pass them; they are
/// taken out, with a warning, rather than refused.
enum EnvoyFlags {
    private static let bare: Set<String> = [
        "--disable-hot-restart", "--reject-unknown-dynamic-fields",
        "--ignore-unknown-dynamic-fields", "--skip-deprecated-logs", "--enable-core-dump",
        "--cpuset-threads", "--enable-mutex-tracing", "--use-dynamic-base-id",
        "--enable-fine-grain-logging", "--log-format-escaped", "--skip-hot-restart-on-no-parent",
        "--skip-hot-restart-parent-stats",
    ]
    private static let valued: Set<String> = [
        "--drain-strategy", "--local-address-ip-version", "--file-flush-interval-msec",
        "--file-flush-min-size-kb", "--restart-epoch", "--base-id", "--base-id-path",
        "--parent-shutdown-time-s", "--log-format", "--log-path", "--service-zone",
        "--admin-address-path", "--socket-path", "--socket-mode", "--hot-restart-version",
        "--max-stats", "--max-obj-name-len", "--disable-extensions", "--stats-tag",
    ]

    /// The arguments without those flags, and the flags that were dropped.
    static func split(_ arguments: [String]) -> (kept: [String], dropped: [String]) {
        var kept: [String] = []
        var dropped: [String] = []
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            let name = String(argument.prefix { $0 != "=" })
            if bare.contains(name) {
                dropped.append(argument)
            } else if valued.contains(name) {
                dropped.append(name)
                if name == argument { index += 1 }
            } else {
                kept.append(argument)
            }
            index += 1
        }
        return (kept, dropped)
    }
}
