/// Bytes of a certificate, key or bundle, or where they are.
public enum DataSource: Sendable, Hashable {
    case inline([UInt8])
    /// Contents are in `Snapshot.files` under this path.
    case file(String)
}

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
public struct Secret: Sendable, Equatable {
    public enum Content: Sendable, Equatable {
        case certificate(CertificateMaterial)
        case validation(ValidationMaterial)
        /// Session ticket keys, 80 bytes each.
        case ticketKeys([DataSource])
    }

    public var name: String
    public var content: Content
    public var generation: UInt64
    public var provenance: Provenance

    public init(
        name: String, content: Content, generation: UInt64 = 0,
        provenance: Provenance = Provenance()
    ) {
        self.name = name
        self.content = content
        self.generation = generation
        self.provenance = provenance
    }
}

/// `TlsCertificate`: PEM.
public struct CertificateMaterial: Sendable, Equatable {
    public var chain: DataSource
    public var key: DataSource
    public var password: DataSource?
    /// Watched for renames (Kubernetes' symlink swap); `nil`: the directory of each file.
    public var watchedDirectory: String?

    public init(
        chain: DataSource, key: DataSource, password: DataSource? = nil,
        watchedDirectory: String? = nil
    ) {
        self.chain = chain
        self.key = key
        self.password = password
        self.watchedDirectory = watchedDirectory
    }
}

/// `CertificateValidationContext`: whom to trust.
public struct ValidationMaterial: Sendable, Equatable {
    /// PEM bundle; `nil`: the peer's chain is not verified (only with `acceptUntrusted` semantics
    /// of a configuration that gives no `trusted_ca`).
    public var trustedCA: DataSource?
    /// `SPIFFECertValidatorConfig`: bundle by trust domain. Takes the place of `trustedCA`.
    public var trustDomains: [String: DataSource]
    /// The peer must match one of them, where there is any.
    public var sanMatchers: [SANMatcher]
    /// SHA-256 of the DER certificate, 64 hex digits in lower case; one must match where any is.
    public var certificateHashes: [String]
    /// Base64 SHA-256 of the SPKI; one must match where any is.
    public var spkiHashes: [String]
    public var crl: DataSource?
    public var allowExpired: Bool
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`.
    public var acceptUntrusted: Bool
    public var watchedDirectory: String?

    public init(
        trustedCA: DataSource? = nil, trustDomains: [String: DataSource] = [:],
        sanMatchers: [SANMatcher] = [], certificateHashes: [String] = [],
        spkiHashes: [String] = [], crl: DataSource? = nil, allowExpired: Bool = false,
        acceptUntrusted: Bool = false, watchedDirectory: String? = nil
    ) {
        self.trustedCA = trustedCA
        self.trustDomains = trustDomains
        self.sanMatchers = sanMatchers
        self.certificateHashes = certificateHashes
        self.spkiHashes = spkiHashes
        self.crl = crl
        self.allowExpired = allowExpired
        self.acceptUntrusted = acceptUntrusted
        self.watchedDirectory = watchedDirectory
    }
}

/// `SubjectAltNameMatcher`.
public struct SANMatcher: Sendable, Hashable {
    public enum NameType: Sendable, Hashable {
        case uri, dns, ipAddress, email, otherName
        /// The deprecated `match_subject_alt_names`: any type.
        case any
    }

    public var type: NameType
    public var matcher: StringMatcher

    public init(type: NameType, matcher: StringMatcher) {
        self.type = type
        self.matcher = matcher
    }
}

public enum CertificateReference: Sendable, Equatable {
    case inline(CertificateMaterial)
    /// By name in `Snapshot.secrets`.
    case secret(String)
}

public enum ValidationReference: Sendable, Equatable {
    /// No peer certificate is looked at.
    case none
    case inline(ValidationMaterial)
    case secret(String)
    /// `combined_validation_context`: the secret's trust with the matchers given here.
    case combined(ValidationMaterial, secret: String)
}

/// `CommonTlsContext`.
public struct CommonTLS: Sendable, Equatable {
    public enum Version: Int, Sendable, Comparable {
        case tls10 = 10
        case tls11, tls12, tls13

        public static func < (left: Version, right: Version) -> Bool {
            left.rawValue < right.rawValue
        }
    }

    public var certificates: [CertificateReference]
    public var validation: ValidationReference
    /// In order of preference; empty: no ALPN.
    public var alpn: [String]
    public var minimumVersion: Version
    public var maximumVersion: Version
    /// TLS 1.2 cipher names in OpenSSL's spelling; empty: OpenSSL's default.
    public var cipherSuites: [String]
    /// Named groups; empty: OpenSSL's default.
    public var ecdhCurves: [String]

    public init(
        certificates: [CertificateReference] = [], validation: ValidationReference = .none,
        alpn: [String] = [], minimumVersion: Version = .tls12, maximumVersion: Version = .tls13,
        cipherSuites: [String] = [], ecdhCurves: [String] = []
    ) {
        self.certificates = certificates
        self.validation = validation
        self.alpn = alpn
        self.minimumVersion = minimumVersion
        self.maximumVersion = maximumVersion
        self.cipherSuites = cipherSuites
        self.ecdhCurves = ecdhCurves
    }
}

/// `DownstreamTlsContext`.
public struct DownstreamTLS: Sendable, Equatable {
    public var common: CommonTLS
    public var requireClientCertificate: Bool
    public var requireSNI: Bool
    /// No tickets, no session ids.
    public var disableResumption: Bool
    public var sessionTimeout: Duration?

    public init(
        common: CommonTLS, requireClientCertificate: Bool = false, requireSNI: Bool = false,
        disableResumption: Bool = false, sessionTimeout: Duration? = nil
    ) {
        self.common = common
        self.requireClientCertificate = requireClientCertificate
        self.requireSNI = requireSNI
        self.disableResumption = disableResumption
        self.sessionTimeout = sessionTimeout
    }
}

/// `UpstreamTlsContext`.
public struct UpstreamTLS: Sendable, Equatable {
    public var common: CommonTLS
    /// Empty: no SNI.
    public var sni: String
    /// `auto_host_sni`: the endpoint's hostname instead.
    public var autoHostSNI: Bool
    /// Sessions kept for resumption for each endpoint; 0: none. Envoy's default is 1.
    public var maxSessionKeys: Int

    public init(
        common: CommonTLS, sni: String = "", autoHostSNI: Bool = false, maxSessionKeys: Int = 1
    ) {
        self.common = common
        self.sni = sni
        self.autoHostSNI = autoHostSNI
        self.maxSessionKeys = maxSessionKeys
    }
}
