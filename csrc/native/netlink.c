/* Sockets of rtnetlink (rtnetlink(7)). A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parent.h"

/* A socket of rtnetlink for a network namespace, or with -1 for the caller's own. A socket belongs to the namespace that
 * it is made in, so this enters the namespace and returns. Errors have the kernel's message, without the request's body.
 * */
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
    return take_fd(&fd);
}

/* Receives one datagram of the kernel (port 0). Datagrams of other processes are skipped. EMSGSIZE if it is longer than
 * size. */
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
