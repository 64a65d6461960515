/* The decoder of launch plans. It checks everything against the blob's bounds before a step is carried out. It makes no
 * system call and no allocation, so fuzz_decode.c can fuzz it unchanged. */
#define STEPS_FIELDS
#include "decode.h"

#include <limits.h>
#include <string.h>

static const char MAGIC[] = "pyrunc-plan-1";

/* The shortest step has a kind, a level and no errnos: three digits with their NULs. */
enum { SHORTEST_STEP = 6 };

bool parse_decimal(const char *text, uint64_t limit, uint64_t *value)
{
    uint64_t sum = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (digit > limit || sum > (limit - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

/* The next token, or NULL if no whole token is left. */
static const char *next_token(struct plan *plan)
{
    size_t left = plan->size - plan->at;
    const char *token = plan->data + plan->at;
    const char *end = left > 0 ? memchr(token, '\0', left) : NULL;
    if (end == NULL)
        return NULL;
    plan->at += (size_t)(end - token) + 1;
    return token;
}

static bool next_unsigned(struct plan *plan, uint64_t limit, uint64_t *value)
{
    size_t start = plan->at;
    const char *token = next_token(plan);
    if (token != NULL && parse_decimal(token, limit, value))
        return true;
    plan->at = start;
    return false;
}

static bool next_u32(struct plan *plan, uint32_t limit, uint32_t *value)
{
    uint64_t wide;
    if (!next_unsigned(plan, limit, &wide))
        return false;
    *value = (uint32_t)wide;
    return true;
}

static bool next_signed(struct plan *plan, int64_t lowest, int64_t highest, int64_t *value)
{
    size_t start = plan->at;
    const char *token = next_token(plan);
    if (token == NULL)
        return false;
    bool negative = *token == '-';
    /* -(lowest + 1) + 1: the magnitude of INT64_MIN is no int64_t */
    uint64_t limit = negative ? (uint64_t)(-(lowest + 1)) + 1 : (uint64_t)highest;
    uint64_t magnitude;
    if (!parse_decimal(token + negative, limit, &magnitude)) {
        plan->at = start;
        return false;
    }
    *value = negative && magnitude > 0 ? -(int64_t)(magnitude - 1) - 1 : (int64_t)magnitude;
    return true;
}

int plan_header(struct plan *plan, const char *data, size_t size)
{
    memset(plan, 0, sizeof(*plan));
    plan->data = data;
    plan->size = size;
    if (size > MAX_PLAN_SIZE)
        return -EFBIG;
    const char *magic = next_token(plan);
    if (magic == NULL || strcmp(magic, MAGIC) != 0) {
        plan->at = 0;
        return -EINVAL;
    }
    uint32_t timeline, fault;
    int64_t fault_step;
    if (!next_u32(plan, (uint32_t)(size / SHORTEST_STEP), &plan->step_count) ||
        !next_u32(plan, (uint32_t)size, &plan->pointer_count) || !next_u32(plan, 1, &timeline) ||
        !next_signed(plan, -1, INT_MAX, &fault_step) || !next_u32(plan, FAULT_FAIL, &fault))
        return -EINVAL;
    plan->timeline = timeline != 0;
    plan->fault_step = (int)fault_step;
    plan->fault = (enum fault)fault;
    return 0;
}

/* The steps, followed by each step's fields and lists. Each list takes count + 1 pointers, which the plan has added up,
 * and one free slot. There are at most as many lists as pointers. */
size_t plan_arena_size(const struct plan *plan)
{
    return plan->step_count * (sizeof(struct step) + sizeof(union step_fields)) +
           2 * (size_t)plan->pointer_count * sizeof(char *);
}

struct arena {
    char *next; /* aligned for pointers */
    uint32_t left; /* of the plan's pointers */
};

/* The next `size` bytes. plan_arena_size has counted them. */
static void *take(struct arena *arena, size_t size)
{
    void *taken = arena->next;
    arena->next += (size + sizeof(char *) - 1) & ~(sizeof(char *) - 1);
    return taken;
}

static bool decode_strv(struct plan *plan, struct arena *arena, struct strv *strv)
{
    if (arena->left == 0 || !next_u32(plan, arena->left - 1, &strv->count))
        return false;
    strv->items = take(arena, (strv->count + (size_t)2) * sizeof(char *));
    arena->left -= strv->count + 1;
    for (uint32_t i = 0; i < strv->count; i++) {
        const char *token = next_token(plan);
        if (token == NULL)
            return false;
        strv->items[i] = (char *)token; /* execve's type for argv; the text is not changed */
    }
    return true;
}

static bool decode_field(struct plan *plan, struct arena *arena, const struct field *field, void *fields)
{
    void *place = (char *)fields + field->offset;
    switch (field->type) {
    case FIELD_U32: return next_u32(plan, UINT32_MAX, place);
    case FIELD_U64: return next_unsigned(plan, UINT64_MAX, place);
    case FIELD_I64: return next_signed(plan, INT64_MIN, INT64_MAX, place);
    case FIELD_STR: {
        const char **text = place;
        *text = next_token(plan);
        return *text != NULL;
    }
    case FIELD_STRV: return decode_strv(plan, arena, place);
    case FIELD_FD: {
        int64_t fd;
        if (!next_signed(plan, -1, INT_MAX, &fd))
            return false;
        *(int *)place = (int)fd;
        return true;
    }
    }
    return false;
}

static bool decode_step(struct plan *plan, struct arena *arena, uint32_t highest_fallback, struct step *step)
{
    uint32_t kind, fallback_level, errno_count, number;
    if (!next_u32(plan, STEP_KINDS - 1, &kind) || !next_u32(plan, highest_fallback, &fallback_level) ||
        !next_u32(plan, MAX_ERRNOS, &errno_count))
        return false;
    step->kind = (uint8_t)kind;
    step->fallback_level = (uint8_t)fallback_level;
    step->errno_count = (uint8_t)errno_count;
    for (uint32_t i = 0; i < errno_count; i++) {
        if (!next_u32(plan, MAX_ERRNO, &number))
            return false;
        step->errnos[i] = (uint16_t)number;
    }
    void *fields = take(arena, kinds[kind].size);
    step->fields = fields;
    for (uint32_t i = 0; i < kinds[kind].count; i++)
        if (!decode_field(plan, arena, &kinds[kind].fields[i], fields))
            return false;
    return true;
}

int plan_decode(struct plan *plan, void *memory)
{
    plan->steps = memory;
    struct arena arena = {.next = (char *)(plan->steps + plan->step_count), .left = plan->pointer_count};
    uint32_t highest_fallback = 0; /* an alternative follows its step */
    for (uint32_t i = 0; i < plan->step_count; i++) {
        struct step *step = &plan->steps[i];
        if (!decode_step(plan, &arena, highest_fallback, step))
            return -EINVAL;
        highest_fallback = step->fallback_level < MAX_FALLBACK_LEVEL ? step->fallback_level + 1u : MAX_FALLBACK_LEVEL;
    }
    if (arena.left != 0)
        return -EINVAL;
    if (!plan->timeline)
        return plan->at == plan->size ? 0 : -EINVAL;
    size_t times = (plan->at + 7) & ~(size_t)7;
    return times <= plan->size && (plan->size - times) / 16 >= plan->step_count ? 0 : -EINVAL;
}

int plan_each_fd(const struct plan *plan, int (*visit)(int fd, void *data), void *data)
{
    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        for (uint32_t f = 0; f < kinds[step->kind].count; f++) {
            const struct field *field = &kinds[step->kind].fields[f];
            if (field->type != FIELD_FD)
                continue;
            int fd = *(const int *)((const char *)step->fields + field->offset);
            int result = fd < 0 ? 0 : visit(fd, data);
            if (result != 0)
                return result;
        }
    }
    return 0;
}
