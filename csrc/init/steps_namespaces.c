/* The steps that finish the namespaces after the clone. */
#include "common.h"

#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>

#include "kernel.h"

/* Empties the ambient and the inheritable set, which kept the capabilities through the exec (csrc/native/clone.c). No
 * hook and no program may inherit them (CVE-2022-29162). */
static int drop_inheritable(struct init *init)
{
    const struct cap_header header = {.version = CAPABILITY_VERSION_3};
    struct cap_data data[2];
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");
    if (syscall(SYS_capget, &header, data) < 0)
        return fail(init, errno, "capget");
    data[0].inheritable = data[1].inheritable = 0;
    return syscall(SYS_capset, &header, data) < 0 ? fail(init, errno, "capset") : 0;
}

int step_become_root(struct init *init, const struct step_become_root *step)
{
    (void)step;
    if (sys_setresgid(0) < 0)
        return fail(init, errno, "setresgid");
    if (sys_setresuid(0) < 0)
        return fail(init, errno, "setresuid");
    int result = drop_inheritable(init);
    if (result < 0)
        return result;
    /* a change of user clears it */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fail(init, errno, "prctl(PR_SET_PDEATHSIG)");
    return 0;
}

int step_unshare(struct init *init, const struct step_unshare *step)
{
    return unshare((int)step->flags) < 0 ? fail(init, errno, "unshare") : 0;
}

int step_time_offset(struct init *init, const struct step_time_offset *step)
{
    static const char name[] = "timens_offsets";
    char seconds[DECIMAL_SIZE], nanoseconds[DECIMAL_SIZE], line[128];
    if (!join(line, sizeof(line), step->clock, " ", decimal(seconds, step->secs), " ",
              decimal(nanoseconds, step->nanosecs), "\n"))
        return fail(init, EINVAL, step->clock);
    return proc_write(init, proc_open_self(init, name, O_WRONLY), name, line);
}

int step_enter_time(struct init *init, const struct step_enter_time *step)
{
    (void)step;
    CLOSING int directory = proc_open_self(init, "ns", O_PATH | O_DIRECTORY);
    if (directory < 0)
        return directory;
    /* a magic link, which has to be followed; it must lead to a namespace */
    CLOSING int namespace = openat(directory, "time_for_children", O_RDONLY | O_CLOEXEC);
    struct statfs fs;
    if (namespace < 0 || fstatfs(namespace, &fs) < 0)
        return fail(init, errno, "open /proc/self/ns/time_for_children");
    if (fs.f_type != NSFS_MAGIC)
        return fail(init, FAILED, "/proc/self/ns/time_for_children is no namespace");
    return setns(namespace, CLONE_NEWTIME) < 0 ? fail(init, errno, "setns") : 0;
}

int step_set_nondumpable(struct init *init, const struct step_set_nondumpable *step)
{
    (void)step;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? fail(init, errno, "prctl(PR_SET_DUMPABLE)") : 0;
}

/* Reads the permissions out of a key's description, `type;uid;gid;permissions;name`, where they are hexadecimal. */
static bool key_permissions(const char *description, uint32_t *permissions)
{
    for (int field = 0; field < 3; field++) {
        description = strchr(description, ';');
        if (description == NULL)
            return false;
        description++;
    }
    uint32_t sum = 0;
    for (; *description != ';' && *description != '\0'; description++) {
        char digit = *description;
        if (digit >= '0' && digit <= '9')
            sum = sum << 4 | (uint32_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            sum = sum << 4 | (uint32_t)(digit - 'a' + 10);
        else
            return false;
    }
    *permissions = sum;
    return true;
}

int step_session_keyring(struct init *init, const struct step_session_keyring *step)
{
    long key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, step->name);
    if (key < 0 && errno == ENOSYS)
        return 0; /* a kernel without keyrings has none to leave */
    if (key < 0)
        return fail(init, errno, "join session keyring ", step->name);
    char description[512];
    long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, description, sizeof(description) - 1);
    if (length < 0)
        return fail(init, errno, "describe session keyring ", step->name);
    description[length < (long)sizeof(description) ? length : (long)sizeof(description) - 1] = '\0';
    uint32_t permissions;
    if (!key_permissions(description, &permissions))
        return fail(init, EINVAL, "session keyring ", step->name, ": ", description);
    /* the container's other processes may search it */
    if (syscall(SYS_keyctl, KEYCTL_SETPERM, key, permissions | KEY_USR_SEARCH) < 0)
        return fail(init, errno, "set the permissions of session keyring ", step->name);
    return 0;
}

int step_hostname(struct init *init, const struct step_hostname *step)
{
    return sethostname(step->name, strlen(step->name)) < 0 ? fail(init, errno, "sethostname ", step->name) : 0;
}

int step_domainname(struct init *init, const struct step_domainname *step)
{
    return setdomainname(step->name, strlen(step->name)) < 0 ? fail(init, errno, "setdomainname ", step->name) : 0;
}

int step_loopback_up(struct init *init, const struct step_loopback_up *step)
{
    (void)step;
    /* Any socket works: a request that its family does not know goes to the devices (sock_do_ioctl() in the kernel). A
     * socket of this family is open already; others may be missing or refused. */
    CLOSING int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0)
        return fail(init, errno, "socket");
    struct ifreq request = {.ifr_name = "lo"};
    if (ioctl(socket_fd, SIOCGIFFLAGS, &request) < 0)
        return fail(init, errno, "ioctl(SIOCGIFFLAGS)");
    request.ifr_flags |= IFF_UP;
    if (ioctl(socket_fd, SIOCSIFFLAGS, &request) < 0)
        return fail(init, errno, "ioctl(SIOCSIFFLAGS)");
    return 0;
}

int step_sysctl(struct init *init, const struct step_sysctl *step)
{
    char path[PATH_MAX];
    if (!join(path, sizeof(path), "sys/", step->path))
        return fail(init, ENAMETOOLONG, step->path);
    return proc_write(init, proc_open_sysctl(init, path, O_WRONLY), path, step->value);
}
