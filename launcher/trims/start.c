/* The start of a static program of glibc 2.36 on x86-64, without questions to the processor.
 *
 * glibc's own __libc_start_main asks the processor for its features and the sizes of its caches, to choose the fastest
 * variants of memcpy and its like. That takes ten to sixty CPUID instructions. Each of them leaves a virtual machine,
 * which takes 1 to 20 us. Without answers glibc chooses the variants that run on every x86-64 processor.
 *
 * The linker finds this function before it looks into libc.a, and does not link libc-start.o. What is called here are
 * glibc's own parts, which a static link can reach; they are those of version 2.36 (launcher.mk compares it). */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_stack_end;
extern int __libc_enable_secure;
extern void *_dl_random; /* 16 bytes from the kernel (getauxval(3), AT_RANDOM) */
extern const Elf64_Rela __rela_iplt_start[] __attribute__((weak)), __rela_iplt_end[] __attribute__((weak));
extern void (*__preinit_array_start[])(int, char **, char **), (*__preinit_array_end[])(int, char **, char **);
extern void (*__init_array_start[])(int, char **, char **), (*__init_array_end[])(int, char **, char **);

void _dl_aux_init(ElfW(auxv_t) * auxv);
void __tunables_init(char **environment);
void _dl_relocate_static_pie(void);
void __libc_setup_tls(void);
void __libc_early_init(_Bool initial);
void __libc_init_first(int argc, char **argv, char **environment);
void __libc_check_standard_fds(void);
void _init(void);
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);

/* The sizes by which memcpy and memset choose a method: glibc's own values for a processor that says nothing. */
long int __x86_data_cache_size = 32 * 1024;
long int __x86_data_cache_size_half = 32 * 1024 / 2;
long int __x86_shared_cache_size = 1024 * 1024;
long int __x86_shared_cache_size_half = 1024 * 1024 / 2;
long int __x86_shared_non_temporal_threshold = 1024 * 1024 * 3 / 4;
long int __x86_memset_non_temporal_threshold = 1024 * 1024 * 3 / 4; /* from 2.40 on */
long int __x86_rep_movsb_threshold = 2048;
long int __x86_rep_movsb_stop_threshold = 1024 * 1024 * 3 / 4;
long int __x86_rep_stosb_threshold = 2048;
int __x86_string_control = 0;

/* The directory of the program, which glibc would put in the place of $ORIGIN when it loads a shared object: this program
 * loads none. glibc reads /proc/self/exe for it, a fortieth of the time of a `state`. (char *)-1 is its word for an
 * unknown one. */
const char *_dl_get_origin(void);

const char *_dl_get_origin(void)
{
    return (const char *)-1;
}

/* Has no stack protector, since it stores the value that a stack protector compares. Until the functions are chosen
 * (R_X86_64_IRELATIVE) it calls none of the C library that has variants. */
__attribute__((no_stack_protector, noreturn)) int __libc_start_main(int (*main)(int, char **, char **), int argc,
                                                                    char **argv, void (*init)(void), void (*fini)(void),
                                                                    void (*rtld_fini)(void), void *stack_end)
{
    (void)init;
    (void)fini;
    (void)rtld_fini; /* what a static program does not have */
    environ = argv + argc + 1;
    __libc_stack_end = stack_end;
    char **end = environ;
    while (*end != NULL)
        end++;
    _dl_aux_init((ElfW(auxv_t) *)(void *)(end + 1));
    __tunables_init(environ);
    _dl_relocate_static_pie();
    for (const Elf64_Rela *choice = __rela_iplt_start; choice < __rela_iplt_end; choice++) {
        Elf64_Addr (*choose)(void) = (Elf64_Addr (*)(void))choice->r_addend;
        *(Elf64_Addr *)choice->r_offset = choose();
    }
    __libc_setup_tls();

    /* The canary of the stack, whose first byte is 0, and the key with which setjmp hides pointers. */
    const uint64_t *random = _dl_random;
    uint64_t canary = random[0] & ~(uint64_t)0xff, key = random[1];
    __asm__ volatile("mov %0, %%fs:0x28\n\tmov %1, %%fs:0x30" : : "r"(canary), "r"(key) : "memory");

    __libc_early_init(true);
    __libc_init_first(argc, argv, environ);
    if (__libc_enable_secure)
        __libc_check_standard_fds();
    for (size_t i = 0; i < (size_t)(__preinit_array_end - __preinit_array_start); i++)
        __preinit_array_start[i](argc, argv, environ);
    _init();
    for (size_t i = 0; i < (size_t)(__init_array_end - __init_array_start); i++)
        __init_array_start[i](argc, argv, environ);
    exit(main(argc, argv, environ));
}
