/*
 * Preloaded into the service: makes some writes and syncs of the journal's files fail, and sets its clock, as a control file says
 * that it maps. (libfaketime fails absolute sleeps by the monotonic clock while a thread of Python's ends.)
 * Numbers in there, of the host's int: which calls (1 writes, 2 syncs), every how manieth fails, the errno (0 writes a half),
 * how many such calls there were, how many failed, by how many seconds the clock is ahead.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile int *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("JOBPUSH_FAULTS_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *map = mmap(NULL, 6 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        control = map == MAP_FAILED ? NULL : map;
        close(file);
    }
}

static int fails(int file, int sort)
{
    char link[64], path[512];
    if (!control || !(control[0] & sort))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    if (!strstr(path, "/journal.sqlite"))
        return 0;
    int every = control[1] > 0 ? control[1] : 1;
    if (__sync_add_and_fetch((int *)&control[3], 1) % every)
        return 0;
    __sync_add_and_fetch((int *)&control[4], 1);
    return 1;
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static ssize_t put(const char *name, int file, const void *data, size_t size, off64_t at)
{
    if (fails(file, 1)) {
        if (control[2]) {
            errno = control[2];
            return -1;
        }
        size = size > 1 ? size / 2 : size;
    }
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), name)(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    return put("pwrite64", file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    return put("pwrite64", file, data, size, at);
}

ssize_t write(int file, const void *data, size_t size)
{
    if (control && (control[0] & 1) && fails(file, 1)) {
        if (control[2]) {
            errno = control[2];
            return -1;
        }
        size = size > 1 ? size / 2 : size;
    }
    return NEXT(ssize_t (*)(int, const void *, size_t), "write")(file, data, size);
}

static int synced(const char *name, int file)
{
    if (fails(file, 2)) {
        errno = control[2] ? control[2] : EIO;
        return -1;
    }
    return NEXT(int (*)(int), name)(file);
}

int fsync(int file)
{
    return synced("fsync", file);
}

int fdatasync(int file)
{
    return synced("fdatasync", file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*right)(clockid_t, struct timespec *);
    if (!right)
        right = NEXT(int (*)(clockid_t, struct timespec *), "clock_gettime");
    int result = right(clock, now);
    if (result == 0 && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += control[5];
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec found;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &found) != 0)
        return -1;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec found = {0, 0};
    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
