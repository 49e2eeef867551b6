#pragma once
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

// A function for each macro that Swift cannot import.

static inline void mesh_bio_retry_read(BIO *_Nonnull bio) { BIO_set_retry_read(bio); }
static inline void mesh_bio_clear_retry(BIO *_Nonnull bio) { BIO_clear_retry_flags(bio); }
static inline long mesh_bio_memory(BIO *_Nonnull bio, char *_Nullable *_Nonnull out) {
    return BIO_get_mem_data(bio, out);
}

static inline int mesh_x509_count(const STACK_OF(X509) *_Nullable stack) {
    return sk_X509_num(stack);
}
static inline X509 *_Nullable mesh_x509_at(const STACK_OF(X509) *_Nullable stack, int index) {
    return sk_X509_value(stack, index);
}
static inline STACK_OF(X509) *_Nullable mesh_x509_stack(void) { return sk_X509_new_null(); }
static inline int mesh_x509_push(STACK_OF(X509) *_Nonnull stack, X509 *_Nonnull certificate) {
    return sk_X509_push(stack, certificate);
}
static inline void mesh_x509_stack_free(STACK_OF(X509) *_Nullable stack) {
    sk_X509_pop_free(stack, X509_free);
}

static inline int mesh_names_count(const GENERAL_NAMES *_Nullable names) {
    return sk_GENERAL_NAME_num(names);
}
static inline int mesh_name_type(const GENERAL_NAMES *_Nonnull names, int index) {
    return sk_GENERAL_NAME_value(names, index)->type;
}
/// The bytes of a URI, DNS, email or IP name; NULL for other types.
static inline const ASN1_STRING *_Nullable mesh_name_value(
    const GENERAL_NAMES *_Nonnull names, int index) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    switch (name->type) {
    case GEN_URI: return name->d.uniformResourceIdentifier;
    case GEN_DNS: return name->d.dNSName;
    case GEN_EMAIL: return name->d.rfc822Name;
    case GEN_IPADD: return name->d.iPAddress;
    default: return NULL;
    }
}

static inline void mesh_print_name(BIO *_Nonnull bio, const X509_NAME *_Nonnull name) {
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
}

static inline int mesh_ctx_versions(SSL_CTX *_Nonnull ctx, int minimum, int maximum) {
    return SSL_CTX_set_min_proto_version(ctx, minimum)
        && SSL_CTX_set_max_proto_version(ctx, maximum);
}
static inline void mesh_ctx_basics(SSL_CTX *_Nonnull ctx) {
    SSL_CTX_set_options(
        ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(
        ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
            | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
}
static inline void mesh_ctx_no_stateless_tickets(SSL_CTX *_Nonnull ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
}
static inline void mesh_ctx_cache(SSL_CTX *_Nonnull ctx, long mode, long size) {
    SSL_CTX_set_session_cache_mode(ctx, mode);
    SSL_CTX_sess_set_cache_size(ctx, size);
}
static inline int mesh_ctx_groups(SSL_CTX *_Nonnull ctx, const char *_Nonnull list) {
    return (int)SSL_CTX_set1_groups_list(ctx, list);
}
static inline int mesh_ctx_ticket_keys(
    SSL_CTX *_Nonnull ctx, const unsigned char *_Nonnull keys, size_t length) {
    return (int)SSL_CTX_set_tlsext_ticket_keys(ctx, (void *)keys, (long)length);
}
static inline void mesh_ctx_servername(
    SSL_CTX *_Nonnull ctx, int (*_Nonnull callback)(SSL *_Nullable, int *_Nullable, void *_Nullable)) {
    SSL_CTX_set_tlsext_servername_callback(ctx, callback);
}
static inline int mesh_ssl_hostname(SSL *_Nonnull ssl, const char *_Nonnull name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}
// A library of algorithms for TLS alone.
//
// To read the key of a certificate, OpenSSL 3.0 asks every decoder and every kind of key that there is, of
// which TLS wants few; it costs more than the handshake's elliptic curves do. This provider passes
// on all that OpenSSL's own one has, but of the two it lists only what occurs in certificates
// and key exchanges: a certificate is read in 57 µs instead of 126.

struct mesh_tls_provider {
    OSSL_PROVIDER *_Nullable whole;
    OSSL_ALGORITHM keys[24];
    OSSL_ALGORITHM decoders[24];
};
static inline struct mesh_tls_provider *_Nonnull mesh_tls(void) {
    static struct mesh_tls_provider provider;
    return &provider;
}

static inline int mesh_is_named(const char *_Nonnull names, const char *_Nonnull list) {
    size_t length = strcspn(names, ":");
    for (const char *at = list; *at; at += strlen(at) + 1) {
        if (strlen(at) == length && memcmp(at, names, length) == 0) return 1;
    }
    return 0;
}
static inline void mesh_tls_choose(
    int operation, const char *_Nonnull names, const char *_Nonnull input,
    const char *_Nonnull structure, OSSL_ALGORITHM *_Nonnull chosen) {
    int uncached = 0;
    const OSSL_ALGORITHM *each =
        OSSL_PROVIDER_query_operation(mesh_tls()->whole, operation, &uncached);
    int count = 0;
    for (; each && each->algorithm_names && count < 23; each++) {
        if (mesh_is_named(each->algorithm_names, names) && strstr(each->property_definition, input)
            && strstr(each->property_definition, structure)) {
            chosen[count++] = *each;
        }
    }
}
static inline const OSSL_ALGORITHM *_Nullable mesh_tls_query(
    void *_Nullable unused, int operation, int *_Nonnull uncached) {
    (void)unused;
    *uncached = 0;
    if (operation == OSSL_OP_KEYMGMT) return mesh_tls()->keys;
    if (operation == OSSL_OP_DECODER) return mesh_tls()->decoders;
    return OSSL_PROVIDER_query_operation(mesh_tls()->whole, operation, uncached);
}
static inline const OSSL_PARAM *_Nullable mesh_tls_gettable(void *_Nullable unused) {
    (void)unused;
    return OSSL_PROVIDER_gettable_params(mesh_tls()->whole);
}
static inline int mesh_tls_get(void *_Nullable unused, OSSL_PARAM *_Nonnull parameters) {
    (void)unused;
    return OSSL_PROVIDER_get_params(mesh_tls()->whole, parameters);
}
static inline int mesh_tls_capabilities(
    void *_Nullable unused, const char *_Nonnull name, OSSL_CALLBACK *_Nonnull body,
    void *_Nullable data) {
    (void)unused;
    return OSSL_PROVIDER_get_capabilities(mesh_tls()->whole, name, body, data);
}
static inline int mesh_tls_begin(
    const OSSL_CORE_HANDLE *_Nullable unused, const OSSL_DISPATCH *_Nullable offered,
    const OSSL_DISPATCH *_Nullable *_Nonnull table, void *_Nullable *_Nonnull data) {
    static const OSSL_DISPATCH own[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))mesh_tls_query},
        {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))mesh_tls_gettable},
        {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))mesh_tls_get},
        {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))mesh_tls_capabilities},
        {0, NULL},
    };
    (void)unused;
    (void)offered;
    *table = own;
    *data = OSSL_PROVIDER_get0_provider_ctx(mesh_tls()->whole);
    return 1;
}
/// To be called once. NULL where the system asks for validated (FIPS) algorithms, or when it fails: then
/// TLS takes what all else takes.
static inline OSSL_LIB_CTX *_Nullable mesh_tls_library(void) {
    if (EVP_default_properties_is_fips_enabled(NULL)) return NULL;
    mesh_tls()->whole = OSSL_PROVIDER_load(NULL, "default");
    if (!mesh_tls()->whole) return NULL;
    mesh_tls_choose(
        OSSL_OP_KEYMGMT,
        "EC\0X25519\0X448\0RSA\0RSA-PSS\0ED25519\0ED448\0DH\0HMAC\0HKDF\0TLS1-PRF\0", "", "",
        mesh_tls()->keys);
    mesh_tls_choose(
        OSSL_OP_DECODER, "EC\0RSA\0RSA-PSS\0ED25519\0ED448\0", "input=der",
        "structure=SubjectPublicKeyInfo", mesh_tls()->decoders);
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
    if (library && OSSL_PROVIDER_add_builtin(library, "mesh-tls", mesh_tls_begin)
        && OSSL_PROVIDER_load(library, "mesh-tls")) {
        return library;
    }
    OSSL_LIB_CTX_free(library);
    return NULL;
}

static inline int mesh_err_reason(unsigned long code) { return ERR_GET_REASON(code); }
static inline int mesh_err_library(unsigned long code) { return ERR_GET_LIB(code); }
static inline int mesh_key_type(const EVP_PKEY *_Nonnull key) { return EVP_PKEY_get_base_id(key); }

// What certificates and chance for tests are made of.

static inline int mesh_names_add(
    GENERAL_NAMES *_Nonnull names, int type, const unsigned char *_Nullable bytes, int length) {
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(
        type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (!name || !value || !ASN1_STRING_set(value, bytes, length)) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(value);
        return 0;
    }
    GENERAL_NAME_set0_value(name, type, value);
    return sk_GENERAL_NAME_push(names, name) > 0;
}
static inline EVP_PKEY *_Nullable mesh_make_ec_key(const char *_Nonnull curve) {
    return EVP_EC_gen(curve);
}
static inline EVP_PKEY *_Nullable mesh_make_ed25519_key(void) {
    return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}
static inline EVP_PKEY *_Nullable mesh_make_rsa_key(int bits) {
    return EVP_RSA_gen((unsigned int)bits);
}

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
/// Replaces the source of all randomness of OpenSSL; `RAND_set_rand_method` is deprecated and works.
static inline void mesh_set_random(int (*_Nonnull bytes)(unsigned char *_Nullable, int)) {
    static RAND_METHOD method;
    const RAND_METHOD *usual = RAND_OpenSSL();
    method.bytes = bytes;
    method.pseudorand = bytes;
    method.status = usual->status;
    RAND_set_rand_method(&method);
}
static inline int mesh_usual_random(unsigned char *_Nullable bytes, int count) {
    return RAND_OpenSSL()->bytes(bytes, count);
}
#pragma clang diagnostic pop
