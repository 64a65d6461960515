/* Terminals (termios(3)). A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "parent.h"

size_t pyrunc_tty_size(void)
{
    return sizeof(struct termios);
}

int pyrunc_tty_raw(int fd, char *saved, size_t size)
{
    struct termios settings;
    if (size != sizeof settings)
        return -EINVAL;
    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    memcpy(saved, &settings, sizeof settings);
    cfmakeraw(&settings);
    /* Output is still processed: the pty behind it adds no carriage returns (see pyrunc_tty_no_onlcr). */
    settings.c_oflag |= OPOST;
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int pyrunc_tty_no_onlcr(int fd)
{
    struct termios settings;
    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    settings.c_oflag &= ~(tcflag_t)ONLCR;
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int pyrunc_tty_restore(int fd, const char *saved, size_t size)
{
    struct termios settings;
    if (size != sizeof settings)
        return -EINVAL;
    memcpy(&settings, saved, sizeof settings);
    return result(tcsetattr(fd, TCSANOW, &settings));
}

/* A terminal without a known size (a serial line, a new pty) has 0 rows and 0 columns: then the other one keeps its
 * own. */
int pyrunc_copy_winsize(int from, int to)
{
    struct winsize size;
    if (ioctl(from, TIOCGWINSZ, &size) < 0)
        return -errno;
    if (size.ws_row == 0 && size.ws_col == 0)
        return 0;
    return result(ioctl(to, TIOCSWINSZ, &size));
}

/* How long a copy polls for the refill of the pty, and for how many chunks at most it does not poll after a miss. */
enum { POLL_NS = 40000, MOST_SKIPPED = 64 };

static int64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Polls, for POLL_NS at most, until the kernel's worker has filled a pty again after a read. A read that finds it empty
 * sleeps until the worker is done, and two processors that sleep in turn spend more time on waking each other up than
 * on the output. Where the worker has to wait for a processor, polling is no use: after each miss, twice as many chunks
 * as the last time are copied without it.
 *
 * edges: an epoll descriptor that watches nothing but the pty, edge-triggered. pace: how many chunks are still to be
 * copied without polling, and how many it were after the last miss. */
static void await_refill(int edges, int *pace)
{
    struct epoll_event event;
    if (pace[0] > 0) {
        pace[0]--;
        epoll_wait(edges, &event, 1, 0); /* or a later poll would take this edge for a new refill */
        return;
    }
    int64_t end = monotonic_ns() + POLL_NS;
    do {
        if (epoll_wait(edges, &event, 1, 0) != 0) {
            pace[1] = 0;
            return;
        }
    } while (monotonic_ns() < end);
    pace[1] = pace[1] < MOST_SKIPPED / 2 ? 2 * pace[1] + 1 : MOST_SKIPPED;
    pace[0] = pace[1];
}

/* Copies between two descriptors whose reads and writes do not wait: reads chunks until there is no more or `data` has no room for
 * another one, and then writes them together. Ends when a call gives an error, when there is no more to read, or after
 * `turns` chunks.
 *
 * edges, pace: as for await_refill, once a chunk was full; -1 for another source.
 * end: where in `data` the part begins that was read and not written, its length, the errno of the read, and that of
 * the write; an errno is 0 where that call did not fail. */
int pyrunc_copy(int from, int to, char *data, size_t size, size_t chunk, int turns, int edges, int *pace, int *end)
{
    bool flows = false; /* a key's echo does not wait */
    memset(end, 0, 4 * sizeof *end);
    while (turns > 0) {
        size_t length = 0;
        ssize_t got = 1;
        while (turns > 0 && got > 0 && size - length >= chunk) {
            got = read(from, data + length, chunk);
            if (got > 0) {
                length += (size_t)got;
                turns--;
                flows = flows || (size_t)got == chunk;
                if (edges >= 0 && flows)
                    await_refill(edges, pace);
            } else if (length == 0 || (got < 0 && errno != EAGAIN)) {
                /* After EAGAIN the time of the write may have been enough for the kernel to bring more. */
                end[2] = got < 0 ? errno : EAGAIN;
                turns = 0;
            }
        }
        for (size_t at = 0; at < length;) {
            ssize_t put = write(to, data + at, length - at);
            if (put < 0) {
                end[0] = (int)at;
                end[1] = (int)(length - at);
                end[3] = errno;
                return 0;
            }
            at += (size_t)put;
        }
    }
    return 0;
}
