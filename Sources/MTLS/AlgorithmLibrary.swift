internal import COpenSSL

// A library of algorithms for TLS alone.
//
// To read the key of a certificate, OpenSSL 3.0 asks every decoder and every kind of key that there is, of which
// TLS wants few; it costs more than the handshake's elliptic curves do. The provider here passes on all
// that OpenSSL's own one has, but of these two it lists only what occurs in certificates and key
// exchanges: a certificate is read in half the time.

/// `nil` where the system asks for validated (FIPS) algorithms, or when it can't be made: then TLS takes what all
/// else takes. Made once, and never written after that.
nonisolated(unsafe) let tlsLibrary: OpaquePointer? = makeLibrary()

/// OpenSSL's own provider; set before the library is used, never after.
nonisolated(unsafe) private var whole: OpaquePointer?
nonisolated(unsafe) private let keys = chosen(
    OSSL_OP_KEYMGMT,
    of: [
        "EC", "X25519", "X448", "RSA", "RSA-PSS", "ED25519", "ED448", "DH", "HMAC", "HKDF",
        "TLS1-PRF",
    ], having: [])
nonisolated(unsafe) private let decoders = chosen(
    OSSL_OP_DECODER, of: ["EC", "RSA", "RSA-PSS", "ED25519", "ED448"],
    having: ["input=der", "structure=SubjectPublicKeyInfo"])
nonisolated(unsafe) private let functions = makeFunctions()

private func makeLibrary() -> OpaquePointer? {
    guard EVP_default_properties_is_fips_enabled(nil) == 0,
        let own = OSSL_PROVIDER_load(nil, "default"), let library = OSSL_LIB_CTX_new()
    else { return nil }
    whole = own
    let begin:
        @convention(c) (
            OpaquePointer?, UnsafePointer<OSSL_DISPATCH>?,
            UnsafeMutablePointer<UnsafePointer<OSSL_DISPATCH>?>?,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?
        ) -> Int32 = { _, _, table, data in
            table?.pointee = UnsafePointer(functions)
            data?.pointee = OSSL_PROVIDER_get0_provider_ctx(whole)
            return 1
        }
    if OSSL_PROVIDER_add_builtin(library, "mesh-tls", begin) == 1,
        OSSL_PROVIDER_load(library, "mesh-tls") != nil
    {
        return library
    }
    OSSL_LIB_CTX_free(library)
    return nil
}

/// What the own provider has for an operation under one of these names, with these properties; ends with an
/// entry without a name.
private func chosen(
    _ operation: Int32, of names: Set<String>, having properties: [String]
) -> UnsafeMutablePointer<OSSL_ALGORITHM> {
    var found: [OSSL_ALGORITHM] = []
    var uncached: Int32 = 0
    var next = OSSL_PROVIDER_query_operation(whole, operation, &uncached)
    while let algorithm = next?.pointee, let text = algorithm.algorithm_names {
        let name = String(cString: text).prefix { $0 != ":" }
        let definition = algorithm.property_definition.map { String(cString: $0) } ?? ""
        let parts = definition.split(separator: ",").map(String.init)
        if names.contains(String(name)), properties.allSatisfy(parts.contains) {
            found.append(algorithm)
        }
        next = next?.successor()
    }
    let list = UnsafeMutablePointer<OSSL_ALGORITHM>.allocate(capacity: found.count + 1)
    list.initialize(repeating: OSSL_ALGORITHM(), count: found.count + 1)
    for (index, algorithm) in found.enumerated() { list[index] = algorithm }
    return list
}

/// The functions of a provider (`provider-base(7)`).
private func makeFunctions() -> UnsafeMutablePointer<OSSL_DISPATCH> {
    typealias Untyped = @convention(c) () -> Void
    typealias Callback =
        @convention(c) (
            UnsafePointer<OSSL_PARAM>?, UnsafeMutableRawPointer?
        ) -> Int32
    let query:
        @convention(c) (
            UnsafeMutableRawPointer?, Int32, UnsafeMutablePointer<Int32>?
        ) -> UnsafePointer<OSSL_ALGORITHM>? = { _, operation, uncached in
            uncached?.pointee = 0
            switch operation {
            case OSSL_OP_KEYMGMT: return UnsafePointer(keys)
            case OSSL_OP_DECODER: return UnsafePointer(decoders)
            default: return OSSL_PROVIDER_query_operation(whole, operation, uncached)
            }
        }
    let gettable: @convention(c) (UnsafeMutableRawPointer?) -> UnsafePointer<OSSL_PARAM>? = { _ in
        OSSL_PROVIDER_gettable_params(whole)
    }
    let get: @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<OSSL_PARAM>?) -> Int32 =
        { _, parameters in OSSL_PROVIDER_get_params(whole, parameters) }
    let capabilities:
        @convention(c) (
            UnsafeMutableRawPointer?, UnsafePointer<CChar>?, Callback?,
            UnsafeMutableRawPointer?
        ) -> Int32 = { _, name, body, data in
            OSSL_PROVIDER_get_capabilities(whole, name, body, data)
        }
    let all: [(Int32, Untyped)] = [
        (OSSL_FUNC_PROVIDER_QUERY_OPERATION, unsafeBitCast(query, to: Untyped.self)),
        (OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, unsafeBitCast(gettable, to: Untyped.self)),
        (OSSL_FUNC_PROVIDER_GET_PARAMS, unsafeBitCast(get, to: Untyped.self)),
        (OSSL_FUNC_PROVIDER_GET_CAPABILITIES, unsafeBitCast(capabilities, to: Untyped.self)),
    ]
    let table = UnsafeMutablePointer<OSSL_DISPATCH>.allocate(capacity: all.count + 1)
    table.initialize(repeating: OSSL_DISPATCH(), count: all.count + 1)
    for (index, (number, function)) in all.enumerated() {
        table[index] = OSSL_DISPATCH(function_id: number, function: function)
    }
    return table
}
