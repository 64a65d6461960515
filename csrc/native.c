/* The parent's system calls but the clone: descriptors over sockets, terminals. Bound by cffi as pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "parent.h"

#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

/* of umount2(2): <sys/mount.h> can't be had beside <linux/mount.h> */
enum { DETACH = 2, NO_LINK = 8 };

enum { MAX_FDS = 64, MAX_READY = 8 };

static int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

/* Opens /dev/null where a standard stream is closed, so that no descriptor of ours becomes one. Gives the number of
 * the first preserved descriptor that the caller did not leave open, or 0: what is close-on-exec is ours. */
int pyrunc_prepare_fds(int preserve_fds)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) /* the lowest free number: fd itself */
            return -errno;
    for (int count = 0; count < preserve_fds && count <= INT_MAX - 3; count++) /* 3 + preserve_fds may not be an int */
        if (fcntl(3 + count, F_GETFD) != 0)
            return 3 + count;
    return 0;
}

/* ---- files and processes ----------------------------------------------------------------------------------- */

int pyrunc_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    return result(syscall(SYS_openat2, dirfd, path, &how, sizeof how));
}

int pyrunc_open_tree(int dirfd, const char *path, unsigned int flags)
{
    return result(syscall(SYS_open_tree, dirfd, path, flags | OPEN_TREE_CLOEXEC));
}

/* struct statx as far as it tells of the mount: the C library's may be older than the kernel. */
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
    return result(syscall(SYS_move_mount, fd, "", dirfd, path, MOVE_MOUNT_F_EMPTY_PATH));
}

/* Lazily, and with the copies of it that have come into other mount namespaces. */
int pyrunc_umount(const char *path)
{
    return result(syscall(SYS_umount2, path, DETACH | NO_LINK));
}

/* Private first: a tree that holds binds of shared mounts would take what is below these from the host with it. */
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

/* A child that does nothing in a new user namespace: somebody has to be in it while its id maps are written. */
/* The child of the function below: joins the namespace, where there is one, says so, and waits to be killed. */
static _Noreturn void wait_in_user_namespace(pid_t parent, int join, int writer)
{
    /* No process in there may look into this one, which is a copy of the runtime (CVE-2016-9962). */
    int error = 0;
    if (join >= 0 && (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setns(join, CLONE_NEWUSER) < 0))
        error = errno;
    bool said = write(writer, &error, sizeof error) == (ssize_t)sizeof error;
    close(writer);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    while (said && error == 0 && getppid() == parent)
        pause();
    _exit(1);
}

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
    close_fd(&writer);
    writer = -1;
    int error = ESRCH; /* it was killed before it could say a word */
    ssize_t length;
    do
        length = read(reader, &error, sizeof error);
    while (length < 0 && errno == EINTR);
    if (error == 0)
        return (int)pid;
    while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -error;
}

int pyrunc_setns(int fd, int nstype)
{
    return result(setns(fd, nstype));
}

/* A procfs of our pid namespace that is mounted nowhere, and so hides nothing, whatever options /proc has. */
int pyrunc_procfs(void)
{
    CLEANUP_FD int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
    if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    return result(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}

int64_t pyrunc_fs_magic(int fd)
{
    struct statfs buffer;
    if (fstatfs(fd, &buffer) < 0)
        return -errno;
    return (int64_t)(uint32_t)buffer.f_type;
}

int pyrunc_namespace_type(int fd)
{
    return result(ioctl(fd, NS_GET_NSTYPE));
}

int pyrunc_flock(int fd, int exclusive, int wait)
{
    int value;
    do
        value = flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB));
    while (value < 0 && errno == EINTR);
    return result(value);
}

int pyrunc_unlock(int fd)
{
    return result(flock(fd, LOCK_UN));
}

int pyrunc_prlimit(int pid, int resource, uint64_t soft, uint64_t hard)
{
    const struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
    return result(prlimit(pid, (enum __rlimit_resource)resource, &limit, NULL));
}

/* ---- open files: our own limit, and what a program that we start gets of ours ------------------------------------- */

/* What the caller gave us, and what we have made of it; cur is the soft limit. */
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

/* Raises our own soft limit, which may not be above the hard one. */
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

/* To be called before a program is started that is no container's init: it inherits the standard streams alone, nothing
 * that the caller left open to us, and the caller's limit of open files. */
int pyrunc_begin_spawn(void)
{
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    return is_raised && setrlimit(RLIMIT_NOFILE, &given) < 0 ? -errno : 0;
}

/* And after that. */
int pyrunc_end_spawn(void)
{
    return is_raised && setrlimit(RLIMIT_NOFILE, &raised) < 0 ? -errno : 0;
}

/* attributes: struct sched_attr, whose first field is its size. */
int pyrunc_sched_setattr(int pid, const void *attributes)
{
    return result(syscall(SYS_sched_setattr, pid, attributes, 0));
}

int pyrunc_ioprio_set(int group, int level, int priority)
{
    return result(syscall(SYS_ioprio_set, IOPRIO_WHO_PGRP, group, IOPRIO_PRIO_VALUE(level, priority)));
}

int pyrunc_bpf(int command, void *attributes, unsigned int size)
{
    return result(syscall(SYS_bpf, command, attributes, size));
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

int pyrunc_pidfd_getfd(int pidfd, int fd)
{
    return result(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

/* ---- sockets ----------------------------------------------------------------------------------------------- */

int pyrunc_socketpair(int pair[2])
{
    return result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
}

/* The address of a socket at a path of any length: what does not fit is reached through its directory's descriptor. A
 * path that begins with @ is an abstract name, as in Go. Returns the address's length. */
static int socket_address(const char *path, struct sockaddr_un *address, int *directory)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length < sizeof address->sun_path) {
        memcpy(address->sun_path, path, length + 1);
        if (path[0] != '@')
            return sizeof *address;
        address->sun_path[0] = '\0';
        return (int)(offsetof(struct sockaddr_un, sun_path) + length);
    }
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash - path >= 4096)
        return -ENAMETOOLONG;
    char parent[4096];
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    *directory = open(parent[0] == '\0' ? "/" : parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*directory < 0)
        return -errno;
    int count = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *directory, slash + 1);
    if (count < 0 || (size_t)count >= sizeof address->sun_path)
        return -ENAMETOOLONG;
    return sizeof *address;
}

/* The socket's own mode, less the umask, is that of the file which bind makes: so nobody but the owner can connect to it
 * at any time, whatever umask the caller has. */
int pyrunc_listen(const char *path)
{
    struct sockaddr_un address;
    CLEANUP_FD int directory = -1;
    int length = socket_address(path, &address, &directory);
    if (length < 0)
        return length;
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, (socklen_t)length) < 0 || listen(fd, 8) < 0)
        return -errno;
    int listener = fd;
    fd = -1;
    return listener;
}

/* With a timeout, a connect that waits for room in the listener's queue and a send that waits for room in the peer's
 * buffer fail with EAGAIN after timeout_ms. EINTR is for Python: it runs the handlers. */
int pyrunc_connect(const char *path, int stream, int timeout_ms)
{
    struct sockaddr_un address;
    CLEANUP_FD int directory = -1;
    int length = socket_address(path, &address, &directory);
    if (length < 0)
        return length;
    CLEANUP_FD int fd = socket(AF_UNIX, (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    const struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    if (timeout_ms > 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, (socklen_t)length) < 0)
        return -errno;
    int connected = fd;
    fd = -1;
    return connected;
}

/* What a datagram socket hears that connects to a path: -EPROTOTYPE where a process has a socket of another type there,
 * -ECONNREFUSED where none has one. It waits for nobody, and a socket that is not of datagrams hears nothing of it:
 * unix_find_bsd() of the kernel compares the types before anything else. */
int pyrunc_ask_socket(int fd, const char *path)
{
    struct sockaddr_un address;
    CLEANUP_FD int directory = -1;
    int length = socket_address(path, &address, &directory);
    if (length < 0)
        return length;
    return result(connect(fd, (struct sockaddr *)&address, (socklen_t)length));
}

int pyrunc_datagram_socket(void)
{
    return result(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

/* A socket of rtnetlink for a network namespace, or for our own with -1. A socket belongs to the namespace that it is
 * made in, so we go there and come back. Errors come with the kernel's words, and without the request's body. */
int pyrunc_netlink(int namespace)
{
    CLEANUP_FD int own = -1;
    const int on = 1;
    if (namespace >= 0) {
        own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (own < 0 || setns(namespace, CLONE_NEWNET) < 0)
            return -errno;
    }
    CLEANUP_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    int error = fd < 0 ? -errno : 0;
    if (namespace >= 0 && setns(own, CLONE_NEWNET) < 0)
        error = -errno;
    if (error < 0)
        return error;
    if (setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on) < 0)
        return -errno;
    int made = fd;
    fd = -1;
    return made;
}

/* Receives one datagram of the kernel's (port 0); what another process has sent to the socket is passed over. More than
 * size: EMSGSIZE. */
int pyrunc_recv_netlink(int fd, char *data, size_t size)
{
    for (;;) {
        struct sockaddr_nl sender = {.nl_pid = 1};
        struct iovec part = {.iov_base = data, .iov_len = size};
        struct msghdr message = {
            .msg_name = &sender,
            .msg_namelen = sizeof sender,
            .msg_iov = &part,
            .msg_iovlen = 1,
        };
        ssize_t count = recvmsg(fd, &message, 0); /* EINTR is for Python: it runs the handlers */
        if (count < 0)
            return -errno;
        if (message.msg_namelen != sizeof sender || sender.nl_family != AF_NETLINK || sender.nl_pid != 0)
            continue;
        return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : (int)count;
    }
}

union rights {
    char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    struct cmsghdr align;
};

int pyrunc_send(int fd, const char *data, size_t length, const int *fds, int fd_count)
{
    if (fd_count > MAX_FDS)
        return -E2BIG;
    struct iovec part = {.iov_base = (char *)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union rights rights;
    if (fd_count > 0) {
        memset(&rights, 0, sizeof rights);
        message.msg_control = rights.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)fd_count);
    }
    return result(sendmsg(fd, &message, MSG_NOSIGNAL)); /* EINTR is for Python: it runs the handlers */
}

/* One send and one recv on a socket that never wait, whatever the flags of its open file description. */
int pyrunc_send_now(int fd, const char *data, size_t length)
{
    return result(send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int pyrunc_recv_now(int fd, char *data, size_t length)
{
    return result(recv(fd, data, length, MSG_DONTWAIT));
}

/* Receives one message. More descriptors than max_fds, or a message longer than size: all are closed, EMSGSIZE. */
int pyrunc_recv(int fd, char *data, size_t size, int *fds, int max_fds, int *fd_count)
{
    struct iovec part = {.iov_base = data, .iov_len = size};
    union rights rights;
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = rights.space,
        .msg_controllen = sizeof rights.space,
    };
    ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC); /* EINTR is for Python: it runs the handlers */
    if (count < 0)
        return -errno;
    bool fits = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    *fd_count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        int received = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < received; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(header) + sizeof(int) * (size_t)i, sizeof passed);
            if (*fd_count < max_fds)
                fds[(*fd_count)++] = passed;
            else {
                close(passed);
                fits = false;
            }
        }
    }
    if (fits)
        return (int)count;
    while (*fd_count > 0)
        close(fds[--*fd_count]);
    return -EMSGSIZE;
}

/* The signals of mask: bit N - 1 is signal N. libc keeps two of them to itself and refuses these. */
static void fill_signals(sigset_t *set, uint64_t mask)
{
    sigemptyset(set);
    for (int number = 1; number <= 64; number++)
        if (mask & (UINT64_C(1) << (number - 1)))
            sigaddset(set, number);
}

/* Waits until one of the first `readers` descriptors can be read, one of the others written, or one has hung up; ready
 * gets 1 for each of these. Meanwhile, and only then, the mask of signals is `blocked`, where it is not UINT64_MAX: a
 * signal that it lets in ends the wait, also where it was pending before, unless a descriptor is ready at once. */
int pyrunc_poll(const int *fds, int count, int readers, int timeout_ms, uint64_t blocked, char *ready)
{
    struct pollfd entries[MAX_FDS];
    sigset_t mask;
    if (count > MAX_FDS)
        return -E2BIG;
    for (int i = 0; i < count; i++)
        entries[i] = (struct pollfd){.fd = fds[i], .events = i < readers ? POLLIN : POLLOUT};
    fill_signals(&mask, blocked);
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
    /* EINTR is for Python: it runs the handlers */
    int value = ppoll(entries, (nfds_t)count, timeout_ms < 0 ? NULL : &timeout, blocked == UINT64_MAX ? NULL : &mask);
    if (value < 0)
        return -errno;
    for (int i = 0; i < count; i++)
        ready[i] = entries[i].revents != 0;
    return value;
}

int pyrunc_epoll(void)
{
    return result(epoll_create1(EPOLL_CLOEXEC));
}

/* Watches fd for events (EPOLL*); 0 ends the watch. */
int pyrunc_epoll_watch(int epoll, int fd, unsigned int events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (events == 0)
        return result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
    return result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

/* Waits until a watched descriptor has one of its events; ready gets these descriptors, at most `room`. */
int pyrunc_epoll_wait(int epoll, int timeout_ms, int *ready, int room)
{
    struct epoll_event events[MAX_READY];
    if (room > MAX_READY)
        return -E2BIG;
    int count = epoll_wait(epoll, events, room, timeout_ms); /* EINTR is for Python */
    for (int i = 0; i < count; i++)
        ready[i] = events[i].data.fd;
    return result(count);
}

/* A descriptor of the signals in mask (bit N - 1 is signal N), which the caller has blocked. */
int pyrunc_signalfd(uint64_t mask)
{
    sigset_t set;
    fill_signals(&set, mask);
    return result(signalfd(-1, &set, SFD_CLOEXEC));
}

/* Whether a signal is ignored in this process: 1 or 0. */
int pyrunc_signal_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) < 0 ? -errno : action.sa_handler == SIG_IGN;
}

/* ---- terminals --------------------------------------------------------------------------------------------- */

size_t pyrunc_tty_size(void)
{
    return sizeof(struct termios);
}

int pyrunc_tty_raw(int fd, char *saved, size_t size)
{
    struct termios settings;
    if (size != sizeof settings)
        return -EINVAL;
    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    memcpy(saved, &settings, sizeof settings);
    cfmakeraw(&settings);
    // Output is still processed: the pty behind it adds no carriage returns (see pyrunc_tty_no_onlcr).
    settings.c_oflag |= OPOST;
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int pyrunc_tty_no_onlcr(int fd)
{
    struct termios settings;
    if (tcgetattr(fd, &settings) < 0)
        return -errno;
    settings.c_oflag &= ~(tcflag_t)ONLCR;
    return result(tcsetattr(fd, TCSANOW, &settings));
}

int pyrunc_tty_restore(int fd, const char *saved, size_t size)
{
    struct termios settings;
    if (size != sizeof settings)
        return -EINVAL;
    memcpy(&settings, saved, sizeof settings);
    return result(tcsetattr(fd, TCSANOW, &settings));
}

/* A terminal that does not know its size (a serial line, a pty that nobody gave one) has 0 rows and 0 columns: then
 * the other one keeps its own. */
int pyrunc_copy_winsize(int from, int to)
{
    struct winsize size;
    if (ioctl(from, TIOCGWINSZ, &size) < 0)
        return -errno;
    if (size.ws_row == 0 && size.ws_col == 0)
        return 0;
    return result(ioctl(to, TIOCSWINSZ, &size));
}
