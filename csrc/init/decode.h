/* The decoded launch plan. docs/architecture.md has the form of the wire. */
#ifndef PYRUNC_DECODE_H
#define PYRUNC_DECODE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct init;

/* A list of texts. After the NULL at the end of `items` there is one free slot, for a text to append. */
struct strv {
    char **items;
    uint32_t count;
};

enum field_type { FIELD_U32, FIELD_U64, FIELD_I64, FIELD_STR, FIELD_STRV, FIELD_FD };

/* The offset of a field in the structure of its step. */
struct field {
    enum field_type type;
    uint32_t offset;
};

#include "steps.gen.h"

enum {
    MAX_FALLBACK_LEVEL = 7,
    MAX_ERRNOS = 8,
    MAX_ERRNO = 4095,
    MAX_PLAN_SIZE = 16 << 20, /* bytes */
};

struct step {
    uint8_t kind;
    uint8_t fallback_level;
    uint8_t errno_count;
    uint16_t errnos[MAX_ERRNOS]; /* those that let the plan go on */
    const void *fields; /* the structure of its kind */
};

enum fault { FAULT_NONE, FAULT_STOP, FAULT_FAIL };

struct plan {
    const char *data;
    size_t size;
    size_t at; /* how far `data` has been read */
    uint32_t step_count;
    uint32_t pointer_count;
    bool timeline;
    int fault_step; /* -1 for none */
    enum fault fault;
    struct step *steps;
};

/* Reads the plan's header from `size` bytes at `data`. Returns 0 or a negative errno. plan_decode then needs an arena
 * of at most plan_arena_size() bytes. It is filled from its start; the rest is not touched. */
int plan_header(struct plan *plan, const char *data, size_t size);
size_t plan_arena_size(const struct plan *plan);

/* Decodes all steps into the arena (zeroed, aligned for pointers). Returns 0 or a negative errno; plan->at is then the
 * place of the error. */
int plan_decode(struct plan *plan, void *arena);

/* Calls `visit` for each fd field of the plan with a descriptor, until it returns other than 0. */
int plan_each_fd(const struct plan *plan, int (*visit)(int fd, void *data), void *data);

/* Decimal text as a number of at most `limit`. */
bool parse_decimal(const char *text, uint64_t limit, uint64_t *value);

#endif
