/* Kills the process before the n-th change that it makes to files below a folder, whichever library makes it.

   Preloaded (LD_PRELOAD) into a process; `kill_watch` sets folder and n. What stdio writes within the C library is
   not seen. Of writes to one file that follow upon one another the first two count: a kill before the first, one
   that leaves a part, and one after all of them. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, WRITE, SYNC, RENAME, REMOVE, MKDIR, TRUNCATE, KINDS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[4096], written[4096];
static size_t length;
static long moment, passed, counts[KINDS];
static int writes;

void kill_watch(const char *path, long n) {
    snprintf(folder, sizeof folder, "%s", path);
    length = strlen(folder);
    moment = n;
    passed = writes = 0;
    memset(counts, 0, sizeof counts);
    written[0] = 0;
}

long kill_passed(void) { return passed; }
long kill_count(int kind) { return counts[kind]; }

static void step(int kind, const char *path) {
    if (!length || strncmp(path, folder, length)) return;
    pthread_mutex_lock(&lock);
    int again = kind == WRITE && !strcmp(path, written);
    writes = again ? writes + 1 : 1;
    snprintf(written, sizeof written, "%s", kind == WRITE ? path : "");
    if (kind != WRITE || writes <= 2) {
        counts[kind]++;
        if (++passed == moment) kill(getpid(), SIGKILL);
    }
    pthread_mutex_unlock(&lock);
}

static void of_descriptor(int kind, int descriptor) {
    char link[64], path[4096];
    if (!length) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    step(kind, path);
}

static void of_path(int kind, int at, const char *name) {
    char link[64], path[8192];
    if (!length || !name) return;
    if (name[0] == '/') { step(kind, name); return; }
    if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, path, 4095);
    if (n <= 0) return;
    snprintf(path + n, sizeof path - n, "/%s", name);
    step(kind, path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more); \
        if (flags & (O_CREAT | O_TRUNC)) of_path(OPEN, AT_FDCWD, path); \
        return real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more); \
        if (flags & (O_CREAT | O_TRUNC)) of_path(OPEN, at, path); \
        return real(at, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define ON_DESCRIPTOR(kind, type, name, parameters, arguments) \
    type name parameters { REAL(name); of_descriptor(kind, fd); return real arguments; }
ON_DESCRIPTOR(WRITE, ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
ON_DESCRIPTOR(WRITE, ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
ON_DESCRIPTOR(WRITE, ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
ON_DESCRIPTOR(WRITE, ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
ON_DESCRIPTOR(WRITE, ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
ON_DESCRIPTOR(WRITE, ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
ON_DESCRIPTOR(SYNC, int, fsync, (int fd), (fd))
ON_DESCRIPTOR(SYNC, int, fdatasync, (int fd), (fd))
ON_DESCRIPTOR(TRUNCATE, int, ftruncate, (int fd, off_t n), (fd, n))
ON_DESCRIPTOR(TRUNCATE, int, ftruncate64, (int fd, off64_t n), (fd, n))

#define ON_PATH(kind, name, parameters, arguments, at, path) \
    int name parameters { REAL(name); of_path(kind, at, path); return real arguments; }
ON_PATH(RENAME, rename, (const char *a, const char *b), (a, b), AT_FDCWD, b)
ON_PATH(RENAME, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b), y, b)
ON_PATH(RENAME, renameat2, (int x, const char *a, int y, const char *b, unsigned f), (x, a, y, b, f), y, b)
ON_PATH(RENAME, link, (const char *a, const char *b), (a, b), AT_FDCWD, b)
ON_PATH(RENAME, linkat, (int x, const char *a, int y, const char *b, int f), (x, a, y, b, f), y, b)
ON_PATH(REMOVE, unlink, (const char *a), (a), AT_FDCWD, a)
ON_PATH(REMOVE, unlinkat, (int x, const char *a, int f), (x, a, f), x, a)
ON_PATH(REMOVE, rmdir, (const char *a), (a), AT_FDCWD, a)
ON_PATH(MKDIR, mkdir, (const char *a, mode_t m), (a, m), AT_FDCWD, a)
ON_PATH(MKDIR, mkdirat, (int x, const char *a, mode_t m), (x, a, m), x, a)
ON_PATH(TRUNCATE, truncate, (const char *a, off_t n), (a, n), AT_FDCWD, a)
