import EventLoop
import MeshBase
import Observability

/// One worker's end of an access log file, and the buffer that its lines wait in.
///
/// Lines of a turn are written together when it ends, or earlier when 64 KiB have come together;
/// a line is never torn between two writes of ours unless the system takes only a part. Each
/// worker opens the path for itself, in append mode, so whole buffers follow each other in it.
final class AccessLogFile: TurnEndTask {
    private let file: AppendFile
    private unowned let loop: any IOLoop
    private var clock = LogClock()
    private var isScheduled = false

    private static let maxWaitingBytes = 64 * 1024

    init(path: String, loop: any IOLoop) throws(SocketError) {
        file = try AppendFile(path: path)
        self.loop = loop
    }

    func write(_ record: borrowing AccessLogRecord, _ format: borrowing AccessLogFormat) {
        file.append { format.write(record, clock: &clock, to: &$0) }
        if file.waiting >= AccessLogFile.maxWaitingBytes {
            file.flush()
        } else if !isScheduled {
            isScheduled = true
            loop.atTurnEnd(self)
        }
    }

    func turnEnded() {
        isScheduled = false
        file.flush()
    }

    /// Opens the path anew, after somebody moved the file away.
    func reopen() { file.reopen() }
    func flush() { file.flush() }
}

/// A format and where its lines go: one logger of a listener, in one worker.
final class AccessLogWriter {
    private let format: AccessLogFormat
    private let file: AccessLogFile

    init(format: AccessLogFormat, file: AccessLogFile) {
        self.format = format
        self.file = file
    }

    func write(_ record: borrowing AccessLogRecord) { file.write(record, format) }
}

extension AccessLogRecord {
    /// Fills in what an HTTP connection knows of itself.
    mutating func describe(_ connection: DownstreamConnection) {
        connectionNumber = connection.number
        localAddress = connection.localAddress
        remoteAddress = connection.remoteAddress
        directRemoteAddress = connection.remoteAddress
        if let tls = connection.tls { describe(tls) }
    }

    mutating func describe(_ traits: ConnectionTraits) {
        localAddress = traits.destination
        remoteAddress = traits.source
        directRemoteAddress = traits.source
        requestedServerName = traits.serverName
    }

    mutating func describe(_ tls: PeerDetails) {
        requestedServerName = tls.serverName ?? ""
        peerURI = tls.uri ?? ""
        tlsVersion = tls.version
    }
}
