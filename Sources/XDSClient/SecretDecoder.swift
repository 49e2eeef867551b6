internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

// TLS contexts and secrets. Every message here restricts who may be on the other end, so each is
// understood whole or refused.

extension Decoding {
    mutating func secret(_ message: Envoy_Extensions_TransportSockets_Tls_V3_Secret) -> Secret? {
        requireWhole(message)
        if message.name.isEmpty { refuse("name", expected: "a name", got: "none") }
        switch message.type {
        case .tlsCertificate(let certificate):
            return within("tls_certificate") { $0.certificate(certificate) }
                .map { Secret(name: message.name, content: .certificate($0)) }
        case .validationContext(let context):
            return within("validation_context") { $0.validation(context) }
                .map { Secret(name: message.name, content: .validation($0)) }
        case .sessionTicketKeys(let keys):
            let sources = each("session_ticket_keys.keys", keys.keys) { $0.dataSource($1, "") }
            return Secret(name: message.name, content: .ticketKeys(sources.compactMap { $0 }))
        case .genericSecret:
            refuse(
                "generic_secret", expected: "tls_certificate or validation_context",
                got: "a generic secret, which nothing here uses")
            return nil
        case nil:
            refuse(expected: "tls_certificate or validation_context", got: "none")
            return nil
        }
    }

    mutating func certificate(_ message: Envoy_Extensions_TransportSockets_Tls_V3_TlsCertificate)
        -> CertificateMaterial?
    {
        requireWhole(message)
        if message.hasPkcs12 {
            refuse("pkcs12", expected: "certificate_chain and private_key", got: "pkcs12")
            return nil
        }
        if message.hasPrivateKeyProvider, !message.privateKeyProvider.fallback {
            refuse("private_key_provider", expected: "private_key", got: "a key provider")
            return nil
        }
        guard let chain = dataSource(message.certificateChain, "certificate_chain"),
            let key = dataSource(message.privateKey, "private_key")
        else { return nil }
        return CertificateMaterial(
            chain: chain, key: key,
            password: message.hasPassword ? dataSource(message.password, "password") : nil,
            watchedDirectory: message.hasWatchedDirectory ? message.watchedDirectory.path : nil)
    }

    mutating func validation(
        _ message: Envoy_Extensions_TransportSockets_Tls_V3_CertificateValidationContext
    ) -> ValidationMaterial? {
        requireWhole(message)
        var result = ValidationMaterial()
        if message.hasCaCertificateProviderInstance {
            refuse(
                "ca_certificate_provider_instance", expected: "trusted_ca",
                got: "a certificate provider")
        }
        if message.hasSystemRootCerts {
            result.trustedCA = .file("/etc/ssl/certs/ca-certificates.crt")
        }
        if message.hasTrustedCa { result.trustedCA = dataSource(message.trustedCa, "trusted_ca") }
        result.certificateHashes = each(
            "verify_certificate_hash", message.verifyCertificateHash
        ) { at, text in
            let hex = text.filter { $0 != ":" }.lowercased()
            if hex.utf8.count != 64 || !hex.allSatisfy(\.isHexDigit) {
                at.refuse(expected: "64 hex digits", got: "\"\(text)\"")
            }
            return hex
        }
        result.spkiHashes = each("verify_certificate_spki", message.verifyCertificateSpki) {
            at, text in
            if Base64.decode(text)?.count != 32 {
                at.refuse(expected: "base64 of 32 bytes", got: "\"\(text)\"")
            }
            return text
        }
        let typed = each("match_typed_subject_alt_names", message.matchTypedSubjectAltNames) {
            at, san -> SANMatcher? in
            at.requireWhole(san)
            let type: SANMatcher.NameType
            switch san.sanType {
            case .uri: type = .uri
            case .dns: type = .dns
            case .ipAddress: type = .ipAddress
            case .email: type = .email
            case .otherName: type = .otherName
            default:
                at.refuse("san_type", expected: "a type of name", got: "none that is known")
                return nil
            }
            return at.within("matcher") { $0.stringMatcher(san.matcher) }
                .map { SANMatcher(type: type, matcher: $0) }
        }
        // Envoy tests the typed ones alone where both are given.
        if message.matchTypedSubjectAltNames.isEmpty {
            let any = each("match_subject_alt_names", message.matchSubjectAltNames) {
                $0.stringMatcher($1)
            }
            result.sanMatchers = any.compactMap { $0.map { SANMatcher(type: .any, matcher: $0) } }
        } else {
            result.sanMatchers = typed.compactMap { $0 }
        }
        if message.hasRequireSignedCertificateTimestamp,
            message.requireSignedCertificateTimestamp.value
        {
            refuse("require_signed_certificate_timestamp", expected: "false", got: "true")
        }
        if message.hasMaxVerifyDepth {
            refuse("max_verify_depth", expected: "none (not supported here)", got: "a depth")
        }
        if message.onlyVerifyLeafCertCrl {
            refuse("only_verify_leaf_cert_crl", expected: "false", got: "true")
        }
        if message.hasCrl { result.crl = dataSource(message.crl, "crl") }
        result.allowExpired = message.allowExpiredCertificate
        switch message.trustChainVerification {
        case .verifyTrustChain: break
        case .acceptUntrusted: result.acceptUntrusted = true
        case .UNRECOGNIZED(let number):
            refuse("trust_chain_verification", expected: "a known name", got: "\(number)")
        }
        if message.hasCustomValidatorConfig {
            within("custom_validator_config.typed_config") { at in
                let opened = at.open(message.customValidatorConfig.typedConfig)
                guard
                    opened.type
                        == "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
                    let spiffe = at.parse(
                        opened,
                        as: Envoy_Extensions_TransportSockets_Tls_V3_SPIFFECertValidatorConfig.self)
                else {
                    at.refuse(expected: "a SPIFFECertValidatorConfig", got: opened.type)
                    return
                }
                at.requireWhole(spiffe)
                if spiffe.hasTrustBundles {
                    at.refuse(
                        "trust_bundles", expected: "trust_domains", got: "a SPIFFE bundle map")
                }
                if spiffe.trustDomains.isEmpty {
                    at.refuse("trust_domains", expected: "one or more", got: "none")
                }
                for domain in spiffe.trustDomains {
                    at.requireWhole(domain)
                    if domain.name.isEmpty || result.trustDomains[domain.name] != nil {
                        at.refuse(
                            "trust_domains", expected: "a name of its own",
                            got: "\"\(domain.name)\"")
                    }
                    result.trustDomains[domain.name] = at.dataSource(
                        domain.trustBundle, "trust_domains[\"\(domain.name)\"].trust_bundle")
                }
            }
        }
        if message.hasWatchedDirectory { result.watchedDirectory = message.watchedDirectory.path }
        return result
    }

    mutating func secretName(_ message: Envoy_Extensions_TransportSockets_Tls_V3_SdsSecretConfig)
        -> String
    {
        requireWhole(message)
        if message.name.isEmpty { refuse("name", expected: "a name", got: "none") }
        secretNames.insert(message.name)
        return message.name
    }

    mutating func commonTLS(
        _ message: Envoy_Extensions_TransportSockets_Tls_V3_CommonTlsContext
    ) -> CommonTLS {
        requireWhole(message)
        var result = CommonTLS()
        for (isSet, name) in [
            (message.hasTlsCertificateProviderInstance, "tls_certificate_provider_instance"),
            (message.hasTlsCertificateCertificateProvider, "tls_certificate_certificate_provider"),
            (message.hasCustomHandshaker, "custom_handshaker"),
            (message.hasCustomTlsCertificateSelector, "custom_tls_certificate_selector"),
        ] where isSet {
            refuse(name, expected: "none (not supported here)", got: "one")
        }
        if message.hasKeyLog { remark("key_log", "no keys are logged") }
        result.certificates =
            each("tls_certificates", message.tlsCertificates) { $0.certificate($1) }
            .compactMap { $0.map(CertificateReference.inline) }
        result.certificates += each(
            "tls_certificate_sds_secret_configs", message.tlsCertificateSdsSecretConfigs
        ) { .secret($0.secretName($1)) }
        switch message.validationContextType {
        case .validationContext(let context):
            if let material = within("validation_context", { $0.validation(context) }) {
                result.validation = .inline(material)
            }
        case .validationContextSdsSecretConfig(let config):
            result.validation = .secret(
                within("validation_context_sds_secret_config") { $0.secretName(config) })
        case .combinedValidationContext(let combined):
            within("combined_validation_context") { at in
                at.requireWhole(combined)
                let material = at.within("default_validation_context") {
                    $0.validation(combined.defaultValidationContext)
                }
                let name = at.within("validation_context_sds_secret_config") {
                    $0.secretName(combined.validationContextSdsSecretConfig)
                }
                if let material { result.validation = .combined(material, secret: name) }
            }
        case nil: break
        default:
            refuse(
                expected: "validation_context, its secret, or combined_validation_context",
                got: "a certificate provider")
        }
        // Who negotiates it must exchange metadata ahead of the payload; that filter is passed by.
        result.alpn = message.alpnProtocols.filter { $0 != "istio-peer-exchange" }
        if message.hasTlsParams {
            within("tls_params") { at in
                at.requireWhole(message.tlsParams)
                let parameters = message.tlsParams
                if let version = at.version(
                    parameters.tlsMinimumProtocolVersion, "tls_minimum_protocol_version")
                {
                    result.minimumVersion = version
                }
                if let version = at.version(
                    parameters.tlsMaximumProtocolVersion, "tls_maximum_protocol_version")
                {
                    result.maximumVersion = version
                }
                if result.minimumVersion > result.maximumVersion {
                    at.refuse(
                        "tls_minimum_protocol_version", expected: "not above the maximum",
                        got: "more")
                }
                // BoringSSL's groups of equal preference, "[A|B]", become a plain order.
                result.cipherSuites = parameters.cipherSuites.flatMap { suite in
                    suite.split(whereSeparator: { "[|]".contains($0) }).map(String.init)
                }
                result.ecdhCurves = parameters.ecdhCurves
                if !parameters.signatureAlgorithms.isEmpty || !parameters.compliancePolicies.isEmpty
                {
                    at.refuse(
                        expected: "versions, cipher_suites and ecdh_curves",
                        got: "signature_algorithms or compliance_policies")
                }
            }
        }
        return result
    }

    private mutating func version(
        _ value: Envoy_Extensions_TransportSockets_Tls_V3_TlsParameters.TlsProtocol, _ field: String
    ) -> CommonTLS.Version? {
        switch value {
        case .tlsAuto: return nil
        case .tlsv10: return .tls10
        case .tlsv11: return .tls11
        case .tlsv12: return .tls12
        case .tlsv13: return .tls13
        case .UNRECOGNIZED(let number):
            refuse(field, expected: "a known version", got: "\(number)")
            return nil
        }
    }

    mutating func downstreamTLS(_ socket: Envoy_Config_Core_V3_TransportSocket) -> DownstreamTLS? {
        within("transport_socket.typed_config") { at in
            let opened = at.open(socket.typedConfig)
            switch opened.type {
            case "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer":
                return nil
            case "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext":
                guard
                    let message = at.parse(
                        opened,
                        as: Envoy_Extensions_TransportSockets_Tls_V3_DownstreamTlsContext.self)
                else { return nil }
                at.requireWhole(message)
                let common = at.within("common_tls_context") {
                    $0.commonTLS(message.commonTlsContext)
                }
                if common.certificates.isEmpty {
                    at.refuse("common_tls_context", expected: "a certificate", got: "none")
                }
                var tls = DownstreamTLS(common: common)
                tls.requireClientCertificate = message.requireClientCertificate.value
                if tls.requireClientCertificate, common.validation == .none {
                    at.refuse(
                        "common_tls_context", expected: "a validation context", got: "none")
                }
                tls.requireSNI = message.requireSni.value
                tls.disableResumption =
                    message.disableStatelessSessionResumption
                    && message.disableStatefulSessionResumption
                if message.hasSessionTimeout {
                    tls.sessionTimeout = at.duration(message.sessionTimeout, "session_timeout")
                }
                switch message.sessionTicketKeysType {
                case .sessionTicketKeys, .sessionTicketKeysSdsSecretConfig:
                    at.remark("", "session ticket keys are made by the proxy itself")
                case .disableStatelessSessionResumption(let isDisabled):
                    tls.disableResumption = tls.disableResumption || isDisabled
                case nil: break
                }
                return tls
            default:
                at.refuse(
                    expected: "a DownstreamTlsContext or RawBuffer",
                    got: opened.type.isEmpty ? "none" : opened.type)
                return nil
            }
        }
    }

    mutating func transport(_ socket: Envoy_Config_Core_V3_TransportSocket) -> Transport {
        within("transport_socket.typed_config") { at in
            let opened = at.open(socket.typedConfig)
            switch opened.type {
            case "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer":
                return .plaintext
            case "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":
                guard
                    let message = at.parse(
                        opened, as: Envoy_Extensions_TransportSockets_Tls_V3_UpstreamTlsContext.self
                    )
                else { return .plaintext }
                at.requireWhole(message)
                if message.autoSniSanValidation {
                    at.refuse("auto_sni_san_validation", expected: "false", got: "true")
                }
                let common = at.within("common_tls_context") {
                    $0.commonTLS(message.commonTlsContext)
                }
                return .tls(
                    UpstreamTLS(
                        common: common, sni: message.sni, autoHostSNI: message.autoHostSni,
                        maxSessionKeys: message.hasMaxSessionKeys
                            ? Int(message.maxSessionKeys.value) : 1))
            default:
                at.refuse(
                    expected: "an UpstreamTlsContext or RawBuffer",
                    got: opened.type.isEmpty ? "none" : opened.type)
                return .plaintext
            }
        }
    }
}
