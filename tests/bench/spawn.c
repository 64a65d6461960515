/* spawn OUT CLIENTS COUNT COMMAND…: runs a command COUNT times, CLIENTS at a time, each to its end. The command gets
 * the caller's stdin; its stdout and stderr go to the file OUT. An argument's % is the run's number, from 0 on.
 *
 * Prints when the first was started and the last had ended (ns, CLOCK_MONOTONIC), the largest peak resident set (KiB),
 * the processor time of all of them and of the children that they waited for (us), the page faults of the same that
 * needed no disk, and the first exit code that is not 0.
 *
 * spawn is small and static because the kernel counts the memory that the caller had resident at execve as part of the
 * command's own peak. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGS = 64, LENGTH = 4096 };

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Put the number in place of each argument's first %; false if an argument gets too long. */
static int fill(char *words[ARGS], char text[LENGTH], int argc, char **argv, long number)
{
    size_t used = 0;
    if (argc >= ARGS)
        return 0;
    for (int i = 0; i < argc; i++) {
        const char *mark = strchr(argv[i], '%');
        words[i] = argv[i];
        if (!mark)
            continue;
        words[i] = text + used;
        int length =
            snprintf(text + used, LENGTH - used, "%.*s%ld%s", (int)(mark - argv[i]), argv[i], number, mark + 1);
        used += (size_t)length + 1;
        if (length < 0 || used > LENGTH)
            return 0;
    }
    words[argc] = NULL;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    long clients = atol(argv[2]), count = atol(argv[3]);
    int result = dup(1);
    int out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (result < 0 || out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || fcntl(result, F_SETFD, FD_CLOEXEC) < 0)
        return 3;
    static char text[LENGTH];
    char *words[ARGS];
    long started = 0, running = 0, peak = 0, faults = 0;
    long long busy = 0;
    int code = 0;
    long long start = now();
    while (running > 0 || (started < count && code == 0)) {
        if (running < clients && started < count && code == 0) {
            if (!fill(words, text, argc - 4, argv + 4, started))
                return 4;
            pid_t pid = vfork();
            if (pid == 0) {
                execv(words[0], words);
                _exit(127);
            }
            if (pid < 0)
                return 5;
            started++;
            running++;
            continue;
        }
        int status;
        struct rusage usage;
        if (wait4(-1, &status, 0, &usage) < 0) {
            if (errno == EINTR)
                continue;
            return 6;
        }
        running--;
        busy += (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec +
                usage.ru_stime.tv_usec;
        faults += usage.ru_minflt;
        if (usage.ru_maxrss > peak)
            peak = usage.ru_maxrss;
        if (code == 0)
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    dprintf(result, "%lld %lld %ld %lld %ld %d\n", start, now(), peak, busy, faults, code);
    return 0;
}
