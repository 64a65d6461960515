/* The steps that build a Landlock ruleset and enforce it. */
#include "common.h"

#include <string.h>
#include <sys/stat.h>

#include "kernel.h"

int step_landlock_ruleset(struct init *init, const struct step_landlock_ruleset *step)
{
    const struct landlock_ruleset ruleset = {step->handled_fs, step->handled_net, step->scoped};
    init->landlock = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
    return init->landlock < 0 ? fail(init, errno, "landlock_create_ruleset") : 0;
}

int step_landlock_path(struct init *init, const struct step_landlock_path *step)
{
    CLOSING int parent = open_in_root(init, step->path, O_PATH);
    if (parent == -ENOENT && step->if_there)
        return 0;
    if (parent < 0)
        return parent;
    struct stat st;
    if (fstat(parent, &st) < 0)
        return fail(init, errno, "stat ", step->path);
    if (!S_ISDIR(st.st_mode) && (step->access & ~LANDLOCK_OF_FILES) != 0)
        return fail(init, FAILED, step->path, " is no directory, and takes only " LANDLOCK_NAMES_OF_FILES);
    const struct landlock_path rule = {step->access, parent};
    if (syscall(SYS_landlock_add_rule, init->landlock, LANDLOCK_PATH_BENEATH, &rule, 0) < 0)
        return fail(init, errno, "landlock_add_rule ", step->path);
    return 0;
}

int step_landlock_port(struct init *init, const struct step_landlock_port *step)
{
    const struct landlock_port rule = {step->access, step->port};
    if (syscall(SYS_landlock_add_rule, init->landlock, LANDLOCK_NET_PORT, &rule, 0) < 0) {
        char number[DECIMAL_SIZE];
        return fail(init, errno, "landlock_add_rule for port ", decimal(number, step->port));
    }
    return 0;
}

int step_landlock_restrict(struct init *init, const struct step_landlock_restrict *step)
{
    if (syscall(SYS_landlock_restrict_self, init->landlock, step->flags) < 0)
        return fail(init, errno, "landlock_restrict_self");
    close_fd(&init->landlock);
    return 0;
}
