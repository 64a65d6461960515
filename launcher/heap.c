/* The heap of the snapshot, and the order of the blocks in it.
 *
 * CPython keeps an object's reference count in the object, so a command writes to every object that it uses, and the
 * kernel copies each page that is written to. The objects that one command uses are a small part of all, but in the
 * order in which they are made they are spread over the whole heap. So the launcher is linked twice. The first program
 * (PYRUNC_WATCH) makes the same blocks in the same order, each on pages of its own, then carries out a command and
 * tells which blocks it reads and writes. launcher/pages.py writes that down as the order. The second program gets it
 * when it makes the snapshot: blocks that are used in the same way are neighbours.
 *
 * A block is known by its number: how many blocks were made before it. If the numbers differ between the programs, the
 * order is bad, and commands are slower; nothing else depends on it. A size that differs shows that.
 *
 * Until the snapshot is written, malloc and its kin are the functions of this file (--wrap), and CPython's allocators
 * of objects call them too. */
#define _GNU_SOURCE
#include <Python.h>

#include "heap.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Sizes are counted in units, which are CPython's alignment too. Blocks above LARGE are not put in order, nor are
 * those above a page that commands write to (launcher/pages.py): a page in the middle of one has nothing else. */
enum { UNIT = 16, PAGE = 4096, LARGE = 16384, LISTS = 64, AREAS = 512, PLACES = 512 };

#ifdef PYRUNC_WATCH
enum { HEAP_BYTES = 1 << 28, HEAP_WATCH = 9 };
static char *heap; /* not in the program's file */
static char *originals; /* of the pages that were written to, at the same places */
static uint16_t *sizes;
static uint32_t numbers[HEAP_BYTES / PAGE]; /* of the block on each page */
#else
enum { HEAP_BYTES = 8 << 20 };
static _Alignas(PAGE) char heap[HEAP_BYTES] __attribute__((section(".snapshot_heap")));
/* The size of the block that begins at each unit. They are not beside the blocks, where each page would have fewer
 * blocks. */
static uint16_t sizes[HEAP_BYTES / UNIT] __attribute__((section(".snapshot_heap_sizes")));
#endif

static bool being_made;
static size_t used;
static uint32_t count; /* of the blocks that were made */

/* A block that was freed. Those of up to LISTS units have a list for each size. */
struct unused {
    struct unused *next;
};
static struct unused *unused[LISTS + 1];

/* The order on standard input, as launcher/pages.py writes it: the bytes of each area, and then the blocks that have a
 * place in one, by their number. */
struct place {
    uint32_t number;
    uint16_t units;
    uint16_t area;
};
static char *areas[AREAS]; /* where the next block of the area begins */
static char *areas_end;    /* NULL without an order */
static struct place places[PLACES], *place = places, *places_end = places;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

static bool is_in_heap(const void *memory)
{
    return (uintptr_t)memory - (uintptr_t)heap < HEAP_BYTES;
}

static size_t index_of(const void *memory)
{
    return (size_t)((const char *)memory - (const char *)heap) / UNIT;
}

/* Memory that no block had before: zeros. */
static void *take_new(size_t size)
{
#ifdef PYRUNC_WATCH
    used = (used + PAGE - 1) & ~((size_t)PAGE - 1);
#endif
    if (size > HEAP_BYTES - used) {
        dprintf(STDERR_FILENO, "pyrunc: the snapshot needs more than %d bytes\n", HEAP_BYTES);
        _exit(1);
    }
    void *memory = heap + used;
    used += size;
    return memory;
}

static size_t read_input(void *data, size_t size)
{
    size_t total = 0;
    ssize_t got;
    while (total < size && (got = read(STDIN_FILENO, (char *)data + total, size - total)) > 0)
        total += (size_t)got;
    return total;
}

/* The place that the order has for the next block, or NULL. */
static void *take_ordered(size_t units)
{
    while (place == places_end || place->number < count) {
        if (place == places_end) {
            place = places;
            places_end = places + read_input(places, sizeof places) / sizeof *place;
            if (place == places_end)
                return NULL;
        } else {
            place++;
        }
    }
    if (place->number != count || place->units != units || place->area >= AREAS)
        return NULL;
    void *memory = areas[place->area];
    areas[place->area] += units * UNIT;
    return memory;
}

static void *take_unused(size_t units)
{
    if (units > LISTS || unused[units] == NULL)
        return NULL;
    struct unused *block = unused[units];
    unused[units] = block->next;
    return memset(block, 0, units * UNIT);
}

/* A block of zeros. */
static void *take(size_t size)
{
    size_t units = (size + (size == 0) + UNIT - 1) / UNIT;
    if (size > HEAP_BYTES || units > UINT16_MAX)
        return NULL;
    void *memory = take_ordered(units);
    if (memory == NULL)
        memory = take_unused(units);
    if (memory == NULL)
        memory = take_new(units * UNIT);
    sizes[index_of(memory)] = (uint16_t)units;
#ifdef PYRUNC_WATCH
    numbers[index_of(memory) * UNIT / PAGE] = count;
#endif
    count++;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return being_made ? take(size) : __real_malloc(size);
}

void *__wrap_calloc(size_t number, size_t size)
{
    if (!being_made)
        return __real_calloc(number, size);
    size_t total;
    return __builtin_mul_overflow(number, size, &total) ? NULL : take(total);
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (!is_in_heap(memory) && (memory != NULL || !being_made))
        return __real_realloc(memory, size);
    void *moved = __wrap_malloc(size);
    if (moved != NULL && memory != NULL) {
        size_t before = (size_t)sizes[index_of(memory)] * UNIT;
        memcpy(moved, memory, before < size ? before : size);
        __wrap_free(memory);
    }
    return moved;
}

/* Blocks of the snapshot are never used again once it is written: that would write to their pages. */
void __wrap_free(void *memory)
{
    if (!is_in_heap(memory))
        __real_free(memory);
    else if (being_made && sizes[index_of(memory)] <= LISTS) {
        struct unused *block = memory;
        block->next = unused[sizes[index_of(memory)]];
        unused[sizes[index_of(memory)]] = block;
    }
}

/* ---- CPython's allocators ---------------------------------------------------------------------------------- */

static void *object_malloc(void *context, size_t size)
{
    (void)context;
    return __wrap_malloc(size);
}

static void *object_calloc(void *context, size_t number, size_t size)
{
    (void)context;
    return __wrap_calloc(number, size);
}

static void *object_realloc(void *context, void *memory, size_t size)
{
    (void)context;
    return __wrap_realloc(memory, size);
}

static void object_free(void *context, void *memory)
{
    (void)context;
    __wrap_free(memory);
}

/* The memory of CPython's stack of frames, and later of its own allocator of objects. */
static void *arena_alloc(void *context, size_t size)
{
    (void)context;
    if (being_made)
        return take(size);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void arena_free(void *context, void *memory, size_t size)
{
    (void)context;
    if (is_in_heap(memory))
        __wrap_free(memory);
    else
        munmap(memory, size);
}

static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
static PyMemAllocatorEx own[sizeof domains / sizeof domains[0]];

#ifndef PYRUNC_WATCH
/* Gives each area its part of the heap. */
static void divide(void)
{
    uint32_t bytes[AREAS];
    if (read_input(bytes, sizeof bytes) != sizeof bytes)
        return; /* there is no order */
    for (int area = 0; area < AREAS; area++)
        areas[area] = take_new(bytes[area]);
    areas_end = heap + used;
}
#endif

void heap_begin(void)
{
#ifdef PYRUNC_WATCH
    /* CPython makes ints of addresses, and keeps freed ints of one digit (30 bits) for later ones from 3.14 on. The heap
     * of the other program is below that too. */
    heap = mmap((void *)0x20000000, HEAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
    sizes = mmap(NULL, HEAP_BYTES / UNIT * sizeof *sizes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    originals = mmap(NULL, HEAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (heap == MAP_FAILED || sizes == MAP_FAILED || originals == MAP_FAILED) {
        dprintf(STDERR_FILENO, "pyrunc: no memory for a heap with a page for each block: %s\n", strerror(errno));
        _exit(1);
    }
#else
    divide();
#endif
    being_made = true;
    PyObject_SetArenaAllocator(&(PyObjectArenaAllocator){.alloc = arena_alloc, .free = arena_free});
    PyMemAllocatorEx allocator = {NULL, object_malloc, object_calloc, object_realloc, object_free};
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++) {
        PyMem_GetAllocator(domains[i], &own[i]);
        PyMem_SetAllocator(domains[i], &allocator);
    }
}

void heap_end(void)
{
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++)
        PyMem_SetAllocator(domains[i], &own[i]);
    being_made = false;
}

bool heap_is_unused(const void *block)
{
    return is_in_heap(block) && areas_end != NULL && (const char *)block >= areas_end;
}

#ifdef PYRUNC_WATCH

#include <fcntl.h>
#include <signal.h>

/* A block that was used, as launcher/pages.py reads it. */
struct use {
    uint32_t number;
    uint16_t units;
    uint16_t kind;
};
enum { IS_READ, IS_WRITTEN, IS_CHANGED, END = UINT16_MAX };

static enum { CLOSED, READABLE, WRITABLE } state[HEAP_BYTES / PAGE];

/* Tell of the block that has a page. */
static void tell(size_t at, uint16_t kind)
{
    while (sizes[at * PAGE / UNIT] == 0 && at > 0)
        at--; /* the page with the block's beginning */
    struct use use = {numbers[at], sizes[at * PAGE / UNIT], kind};
    if (write(HEAP_WATCH, &use, sizeof use) != sizeof use)
        _exit(1);
}

/* The first access to a page makes it readable, and the next one, which is a write, writable. */
static void on_access(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    char *page = (char *)((uintptr_t)info->si_addr & ~((uintptr_t)PAGE - 1));
    if (!is_in_heap(page)) {
        signal(SIGSEGV, SIG_DFL); /* a real one, which comes again */
        return;
    }
    size_t at = (size_t)(page - heap) / PAGE;
    if (state[at] == READABLE)
        memcpy(originals + (page - heap), page, PAGE);
    if (mprotect(page, PAGE, state[at] == CLOSED ? PROT_READ : PROT_READ | PROT_WRITE) < 0)
        _exit(1);
    tell(at, state[at] == CLOSED ? IS_READ : IS_WRITTEN);
    state[at] = state[at] == CLOSED ? READABLE : WRITABLE;
}

void heap_tell_changes(void)
{
    for (size_t at = 0; at < used / PAGE; at++)
        if (state[at] == WRITABLE && memcmp(heap + at * PAGE, originals + at * PAGE, PAGE) != 0)
            tell(at, IS_CHANGED);
    const struct use end = {.kind = END};
    if (write(HEAP_WATCH, &end, sizeof end) != sizeof end)
        _exit(1);
}

int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);

/* A blocked SIGSEGV would end the process. */
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    sigset_t changed;
    if (set != NULL && how != SIG_UNBLOCK) {
        changed = *set;
        sigdelset(&changed, SIGSEGV);
        set = &changed;
    }
    return __real_pthread_sigmask(how, set, old);
}

void heap_watch(void)
{
    if (fcntl(HEAP_WATCH, F_GETFD) < 0)
        return; /* a command of the shim's, whose blocks nobody wants to know */
    static char stack[1 << 16];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_access, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaltstack(&other, NULL) < 0 || sigaction(SIGSEGV, &action, NULL) < 0 ||
        mprotect(heap, (used + PAGE - 1) & ~((size_t)PAGE - 1), PROT_NONE) < 0) {
        dprintf(STDERR_FILENO, "pyrunc: watching the heap: %s\n", strerror(errno));
        _exit(1);
    }
}

#endif
