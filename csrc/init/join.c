/* Joining namespaces, for `exec`, and for `create` with a namespace's path. A process of the container with
 * CAP_SYS_PTRACE can inspect every process in its pid namespace, dumpable or not. So no process with the runtime's
 * memory or program may be in there (CVE-2016-9962, CVE-2019-5736): the init is executed outside, from its sealed
 * memfd, and joins the namespaces itself. The process in the pid namespace is a copy of it that has closed the
 * descriptors of the join. */
#include "join.h"

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>

#include "decode.h"
#include "kernel.h"

extern char **environ;

struct joins {
    int report;
    uint64_t flags;
    int fds[MAX_JOINS];
    int types[MAX_JOINS];
    int count;
};

_Noreturn static void end(const struct joins *joins, const struct join_report *report)
{
    ssize_t written = write(joins->report, report, sizeof(*report));
    _exit(written == (ssize_t)sizeof(*report) ? 0 : 1);
}

_Noreturn static void end_failed(const struct joins *joins, enum pyrunc_call call, int index)
{
    const struct join_report report = {.call = call, .index = index, .error = errno};
    end(joins, &report);
}

static bool next_number(char **text, uint64_t limit, uint64_t *value)
{
    char *word = strsep(text, " ");
    return word != NULL && parse_decimal(word, limit, value);
}

static bool parse(struct joins *joins, char *text)
{
    uint64_t number, type;
    if (!next_number(&text, INT32_MAX, &number) || !next_number(&text, UINT64_MAX, &joins->flags))
        return false;
    joins->report = (int)number;
    for (; text != NULL; joins->count++) {
        if (joins->count == MAX_JOINS || !next_number(&text, INT32_MAX, &number) ||
            !next_number(&text, INT32_MAX, &type))
            return false;
        joins->fds[joins->count] = (int)number;
        joins->types[joins->count] = (int)type;
    }
    return joins->count > 0;
}

/* Joins one; false if that needs the privileges of the user namespace, which is not joined yet. */
static bool enter(const struct joins *joins, int index, bool may_fail)
{
    if (setns(joins->fds[index], joins->types[index]) == 0)
        return true;
    if (may_fail && errno == EPERM)
        return false;
    end_failed(joins, PYRUNC_SETNS, index);
}

/* The user namespace is joined after those that need the caller's privileges, and before those that need its own. The
 * mount namespace is the last. */
static void enter_all(const struct joins *joins)
{
    bool again[MAX_JOINS] = {false};
    for (int i = 0; i < joins->count; i++)
        if (joins->types[i] != CLONE_NEWUSER && joins->types[i] != CLONE_NEWNS)
            again[i] = !enter(joins, i, true);
    for (int i = 0; i < joins->count; i++)
        if (joins->types[i] == CLONE_NEWUSER)
            enter(joins, i, false);
    for (int i = 0; i < joins->count; i++)
        if (again[i])
            enter(joins, i, false);
    for (int i = 0; i < joins->count; i++)
        if (joins->types[i] == CLONE_NEWNS)
            enter(joins, i, false);
}

static bool joins_type(const struct joins *joins, int type)
{
    for (int i = 0; i < joins->count; i++)
        if (joins->types[i] == type)
            return true;
    return false;
}

/* With CLONE_PARENT it is a child of the runtime, and has the exit signal of this stage. */
static long clone_sibling(uint64_t flags)
{
    const uint64_t args[8] = {flags | CLONE_PARENT}; /* struct clone_args as it was at first (clone3(2)) */
    return syscall(SYS_clone3, args, sizeof(args));
}

void join_namespaces(void)
{
    char *text = environ[0];
    struct joins joins = {0};
    if (text == NULL || strncmp(text, JOIN_VARIABLE, strlen(JOIN_VARIABLE)) != 0)
        return;
    environ[0] = NULL;
    if (!parse(&joins, text + strlen(JOIN_VARIABLE)))
        _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* The container's processes must not inspect the init (CVE-2016-9962). If the runtime has to write maps in its
     * /proc/PID, a step of the plan does this later. */
    if (joins_type(&joins, CLONE_NEWPID) && (joins.flags & CLONE_NEWUSER) == 0 &&
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        end_failed(&joins, PYRUNC_PRCTL, 0);
    enter_all(&joins);
    for (int i = 0; i < joins.count; i++)
        close(joins.fds[i]); /* `exec` has one for all of them */
    long pid = clone_sibling(joins.flags);
    if (pid < 0)
        end_failed(&joins, PYRUNC_CLONE3, 0);
    if (pid > 0) {
        const struct join_report report = {.pid = (int)pid};
        end(&joins, &report);
    }
    close(joins.report);
}
