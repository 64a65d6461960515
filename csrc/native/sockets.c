/* Unix sockets, and descriptors over them (unix(7)). A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "parent.h"

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

/* The socket's mode minus the umask is the mode of the file that bind makes: nobody but the owner can connect at any
 * time, with any umask of the caller. */
int pyrunc_listen(const char *path)
{
    struct sockaddr_un address;
    CLEANUP_FD int directory = -1;
    int length = socket_address(path, &address, &directory);
    if (length < 0)
        return length;
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, (socklen_t)length) < 0 ||
        listen(fd, 8) < 0)
        return -errno;
    return take_fd(&fd);
}

/* With a timeout, a connect that waits for room in the listener's queue, and a send that waits for room in the peer's
 * buffer, fail with EAGAIN after timeout_ms. Python handles EINTR: it runs the signal handlers. */
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
    return take_fd(&fd);
}

/* The process that last called listen(2) on the socket at the other end, 0 if it is in no pid namespace of this one. */
int pyrunc_peer(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ? -errno : peer.pid;
}

int pyrunc_datagram_socket(void)
{
    return result(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

/* The result of a datagram socket's connect to a path: -EPROTOTYPE if a process has a socket of another type there,
 * -ECONNREFUSED if none has one. It does not wait, and a socket of another type does not notice it: the kernel's
 * unix_find_bsd() compares the types first. */
int pyrunc_ask_socket(int fd, const char *path)
{
    struct sockaddr_un address;
    CLEANUP_FD int directory = -1;
    int length = socket_address(path, &address, &directory);
    if (length < 0)
        return length;
    return result(connect(fd, (struct sockaddr *)&address, (socklen_t)length));
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

/* A send and a recv that never wait, with any flags of the open file description. */
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
