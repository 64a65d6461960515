/* System calls of the broker (pyrunc/libcontainer/broker). A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

#include "parent.h"

/* The smallest page: no part of the transfer crosses from a readable page into an unreadable one. */
enum { PAGE = 4096, MAX_PARTS = 3 };

/* Up to `size` bytes, 8 KiB at most, of another process's memory, as far as it is readable. Returns their number. */
int pyrunc_read_process(int pid, uint64_t address, char *data, size_t size)
{
    struct iovec remote[MAX_PARTS];
    struct iovec local = {.iov_base = data, .iov_len = size};
    unsigned long parts = 0;
    if (size == 0 || size > (size_t)(MAX_PARTS - 1) * PAGE || address > UINT64_MAX - size)
        return -EFAULT;
    /* Counted by what is left: the end of the highest page is beyond the largest address. */
    for (size_t left = size; left > 0 && parts < MAX_PARTS; parts++) {
        size_t length = (size_t)(PAGE - address % PAGE);
        if (length > left)
            length = left;
        remote[parts] = (struct iovec){.iov_base = (void *)(uintptr_t)address, .iov_len = length};
        address += length;
        left -= length;
    }
    return result(process_vm_readv(pid, &local, 1, remote, parts, 0));
}

int pyrunc_connect_to(int fd, const char *address, size_t size)
{
    return result(syscall(SYS_connect, fd, address, size));
}

int pyrunc_bind_to(int fd, const char *address, size_t size)
{
    return result(syscall(SYS_bind, fd, address, size));
}

/* Before a change of the user: the permitted capabilities stay. */
int pyrunc_keep_capabilities(void)
{
    return result(prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L));
}

/* After a change of the user, which undoes both: no process of the container may look at this one (ptrace(2)), although
 * it enters the container's namespaces, and it ends with its parent. */
int pyrunc_protect_worker(void)
{
    if (prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L) < 0)
        return -errno;
    return result(prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L));
}

/* The effective capabilities become those of the mask that are permitted. None is inheritable. */
int pyrunc_set_effective(uint64_t mask)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &header, sets) < 0)
        return -errno;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        sets[i].effective = sets[i].permitted & (uint32_t)(mask >> (32 * i));
        sets[i].inheritable = 0;
    }
    return result(syscall(SYS_capset, &header, sets));
}

int pyrunc_sysinfo(char *data, size_t size)
{
    struct sysinfo info = {0};
    if (size != sizeof info)
        return -EINVAL;
    if (sysinfo(&info) < 0)
        return -errno;
    memcpy(data, &info, sizeof info);
    return 0;
}

int pyrunc_fsopen(const char *type)
{
    return result(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}

int pyrunc_fs_set(int fd, const char *key, const char *value)
{
    return result(syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, key, value, 0));
}

int pyrunc_fs_set_flag(int fd, const char *key)
{
    return result(syscall(SYS_fsconfig, fd, FSCONFIG_SET_FLAG, key, NULL, 0));
}

int pyrunc_fs_create(int fd)
{
    return result(syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
}

/* attributes: MOUNT_ATTR_* */
int pyrunc_fsmount(int fd, unsigned int attributes)
{
    return result(syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes));
}
