/* Attacks of a container on its host, one a name: `attacks NAME…` prints a line `NAME RESULT` for each, the errno's
 * number or 0 where it was not refused. What an attack makes is its own process's only. Linked statically. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Numbers from 424 on are the same everywhere. */
enum {
    OPEN_TREE = 428,
    FSOPEN = 430,
    CLONE3 = 435,
    PIDFD_OPEN = 434,
    PIDFD_GETFD = 438,
    MOUNT_SETATTR = 442,
    IO_URING_SETUP = 425
};

static long of_call(long value)
{
    return value < 0 ? errno : 0;
}

static long of_open(const char *path, int flags)
{
    int fd = open(path, flags);
    long result = of_call(fd);
    if (fd >= 0)
        close(fd);
    return result;
}

/* Opens to write and writes nothing. */
static long of_write(const char *path)
{
    return of_open(path, O_WRONLY);
}

/* ENODATA: the file is empty, as one that is masked. */
static long of_read(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return errno;
    ssize_t count = read(fd, &byte, 1);
    close(fd);
    return count < 0 ? errno : count == 0 ? ENODATA : 0;
}

static long of_socket(int family, int type, int protocol)
{
    return of_call(socket(family, type, protocol));
}

/* Clones by a raw call without a stack of its own; the child ends at once. */
static long of_clone(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, 0);
    return of_call(pid);
}

static long of_clone3(void)
{
    uint64_t args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long pid = syscall(CLONE3, args, sizeof args);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, 0);
    return of_call(pid);
}

/* A process other than this one and its children: the container's first. */
static long of_tracing(void)
{
    return of_call(ptrace(PTRACE_SEIZE, 1, NULL, NULL));
}

static long of_vm_read(void)
{
    char buffer[8];
    struct iovec mine = {buffer, sizeof buffer}, theirs = {buffer, sizeof buffer};
    return of_call(process_vm_readv(1, &mine, 1, &theirs, 1, 0));
}

static long of_getfd(void)
{
    return of_call(syscall(PIDFD_GETFD, syscall(PIDFD_OPEN, 1, 0), 0, 0));
}

static long of_handle(void)
{
    struct file_handle *handle = calloc(1, sizeof *handle + 128);
    int mount_id;
    handle->handle_bytes = 128;
    if (name_to_handle_at(AT_FDCWD, "/", handle, &mount_id, 0) < 0)
        handle->handle_bytes = 8;
    return of_call(open_by_handle_at(AT_FDCWD, handle, O_RDONLY));
}

static long of_bpf(void)
{
    uint64_t instructions[2] = {0xb7, 0x95}; /* r0 = 0; exit */
    char attributes[128] = {0};
    uint32_t head[2] = {1, 2}; /* a socket filter of two instructions */
    uint64_t pointers[2] = {(uintptr_t)instructions, (uintptr_t)"GPL"};
    memcpy(attributes, head, sizeof head);
    memcpy(attributes + 8, pointers, sizeof pointers);
    return of_call(syscall(SYS_bpf, 5, attributes, sizeof attributes));
}

static long of_perf(void)
{
    uint32_t attributes[32] = {1, sizeof attributes, 0}; /* software, CPU clock */
    return of_call(syscall(SYS_perf_event_open, attributes, -1, 0, -1, 0)); /* of all of CPU 0 */
}

static long of_uring(void)
{
    uint32_t parameters[30] = {0};
    return of_call(syscall(IO_URING_SETUP, 4, parameters));
}

/* The abstract socket that the test has made: its name is the rest of the argument. */
static long of_abstract(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(address.sun_path + 1, name, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return of_call(
        connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)));
}

static long attack(const char *name)
{
#define IS(text) (strcmp(name, text) == 0)
    if (IS("mount"))
        return of_call(mount("x", "/tmp", "tmpfs", 0, NULL));
    if (IS("bind"))
        return of_call(mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL));
    if (IS("remount"))
        return of_call(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    if (IS("umount2"))
        return of_call(umount2("/proc/sys", MNT_DETACH));
    if (IS("pivot_root"))
        return of_call(syscall(SYS_pivot_root, ".", "."));
    if (IS("fsopen"))
        return of_call(syscall(FSOPEN, "tmpfs", 0));
    if (IS("open_tree"))
        return of_call(syscall(OPEN_TREE, AT_FDCWD, "/", 1));
    if (IS("mount_setattr"))
        return of_call(syscall(MOUNT_SETATTR, AT_FDCWD, "/", 0, (uint64_t[4]){1}, 32));
    if (IS("ptrace"))
        return of_tracing();
    if (IS("process_vm_readv"))
        return of_vm_read();
    if (IS("pidfd_getfd"))
        return of_getfd();
    if (IS("keyctl"))
        return of_call(syscall(SYS_keyctl, 0, -3, 0));
    if (IS("add_key"))
        return of_call(syscall(SYS_add_key, "user", "x", "y", 1, -3));
    if (IS("bpf"))
        return of_bpf();
    if (IS("unshare"))
        return of_call(unshare(CLONE_NEWUSER));
    if (IS("unshare_mounts"))
        return of_call(unshare(CLONE_NEWNS));
    if (IS("clone"))
        return of_clone(CLONE_NEWUSER);
    if (IS("clone3"))
        return of_clone3();
    if (IS("setns"))
        return of_call(setns(open("/proc/1/ns/mnt", O_RDONLY), 0));
    if (IS("chroot"))
        return of_call(chroot("/tmp"));
    if (IS("open_by_handle_at"))
        return of_handle();
    if (IS("kexec_load"))
        return of_call(syscall(SYS_kexec_load, 0, 0, NULL, 0));
    if (IS("init_module"))
        return of_call(syscall(SYS_init_module, "", 0, ""));
    if (IS("finit_module"))
        return of_call(syscall(SYS_finit_module, 0, "", 0));
    if (IS("delete_module"))
        return of_call(syscall(SYS_delete_module, "none", O_NONBLOCK));
    if (IS("perf_event_open"))
        return of_perf();
    if (IS("io_uring_setup"))
        return of_uring();
    if (IS("userfaultfd"))
        return of_call(syscall(SYS_userfaultfd, 0));
    if (IS("reboot"))
        return of_call(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL)); /* CAD off */
    if (IS("swapon"))
        return of_call(syscall(SYS_swapon, "/none", 0));
    if (IS("acct"))
        return of_call(syscall(SYS_acct, "/none"));
    if (IS("syslog"))
        return of_call(syscall(SYS_syslog, 3, malloc(16), 16));
    if (IS("sethostname"))
        return of_call(sethostname("x", 1));
    if (IS("clock_settime"))
        return of_call(syscall(SYS_clock_settime, 0, (uint64_t[2]){1, 0}));
    if (IS("quotactl"))
        return of_call(syscall(SYS_quotactl, 0x80000100, "/none", 0, NULL));
    if (IS("socket_raw"))
        return of_socket(AF_INET, SOCK_RAW, 1);
    if (IS("socket_raw6"))
        return of_socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, 58);
    if (IS("socket_packet"))
        return of_socket(17, SOCK_RAW, 0x0300);
    if (IS("socket_vsock"))
        return of_socket(40, SOCK_STREAM, 0);
    if (IS("socket_alg"))
        return of_socket(38, SOCK_SEQPACKET, 0);
    if (IS("socket_netfilter"))
        return of_socket(16, SOCK_RAW, 12);
    if (IS("mknod_char"))
        return of_call(mknod("/tmp/char", S_IFCHR | 0666, makedev(1, 11)));
    if (IS("mknod_block"))
        return of_call(mknod("/tmp/block", S_IFBLK | 0666, makedev(7, 0)));
    if (IS("sysrq-trigger"))
        return of_write("/proc/sysrq-trigger");
    if (IS("core_pattern"))
        return of_write("/proc/sys/kernel/core_pattern");
    if (IS("ip_forward"))
        return of_write("/proc/sys/net/ipv4/ip_forward");
    if (IS("uevent"))
        return of_write("/sys/kernel/rcu_expedited");
    if (IS("cgroup.procs"))
        return of_write("/sys/fs/cgroup/cgroup.procs");
    if (IS("cgroup_mkdir"))
        return of_call(mkdir("/sys/fs/cgroup/below", 0755));
    if (IS("kcore"))
        return of_read("/proc/kcore");
    if (IS("keys"))
        return of_read("/proc/keys");
    if (IS("image_device"))
        return of_open("/srv/kmsg", O_RDONLY);
    if (IS("host_file"))
        return of_call(openat(3, "file", O_RDONLY));
    if (IS("host_up"))
        return of_call(openat(3, "../..", O_RDONLY | O_DIRECTORY));
    if (IS("host_ids"))
        return of_call(setuid(70000));
    if (IS("host_process"))
        return of_call(kill(99999, 0));
    if (IS("TIOCSTI"))
        return of_call(ioctl(0, TIOCSTI, "x"));
    if (strncmp(name, "abstract:", 9) == 0)
        return of_abstract(name + 9);
    return -1;
}

/* Each attack is a process of its own, so that none changes what the next one finds. */
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            printf("%s %ld\n", argv[i], attack(argv[i]));
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
            return 1;
    }
    return 0;
}
