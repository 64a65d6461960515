/* libFuzzer target: the decoder gets arbitrary bytes. An accepted plan is read completely, so AddressSanitizer finds
 * pointers out of the blob or the arena. */
#define STEPS_FIELDS
#include "decode.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink;

static int read_fd(int fd, void *data)
{
    (void)data;
    sink += (size_t)fd;
    return 0;
}

static void read_field(const struct field *field, const void *place)
{
    if (field->type == FIELD_STR)
        sink += strlen(*(const char *const *)place);
    if (field->type == FIELD_STRV) {
        const struct strv *strv = place;
        for (uint32_t i = 0; i < strv->count; i++)
            sink += strlen(strv->items[i]);
        if (strv->items[strv->count] != NULL || strv->items[strv->count + 1] != NULL)
            abort();
    }
}

static void read_step(const struct step *step)
{
    if (step->kind >= STEP_KINDS || step->fallback_level > MAX_FALLBACK_LEVEL || step->errno_count > MAX_ERRNOS)
        abort();
    for (uint32_t i = 0; i < kinds[step->kind].count; i++) {
        const struct field *field = &kinds[step->kind].fields[i];
        read_field(field, (const char *)step->fields + field->offset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan plan;
    /* a copy of exactly this size, for the sanitizer to see a read behind its end */
    char *blob = malloc(size > 0 ? size : 1);
    memcpy(blob, data, size);
    if (plan_header(&plan, blob, size) == 0) {
        void *arena = calloc(1, plan_arena_size(&plan) + 1);
        if (arena != NULL && plan_decode(&plan, arena) == 0) {
            for (uint32_t i = 0; i < plan.step_count; i++)
                read_step(&plan.steps[i]);
            plan_each_fd(&plan, read_fd, NULL);
        }
        free(arena);
    }
    free(blob);
    return 0;
}
