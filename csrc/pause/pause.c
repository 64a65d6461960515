/* The first process of a pod whose sandbox the shim keeps (pyrunc/shim/sandbox.py): it holds the pod's namespaces.
 *
 * It waits for SIGTERM or SIGINT and ends. The kernel reaps the processes that a shared pid namespace leaves to it,
 * since it ignores SIGCHLD (wait(2), NOTES). It has no C library, no data and no heap: the pages that a pod pays for are
 * one of code and one of stack.
 */

#include <asm/errno.h>
#include <asm/signal.h>
#include <asm/unistd.h>

/* The size of the kernel's signal sets, which the calls want to be told. */
#define SET_SIZE 8

#define BIT(signal) (1UL << ((signal) - 1))

#if defined(__x86_64__)
static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long fourth __asm__("r10") = d;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#else
#error "pause.c: the system calls of this processor are not known"
#endif

static _Noreturn void end(int code)
{
    for (;;)
        call(__NR_exit_group, code, 0, 0, 0);
}

/* The kernel's struct sigaction. */
struct action {
    unsigned long handler;
    unsigned long flags;
    unsigned long restorer;
    unsigned long mask;
};

_Noreturn void _start(void)
{
    unsigned long awaited = BIT(SIGTERM) | BIT(SIGINT);
    struct action ignore = {.handler = (unsigned long)SIG_IGN};
    long got;

    /* Process 1 of a pid namespace gets only signals that it blocks or handles. */
    if (call(__NR_rt_sigprocmask, SIG_BLOCK, (long)&awaited, 0, SET_SIZE) < 0)
        end(1);
    if (call(__NR_rt_sigaction, SIGCHLD, (long)&ignore, 0, SET_SIZE) < 0)
        end(1);
    do {
        got = call(__NR_rt_sigtimedwait, (long)&awaited, 0, 0, SET_SIZE);
    } while (got == -EINTR); /* a stop and its end */
    end(got < 0);
}
