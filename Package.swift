// swift-tools-version:6.2
import PackageDescription

/// Every target of ours: Swift 6 mode, warnings are errors, and release builds that may specialise
/// across modules (without it a generic call between modules costs thirty times as much).
/// Exclusive access is checked at run time in debug builds, where the tests run; in release the
/// checks were a quarter of the instructions of a request.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    // Else a member of Foundation that a dependency imports is found by accident, and with it come
    // 50 MB of ICU.
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(
        ["-cross-module-optimization", "-enforce-exclusivity=unchecked"],
        .when(configuration: .release)),
]

let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let arguments: Target.Dependency = .product(
    name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

/// Off the data path: no specialisation across modules, which costs minutes of build time here.
let cold: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .treatAllWarnings(as: .error),
    .enableUpcomingFeature("MemberImportVisibility"),
]

func module(
    _ name: String, _ dependencies: [Target.Dependency], _ settings: [SwiftSetting] = strict
) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, exclude: [], swiftSettings: strict)
}

/// `MESH_FUZZ=1` adds the fuzzer, which links only with `--sanitize=fuzzer`: see scripts/fuzz.
let fuzzer: [Target] =
    Context.environment["MESH_FUZZ"] == nil
    ? []
    : [
        .executableTarget(
            name: "fuzz", dependencies: ["FuzzBodies"], path: "Tests/Fuzz",
            swiftSettings: [.swiftLanguageMode(.v6), .unsafeFlags(["-parse-as-library"])])
    ]

/// `MESH_MICRO=1` adds the benchmarks of single parts: see Benchmarks/Micro/run.
let micro: [Target] =
    Context.environment["MESH_MICRO"] == nil
    ? []
    : [
        .target(name: "Count", path: "Benchmarks/Micro/Count"),
        .executableTarget(
            name: "micro",
            dependencies: [
                "MeshBase", "MeshConfig", "HTTPCodec", "LoadBalancer", "Observability", "Count",
            ], path: "Benchmarks/Micro", exclude: ["Count", "run"], swiftSettings: strict),
    ]

let package = Package(
    name: "meshproxy",
    products: [.executable(name: "meshproxy", targets: ["MeshProxyMain"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        .systemLibrary(name: "CLibev"),
        .systemLibrary(name: "COpenSSL"),
        .systemLibrary(name: "CYAML"),

        module("MeshBase", []),
        module("MeshConfig", ["MeshBase"]),
        module("HTTPCodec", ["MeshBase"]),
        module("MTLS", ["MeshBase", "MeshConfig", "COpenSSL"]),
        module("LoadBalancer", ["MeshBase", "MeshConfig"]),
        module("HealthProbe", ["MeshBase", "MeshConfig", "HTTPCodec"]),
        module("XDSClient", ["MeshBase", "MeshConfig", "CYAML", protobuf], cold),
        module("EventLoop", ["MeshBase", "CLibev"]),
        module("Observability", ["MeshBase", "MeshConfig", logging]),
        module(
            "MeshProxy",
            [
                "MeshBase", "MeshConfig", "HTTPCodec", "MTLS", "LoadBalancer", "HealthProbe",
                "XDSClient", "EventLoop", "Observability",
            ]),
        .executableTarget(
            name: "MeshProxyMain", dependencies: ["MeshProxy", arguments], swiftSettings: strict),

        // What tests are made of: a seeded network, and certificates made on the spot.
        .target(
            name: "MeshSimulation",
            dependencies: [
                "MeshBase", "MeshConfig", "EventLoop", "HTTPCodec", "MTLS", "MeshProxy", "TestPKI",
            ], path: "Tests/MeshSimulation", swiftSettings: strict),
        .target(
            name: "TestPKI", dependencies: ["COpenSSL"], path: "Tests/TestPKI",
            swiftSettings: strict),
        .target(
            name: "FuzzBodies",
            dependencies: [
                "MeshBase", "MeshConfig", "HTTPCodec", "LoadBalancer", "MTLS", "Observability",
                "XDSClient",
            ], path: "Tests/FuzzBodies", swiftSettings: strict),
        .testTarget(
            name: "FuzzTests", dependencies: ["FuzzBodies"], exclude: ["Corpus"],
            swiftSettings: strict),
        tests("MeshBaseTests", ["MeshBase"]),
        tests("MeshConfigTests", ["MeshBase", "MeshConfig"]),
        tests("EventLoopTests", ["MeshBase", "EventLoop", "MeshSimulation"]),
        tests("HTTPCodecTests", ["MeshBase", "HTTPCodec"]),
        tests("MTLSTests", ["MeshBase", "MeshConfig", "MTLS", "TestPKI"]),
        tests("LoadBalancerTests", ["MeshBase", "MeshConfig", "LoadBalancer"]),
        tests("HealthProbeTests", ["MeshBase", "MeshConfig", "HealthProbe", "HTTPCodec"]),
        tests("XDSClientTests", ["MeshBase", "MeshConfig", "XDSClient", protobuf]),
        tests("ObservabilityTests", ["MeshBase", "MeshConfig", "Observability", logging]),
        tests(
            "MeshProxyTests",
            [
                "MeshBase", "MeshConfig", "EventLoop", "HTTPCodec", "HealthProbe", "LoadBalancer",
                "MTLS", "XDSClient", "MeshProxy", "MeshSimulation", "TestPKI",
            ]),
        tests("TidyTests", []),
    ] + fuzzer + micro
)
