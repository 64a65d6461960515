/* The network namespace, made ahead of the clone. A part of pyrunc._core.
 *
 * It takes the kernel about half a millisecond, as long as the compiler takes for a plan. So a thread makes it, on
 * another processor, while the runtime goes on. The clone then leaves its flag out, and the child joins the namespace.
 * Nothing outside of this process knows of it: if the launch is refused, it ends with the thread and the descriptor.
 *
 * The thread is not the C library's, whose threads cost more. It shares the caller's thread-local variables, errno among
 * them, so it makes plain system calls and uses nothing of the library. All signals are blocked in it. */
#define _GNU_SOURCE
#include "native.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "parent.h"

enum { STACK_SIZE = 4096 - 64 };

struct ahead {
    int tid; /* the kernel sets it to 0, and wakes the waiter, when the thread has ended */
    int network; /* the descriptor of the namespace, or -1 */
    _Alignas(16) char stack[STACK_SIZE];
};

/* The thread, or its result; NULL without. */
static struct ahead *ahead;

/* A system call of up to three arguments, without errno: -errno on failure. */
static long plain_call(long number, long first, long second, long third)
{
#if defined(__x86_64__)
    long value;
    __asm__ volatile("syscall"
                     : "=a"(value)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory", "cc");
    return value;
#elif defined(__aarch64__)
    register long x0 __asm__("x0") = first;
    register long x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    register long x8 __asm__("x8") = number;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory", "cc");
    return x0;
#else
#error "pyrunc runs on x86-64 and arm64"
#endif
}

/* The thread. If one of its calls fails, there is no descriptor, and the clone makes the namespace: its error has the
 * cause. A socket tells its network namespace without a look-up in /proc. */
static int make_network(void *data)
{
    struct ahead *own = data;
    if (plain_call(SYS_unshare, CLONE_NEWNET, 0, 0) < 0)
        return 1;
    long socket = plain_call(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0)
        return 1;
    own->network = (int)plain_call(SYS_ioctl, socket, SIOCGSKNS, 0); /* close-on-exec */
    plain_call(SYS_close, socket, 0, 0);
    return 0;
}

int pyrunc_begin_network(void)
{
    if (ahead != NULL)
        return 0;
    struct ahead *own = mmap(NULL, sizeof *own, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (own == MAP_FAILED)
        return -errno;
    own->network = -1;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
        .parent_tid = (uintptr_t)&own->tid,
        .child_tid = (uintptr_t)&own->tid,
        .stack = (uintptr_t)own->stack,
        .stack_size = sizeof own->stack,
    };
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long tid = clone_on_stack(&args, make_network, own);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (tid < 0) {
        munmap(own, sizeof *own);
        return -error;
    }
    ahead = own;
    return 0;
}

int pyrunc_take_network(void)
{
    int tid;
    if (ahead == NULL)
        return -1;
    while ((tid = __atomic_load_n(&ahead->tid, __ATOMIC_ACQUIRE)) != 0)
        syscall(SYS_futex, &ahead->tid, FUTEX_WAIT, tid, NULL, NULL, 0);
    int network = ahead->network >= 0 ? ahead->network : -1;
    munmap(ahead, sizeof *ahead);
    ahead = NULL;
    return network;
}
