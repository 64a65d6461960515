/* clone3(2) with a stack for the child. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "parent.h"

#include <linux/sched.h>
#include <sys/syscall.h>

/* It is assembly because the child must not return through a frame that the parent, which shares the memory, uses
 * later. */
long clone_on_stack(struct clone_args *args, int (*child)(void *), void *data)
{
    long value;
#if defined(__x86_64__)
    register void *argument __asm__("r12") = data;
    register int (*function)(void *) __asm__("r13") = child;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "mov %%eax, %%edi\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(value)
                     : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args), "r"(argument),
                       "r"(function), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = (long)sizeof *args;
    register long x8 __asm__("x8") = SYS_clone3;
    register void *argument __asm__("x19") = data;
    register int (*function)(void *) __asm__("x20") = child;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x19\n\t"
                     "blr x20\n\t"
                     "mov x8, %[exit]\n\t"
                     "svc #0\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(x8), "r"(argument), "r"(function), [exit] "i"(SYS_exit)
                     : "memory", "cc");
    value = x0;
#else
#error "pyrunc runs on x86-64 and arm64"
#endif
    if (value < 0 && value > -4096) {
        errno = (int)-value;
        return -1;
    }
    return value;
}
