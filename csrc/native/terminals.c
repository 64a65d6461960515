/* Terminals (termios(3)). A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
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

/* A terminal that does not know its size (a serial line, a pty that nobody gave one) has 0 rows and 0 columns: then
 * the other one keeps its own. */
int pyrunc_copy_winsize(int from, int to)
{
    struct winsize size;
    if (ioctl(from, TIOCGWINSZ, &size) < 0)
        return -errno;
    if (size.ws_row == 0 && size.ws_col == 0)
        return 0;
    return result(ioctl(to, TIOCSWINSZ, &size));
}

/* Copies chunk by chunk between two descriptors that make nobody wait: each chunk is written before the next is read.
 * Ends when either gives an error, when there is no more to read, or after `turns` chunks.
 *
 * end: where in `data` the part begins that was read and not written, its length, the errno of the read, and that of
 * the write; an errno is 0 where that call did not fail. */
int pyrunc_copy(int from, int to, char *data, size_t size, int turns, int *end)
{
    memset(end, 0, 4 * sizeof *end);
    for (int turn = 0; turn < turns; turn++) {
        ssize_t got = read(from, data, size);
        if (got <= 0) {
            end[2] = got < 0 ? errno : EAGAIN;
            return 0;
        }
        for (ssize_t at = 0; at < got;) {
            ssize_t put = write(to, data + at, (size_t)(got - at));
            if (put < 0) {
                end[0] = (int)at;
                end[1] = (int)(got - at);
                end[3] = errno;
                return 0;
            }
            at += put;
        }
    }
    return 0;
}
