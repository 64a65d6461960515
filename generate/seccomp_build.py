"""The cffi builder of `pyrunc._seccomp`: libseccomp, and the calls of seccomp(2) by which `pyrunc features` asks the
kernel.

It is a module of its own, so that a command that compiles no filter doesn't load libseccomp.
"""

from __future__ import annotations

from cffi import FFI

from generate.cflags import COMPILE_ARGS

# libseccomp's interface as its manual pages describe it (seccomp_init(3) …), for 2.5.0 and later.
DECLARATIONS = """
    typedef ... *scmp_filter_ctx;
    struct scmp_version { unsigned int major; unsigned int minor; unsigned int micro; ...; };
    struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a; uint64_t datum_b; ...; };

    scmp_filter_ctx seccomp_init(uint32_t def_action);
    void seccomp_release(scmp_filter_ctx ctx);
    int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch_token);
    uint32_t seccomp_arch_native(void);
    uint32_t seccomp_arch_resolve_name(const char *arch_name);
    int seccomp_attr_set(scmp_filter_ctx ctx, int attr, uint32_t value);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);
    char *seccomp_syscall_resolve_num_arch(uint32_t arch_token, int num);
    int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall, unsigned int arg_cnt,
                               const struct scmp_arg_cmp *arg_array);
    int seccomp_export_bpf(scmp_filter_ctx ctx, int fd);
    const struct scmp_version *seccomp_version(void);

    void free(void *pointer);
    const char *library_file(void);
    int flags_error(unsigned int flags);
"""

SOURCE = r"""
#include <dlfcn.h>
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The file that libseccomp was loaded from, or NULL. */
static const char *library_file(void)
{
    Dl_info info;
    return dladdr((void *)(uintptr_t)seccomp_version, &info) != 0 ? info.dli_fname : NULL;
}

/* What the kernel says of the flags of SECCOMP_SET_MODE_FILTER: EFAULT, for the filter that is none, where it knows
 * them; EINVAL where it doesn't (seccomp(2)). */
static int flags_error(unsigned int flags)
{
    enum { SET_MODE_FILTER = 1 };
    return syscall(SYS_seccomp, SET_MODE_FILTER, flags, NULL) < 0 ? errno : 0;
}
"""


def make_builder() -> FFI:
    """The FFI object that describes `pyrunc._seccomp`."""
    builder = FFI()
    builder.cdef(DECLARATIONS)
    builder.set_source(
        "pyrunc._seccomp",
        SOURCE,
        libraries=["seccomp"],
        extra_compile_args=COMPILE_ARGS,
    )
    return builder


ffibuilder = make_builder()
