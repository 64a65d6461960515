/* Shared by the mounting steps: mounts are made detached, get their attributes, and are then attached to a descriptor
 * of their target. */
#include "common.h"

#include <string.h>
#include <sys/stat.h>

#include "kernel.h"

enum {
    MAX_KEY = 255, /* bytes that fsconfig(2) takes of a key, and of a value */
};

/* Files of procfs on which emulations such as lxcfs may be mounted, as with runc. */
static const char *const PROC_FILES[] = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
};

/* Changes the attributes of a mount. The access-time setting is one value: the old one has to be cleared. */
int set_attributes(struct init *init, int mount, struct attributes attributes, const char *path)
{
    struct mount_attr attr = {.attr_set = attributes.set, .attr_clr = attributes.clear};
    if (attr.attr_set == 0 && attr.attr_clr == 0)
        return 0;
    if (attr.attr_set & MOUNT_ATTR__ATIME)
        attr.attr_clr |= MOUNT_ATTR__ATIME;
    unsigned int flags = AT_EMPTY_PATH | (attributes.recursive ? AT_RECURSIVE : 0u);
    if (sys_mount_setattr(mount, "", flags, &attr) < 0)
        return fail(init, errno, "mount_setattr ", path);
    return 0;
}

/* Changes the propagation of a mount; 0 changes nothing, MS_REC includes the mounts below. */
int set_propagation(struct init *init, int mount, uint64_t propagation, const char *path)
{
    struct mount_attr attr = {.propagation = propagation & ~(uint64_t)MS_REC};
    if (attr.propagation == 0)
        return 0;
    unsigned int flags = AT_EMPTY_PATH | (propagation & MS_REC ? AT_RECURSIVE : 0u);
    if (sys_mount_setattr(mount, "", flags, &attr) < 0)
        return fail(init, errno, "mount_setattr (propagation) ", path);
    return 0;
}

/* A detached copy of the mount of an open file or directory, with that as its root. */
int clone_tree(struct init *init, int fd, bool recursive, const char *path)
{
    unsigned int flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);
    int tree = sys_open_tree(fd, "", flags);
    return tree >= 0 ? tree : fail(init, errno, "open_tree ", path);
}

static bool is_root(const struct init *init, int fd)
{
    struct kernel_statx target, root;
    return init->root >= 0 && sys_statx(fd, &target) == 0 && sys_statx(init->root, &root) == 0 &&
           target.ino == root.ino && target.mnt_id == root.mnt_id;
}

/* mount(2)'s errno for a failed move_mount(2): ENOTDIR if only one of the two is a directory. Engines match its text,
 * and tell their users to check source and target. */
static int move_errno(int mount, int target, int error)
{
    struct stat from, to;
    if (error != EINVAL || fstat(mount, &from) < 0 || fstat(target, &to) < 0)
        return error;
    return S_ISDIR(from.st_mode) == S_ISDIR(to.st_mode) ? error : ENOTDIR;
}

/* Attaches a detached mount to the open `target`. A mount on the root itself becomes the root. */
int attach(struct init *init, int mount, int target, const char *path)
{
    bool replaces_root = is_root(init, target);
    int result = announce(init, "attach", "", mount);
    if (result < 0)
        return result;
    if (sys_move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return fail(init, move_errno(mount, target, errno), "move_mount ", path);
    if (!replaces_root)
        return 0;
    int root = fcntl(mount, F_DUPFD_CLOEXEC, 0);
    if (root < 0)
        return fail(init, errno, "dup of the root's mount");
    close_fd(&init->root);
    init->root = root;
    return 0;
}

/* Refuses a mount that would hide a part of procfs, also through symlinks (the compiler has checked the path's text).
 * If a container could cover files of /proc, writes of security labels would have no effect (CVE-2019-16884,
 * CVE-2019-19921). Another procfs on /proc, and the files that lxcfs emulates, are permitted. */
int guard_proc(struct init *init, int target, const char *path, bool mounts_procfs)
{
    bool on_procfs = is_procfs(target);
    bool on_root = strcmp(path, "/proc") == 0;
    if (!on_procfs && !on_root)
        return 0;
    struct stat st;
    if (fstat(target, &st) < 0)
        return fail(init, errno, "stat ", path);
    if (on_root || st.st_ino == PROC_ROOT_INO) {
        if (mounts_procfs)
            return 0;
        return fail(init, FAILED, "\"", path, "\" cannot be mounted because it is not of type proc");
    }
    for (size_t i = 0; i < sizeof(PROC_FILES) / sizeof(*PROC_FILES); i++)
        if (strcmp(path, PROC_FILES[i]) == 0)
            return 0;
    return fail(init, FAILED, "\"", path, "\" cannot be mounted because it is inside /proc");
}

/* Fails with the file system's own message: its errors are in the context, one line for each read. */
static int fail_in_context(struct init *init, int context, const char *call, const char *what)
{
    int error = errno;
    char message[512];
    char reasons[1024] = "";
    size_t length = 0;
    ssize_t count;
    while ((count = read(context, message, sizeof(message) - 1)) > 0) {
        message[count] = '\0';
        message[strcspn(message, "\n")] = '\0';
        const char *text = starts_with(message, "e ") ? message + 2 : message;
        join(reasons + length, sizeof(reasons) - length, ": ", text);
        length += strlen(reasons + length);
    }
    return fail(init, error, call, " ", what, reasons);
}

/* Sets one option: `key=value` a string, anything else a flag. */
static int set_option(struct init *init, int context, const char *option)
{
    char key[MAX_KEY + 1];
    size_t length = strcspn(option, "=");
    const char *value = option[length] == '=' ? option + length + 1 : NULL;
    if (length > MAX_KEY || (value != NULL && strlen(value) > MAX_KEY))
        return fail(init, EINVAL, "mount option ", option, ": longer than the 255 bytes that the kernel takes");
    memcpy(key, option, length);
    key[length] = '\0';
    if (sys_fsconfig(context, value != NULL ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value) < 0)
        return fail_in_context(init, context, "mount option", option);
    return 0;
}

/* Makes a detached file system. `first_option` (or NULL) is set before the others, which override it. */
int make_filesystem(struct init *init, const char *fstype, const char *source, const char *first_option,
                    const struct strv *options, uint64_t attributes)
{
    CLOSING int context = sys_fsopen(fstype);
    if (context < 0)
        return fail(init, errno, "fsopen ", fstype);
    if (source[0] != '\0' && sys_fsconfig(context, FSCONFIG_SET_STRING, "source", source) < 0)
        return fail_in_context(init, context, "mount source", source);
    int result = first_option != NULL ? set_option(init, context, first_option) : 0;
    for (uint32_t i = 0; result == 0 && i < options->count; i++)
        result = set_option(init, context, options->items[i]);
    if (result < 0)
        return result;
    if (sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return fail_in_context(init, context, "fsconfig", fstype);
    int mount = sys_fsmount(context, attributes);
    if (mount < 0)
        return fail_in_context(init, context, "fsmount", fstype);
    return mount;
}
