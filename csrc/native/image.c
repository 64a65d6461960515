/* The init's program and plan in files that nobody can write to. A part of pyrunc._core. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init_image.gen.h"
#include "parent.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t count = write(fd, data, length);
        if (count < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        data += count;
        length -= (size_t)count;
    }
    return 0;
}

/* memfd_create(2) with a flag of Linux 6.3, without it on earlier kernels. */
static int create_memfd(const char *name, unsigned int flags, unsigned int flag)
{
    int fd = (int)syscall(SYS_memfd_create, name, flags | flag);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_memfd_create, name, flags);
    return fd;
}

/* CVE-2019-5736: the init's program is a copy in memory that nobody can write to, never a file of the host. */
int pyrunc_init_image(void)
{
    CLEANUP_FD int fd = create_memfd("pyrunc-init", MFD_CLOEXEC | MFD_ALLOW_SEALING, MFD_EXEC);
    if (fd < 0)
        return -errno;
    int error = write_all(fd, (const char *)init_image, sizeof init_image);
    if (error < 0)
        return error;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -errno;
    return take_fd(&fd);
}

/* The program on its own detached tmpfs, which becomes read-only after the program is written: nobody who opens it by
 * /proc/PID/exe can write to it (CVE-2019-5736), and nobody can find or remount it. */
static int image_on_tmpfs(void)
{
    static const char name[] = "pyrunc-init";
    const struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    CLEANUP_FD int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    CLEANUP_FD int mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (mount < 0)
        return -errno;
    CLEANUP_FD int file = openat(mount, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500);
    if (file < 0 || fchmod(file, 0555) < 0)
        return -errno;
    int error = write_all(file, (const char *)init_image, sizeof init_image);
    if (error < 0)
        return error;
    close(take_fd(&file)); /* what is open for writing can't be executed */
    if (syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0)
        return -errno;
    int image = openat(mount, name, O_RDONLY | O_CLOEXEC);
    return image < 0 ? -errno : image;
}

static int write_file(const char *path, const char *text)
{
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : write_all(fd, text, strlen(text));
}

/* In a new user namespace, whose root may mount a tmpfs. Its root is the runtime's user, who owns the file. */
static int image_in_user_namespace(unsigned int uid, unsigned int gid)
{
    char line[32];
    int error = write_file("/proc/self/setgroups", "deny");
    snprintf(line, sizeof line, "0 %u 1", uid);
    if (error == 0)
        error = write_file("/proc/self/uid_map", line);
    snprintf(line, sizeof line, "0 %u 1", gid);
    if (error == 0)
        error = write_file("/proc/self/gid_map", line);
    return error < 0 ? error : image_on_tmpfs();
}

/* The same program for hosts that forbid executable memfds (sysctl vm.memfd_noexec). Without the right to mount, a
 * process in a user namespace makes the file: it shares this process's descriptors, and sends the number by the pipe.
 * */
int pyrunc_init_image_on_tmpfs(void)
{
    int image = image_on_tmpfs();
    if (image != -EPERM)
        return image;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    CLEANUP_FD int reader = ends[0];
    CLEANUP_FD int writer = ends[1];
    const unsigned int uid = geteuid(), gid = getegid();
    const unsigned long flags = CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS | SIGCHLD;
    long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (pid == 0) {
        image = image_in_user_namespace(uid, gid);
        _exit(write(writer, &image, sizeof image) == (ssize_t)sizeof image ? 0 : 1);
    }
    if (pid < 0)
        return -errno;
    while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
        ;
    close(take_fd(&writer)); /* it has ended: the pipe has its report, or is at its end */
    if (read(reader, &image, sizeof image) != (ssize_t)sizeof image)
        image = -ESRCH;
    return image;
}

/* Sealed, so the plan does not change after the init has checked it. If there is room after the data, it stays
 * writable: in a launch with a timeline the init stores its times there. */
int pyrunc_memfd(const char *name, const char *data, size_t length, size_t size)
{
    CLEANUP_FD int fd = create_memfd(name, MFD_CLOEXEC | MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL);
    if (fd < 0)
        return -errno;
    int error = write_all(fd, data, length);
    if (error < 0)
        return error;
    if (size > length && ftruncate(fd, (off_t)size) < 0)
        return -errno;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | (size > length ? 0 : F_SEAL_WRITE)) < 0)
        return -errno;
    return take_fd(&fd);
}
