/*
 * A load generator: HTTP/1.1 or HTTP/2, in clear or over TLS 1.3 with a client certificate.
 *
 *     cc -O2 -o load load.c -lssl -lcrypto -lnghttp2
 *     load --port N [--h2] [--tls --cert FILE --key FILE --ca FILE --name SNI]
 *          [--conns N] [--streams N] [--body BYTES] [--path /p] [--host NAME]
 *          [--warm REQUESTS] [--requests N | --seconds S] [--rotate N] [--abort N] [--nap MS]
 *
 * One thread, closed loop: each connection keeps `--streams` requests in flight. It connects, sends
 * the warm-up requests, prints "ready", and waits for a line on its input; then it sends what is to be measured,
 * prints one line of JSON, and waits again, so that whoever measures sees the connections open. At the end of
 * its input it closes them and ends.
 *
 * Each request bears an id and a trace context of its own, so HPACK has to do what it does in a mesh.
 * With `--rotate N` a connection is replaced after N requests. With `--abort N` every Nth request is given up,
 * by turns when it is sent and when its answer's body begins: HTTP/2 resets the stream, HTTP/1.1 the connection.
 * With `--nap MS` it sleeps before each read, which takes little. What is not a complete 2xx answer is an error.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

struct stream {
    struct conn *conn;
    uint64_t began;
    long to_send;       /* of the body */
    int status;
    long declared, got; /* content-length or -1; body bytes so far */
    int busy;
    int32_t id;         /* HTTP/2 */
    enum { KEPT, DOOMED_AT_ONCE, DOOMED_IN_BODY } fate;
};

struct conn {
    int fd, epoll_out, dead, closing, in_flight;
    long sent_requests;
    SSL *ssl;
    nghttp2_session *h2;
    struct stream *streams;
    char *out;
    size_t out_len, out_cap, out_at;
    /* HTTP/1.1 answer */
    char head[16384];
    size_t head_len;
    enum { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER } state;
    long left;
};

static int port, use_h2, conns = 1, streams = 1, epoll_fd;
static long body_bytes, warm, requests, rotate, abort_each, nap_ms;
static double seconds;
static const char *path = "/", *host = "bench.local", *cert, *key, *ca, *sni = "localhost";
static SSL_CTX *tls;
static struct conn *all;

static int issuing;
static long to_issue, issued, ok, errors, aborted, connects, in_flight;
static int bad_status; /* of the last request that failed; 0 when its connection ended */
static uint64_t stop_at, bytes_in, bytes_out;
static uint32_t *latencies;
static size_t latency_count, latency_cap;
static char zeros[65536];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "");
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int may_issue(struct conn *c) {
    if (c->dead || c->closing || (rotate && c->sent_requests >= rotate)) return 0;
    if (!issuing || (to_issue && issued >= to_issue)) return 0;
    return !stop_at || now() < stop_at;
}

static void output(struct conn *c, const void *data, size_t n) {
    if (c->out_len + n > c->out_cap) {
        c->out_cap = (c->out_len + n) * 2;
        if (!(c->out = realloc(c->out, c->out_cap))) die("memory");
    }
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
}

static void finished(struct stream *s, int good) {
    if (!s->busy) return;
    s->busy = 0;
    s->conn->in_flight--;
    in_flight--;
    if (s->fate != KEPT) { aborted++; return; }
    if (good) ok++; else errors++, bad_status = s->status;
    if (latency_count == latency_cap) {
        latency_cap = latency_cap ? latency_cap * 2 : 1 << 16;
        if (!(latencies = realloc(latencies, latency_cap * sizeof *latencies))) die("memory");
    }
    latencies[latency_count++] = (uint32_t)((now() - s->began) / 1000);
}

/* ------------------------------------------------------------------ requests */
static uint64_t serial;
static char id[64], trace[80];

static void next_ids(void) {
    uint64_t n = ++serial * 0x9E3779B97F4A7C15u;
    snprintf(id, sizeof id, "%08x-%04x-4%03x-a%03x-%012llx", (unsigned)(n >> 32), (unsigned)(n >> 16) & 0xffff,
             (unsigned)n & 0xfff, (unsigned)(n >> 20) & 0xfff, (unsigned long long)(n & 0xffffffffffff));
    snprintf(trace, sizeof trace, "00-%016llx%016llx-%016llx-01", (unsigned long long)n,
             (unsigned long long)(n * 31), (unsigned long long)(n ^ 0x5555));
}

static ssize_t body_part(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
    struct stream *s = source->ptr;
    (void)session, (void)stream_id, (void)user;
    if ((long)n > s->to_send) n = (size_t)s->to_send;
    memset(buffer, 'u', n);
    s->to_send -= (long)n;
    bytes_out += n;
    if (s->to_send == 0) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void issue(struct conn *c, struct stream *s) {
    next_ids();
    s->conn = c;
    s->began = now();
    s->busy = 1;
    s->status = 0;
    s->declared = -1;
    s->got = 0;
    s->to_send = body_bytes;
    s->fate = KEPT;
    if (abort_each && seconds > 0 && stop_at && serial % (uint64_t)abort_each == 0)
        s->fate = serial / (uint64_t)abort_each % 2 ? DOOMED_AT_ONCE : DOOMED_IN_BODY;
    issued++;
    c->sent_requests++;
    c->in_flight++;
    in_flight++;
    const char *method = body_bytes ? "POST" : "GET";
    if (!use_h2) {
        char text[2048];
        int n = snprintf(text, sizeof text,
            "%s %s HTTP/1.1\r\nhost: %s\r\nuser-agent: load/1\r\naccept: */*\r\naccept-encoding: gzip\r\n"
            "x-request-id: %s\r\ntraceparent: %s\r\nauthorization: Bearer 0123456789abcdef0123456789abcdef\r\n",
            method, path, host, id, trace);
        if (body_bytes) n += snprintf(text + n, sizeof text - (size_t)n, "content-length: %ld\r\n", body_bytes);
        n += snprintf(text + n, sizeof text - (size_t)n, "\r\n");
        output(c, text, (size_t)n);
        for (long left = body_bytes; left > 0; left -= (long)sizeof zeros)
            output(c, zeros, left < (long)sizeof zeros ? (size_t)left : sizeof zeros);
        bytes_out += (uint64_t)body_bytes;
        return;
    }
#define FIELD(n, v) {(uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE}
    nghttp2_nv fields[] = {
        FIELD(":method", method), FIELD(":scheme", tls ? "https" : "http"), FIELD(":authority", host),
        FIELD(":path", path), FIELD("user-agent", "load/1"), FIELD("accept", "*/*"),
        FIELD("accept-encoding", "gzip"), FIELD("x-request-id", id), FIELD("traceparent", trace),
        FIELD("authorization", "Bearer 0123456789abcdef0123456789abcdef")};
    nghttp2_data_provider data = {.source.ptr = s, .read_callback = body_part};
    s->id = nghttp2_submit_request(c->h2, NULL, fields, sizeof fields / sizeof *fields, body_bytes ? &data : NULL, s);
    if (s->id < 0) finished(s, 0);
}

static void fill(struct conn *c) {
    for (int i = 0; i < streams; i++)
        if (!c->streams[i].busy && may_issue(c)) issue(c, &c->streams[i]);
}

/* ------------------------------------------------------------------ HTTP/2 */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags, (void)user, (void)value_len;
    if (s && name_len == 7 && !memcmp(name, ":status", 7)) s->status = atoi((const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t n, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
    (void)flags, (void)data, (void)user;
    bytes_in += n;
    if (s && s->busy && s->fate == DOOMED_IN_BODY)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user) {
    struct stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
    (void)user;
    if (s) finished(s, code == 0 && s->status / 100 == 2);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct conn *c = user;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY) c->closing = 1;
    return 0;
}

static void begin_h2(struct conn *c) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    if (nghttp2_session_client_new(&c->h2, callbacks, c)) die("nghttp2");
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(c->h2, 0, settings, 2);
    nghttp2_session_set_local_window_size(c->h2, 0, 0, 1 << 24);
}

/* ------------------------------------------------------------------ HTTP/1.1 */
/* Takes an answer's head apart; -1 when it is none. */
static int read_head(struct conn *c, struct stream *s) {
    s->status = c->head_len > 12 ? atoi(c->head + 9) : 0;
    if (s->status < 100) return -1;
    s->declared = -1;
    int chunked = 0;
    for (char *line = strstr(c->head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15)) s->declared = atol(line + 17);
        if (!strncasecmp(line + 2, "transfer-encoding:", 18)) chunked = 1;
        if (!strncasecmp(line + 2, "connection: close", 17)) c->closing = 1;
    }
    if (s->status / 100 == 1) c->state = HEAD;
    else if (chunked) c->state = CHUNK_SIZE;
    else if (s->declared > 0) c->state = BODY, c->left = s->declared;
    else if (s->declared == 0 || s->status == 204) finished(s, s->status / 100 == 2);
    else return -1;
    return 0;
}

/* Collects bytes up to the end mark in `head`; how many it took. */
static size_t take_until(struct conn *c, const char *data, size_t n, const char *mark, int *complete) {
    size_t mark_len = strlen(mark), i = 0;
    *complete = 0;
    while (i < n && !*complete && c->head_len < sizeof c->head - 1) {
        c->head[c->head_len++] = data[i++];
        *complete = c->head_len >= mark_len && !memcmp(c->head + c->head_len - mark_len, mark, mark_len);
    }
    c->head[c->head_len] = 0;
    return i;
}

static int receive_h1(struct conn *c, const char *data, size_t n) {
    struct stream *s = &c->streams[0];
    while (n > 0) {
        size_t used = 0;
        int complete = 0;
        switch (c->state) {
        case HEAD:
            if (!s->busy) return -1;
            used = take_until(c, data, n, "\r\n\r\n", &complete);
            if (complete && read_head(c, s) < 0) return -1;
            break;
        case CHUNK_SIZE:
            used = take_until(c, data, n, "\r\n", &complete);
            if (complete) c->left = strtol(c->head, NULL, 16), c->state = c->left ? CHUNK : TRAILER;
            break;
        case CHUNK_END:
            used = take_until(c, data, n, "\r\n", &complete);
            if (complete) c->state = CHUNK_SIZE;
            break;
        case TRAILER:
            used = take_until(c, data, n, "\r\n", &complete);
            if (complete && c->head_len == 2) c->state = HEAD, finished(s, s->status / 100 == 2);
            break;
        case BODY:
        case CHUNK:
            used = n < (size_t)c->left ? n : (size_t)c->left;
            c->left -= (long)used;
            bytes_in += used;
            if (s->fate == DOOMED_IN_BODY) return -1;
            if (c->left == 0) {
                if (c->state == CHUNK) c->state = CHUNK_END;
                else c->state = HEAD, finished(s, s->status / 100 == 2);
            }
            break;
        }
        if (complete) c->head_len = 0;
        if (used == 0) return -1;
        data += used;
        n -= used;
    }
    return 0;
}

/* ------------------------------------------------------------------ sockets */
static void watch(struct conn *c, int operation, int writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &e)) die("epoll_ctl");
    c->epoll_out = writable;
}

static void open_conn(struct conn *c) {
    struct stream *kept = c->streams;
    char *out = c->out;
    size_t cap = c->out_cap;
    memset(c, 0, sizeof *c);
    c->streams = kept ? kept : calloc((size_t)streams, sizeof *kept);
    c->out = out;
    c->out_cap = cap;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) die("socket");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_tlsext_host_name(c->ssl, sni);
        if (SSL_connect(c->ssl) != 1) die("TLS handshake");
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (use_h2) begin_h2(c);
    connects++;
    watch(c, EPOLL_CTL_ADD, 0);
}

static void close_conn(struct conn *c) {
    struct linger at_once = {.l_onoff = 1};
    for (int i = 0; i < streams; i++) {
        if (c->streams[i].busy && c->streams[i].fate != KEPT && c->fd >= 0)
            setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        finished(&c->streams[i], 0);
    }
    if (c->h2) nghttp2_session_del(c->h2), c->h2 = NULL;
    if (c->ssl) SSL_shutdown(c->ssl), SSL_free(c->ssl), c->ssl = NULL;
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->dead = 1;
}

static void flush(struct conn *c) {
    for (;;) {
        if (c->out_at == c->out_len) {
            c->out_at = c->out_len = 0;
            while (c->h2 && c->out_len < 65536) {
                const uint8_t *data;
                ssize_t n = nghttp2_session_mem_send(c->h2, &data);
                if (n < 0) { close_conn(c); return; }
                if (n == 0) break;
                output(c, data, (size_t)n);
            }
            if (c->out_len == 0) break;
        }
        ssize_t n;
        if (c->ssl) {
            ERR_clear_error();
            n = SSL_write(c->ssl, c->out + c->out_at, (int)(c->out_len - c->out_at));
            if (n <= 0) {
                if (SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_WRITE) break;
                close_conn(c);
                return;
            }
        } else {
            n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
            if (n < 0) {
                if (errno == EAGAIN) break;
                close_conn(c);
                return;
            }
        }
        c->out_at += (size_t)n;
    }
    int more = c->out_at < c->out_len;
    if (more != c->epoll_out) watch(c, EPOLL_CTL_MOD, more);
}

static void receive(struct conn *c) {
    static char buffer[65536];
    size_t most = nap_ms ? 16384 : sizeof buffer;
    for (;;) {
        ssize_t n;
        if (nap_ms && stop_at) usleep((useconds_t)nap_ms * 1000);
        if (c->ssl) {
            ERR_clear_error();
            n = SSL_read(c->ssl, buffer, (int)most);
            if (n <= 0 && SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_READ) return;
        } else {
            n = recv(c->fd, buffer, most, 0);
            if (n < 0 && errno == EAGAIN) return;
        }
        if (n <= 0) { close_conn(c); return; }
        int bad = c->h2 ? nghttp2_session_mem_recv(c->h2, (uint8_t *)buffer, (size_t)n) < 0
                        : receive_h1(c, buffer, (size_t)n) < 0;
        if (bad) { close_conn(c); return; }
        if (!c->ssl && (nap_ms || (size_t)n < most)) return;
    }
}

static void tend(struct conn *c);

/* Ends the requests that are not to be answered, now that they are sent. */
static void give_up(struct conn *c) {
    int some = 0;
    for (int i = 0; i < streams && !c->dead; i++) {
        struct stream *s = &c->streams[i];
        if (!s->busy || s->fate != DOOMED_AT_ONCE) continue;
        if (!c->h2) { close_conn(c); tend(c); return; }
        nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        some = 1;
    }
    if (some) flush(c);
}

/* Replaces what is closed or has served its number, and keeps the streams busy. */
static void tend(struct conn *c) {
    if (!c->dead && (c->closing || (rotate && c->sent_requests >= rotate)) && c->in_flight == 0) close_conn(c);
    if (c->dead && issuing && (!to_issue || issued < to_issue) && (!stop_at || now() < stop_at)) open_conn(c);
    if (c->dead) return;
    fill(c);
    flush(c);
    if (abort_each) give_up(c);
}

static double run(long count, double for_seconds) {
    uint64_t began = now();
    to_issue = count;
    stop_at = for_seconds > 0 ? began + (uint64_t)(for_seconds * 1e9) : 0;
    issued = ok = errors = aborted = 0;
    bytes_in = bytes_out = latency_count = 0;
    issuing = 1;
    for (int i = 0; i < conns; i++) tend(&all[i]);
    while (in_flight > 0) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, 10000);
        if (n == 0) { fprintf(stderr, "load: nothing came for 10 s, %ld in flight\n", in_flight); exit(1); }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c->dead && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) receive(c);
            tend(c);
        }
    }
    issuing = 0;
    return (double)(now() - began) / 1e9;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t percentile(double p) {
    return latency_count ? latencies[(size_t)((double)(latency_count - 1) * p)] : 0;
}

static void begin_tls(void) {
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256");
    if (cert && SSL_CTX_use_certificate_chain_file(tls, cert) != 1) die(cert);
    if (key && SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) die(key);
    if (ca && SSL_CTX_load_verify_locations(tls, ca, NULL) != 1) die(ca);
    SSL_CTX_set_verify(tls, ca ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    static const unsigned char h2[] = "\2h2", h1[] = "\10http/1.1";
    if (use_h2) SSL_CTX_set_alpn_protos(tls, h2, 3); else SSL_CTX_set_alpn_protos(tls, h1, 9);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

int main(int argc, char **argv) {
    int want_tls = 0;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!strcmp(a, "--h2")) { use_h2 = 1; continue; }
        if (!strcmp(a, "--tls")) { want_tls = 1; continue; }
        if (i + 1 == argc) { fprintf(stderr, "load: %s wants a value\n", a); return 2; }
        const char *v = argv[++i];
        if (!strcmp(a, "--port")) port = atoi(v);
        else if (!strcmp(a, "--conns")) conns = atoi(v);
        else if (!strcmp(a, "--streams")) streams = atoi(v);
        else if (!strcmp(a, "--body")) body_bytes = atol(v);
        else if (!strcmp(a, "--warm")) warm = atol(v);
        else if (!strcmp(a, "--requests")) requests = atol(v);
        else if (!strcmp(a, "--rotate")) rotate = atol(v);
        else if (!strcmp(a, "--abort")) abort_each = atol(v);
        else if (!strcmp(a, "--nap")) nap_ms = atol(v);
        else if (!strcmp(a, "--seconds")) seconds = atof(v);
        else if (!strcmp(a, "--path")) path = v;
        else if (!strcmp(a, "--host")) host = v;
        else if (!strcmp(a, "--cert")) cert = v;
        else if (!strcmp(a, "--key")) key = v;
        else if (!strcmp(a, "--ca")) ca = v;
        else if (!strcmp(a, "--name")) sni = v;
        else { fprintf(stderr, "load: what is %s?\n", a); return 2; }
    }
    if (!use_h2) streams = 1;
    struct rlimit files = {65536, 65536};
    if (setrlimit(RLIMIT_NOFILE, &files)) getrlimit(RLIMIT_NOFILE, &files), files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (want_tls) begin_tls();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)conns, sizeof *all);
    for (int i = 0; i < conns; i++) open_conn(&all[i]);
    run(warm > 0 ? warm : conns, 0);
    if (errors) { fprintf(stderr, "load: %ld of the warm-up requests failed\n", errors); return 1; }
    puts("ready");
    char line[64];
    if (!fgets(line, sizeof line, stdin)) return 0;
    if (requests > 0 || seconds > 0) {
        double took = run(requests, seconds);
        qsort(latencies, latency_count, sizeof *latencies, by_value);
        printf("{\"ok\": %ld, \"errors\": %ld, \"seconds\": %.6f, \"p50\": %u, \"p99\": %u, \"bytes_in\": %llu, "
               "\"bytes_out\": %llu, \"connects\": %ld, \"aborted\": %ld, \"bad_status\": %d}\n", ok, errors, took, percentile(0.5),
               percentile(0.99), (unsigned long long)bytes_in, (unsigned long long)bytes_out, connects, aborted,
               bad_status);
        while (fgets(line, sizeof line, stdin)) {}
    }
    for (int i = 0; i < conns; i++) if (!all[i].dead) close_conn(&all[i]);
    return 0;
}
