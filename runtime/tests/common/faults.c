/* A disk, a clock and a power cut at the command of a test, put under a program by LD_PRELOAD.
 *
 *     cc -O2 -fPIC -shared -o faults.so faults.c -ldl
 *     LD_PRELOAD=faults.so FAULTS=BLOCK FAULTS_UNDER=FOLDER [FAULTS_TRACE=FILE] [FAULTS_KIND=KIND] PROGRAM
 *
 * BLOCK is a file of sizeof(struct block) bytes that program and test share while the program runs. What counts as a call:
 * whatever changes something in FOLDER (open to write, write, fsync, rename, unlink, truncate, mkdir), and whatever
 * is said on a TCP socket. FILE gets a line for each, its kind: "rename /images/NAME.dcm", "send tcp". Names of files in a
 * folder of FOLDER differ from run to run and are no part of the kind. Threads mix the order of calls, but hardly the
 * order of those of one kind.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Shared with the test; little endian, in this order. */
struct block {
    int64_t calls;   /* of KIND, or all, so far */
    int64_t kill_at; /* SIGKILL instead of this one of them; 0: never */
    int64_t error;   /* errno of every call in FOLDER but unlink; 0: none */
    int64_t sync_ms; /* an fsync takes so much longer, one at a time as on one disk */
    int64_t clock_s; /* the wall clock is ahead by so much */
};

static struct block *block;
static char under[4096];
static size_t under_length;
static int trace = -1;
static const char *counted; /* KIND */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS"), *folder = getenv("FAULTS_UNDER"), *lines = getenv("FAULTS_TRACE");
    if (!path || !folder || !realpath(folder, under)) return;
    under_length = strlen(under);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof(struct block), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) return;
    if (lines) trace = syscall(SYS_openat, AT_FDCWD, lines, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    counted = getenv("FAULTS_KIND");
    block = memory;
}

static int is_inside(const char *path) {
    return !strncmp(path, under, under_length) && (path[under_length] == '/' || !path[under_length]);
}

/* Writes what the call is about without what differs from run to run. */
static void name_kind(char *kind, size_t size, const char *name, const char *about) {
    static const char *const ends[] = { ".part", ".dcm", ".json", ".png" };
    const char *file = about[0] == '/' ? strchr(about + 1, '/') : NULL, *end = "";
    for (size_t at = 0; file && at < sizeof ends / sizeof *ends; at++) {
        const char *found = strstr(file, ends[at]);
        if (found && !found[strlen(ends[at])]) end = ends[at];
    }
    if (file) snprintf(kind, size, "%s %.*s/NAME%s", name, (int)(file - about), about, end);
    else snprintf(kind, size, "%s %s", name, about);
}

/* One more call. Returns the errno that it must fail with, or 0. */
static int call(const char *name, const char *about, int may_fail) {
    char kind[4500];
    name_kind(kind, sizeof kind - 1, name, about);
    if (!counted || !strcmp(kind, counted)) {
        int64_t number = __atomic_add_fetch(&block->calls, 1, __ATOMIC_SEQ_CST);
        if (number == block->kill_at) {
            syscall(SYS_kill, getpid(), SIGKILL);
            for (;;) pause();
        }
    }
    if (trace >= 0) {
        size_t length = strlen(kind);
        kind[length] = '\n';
        syscall(SYS_write, trace, kind, length + 1);
    }
    return may_fail ? (int)block->error : 0;
}

/* By path; relative ones are none of ours, since a daemon's paths are absolute. */
static int on_path(const char *name, const char *path, int may_fail) {
    return block && is_inside(path) ? call(name, path + under_length, may_fail) : 0;
}

/* By descriptor: a file in FOLDER, or a TCP socket, which never fails. */
static int on_fd(const char *name, int fd) {
    if (!block) return 0;
    int saved = errno, result = 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        if (path[0] == '/' && is_inside(path)) {
            result = call(name, path + under_length, 1);
        } else if (!strncmp(path, "socket:", 7)) {
            int domain = 0;
            socklen_t size = sizeof domain;
            if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) && (domain == AF_INET || domain == AF_INET6))
                call(name, "tcp", 0);
        }
    }
    errno = saved;
    return result;
}

#define FAIL_IF(error) do { int e = (error); if (e) { errno = e; return -1; } } while (0)
#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int changes(int flags) { return flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC); }

#define OPEN(symbol) \
    int symbol(const char *path, int flags, ...) { \
        NEXT(symbol); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if (changes(flags)) FAIL_IF(on_path("open", path, 1)); \
        return next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(symbol) \
    int symbol(int folder, const char *path, int flags, ...) { \
        NEXT(symbol); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        if (changes(flags)) FAIL_IF(on_path("open", path, 1)); \
        return next(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t count) { NEXT(write); FAIL_IF(on_fd("write", fd)); return next(fd, bytes, count); }
ssize_t writev(int fd, const struct iovec *parts, int count) { NEXT(writev); FAIL_IF(on_fd("write", fd)); return next(fd, parts, count); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { NEXT(pwrite); FAIL_IF(on_fd("write", fd)); return next(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { NEXT(pwrite64); FAIL_IF(on_fd("write", fd)); return next(fd, bytes, count, at); }
ssize_t send(int fd, const void *bytes, size_t count, int flags) { NEXT(send); on_fd("send", fd); return next(fd, bytes, count, flags); }
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) { NEXT(sendmsg); on_fd("send", fd); return next(fd, message, flags); }
int ftruncate(int fd, off_t length) { NEXT(ftruncate); FAIL_IF(on_fd("truncate", fd)); return next(fd, length); }
int ftruncate64(int fd, off64_t length) { NEXT(ftruncate64); FAIL_IF(on_fd("truncate", fd)); return next(fd, length); }
int rename(const char *from, const char *to) { NEXT(rename); FAIL_IF(on_path("rename", to, 1)); return next(from, to); }
int unlink(const char *path) { NEXT(unlink); on_path("unlink", path, 0); return next(path); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); FAIL_IF(on_path("mkdir", path, 1)); return next(path, mode); }

/* One disk: who comes while it works waits for it, too. */
static void work_of_disk(void) {
    static int busy;
    if (!block || block->sync_ms <= 0) return;
    struct timespec pause = { block->sync_ms / 1000, block->sync_ms % 1000 * 1000000 }, look = { 0, 1000000 };
    while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) nanosleep(&look, NULL);
    nanosleep(&pause, NULL);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

int fsync(int fd) { NEXT(fsync); FAIL_IF(on_fd("fsync", fd)); work_of_disk(); return next(fd); }
int fdatasync(int fd) { NEXT(fdatasync); FAIL_IF(on_fd("fsync", fd)); work_of_disk(); return next(fd); }

time_t time(time_t *now) {
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now) *now = read.tv_sec;
    return read.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    NEXT(gettimeofday);
    int result = next(now, zone);
    if (!result && block) now->tv_sec += block->clock_s;
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime);
    int result = next(clock, now);
    if (!result && block && clock == CLOCK_REALTIME) now->tv_sec += block->clock_s;
    return result;
}
