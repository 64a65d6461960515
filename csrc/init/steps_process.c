/* The steps for limits, user and capabilities of the process. */
#include "common.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kernel.h"

enum {
    MAX_GROUPS = 65536, /* NGROUPS_MAX of the kernel */
    CAPABILITIES = 64, /* bits of a set */
    SET_GROUPS_IF_ALLOWED = 2,
};

int step_rlimit(struct init *init, const struct step_rlimit *step)
{
    const uint64_t limit[2] = {step->soft, step->hard};
    if (syscall(SYS_prlimit64, 0, step->resource, limit, NULL) < 0) {
        char number[DECIMAL_SIZE];
        return fail(init, errno, "setrlimit ", decimal(number, step->resource));
    }
    return 0;
}

int step_oom_score_adj(struct init *init, const struct step_oom_score_adj *step)
{
    static const char name[] = "oom_score_adj";
    char value[DECIMAL_SIZE];
    return proc_write(init, proc_open_self(init, name, O_WRONLY), name, decimal(value, step->value));
}

int step_security_label(struct init *init, const struct step_security_label *step)
{
    char name[NAME_MAX + 1];
    if (!join(name, sizeof(name), "attr/", step->attribute))
        return fail(init, ENAMETOOLONG, step->attribute);
    return proc_write(init, proc_open_self(init, name, O_WRONLY), name, step->label);
}

int step_no_new_privileges(struct init *init, const struct step_no_new_privileges *step)
{
    (void)step;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(init, errno, "prctl(PR_SET_NO_NEW_PRIVS)") : 0;
}

/* No descriptor of the host may reach the program (CVE-2024-21626). */
int step_keep_fds(struct init *init, const struct step_keep_fds *step)
{
    if (sys_close_range(step->first, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        return fail(init, errno, "close_range");
    return 0;
}

int step_bounding(struct init *init, const struct step_bounding *step)
{
    for (int capability = 0; capability < CAPABILITIES; capability++) {
        if ((step->keep >> capability & 1) != 0 || prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
            continue;
        int error = errno;
        if (error == EINVAL)
            break; /* the kernel knows no more */
        if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 0)
            continue; /* dropping an absent one needs CAP_SETPCAP too */
        char number[DECIMAL_SIZE];
        return fail(init, error, "prctl(PR_CAPBSET_DROP) ", decimal(number, capability));
    }
    return 0;
}

/* The numbers overwrite the pointers to their texts, which are at least as large and have been read before. */
static int set_groups(struct init *init, const struct strv *names)
{
    _Static_assert(sizeof(gid_t) <= sizeof(char *), "a number has room in a pointer's place");
    char *groups = (char *)names->items;
    if (names->count > MAX_GROUPS)
        return fail(init, EINVAL, "setgroups: too many groups");
    for (uint32_t i = 0; i < names->count; i++) {
        uint64_t gid;
        if (!parse_decimal(names->items[i], UINT32_MAX, &gid))
            return fail(init, EINVAL, "setgroups ", names->items[i]);
        const gid_t number = (gid_t)gid;
        memcpy(groups + i * sizeof(number), &number, sizeof(number));
    }
    return sys_setgroups(names->count, groups) < 0 ? fail(init, errno, "setgroups") : 0;
}

/* Whether the user namespace denies setgroups (user_namespaces(7)). */
static int groups_are_denied(struct init *init)
{
    char word[sizeof("allow\n")] = "";
    CLOSING int file = proc_open_self(init, "setgroups", O_RDONLY);
    if (file < 0)
        return file;
    if (read(file, word, sizeof(word) - 1) < 0)
        return fail(init, errno, "read /proc/self/setgroups");
    return starts_with(word, "deny");
}

int step_user(struct init *init, const struct step_user *step)
{
    char number[DECIMAL_SIZE];
    int denied = step->set_groups == SET_GROUPS_IF_ALLOWED ? groups_are_denied(init) : step->set_groups == 0;
    if (denied < 0)
        return denied;
    /* the capabilities have to last until they are set */
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_SET_KEEPCAPS)");
    int result = denied ? 0 : set_groups(init, &step->groups);
    if (result < 0)
        return result;
    if (sys_setresgid(step->gid) < 0)
        return fail(init, errno, "setresgid ", decimal(number, step->gid));
    if (sys_setresuid(step->uid) < 0)
        return fail(init, errno, "setresuid ", decimal(number, step->uid));
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_SET_KEEPCAPS)");
    /* a change of user clears it */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_SET_PDEATHSIG)");
    return 0;
}

/* Enters the working directory. Links of /proc to descriptors and processes are not followed (ELOOP), as when `create`
 * makes the directory. If it is outside of the root nevertheless, the kernel's getcwd returns a name without a slash at
 * its beginning (CVE-2024-21626); the C library's getcwd hides that. */
int step_chdir(struct init *init, const struct step_chdir *step)
{
    char directory[PATH_MAX];
    bool is_root = strcmp(step->path, "/") == 0; /* as in most configurations: no link on the way to it */
    CLOSING int opened = is_root ? -1 : open_in_root(init, step->path, O_PATH | O_DIRECTORY);
    if (!is_root && opened < 0)
        return fail(init, -opened, "chdir to cwd (\"", step->path, "\") set in config.json failed");
    if ((is_root ? chdir("/") : fchdir(opened)) < 0)
        return fail(init, errno, "chdir to cwd (\"", step->path, "\") set in config.json failed");
    long length = syscall(SYS_getcwd, directory, sizeof(directory));
    if (length < 0 && errno != ENOENT)
        return fail(init, errno, "getcwd");
    if (length < 0 || directory[0] != '/')
        return fail(init, FAILED, "the working directory \"", step->path, "\" is outside of the container's root");
    return 0;
}

/* Sets exactly the sets of the configuration; an absent one is empty (CVE-2022-29162). */
int step_capabilities(struct init *init, const struct step_capabilities *step)
{
    const struct cap_header header = {.version = CAPABILITY_VERSION_3};
    const struct cap_data data[2] = {
        {(uint32_t)step->effective, (uint32_t)step->permitted, (uint32_t)step->inheritable},
        {(uint32_t)(step->effective >> 32), (uint32_t)(step->permitted >> 32), (uint32_t)(step->inheritable >> 32)},
    };
    return syscall(SYS_capset, &header, data) < 0 ? fail(init, errno, "capset") : 0;
}

int step_ambient(struct init *init, const struct step_ambient *step)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");
    for (int capability = 0; capability < CAPABILITIES; capability++) {
        if ((step->caps >> capability & 1) == 0)
            continue;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0) {
            char number[DECIMAL_SIZE];
            return fail(init, errno, "can't raise ambient capability ", decimal(number, capability));
        }
    }
    return 0;
}

int step_umask(struct init *init, const struct step_umask *step)
{
    init->umask = step->mask & 0777;
    umask(init->umask);
    init->umask_is_set = true;
    return 0;
}
