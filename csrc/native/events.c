/* Waiting for descriptors and signals. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include "parent.h"

enum { MAX_READY = 8 };

/* The signals of mask: bit N - 1 is signal N. libc keeps two of them to itself and refuses these. */
static void fill_signals(sigset_t *set, uint64_t mask)
{
    sigemptyset(set);
    for (int number = 1; number <= 64; number++)
        if (mask & (UINT64_C(1) << (number - 1)))
            sigaddset(set, number);
}

/* Waits until one of the first `readers` descriptors can be read, one of the others written, or one has hung up; ready
 * gets 1 for each of these. Meanwhile, and only then, the mask of signals is `blocked`, where it is not UINT64_MAX: a
 * signal that it lets in ends the wait, also where it was pending before, unless a descriptor is ready at once. */
int pyrunc_poll(const int *fds, int count, int readers, int timeout_ms, uint64_t blocked, char *ready)
{
    struct pollfd entries[MAX_FDS];
    sigset_t mask;
    if (count > MAX_FDS)
        return -E2BIG;
    for (int i = 0; i < count; i++)
        entries[i] = (struct pollfd){.fd = fds[i], .events = i < readers ? POLLIN : POLLOUT};
    fill_signals(&mask, blocked);
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
    /* EINTR is for Python: it runs the handlers */
    int value = ppoll(entries, (nfds_t)count, timeout_ms < 0 ? NULL : &timeout, blocked == UINT64_MAX ? NULL : &mask);
    if (value < 0)
        return -errno;
    for (int i = 0; i < count; i++)
        ready[i] = entries[i].revents != 0;
    return value;
}

/* /proc/PID/comm, without snprintf, which would take four pages of code that most commands don't have. */
static void comm_path(char *path, int pid)
{
    char digits[12], *at = digits + sizeof digits;
    unsigned int rest = (unsigned int)pid;
    *--at = '\0';
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    path = stpcpy(path, "/proc/");
    path = stpcpy(path, at);
    strcpy(path, "/comm");
}

/* Waits for the end of the init's socket, which its execve closes. Returns 1 if the process has had another name since,
 * by its /proc/PID/comm: it has executed its program. 0 if that is not sure: the caller finds out what has happened. -errno
 * if the wait fails, -EINTR after a signal. name: the init's. blocked: as for pyrunc_poll. */
int pyrunc_await_execve(int sync, int pid, const char *name, uint64_t blocked)
{
    char ready, byte, path[32], comm[32];
    int value = pyrunc_poll(&sync, 1, 1, -1, blocked, &ready);
    if (value < 0)
        return value;
    if (recv(sync, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) != 0)
        return 0; /* a message, or an error */
    comm_path(path, pid);
    int length = pyrunc_read_record(path, comm, sizeof comm);
    return length > 0 && ((size_t)length != strlen(name) + 1 || memcmp(comm, name, (size_t)length - 1) != 0);
}

int pyrunc_epoll(void)
{
    return result(epoll_create1(EPOLL_CLOEXEC));
}

/* Watches fd for events (EPOLL*); 0 ends the watch. */
int pyrunc_epoll_watch(int epoll, int fd, unsigned int events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (events == 0)
        return result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
    return result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

/* Waits until a watched descriptor has one of its events; ready gets these descriptors, at most `room`. */
int pyrunc_epoll_wait(int epoll, int timeout_ms, int *ready, int room)
{
    struct epoll_event events[MAX_READY];
    if (room > MAX_READY)
        return -E2BIG;
    int count = epoll_wait(epoll, events, room, timeout_ms); /* EINTR is for Python */
    for (int i = 0; i < count; i++)
        ready[i] = events[i].data.fd;
    return result(count);
}

/* A descriptor of the signals in mask (bit N - 1 is signal N), which the caller has blocked. */
int pyrunc_signalfd(uint64_t mask)
{
    sigset_t set;
    fill_signals(&set, mask);
    return result(signalfd(-1, &set, SFD_CLOEXEC));
}
