/* The steps that map and load the seccomp filter. */
#include "common.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kernel.h"

/* The filter is an array of struct sock_filter. It is read only when it is loaded: a waiting container has no pages of
 * it. */
int step_map_seccomp(struct init *init, const struct step_map_seccomp *step)
{
    struct stat st;
    if (fstat(step->filter, &st) < 0)
        return fail(init, errno, "stat of the seccomp filter");
    size_t size = (size_t)st.st_size;
    size_t count = size / sizeof(struct bpf_instruction);
    if (count == 0 || count > MAX_BPF_INSTRUCTIONS || size % sizeof(struct bpf_instruction) != 0)
        return fail(init, EINVAL, "the seccomp filter's size");
    const void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, step->filter, 0);
    if (data == MAP_FAILED)
        return fail(init, errno, "mmap of the seccomp filter");
    init->filter = data;
    init->filter_length = (uint16_t)count;
    return 0;
}

/* Tells the runtime the descriptor of the listener in advance: after the load each call may wait for the agent, to
 * which the runtime still has to send the listener. A new descriptor gets the lowest free number. */
static int announce_listener(struct init *init)
{
    char number[DECIMAL_SIZE];
    int lowest = fcntl(init->sync, F_DUPFD_CLOEXEC, 0);
    if (lowest < 0)
        return fail(init, errno, "fcntl");
    const char *text = decimal(number, lowest);
    close(lowest); /* before the runtime could take it for the listener */
    if (send_message(init, MESSAGE_LISTENER, init->current, 0, text, strlen(text), -1) < 0)
        return fail(init, errno, "sendmsg to the runtime");
    return 0;
}

int step_seccomp(struct init *init, const struct step_seccomp *step)
{
    if (init->filter == NULL)
        return fail(init, FAILED, "there is no seccomp filter to load");
    const struct bpf_program program = {.length = init->filter_length, .filter = init->filter};
    int result = step->notify ? announce_listener(init) : 0;
    if (result < 0)
        return result;
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, step->flags, &program);
    if (listener < 0)
        return fail(init, errno, "error loading seccomp filter");
    if (step->notify)
        init->listener = (int)listener;
    return 0;
}
