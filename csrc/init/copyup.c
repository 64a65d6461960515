/* tmpcopyup: copy the content of the image's directory into the tmpfs that will cover it. Both sides are walked by
 * descriptors without following symlinks, so a change meanwhile can't redirect the copy. */
#include "common.h"

#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "kernel.h"

enum {
    COPY_DEPTH = 128, /* directories deep */
    ENTRIES_SIZE = 2048, /* bytes of directory entries read at once, for each level */
    XATTR_SIZE = 256, /* security.capability takes 24 */
    MODE_BITS = 07777,
};

struct entry { /* struct linux_dirent64 */
    uint64_t ino;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* Copies owner, mode and times to `fd`, in this order: a change of owner clears set-user-ID. An owner that is not
 * mapped in this user namespace can't be set (EINVAL). */
static int copy_inode(int fd, const struct stat *st)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (fchown(fd, st->st_uid, st->st_gid) < 0 && errno != EINVAL && errno != EPERM)
        return -errno;
    if (fchmod(fd, st->st_mode & MODE_BITS) < 0 || futimens(fd, times) < 0)
        return -errno;
    return 0;
}

/* Copies file capabilities, if there are any and the tmpfs supports them. */
static int copy_file_capabilities(int from, int to)
{
    static const char name[] = "security.capability";
    char value[XATTR_SIZE];
    ssize_t length = fgetxattr(from, name, value, sizeof(value));
    if (length < 0)
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
    if (fsetxattr(to, name, value, (size_t)length, 0) < 0 && errno != EOPNOTSUPP && errno != EPERM)
        return -errno;
    return 0;
}

static int copy_file(int from_directory, int to_directory, const char *name)
{
    /* O_NONBLOCK: the open must not wait if the file is a FIFO by now */
    CLOSING int from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EAGAIN; /* it is another file by now */
    CLOSING int to = openat(to_directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    ssize_t count;
    do {
        count = sendfile(to, from, NULL, 1 << 30);
    } while (count > 0 || (count < 0 && errno == EINTR));
    if (count < 0)
        return -errno;
    int result = copy_inode(to, &st);
    return result < 0 ? result : copy_file_capabilities(from, to);
}

/* Copies a symlink or a special file from `from` (O_PATH). */
static int copy_special(int from, int to_directory, const char *name, const struct stat *st)
{
    if (S_ISLNK(st->st_mode)) {
        char target[PATH_MAX];
        ssize_t length = readlinkat(from, "", target, sizeof(target) - 1);
        if (length < 0)
            return -errno;
        target[length] = '\0';
        if (symlinkat(target, to_directory, name) < 0)
            return -errno;
    } else if (mknodat(to_directory, name, st->st_mode, st->st_rdev) < 0) {
        return -errno;
    }
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (fchownat(to_directory, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EINVAL &&
        errno != EPERM)
        return -errno;
    return utimensat(to_directory, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_entries(int from, int to, int depth);

static int copy_directory(int from_directory, int to_directory, const char *name, int depth)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    CLOSING int from = openat(from_directory, name, flags);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return -errno;
    if (mkdirat(to_directory, name, 0700) < 0)
        return -errno;
    CLOSING int to = openat(to_directory, name, flags);
    if (to < 0)
        return -errno;
    int result = copy_entries(from, to, depth);
    return result < 0 ? result : copy_inode(to, &st);
}

static int copy_entry(int from_directory, int to_directory, const char *name, int depth)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    CLOSING int from = openat(from_directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return copy_directory(from_directory, to_directory, name, depth + 1);
    if (S_ISREG(st.st_mode))
        return copy_file(from_directory, to_directory, name);
    return copy_special(from, to_directory, name, &st);
}

static int copy_entries(int from, int to, int depth)
{
    _Alignas(struct entry) char entries[ENTRIES_SIZE];
    long size;
    if (depth > COPY_DEPTH)
        return -ELOOP;
    while ((size = syscall(SYS_getdents64, from, entries, sizeof(entries))) > 0) {
        for (long at = 0; at < size; at += ((struct entry *)(void *)(entries + at))->length) {
            int result = copy_entry(from, to, ((struct entry *)(void *)(entries + at))->name, depth);
            if (result < 0)
                return result;
        }
    }
    return size < 0 ? -errno : 0;
}

/* Copies the content of the directory `from` (O_PATH) to the root of the mount `to`. The mount's options set the mode
 * and owner of that root. */
int copy_up(struct init *init, int from, int to, const char *path)
{
    CLOSING int from_directory = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLOSING int to_directory = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from_directory < 0 || to_directory < 0)
        return fail(init, errno, "tmpcopyup ", path);
    int result = copy_entries(from_directory, to_directory, 0);
    return result < 0 ? fail(init, -result, "tmpcopyup: failed to copy ", path) : 0;
}
