/* Namespaces: to make a user namespace, to enter one, to ask for its type. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parent.h"

/* The child of the function below: joins the namespace `join`, unless that is -1, reports the result, and waits to be
 * killed. */
static _Noreturn void wait_in_user_namespace(pid_t parent, int join, int writer)
{
    /* No process of that namespace may inspect this one, which is a copy of the runtime (CVE-2016-9962). */
    int error = 0;
    if (join >= 0 && (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setns(join, CLONE_NEWUSER) < 0))
        error = errno;
    bool reported = write(writer, &error, sizeof error) == (ssize_t)sizeof error;
    close(writer);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    while (reported && error == 0 && getppid() == parent)
        pause();
    _exit(1);
}

/* A child that does nothing in a user namespace: the namespace needs a process while its id maps are written. */
int pyrunc_fork_user_namespace(int join)
{
    const pid_t parent = getpid();
    const struct clone_args args = {.flags = join < 0 ? CLONE_NEWUSER : 0, .exit_signal = SIGCHLD};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    CLEANUP_FD int reader = ends[0];
    CLEANUP_FD int writer = ends[1];
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        wait_in_user_namespace(parent, join, writer);
    if (pid < 0)
        return -errno;
    close(take_fd(&writer));
    int error = ESRCH; /* if it was killed before its report */
    ssize_t length;
    do
        length = read(reader, &error, sizeof error);
    while (length < 0 && errno == EINTR);
    if (length == (ssize_t)sizeof error && error == 0)
        return (int)pid;
    kill((pid_t)pid, SIGKILL);
    while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -error;
}

int pyrunc_setns(int fd, int nstype)
{
    return result(setns(fd, nstype));
}

int pyrunc_namespace_type(int fd)
{
    return result(ioctl(fd, NS_GET_NSTYPE));
}
