/* Cloning the init into its namespaces and its cgroup. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../init/join.h"
#include "parent.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

enum { STACK_SIZE = 32768, MAX_ARGS = 16 };

/* What the parent and the child share until the exec. */
struct shared {
    struct pyrunc_clone *spawn; /* read by the child; the results go to the fields below */
    char *argv[MAX_ARGS + 1];
    int report; /* where the stage that joins namespaces reports to; -1 without */
    char join[512]; /* the environment variable that asks for that stage */
    int network;       /* the network namespace that was made ahead (ahead.c), which the child joins; -1 without */
    bool joins_here;   /* the child joins its namespaces before the exec */
    int procs;         /* the cgroup.procs to which the child writes itself; -1 if it is cloned into its cgroup */
    int begun;         /* the child has carried out its first instruction */
    int error;
    int failed_call;
    int failed_index;
    int pid;
    int pidfd;
    _Alignas(16) char stack[STACK_SIZE];
};

static int fail(struct shared *shared, int call, int index)
{
    shared->error = errno;
    shared->failed_call = call;
    shared->failed_index = index;
    return 127;
}

/* Keeps the capabilities in the user namespace through the exec. No id is mapped before the init runs, so it is not
 * root there, and only ambient capabilities survive the exec of another user (capabilities(7)). The init's become_root
 * empties these sets again. */
static int keep_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &header, data) < 0)
        return -1;
    for (int bit = 0; bit < 32 * _LINUX_CAPABILITY_U32S_3; bit++)
        if ((data[bit / 32].permitted >> bit % 32 & 1) != 0 &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0) < 0)
            return -1;
    return 0;
}

/* The init between clone and exec changes only its own descriptor table. Signals stay blocked, so no handler of the
 * parent runs in the shared memory. The init's program sets the mask and the dispositions. */
static int init_child(void *data)
{
    struct shared *shared = data;
    const struct pyrunc_clone *spawn = shared->spawn;

    shared->begun = 1;
    if (shared->procs >= 0 && write(shared->procs, "0", 1) != 1) /* 0 stands for the writer (cgroups(7)) */
        return fail(shared, PYRUNC_CGROUP_PROCS, 0);

    if (shared->network >= 0 && setns(shared->network, CLONE_NEWNET) < 0)
        return fail(shared, PYRUNC_CLONE3, 0);
    for (int i = 0; shared->joins_here && i < spawn->join_count; i++)
        if (setns(spawn->join_fds[i], spawn->join_types[i]) < 0)
            return fail(shared, PYRUNC_SETNS, i);

    /* CVE-2024-21626: no descriptor of the caller reaches the container unless it was requested. */
    if (syscall(SYS_close_range, 3U + (unsigned int)spawn->preserve_fds, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return fail(shared, PYRUNC_CLOSE_RANGE, 0);
    for (int i = 0; i < spawn->inherit_count; i++)
        if (fcntl(spawn->inherit_fds[i], F_SETFD, 0) < 0)
            return fail(shared, PYRUNC_FCNTL, i);

    for (int i = 0; !shared->joins_here && i < spawn->join_count; i++)
        if (fcntl(spawn->join_fds[i], F_SETFD, 0) < 0)
            return fail(shared, PYRUNC_FCNTL, i);
    if (shared->report >= 0 && fcntl(shared->report, F_SETFD, 0) < 0)
        return fail(shared, PYRUNC_FCNTL, 0);

    if (spawn->join_count == 0 && (spawn->flags & CLONE_NEWUSER) != 0 && keep_capabilities() < 0)
        return fail(shared, PYRUNC_CAPSET, 0);

    char *const environment[] = {shared->report >= 0 ? shared->join : NULL, NULL};
    syscall(SYS_execveat, spawn->image_fd, "", shared->argv, environment, AT_EMPTY_PATH);
    return fail(shared, PYRUNC_EXECVEAT, 0);
}

static void reap(int pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void clone_child(struct shared *shared, uint64_t flags)
{
    const struct pyrunc_clone *spawn = shared->spawn;
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | flags,
        .pidfd = (uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)shared->stack,
        .stack_size = STACK_SIZE,
    };
    if (spawn->cgroup_fd >= 0 && shared->procs < 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)spawn->cgroup_fd;
    }
    long pid = clone_on_stack(&args, init_child, shared);
    if (pid < 0) {
        fail(shared, PYRUNC_CLONE3, 0);
        return;
    }
    shared->pid = (int)pid;
    shared->pidfd = pidfd;
    if (shared->begun)
        return;
    close(pidfd);
    reap((int)pid);
    shared->pid = shared->pidfd = -1;
}

/* Clones the child into its cgroup. Since Linux 6.14 the kernel compares the counter of writes to cgroup.kill of the
 * parent's cgroup, read when the clone begins, with that of the new cgroup (cgroup_css_set_fork() and
 * cgroup_post_fork()), and kills the child before its first instruction if they differ. Then the child is cloned into
 * the parent's cgroup, and moves before it does anything else. */
static void clone_into_cgroup(struct shared *shared, uint64_t flags)
{
    clone_child(shared, flags);
    if (shared->error == 0 && !shared->begun && shared->spawn->cgroup_fd >= 0) {
        CLEANUP_FD int procs = openat(shared->spawn->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (procs < 0) {
            fail(shared, PYRUNC_CGROUP_PROCS, 0);
            return;
        }
        shared->procs = procs;
        clone_child(shared, flags);
    }
    if (shared->error == 0 && !shared->begun) {
        errno = ESRCH;
        fail(shared, PYRUNC_KILLED, 0);
    }
}

/* Writes the environment variable of the stage that joins; false if there is no room. */
static bool tell_joins(struct shared *shared)
{
    const struct pyrunc_clone *spawn = shared->spawn;
    int length = snprintf(shared->join, sizeof shared->join, JOIN_VARIABLE "%d %llu", shared->report,
                          (unsigned long long)spawn->flags);
    for (int i = 0; i < spawn->join_count && length < (int)sizeof shared->join; i++)
        length += snprintf(shared->join + length, sizeof shared->join - (size_t)length, " %d %d", spawn->join_fds[i],
                           spawn->join_types[i]);
    return length < (int)sizeof shared->join;
}

/* The process that is cloned here joins the namespaces, makes a copy of itself in them, which is a child of the
 * runtime, reports its pid, and ends (join.c). It is cloned into the cgroup: after it has joined the cgroup namespace,
 * the runtime's cgroup is outside of that, and if the hierarchy is mounted with nsdelegate, no process may move in from
 * there (cgroups(7)). */
static int clone_and_join(struct shared *shared)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail(shared, PYRUNC_CLONE3, 0);
    CLEANUP_FD int reader = ends[0];
    shared->report = ends[1];
    if (!tell_joins(shared)) {
        errno = E2BIG;
        fail(shared, PYRUNC_CLONE3, 0);
    }
    if (shared->error == 0)
        clone_into_cgroup(shared, 0);
    close(shared->report);
    if (shared->pid < 0 || shared->error != 0)
        return 0; /* pyrunc_clone_init cleans up */
    struct join_report report;
    ssize_t count;
    do
        count = read(reader, &report, sizeof report);
    while (count < 0 && errno == EINTR);
    reap(shared->pid);
    close(shared->pidfd);
    shared->pid = shared->pidfd = -1;
    errno = ESRCH;
    if (count != (ssize_t)sizeof report)
        return fail(shared, PYRUNC_KILLED, 0);
    errno = report.error;
    if (report.error != 0)
        return fail(shared, report.call, report.index);
    shared->pid = report.pid;
    shared->pidfd = (int)syscall(SYS_pidfd_open, report.pid, 0); /* close-on-exec, and the child is not reaped yet */
    return shared->pidfd < 0 ? fail(shared, PYRUNC_CLONE3, 0) : 0;
}

/* Whether the child that shares the runtime's memory may join all of its namespaces. In these three no process can
 * look into it: for that it would have to be in its pid namespace, or to have capabilities in its user namespace, which
 * is the runtime's. */
static bool may_join_here(const struct pyrunc_clone *spawn)
{
    for (int i = 0; i < spawn->join_count; i++)
        if ((spawn->join_types[i] & ~(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)) != 0)
            return false;
    return (spawn->flags & CLONE_NEWUSER) == 0;
}

int pyrunc_clone_init(struct pyrunc_clone *spawn)
{
    if (spawn->arg_count > MAX_ARGS || spawn->join_count > MAX_JOINS)
        return -E2BIG;

    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (shared == MAP_FAILED)
        return -errno;
    shared->spawn = spawn;
    shared->pid = shared->pidfd = shared->report = shared->procs = shared->network = -1;
    const char *arg = spawn->args;
    for (int i = 0; i < spawn->arg_count; i++, arg += strlen(arg) + 1)
        shared->argv[i] = (char *)arg;

    CLEANUP_FD int network = pyrunc_take_network();
    uint64_t flags = spawn->flags;
    /* It belongs to the runtime's user namespace. */
    if (network >= 0 && spawn->join_count == 0 && (flags & CLONE_NEWNET) != 0 && (flags & CLONE_NEWUSER) == 0) {
        shared->network = network;
        flags &= ~(uint64_t)CLONE_NEWNET;
    }

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    shared->joins_here = may_join_here(spawn);
    if (!shared->joins_here && spawn->join_count > 0)
        clone_and_join(shared);
    else
        clone_into_cgroup(shared, flags);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    int error = shared->error;
    spawn->pid = shared->pid;
    spawn->pidfd = shared->pidfd;
    spawn->failed_call = shared->failed_call;
    spawn->failed_index = shared->failed_index;
    munmap(shared, sizeof *shared);
    if (error != 0 && spawn->pid > 0) {
        kill(spawn->pid, SIGKILL); /* an init that has joined its namespaces would wait for answers of its plan */
        if (spawn->pidfd >= 0)
            close(spawn->pidfd);
        reap(spawn->pid);
    }
    return -error;
}
