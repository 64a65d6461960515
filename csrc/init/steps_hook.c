/* Hooks that run in the container's namespaces: createContainer and startContainer. */
#include "common.h"

#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kernel.h"

enum {
    OUTPUT_KEPT = 1024, /* bytes kept of the end of each output; the rest is read and dropped */
    ERRORS_KEPT = 2048,
    READ_SIZE = 4096,
    MOST_READS = 64, /* at one time; 16 empty a pipe of the usual size */
    MILLISECONDS = 1000,
    NANOSECONDS = 1000000, /* in a millisecond */
};

#define CUT "\xe2\x80\xa6" /* … in UTF-8 */

/* One of the hook's outputs. */
struct capture {
    int fd;
    size_t room; /* of the text, at most ERRORS_KEPT */
    size_t length;
    bool is_cut; /* more was written than there is room for */
    char text[ERRORS_KEPT + 1];
};

/* The state for the hook's stdin: three texts, written as the pipe accepts them. */
struct state {
    int fd;
    const char *parts[3];
    size_t part;
};

struct hook {
    pid_t pid;
    int pidfd;
    struct state input;
    struct capture output;
    struct capture errors;
    int64_t started; /* in milliseconds, as of CLOCK_MONOTONIC */
};

static void end_hook(struct hook *hook)
{
    close_fd(&hook->pidfd);
    close_fd(&hook->input.fd);
    close_fd(&hook->output.fd);
    close_fd(&hook->errors.fd);
}

/* Duplicates descriptors above 2 to 0, 1 and 2. */
static bool set_stdio(int input, int output, int errors)
{
    return dup2(input, 0) >= 0 && dup2(output, 1) >= 0 && dup2(errors, 2) >= 0;
}

/* A pipe whose ends are above the standard streams. */
static int make_pipe(int ends[2])
{
    int low[2];
    if (pipe2(low, O_CLOEXEC) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 3);
    int result = ends[0] < 0 || ends[1] < 0 ? -errno : 0;
    close_fd(&low[0]);
    close_fd(&low[1]);
    return result;
}

/* The rootfs by its descriptor: a user namespace may not be able to resolve the runtime's paths. */
static bool enter_directory(const struct init *init, const char *path)
{
    if (*path == '\0')
        return true;
    return (init->root_path != NULL ? fchdir(init->root) : chdir(path)) == 0;
}

/* In the child: executes the hook, or reports the failure by `status`. */
_Noreturn static void become_hook(const struct init *init, const struct step_container_hook *step, int input,
                                  int output, int errors, int status)
{
    char *only_path[] = {(char *)step->path, NULL};
    sys_signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* no hook outlives the init */
    umask(init->umask);
    char **env = step->env.items;
    if (step->home != 0 && init->home != NULL)
        env[step->env.count] = init->home; /* the decoder left a slot free, and a NULL behind it */
    if (enter_directory(init, step->cwd) && set_stdio(input, output, errors) &&
        sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        execve(step->path, step->args.count > 0 ? step->args.items : only_path, env);
    int error = errno;
    (void)!write(status, &error, sizeof(error)); /* if that fails, only the exit status shows the error */
    sys_exit(127);
}

/* A stream that goes to a file has no pipe. */
static bool make_nonblocking(int pipe)
{
    return pipe < 0 || fcntl(pipe, F_SETFL, O_NONBLOCK) == 0;
}

/* Starts the hook. Its output goes to the files of the step, or is kept for an error. Returns when it is executed. */
static int start_hook(struct init *init, const struct step_container_hook *step, struct hook *hook)
{
    int pipes[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}; /* stdin, stdout, stderr, the execve's errno */
    int result = 0;
    const int files[4] = {-1, step->output, step->errors, -1};
    for (int i = 0; i < 4 && result == 0; i++) {
        if (files[i] < 0)
            result = make_pipe(pipes[i]);
        else if ((pipes[i][1] = fcntl(files[i], F_DUPFD_CLOEXEC, 3)) < 0)
            result = -errno;
    }
    pid_t pid = result == 0 ? sys_fork() : -1;
    if (pid == 0)
        become_hook(init, step, pipes[0][0], pipes[1][1], pipes[2][1], pipes[3][1]);
    if (result == 0 && pid < 0)
        result = -errno;
    hook->pid = pid;
    hook->input.fd = take_fd(&pipes[0][1]);
    hook->output.fd = take_fd(&pipes[1][0]);
    hook->errors.fd = take_fd(&pipes[2][0]);
    CLOSING int status = take_fd(&pipes[3][0]);
    for (int i = 0; i < 4; i++) {
        close_fd(&pipes[i][0]);
        close_fd(&pipes[i][1]);
    }
    if (result < 0)
        return fail(init, -result, "fork/exec ", step->path);

    int error = 0;
    ssize_t count;
    while ((count = read(status, &error, sizeof(error))) < 0 && errno == EINTR)
        ;
    if (count == (ssize_t)sizeof(error)) {
        waitpid(pid, NULL, 0);
        return fail(init, error, "fork/exec ", step->path);
    }
    hook->pidfd = sys_pidfd_open(pid);
    if (hook->pidfd < 0 || !make_nonblocking(hook->input.fd) || !make_nonblocking(hook->output.fd) ||
        !make_nonblocking(hook->errors.fd)) {
        error = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return fail(init, error, "watch ", step->path);
    }
    return 0;
}

/* Writes as much as the pipe accepts. A hook need not read its stdin. */
static void feed(struct state *state)
{
    while (state->part < 3) {
        const char **part = &state->parts[state->part];
        ssize_t count = **part == '\0' ? 0 : write(state->fd, *part, strlen(*part));
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (count < 0)
            break;
        *part += count;
        if (**part == '\0')
            state->part++;
    }
    close_fd(&state->fd);
}

/* Keeps the end of what was written. */
static void keep(struct capture *capture, const char *data, size_t count)
{
    if (count > capture->room) {
        data += count - capture->room;
        count = capture->room;
        capture->is_cut = true;
    }
    size_t stays = capture->room - count;
    if (capture->length > stays) {
        memmove(capture->text, capture->text + (capture->length - stays), stays);
        capture->length = stays;
        capture->is_cut = true;
    }
    memcpy(capture->text + capture->length, data, count);
    capture->length += count;
}

/* Reads the available output, with a limit: a process that the hook has left may write faster than this reads. */
static void drain(struct capture *capture)
{
    char buffer[READ_SIZE];
    for (int i = 0; i < MOST_READS && capture->fd >= 0; i++) {
        ssize_t count = read(capture->fd, buffer, sizeof(buffer));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return; /* EAGAIN: nothing more now */
        if (count == 0)
            close_fd(&capture->fd);
        else
            keep(capture, buffer, (size_t)count);
    }
}

/* The kept output as a text without trailing blanks. If more was written, it begins with a whole line, or with a whole
 * character of UTF-8 if the last line is longer than the kept part. A NUL, which would end the text, becomes a blank.
 * */
static const char *lines(struct capture *capture)
{
    char *text = capture->text;
    while (capture->length > 0 && strchr(" \t\r\n", text[capture->length - 1]) != NULL)
        capture->length--;
    for (size_t i = 0; i < capture->length; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    text[capture->length] = '\0';
    if (!capture->is_cut)
        return text;
    const char *newline = strchr(text, '\n');
    if (newline != NULL && newline[1 + strspn(newline + 1, " \t\r\n")] != '\0')
        return newline + 1;
    while (((unsigned char)*text & 0xc0) == 0x80)
        text++;
    return text;
}

static int64_t milliseconds(void)
{
    return sys_monotonic() / NANOSECONDS;
}

/* Serves the hook's streams until it ends; processes that it leaves in the background are not waited for. Returns 1 if
 * it ended in time, 0 if not, or a negative errno: the container's filter may refuse poll. `timeout` is in seconds; 0 or
 * less means none. */
static int serve_hook(struct hook *hook, int64_t timeout)
{
    int64_t deadline = timeout > 0 && timeout < INT_MAX ? milliseconds() + timeout * MILLISECONDS : INT64_MAX;
    for (;;) {
        struct pollfd fds[] = {
            {.fd = hook->pidfd, .events = POLLIN},
            {.fd = hook->input.fd, .events = POLLOUT},
            {.fd = hook->output.fd, .events = POLLIN},
            {.fd = hook->errors.fd, .events = POLLIN},
        };
        int64_t left = deadline == INT64_MAX ? -1 : deadline - milliseconds();
        if (deadline != INT64_MAX && left <= 0)
            return 0;
        if (poll(fds, 4, (int)(left < INT_MAX ? left : INT_MAX)) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (fds[1].revents != 0)
            feed(&hook->input);
        drain(&hook->output);
        drain(&hook->errors);
        if (fds[0].revents != 0)
            return 1;
    }
}

/* Seconds with three digits behind the point. */
static const char *seconds(char buffer[static DECIMAL_SIZE + 4], int64_t time)
{
    char whole[DECIMAL_SIZE];
    char thousandths[DECIMAL_SIZE];
    const char *digits = decimal(thousandths, MILLISECONDS + time % MILLISECONDS) + 1; /* with its leading zeros */
    join(buffer, DECIMAL_SIZE + 4, decimal(whole, time / MILLISECONDS), ".", digits);
    return buffer;
}

/* `REASON, stdout: …, stderr: …`, of both the end. */
static int fail_hook(struct init *init, struct hook *hook, const char *reason, const char *number, const char *rest)
{
    drain(&hook->output);
    drain(&hook->errors);
    return fail(init, FAILED, reason, number, rest, ", stdout: ", hook->output.is_cut ? CUT : "", lines(&hook->output),
                ", stderr: ", hook->errors.is_cut ? CUT : "", lines(&hook->errors));
}

/* ` after 0.012 s`, of a hook that has ended. */
static const char *after(char buffer[static DECIMAL_SIZE + 32], const struct hook *hook, bool dumped)
{
    char time[DECIMAL_SIZE + 4];
    join(buffer, DECIMAL_SIZE + 32, dumped ? " (core dumped)" : "", " after ",
         seconds(time, milliseconds() - hook->started), " s");
    return buffer;
}

static int run_hook(struct init *init, const struct step_container_hook *step, struct hook *hook)
{
    char number[DECIMAL_SIZE];
    char rest[DECIMAL_SIZE + 32];
    hook->started = milliseconds();
    int result = start_hook(init, step, hook);
    if (result < 0)
        return result;
    int ended = serve_hook(hook, step->timeout);
    if (ended <= 0)
        kill(hook->pid, SIGKILL);
    int status;
    pid_t pid;
    while ((pid = waitpid(hook->pid, &status, 0)) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return fail(init, errno, "wait for ", step->path);
    if (ended < 0)
        return fail(init, -ended, "poll while ", step->path, " runs");
    if (ended == 0)
        return fail_hook(init, hook, "hook ran past specified timeout of ", decimal(number, step->timeout), ".0s");
    if (WIFSIGNALED(status))
        return fail_hook(init, hook, "killed by signal ", decimal(number, WTERMSIG(status)),
                         after(rest, hook, WCOREDUMP(status)));
    if (WEXITSTATUS(status) != 0)
        return fail_hook(init, hook, "exit status ", decimal(number, WEXITSTATUS(status)), after(rest, hook, false));
    return 0;
}

int step_container_hook(struct init *init, const struct step_container_hook *step)
{
    char pid[DECIMAL_SIZE];
    struct hook hook __attribute__((cleanup(end_hook))) = {
        .pidfd = -1,
        .input = {.fd = -1, .parts = {step->state_head, decimal(pid, getpid()), step->state_tail}},
        .output = {.fd = -1, .room = OUTPUT_KEPT},
        .errors = {.fd = -1, .room = ERRORS_KEPT},
    };
    sys_signal(SIGPIPE, SIG_IGN);
    int result = run_hook(init, step, &hook);
    sys_signal(SIGPIPE, SIG_DFL);
    return result;
}
