/* The steps that mount something on a path of the container. */
#include "init.h"

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

/* Puts a mount in a register for a later seal_mount; register 0 is none. */
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

/* Opens the directory for a file system. `option` gets the mode of a tmpfs: that of the directory that it covers,
 * where there was one, as runc has it; else "". */
static int open_target(struct init *init, const struct step_mount *step, char option[static MODE_OPTION_SIZE])
{
    option[0] = '\0';
    /* A symlink would put them where the image wants them (CVE-2019-19921, CVE-2023-27561). */
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

    /* what is copied has to be written before the mount becomes read-only */
    uint64_t late = step->copyup ? step->attr_set & MOUNT_ATTR_RDONLY : 0;
    CLOSING int mount = make_filesystem(init, step->fstype, step->source, option[0] != '\0' ? option : NULL,
                                        &step->options, step->attr_set & ~late);
    if (mount < 0)
        return mount;
    if (step->copyup && (result = copy_up(init, target, mount, step->target)) < 0)
        return result;
    if ((result = set_attributes(init, mount, (struct attributes){.set = late}, step->target)) < 0)
        return result;
    struct attributes below = {.set = step->rattr_set, .clear = step->rattr_clr, .recursive = true};
    if ((result = set_attributes(init, mount, below, step->target)) < 0)
        return result;
    if ((result = attach(init, mount, target, step->target)) < 0)
        return result;
    if ((result = set_propagation(init, mount, step->propagation, step->target)) < 0)
        return result;
    return keep_mount(init, step->keep, mount);
}

int step_bind(struct init *init, const struct step_bind *step)
{
    CLOSING int opened = -1;
    int tree = step->source_fd; /* not ours to close: an alternative may name it again */
    if (tree < 0) {
        tree = opened = sys_open_tree(AT_FDCWD, step->source, OPEN_TREE_CLONE | (step->recursive ? AT_RECURSIVE : 0u));
        if (tree < 0)
            return fail(init, errno, "open_tree ", step->source);
    }
    struct stat st;
    if (fstat(tree, &st) < 0)
        return fail(init, errno, "stat ", step->source);
    CLOSING int target =
        make_in_root(init, step->target, S_ISDIR(st.st_mode) ? MAKE_DIRECTORY : MAKE_FILE, FOLLOW_LINKS);
    if (target < 0)
        return target;
    int result = guard_proc(init, target, step->target, is_procfs(tree));
    if (result < 0)
        return result;

    struct attributes own = {.set = step->attr_set, .clear = step->attr_clr};
    if ((result = set_attributes(init, tree, own, step->target)) < 0)
        return result;
    struct attributes below = {.set = step->rattr_set, .clear = step->rattr_clr, .recursive = true};
    if ((result = set_attributes(init, tree, below, step->target)) < 0)
        return result;
    if ((result = attach(init, tree, target, step->target)) < 0)
        return result;
    if ((result = set_propagation(init, tree, step->propagation, step->target)) < 0)
        return result;
    return keep_mount(init, step->keep, tree);
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
    struct attributes own = {.set = step->attr_set, .clear = step->attr_clr};
    int result = set_attributes(init, mount, own, step->target);
    if (result < 0)
        return result;
    struct attributes below = {.set = step->rattr_set, .clear = step->rattr_clr, .recursive = true};
    if ((result = set_attributes(init, mount, below, step->target)) < 0)
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
