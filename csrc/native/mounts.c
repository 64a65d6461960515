/* Mounts, outside of the init. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "parent.h"

#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

/* of umount2(2): <sys/mount.h> can't be included with <linux/mount.h> */
enum { DETACH = 2, NO_LINK = 8 };

int pyrunc_open_tree(int dirfd, const char *path, unsigned int flags)
{
    return result(syscall(SYS_open_tree, dirfd, path, flags | OPEN_TREE_CLOEXEC));
}

/* struct statx with the members about the mount: the C library's may be older than the kernel. */
struct mount_statx {
    uint32_t mask;
    uint32_t unused1;
    uint64_t attributes;
    uint64_t unused2[16];
    uint64_t mnt_id;
    uint64_t unused3[13];
};
_Static_assert(offsetof(struct mount_statx, mnt_id) == 144, "stx_mnt_id");
_Static_assert(sizeof(struct mount_statx) == 256, "struct statx");
enum { MNT_ID = 0x1000, MNT_ID_UNIQUE = 0x4000, ATTR_MOUNT_ROOT = 0x2000 };

/* Three numbers of 64 bits: the id of the mount that a descriptor is on, as /proc/PID/mountinfo has it; the one that is
 * never used again, or 0 where the kernel has none (before 6.8); and whether the descriptor is the mount's root. */
int pyrunc_mount_id(int fd, char *found, size_t size)
{
    struct mount_statx st = {0};
    uint64_t values[3] = {0};
    if (size != sizeof values)
        return -EINVAL;
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, MNT_ID, &st) < 0)
        return -errno;
    values[0] = st.mnt_id;
    values[2] = (st.attributes & ATTR_MOUNT_ROOT) != 0;
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, MNT_ID_UNIQUE, &st) < 0)
        return -errno;
    values[1] = (st.mask & MNT_ID_UNIQUE) != 0 ? st.mnt_id : 0;
    memcpy(found, values, sizeof values);
    return 0;
}

int pyrunc_move_mount(int fd, int dirfd, const char *path)
{
    unsigned int flags = MOVE_MOUNT_F_EMPTY_PATH | (*path == '\0' ? MOVE_MOUNT_T_EMPTY_PATH : 0U);
    return result(syscall(SYS_move_mount, fd, "", dirfd, path, flags));
}

int pyrunc_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data)
{
    return result(syscall(SYS_mount, source, target, type, flags, data));
}

/* Slaves of the others: mounts made here stay here, and the host's mounts still propagate here. */
int pyrunc_private_mounts(void)
{
    const struct mount_attr attr = {.propagation = MS_SLAVE};
    if (unshare(CLONE_NEWNS) < 0)
        return -errno;
    return result(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof attr));
}

/* Lazily, with its copies in other mount namespaces. */
int pyrunc_umount(const char *path)
{
    return result(syscall(SYS_umount2, path, DETACH | NO_LINK));
}

/* Private first: otherwise the mounts below binds of shared mounts would be unmounted on the host too. */
int pyrunc_detach_tree(const char *path)
{
    const struct mount_attr attr = {.propagation = MS_PRIVATE};
    unsigned int flags = AT_RECURSIVE | AT_SYMLINK_NOFOLLOW;
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attr, sizeof attr) < 0)
        return -errno;
    return result(syscall(SYS_umount2, path, DETACH | NO_LINK));
}

int pyrunc_idmap_mount(int fd, int namespace, int recursive)
{
    const struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)namespace};
    unsigned int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0U);
    return result(syscall(SYS_mount_setattr, fd, "", flags, &attr, sizeof attr));
}

/* A detached procfs of this pid namespace, which hides nothing, independent of the options of /proc. */
int pyrunc_procfs(void)
{
    CLEANUP_FD int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
    if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    return result(
        syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}
