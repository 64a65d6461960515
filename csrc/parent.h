/* What the files of pyrunc._core have in common. */
#ifndef PYRUNC_PARENT_H
#define PYRUNC_PARENT_H

#include <unistd.h>

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
