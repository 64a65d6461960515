/* The steps that make the rootfs the root. */
#include "common.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel.h"

enum { MOUNTINFO_SIZE = 64 << 20 }; /* bytes of address space; unused pages cost nothing */

static int root_attribute(struct init *init, uint64_t flag, bool recursive)
{
    struct mount_attr attr = {.propagation = flag};
    if (sys_mount_setattr(AT_FDCWD, "/", recursive ? AT_RECURSIVE : 0u, &attr) < 0)
        return fail(init, errno, "mount_setattr (propagation) /");
    return 0;
}

int step_propagation(struct init *init, const struct step_propagation *step)
{
    return root_attribute(init, step->flag, step->recursive != 0);
}

int step_root_propagation(struct init *init, const struct step_root_propagation *step)
{
    return root_attribute(init, step->flag, step->recursive != 0);
}

/* Finds the mount point by going up from the path: EINVAL means that a directory is no mount point. */
int step_parent_private(struct init *init, const struct step_parent_private *step)
{
    struct mount_attr attr = {.propagation = MS_PRIVATE};
    char path[PATH_MAX];
    if (!join(path, sizeof(path), step->path))
        return fail(init, ENAMETOOLONG, step->path);
    while (sys_mount_setattr(AT_FDCWD, path, 0, &attr) < 0) {
        char *slash = strrchr(path, '/');
        if (errno != EINVAL || slash == NULL || strcmp(path, "/") == 0)
            return fail(init, errno, "mount_setattr (private) ", path);
        slash[slash == path] = '\0'; /* the first slash stays */
    }
    return 0;
}

/* Makes the root of the mount namespace this process's root, by setns(2). In a chroot that is another mount. It would
 * stay in the container's mount namespace, above the container's root, and every process that joins the namespace, such
 * as that of `exec`, would start there, outside of the container. A process that may not call setns here can't join a
 * container either. */
static void leave_chroot(void)
{
    CLOSING int self = sys_pidfd_open(getpid());
    if (self >= 0)
        (void)!setns(self, CLONE_NEWNS);
}

/* A source that the runtime has opened is attached to the root: the user namespace may not be permitted to pass the
 * directories above the rootfs. Paths still begin below it, until pivot_root. */
int step_rootfs(struct init *init, const struct step_rootfs *step)
{
    if (step->source >= 0) {
        leave_chroot(); /* later it would lead onto the new mount */
        init->is_on_root = true;
    }
    const char *place = init->is_on_root ? "/" : step->path;
    CLOSING int target = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (target < 0)
        return fail(init, errno, "open ", place);
    CLOSING int tree = step->source >= 0 ? fcntl(step->source, F_DUPFD_CLOEXEC, 0)
                                         : sys_open_tree(target, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH);
    if (tree < 0)
        return fail(init, errno, "open_tree ", step->path);
    /* the runtime's copy may be a peer of the host's mount; with a peer, pivot_root is refused */
    int result = step->source >= 0 ? set_propagation(init, tree, MS_SLAVE | MS_REC, step->path) : 0;
    if (result == 0)
        result = attach(init, tree, target, step->path);
    if (result < 0)
        return result;
    close_fd(&init->root);
    init->root = take_fd(&tree);
    init->root_path = step->path;
    return 0;
}

int step_make_cwd(struct init *init, const struct step_make_cwd *step)
{
    CLOSING int directory = make_in_root(init, step->path, MAKE_DIRECTORY, FOLLOW_LINKS);
    return directory < 0 ? directory : 0;
}

int step_pivot_root(struct init *init, const struct step_pivot_root *step)
{
    (void)step;
    int root = root_fd(init);
    if (root < 0)
        return root;
    if (!init->is_on_root)
        leave_chroot();
    CLOSING int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || fchdir(root) < 0)
        return fail(init, errno, "chdir to the rootfs");
    /* with the same directory twice the old root is stacked on the new one: it needs no directory */
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return fail(init, errno, "pivot_root");
    /* the kernel does not define the working directory after that */
    if (fchdir(old) < 0)
        return fail(init, errno, "chdir to the old root");
    /* mounts that are unmounted here must stay on the host */
    struct mount_attr slave = {.propagation = MS_SLAVE};
    if (sys_mount_setattr(AT_FDCWD, ".", AT_RECURSIVE, &slave) < 0)
        return fail(init, errno, "mount_setattr (slave) of the old root");
    if (sys_umount2(".", MNT_DETACH) < 0)
        return fail(init, errno, "umount of the old root");
    return chdir("/") < 0 ? fail(init, errno, "chdir /") : 0;
}

/* The id of the root's mount, or 0 if it is unknown. */
static uint64_t root_mount(void)
{
    struct kernel_statx st;
    CLOSING int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root >= 0 && sys_statx(root, &st) == 0 ? st.mnt_id : 0;
}

/* Cuts off the next field of a line, in place; mountinfo writes blanks in paths as octal numbers (\040). */
static char *next_word(char **line)
{
    char *word = *line;
    char *end = word + strcspn(word, " ");
    *line = *end == '\0' ? end : end + 1;
    *end = '\0';
    char *out = word;
    for (const char *in = word; *in != '\0'; in++) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] != '\0' && in[3] != '\0') {
            *out++ = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
            in += 3;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
    return word;
}

/* The mount point of a mountinfo line (proc_pid_mountinfo(5)) that shows the whole of a procfs or sysfs; else NULL. */
static const char *full_mount(char *line)
{
    next_word(&line); /* mount ID */
    next_word(&line); /* parent ID */
    next_word(&line); /* device */
    const char *root = next_word(&line);
    const char *point = next_word(&line);
    while (*line != '\0' && strcmp(next_word(&line), "-") != 0)
        ; /* mount options and optional fields end with a dash */
    const char *fstype = next_word(&line);
    bool is_whole = strcmp(root, "/") == 0;
    return is_whole && (strcmp(fstype, "proc") == 0 || strcmp(fstype, "sysfs") == 0) ? point : NULL;
}

/* Unmounts a mount, or covers it if that is not permitted. */
static int hide_mount(struct init *init, const char *path)
{
    CLOSING int target = open(path, O_PATH | O_CLOEXEC);
    if (target < 0 && errno == ENOENT)
        return 0; /* gone with one above it */
    if (target < 0)
        return fail(init, errno, "open ", path);
    struct mount_attr slave = {.propagation = MS_SLAVE};
    if (sys_mount_setattr(target, "", AT_EMPTY_PATH | AT_RECURSIVE, &slave) < 0)
        return fail(init, errno, "mount_setattr (slave) ", path);
    close_fd(&target);
    if (sys_umount2(path, MNT_DETACH) == 0)
        return 0;
    if (errno != EINVAL && errno != EPERM)
        return fail(init, errno, "umount ", path);
    char *none[] = {NULL, NULL};
    const struct strv options = {none, 0};
    CLOSING int cover = make_filesystem(init, "tmpfs", "tmpfs", NULL, &options, 0);
    target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (target < 0)
        return fail(init, errno, "open ", path);
    return cover < 0 ? cover : attach(init, cover, target, path);
}

/* Hides the host's full procfs and sysfs mounts. As long as they are in its mount namespace, a process in a chroot
 * could mount its own ones without masks. */
static int hide_host_mounts(struct init *init, char *info, size_t size)
{
    CLOSING int file = proc_open_self(init, "mountinfo", O_RDONLY);
    if (file < 0)
        return file;
    size_t length = 0;
    ssize_t count;
    while ((count = read(file, info + length, size - 1 - length)) > 0)
        length += (size_t)count;
    if (count < 0)
        return fail(init, errno, "read /proc/self/mountinfo");
    if (length == size - 1)
        return fail(init, ENOBUFS, "read /proc/self/mountinfo");
    info[length] = '\0';

    char *line, *rest = info;
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *point = full_mount(line);
        if (point == NULL || (init->root_path != NULL && is_below(point, init->root_path)))
            continue;
        int result = hide_mount(init, point);
        if (result < 0)
            return result;
    }
    return 0;
}

int step_move_root(struct init *init, const struct step_move_root *step)
{
    (void)step;
    int root = root_fd(init);
    if (root < 0)
        return root;
    uint64_t before = root_mount();
    leave_chroot();
    if (root_mount() != before) {
        /* the plan's `propagation` was for the mounts in the chroot: a mount that is moved to a shared root appears on
         * the host */
        int result = root_attribute(init, MS_SLAVE, true);
        if (result < 0)
            return result;
    }
    char *info = mmap(NULL, MOUNTINFO_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (info == MAP_FAILED)
        return fail(init, errno, "mmap");
    int result = hide_host_mounts(init, info, MOUNTINFO_SIZE);
    munmap(info, MOUNTINFO_SIZE);
    if (result < 0)
        return result;
    if (sys_move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail(init, errno, "move_mount of the rootfs to /");
    if (fchdir(root) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return fail(init, errno, "chroot");
    return 0;
}

int step_chroot(struct init *init, const struct step_chroot *step)
{
    if (chroot(step->path) < 0)
        return fail(init, errno, "chroot ", step->path);
    if (chdir("/") < 0)
        return fail(init, errno, "chdir /");
    close_fd(&init->root); /* paths are resolved below the new root from now on */
    return 0;
}

int step_send_root(struct init *init, const struct step_send_root *step)
{
    (void)step;
    int root = root_fd(init);
    if (root < 0)
        return root;
    init->supervised = true;
    return announce(init, "root", "", root);
}
