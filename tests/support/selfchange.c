/* A container's process that changes something about itself, as its arguments say, and then waits. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int filter(void)
{
    struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    struct sock_fprog program = {1, allow};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int drop(unsigned long long bits)
{
    struct {
        unsigned version;
        int pid;
    } header = {0x20080522, 0};
    struct {
        unsigned effective, permitted, inheritable;
    } sets[2];
    if (syscall(SYS_capget, &header, sets) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        unsigned half = (unsigned)(bits >> (32 * i));
        sets[i].effective &= ~half;
        sets[i].permitted &= ~half;
        sets[i].inheritable &= ~half;
    }
    return (int)syscall(SYS_capset, &header, sets);
}

static int change(const char *what, const char *value)
{
    if (strcmp(what, "no_new_privs") == 0)
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (strcmp(what, "seccomp") == 0)
        return filter();
    if (strcmp(what, "caps") == 0)
        return drop(strtoull(value, NULL, 0));
    if (strcmp(what, "bounding") == 0)
        return prctl(PR_CAPBSET_DROP, atoi(value), 0, 0, 0);
    if (strcmp(what, "ambient") == 0)
        return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (strcmp(what, "uid") == 0)
        return setresuid((uid_t)atoi(value), (uid_t)atoi(value), (uid_t)atoi(value));
    if (strcmp(what, "gid") == 0)
        return setresgid((gid_t)atoi(value), (gid_t)atoi(value), (gid_t)atoi(value));
    if (strcmp(what, "groups") == 0) {
        gid_t group = (gid_t)atoi(value);
        return (int)syscall(SYS_setgroups, 1, &group);
    }
    if (strcmp(what, "umask") == 0)
        return (umask((mode_t)strtol(value, NULL, 8)), 0);
    if (strcmp(what, "chroot") == 0)
        return chroot(value);
    if (strcmp(what, "unshare") == 0)
        return unshare((int)strtol(value, NULL, 0));
    if (strcmp(what, "personality") == 0)
        return syscall(SYS_personality, strtoul(value, NULL, 0)) < 0 ? -1 : 0;
    if (strcmp(what, "mempolicy") == 0)
        return (int)syscall(SYS_set_mempolicy, strtol(value, NULL, 0), NULL, 0);
    return -1;
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (change(argv[i], argv[i + 1]) != 0)
            return 1;
    (void)!write(1, "changed\n", 8);
    for (;;)
        pause();
}
