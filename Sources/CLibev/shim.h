#pragma once

// libev's macros as functions, and the system calls of EventLoop as functions that return
// -errno, so that Swift never reads errno after something else may have changed it.

#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// Declared by glibc for _GNU_SOURCE only, which the importer does not set.
extern long syscall(long, ...);
extern int accept4(int, struct sockaddr *, socklen_t *, int);
extern int pthread_setname_np(pthread_t, const char *);
extern const char *strerrorname_np(int);

// MARK: libev

typedef void (*mesh_io_callback)(struct ev_loop *_Nonnull, ev_io *_Nonnull, int);
typedef void (*mesh_timer_callback)(struct ev_loop *_Nonnull, ev_timer *_Nonnull, int);
typedef void (*mesh_prepare_callback)(struct ev_loop *_Nonnull, ev_prepare *_Nonnull, int);
typedef void (*mesh_check_callback)(struct ev_loop *_Nonnull, ev_check *_Nonnull, int);
typedef void (*mesh_async_callback)(struct ev_loop *_Nonnull, ev_async *_Nonnull, int);
typedef void (*mesh_signal_callback)(struct ev_loop *_Nonnull, ev_signal *_Nonnull, int);

static inline struct ev_loop *_Nullable mesh_loop_new(void) {
    return ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
}

static inline void mesh_io_init(
    ev_io *_Nonnull w, mesh_io_callback _Nonnull callback, int fd, int events,
    void *_Nullable data) {
    ev_io_init(w, callback, fd, events);
    w->data = data;
}

/// Changes what an `ev_io` waits for; stops it when `events` is 0.
static inline void mesh_io_wait(struct ev_loop *_Nonnull loop, ev_io *_Nonnull w, int events) {
    ev_io_stop(loop, w);
    if (events) {
        // Unlike ev_io_set it lets libev see that nothing has changed by the turn's end.
        ev_io_modify(w, events);
        ev_io_start(loop, w);
    }
}

static inline void mesh_timer_init(
    ev_timer *_Nonnull w, mesh_timer_callback _Nonnull callback, void *_Nullable data) {
    ev_timer_init(w, callback, 0., 0.);
    w->data = data;
}

static inline void mesh_timer_start(
    struct ev_loop *_Nonnull loop, ev_timer *_Nonnull w, double after) {
    ev_timer_stop(loop, w);
    ev_timer_set(w, after, 0.);
    ev_timer_start(loop, w);
}

static inline void mesh_prepare_start(
    struct ev_loop *_Nonnull loop, ev_prepare *_Nonnull w,
    mesh_prepare_callback _Nonnull callback, void *_Nullable data) {
    ev_prepare_init(w, callback);
    w->data = data;
    ev_prepare_start(loop, w);
}

static inline void mesh_check_start(
    struct ev_loop *_Nonnull loop, ev_check *_Nonnull w, mesh_check_callback _Nonnull callback,
    void *_Nullable data) {
    ev_check_init(w, callback);
    ev_set_priority(w, EV_MAXPRI);
    w->data = data;
    ev_check_start(loop, w);
}

static inline void mesh_async_start(
    struct ev_loop *_Nonnull loop, ev_async *_Nonnull w, mesh_async_callback _Nonnull callback,
    void *_Nullable data) {
    ev_async_init(w, callback);
    w->data = data;
    ev_async_start(loop, w);
}

static inline void mesh_signal_start(
    struct ev_loop *_Nonnull loop, ev_signal *_Nonnull w, mesh_signal_callback _Nonnull callback,
    int number, void *_Nullable data) {
    ev_signal_init(w, callback, number);
    w->data = data;
    ev_signal_start(loop, w);
}

static inline void mesh_loop_break(struct ev_loop *_Nonnull loop) {
    ev_break(loop, EVBREAK_ALL);
}

// MARK: Clocks, signals, threads

static inline int64_t mesh_monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/// Microseconds since 1970.
static inline int64_t mesh_realtime(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline void mesh_ignore_sigpipe(void) {
    signal(SIGPIPE, SIG_IGN);
}

static inline void mesh_block_signals(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static inline void mesh_name_thread(const char *_Nonnull name) {
    pthread_setname_np(pthread_self(), name);
}

// MARK: Addresses

typedef struct {
    struct sockaddr_storage storage;
    socklen_t length;
} mesh_address;

static inline void mesh_address_ipv4(mesh_address *_Nonnull a, uint32_t ip, uint16_t port) {
    struct sockaddr_in *in = (struct sockaddr_in *)&a->storage;
    memset(in, 0, sizeof *in);
    in->sin_family = AF_INET;
    in->sin_port = __builtin_bswap16(port);
    in->sin_addr.s_addr = __builtin_bswap32(ip);
    a->length = sizeof *in;
}

static inline void mesh_address_ipv6(
    mesh_address *_Nonnull a, uint64_t high, uint64_t low, uint16_t port) {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a->storage;
    memset(in, 0, sizeof *in);
    in->sin6_family = AF_INET6;
    in->sin6_port = __builtin_bswap16(port);
    high = __builtin_bswap64(high);
    low = __builtin_bswap64(low);
    memcpy(&in->sin6_addr, &high, 8);
    memcpy((char *)&in->sin6_addr + 8, &low, 8);
    a->length = sizeof *in;
}

/// The name's first byte is 0 for an abstract socket.
static inline int mesh_address_unix(
    mesh_address *_Nonnull a, const uint8_t *_Nullable name, size_t count) {
    struct sockaddr_un *un = (struct sockaddr_un *)&a->storage;
    memset(un, 0, sizeof *un);
    un->sun_family = AF_UNIX;
    if (count == 0) return -EINVAL;
    if (count >= sizeof un->sun_path) return -ENAMETOOLONG;
    memcpy(un->sun_path, name, count);
    a->length = offsetof(struct sockaddr_un, sun_path) + count + (name[0] != 0);
    return 0;
}

static inline int mesh_address_family(const mesh_address *_Nonnull a) {
    return a->length < sizeof(sa_family_t) ? AF_UNSPEC : a->storage.ss_family;
}

static inline uint16_t mesh_address_port(const mesh_address *_Nonnull a) {
    // The port stands at the same place in both families.
    return __builtin_bswap16(((const struct sockaddr_in *)&a->storage)->sin_port);
}

static inline uint32_t mesh_address_get_ipv4(const mesh_address *_Nonnull a) {
    return __builtin_bswap32(((const struct sockaddr_in *)&a->storage)->sin_addr.s_addr);
}

static inline uint64_t mesh_address_get_ipv6(const mesh_address *_Nonnull a, int half) {
    uint64_t value;
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&a->storage;
    memcpy(&value, (const char *)&in->sin6_addr + 8 * half, 8);
    return __builtin_bswap64(value);
}

static inline const char *_Nonnull mesh_address_get_path(const mesh_address *_Nonnull a) {
    return ((const struct sockaddr_un *)&a->storage)->sun_path;
}

static inline size_t mesh_address_path_count(const mesh_address *_Nonnull a) {
    size_t start = offsetof(struct sockaddr_un, sun_path);
    return a->length > start ? a->length - start : 0;
}

// MARK: Sockets; each returns -errno when it fails

static inline int mesh_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static inline int mesh_bind(int fd, const mesh_address *_Nonnull a) {
    return bind(fd, (const struct sockaddr *)&a->storage, a->length) < 0 ? -errno : 0;
}

static inline int mesh_listen(int fd, int backlog) {
    return listen(fd, backlog) < 0 ? -errno : 0;
}

static inline int mesh_connect(int fd, const mesh_address *_Nonnull a) {
    return connect(fd, (const struct sockaddr *)&a->storage, a->length) < 0 ? -errno : 0;
}

static inline int mesh_accept(int fd, mesh_address *_Nonnull from) {
    from->length = sizeof from->storage;
    int r = accept4(
        fd, (struct sockaddr *)&from->storage, &from->length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return r < 0 ? -errno : r;
}

static inline ssize_t mesh_recv(int fd, void *_Nonnull into, size_t count) {
    ssize_t r = recv(fd, into, count, 0);
    return r < 0 ? -errno : r;
}

static inline ssize_t mesh_send(int fd, const void *_Nonnull from, size_t count) {
    ssize_t r = send(fd, from, count, MSG_NOSIGNAL);
    return r < 0 ? -errno : r;
}

static inline int mesh_finish_writing(int fd) {
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

static inline int mesh_close(int fd) {
    return close(fd) < 0 ? -errno : 0;
}

static inline int mesh_local_address(int fd, mesh_address *_Nonnull a) {
    a->length = sizeof a->storage;
    return getsockname(fd, (struct sockaddr *)&a->storage, &a->length) < 0 ? -errno : 0;
}

/// The address that the packets were sent to before netfilter redirected them here.
static inline int mesh_original_destination(int fd, int family, mesh_address *_Nonnull a) {
    // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, both 80.
    a->length = sizeof a->storage;
    int level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    return getsockopt(fd, level, 80, &a->storage, &a->length) < 0 ? -errno : 0;
}

/// The error of a connect that went on in the background: 0, or -errno.
static inline int mesh_pending_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? -errno : -error;
}

static inline int mesh_set_option(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value) < 0 ? -errno : 0;
}

static inline int mesh_set_reset_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0 ? -errno : 0;
}

static inline int mesh_set_transparent(int fd, int family) {
    // IPV6_TRANSPARENT is 75.
    return family == AF_INET6 ? mesh_set_option(fd, IPPROTO_IPV6, 75, 1)
                              : mesh_set_option(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
}

static inline int mesh_unlink(const char *_Nonnull path) {
    return unlink(path) < 0 ? -errno : 0;
}

static inline int mesh_chmod(const char *_Nonnull path, unsigned mode) {
    return chmod(path, mode) < 0 ? -errno : 0;
}

// MARK: The resolver's thread

static inline int mesh_semaphore(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    return fd < 0 ? -errno : fd;
}

static inline void mesh_semaphore_post(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static inline void mesh_semaphore_wait(int fd) {
    uint64_t value;
    while (read(fd, &value, sizeof value) < 0 && errno == EINTR) {
    }
}

static inline int mesh_lookup(
    const char *_Nonnull name, struct addrinfo *_Nullable *_Nonnull found) {
    struct addrinfo hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    return getaddrinfo(name, NULL, &hints, found);
}

static inline void mesh_address_copy(
    mesh_address *_Nonnull a, const struct addrinfo *_Nonnull info) {
    a->length = info->ai_addrlen <= sizeof a->storage ? info->ai_addrlen : 0;
    memcpy(&a->storage, info->ai_addr, a->length);
}

/// CPUs that this process may run on. The system call itself: glibc's wrapper is GNU only.
static inline int mesh_cpu_count(void) {
    unsigned long mask[16] = {0};
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int count = 0;
    for (int i = 0; i < 16 && bytes > 0; i++) count += __builtin_popcountl(mask[i]);
    return count > 0 ? count : 1;
}

// MARK: memory

/// Large buffers come from the heap: glibc's usual way maps and unmaps them each time, and half of
/// the cost of moving a megabyte was page faults. What is free at the top of a heap stays for a while.
static inline void mesh_tune_malloc(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
#endif
}

// MARK: files

/// Opens a file to append to, made with mode 0644 if need be. -errno on failure.
static inline int mesh_open_append(const char *_Nonnull path) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : fd;
}

static inline int mesh_open_read(const char *_Nonnull path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/// Gives free memory back to the system, also what lies between allocations; the allocator does that
/// by itself only at the end of its areas. Elsewhere than on glibc it does nothing.
static inline void mesh_give_back_memory(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static inline ssize_t mesh_write(int fd, const void *_Nonnull bytes, size_t count) {
    ssize_t written = write(fd, bytes, count);
    return written < 0 ? -errno : written;
}

static inline ssize_t mesh_read(int fd, void *_Nonnull bytes, size_t count) {
    ssize_t got = read(fd, bytes, count);
    return got < 0 ? -errno : got;
}

static inline int mesh_inotify(void) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/// Watches a directory for files that were written, moved in, made or taken away.
static inline int mesh_watch_directory(int fd, const char *_Nonnull path) {
    int watch = inotify_add_watch(
        fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR);
    return watch < 0 ? -errno : watch;
}

/// The errno of the call just before.
static inline int mesh_errno(void) { return errno; }
