/* Files and descriptors. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "parent.h"

/* Opens /dev/null for each closed standard stream, so no other descriptor becomes one. Returns the first preserved
 * descriptor that the caller did not leave open, or 0: close-on-exec descriptors are the runtime's own. */
int pyrunc_prepare_fds(int preserve_fds)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) /* the lowest free number: fd itself */
            return -errno;
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
