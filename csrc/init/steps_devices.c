/* Device nodes and links. Each is made in an open directory, and its name is not followed: an image whose /dev is a
 * symlink stays in its own rootfs (CVE-2026-41579). */
#include "common.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel.h"

enum { MAX_RETRIES = 128 }; /* of calls that another container on the same /dev disturbs */

/* Whether a file is the null device, under any name. */
bool is_null(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

int step_mknod(struct init *init, const struct step_mknod *step)
{
    char name[NAME_MAX + 1];
    CLOSING int parent = open_parent(init, step->path, name);
    if (parent < 0)
        return parent;
    dev_t device = makedev(step->major, step->minor);
    CLOSING int node = -1;
    bool made = false;
    int result = announce(init, "make", name, parent);
    if (result < 0)
        return result;
    /* another container on the same /dev may make or remove it between the two calls */
    for (int i = 0; node < 0 && i < MAX_RETRIES; i++) {
        made = mknodat(parent, name, step->mode, device) == 0;
        if (!made && errno != EEXIST)
            return fail(init, errno, "mknod ", step->path);
        node = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (node < 0 && errno != ENOENT)
            break;
    }
    struct stat st;
    if (node < 0 || fstat(node, &st) < 0)
        return fail(init, errno, "open ", step->path);
    if (((st.st_mode ^ step->mode) & S_IFMT) != 0 || (!S_ISFIFO(st.st_mode) && st.st_rdev != device))
        return fail(init, EEXIST, "mknod ", step->path, ": a different file is there");
    /* the mode is exact already: the init's umask is 0 */
    if (made && (st.st_uid != step->uid || st.st_gid != step->gid) &&
        fchownat(node, "", step->uid, step->gid, AT_EMPTY_PATH) < 0)
        return fail(init, errno, "chown ", step->path);
    return 0;
}

/* Opens the target of a mount in a directory. A missing file is made empty. */
static int open_leaf(struct init *init, int parent, const char *name, const char *path)
{
    CLOSING int fd = open_or_make(parent, name, MAKE_FILE, 0);
    struct stat st;
    if (fd < 0)
        return fail(init, -fd, "open ", path);
    if (fstat(fd, &st) < 0)
        return fail(init, errno, "open ", path);
    if (S_ISLNK(st.st_mode))
        return fail(init, ELOOP, "open ", path);
    return take_fd(&fd);
}

/* Binds the open `source` on a file of the container. */
int bind_file(struct init *init, int source, const char *path)
{
    char name[NAME_MAX + 1];
    CLOSING int parent = open_parent(init, path, name);
    if (parent < 0)
        return parent;
    CLOSING int target = open_leaf(init, parent, name, path);
    if (target < 0)
        return target;
    CLOSING int tree = clone_tree(init, source, false, path);
    return tree < 0 ? tree : attach(init, tree, target, path);
}

int step_bind_device(struct init *init, const struct step_bind_device *step)
{
    CLOSING int source = open(step->source, O_PATH | O_CLOEXEC);
    struct stat st;
    if (source < 0 && errno == ENOENT)
        return fail(init, ENOENT, "the host has no ", step->source, " to bind, and here no device can be made: open ",
                    step->source);
    if (source < 0 || fstat(source, &st) < 0)
        return fail(init, errno, "open ", step->source);
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode) && !S_ISFIFO(st.st_mode))
        return fail(init, FAILED, step->source, " is not a device");
    return bind_file(init, source, step->path);
}

int step_remove_device(struct init *init, const struct step_remove_device *step)
{
    char name[NAME_MAX + 1];
    struct stat st;
    CLOSING int parent = open_parent_of(init, step->path, name);
    if (parent < 0)
        return parent;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail(init, errno, "stat ", step->path);
    if (((st.st_mode ^ step->mode) & S_IFMT) != 0 || st.st_rdev != makedev(step->major, step->minor))
        return fail(init, EEXIST, "unlink ", step->path, ": a different file is there");
    return unlinkat(parent, name, 0) == 0 || errno == ENOENT ? 0 : fail(init, errno, "unlink ", step->path);
}

static bool is_link_to(int parent, const char *name, const char *target)
{
    char text[PATH_MAX];
    ssize_t length = readlinkat(parent, name, text, sizeof(text) - 1);
    if (length < 0)
        return false;
    text[length] = '\0';
    return strcmp(text, target) == 0;
}

/* Replaces a file by a symlink. The name is never missing meanwhile: another container of this rootfs may use it. */
static int replace_with_link(struct init *init, int parent, const char *name, const struct step_symlink *step)
{
    uint32_t number;
    char digits[DECIMAL_SIZE], temporary[2 * DECIMAL_SIZE];
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
        return fail(init, errno, "getrandom");
    join(temporary, sizeof(temporary), ".pyrunc-link-", decimal(digits, number));
    if (symlinkat(step->target, parent, temporary) < 0)
        return fail(init, errno, "symlink ", step->path);
    if (renameat(parent, temporary, parent, name) == 0)
        return 0;
    int error = errno;
    unlinkat(parent, temporary, 0);
    return fail(init, error, "rename to ", step->path);
}

int step_symlink(struct init *init, const struct step_symlink *step)
{
    char name[NAME_MAX + 1];
    CLOSING int parent = open_parent(init, step->path, name);
    if (parent < 0)
        return parent;
    if (symlinkat(step->target, parent, name) == 0)
        return 0;
    if (errno != EEXIST)
        return fail(init, errno, "symlink ", step->path);
    /* A file of the image by that name stays, except its own ptmx, which would open the host's ptys. */
    if (strcmp(step->path, "/dev/ptmx") != 0 || is_link_to(parent, name, step->target))
        return 0;
    return replace_with_link(init, parent, name, step);
}

/* Opens the container's /dev/null and checks that it is the null device: an image could have another file there, which
 * would be bound, writable, over the masked path (CVE-2025-31133). `what` is the start of the error. */
int open_null(struct init *init, uint64_t flags, const char *what)
{
    CLOSING int fd = open_in_root(init, "/dev/null", flags);
    if (fd < 0)
        return fail(init, -fd, what, ": /dev/null");
    struct stat st;
    if (fstat(fd, &st) < 0)
        return fail(init, errno, what, ": /dev/null");
    if (!is_null(&st))
        return fail(init, FAILED, what, ": container's /dev/null is invalid");
    return take_fd(&fd);
}

int step_reopen_null(struct init *init, const struct step_reopen_null *step)
{
    (void)step;
    CLOSING int null = -1;
    for (int fd = 0; fd <= 2; fd++) {
        struct stat st;
        if (fstat(fd, &st) < 0 || !is_null(&st))
            continue;
        /* O_NONBLOCK: the open must not wait if it is another file */
        if (null < 0 && (null = open_null(init, O_RDWR | O_NOCTTY | O_NONBLOCK, "can't reopen /dev/null")) < 0)
            return null;
        if (fcntl(null, F_SETFL, 0) < 0 || dup2(null, fd) < 0)
            return fail(init, errno, "can't reopen /dev/null");
    }
    return 0;
}
