/* The steps that take access away: masked and read-only paths, the read-only root. */
#include "common.h"

#include <sys/stat.h>

#include "kernel.h"

/* An empty read-only tmpfs, detached; `context` is an SELinux option or NULL. */
static int make_empty(struct init *init, const char *context)
{
    static char *const texts[] = {"nr_blocks=1", "nr_inodes=1", "ro", NULL};
    const struct strv options = {(char **)texts, 3};
    return make_filesystem(init, "tmpfs", "tmpfs", context, &options, MOUNT_ATTR_RDONLY);
}

/* The mount that hides a directory. One is made; the others are copies of its mount. */
static int make_mask(struct init *init)
{
    return init->mask >= 0 ? clone_tree(init, init->mask, false, "mask") : make_empty(init, NULL);
}

int step_mask_label(struct init *init, const struct step_mask_label *step)
{
    char option[PATH_MAX];
    if (!join(option, sizeof(option), "context=", step->label))
        return fail(init, ENAMETOOLONG, step->label);
    int mount = make_empty(init, option);
    if (mount < 0)
        return mount;
    close_fd(&init->mask);
    init->mask = mount;
    return 0;
}

int step_mask_path(struct init *init, const struct step_mask_path *step)
{
    CLOSING int target = open_in_root(init, step->path, O_PATH);
    if (target == -ENOENT)
        return 0;
    if (target < 0)
        return target;
    struct stat st;
    if (fstat(target, &st) < 0)
        return fail(init, errno, "stat ", step->path);
    if (!S_ISDIR(st.st_mode) && init->null < 0 && (init->null = open_null(init, O_PATH, "can't mask paths")) < 0)
        return init->null;
    CLOSING int mount = S_ISDIR(st.st_mode) ? make_mask(init) : clone_tree(init, init->null, false, "/dev/null");
    if (mount < 0)
        return mount;
    int result = attach(init, mount, target, step->path);
    if (result < 0)
        return result;
    if (S_ISDIR(st.st_mode) && init->mask < 0)
        init->mask = take_fd(&mount);
    return 0;
}

int step_readonly_path(struct init *init, const struct step_readonly_path *step)
{
    CLOSING int target = open_in_root(init, step->path, O_PATH);
    if (target == -ENOENT)
        return 0;
    if (target < 0)
        return target;
    CLOSING int tree = clone_tree(init, target, true, step->path);
    if (tree < 0)
        return tree;
    int result = set_attributes(init, tree, (struct attributes){.set = MOUNT_ATTR_RDONLY}, step->path);
    return result < 0 ? result : attach(init, tree, target, step->path);
}

int step_readonly_rootfs(struct init *init, const struct step_readonly_rootfs *step)
{
    (void)step;
    int root = root_fd(init);
    return root < 0 ? root : set_attributes(init, root, (struct attributes){.set = MOUNT_ATTR_RDONLY}, "/");
}
