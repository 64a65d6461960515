/* The kernel's interface as far as the init needs it and the C library lacks it.
 *
 * musl ships no linux/ headers, and glibc's <sys/mount.h> declares some of this under the same names, so neither is
 * included: structures and constants are declared here from the kernel's documented ABI. Calls return what the kernel
 * returns, by way of syscall(2): -1 and errno on failure. */
#ifndef PYRUNC_KERNEL_H
#define PYRUNC_KERNEL_H

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Numbers from 424 on are the same on every architecture. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EACCESS
#define AT_EACCESS 0x200
#endif

/* openat2(2); a recent glibc declares it in fcntl.h */
#ifndef _LINUX_OPENAT2_H
struct open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
enum {
    RESOLVE_NO_XDEV = 0x01,
    RESOLVE_NO_MAGICLINKS = 0x02,
    RESOLVE_NO_SYMLINKS = 0x04,
    RESOLVE_BENEATH = 0x08,
    RESOLVE_IN_ROOT = 0x10,
};
#endif

/* statx(2): only the members for the root of a mount. The C library's structure may lack stx_mnt_id. */
struct kernel_statx {
    uint32_t mask;
    uint32_t unused1[7];
    uint64_t ino;
    uint64_t unused2[13];
    uint64_t mnt_id;
    uint64_t unused3[13];
};
_Static_assert(offsetof(struct kernel_statx, mnt_id) == 144, "stx_mnt_id");
_Static_assert(sizeof(struct kernel_statx) == 256, "struct statx");
enum { KERNEL_STATX_INO = 0x100, KERNEL_STATX_MNT_ID = 0x1000 };

/* the mount calls */
struct mount_attr {
    uint64_t attr_set;
    uint64_t attr_clr;
    uint64_t propagation;
    uint64_t userns_fd;
};
enum {
    MOUNT_ATTR_RDONLY = 0x01,
    MOUNT_ATTR_NOSUID = 0x02,
    MOUNT_ATTR_NODEV = 0x04,
    MOUNT_ATTR_NOEXEC = 0x08,
    MOUNT_ATTR__ATIME = 0x70,
};
enum { OPEN_TREE_CLONE = 1, OPEN_TREE_CLOEXEC = O_CLOEXEC };
enum { MOVE_MOUNT_F_EMPTY_PATH = 0x04, MOVE_MOUNT_T_EMPTY_PATH = 0x40 };
enum { FSOPEN_CLOEXEC = 1, FSMOUNT_CLOEXEC = 1 };
enum { FSCONFIG_SET_FLAG = 0, FSCONFIG_SET_STRING = 1, FSCONFIG_CMD_CREATE = 6 };
enum { MS_REC = 0x4000, MS_PRIVATE = 1 << 18, MS_SLAVE = 1 << 19 };
enum { MNT_DETACH = 2, UMOUNT_NOFOLLOW = 8 };

/* file systems' magic numbers, statfs(2) */
#define PROC_SUPER_MAGIC 0x9fa0
#define DEVPTS_SUPER_MAGIC 0x1cd1
#define NSFS_MAGIC 0x6e736673
/* the inode number of a procfs's root, linux/proc_ns.h */
#define PROC_ROOT_INO 1

/* capget(2), version 3: two 32-bit halves */
#define CAPABILITY_VERSION_3 0x20080522
struct cap_header {
    uint32_t version;
    int pid;
};
struct cap_data {
    uint32_t effective;
    uint32_t permitted;
    uint32_t inheritable;
};

/* sched_setattr(2), in the size with the utilization clamps */
struct kernel_sched_attr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
    uint32_t util_min;
    uint32_t util_max;
};
_Static_assert(sizeof(struct kernel_sched_attr) == 56, "struct sched_attr");

/* ioprio_set(2) */
enum { IOPRIO_WHO_PGRP = 2, IOPRIO_CLASS_SHIFT = 13 };

/* seccomp(2): struct sock_filter and struct sock_fprog of linux/filter.h */
#define SECCOMP_SET_MODE_FILTER 1
enum { MAX_BPF_INSTRUCTIONS = 4096 };
struct bpf_instruction {
    uint16_t code;
    uint8_t jump_true;
    uint8_t jump_false;
    uint32_t operand;
};
struct bpf_program {
    uint16_t length; /* instructions */
    const struct bpf_instruction *filter;
};

/* linux/landlock.h; a kernel that knows less of the first takes it as long as the rest is 0 */
struct landlock_ruleset {
    uint64_t handled_fs;
    uint64_t handled_net;
    uint64_t scoped;
};
struct landlock_path {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));
struct landlock_port {
    uint64_t access;
    uint64_t port;
};
enum { LANDLOCK_PATH_BENEATH = 1, LANDLOCK_NET_PORT = 2 };
_Static_assert(sizeof(struct landlock_path) == 12, "struct landlock_path_beneath_attr");

/* keyctl(2) */
enum { KEYCTL_JOIN_SESSION_KEYRING = 1, KEYCTL_SETPERM = 5, KEYCTL_DESCRIBE = 6 };
#define KEY_USR_SEARCH 0x00080000u

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

enum { KERNEL_SIGSET_SIZE = 8 }; /* bytes */

/* pty ioctls, asm-generic/ioctls.h */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

static inline int sys_openat2(int dir, const char *path, const struct open_how *how)
{
    return (int)syscall(SYS_openat2, dir, path, how, sizeof(*how));
}

static inline int sys_statx(int fd, struct kernel_statx *st)
{
    return (int)syscall(SYS_statx, fd, "", AT_EMPTY_PATH, KERNEL_STATX_INO | KERNEL_STATX_MNT_ID, st);
}

static inline int sys_open_tree(int dir, const char *path, unsigned int flags)
{
    return (int)syscall(SYS_open_tree, dir, path, flags | OPEN_TREE_CLOEXEC);
}

static inline int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned int flags)
{
    return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

static inline int sys_mount_setattr(int dir, const char *path, unsigned int flags, const struct mount_attr *attr)
{
    return (int)syscall(SYS_mount_setattr, dir, path, flags, attr, sizeof(*attr));
}

static inline int sys_fsopen(const char *fstype)
{
    return (int)syscall(SYS_fsopen, fstype, FSOPEN_CLOEXEC);
}

static inline int sys_fsconfig(int context, unsigned int command, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, context, command, key, value, 0);
}

static inline int sys_fsmount(int context, uint64_t attr)
{
    return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, (unsigned int)attr);
}

static inline int sys_umount2(const char *path, int flags)
{
    return (int)syscall(SYS_umount2, path, flags);
}

static inline int sys_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

/* The C library's function handles other threads, which the init does not have, and is ten times as large. */
static inline int sys_setgroups(size_t count, const void *groups)
{
    return (int)syscall(SYS_setgroups, count, groups);
}

static inline int sys_setresgid(gid_t gid)
{
    return (int)syscall(SYS_setresgid, gid, gid, gid);
}

static inline int sys_setresuid(uid_t uid)
{
    return (int)syscall(SYS_setresuid, uid, uid, uid);
}

/* Ends the process, also if a seccomp filter refuses exit: the C library would try forever, but the trap can't be
 * refused. */
_Noreturn static inline void sys_exit(int status)
{
    syscall(SYS_exit_group, status);
    __builtin_trap();
}

static inline pid_t sys_fork(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* Sets a signal's disposition to SIG_DFL or SIG_IGN. */
static inline int sys_signal(int signal, void (*handler)(int))
{
    /* struct sigaction of the kernel: no flags, no restorer, no mask */
    const uintptr_t action[4] = {(uintptr_t)handler};
    return (int)syscall(SYS_rt_sigaction, signal, action, NULL, KERNEL_SIGSET_SIZE);
}

static inline int64_t sys_monotonic(void)
{
    struct timespec time = {0};
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static inline int sys_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

#endif
