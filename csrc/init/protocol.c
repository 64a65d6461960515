/* The protocol between init and runtime: messages over the sync socket, and the wait for `start`. */
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common.h"
#include "kernel.h"

struct message_header {
    uint32_t type;
    uint32_t step;
    int32_t error;
    uint32_t length;
};

/* Sends one message, with a descriptor unless fd is -1; -1 with errno on failure, for example without memory. It is
 * tried once: the init handles no signals, so an EINTR comes from a seccomp filter, and would repeat forever. */
int send_message(const struct init *init, enum message type, uint32_t step, int error, const char *detail,
                 size_t length, int fd)
{
    struct message_header header = {.type = type, .step = step, .error = error, .length = (uint32_t)length};
    struct iovec parts[] = {{&header, sizeof(header)}, {(void *)detail, length}};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof(int));
    }
    return sendmsg(init->sync, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Waits for the runtime's `A`. If the runtime is gone, the init ends. */
static int await_answer(struct init *init)
{
    char byte;
    ssize_t count = recv(init->sync, &byte, 1, 0);
    if (count < 0)
        return fail(init, errno, "recv from the runtime");
    if (count == 0 || byte != 'A')
        sys_exit(1);
    return 0;
}

/* Sends a message and waits for the answer. If it can't be sent, the step fails: each side would wait for the other. */
int ask(struct init *init, enum message type, const char *what, int fd)
{
    if (send_message(init, type, init->current, 0, what, strlen(what), fd) < 0)
        return fail(init, errno, "sendmsg to the runtime");
    return await_answer(init);
}

/* Announces an effect to a supervising runtime before it is made (`what`, then `/` and a name if there is one), with
 * the descriptor of the effect, and waits for the answer. */
int announce(struct init *init, const char *what, const char *name, int fd)
{
    char text[NAME_MAX + 32];
    if (!init->supervised)
        return 0;
    if (!join(text, sizeof(text), what, name[0] != '\0' ? "/" : "", name))
        return fail(init, ENAMETOOLONG, name);
    return ask(init, MESSAGE_REQUEST, text, fd);
}

int step_end(struct init *init, const struct step_end *step)
{
    (void)init;
    (void)step;
    sys_exit(0);
}

int step_request(struct init *init, const struct step_request *step)
{
    return ask(init, MESSAGE_REQUEST, step->what, -1);
}

int step_ready(struct init *init, const struct step_ready *step)
{
    (void)step;
    /* from here on the container outlives its command */
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_SET_PDEATHSIG)");
    return ask(init, MESSAGE_READY, "", -1);
}

int step_send_console(struct init *init, const struct step_send_console *step)
{
    (void)step;
    if (init->master < 0)
        return fail(init, FAILED, "there is no pty to send");
    int result = ask(init, MESSAGE_REQUEST, "send_console", init->master);
    close_fd(&init->master);
    return result;
}

/* The descriptors for the steps after the wait: the listener, the Landlock ruleset, and the files to which
 * startContainer hooks write. */
struct needed {
    const struct init *init;
    int listener;
};

static bool is_needed(const struct needed *needed, int fd)
{
    const struct plan *plan = needed->init->plan;
    for (uint32_t i = needed->init->current; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        const struct step_container_hook *hook = step->kind == STEP_CONTAINER_HOOK ? step->fields : NULL;
        if (hook != NULL && (hook->output == fd || hook->errors == fd))
            return true;
    }
    /* close_sources has closed descriptors of the plan, and the ruleset may have got the number of one */
    return fd == needed->listener || fd == needed->init->landlock;
}

static int close_other(int fd, void *needed)
{
    if (!is_needed(needed, fd))
        close(fd);
    return 0;
}

/* Closes all descriptors but those of is_needed: a waiting container should hold nothing of the host. The sync socket is
 * the last: its end tells the runtime that the init waits. */
static void close_for_wait(struct init *init, int listener)
{
    close_fd(&init->proc);
    close_fd(&init->root);
    close_fd(&init->null);
    close_fd(&init->mask);
    close_fd(&init->master);
    close_fd(&init->slave);
    close_fd(&init->listener); /* only the agent keeps one: when it ends, calls fail instead of waiting */
    for (int i = 0; i < REGISTERS; i++)
        close_fd(&init->kept[i]);
    struct needed needed = {init, listener};
    plan_each_fd(init->plan, close_other, &needed);
    close_fd(&init->sync);
}

/* Connections without a message yet. One that stays silent, or was killed, does not delay others. If there are too
 * many, the oldest is closed. */
enum { PEERS = 8 };

struct peers {
    int fds[PEERS];
    int count;
};

static int take_peer(struct peers *peers, int index)
{
    int fd = peers->fds[index];
    peers->count--;
    for (int i = index; i < peers->count; i++)
        peers->fds[i] = peers->fds[i + 1];
    return fd;
}

/* Whether the peer's message is the start: a single `S`. */
static bool is_start(int fd)
{
    char word[2];
    return recv(fd, word, sizeof(word), 0) == 1 && word[0] == 'S';
}

/* Waits for a message of a peer, or a new connection. Returns the connection that sent `S`, or -1 for none yet. */
static int await_peer(struct peers *peers, int listener, bool *comes)
{
    struct pollfd watched[PEERS + 1] = {{.fd = listener, .events = POLLIN}};
    for (int i = 0; i < peers->count; i++)
        watched[i + 1] = (struct pollfd){.fd = peers->fds[i], .events = POLLIN};
    if (poll(watched, (nfds_t)peers->count + 1, -1) < 0) {
        if (errno == EINTR)
            return -1;
        watched[1].revents = POLLIN; /* the container's filter refuses the call: serve one connection at a time */
    }
    *comes = watched[0].revents != 0;
    for (int i = peers->count - 1; i >= 0; i--) {
        if (watched[i + 1].revents == 0)
            continue;
        int fd = take_peer(peers, i);
        if (is_start(fd))
            return fd;
        close(fd);
    }
    return -1;
}

int step_await_start(struct init *init, const struct step_await_start *step)
{
    struct peers peers = {.count = 0};
    int starter = -1;
    if (step->listener < 0)
        return 0;
    close_for_wait(init, step->listener);
    while (starter < 0) {
        bool comes = true;
        if (peers.count > 0)
            starter = await_peer(&peers, step->listener, &comes);
        if (starter >= 0 || !comes)
            continue;
        CLOSING int connection = accept4(step->listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0 && errno != EINTR && errno != ECONNABORTED)
            return fail(init, errno, "accept");
        if (connection < 0)
            continue;
        if (peers.count == PEERS)
            close(take_peer(&peers, 0));
        peers.fds[peers.count++] = take_fd(&connection);
    }
    while (peers.count > 0)
        close(take_peer(&peers, 0));
    init->sync = starter;
    init->was_started = true;
    close(step->listener);
    return 0;
}
