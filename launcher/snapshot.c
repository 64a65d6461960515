/* A snapshot of the interpreter in the launcher's file.
 *
 * Starting CPython and importing our modules is the same for every command, and takes longer than most commands do. So
 * it is done once, when the launcher is built. The program is linked with an empty snapshot, runs up to where a command
 * would begin, and writes out its section .snapshot (snapshot.ld), which is all memory of CPython and of our modules.
 * The launcher is that program with these bytes in the section. It is static and not position-independent, so all its
 * pointers stay valid. Its memory is the heap of heap.c.
 *
 * For CPython, a process that wakes from the snapshot is like the child of a fork: another process, with one thread,
 * that continues where its parent was. The section has nothing of the C library: snapshot_wake makes anew what CPython
 * got from it.
 *
 * What this file knows of CPython's own structures holds for 3.11 to 3.14, except in the lines that name a version.
 */
#define Py_BUILD_CORE
#include <Python.h>
#undef HAVE_STD_ATOMIC /* a C++ check in CPython's own headers */
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "heap.h"
#include "snapshot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030F0000
#error "snapshot_wake is for CPython 3.11 to 3.14"
#endif

/* The key by which a thread finds its state, and the interpreter's cache of the attributes of types. */
#if PY_VERSION_HEX < 0x030C0000
#define THREAD_KEY _PyRuntime.gilstate.autoTSSkey
#define TYPE_CACHE _PyRuntime._main_interpreter.type_cache.hashtable
#else
#define THREAD_KEY _PyRuntime.autoTSSkey
#define TYPE_CACHE _PyRuntime._main_interpreter.types.type_cache.hashtable
#endif
enum { TYPE_CACHE_ENTRIES = sizeof TYPE_CACHE / sizeof TYPE_CACHE[0] };

enum { PAGE_BYTES = 4096 };

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The sets of pages, in the order of pages.py: the pages that all commands write to, those of commands about an
 * existing container, those of `create` and `run`, those of `update`, and those of `exec`. */
enum set { OTHERS, CONTAINER, LAUNCH, UPDATE, EXEC, SETS };

extern char snapshot_begin[], snapshot_end[]; /* snapshot.ld */

static enum { NONE, BEING_MADE, MADE } stage;
static PyThreadState *thread; /* the only thread; a variable of ours, since CPython's are thread-local from 3.12 on */
static char **given_environment;
#ifdef PYRUNC_WATCH
static struct type_cache_entry first_cache[TYPE_CACHE_ENTRIES];
#endif

/* ---- making the snapshot ----------------------------------------------------------------------------------- */

bool snapshot_is_made(void)
{
    return stage == MADE;
}

void snapshot_prepare(void)
{
    /* The blocks of the environment are counted too (heap.c), so it is the same in every process that makes them. */
    static char *none[] = {"TZ=UTC0", NULL};
    given_environment = environ;
    environ = none;
    stage = BEING_MADE;
    /* _signal keeps which signals are ignored, and whoever builds may ignore some: nohup, or a shell for what it runs
     * in the background. The launcher itself ignores two (main). */
    for (int number = 1; number < NSIG; number++)
        if (number != SIGPIPE && number != SIGXFSZ && number != SIGKILL && number != SIGSTOP)
            (void)signal(number, SIG_DFL); /* the C library refuses its own two */
    heap_begin();
}

/* An entry of the cache of attributes has a reference to its name. With one more, the name outlives the entry, so that
 * snapshot_rest can put the entry back.
 *
 * Where an entry is depends on the addresses of names. So a command overwrites others than the program that watched it
 * did, and would write to their names, which are all over the heap. Such entries are dropped now. */
static void prepare_type_cache(void)
{
    for (size_t i = 0; i < TYPE_CACHE_ENTRIES; i++) {
        struct type_cache_entry *entry = &TYPE_CACHE[i];
        if (entry->name != NULL && heap_is_unused(entry->name)) {
            entry->version = 0;
            entry->value = NULL;
            Py_SETREF(entry->name, Py_NewRef(Py_None)); /* as CPython's own empty entries */
        }
        Py_XINCREF(entry->name);
    }
}

enum { LEAST_STACK = 1 << 19, MOST_STACK = 8 << 20 };

/* Tell CPython where the thread's stack is. */
static int protect_stack(char *lowest, size_t size)
{
#if PY_VERSION_HEX >= 0x030E0100
    return PyUnstable_ThreadState_SetStackProtection(thread, lowest, size);
#elif PY_VERSION_HEX >= 0x030E0000
#error "link with CPython 3.14.1 or later: 3.14.0 does not let a program say where its stack is"
#else
    (void)lowest;
    (void)size;
    return 0;
#endif
}

/* Clear the addresses of this process's stack. */
static void forget_stack(void)
{
#if PY_VERSION_HEX >= 0x030E0100
    (void)protect_stack(NULL, LEAST_STACK);
    ((_PyThreadStateImpl *)thread)->c_stack_init_base = 0;
    ((_PyThreadStateImpl *)thread)->c_stack_init_top = 0;
#endif
}

/* Clear what ended calls have left on the stack of frames: a frame points to its caller's, and that of a call from C is
 * on the C stack, whose address differs in each process. */
static void forget_frames(void)
{
    if (thread->datastack_top != NULL)
        memset(thread->datastack_top, 0, (size_t)((char *)thread->datastack_limit - (char *)thread->datastack_top));
}

void snapshot_write(void)
{
    environ = given_environment;
    given_environment = NULL;
    stage = MADE;
    prepare_type_cache();
#ifdef PYRUNC_WATCH
    PyType_ClearCache(); /* what a look into a type needs is used too: in the snapshot another entry may be missing */
    memcpy(first_cache, TYPE_CACHE, sizeof first_cache);
#endif
    /* The numbers of this process and thread are of no use to a process that wakes, which sets them anew. Clear them,
     * so that two builds are equal. */
    thread = PyEval_SaveThread(); /* of no process, until snapshot_wake attaches it */
    forget_frames();
    thread->thread_id = 0;
    thread->native_thread_id = 0;
    _PyRuntime.main_thread = 0;
    forget_stack();
    heap_end();
#ifdef PYRUNC_WATCH
    heap_watch();
#else
    for (const char *from = snapshot_begin; from < snapshot_end;) {
        ssize_t count = write(STDOUT_FILENO, from, (size_t)(snapshot_end - from));
        if (count < 0) {
            dprintf(STDERR_FILENO, "pyrunc: writing the snapshot: %s\n", strerror(errno));
            _exit(1);
        }
        from += count;
    }
    _exit(0);
#endif
}

/* ---- waking from the snapshot ------------------------------------------------------------------------------ */

/* posix.environ is a copy of the environment, made with the module. */
static int take_environment(void)
{
    PyObject *posix = PyImport_AddModule("posix"); /* borrowed, and so is what is in it */
    PyObject *variables = posix == NULL ? NULL : PyDict_GetItemString(PyModule_GetDict(posix), "environ");
    if (variables == NULL)
        return -1;
    PyDict_Clear(variables);
    for (char **entry = environ; *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL)
            continue;
        PyObject *name = PyBytes_FromStringAndSize(*entry, equals - *entry);
        PyObject *value = PyBytes_FromString(equals + 1);
        /* Of two variables of the same name the first one counts, as in getenv. */
        PyObject *kept = name == NULL || value == NULL ? NULL : PyDict_SetDefault(variables, name, value);
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (kept == NULL)
            return -1;
    }
    return 0;
}

/* From 3.14 on CPython limits the depth of calls by the stack's address, which differs in each process. At least half
 * of the stack is below this frame, since the kernel limits arguments and environment to a quarter of it. */
static int limit_stack(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur > MOST_STACK)
        limit.rlim_cur = MOST_STACK;
    size_t size = limit.rlim_cur < 2 * LEAST_STACK ? LEAST_STACK : limit.rlim_cur / 2;
    char *here = __builtin_frame_address(0);
    return protect_stack(here - size, size);
}

enum { SET_BYTES = 1024 };

/* The pages of the section that commands write to, a bit for each page. launcher/pages.py fills the sets when the
 * launcher is built. */
static const volatile unsigned char written_pages[SETS][SET_BYTES]
    __attribute__((section(".written_pages"), used)) = {0};

/* The set of a command: that of the first argument that is a command's name. If an option's value is such a name, the
 * guess is wrong, which costs time and nothing else. */
static enum set expected(char *const *words)
{
    static const struct {
        const char *name;
        enum set set;
    } commands[] = {
        {"create", LAUNCH},   {"run", LAUNCH},       {"exec", EXEC},        {"state", CONTAINER},
        {"start", CONTAINER}, {"kill", CONTAINER},   {"ps", CONTAINER},     {"delete", CONTAINER},
        {"pause", CONTAINER}, {"resume", CONTAINER}, {"events", CONTAINER}, {"update", UPDATE},
    };
    for (; *words != NULL; words++)
        for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
            if (strcmp(*words, commands[i].name) == 0)
                return commands[i].set;
    return OTHERS;
}

static bool is_written(enum set set, size_t page)
{
    return page < SET_BYTES * 8 && written_pages[set][page / 8] >> page % 8 & 1;
}

/* Copy the pages that a command is going to write to. If a page is read first, a fault maps the file's page, and the
 * write causes another fault; that takes longer than the one fault of a page that is written first. Copying many pages
 * in one call takes less time than one fault for each. */
static void copy_pages(enum set set)
{
    enum { MANY = 2 };
    size_t count = (size_t)(snapshot_end - snapshot_begin) / PAGE_BYTES;
    size_t end;
    for (size_t page = 0; page < count; page = end + 1) {
        for (end = page; end < count && is_written(set, end); end++)
            continue;
        char *from = snapshot_begin + page * PAGE_BYTES;
        /* Since Linux 5.14. An earlier kernel refuses it, and then the first write to each page copies it. */
        if (end - page >= MANY)
            (void)madvise(from, (end - page) * PAGE_BYTES, MADV_POPULATE_WRITE);
        /* An atomic addition is a write, with no read before it, and adding 0 changes nothing. */
        for (; from < snapshot_begin + end * PAGE_BYTES; from += PAGE_BYTES)
            __atomic_fetch_add(from, 0, __ATOMIC_RELAXED);
    }
}

/* CPython's allocator of objects makes a table of 128 KB of zeros with its first arena (ARENA_MAP_BOT). The first piece
 * of memory that malloc has from the kernel is 1 KB larger than this table, and calloc clears the memory of that piece,
 * page by page. If the piece is too small, the table gets a mapping of its own, whose pages are zeros already and take
 * no memory before they are used. So a part of the piece is taken here and never used. */
static void keep_table_apart(void)
{
    enum { TAKEN = 8 << 10 };
    void *volatile taken = malloc(TAKEN);
    (void)taken;
}

int snapshot_wake(char *const *words)
{
    keep_table_apart();
    copy_pages(expected(words));
    Py_tss_t *key = &THREAD_KEY; /* made by pthread_key_create in the process that built the snapshot */
    *key = (Py_tss_t)Py_tss_NEEDS_INIT;
    if (PyThread_tss_create(key) != 0 || PyThread_tss_set(key, thread) != 0 || limit_stack() < 0) {
        dprintf(STDERR_FILENO, "pyrunc: can't start: no memory for the thread's key\n");
        _exit(1);
    }
    thread->thread_id = PyThread_get_thread_ident();
    thread->native_thread_id = PyThread_get_thread_native_id();
    PyEval_RestoreThread(thread);
    PyOS_BeforeFork(); /* takes, for this thread, the locks that the next call makes anew */
    PyOS_AfterFork_Child();
    return take_environment();
}

/* ---- giving memory back ------------------------------------------------------------------------------------ */

/* A mapping of the section's bytes as they are in the program's file, or MAP_FAILED. */
static const char *map_original(void)
{
    extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden"))); /* the linker's */
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)((const char *)&__ehdr_start + __ehdr_start.e_phoff);
    const ElfW(Phdr) *end = segment + __ehdr_start.e_phnum;
    uintptr_t begin = (uintptr_t)snapshot_begin;
    while (segment < end && (segment->p_type != PT_LOAD || begin - segment->p_vaddr >= segment->p_filesz))
        segment++;
    if (segment == end)
        return MAP_FAILED;
    int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (program < 0)
        return MAP_FAILED;
    off_t offset = (off_t)(segment->p_offset + (begin - segment->p_vaddr));
    void *memory = mmap(NULL, (size_t)(snapshot_end - snapshot_begin), PROT_READ, MAP_PRIVATE, program, offset);
    close(program);
    return memory;
}

/* Put back what the cache of attributes had in the snapshot. It fills 24 pages, and each name in it has a reference. An
 * entry is that of a version of a type. A type that is changed gets another version, so an old entry is right, or is
 * not used. */
static void restore_type_cache(const struct type_cache_entry *before)
{
    for (size_t i = 0; i < TYPE_CACHE_ENTRIES; i++, before++) {
        struct type_cache_entry *entry = &TYPE_CACHE[i];
        if (memcmp(entry, before, sizeof *entry) == 0)
            continue;
        entry->version = before->version;
        entry->value = before->value;
        Py_XINCREF(before->name);
        Py_XSETREF(entry->name, before->name);
    }
}

/* Drop each copy of a page that has become equal to the page in the file again. pagemap: of this process. */
static void drop_copies(int pagemap, const char *original)
{
    /* proc(5) */
    const uint64_t present = (uint64_t)1 << 63, of_file = (uint64_t)1 << 61;
    enum { BATCH = 512 };
    uint64_t entries[BATCH];
    size_t count = (size_t)(snapshot_end - snapshot_begin) / PAGE_BYTES;
    off_t at = (off_t)((uintptr_t)snapshot_begin / PAGE_BYTES * sizeof entries[0]);
    for (size_t page = 0; page < count; page++) {
        if (page % BATCH == 0) {
            size_t size = (count - page < BATCH ? count - page : BATCH) * sizeof entries[0];
            if (pread(pagemap, entries, size, at + (off_t)(page * sizeof entries[0])) != (ssize_t)size)
                return;
        }
        uint64_t entry = entries[page % BATCH];
        char *here = snapshot_begin + page * PAGE_BYTES;
        if ((entry & present) != 0 && (entry & of_file) == 0 &&
            memcmp(here, original + page * PAGE_BYTES, PAGE_BYTES) == 0)
            (void)madvise(here, PAGE_BYTES, MADV_DONTNEED); /* the next access maps the file's page */
    }
}

void snapshot_rest(void)
{
#ifdef PYRUNC_WATCH
    restore_type_cache(first_cache); /* this program's file has no snapshot */
    heap_tell_changes();
    return;
#endif
    (void)malloc_trim(0);
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap < 0)
        return; /* a kernel without pagemap */
    const char *original = map_original();
    if (original != MAP_FAILED) {
        /* A signal's handler writes to the section, maybe between the look at a page and its end. */
        sigset_t all, before;
        sigfillset(&all);
        if (pthread_sigmask(SIG_BLOCK, &all, &before) == 0) {
            restore_type_cache((const void *)(original + ((char *)TYPE_CACHE - snapshot_begin)));
            drop_copies(pagemap, original);
            (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
        munmap((void *)original, (size_t)(snapshot_end - snapshot_begin));
    }
    close(pagemap);
}
