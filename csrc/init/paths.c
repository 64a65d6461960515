/* Paths inside the rootfs. The image is hostile: a path of the container is resolved by the kernel as if the rootfs
 * were the root (RESOLVE_IN_ROOT) once, and the file is used by its descriptor from then on. A symlink that
 * changes afterwards changes nothing (CVE-2021-30465, CVE-2023-27561, CVE-2024-45310). */
#include "common.h"

#include <string.h>
#include <sys/stat.h>

#include "kernel.h"

enum {
    MAX_DEPTH = 128, /* directories deep, of a path that has to be made */
    MAX_LINKS = 40, /* followed in one path, as the kernel does */
    MAX_RETRIES = 128, /* of a look-up that a rename or a mount elsewhere interrupts */
    DIRECTORY_MODE = 0755,
    FILE_MODE = 0644,
};

int root_fd(struct init *init)
{
    if (init->root < 0)
        init->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (init->root < 0)
        return fail(init, errno, "open /");
    return init->root;
}

static int resolve(struct init *init, const char *path, uint64_t flags, uint64_t resolve_flags)
{
    int root = root_fd(init);
    if (root < 0)
        return root;
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve_flags,
    };
    int fd;
    int retries = MAX_RETRIES;
    /* EAGAIN: because of a rename meanwhile the kernel can't tell whether a `..` stayed in the root */
    do {
        fd = sys_openat2(root, path, &how);
    } while (fd < 0 && (errno == EINTR || errno == EAGAIN) && --retries > 0);
    return fd >= 0 ? fd : fail(init, errno, "open ", path);
}

/* Opens the file at a path of the container. */
int open_in_root(struct init *init, const char *path, uint64_t flags)
{
    return resolve(init, path, flags, 0);
}

/* A walk along a path by descriptors, which makes missing files. It keeps the directories that it has passed, so `..`
 * leads back to them, and never to the place where a directory was moved meanwhile. */
struct walk {
    struct init *init;
    const char *path; /* for errors */
    int fds[MAX_DEPTH]; /* the first is the rootfs */
    int depth;
    int links;
    char rest[PATH_MAX];
};

static void walk_back(struct walk *walk, int depth)
{
    while (walk->depth > depth)
        close_fd(&walk->fds[walk->depth--]);
}

static void walk_end(struct walk *walk)
{
    walk_back(walk, 0);
}

/* Cuts off the next component: returns 1, 0 at the end of the path, or a negative errno. `last`: whether it is the
 * last. */
static int next_component(struct walk *walk, char name[static NAME_MAX + 1], bool *last)
{
    char *start = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(start, "/");
    if (length > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, start, length);
    name[length] = '\0';
    char *behind = start + length + strspn(start + length, "/");
    *last = *behind == '\0';
    memmove(walk->rest, behind, strlen(behind) + 1);
    return length > 0;
}

/* Puts a symlink's text before the rest of the path. An absolute one starts at the rootfs again. */
static int follow_link(struct walk *walk, int link)
{
    char text[PATH_MAX];
    char rest[PATH_MAX];
    if (++walk->links > MAX_LINKS)
        return -ELOOP;
    ssize_t length = readlinkat(link, "", text, sizeof(text) - 1);
    if (length < 0)
        return -errno;
    text[length] = '\0';
    memcpy(rest, walk->rest, sizeof(rest));
    if (!join(walk->rest, sizeof(walk->rest), text, "/", rest))
        return -ENAMETOOLONG;
    if (text[0] == '/')
        walk_back(walk, 0);
    return 0;
}

/* Opens `name` in a directory, and makes it if it is missing: an empty file, or a directory. Another container on the
 * same rootfs may make or remove the same name meanwhile: then it is opened again, and the caller checks its type.
 * Returns a descriptor or a negative errno. */
int open_or_make(int directory, const char *name, enum make make, mode_t mode)
{
    int error = ENOENT;
    for (int i = 0; i < MAX_RETRIES && (error == ENOENT || error == EEXIST); i++) {
        int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 || errno != ENOENT)
            return fd >= 0 ? fd : -errno;
        if (make == MAKE_DIRECTORY) {
            error = mkdirat(directory, name, mode) < 0 ? errno : ENOENT; /* and is opened then */
            continue;
        }
        fd = openat(directory, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0)
            return fd;
        error = errno;
    }
    return -error;
}

static int open_component(struct walk *walk, const char *name, enum make make)
{
    int directory = walk->fds[walk->depth];
    int result = announce(walk->init, "make", name, directory);
    if (result < 0)
        return result;
    return open_or_make(directory, name, make, make == MAKE_DIRECTORY ? DIRECTORY_MODE : FILE_MODE);
}

static int walk_to_end(struct walk *walk, enum make make, enum links links)
{
    char name[NAME_MAX + 1];
    bool last;
    int more;
    while ((more = next_component(walk, name, &last)) > 0) {
        if (strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") == 0) {
            walk_back(walk, walk->depth > 0 ? walk->depth - 1 : 0);
            continue;
        }
        CLOSING int fd = open_component(walk, name, last ? make : MAKE_DIRECTORY);
        struct stat st;
        if (fd < 0)
            return fd;
        if (fstat(fd, &st) < 0)
            return -errno;
        if (S_ISLNK(st.st_mode)) {
            int result = links == REFUSE_LINKS ? -ELOOP : follow_link(walk, fd);
            if (result < 0)
                return result;
            continue;
        }
        if (last && make == MAKE_FILE)
            return take_fd(&fd);
        if (!S_ISDIR(st.st_mode))
            return -ENOTDIR;
        if (walk->depth + 1 == MAX_DEPTH)
            return -ENAMETOOLONG;
        walk->fds[++walk->depth] = take_fd(&fd);
    }
    if (more < 0)
        return more;
    int fd = fcntl(walk->fds[walk->depth], F_DUPFD_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

/* Opens (O_PATH) a path of the container. Missing directories are made, and with MAKE_FILE the file at the end; for a
 * dangling symlink, its target in the rootfs. */
int make_in_root(struct init *init, const char *path, enum make make, enum links links)
{
    uint64_t flags = O_PATH | (make == MAKE_DIRECTORY ? O_DIRECTORY : 0);
    int fd = resolve(init, path, flags, links == REFUSE_LINKS ? RESOLVE_NO_SYMLINKS : 0);
    if (fd != -ENOENT)
        return fd;
    struct walk walk __attribute__((cleanup(walk_end))) = {.init = init, .path = path, .fds = {init->root}};
    if (!join(walk.rest, sizeof(walk.rest), path))
        return fail(init, ENAMETOOLONG, "make ", path);
    fd = walk_to_end(&walk, make, links);
    return fd >= 0 ? fd : fail(init, -fd, "make ", path);
}

/* Splits a path: the last component goes to `name`, the rest to `parent`, "/" if it is empty. */
static int split(struct init *init, const char *path, char parent[static PATH_MAX], char name[static NAME_MAX + 1])
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    if (end - start > NAME_MAX || start >= PATH_MAX)
        return fail(init, ENAMETOOLONG, path);
    memcpy(name, path + start, end - start);
    name[end - start] = '\0';
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return fail(init, EINVAL, path);
    memcpy(parent, start > 0 ? path : "/", start > 0 ? start : 1);
    parent[start > 0 ? start : 1] = '\0';
    return 0;
}

/* Opens the parent directory of a path, which is made if it is missing, and copies the last component to `name`. That
 * component is not followed: a file that is made by this name is in the verified directory (CVE-2026-41579). */
int open_parent(struct init *init, const char *path, char name[static NAME_MAX + 1])
{
    char parent[PATH_MAX];
    int result = split(init, path, parent, name);
    return result < 0 ? result : make_in_root(init, parent, MAKE_DIRECTORY, FOLLOW_LINKS);
}

/* The same for an existing path: nothing is made, and no symlink is followed. */
int open_parent_of(struct init *init, const char *path, char name[static NAME_MAX + 1])
{
    char parent[PATH_MAX];
    int result = split(init, path, parent, name);
    return result < 0 ? result : resolve(init, parent, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
}
