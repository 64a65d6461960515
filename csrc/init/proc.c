/* The host's procfs. Whatever the container mounts on its /proc, writes go through a descriptor of the host's procfs
 * that was opened before anything of the container could interfere (CVE-2019-16884, CVE-2019-19921), and each file is
 * reached without leaving that mount and checked to be procfs's own (CVE-2025-52881). */
#include "common.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "kernel.h"

bool is_procfs(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Keeps a descriptor of /proc if that is the root of a procfs. Without it only the steps that need it fail. */
void proc_open(struct init *init)
{
    CLOSING int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && is_procfs(fd) && fstat(fd, &st) == 0 && st.st_ino == PROC_ROOT_INO)
        init->proc = take_fd(&fd);
}

/* Opens a file of a procfs without leaving its mount; -1 and errno if that fails. */
static int open_below(int procfs, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    return sys_openat2(procfs, path, &how);
}

/* A detached procfs of this pid namespace; -1 if that is not permitted. */
static int own_procfs(void)
{
    CLOSING int context = sys_fsopen("proc");
    if (context < 0 || sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return -1;
    return sys_fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* Opens a sysctl. If /proc has none (mounted with subset=pid), or a read-only mount covers it (confined service), a
 * detached procfs has them: the kernel checks the permission to write. Only for files that are the same in every
 * procfs: processes have other numbers in this one. */
int proc_open_sysctl(struct init *init, const char *path, int flags)
{
    CLOSING int fd = init->proc < 0 ? -1 : open_below(init->proc, path, flags);
    if (fd < 0 && (init->proc < 0 || errno == ENOENT || errno == EXDEV || errno == EROFS)) {
        CLOSING int procfs = own_procfs();
        fd = procfs < 0 ? -1 : open_below(procfs, path, flags);
    }
    if (fd >= 0 && is_procfs(fd))
        return take_fd(&fd);
    return proc_open_file(init, path, flags); /* for its error */
}

/* Opens a file below the procfs; `path` is relative to it. */
int proc_open_file(struct init *init, const char *path, int flags)
{
    if (init->proc < 0)
        return fail(init, FAILED, "/proc/", path, ": the host has no procfs on /proc");
    CLOSING int fd = open_below(init->proc, path, flags);
    if (fd < 0)
        return fail(init, errno, "open /proc/", path);
    if (!is_procfs(fd))
        return fail(init, FAILED, "/proc/", path, " is not on procfs");
    return take_fd(&fd);
}

/* Opens a file of this process. Its number in the host's procfs differs from getpid() in a new pid namespace. */
int proc_open_self(struct init *init, const char *name, int flags)
{
    char self[DECIMAL_SIZE];
    char path[DECIMAL_SIZE + 64];
    ssize_t length = init->proc < 0 ? 0 : readlinkat(init->proc, "self", self, sizeof(self) - 1);
    if (length < 0)
        return fail(init, errno, "readlink /proc/self");
    self[length] = '\0';
    if (!join(path, sizeof(path), self, "/", name))
        return fail(init, ENAMETOOLONG, name);
    return proc_open_file(init, path, flags);
}

/* Writes the value in one write and closes the descriptor. A negative descriptor is returned unchanged. `path` is for
 * the error. */
int proc_write(struct init *init, int fd, const char *path, const char *value)
{
    if (fd < 0)
        return fd;
    CLOSING int file = fd;
    size_t length = strlen(value);
    ssize_t written = write(file, value, length);
    if (written < 0)
        return fail(init, errno, "write ", value, " to /proc/", path);
    if ((size_t)written != length)
        return fail(init, EIO, "write to /proc/", path);
    return 0;
}
