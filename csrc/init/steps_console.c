/* The terminal. The pty is of the container's own devpts and is opened by descriptors only: neither the ptmx nor the
 * slave is named by a path that the image could have replaced (CVE-2025-52565). */
#include "common.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "kernel.h"

/* Opens the ptmx in the directory that is the root of a devpts, without following or crossing anything. */
static int open_ptmx(struct init *init, const char *path)
{
    char parent[PATH_MAX];
    const char *name = strrchr(path, '/');
    if (name == NULL || (size_t)(name - path) >= sizeof(parent))
        return fail(init, EINVAL, path);
    memcpy(parent, path, (size_t)(name - path));
    parent[name++ - path] = '\0';
    CLOSING int directory = open_in_root(init, parent, O_PATH | O_DIRECTORY);
    if (directory < 0)
        return directory;
    struct statfs fs;
    if (fstatfs(directory, &fs) < 0)
        return fail(init, errno, "statfs of the directory of ", path);
    if (fs.f_type != DEVPTS_SUPER_MAGIC)
        return fail(init, FAILED, path, " is not on devpts");
    struct open_how how = {
        .flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    int master = sys_openat2(directory, name, &how);
    return master >= 0 ? master : fail(init, errno, "open ", path);
}

int step_console(struct init *init, const struct step_console *step)
{
    CLOSING int master = open_ptmx(init, step->ptmx);
    if (master < 0)
        return master;
    int unlock = 0;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return fail(init, errno, "ioctl(TIOCSPTLCK)");
    CLOSING int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return fail(init, errno, "ioctl(TIOCGPTPEER)");
    struct winsize size = {.ws_row = (unsigned short)step->height, .ws_col = (unsigned short)step->width};
    if ((step->width != 0 || step->height != 0) && ioctl(slave, TIOCSWINSZ, &size) < 0)
        return fail(init, errno, "ioctl(TIOCSWINSZ)");
    int result;
    if (step->mount && (result = bind_file(init, slave, "/dev/console")) < 0)
        return result;
    init->master = take_fd(&master);
    init->slave = take_fd(&slave);
    return 0;
}

int step_terminal_stdio(struct init *init, const struct step_terminal_stdio *step)
{
    (void)step;
    if (init->slave < 0)
        return fail(init, FAILED, "there is no pty");
    if (setsid() < 0)
        return fail(init, errno, "setsid");
    if (ioctl(init->slave, TIOCSCTTY, 0) < 0)
        return fail(init, errno, "ioctl(TIOCSCTTY)");
    for (int fd = 0; fd <= 2; fd++)
        if (dup2(init->slave, fd) < 0)
            return fail(init, errno, "dup of the pty");
    /* if the caller had closed a standard stream, the pty itself can be one */
    if (init->slave > 2)
        close_fd(&init->slave);
    init->slave = -1;
    return 0;
}

int step_new_session(struct init *init, const struct step_new_session *step)
{
    (void)step;
    return setsid() < 0 ? fail(init, errno, "setsid") : 0;
}

int step_stdio_owner(struct init *init, const struct step_stdio_owner *step)
{
    for (int fd = 0; fd <= 2; fd++) {
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_uid == step->uid)
            continue;
        /* Every user may open /dev/null, and an inherited one is the host's own. It is known by its device number,
         * because the container may have no /dev/null to compare it with. */
        if (is_null(&st))
            continue;
        /* EINVAL and EPERM: its group or its owner is not mapped in this user namespace; EROFS: a read-only /dev. The
         * process can use the stream, but not open it again. */
        if (fchown(fd, step->uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS)
            return fail(init, errno, "chown of a standard stream");
    }
    return 0;
}
