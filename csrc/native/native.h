/* The parent's system calls that Python has no binding of. Every function returns -errno on failure. */
#ifndef PYRUNC_NATIVE_H
#define PYRUNC_NATIVE_H

#include <stddef.h>
#include <stdint.h>

/* What to clone. The first block is filled by the caller, the second by pyrunc_clone_init. */
struct pyrunc_clone {
    uint64_t flags;        /* CLONE_NEW*: the new namespaces */
    int cgroup_fd;         /* the directory of the cgroup to be born in, or -1 */
    int image_fd;          /* the program, which nobody can write to */
    int preserve_fds;      /* descriptors from 3 on that the container keeps */
    int join_count;        /* namespaces to join: descriptors and their CLONE_NEW* types */
    const int *join_fds;
    const int *join_types;
    int inherit_count;     /* descriptors that the init keeps open across its exec */
    const int *inherit_fds;
    const char *args;      /* argv, NUL-terminated strings one after the other */
    int arg_count;

    int pid;               /* the init, in the caller's pid namespace */
    int pidfd;
    int failed_call;       /* enum pyrunc_call: the call that failed */
    int failed_index;      /* for setns and fcntl: which of the descriptors */
};

enum pyrunc_call {
    PYRUNC_CLONE3 = 1,
    PYRUNC_SETNS,
    PYRUNC_CLOSE_RANGE,
    PYRUNC_FCNTL,
    PYRUNC_EXECVEAT,
    PYRUNC_CAPSET,
    PYRUNC_PRCTL,
    PYRUNC_CGROUP_PROCS, /* the write to cgroup.procs of the new cgroup */
    PYRUNC_KILLED,       /* no call: the child was killed before its first instruction */
};

int pyrunc_begin_network(void);
int pyrunc_clone_init(struct pyrunc_clone *spawn);
int pyrunc_init_image(void);
int pyrunc_init_image_on_tmpfs(void);
int pyrunc_memfd(const char *name, const char *data, size_t length, size_t size);
int pyrunc_hold_fds(void);
int pyrunc_prepare_fds(int preserve_fds);

int pyrunc_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int pyrunc_read_record(const char *path, char *data, size_t size);
int pyrunc_is_frozen(int dirfd, const char *cgroup);
int pyrunc_read_own(int dirfd, const char *id, const char *name, char *data, size_t size);
int pyrunc_open_tree(int dirfd, const char *path, unsigned int flags);
int pyrunc_mount_id(int fd, char *found, size_t size);
int pyrunc_move_mount(int fd, int dirfd, const char *path);
int pyrunc_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int pyrunc_private_mounts(void);
int pyrunc_umount(const char *path);
int pyrunc_detach_tree(const char *path);
int pyrunc_idmap_mount(int fd, int namespace, int recursive);
int pyrunc_fork_user_namespace(int join);
int pyrunc_setns(int fd, int nstype);
int pyrunc_procfs(void);
int64_t pyrunc_fs_magic(int fd);
int pyrunc_namespace_type(int fd);
int pyrunc_flock(int fd, int exclusive, int wait);
int pyrunc_unlock(int fd);
int pyrunc_prlimit(int pid, int resource, uint64_t soft, uint64_t hard);
int pyrunc_open_files(char *limits, size_t size);
int pyrunc_raise_open_files(uint64_t soft);
int pyrunc_subreaper(void);
int pyrunc_begin_spawn(void);
int pyrunc_end_spawn(void);
int pyrunc_sched_setattr(int pid, const void *attributes);
int pyrunc_ioprio_set(int group, int level, int priority);
int pyrunc_ioprio_get(int pid);
int pyrunc_sched_getattr(int pid, void *attributes, unsigned int size);
int pyrunc_bpf(int command, void *attributes, unsigned int size);
int pyrunc_pidfd_getfd(int pidfd, int fd);
int64_t pyrunc_capabilities(void);
int pyrunc_last_capability(void);
int pyrunc_landlock_abi(void);
int64_t pyrunc_checksum(const char *data, size_t length);

int pyrunc_socketpair(int pair[2]);
int pyrunc_listen(const char *path);
int pyrunc_netlink(int namespace);
int pyrunc_recv_netlink(int fd, char *data, size_t size);
int pyrunc_connect(const char *path, int stream, int timeout_ms);
int pyrunc_datagram_socket(void);
int pyrunc_peer(int fd);
int pyrunc_ask_socket(int fd, const char *path);
int pyrunc_send(int fd, const char *data, size_t length, const int *fds, int fd_count);
int pyrunc_send_now(int fd, const char *data, size_t length);
int pyrunc_recv_now(int fd, char *data, size_t length);
int pyrunc_recv(int fd, char *data, size_t size, int *fds, int max_fds, int *fd_count);
int pyrunc_poll(const int *fds, int count, int readers, int timeout_ms, uint64_t blocked, char *ready);
int pyrunc_await_execve(int sync, int pid, const char *name, uint64_t blocked);
int pyrunc_epoll(void);
int pyrunc_epoll_watch(int epoll, int fd, unsigned int events);
int pyrunc_epoll_wait(int epoll, int timeout_ms, int *ready, int room);
int pyrunc_signalfd(uint64_t mask);
int pyrunc_signal_ignored(int number);

int pyrunc_read_process(int pid, uint64_t address, char *data, size_t size);
int pyrunc_connect_to(int fd, const char *address, size_t size);
int pyrunc_bind_to(int fd, const char *address, size_t size);
int pyrunc_keep_capabilities(void);
int pyrunc_protect_worker(void);
int pyrunc_set_effective(uint64_t mask);
int pyrunc_sysinfo(char *data, size_t size);
int pyrunc_fsopen(const char *type);
int pyrunc_fs_set(int fd, const char *key, const char *value);
int pyrunc_fs_set_flag(int fd, const char *key);
int pyrunc_fs_create(int fd);
int pyrunc_fsmount(int fd, unsigned int attributes);

int pyrunc_tty_raw(int fd, char *saved, size_t size);
int pyrunc_tty_no_onlcr(int fd);
int pyrunc_tty_restore(int fd, const char *saved, size_t size);
int pyrunc_copy_winsize(int from, int to);
int pyrunc_copy(int from, int to, char *data, size_t size, size_t chunk, int turns, int edges, int *pace, int *end);
size_t pyrunc_tty_size(void);

#endif
