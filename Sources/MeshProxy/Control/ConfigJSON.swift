import MeshBase
import MeshConfig
import Observability

/// Values of `MeshConfig` under the field names of Envoy's API, for `/config_dump` and its like.
/// Fields at their defaults are left out. Clusters and listeners have files of their own.
enum ConfigJSON {
    static let types = "type.googleapis.com/"

    static func duration(_ duration: Duration) -> JSONValue {
        let nanoseconds = duration.nanoseconds
        let sign = nanoseconds < 0 ? "-" : ""
        let magnitude = nanoseconds.magnitude
        let rest = magnitude % 1_000_000_000
        if rest == 0 { return .string("\(sign)\(magnitude / 1_000_000_000)s") }
        // Three, six or nine digits, as protobuf's JSON has it.
        var digits = String("\(rest + 1_000_000_000)".dropFirst())
        while digits.hasSuffix("000") { digits.removeLast(3) }
        return .string("\(sign)\(magnitude / 1_000_000_000).\(digits)s")
    }

    static func optional(_ value: Duration?) -> JSONValue { value.map(duration) ?? .null }

    static func number(_ value: Int, unless usual: Int = 0) -> JSONValue {
        value == usual ? .null : .number(Int64(value))
    }

    static func flag(_ value: Bool) -> JSONValue { value ? true : .null }

    static func strings(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }

    /// RFC 3339 in UTC; nothing for the beginning of time.
    static func time(_ time: UnixTime) -> JSONValue {
        if time.microseconds <= 0 { return .null }
        let civil = CivilTime(secondsSince1970: time.seconds)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let milliseconds = "\(time.microseconds / 1000 % 1000 + 1000)".dropFirst()
        return .string(
            "\(civil.year)-\(two(civil.month))-\(two(civil.day))T"
                + "\(two(civil.hour)):\(two(civil.minute)):\(two(civil.second)).\(milliseconds)Z")
    }

    static func address(_ address: SocketAddress) -> JSONValue {
        if case .pipe(let path) = address { return ["pipe": ["path": .string(path)]] }
        return [
            "socket_address": [
                "address": .string(address.host), "port_value": .number(Int64(address.port)),
            ]
        ]
    }

    static func prefix(_ prefix: AddressPrefix) -> JSONValue {
        [
            "address_prefix": .string(prefix.address.host),
            "prefix_len": .number(Int64(prefix.bits)),
        ]
    }

    static func locality(_ locality: Locality) -> JSONValue {
        .message(
            ("region", .string(locality.region)), ("zone", .string(locality.zone)),
            ("sub_zone", .string(locality.subZone)))
    }

    static func node(_ node: Node) -> JSONValue {
        .message(
            ("id", .string(node.id)), ("cluster", .string(node.cluster)),
            ("metadata", object(node.metadata)), ("locality", locality(node.locality)))
    }

    static func object(_ values: [String: MetadataValue]) -> JSONValue {
        if values.isEmpty { return .null }
        return .object(
            values.sorted { $0.key < $1.key }.map { (key: $0.key, value: metadataValue($0.value)) })
    }

    static func metadataValue(_ value: MetadataValue) -> JSONValue {
        switch value {
        case .null: .null
        case .bool(let value): .bool(value)
        case .number(let value):
            Int64(exactly: value).map { .number($0) } ?? .decimal(value)
        case .string(let value): .string(value)
        case .list(let values): .array(values.map(metadataValue))
        case .object(let values): values.isEmpty ? [:] : object(values)
        }
    }

    static func metadata(_ metadata: Metadata) -> JSONValue {
        if metadata.filters.isEmpty { return .null }
        return [
            "filter_metadata": .object(
                metadata.filters.sorted { $0.key < $1.key }.map {
                    (key: $0.key, value: object($0.value))
                })
        ]
    }

    static func string(_ matcher: StringMatcher) -> JSONValue {
        let pattern: (String, JSONValue) =
            switch matcher.pattern {
            case .exact(let text): ("exact", .string(text))
            case .prefix(let text): ("prefix", .string(text))
            case .suffix(let text): ("suffix", .string(text))
            case .contains(let text): ("contains", .string(text))
            case .regex(let text): ("safe_regex", ["regex": .string(text)])
            }
        return .message(pattern, ("ignore_case", flag(matcher.ignoreCase)))
    }

    // MARK: TLS

    static func secret(_ secret: Secret) -> JSONValue {
        let content: (String, JSONValue) =
            switch secret.content {
            case .certificate(let material): ("tls_certificate", certificate(material))
            case .validation(let material): ("validation_context", validation(material))
            case .ticketKeys(let keys):
                ("session_ticket_keys", ["keys": .array(keys.map { _ in redacted })])
            }
        return .message(
            ("@type", .string(types + "envoy.extensions.transport_sockets.tls.v3.Secret")),
            ("name", .string(secret.name)), content)
    }

    private static let redacted: JSONValue = [
        "inline_bytes": .string(Base64.encode("[redacted]".utf8))
    ]

    static func certificate(_ material: CertificateMaterial) -> JSONValue {
        .message(
            ("certificate_chain", source(material.chain)),
            ("private_key", secretSource(material.key)),
            ("password", material.password.map(secretSource) ?? .null))
    }

    static func validation(_ material: ValidationMaterial) -> JSONValue {
        .message(
            ("trusted_ca", material.trustedCA.map(source) ?? .null),
            (
                "custom_validator_config",
                material.trustDomains.isEmpty
                    ? .null
                    : [
                        "name": "envoy.tls.cert_validator.spiffe",
                        "typed_config": [
                            "@type": .string(
                                types + "envoy.extensions.transport_sockets.tls.v3"
                                    + ".SPIFFECertValidatorConfig"),
                            "trust_domains": .array(
                                material.trustDomains.sorted { $0.key < $1.key }.map {
                                    ["name": .string($0.key), "trust_bundle": source($0.value)]
                                }),
                        ],
                    ]
            ),
            (
                "match_typed_subject_alt_names",
                .array(
                    material.sanMatchers.map {
                        ["san_type": .string(word($0.type)), "matcher": string($0.matcher)]
                    })
            ),
            ("verify_certificate_hash", strings(material.certificateHashes)),
            ("verify_certificate_spki", strings(material.spkiHashes)),
            ("crl", material.crl.map(source) ?? .null),
            ("allow_expired_certificate", flag(material.allowExpired)),
            (
                "trust_chain_verification", material.acceptUntrusted ? "ACCEPT_UNTRUSTED" : .null
            ))
    }

    private static func word(_ type: SANMatcher.NameType) -> String {
        switch type {
        case .uri: "URI"
        case .dns: "DNS"
        case .ipAddress: "IP_ADDRESS"
        case .email: "EMAIL"
        case .otherName: "OTHER_NAME"
        case .any: "SAN_TYPE_UNSPECIFIED"
        }
    }

    /// Of something that anybody may see.
    private static func source(_ source: DataSource) -> JSONValue {
        switch source {
        case .file(let path): ["filename": .string(path)]
        case .inline(let bytes): ["inline_bytes": .string(Base64.encode(bytes))]
        }
    }

    private static func secretSource(_ source: DataSource) -> JSONValue {
        if case .file(let path) = source { return ["filename": .string(path)] }
        return redacted
    }

    /// `CommonTlsContext`.
    static func common(_ common: CommonTLS) -> JSONValue {
        var inline: [JSONValue] = []
        var named: [JSONValue] = []
        for reference in common.certificates {
            switch reference {
            case .inline(let material): inline.append(certificate(material))
            case .secret(let name): named.append(sds(name))
            }
        }
        let trust: (String, JSONValue) =
            switch common.validation {
            case .none: ("", .null)
            case .inline(let material): ("validation_context", validation(material))
            case .secret(let name): ("validation_context_sds_secret_config", sds(name))
            case .combined(let material, let name):
                (
                    "combined_validation_context",
                    [
                        "default_validation_context": validation(material),
                        "validation_context_sds_secret_config": sds(name),
                    ]
                )
            }
        return .message(
            (
                "tls_params",
                .message(
                    ("tls_minimum_protocol_version", version(common.minimumVersion, .tls12)),
                    ("tls_maximum_protocol_version", version(common.maximumVersion, .tls13)),
                    ("cipher_suites", strings(common.cipherSuites)),
                    ("ecdh_curves", strings(common.ecdhCurves)))
            ),
            ("tls_certificates", .array(inline)),
            ("tls_certificate_sds_secret_configs", .array(named)), trust,
            ("alpn_protocols", strings(common.alpn)))
    }

    private static func version(
        _ version: CommonTLS.Version, _ usual: CommonTLS.Version
    ) -> JSONValue {
        if version == usual { return .null }
        switch version {
        case .tls10: return "TLSv1_0"
        case .tls11: return "TLSv1_1"
        case .tls12: return "TLSv1_2"
        case .tls13: return "TLSv1_3"
        }
    }

    private static func sds(_ name: String) -> JSONValue {
        ["name": .string(name), "sds_config": ["ads": [:], "resource_api_version": "V3"]]
    }
}
