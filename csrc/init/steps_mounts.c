/* The steps that mount something on a path of the container. */
#include "common.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "kernel.h"

enum { MODE_OPTION_SIZE = sizeof("mode=07777") };

static void mode_option(char option[static MODE_OPTION_SIZE], mode_t mode)
{
    static const char prefix[] = "mode=";
    memcpy(option, prefix, sizeof(prefix));
    char *digit = option + sizeof(prefix) - 1;
    for (int shift = 12; shift >= 0; shift -= 3)
        *digit++ = (char)('0' + ((mode & 07777) >> shift & 7));
    *digit = '\0';
}

/* Stores a mount in a register for a later seal_mount; register 0 stores nothing. */
static int keep_mount(struct init *init, uint32_t keep, int mount)
{
    if (keep == 0)
        return 0;
    if (keep >= REGISTERS)
        return fail(init, EINVAL, "no such register");
    close_fd(&init->kept[keep]);
    init->kept[keep] = fcntl(mount, F_DUPFD_CLOEXEC, 0);
    return init->kept[keep] >= 0 ? 0 : fail(init, errno, "dup of a mount");
}

/* Opens the directory for a file system. `option` gets the mode of a tmpfs: as with runc, that of the directory that it
 * covers, "" if there was none. */
static int open_target(struct init *init, const struct step_mount *step, char option[static MODE_OPTION_SIZE])
{
    option[0] = '\0';
    /* A symlink of the image would redirect them (CVE-2019-19921, CVE-2023-27561). */
    if (strcmp(step->fstype, "proc") == 0 || strcmp(step->fstype, "sysfs") == 0) {
        int target = make_in_root(init, step->target, MAKE_DIRECTORY, REFUSE_LINKS);
        if (target == -ELOOP || target == -ENOTDIR)
            return fail(init, FAILED, "filesystem \"", step->fstype, "\" must be mounted on ordinary directory");
        return target;
    }
    if (strcmp(step->fstype, "tmpfs") == 0) {
        int target = open_in_root(init, step->target, O_PATH | O_DIRECTORY);
        struct stat st;
        if (target >= 0 && fstat(target, &st) == 0)
            mode_option(option, st.st_mode);
        if (target != -ENOENT)
            return target;
    }
    return make_in_root(init, step->target, MAKE_DIRECTORY, FOLLOW_LINKS);
}

int step_mount(struct init *init, const struct step_mount *step)
{
    char option[MODE_OPTION_SIZE];
    CLOSING int target = open_target(init, step, option);
    if (target < 0)
        return target;
    int result = guard_proc(init, target, step->target, strcmp(step->fstype, "proc") == 0);
    if (result < 0)
        return result;

    /* the copy has to be made before the mount becomes read-only */
    uint64_t late = step->copyup ? step->attr_set & MOUNT_ATTR_RDONLY : 0;
    CLOSING int mount = make_filesystem(init, step->fstype, step->source, option[0] != '\0' ? option : NULL,
                                        &step->options, step->attr_set & ~late);
    if (mount < 0)
        return mount;
    if (step->copyup && (result = copy_up(init, target, mount, step->target)) < 0)
        return result;
    if ((result = set_attributes(init, mount, (struct attributes){.set = late}, step->target)) < 0)
        return result;
    if ((result = attach(init, mount, target, step->target)) < 0)
        return result;
    if ((result = set_propagation(init, mount, step->propagation, step->target)) < 0)
        return result;
    return keep_mount(init, step->keep, mount);
}

int step_close_sources(struct init *init, const struct step_close_sources *step)
{
    (void)step;
    for (uint32_t i = 0; i < init->plan->step_count; i++) {
        const struct step *other = &init->plan->steps[i];
        const struct step_bind *bind = other->kind == STEP_BIND ? other->fields : NULL;
        if (bind != NULL && bind->source_fd >= 0)
            close(bind->source_fd);
    }
    return 0;
}

/* Changes the flags of a tree and then those of the mount at its root, which override them. */
static int set_tree_attributes(struct init *init, int mount, struct attributes tree, struct attributes own,
                               const char *path)
{
    tree.recursive = true;
    int result = set_attributes(init, mount, tree, path);
    return result < 0 ? result : set_attributes(init, mount, own, path);
}

/* A detached copy of the mount at a path of the host, as it is now in the mount namespace. */
static int clone_source(struct init *init, const char *path, bool recursive, uint32_t links)
{
    unsigned int flags = OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0u);
    if ((links & SOURCE_ITSELF) != 0)
        flags |= AT_SYMLINK_NOFOLLOW;
    int tree = sys_open_tree(AT_FDCWD, path, flags);
    return tree >= 0 ? tree : fail(init, errno, "open_tree ", path);
}

/* The mount that a step binds: a detached copy, or a descriptor that the runtime has opened. The caller closes
 * `opened`. */
static int open_source(struct init *init, const struct step_bind *step, int *opened)
{
    if ((step->links & SOURCE_KEPT) != 0) {
        if (step->keep >= REGISTERS || init->kept[step->keep] < 0)
            return fail(init, EINVAL, "no mount is kept there");
        return *opened = take_fd(&init->kept[step->keep]);
    }
    if (step->source_fd >= 0)
        return step->source_fd; /* stays open: an alternative may name it again */
    return *opened = clone_source(init, step->source, step->recursive != 0, step->links);
}

/* Opens the target of a bind mount. A missing one is made. */
static int open_bind_target(struct init *init, const struct step_bind *step, mode_t source)
{
    enum make make = S_ISDIR(source) ? MAKE_DIRECTORY : MAKE_FILE;
    if ((step->links & TARGET_NOFOLLOW) == 0)
        return make_in_root(init, step->target, make, FOLLOW_LINKS);
    char name[NAME_MAX + 1];
    CLOSING int parent = open_parent(init, step->target, name);
    if (parent < 0)
        return parent;
    int target = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (target >= 0)
        return target;
    return errno == ENOENT ? make_in_root(init, step->target, make, REFUSE_LINKS)
                           : fail(init, errno, "open ", step->target);
}

/* Copies the symlink of the source to the target. An existing equal one is accepted. */
static int copy_symlink(struct init *init, int source, const struct step_bind *step)
{
    char text[PATH_MAX], other[PATH_MAX], name[NAME_MAX + 1];
    ssize_t length = readlinkat(source, "", text, sizeof(text) - 1);
    if (length < 0)
        return fail(init, errno, "readlink ", step->source);
    text[length] = '\0';
    CLOSING int parent = open_parent(init, step->target, name);
    if (parent < 0)
        return parent;
    int result = guard_proc(init, parent, step->target, false);
    if (result < 0)
        return result;
    if (symlinkat(text, parent, name) == 0)
        return 0;
    if (errno != EEXIST)
        return fail(init, errno, "symlink ", step->target);
    length = readlinkat(parent, name, other, sizeof(other) - 1);
    if (length < 0)
        return fail(init, EEXIST, "symlink ", step->target, ": the existing file is no symlink");
    other[length] = '\0';
    if (strcmp(text, other) != 0)
        return fail(init, EEXIST, "symlink ", step->target, ": it points to ", other);
    return 0;
}

int step_bind(struct init *init, const struct step_bind *step)
{
    CLOSING int opened = -1;
    int tree = open_source(init, step, &opened);
    if (tree < 0)
        return tree;
    struct stat st;
    if (fstat(tree, &st) < 0)
        return fail(init, errno, "stat ", step->source);
    if (S_ISLNK(st.st_mode) && (step->links & COPY_SYMLINK) != 0)
        return copy_symlink(init, tree, step);
    CLOSING int target = open_bind_target(init, step, st.st_mode);
    if (target < 0)
        return target;
    int result = guard_proc(init, target, step->target, is_procfs(tree));
    if (result < 0)
        return result;

    struct attributes below = {.set = step->rattr_set, .clear = step->rattr_clr};
    struct attributes own = {.set = step->attr_set, .clear = step->attr_clr};
    if ((result = set_tree_attributes(init, tree, below, own, step->target)) < 0)
        return result;
    /* A mount that the runtime has opened is a peer of the host's: no process of the container may see it before it is
     * a slave. */
    if (step->source_fd >= 0 && step->propagation != 0 &&
        (result = set_propagation(init, tree, MS_SLAVE | MS_REC, step->target)) < 0)
        return result;
    if ((result = attach(init, tree, target, step->target)) < 0)
        return result;
    if ((result = set_propagation(init, tree, step->propagation, step->target)) < 0)
        return result;
    return keep_mount(init, step->keep, tree);
}

int step_copy_mount(struct init *init, const struct step_copy_mount *step)
{
    char name[NAME_MAX + 1];
    CLOSING int parent = open_parent_of(init, step->path, name);
    if (parent < 0)
        return parent;
    CLOSING int copy = sys_open_tree(parent, name, OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW);
    if (copy < 0)
        return fail(init, errno, "open_tree ", step->path);
    return announce(init, "copy", "", copy);
}

/* A descriptor of the mount would keep it in use, so it is unmounted by its name in the open parent directory. A
 * container can't rename a mount point in its own mount namespace, and the last component is not followed, so the call
 * stays there. */
int step_umount(struct init *init, const struct step_umount *step)
{
    char name[NAME_MAX + 1];
    CLOSING int parent = open_parent_of(init, step->path, name);
    if (parent < 0)
        return parent;
    if (fchdir(parent) < 0)
        return fail(init, errno, "chdir to the directory of ", step->path);
    if (sys_umount2(name, UMOUNT_NOFOLLOW | (step->detach != 0 ? MNT_DETACH : 0)) < 0)
        return fail(init, errno, "umount ", step->path);
    return 0;
}

int step_open_inside(struct init *init, const struct step_open_inside *step)
{
    CLOSING int tree = clone_source(init, step->source, step->recursive != 0, step->links);
    if (tree < 0)
        return tree;
    int result = ask(init, MESSAGE_REQUEST, step->what, tree);
    if (result < 0)
        return result;
    return keep_mount(init, step->keep, tree);
}

int step_change_flags(struct init *init, const struct step_change_flags *step)
{
    if (step->keep >= REGISTERS)
        return fail(init, EINVAL, "no such register");
    CLOSING int mount = take_fd(&init->kept[step->keep]);
    if (mount < 0)
        return 0; /* a symlink was copied */
    struct attributes below = {.set = step->rattr_set, .clear = step->rattr_clr};
    struct attributes own = {.set = step->attr_set, .clear = step->attr_clr};
    return set_tree_attributes(init, mount, below, own, "bind mount");
}

int step_bind_cgroup(struct init *init, const struct step_bind_cgroup *step)
{
    CLOSING int tree = sys_open_tree(AT_FDCWD, step->source, OPEN_TREE_CLONE);
    if (tree < 0)
        return fail(init, errno, "open_tree ", step->source);
    CLOSING int target = make_in_root(init, step->target, MAKE_DIRECTORY, FOLLOW_LINKS);
    if (target < 0)
        return target;
    int result = guard_proc(init, target, step->target, false);
    if (result < 0)
        return result;
    if ((result = set_attributes(init, tree, (struct attributes){.set = step->attr_set}, step->target)) < 0)
        return result;
    return attach(init, tree, target, step->target);
}

int step_remount(struct init *init, const struct step_remount *step)
{
    CLOSING int mount = open_in_root(init, step->target, O_PATH);
    if (mount < 0)
        return mount;
    struct attributes below = {.set = step->rattr_set, .clear = step->rattr_clr};
    struct attributes own = {.set = step->attr_set, .clear = step->attr_clr};
    int result = set_tree_attributes(init, mount, below, own, step->target);
    if (result < 0)
        return result;
    return set_propagation(init, mount, step->propagation, step->target);
}

int step_file_label(struct init *init, const struct step_file_label *step)
{
    CLOSING int file = open_in_root(init, step->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (file < 0)
        return file;
    if (fsetxattr(file, "security.selinux", step->label, strlen(step->label), 0) < 0)
        return fail(init, errno, "set label ", step->label, " of ", step->path);
    return 0;
}

int step_seal_mount(struct init *init, const struct step_seal_mount *step)
{
    if (step->keep >= REGISTERS || init->kept[step->keep] < 0)
        return fail(init, EINVAL, "no mount is kept there");
    int result = set_attributes(init, init->kept[step->keep], (struct attributes){.set = step->attr_set}, "kept mount");
    close_fd(&init->kept[step->keep]);
    return result;
}
