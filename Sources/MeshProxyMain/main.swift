import ArgumentParser
import MeshProxy

let (arguments, dropped) = EnvoyFlags.split(Array(CommandLine.arguments.dropFirst()))
if !dropped.isEmpty {
    ProxyProcess.warn("flags without a meaning here: \(dropped.joined(separator: " "))")
}
MeshProxyCommand.main(arguments)
