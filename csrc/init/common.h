/* The init: a small interpreter of launch plans that becomes the container's process.
 *
 * It is one static program without allocation and without stdio. A step's function returns 0 or what fail() returned;
 * functions that return a descriptor return it, or the same negative number. */
#ifndef PYRUNC_INIT_COMMON_H
#define PYRUNC_INIT_COMMON_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "decode.h"

enum {
    REGISTERS = 65,
    DETAIL_SIZE = 4096,
    DECIMAL_SIZE = 24, /* the longest 64-bit number with sign and NUL */
    FAILED = MAX_ERRNO + 1, /* a failure without an errno: the detail has the whole reason */
};

struct init {
    const struct plan *plan;
    uint32_t current; /* the step being carried out */
    int sync;
    int proc; /* the host's procfs, or -1 */
    int root; /* the rootfs; -1 until it is known or asked for */
    const char *root_path; /* its path for the runtime; NULL without a `rootfs` step */
    bool is_on_root; /* the rootfs is mounted on the root that this process still has */
    int null; /* the container's /dev/null, verified; -1 until a path is masked */
    int mask; /* the empty tmpfs that masks directories; -1 until one is */
    int master; /* the pty */
    int slave;
    int kept[REGISTERS]; /* mounts for seal_mount; -1 if empty; the first is not used */
    const void *filter; /* of map_seccomp; NULL without */
    uint16_t filter_length; /* in instructions */
    int listener; /* of the filter, or -1 */
    int landlock; /* the Landlock ruleset, or -1 */
    mode_t umask; /* for hooks and the program: the init's own is 0 until it is set */
    bool umask_is_set;
    bool supervised; /* since send_root: each effect is announced to the runtime before it is made */
    bool was_started; /* by `start`, which then has another stderr than the container */
    char *home; /* HOME=… for the program, or NULL */
    const char *program; /* what find_executable found, or NULL */
    char *detail; /* why the step failed; in `kept_texts`, after the kept texts */
    size_t detail_length;
};

/* `program`, `home` and `detail` follow each other, so a waiting init has few pages. */
enum { TEXTS_SIZE = 2 * PATH_MAX + DETAIL_SIZE };
extern char kept_texts[TEXTS_SIZE];

/* text.c: errors and text */
/* Records why the step fails: the concatenated texts. error is an errno, or FAILED. Returns -error. */
int fail_with(struct init *init, int error, ...) __attribute__((sentinel));
#define fail(init, error, ...) fail_with((init), (error), __VA_ARGS__, (const char *)NULL)
/* Keeps the text at init->detail, at most PATH_MAX bytes. Returns it, or NULL if there would be no room after it. */
char *keep_text(struct init *init);
char *decimal(char buffer[static DECIMAL_SIZE], int64_t value);
/* Concatenates the texts in `buffer`; false if they don't fit. */
bool join_with(char *buffer, size_t size, ...) __attribute__((sentinel));
#define join(buffer, size, ...) join_with((buffer), (size), __VA_ARGS__, (const char *)NULL)
bool starts_with(const char *text, const char *prefix);
/* Whether a path is `directory` or below it, by their texts. Except for "/" neither has a trailing slash. */
bool is_below(const char *path, const char *directory);

/* Closes a descriptor and sets it to -1; errno stays. */
void close_fd(int *fd);
#define CLOSING __attribute__((cleanup(close_fd)))
/* Hands a CLOSING descriptor to the caller. */
int take_fd(int *fd);

/* paths.c: inside the rootfs */
enum make { MAKE_DIRECTORY, MAKE_FILE };
enum links { FOLLOW_LINKS, REFUSE_LINKS };
int root_fd(struct init *init);
int open_in_root(struct init *init, const char *path, uint64_t flags);
int make_in_root(struct init *init, const char *path, enum make make, enum links links);
int open_parent(struct init *init, const char *path, char name[static NAME_MAX + 1]);
int open_parent_of(struct init *init, const char *path, char name[static NAME_MAX + 1]);
int open_or_make(int directory, const char *name, enum make make, mode_t mode);

/* proc.c: the host's procfs */
void proc_open(struct init *init);
int proc_open_file(struct init *init, const char *path, int flags);
int proc_open_sysctl(struct init *init, const char *path, int flags);
int proc_open_self(struct init *init, const char *name, int flags);
bool is_procfs(int fd);
int proc_write(struct init *init, int fd, const char *path, const char *value);

/* mounts.c: shared by the mounting steps */
struct attributes {
    uint64_t set;
    uint64_t clear;
    bool recursive;
};
int set_attributes(struct init *init, int mount, struct attributes attributes, const char *path);
int set_propagation(struct init *init, int mount, uint64_t propagation, const char *path);
int clone_tree(struct init *init, int fd, bool recursive, const char *path);
int attach(struct init *init, int mount, int target, const char *path);
int guard_proc(struct init *init, int target, const char *path, bool mounts_procfs);
int make_filesystem(struct init *init, const char *fstype, const char *source, const char *first_option,
                    const struct strv *options, uint64_t attributes);

/* steps_devices.c */
bool is_null(const struct stat *st);
int open_null(struct init *init, uint64_t flags, const char *what);
int bind_file(struct init *init, int source, const char *path);

/* copyup.c */
int copy_up(struct init *init, int from, int to, const char *path);

/* protocol.c */
enum message { MESSAGE_REQUEST = 1, MESSAGE_READY = 2, MESSAGE_ERROR = 3, MESSAGE_LISTENER = 4 };
int send_message(const struct init *init, enum message type, uint32_t step, int error, const char *detail,
                 size_t length, int fd);
int ask(struct init *init, enum message type, const char *what, int fd);
int announce(struct init *init, const char *what, const char *name, int fd);

/* steps_program.c */
void write_not_executed(const struct init *init, int error);

#endif
