/* The steps for scheduling of CPU and I/O, for memory nodes, and for the personality. */
#include "common.h"

#include "kernel.h"

enum {
    NODES = 1024, /* MAX_NUMNODES of the kernel at its largest */
    CPUS = 8192, /* CONFIG_NR_CPUS of the kernel at its largest */
    NAMED_CPUS = 65536, /* the highest CPU in the specification's lists */
    BITS = 8 * sizeof(unsigned long),
};

/* Sets the bits with the numbers in the texts, each below `limit`. Returns a text that is no such number, or NULL.
 * Numbers from `bits` on are ignored: no kernel has so many. */
static const char *set_bits(unsigned long *mask, uint64_t bits, const struct strv *numbers, uint64_t limit)
{
    for (uint32_t i = 0; i < numbers->count; i++) {
        uint64_t bit;
        if (!parse_decimal(numbers->items[i], limit - 1, &bit))
            return numbers->items[i];
        if (bit < bits)
            mask[bit / BITS] |= 1ul << bit % BITS;
    }
    return NULL;
}

int step_scheduler(struct init *init, const struct step_scheduler *step)
{
    const struct kernel_sched_attr attr = {
        .size = sizeof(attr),
        .policy = step->policy,
        .flags = step->flags,
        .nice = (int32_t)step->nice,
        .priority = step->priority,
        .runtime = step->runtime,
        .deadline = step->deadline,
        .period = step->period,
    };
    return syscall(SYS_sched_setattr, 0, &attr, 0) < 0 ? fail(init, errno, "error setting scheduler") : 0;
}

/* For the process group, which is the init alone: it has made its own session. */
int step_io_priority(struct init *init, const struct step_io_priority *step)
{
    uint32_t value = step->class << IOPRIO_CLASS_SHIFT | step->priority;
    return syscall(SYS_ioprio_set, IOPRIO_WHO_PGRP, 0, value) < 0 ? fail(init, errno, "failed to set io priority") : 0;
}

int step_memory_policy(struct init *init, const struct step_memory_policy *step)
{
    unsigned long mask[NODES / BITS] = {0};
    const char *wrong = set_bits(mask, NODES, &step->nodes, NODES);
    if (wrong != NULL)
        return fail(init, EINVAL, "set_mempolicy: node ", wrong);
    /* the kernel takes one off the number of bits */
    bool any = step->nodes.count > 0;
    if (syscall(SYS_set_mempolicy, step->mode | step->flags, any ? mask : NULL, any ? NODES + 1 : 0) < 0)
        return fail(init, errno, "set_mempolicy");
    return 0;
}

int step_personality(struct init *init, const struct step_personality *step)
{
    return syscall(SYS_personality, step->domain) < 0 ? fail(init, errno, "personality") : 0;
}

int step_cpu_affinity(struct init *init, const struct step_cpu_affinity *step)
{
    unsigned long mask[CPUS / BITS] = {0}; /* not static: each written page adds to the memory of a waiting container */
    const char *wrong = set_bits(mask, CPUS, &step->cpus, NAMED_CPUS);
    if (wrong != NULL)
        return fail(init, EINVAL, "sched_setaffinity: CPU ", wrong);
    bool all = step->cpus.count == 0;
    for (uint32_t i = 0; all && i < CPUS / BITS; i++)
        mask[i] = ~0ul;
    /* the configuration does not ask for all CPUs: if a filter on the runtime refuses the call, it is skipped */
    if (syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask) < 0 && !all)
        return fail(init, errno, "sched_setaffinity");
    return 0;
}
