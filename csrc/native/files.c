/* Files and descriptors. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "parent.h"

/* The standard streams that the caller had closed, as bits; -1 until pyrunc_hold_fds has looked. */
static int closed_streams = -1;

/* Takes the numbers of closed standard streams, so no other descriptor becomes one: what is written to a stream would go
 * to a file of the state, or to a socket. A write fails as before, with EBADF. Returns the closed ones, as bits. */
int pyrunc_hold_fds(void)
{
    int closed = 0;
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) /* the lowest free number: fd itself */
            return -errno;
        closed |= 1 << fd;
    }
    return closed_streams = closed;
}

/* Opens /dev/null for each standard stream that was closed: the container gets it. Returns the first preserved
 * descriptor that the caller did not leave open, or 0: close-on-exec descriptors are the runtime's own. */
int pyrunc_prepare_fds(int preserve_fds)
{
    int result = closed_streams < 0 ? pyrunc_hold_fds() : 0;
    if (result < 0)
        return result;
    for (int fd = 0; fd < 3; fd++) {
        if ((closed_streams & 1 << fd) == 0)
            continue;
        CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, fd) < 0)
            return -errno;
    }
    closed_streams = 0;
    for (int count = 0; count < preserve_fds && count <= INT_MAX - 3; count++) /* 3 + preserve_fds may not be an int */
        if (fcntl(3 + count, F_GETFD) != 0)
            return 3 + count;
    return 0;
}

int pyrunc_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    return result(syscall(SYS_openat2, dirfd, path, &how, sizeof how));
}

/* Put `end` behind `start`. Returns its end, or NULL without the room. snprintf would take four pages of code that most
 * commands don't have, and more time. */
static char *join_path(char *path, size_t size, const char *start, const char *end)
{
    size_t first = strlen(start), second = strlen(end);
    if (first >= size || second >= size - first)
        return NULL;
    memcpy(path, start, first);
    memcpy(path + first, end, second + 1);
    return path + first + second;
}

/* The first `size` bytes of a file, in one read: what the kernel makes in one piece is whole. */
int pyrunc_read_record(const char *path, char *data, size_t size)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : result(read(fd, data, size));
}

/* Whether a cgroup is frozen, by the path of its directory. Another user may have chosen the path:
 * cgroup.events may be a link there, or a FIFO, for which the open must not wait. */
int pyrunc_is_frozen(int dirfd, const char *cgroup)
{
    char path[PATH_MAX], events[4096];
    if (!join_path(path, sizeof path, cgroup, "/cgroup.events"))
        return -ENAMETOOLONG;
    CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t length = read(fd, events, sizeof events - 1);
    if (length < 0)
        return -errno;
    events[length] = '\0';
    return strstr(events, "frozen 1") != NULL;
}

/* Whether only the user, or root, can have changed it. */
static bool is_own(const struct stat *found, uid_t user)
{
    return found->st_uid == user && (found->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* The file ID/NAME below a directory, if both ID and the file are the caller's own and are as the caller makes them.
 * Returns its length, which is less than `size`. -EPERM if they are not, and -EAGAIN if the file changes meanwhile:
 * statedir.py finds the reason. The directory is not opened, which would take as long as all the rest. */
int pyrunc_read_own(int dirfd, const char *id, const char *name, char *data, size_t size)
{
    char path[NAME_MAX + NAME_MAX + 2], *slash = join_path(path, sizeof path, id, "/");
    if (slash == NULL || !join_path(slash, sizeof path - (size_t)(slash - path), name, ""))
        return -ENAMETOOLONG;
    uid_t user = geteuid();
    struct stat found;
    if (fstatat(dirfd, id, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISDIR(found.st_mode) || !is_own(&found, user))
        return -EPERM;
    CLEANUP_FD int fd = pyrunc_openat2(dirfd, path, O_RDONLY | O_NONBLOCK, 0, RESOLVE_NO_SYMLINKS);
    if (fd < 0)
        return fd;
    if (fstat(fd, &found) < 0)
        return -errno;
    if (!S_ISREG(found.st_mode) || !is_own(&found, user) || found.st_nlink != 1 || (uintmax_t)found.st_size >= size)
        return -EPERM;
    ssize_t length = read(fd, data, size);
    if (length != found.st_size)
        return length < 0 ? -errno : -EAGAIN;
    return (int)length;
}

int64_t pyrunc_fs_magic(int fd)
{
    struct statfs buffer;
    if (fstatfs(fd, &buffer) < 0)
        return -errno;
    return (int64_t)(uint32_t)buffer.f_type;
}

int pyrunc_flock(int fd, int exclusive, int wait)
{
    int value;
    do
        value = flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB));
    while (value < 0 && errno == EINTR);
    return result(value);
}

int pyrunc_unlock(int fd)
{
    return result(flock(fd, LOCK_UN));
}

int pyrunc_pidfd_getfd(int pidfd, int fd)
{
    return result(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

int pyrunc_bpf(int command, void *attributes, unsigned int size)
{
    return result(syscall(SYS_bpf, command, attributes, size));
}

static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0x100000001b3;
    return sum ^ sum >> 32; /* a product changes only the bits above */
}

/* A checksum against damage, not against attacks: FNV-1a, with words of eight bytes in the place of bytes. It is not
 * negative. */
int64_t pyrunc_checksum(const char *data, size_t length)
{
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t at = 0; at < length; at += sizeof sum) {
        uint64_t word = 0;
        memcpy(&word, data + at, length - at < sizeof word ? length - at : sizeof word);
        sum = mix(sum, word);
    }
    return (int64_t)(mix(sum, length) >> 1);
}
