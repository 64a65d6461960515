/* The init's start, its loop over the plan, and its end.
 *
 * Run as `pyrunc:[init] SYNC PLAN` with two descriptor numbers: the socket to the runtime and the memfd with the plan
 * (docs/architecture.md describes both). */
#define STEPS_DISPATCH
#include "common.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "join.h"
#include "kernel.h"

#define NAME "pyrunc:[init]"

enum {
    NO_STEP = -1, /* the step number of an error before the first step */
    SIGNALS = 64,
    QUEUE = 8, /* connections that wait until the init accepts them */
};

/* Ends the init with what its step recorded. */
_Noreturn static void end_with_error(const struct init *init, uint32_t step, int error)
{
    /* if that fails, only the exit shows the error */
    (void)send_message(init, MESSAGE_ERROR, step, error == FAILED ? 0 : error, init->detail, init->detail_length, -1);
    if (init->was_started && step < init->plan->step_count && init->plan->steps[step].kind == STEP_EXECUTE)
        write_not_executed(init, error);
    sys_exit(1);
}

/* Default signal dispositions and an empty mask: otherwise the container's program would inherit those of the caller.
 * */
static void reset_signals(void)
{
    const uint64_t mask = 0;
    for (int signal = 1; signal <= SIGNALS; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            sys_signal(signal, SIG_DFL);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_SIGSET_SIZE);
}

static int close_on_exec(int fd, void *data)
{
    (void)data;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? errno : 0;
}

/* The runtime made the start socket. listen(2) makes the init its owner for those who connect (unix(7), SO_PEERCRED), by
 * which `start` knows it. It comes before any step, since the container's filter may refuse the call. */
static int own_start_socket(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct step_await_start *step = plan->steps[i].fields;
        if (plan->steps[i].kind == STEP_AWAIT_START && step->listener >= 0 && listen(step->listener, QUEUE) < 0)
            return errno;
    }
    return 0;
}

static int refuse_plan(struct init *init, int error, const char *why)
{
    return fail(init, error, "the launch plan is refused: ", why);
}

/* Maps and decodes the plan. The descriptor is closed; the mapping stays. */
static int load_plan(struct init *init, struct plan *plan, int fd, uint64_t (**times)[2])
{
    CLOSING int file = fd;
    struct stat st;
    if (fstat(file, &st) < 0)
        return refuse_plan(init, errno, "fstat");
    if (st.st_size <= 0 || st.st_size > MAX_PLAN_SIZE)
        return refuse_plan(init, EFBIG, "its size");
    size_t size = (size_t)st.st_size;
    const char *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED)
        return refuse_plan(init, errno, "mmap");

    int result = plan_header(plan, data, size);
    if (result < 0)
        return refuse_plan(init, -result, "its header");
    void *arena = mmap(NULL, plan_arena_size(plan) + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED)
        return refuse_plan(init, errno, "mmap");
    result = plan_decode(plan, arena);
    if (result < 0) {
        char buffer[DECIMAL_SIZE];
        return fail(init, -result, "the launch plan is refused at byte ", decimal(buffer, (int64_t)plan->at));
    }

    if (plan->timeline) {
        char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared == MAP_FAILED)
            return refuse_plan(init, errno, "mmap of the timeline");
        *times = (uint64_t (*)[2])(void *)(shared + ((plan->at + 7) & ~(size_t)7));
    }
#ifndef PYRUNC_FAULTS
    if (plan->fault_step >= 0 || plan->fault != FAULT_NONE)
        return refuse_plan(init, EINVAL, "this init injects no faults");
#endif
    /* the runtime's clone passes them without the flag */
    result = plan_each_fd(plan, close_on_exec, NULL);
    if (result == 0)
        result = own_start_socket(plan);
    return result == 0 ? 0 : refuse_plan(init, result, "one of its descriptors");
}

static int run_step(struct init *init, const struct step *step)
{
#ifdef PYRUNC_FAULTS
    if (init->plan->fault_step == (int)init->current) {
        if (init->plan->fault == FAULT_STOP) {
            kill(getpid(), SIGSTOP);
            while (getpid() == 1) /* the first process of a pid namespace can't stop itself */
                pause();
        }
        if (init->plan->fault == FAULT_FAIL)
            return fail(init, EIO, "injected fault");
    }
#endif
    return dispatch(init, (enum step_kind)step->kind, step->fields);
}

static bool is_expected(const struct step *step, int error)
{
    for (uint32_t i = 0; i < step->errno_count; i++)
        if (step->errnos[i] == error)
            return true;
    return false;
}

/* Carries out the plan. A step of fallback level n > 0 runs only if an earlier step of level n - 1 failed with one of
 * its errnos. If it succeeds, that failure no longer counts. Other steps may be between the two. Any other failure ends
 * the init. */
static void run_plan(struct init *init, uint64_t (*times)[2])
{
    bool failed[MAX_FALLBACK_LEVEL + 1] = {false};
    for (uint32_t i = 0; i < init->plan->step_count; i++) {
        const struct step *step = &init->plan->steps[i];
        if (step->fallback_level > 0) {
            if (!failed[step->fallback_level - 1])
                continue;
            failed[step->fallback_level - 1] = false;
        }
        init->current = i;
        if (i == init->plan->step_count - 1 && memchr(failed, true, sizeof(failed)) != NULL) {
            fail(init, FAILED, "a step before it failed, and no alternative made up for that");
            end_with_error(init, i, FAILED);
        }
        if (times != NULL)
            times[i][0] = (uint64_t)sys_monotonic();
        int error = -run_step(init, step);
        if (times != NULL)
            times[i][1] = (uint64_t)sys_monotonic();
        if (error == 0)
            continue;
        if (!is_expected(step, error))
            end_with_error(init, i, error);
        failed[step->fallback_level] = true;
    }
}

static int parse_fd(const char *text)
{
    uint64_t fd;
    return parse_decimal(text, INT_MAX, &fd) ? (int)fd : -1;
}

int main(int argc, char **argv)
{
    static struct init init;
    static struct plan plan;
    uint64_t (*times)[2] = NULL;

    init.sync = argc == 3 ? parse_fd(argv[1]) : -1;
    if (init.sync < 0 || close_on_exec(init.sync, NULL) != 0)
        return 1; /* not run by pyrunc: there is no socket for an error */
    join_namespaces();
    init.proc = init.root = init.null = init.mask = init.master = init.slave = init.listener = init.landlock = -1;
    for (int i = 0; i < REGISTERS; i++)
        init.kept[i] = -1;
    init.plan = &plan;
    init.detail = kept_texts;

    reset_signals();
    prctl(PR_SET_NAME, NAME, 0, 0, 0);
    /* until the container is ready, the init dies with the runtime */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    init.umask = umask(0);
    proc_open(&init);

    int result = load_plan(&init, &plan, parse_fd(argv[2]), &times);
    if (result < 0)
        end_with_error(&init, (uint32_t)NO_STEP, -result);
    run_plan(&init, times);
    fail(&init, FAILED, "the launch plan ends without a program to execute");
    end_with_error(&init, plan.step_count, FAILED);
}
