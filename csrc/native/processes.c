/* Limits, scheduling, capabilities and signals of processes, also of programs that the runtime starts. A part of
 * pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "parent.h"

int pyrunc_prlimit(int pid, int resource, uint64_t soft, uint64_t hard)
{
    const struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
    return result(prlimit(pid, (enum __rlimit_resource)resource, &limit, NULL));
}

/* The limit of open files that the caller has given to the runtime, and the raised one. */
static struct rlimit given, raised;
static bool is_raised;

/* limits: two u64, the soft limit and the hard one. */
int pyrunc_open_files(char *limits, size_t size)
{
    struct rlimit limit;
    uint64_t both[2];
    if (size != sizeof both)
        return -EINVAL;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    both[0] = limit.rlim_cur;
    both[1] = limit.rlim_max;
    memcpy(limits, both, sizeof both);
    return 0;
}

/* Raises this process's soft limit, which may not be above the hard one. */
int pyrunc_raise_open_files(uint64_t soft)
{
    if (getrlimit(RLIMIT_NOFILE, &given) < 0)
        return -errno;
    raised = (struct rlimit){.rlim_cur = soft, .rlim_max = given.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) < 0)
        return -errno;
    is_raised = true;
    return 0;
}

/* Descendants of this process whose parents have ended become its children. */
int pyrunc_subreaper(void)
{
    return result(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}

/* To be called before a program other than an init is started: it inherits only the standard streams, no other
 * descriptors of the caller, and the caller's limit of open files. */
int pyrunc_begin_spawn(void)
{
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    return is_raised && setrlimit(RLIMIT_NOFILE, &given) < 0 ? -errno : 0;
}

/* To be called after the program is started. */
int pyrunc_end_spawn(void)
{
    return is_raised && setrlimit(RLIMIT_NOFILE, &raised) < 0 ? -errno : 0;
}

/* attributes: struct sched_attr, whose first field is its size. */
int pyrunc_sched_setattr(int pid, const void *attributes)
{
    return result(syscall(SYS_sched_setattr, pid, attributes, 0));
}

/* attributes: room for a struct sched_attr. */
int pyrunc_sched_getattr(int pid, void *attributes, unsigned int size)
{
    return result(syscall(SYS_sched_getattr, pid, attributes, size, 0));
}

/* The I/O class and priority of a process, as linux/ioprio.h packs them. */
int pyrunc_ioprio_get(int pid)
{
    return result(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, pid));
}

int pyrunc_ioprio_set(int group, int level, int priority)
{
    return result(syscall(SYS_ioprio_set, IOPRIO_WHO_PGRP, group, IOPRIO_PRIO_VALUE(level, priority)));
}

/* The permitted capabilities of this process as a bit set, or a negative errno; the kernel has 41 so far. */
int64_t pyrunc_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    return (int64_t)data[1].permitted << 32 | data[0].permitted;
}

/* The number of the last capability that the kernel knows. */
int pyrunc_last_capability(void)
{
    int last = -1;
    while (prctl(PR_CAPBSET_READ, last + 1, 0, 0, 0) >= 0)
        last++;
    return last < 0 ? -errno : last;
}

/* The ABI of the kernel's Landlock (landlock_create_ruleset(2)). */
int pyrunc_landlock_abi(void)
{
    enum { CREATE_RULESET = 444, VERSION = 1 }; /* the number is the same on all machines; older headers lack both */
    return result(syscall(CREATE_RULESET, NULL, (size_t)0, VERSION));
}

/* Whether a signal is ignored in this process: 1 or 0. */
int pyrunc_signal_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) < 0 ? -errno : action.sa_handler == SIG_IGN;
}
