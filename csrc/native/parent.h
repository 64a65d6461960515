/* What the files of pyrunc._core have in common. */
#ifndef PYRUNC_PARENT_H
#define PYRUNC_PARENT_H

#include <errno.h>
#include <unistd.h>

/* How many descriptors a message carries at most, or one call waits for. */
enum { MAX_FDS = 64 };

/* What a system call gave, as our functions give it: -errno on failure. */
static inline int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

static inline void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define CLEANUP_FD __attribute__((cleanup(close_fd)))

/* Hands a CLEANUP_FD descriptor to the caller. */
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#endif
