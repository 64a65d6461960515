/* Terminals (termios(3)). A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

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
