internal import COpenSSL
import MeshBase

/// Takes everything out of this thread's error queue, so that one call's failure is never taken for
/// another's, and puts the first entry (the cause) into words.
struct OpenSSLError {
    private(set) var reason: Int32 = 0
    private(set) var isFromSSL = false
    private(set) var words = ""

    init() {
        var code = ERR_get_error()
        if code == 0 { return }
        reason = mesh_err_reason(code)
        isFromSSL = mesh_err_library(code) == ERR_LIB_SSL
        words =
            ERR_reason_error_string(code).map { String(cString: $0) }
            ?? "error \(mesh_err_library(code)).\(reason)"
        repeat { code = ERR_get_error() } while code != 0
    }

    static func discard() { ERR_clear_error() }

    /// What it says of the peer, for a handshake that our own verification did not refuse.
    func failure(duringHandshake: Bool) -> TransportFailure {
        guard isFromSSL else {
            return TransportFailure(
                duringHandshake ? .tlsHandshake : .protocolError,
                detail: words.isEmpty ? "TLS failed" : words)
        }
        if reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE {
            return TransportFailure(
                .tlsNoCertificate, detail: "expected a client certificate, presented none")
        }
        // Reasons from 1000 on are alerts: the peer's verdict on us.
        if reason >= 1000, reason < 1256 {
            let detail = "the peer refused us: alert \(Self.alertName(reason - 1000))"
            switch reason - 1000 {
            case 45: return TransportFailure(.tlsExpired, detail: detail)
            case 48: return TransportFailure(.tlsUntrusted, detail: detail)
            case 116: return TransportFailure(.tlsNoCertificate, detail: detail)
            default:
                return TransportFailure(
                    duringHandshake || (41...49).contains(reason - 1000)
                        ? .tlsHandshake : .protocolError, detail: detail)
            }
        }
        return TransportFailure(duringHandshake ? .tlsHandshake : .protocolError, detail: words)
    }

    private static func alertName(_ code: Int32) -> String {
        SSL_alert_desc_string_long(code).map { String(cString: $0) } ?? "\(code)"
    }
}

/// Never written after it is made: fetching an algorithm anew each time costs more than the hash.
nonisolated(unsafe) private let sha256Method: OpaquePointer? = EVP_MD_fetch(nil, "SHA256", nil)

func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    let done = EVP_Digest(bytes, bytes.count, &digest, nil, sha256Method, nil)
    precondition(done == 1, "SHA-256 is missing")
    return digest
}

func certificateDigest(_ certificate: OpaquePointer) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    let done = X509_digest(certificate, sha256Method, &digest, nil)
    precondition(done == 1, "SHA-256 is missing")
    return digest
}

func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 2)
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}

func base64(_ bytes: [UInt8]) -> String {
    var text = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
    let length = EVP_EncodeBlock(&text, bytes, Int32(bytes.count))
    return String(decoding: text.prefix(Int(length)), as: UTF8.self)
}

/// OpenSSL's clock in seconds since 1970: the one that it judges certificates by.
func currentSeconds() -> Int64 { seconds(of: nil) }

/// - Parameter time: an `ASN1_TIME`; `nil` is now.
func seconds(of time: UnsafePointer<ASN1_TIME>?) -> Int64 {
    var days: Int32 = 0
    var rest: Int32 = 0
    guard let epoch = epoch, ASN1_TIME_diff(&days, &rest, epoch, time) == 1 else { return 0 }
    return Int64(days) * 86400 + Int64(rest)
}

/// Never written after it is made.
nonisolated(unsafe) private let epoch: UnsafePointer<ASN1_TIME>? = ASN1_TIME_set(nil, 0).map {
    UnsafePointer($0)
}
