/*
 * Preloaded into User-Mode Linux (LD_PRELOAD), so that it runs where the processor has AMX.
 *
 * UML keeps the extended registers of each of its processes in a buffer of 2696 bytes: what AVX-512 and PKRU need.
 * Linux refuses PTRACE_SETREGSET of NT_X86_XSTATE with EFAULT unless the buffer has the size of all the state that the
 * processor has (xstateregs_set() in arch/x86/kernel/fpu/regset.c), which with AMX is 11008 bytes, and UML panics. Linux
 * 6.13 made UML's buffer as large as the host's state; Debian 12 has 6.1.
 *
 * The rest is set to zeros, the initial state. Nothing is lost: a process may use AMX only once it has asked for it
 * with arch_prctl(ARCH_REQ_XCOMP_PERM), which UML does not have.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long ptrace_function(enum __ptrace_request, pid_t, void *, void *);

static ptrace_function *libc_ptrace;

/* Not on the stack: UML's stacks have 16 KiB. UML calls ptrace() from one thread only. */
static unsigned char state[65536];

/* The size of the state on this processor, in bytes; 0 until a process could be asked. */
static size_t state_size;

__attribute__((constructor)) static void find_ptrace(void)
{
    libc_ptrace = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
}

static size_t size_of_state(pid_t pid)
{
    struct iovec all = {.iov_base = state, .iov_len = sizeof(state)};

    if (state_size == 0 && libc_ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &all) == 0)
        state_size = all.iov_len;
    return state_size;
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (libc_ptrace == NULL) {
        errno = ENOSYS;
        return -1;
    }
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
        const struct iovec *given = data;
        size_t size = size_of_state(pid);

        if (given->iov_len < size) {
            struct iovec whole = {.iov_base = state, .iov_len = size};

            memcpy(state, given->iov_base, given->iov_len);
            memset(state + given->iov_len, 0, size - given->iov_len);
            return libc_ptrace(request, pid, address, &whole);
        }
    }
    return libc_ptrace(request, pid, address, data);
}
