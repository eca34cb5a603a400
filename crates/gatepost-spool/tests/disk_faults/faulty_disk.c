/* A disk that fails under a program that does not know: loaded in front of the C library (LD_PRELOAD), it
 * lets chosen calls on files fail whose path has FAULT_PATH in it. SQLite is under us like the kernel is,
 * and what it does when a write or a flush fails is not ours to assume.
 *
 * FAULT_CALL  "write" (write, pwrite, ftruncate), "read" (pread) or "sync" (fsync, fdatasync)
 * FAULT_FIRST the number of the first such call that fails
 * FAULT_LAST  the number of the last one
 * FAULT_ERROR what it says then, as a number; 0 for a write that takes only a part of what it is given
 *
 * When the first call fails, "fired" is a line on the standard output, between what the program itself
 * tells there; at its end, how many calls there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static long number(const char *name)
{
    const char *text = getenv(name);
    return text ? atol(text) : LONG_MAX;
}

static int is_meant(int fd, const char *call)
{
    const char *part = getenv("FAULT_PATH"), *which = getenv("FAULT_CALL");
    char name[64], path[PATH_MAX];
    ssize_t length;

    if (!part || !which || strcmp(call, which) != 0)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    length = readlink(name, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

/* The threads of the program count together. */
static long calls;

static void tell(const char *line)
{
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (real(STDOUT_FILENO, line, strlen(line)) < 0)
        abort();
}

__attribute__((destructor)) static void end(void)
{
    char line[64];
    if (getenv("FAULT_PATH")) {
        snprintf(line, sizeof line, "\ncalls %ld\n", calls);
        tell(line);
    }
}

/* Whether this call fails. */
static int fails(int fd, const char *call)
{
    static int told;
    long turn;

    if (!is_meant(fd, call))
        return 0;
    turn = __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
    if (turn < number("FAULT_FIRST") || turn > number("FAULT_LAST"))
        return 0;
    if (!__atomic_exchange_n(&told, 1, __ATOMIC_SEQ_CST))
        tell("\nfired\n");
    errno = (int)number("FAULT_ERROR");
    return 1;
}

static ssize_t some(size_t length)
{
    return length > 1 ? (ssize_t)(length / 2) : (ssize_t)length;
}

ssize_t write(int fd, const void *octets, size_t length)
{
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (fails(fd, "write")) {
        if (errno)
            return -1;
        length = some(length);
    }
    return real(fd, octets, length);
}

ssize_t pwrite64(int fd, const void *octets, size_t length, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    if (fails(fd, "write")) {
        if (errno)
            return -1;
        length = some(length);
    }
    return real(fd, octets, length, at);
}

ssize_t pwrite(int fd, const void *octets, size_t length, off_t at)
{
    return pwrite64(fd, octets, length, at);
}

ssize_t pread64(int fd, void *octets, size_t length, off64_t at)
{
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    return fails(fd, "read") ? -1 : real(fd, octets, length, at);
}

ssize_t pread(int fd, void *octets, size_t length, off_t at)
{
    return pread64(fd, octets, length, at);
}

int ftruncate64(int fd, off64_t length)
{
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    return fails(fd, "write") && errno ? -1 : real(fd, length);
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fsync(int fd)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return fails(fd, "sync") ? -1 : real(fd);
}

int fdatasync(int fd)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd, "sync") ? -1 : real(fd);
}
