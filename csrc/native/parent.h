/* Shared by the files of pyrunc._core. */
#ifndef PYRUNC_PARENT_H
#define PYRUNC_PARENT_H

#include <errno.h>
#include <unistd.h>

/* How many descriptors a message carries at most, or one call waits for. */
enum { MAX_FDS = 64 };

/* Waits for the thread of pyrunc_begin_network. Returns the descriptor of the network namespace that it has made, which
 * the caller closes; -1 without. */
int pyrunc_take_network(void);

/* clone3(2) with a stack of its own: the child calls child(data) there and exits with its value. Returns -1 and errno on
 * failure. */
struct clone_args;
long clone_on_stack(struct clone_args *args, int (*child)(void *), void *data);

/* The result of a system call in the form of these functions: -errno on failure. */
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
